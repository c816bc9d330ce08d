"""Normalised mean error of face landmarks, area under its cumulative curve, and failure rate.

Definitions as in FaRL's scorer (FaRL:farl/experiments/face_alignment/scorer.py, lines 86-93 and 177-180): mean over
the points of a face, then over faces.
"""

import numpy as np

from farl_hf.errors import InvalidArgumentError, InvalidFaceInputError, unknown_name
from farl_hf.labels import BOX_NORMALISERS, NORMALISERS

CURVE_STEP = 1e-4
_LARGEST_THRESHOLD = 10.0


def normaliser_px(
    landmarks_xy: np.ndarray, name: str = "inter_ocular", boxes_xyxy: np.ndarray | None = None
) -> np.ndarray:
    """Length that errors are divided by, measured on the true landmarks (or boxes).

    Args:
        landmarks_xy (`numpy.ndarray`): (F, N, 2) true landmarks.
        name (`str`, *optional*, defaults to `"inter_ocular"`): `"inter_ocular"`, `"inter_pupil"`, or from the box:
            `"box"` = sqrt(w h), `"diag"` = sqrt(w² + h²).
        boxes_xyxy (`numpy.ndarray`, *optional*): (F, 4), for the latter two.

    Returns:
        `numpy.ndarray`: (F,) float64, pixels.

    Raises:
        UnknownNameError: No such normaliser for this number of landmarks, or the boxes are missing.
    """
    landmarks_xy = np.asarray(landmarks_xy, dtype=np.float64)
    if name in BOX_NORMALISERS and boxes_xyxy is not None:
        width, height = (np.asarray(boxes_xyxy, dtype=np.float64)[:, 2:] - np.asarray(boxes_xyxy)[:, :2]).T
        return np.sqrt(width * height) if name == "box" else np.hypot(width, height)
    num_landmarks = landmarks_xy.shape[1]
    known = NORMALISERS.get(num_landmarks, {})
    if name not in known:
        applicable = applicable_normalisers(num_landmarks)
        raise unknown_name(f"normaliser for {num_landmarks} landmarks", name, applicable, "The last two need boxes.")
    one_end, other_end = (landmarks_xy[:, list(indices)].mean(axis=1) for indices in known[name])
    return np.linalg.norm(one_end - other_end, axis=1)


def applicable_normalisers(num_landmarks: int) -> tuple[str, ...]:
    """Names that [`normaliser_px`] takes for so many landmarks; those that need boxes (`"box"`, `"diag"`) are last."""
    return (*NORMALISERS.get(num_landmarks, {}), *BOX_NORMALISERS)


def nme_per_face(predictions_xy: np.ndarray, landmarks_xy: np.ndarray, lengths_px: np.ndarray) -> np.ndarray:
    """Mean distance over the points of each face, divided by the face's length.

    Args:
        predictions_xy (`numpy.ndarray`): (F, N, 2).
        landmarks_xy (`numpy.ndarray`): (F, N, 2) truth; points with NaN are left out.
        lengths_px (`numpy.ndarray`): (F,) from [`normaliser_px`].

    Returns:
        `numpy.ndarray`: (F,) float64, a fraction (0.04 is 4 %); NaN for a face without a labelled point.
    """
    predictions_xy, landmarks_xy = np.asarray(predictions_xy, np.float64), np.asarray(landmarks_xy, np.float64)
    if predictions_xy.shape != landmarks_xy.shape or landmarks_xy.ndim != 3:
        raise InvalidFaceInputError(
            f"Expected predictions and landmarks (F, N, 2), but got {predictions_xy.shape} and {landmarks_xy.shape}."
        )
    distances = np.linalg.norm(predictions_xy - landmarks_xy, axis=2)
    labelled = np.isfinite(landmarks_xy).all(axis=2)
    sums = np.where(labelled, distances, 0.0).sum(axis=1)
    counts = labelled.sum(axis=1)
    means = np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)
    return means / np.asarray(lengths_px, np.float64)


def area_under_curve_and_failure_rate(nme: np.ndarray, threshold: float, exact: bool = False) -> tuple[float, float]:
    """Area under the cumulative error curve up to a threshold, and the share of faces beyond it.

    By default the figures of the official scorer (FaRL:farl/experiments/face_alignment/scorer.py, lines 177-180): the
    curve is sampled at `numpy.arange(0, threshold + 1e-4, 1e-4)`, integrated by Simpson's rule, and its last value
    gives the failure rate. Rounding in `arange` decides where the samples end: at 0.1 for 0.1 (1,001 samples), but at
    0.0701 for 0.07 (702 samples). The area up to there is divided by 0.07, so perfect errors score 1.0014.

    Args:
        nme (`numpy.ndarray`): (F,) errors as fractions.
        threshold (`float`): For example 0.1; more than 1e-4, at most 10.
        exact (`bool`, *optional*, defaults to `False`): Integrate the curve itself, without samples, to the threshold
            and no further, and count the faces with larger errors. Both results are then in [0, 1].

    Returns:
        `tuple[float, float]`: Area divided by the threshold, and failure rate; both NaN where there are no faces.

    Raises:
        InvalidArgumentError: The threshold is too small or too large.
    """
    nme = np.sort(np.asarray(nme, dtype=np.float64))
    if not CURVE_STEP < threshold <= _LARGEST_THRESHOLD:
        raise InvalidArgumentError(
            f"Expected a threshold of more than {CURVE_STEP} and at most {_LARGEST_THRESHOLD:g}, but got {threshold}."
        )
    if not len(nme):
        return float("nan"), float("nan")
    if exact:
        return float(np.maximum(1.0 - nme / threshold, 0.0).mean()), float((nme > threshold).mean())
    errors = np.arange(0.0, threshold + CURVE_STEP, CURVE_STEP)
    curve = np.searchsorted(nme, errors, side="right") / len(nme)
    return float(_simpson(curve) * CURVE_STEP / threshold), float(1.0 - curve[-1])


def _simpson(samples: np.ndarray) -> float:
    """Integral of samples at distance 1, as `scipy.integrate.simps` of SciPy before 1.11, which the scorer called.

    An even number of samples has an interval too many: the mean of taking the first and the last one by trapezium.
    """
    if len(samples) % 2:
        return float(samples[0] + samples[-1] + 4 * samples[1:-1:2].sum() + 2 * samples[2:-1:2].sum()) / 3
    ends = (samples[0] + samples[1] + samples[-2] + samples[-1]) / 2
    return (_simpson(samples[1:]) + _simpson(samples[:-1]) + float(ends)) / 2


def landmark_scores(nme: np.ndarray, threshold: float = 0.1, exact: bool = False) -> dict[str, float]:
    """`nme`, `auc` and `failure_rate` of faces (F,); see [`area_under_curve_and_failure_rate`]."""
    nme = np.asarray(nme, dtype=np.float64)
    nme = nme[np.isfinite(nme)]
    area, failure_rate = area_under_curve_and_failure_rate(nme, threshold, exact)
    return {"nme": float(nme.mean()) if len(nme) else float("nan"), "auc": area, "failure_rate": failure_rate}
