"""How each published data set is cropped and labelled in the paper's protocol, as a table.

Sources: FacePerceiver/FaRL 3fb4694, `farl/datasets/prepare.py`, lines 25-28 (LaPa: five points), 50 (CelebAMask-HQ:
the whole photo), 75-77, 104-106 and 132-134 (boxes); `farl/experiments/face_alignment/trainers/*_farl.yaml`, line 28
(`scale_mu`); the paper's supplement, section 6, for attributes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from farl_hf.errors import InvalidArgumentError
from farl_hf.labels import (
    CELEBA_ATTRIBUTES,
    CELEBAMASK_DATASET_LABELS,
    CELEBAMASK_DATASET_MIRROR_PAIRS,
    CELEBAMASK_LABELS,
    CELEBAMASK_MIRROR_PAIRS,
    LAPA_LABELS,
    LAPA_MIRROR_PAIRS,
)

# Parsing classes in id order, and the ids that a mirror exchanges.
LABEL_SETS = {
    "lapa": LAPA_LABELS,
    "celebamask": CELEBAMASK_LABELS,
    "celebamask_dataset": CELEBAMASK_DATASET_LABELS,
}
MIRROR_PAIRS = {
    "lapa": LAPA_MIRROR_PAIRS,
    "celebamask": CELEBAMASK_MIRROR_PAIRS,
    "celebamask_dataset": CELEBAMASK_DATASET_MIRROR_PAIRS,
}


@dataclass(frozen=True)
class BenchmarkProtocol:
    """The settings of a data set's protocol that training and evaluation share.

    Args:
        task (`str`): `"parsing"`, `"landmarks"` or `"attributes"`; empty for data that serves all.
        alignment (`str`): What places the crop, see [`FaceSamples`].
        box_scale (`float`, *optional*): Share of the crop that the annotated box fills.
        label_set (`str`, *optional*): Parsing classes of the label maps.
        min_face_px (`float`): Smallest distance of the eyes in pixels; other faces are skipped. 0 in the published
            protocols, which skip none (`farl/datasets`).
    """

    task: str
    alignment: str = "points"
    box_scale: float | None = None
    label_set: str | None = None
    min_face_px: float = 0.0


# For data without a published protocol.
OWN_PROTOCOL = BenchmarkProtocol(task="", label_set="lapa", min_face_px=12.0)

BENCHMARK_PROTOCOLS = {
    "lapa": BenchmarkProtocol(task="parsing", label_set="lapa"),
    # Photos are aligned crops already, so the matrix is a plain scaling.
    "celebamask_hq": BenchmarkProtocol(task="parsing", alignment="whole", label_set="celebamask"),
    # `scale_mu` of the configurations.
    "w300": BenchmarkProtocol(task="landmarks", alignment="box", box_scale=0.8),
    "wflw": BenchmarkProtocol(task="landmarks", alignment="box", box_scale=0.8),
    "aflw19": BenchmarkProtocol(task="landmarks", alignment="box", box_scale=1.0),
    "celeba": BenchmarkProtocol(task="attributes"),
    "lfwa": BenchmarkProtocol(task="attributes"),
}


def shared_protocol(dataset_names: Sequence[str]) -> BenchmarkProtocol:
    """The protocol of a data set, or of several joined ones that have the same; else `OWN_PROTOCOL`."""
    protocols = {BENCHMARK_PROTOCOLS.get(name, OWN_PROTOCOL) for name in dataset_names}
    return protocols.pop() if len(protocols) == 1 else OWN_PROTOCOL


def label_set_of(dataset_names: Sequence[str], config_name: str | None) -> str | None:
    """Key of `LABEL_SETS` for the label maps of data sets; None where the classes are unknown."""
    sets = {known_label_sets(dataset_names, config_name)[name] for name in dataset_names if has_known_classes(name)}
    return sets.pop() if len(sets) == 1 else None


def has_known_classes(dataset_name: str) -> bool:
    """Whether the classes of a data set are known by its name; those of a folder are not."""
    return dataset_name in BENCHMARK_PROTOCOLS or dataset_name == "synthetic_faces"


def known_label_sets(dataset_names: Sequence[str], config_name: str | None) -> dict[str, str | None]:
    """Keys of `LABEL_SETS` by the names of those data sets that are known; None where there are no label maps."""
    sets = {
        name: BENCHMARK_PROTOCOLS.get(name, OWN_PROTOCOL).label_set
        for name in dataset_names
        if has_known_classes(name)
    }
    if config_name == "dataset" and "celebamask_hq" in sets:
        sets["celebamask_hq"] = "celebamask_dataset"
    return sets


def check_joined(task_name: str, dataset_names: Sequence[str], config_name: str | None) -> None:
    """Raises [`InvalidArgumentError`] when label maps of joined data sets would mean different classes by one id."""
    sets = known_label_sets(dataset_names, config_name)
    if task_name == "parsing" and len(set(sets.values())) > 1:
        described = ", ".join(f"{name}: {label_set or 'no label maps'}" for name, label_set in sets.items())
        raise InvalidArgumentError(
            f"The data sets have different label sets ({described}), whose ids mean other classes; join only data sets"
            " of one label set, such as lapa and synthetic_faces."
        )


def check_classes(task_name: str, label_names: list[str], label_set: str | None) -> None:
    """Raises [`InvalidArgumentError`] when scores by id would compare different classes."""
    if task_name == "attributes":
        unknown = [name for name in label_names if name not in CELEBA_ATTRIBUTES]
        if unknown:
            raise InvalidArgumentError(
                f"The model's attribute {unknown[0]!r} is none of CelebA's, the attributes that data sets label."
            )
    if task_name != "parsing" or label_set is None:
        return
    expected = list(LABEL_SETS[label_set])
    if label_names != expected:
        raise InvalidArgumentError(
            f"The model's classes are {', '.join(label_names)}, but the label maps hold {label_set}: "
            f"{', '.join(expected)}. Evaluate on a data set with the model's classes in the model's order."
        )
