"""Weighted choices that draw the same numbers as `Generator.choice`, which spends twenty times longer on checks."""

from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

__all__ = ["pick", "pick_any"]


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
