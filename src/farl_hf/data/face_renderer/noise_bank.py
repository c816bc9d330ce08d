"""Tileable noise pictures, computed once per process from fixed seeds and cropped at random offsets."""

from functools import lru_cache

import cv2
import numpy as np

__all__ = ["crop_noise", "noise_picture"]

_SIZE = 512


def _spectral(seed: int, power: float, low_cut: float = 0.0, stretch: float = 1.0) -> np.ndarray:
    """Unit-variance noise whose amplitude falls with frequency**power; stretch > 1 elongates it downwards."""
    rng = np.random.default_rng(seed)
    fy = np.fft.fftfreq(_SIZE)[:, None] * stretch
    fx = np.fft.rfftfreq(_SIZE)[None]
    radius = np.sqrt(fx**2 + fy**2)
    amplitude = np.where(radius > low_cut, 1.0 / np.maximum(radius, 1.0 / _SIZE) ** power, 0)
    spectrum = np.fft.rfft2(rng.standard_normal((_SIZE, _SIZE))) * amplitude
    spectrum[0, 0] = 0
    field = np.fft.irfft2(spectrum, (_SIZE, _SIZE))
    return (field / field.std()).astype(np.float32)


def _strands(seed: int) -> np.ndarray:
    coarse, fine = _spectral(seed, 0.8, 0.01, stretch=14.0), _spectral(seed + 1, 0.3, 0.05, stretch=30.0)
    mix = coarse + 0.8 * fine
    return (mix / mix.std()).astype(np.float32)


def _leaves(seed: int) -> np.ndarray:
    field = _spectral(seed, 1.0, 0.02)
    return cv2.GaussianBlur(np.abs(field) - 0.8, (3, 3), 0) * 1.5


_KINDS = {
    "cloud": lambda: _spectral(1, 1.6),
    "mottle": lambda: _spectral(2, 1.1, 0.01),
    "pore": lambda: _spectral(3, 0.25, 0.06),
    "white": lambda: _spectral(4, 0.0),
    "strand": lambda: _strands(5),
    "leaf": lambda: _leaves(8),
    "pink": lambda: _spectral(9, 1.0),
}


@lru_cache(maxsize=len(_KINDS))
def noise_picture(kind: str) -> np.ndarray:
    """The whole (512, 512) float32 picture, doubled in both directions so that crops never wrap."""
    return np.tile(_KINDS[kind](), (2, 2))


def crop_noise(kind: str, size_hw: tuple[int, int], rng: np.random.Generator, zoom: float = 1.0) -> np.ndarray:
    """Random crop (height, width) float32 of about unit variance; zoom > 1 enlarges the grain."""
    y, x = rng.integers(0, _SIZE, 2)
    height, width = (max(2, min(_SIZE, round(side / zoom))) for side in size_hw)
    crop = noise_picture(kind)[y : y + height, x : x + width]
    if crop.shape != tuple(size_hw):
        crop = cv2.resize(crop, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_LINEAR)
    return crop
