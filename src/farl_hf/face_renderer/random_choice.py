"""Quick replacements of slow NumPy calls.

Weighted choices draw the same numbers as `Generator.choice`, which spends twenty times longer on checks. Clamping in
place uses OpenCV's thresholds, which are several times faster than `np.minimum` and `np.maximum` with a number.
"""

from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import cv2
import numpy as np

__all__ = ["at_least_zero", "between", "pick", "pick_any"]


@lru_cache(maxsize=256)
def _steps(weights: tuple[float, ...]) -> list[float]:
    total = np.cumsum(np.asarray(weights, np.float64))
    return (total / total[-1]).tolist()


def pick(rng: np.random.Generator, options: Sequence[Any], weights: Sequence[float]) -> Any:
    """One of the options, each with the probability of its weight."""
    return options[bisect_right(_steps(tuple(weights)), rng.random())]


def pick_any(rng: np.random.Generator, options: Sequence[Any]) -> Any:
    """One of the options, all equally likely."""
    return options[int(rng.integers(0, len(options)))]


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
            cv2.max(flat, float(low), dst=flat)  # type: ignore[call-overload]  # the stub lacks numbers
    return values if low != 0 else at_least_zero(values)
