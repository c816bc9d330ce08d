"""What a camera and a file format do to a picture, and the noise pictures that the whole renderer crops from."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from farl_hf.face_renderer.random_choice import between, pick

__all__ = [
    "CLEAN",
    "PhotoEffects",
    "apply_effects",
    "crop_noise",
    "jpeg_round_trip",
    "noise_picture",
    "sample_effects",
]


@dataclass(frozen=True)
class PhotoEffects:
    """Strength of each degradation; `blur` and `motion` in pixels, `jpeg` 0 = none."""

    blur: float
    motion: float
    motion_angle: float
    gain: np.ndarray
    gamma: float
    contrast: float
    grey: bool
    noise: float
    jpeg: int
    vignette: float


CLEAN = PhotoEffects(0.0, 0.0, 0.0, np.ones(3, np.float32), 1.0, 1.05, False, 0.005, 0, 0.0)


def sample_effects(rng: np.random.Generator) -> PhotoEffects:
    """Draw a camera."""
    return PhotoEffects(
        blur=pick(rng, (0.0, rng.uniform(0.3, 0.9), rng.uniform(0.9, 2.6)), (0.5, 0.35, 0.15)),
        motion=float(rng.uniform(2, 7)) if rng.random() < 0.05 else 0.0, motion_angle=float(rng.uniform(0, np.pi)),
        gain=(
            np.clip(1 + rng.normal(0, [0.07, 0.02, 0.09]), 0.7, 1.35)
            * pick(rng, (1.0, rng.uniform(0.3, 0.8), rng.uniform(1.1, 1.5)), (0.76, 0.14, 0.1))
        ).astype(np.float32),
        gamma=float(np.exp(rng.normal(0, 0.2))), contrast=float(np.clip(rng.normal(1.05, 0.15), 0.65, 1.45)),
        grey=bool(rng.random() < 0.05),
        noise=pick(rng, (rng.uniform(0, 0.012), rng.uniform(0.01, 0.05)), (0.75, 0.25)),
        jpeg=int(rng.integers(30, 96)) if rng.random() < 0.6 else 0, vignette=float(max(rng.normal(-0.1, 0.2), 0)),
    )  # fmt: skip


def apply_effects(image: np.ndarray, effects: PhotoEffects, rng: np.random.Generator) -> np.ndarray:
    """Display RGB (h, w, 3) float32 0..1 to uint8 RGB."""
    if effects.blur > 0.25:
        image = cv2.GaussianBlur(image, (0, 0), effects.blur)
    if effects.motion > 0:
        image = _motion(image, effects)
    # (image * gain - 0.5) * contrast + 0.5, times 255, as one matrix: OpenCV is fast on three channels, NumPy is not.
    level = np.zeros((3, 4), np.float32)
    level[:, :3] = np.diag(effects.gain * (255.0 * effects.contrast))
    level[:, 3] = 127.5 * (1 - effects.contrast)
    picture = _to_bytes(cv2.transform(image, level))
    table = (255 * (np.arange(256) / 255.0) ** effects.gamma).astype(np.uint8)
    picture = cv2.LUT(picture, table)
    if effects.grey:
        picture = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if effects.noise > 0.003:
        grain = [crop_noise("white", picture.shape[:2], rng) for _ in range(1 if effects.grey else 3)]
        noisy: np.ndarray = cv2.merge(grain * 3 if effects.grey else grain)
        noisy *= np.float32(255 * effects.noise)
        noisy += np.float32(0.5)
        noisy += picture
        picture = _to_bytes(noisy)
    if effects.jpeg:
        picture = jpeg_round_trip(picture, effects.jpeg)
    return picture


def jpeg_round_trip(picture: np.ndarray, quality: int) -> np.ndarray:
    """RGB (h, w, 3) uint8 after it was stored as a JPEG of this quality, 1 to 100."""
    _, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    stored = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return np.ascontiguousarray(stored[..., ::-1])  # type: ignore[index]  # not None: written the line above


def _to_bytes(levels: np.ndarray) -> np.ndarray:
    """Clamp (in place) and cut off fractions."""
    return between(levels, 0, 255).astype(np.uint8)


def _motion(image: np.ndarray, effects: PhotoEffects) -> np.ndarray:
    size = 2 * int(effects.motion / 2) + 3
    kernel = np.zeros((size, size), np.float32)
    reach = np.array([np.cos(effects.motion_angle), np.sin(effects.motion_angle)]) * effects.motion / 2
    centre = np.array([size // 2, size // 2])
    first, last = (tuple(int(v) for v in np.round(centre + sign * reach)) for sign in (-1, 1))
    cv2.line(kernel, first, last, 1.0, 1)
    return cv2.filter2D(image, -1, kernel / kernel.sum())


# Tileable noise pictures, computed once per process from fixed seeds and cropped at random offsets.

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
