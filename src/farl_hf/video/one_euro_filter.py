"""The One-Euro filter (Casiez, Roussel and Vogel, CHI 2012): steady where still, prompt where fast."""

import math
from dataclasses import dataclass

import numpy as np

__all__ = ["OneEuroFilter", "OneEuroSettings"]


@dataclass(frozen=True)
class OneEuroSettings:
    """What the filter trades: jitter of still values against lag of fast ones.

    Args:
        min_cutoff_hz (`float`): Cutoff frequency at rest; lower is steadier.
        beta (`float`): Hertz added to the cutoff per unit of speed; higher lags less. For tracked faces the unit of
            length is the side of the face's first box, so that one value serves large and small faces.
        d_cutoff_hz (`float`): Cutoff frequency of the speed itself.
    """

    min_cutoff_hz: float = 1.0
    beta: float = 10.0
    d_cutoff_hz: float = 1.0


class OneEuroFilter:
    """Smooths an array of signals, each on its own.

    Args:
        settings (`OneEuroSettings`): See there.
        unit (`float`): Length of the unit in which speed is measured.
    """

    def __init__(self, settings: OneEuroSettings, unit: float = 1.0) -> None:
        self.settings = settings
        self.unit = unit
        self._time_s: float | None = None

    def __call__(self, values: np.ndarray, time_s: float) -> np.ndarray:
        """The smoothed values at a time, in seconds, later than that of the last call."""
        values = np.asarray(values, dtype=np.float64)
        if self._time_s is None:
            self._values, self._speeds, self._time_s = values, np.zeros_like(values), time_s
            return values
        step_s = time_s - self._time_s
        speeds = (values - self._values) / step_s
        self._speeds = _mix(speeds, self._speeds, _share(self.settings.d_cutoff_hz, step_s))
        cutoff_hz = self.settings.min_cutoff_hz + self.settings.beta / self.unit * np.abs(self._speeds)
        self._values, self._time_s = _mix(values, self._values, _share(cutoff_hz, step_s)), time_s
        return self._values


def _share(cutoff_hz: float | np.ndarray, step_s: float) -> float | np.ndarray:
    """Weight of the new value in a low-pass filter of first order."""
    return 1 / (1 + 1 / (2 * math.pi * cutoff_hz * step_s))


def _mix(new: np.ndarray, old: np.ndarray, share: float | np.ndarray) -> np.ndarray:
    return old + share * (new - old)  # exact where nothing changes
