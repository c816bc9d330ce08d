"""What a camera and a file format do to a picture."""

from dataclasses import dataclass

import cv2
import numpy as np

from .clamping import between
from .noise_bank import crop_noise
from .random_choice import pick

__all__ = ["CLEAN", "PhotoEffects", "apply_effects", "sample_effects"]


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
        blur=pick(rng, (0.0, rng.uniform(0.3, 0.9), rng.uniform(0.9, 2.6)), (0.55, 0.35, 0.1)),
        motion=float(rng.uniform(2, 7)) if rng.random() < 0.05 else 0.0, motion_angle=float(rng.uniform(0, np.pi)),
        gain=np.clip(1 + rng.normal(0, [0.05, 0.015, 0.07]), 0.75, 1.3).astype(np.float32),
        gamma=float(np.exp(rng.normal(0, 0.16))), contrast=float(np.clip(rng.normal(1.03, 0.12), 0.7, 1.35)),
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
        noisy = cv2.merge(grain * 3 if effects.grey else grain)
        noisy *= np.float32(255 * effects.noise)
        noisy += np.float32(0.5)
        noisy += picture
        picture = _to_bytes(noisy)
    if effects.jpeg:
        _, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, effects.jpeg])
        picture = np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])
    return picture


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
