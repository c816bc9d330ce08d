"""Accuracy of binary face attributes, per attribute and its mean (mAcc), at threshold 0.5."""

from collections.abc import Sequence

import numpy as np

from farl_hf.errors import InvalidArgumentError

IGNORED_LABEL = -100


def count_correct_attributes(
    probabilities: np.ndarray, labels: np.ndarray, threshold: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """Right decisions and labelled faces, per attribute. Sums of these merge data.

    Args:
        probabilities (`numpy.ndarray`): (F, L) in [0, 1].
        labels (`numpy.ndarray`): (F, L) 0 or 1; -100 is not counted.
        threshold (`float`, *optional*, defaults to 0.5): Present when the probability is greater.

    Returns:
        `tuple[numpy.ndarray, numpy.ndarray]`: Counts (L,) int64: correct, labelled.

    Raises:
        InvalidArgumentError: Shapes differ, a probability is NaN, or a label is another number.
    """
    probabilities, labels = np.asarray(probabilities), np.asarray(labels)
    if probabilities.shape != labels.shape or labels.ndim != 2:
        raise InvalidArgumentError(
            f"Expected probabilities and labels (F, L), but got {probabilities.shape} and {labels.shape}."
        )
    if np.isnan(probabilities).any() or not np.isin(labels, (0, 1, IGNORED_LABEL)).all():
        raise InvalidArgumentError(
            f"Expected probabilities that are no NaN, and labels 0, 1 or {IGNORED_LABEL}; got labels from "
            f"{labels.min()} to {labels.max()}."
        )
    labelled = labels != IGNORED_LABEL
    correct = ((probabilities > threshold) == (labels > 0.5)) & labelled
    return correct.sum(axis=0), labelled.sum(axis=0)


def attribute_accuracy(correct: np.ndarray, labelled: np.ndarray, attribute_names: Sequence[str]) -> dict[str, float]:
    """Named accuracies from counts.

    Args:
        correct (`numpy.ndarray`): (L,) right decisions.
        labelled (`numpy.ndarray`): (L,) labelled faces.
        attribute_names (`Sequence[str]`): L names.

    Returns:
        `dict[str, float]`: `mean_accuracy` over the attributes that are labelled at all, and `accuracy_<attribute>`
        for each of these.
    """
    triples = zip(attribute_names, correct, labelled, strict=True)
    accuracies = {f"accuracy_{name}": float(right / total) for name, right, total in triples if total > 0}
    return {"mean_accuracy": float(np.mean(list(accuracies.values()))) if accuracies else float("nan")} | accuracies
