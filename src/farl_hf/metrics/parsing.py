"""Face parsing F1 from one confusion matrix over the whole data set.

This is the figure of FaRL's tables (FaRL:farl/experiments/face_parsing/scorer.py, lines 75-86): pixels of all
faces are counted together, then F1 per class, then the unweighted mean over the classes except background. Averaging
per-picture scores gives other numbers.
"""

from collections.abc import Sequence

import numpy as np

from farl_hf.errors import InvalidFaceInputError

IGNORED_LABELS = (255, -100)


def confusion_matrix(predictions: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts pixels by true and predicted class.

    Args:
        predictions (`numpy.ndarray`): Class ids, any shape.
        labels (`numpy.ndarray`): Class ids of the same shape; 255 and -100 are not counted.
        num_classes (`int`): Number of classes K, background included.

    Returns:
        `numpy.ndarray`: (K, K) int64, rows are the truth, columns the prediction. Add matrices to merge data.

    Raises:
        InvalidFaceInputError: Shapes differ, or an id is no whole number or outside [0, K).
    """
    predictions, labels = np.asarray(predictions), np.asarray(labels)
    if predictions.shape != labels.shape:
        raise InvalidFaceInputError(
            f"Expected predictions and labels of one shape, but got {predictions.shape} and {labels.shape}."
        )
    if predictions.dtype == labels.dtype == np.uint8 and num_classes <= 256:
        return _confusion_of_bytes(predictions, labels, num_classes)
    for name, ids in (("labels", labels), ("predictions", predictions)):
        is_whole = ids.dtype.kind in "biu" or (ids.dtype.kind == "f" and (ids == np.trunc(ids)).all())
        if not is_whole:  # NaN is not either
            raise InvalidFaceInputError(f"Expected whole class ids as {name}, but got values of type {ids.dtype}.")
    counted = ~np.isin(labels, IGNORED_LABELS)
    truth, predicted = labels[counted].astype(np.int64), predictions[counted].astype(np.int64)
    _check_ids("labels", truth, num_classes)
    _check_ids("predictions", predicted, num_classes)
    return np.bincount(truth * num_classes + predicted, minlength=num_classes**2).reshape(num_classes, num_classes)


def _confusion_of_bytes(predictions: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """The same for uint8, ten times as fast: one count of all pairs, then what is not counted is taken off."""
    pairs = np.bincount((labels.astype(np.uint16) << 8 | predictions).ravel(), minlength=1 << 16).reshape(256, 256)
    pairs[255] = 0  # the ignored label
    _check_ids("labels", np.flatnonzero(pairs.any(axis=1)), num_classes)
    _check_ids("predictions", np.flatnonzero(pairs.any(axis=0)), num_classes)
    return pairs[:num_classes, :num_classes].copy()


def _check_ids(name: str, ids: np.ndarray, num_classes: int) -> None:
    if ids.size and not 0 <= ids.min() <= ids.max() < num_classes:
        raise InvalidFaceInputError(
            f"Expected {name} in [0, {num_classes}), but got ids from {ids.min()} to {ids.max()}."
        )


def f1_per_class(confusion: np.ndarray) -> np.ndarray:
    """2 TP / (predicted + true) per class, (K,) float64; NaN for a class that neither occurs nor is predicted."""
    confusion = np.asarray(confusion, dtype=np.float64)
    total = confusion.sum(axis=0) + confusion.sum(axis=1)
    return np.divide(2 * np.diag(confusion), total, out=np.full(len(total), np.nan), where=total > 0)


def parsing_f1(confusion: np.ndarray, class_names: Sequence[str]) -> dict[str, float]:
    """Named scores of a confusion matrix.

    Args:
        confusion (`numpy.ndarray`): (K, K), rows are the truth.
        class_names (`Sequence[str]`): K names, background first.

    Returns:
        `dict[str, float]`: `f1_mean` (over the classes that occur, without background), `pixel_accuracy`, and
        `f1_<class>` for each class that occurs.

    Raises:
        InvalidFaceInputError: The matrix is not of that many classes.
    """
    if np.shape(confusion) != (len(class_names),) * 2:
        raise InvalidFaceInputError(
            f"Expected a confusion matrix of {len(class_names)} classes, but got {np.shape(confusion)}."
        )
    f1 = f1_per_class(confusion)
    scores = {
        "f1_mean": float(np.nanmean(f1[1:])) if np.isfinite(f1[1:]).any() else float("nan"),
        "pixel_accuracy": float(np.trace(confusion) / max(np.sum(confusion), 1)),
    }
    named = zip(class_names, f1, strict=True)
    return scores | {f"f1_{name}": float(value) for name, value in named if np.isfinite(value)}
