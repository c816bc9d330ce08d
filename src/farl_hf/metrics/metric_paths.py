"""Where the `evaluate` modules of this package lie."""

from pathlib import Path

from farl_hf.errors import check_name

METRIC_NAMES = ("face_attribute_accuracy", "face_landmarks_nme", "face_parsing_f1")

_FOLDER = Path(__file__).resolve().parent / "evaluate_modules"


def metric(name: str) -> str:
    """The path of a metric, for `evaluate.load`.

    Args:
        name (`str`): `"face_parsing_f1"`, `"face_landmarks_nme"` or `"face_attribute_accuracy"`.

    Returns:
        `str`: Path of the module.

    Raises:
        UnknownNameError: No such metric.

    Example:
        ```python
        >>> import evaluate
        >>> import farl_hf

        >>> f1 = evaluate.load(farl_hf.metric("face_parsing_f1"))
        >>> f1.compute(predictions=[[[0, 1]]], references=[[[0, 1]]], label_names=["background", "skin"])["f1_mean"]
        1.0

        ```
    """
    check_name("metric", name, METRIC_NAMES)
    return str(_FOLDER / f"{name}.py")
