"""Clamping in place. OpenCV's thresholds are several times faster than `np.minimum` and `np.maximum` with a number."""

import cv2
import numpy as np

__all__ = ["at_least_zero", "between"]


def _flat(values: np.ndarray) -> np.ndarray:
    """A two-dimensional view, because OpenCV would take the last of three axes for channels."""
    return values.reshape(-1, max(values.shape[-1], 1))


def at_least_zero(values: np.ndarray) -> np.ndarray:
    """Clamp contiguous float32 values from below, in place."""
    flat = _flat(values)
    if flat.size:
        cv2.threshold(flat, 0, 0, cv2.THRESH_TOZERO, dst=flat)
    return values


def between(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Clamp contiguous float32 values, in place."""
    flat = _flat(values)
    if flat.size:
        cv2.threshold(flat, high, 0, cv2.THRESH_TRUNC, dst=flat)
        if low != 0:
            cv2.max(flat, float(low), dst=flat)
    return values if low != 0 else at_least_zero(values)
