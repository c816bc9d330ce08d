"""Names of a converted model's outputs, by kind and number of outputs."""

from farl_hf.labels import CELEBA_ATTRIBUTES, CELEBAMASK_LABELS, LAPA_LABELS

__all__ = ["label_names"]

_KNOWN_LABELS = {
    ("parser", 11): LAPA_LABELS,
    ("parser", 19): CELEBAMASK_LABELS,
    ("attributes", 40): CELEBA_ATTRIBUTES,
}
_NUMBERED = {"parser": "class", "aligner": "point", "attributes": "attribute"}


def label_names(kind: str, num_outputs: int) -> tuple[str, ...]:
    """The names, in id order: those of the data set that has this many, else numbered ones."""
    numbered = tuple(f"{_NUMBERED[kind]}_{index}" for index in range(num_outputs))
    return _KNOWN_LABELS.get((kind, num_outputs), numbered)
