"""What is behind people: rooms, foliage, flags, shelves, clutter, and shapes that a detector might take for faces."""

import cv2
import numpy as np

from farl_hf.face_renderer.photo_effects import crop_noise
from farl_hf.face_renderer.random_choice import between, pick, pick_any

__all__ = ["make_background"]

_KINDS = ("gradient", "cloud", "leaf", "room", "shelf", "flag", "clutter", "sky", "studio")
_SKIN_LIKE = np.array([(228, 183, 155), (199, 146, 113), (147, 98, 70), (88, 57, 42)], np.float32) / 255


def _colour(rng: np.random.Generator) -> np.ndarray:
    grey = rng.uniform(0.05, 0.95)
    shade = grey + rng.normal(0, pick_any(rng, (0.02, 0.06, 0.2)), 3)
    return np.minimum(np.maximum(shade, 0), 1).astype(np.float32)


def _gradient(size_hw: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    corners = np.stack([_colour(rng), _colour(rng)] * 2).reshape(2, 2, 3)
    corners = corners[0, 0] + rng.uniform(0.2, 1) * (corners - corners[0, 0])
    if rng.random() < 0.5:
        corners = corners.transpose(1, 0, 2)
    return cv2.resize(np.ascontiguousarray(corners), size_hw[::-1], interpolation=cv2.INTER_LINEAR)


def _polygon(image: np.ndarray, points: np.ndarray, rgb: np.ndarray) -> None:
    cv2.fillPoly(image, [np.round(points * 8).astype(np.int32)], tuple(float(v) for v in rgb), cv2.LINE_8, 3)


def _boxes(image: np.ndarray, rng: np.random.Generator, count: int) -> None:
    """Walls, windows, doors and picture frames."""
    height, width = image.shape[:2]
    for _ in range(count):
        x, y = rng.uniform(-0.1, 1) * width, rng.uniform(-0.1, 1) * height
        w, h = rng.uniform(0.05, 0.5) * width, rng.uniform(0.1, 0.9) * height
        box = np.array([(x, y), (x + w, y), (x + w, y + h), (x, y + h)])
        _polygon(image, box, _colour(rng))
        if rng.random() < 0.4:
            _polygon(image, box * 0.9 + box.mean(0) * 0.1, _colour(rng))


def _shelf(image: np.ndarray, rng: np.random.Generator) -> None:
    height, width = image.shape[:2]
    tier = rng.uniform(0.15, 0.3) * height
    wood = _colour(rng) * 0.5
    for top in np.arange(-rng.uniform(0, tier), height, tier):
        x = 0.0
        while x < width:
            w = rng.uniform(0.02, 0.06) * width
            tall = rng.uniform(0.6, 0.95) * tier
            _polygon(
                image,
                np.array([(x, top + tier - tall), (x + w, top + tier - tall), (x + w, top + tier), (x, top + tier)]),
                _colour(rng),
            )
            x += w * pick_any(rng, (1, 1, 1, 1.6))
        _polygon(
            image,
            np.array([(0, top + tier * 0.96), (width, top + tier * 0.96), (width, top + tier), (0, top + tier)]),
            wood,
        )


def _flag(image: np.ndarray, rng: np.random.Generator) -> None:
    """Stripes with a block of another colour, hanging in folds."""
    height, width = image.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    angle = pick_any(rng, (0.0, np.pi / 2)) + rng.normal(0, 0.3)
    period = rng.uniform(0.06, 0.2) * width
    folds = np.sin(x * np.cos(angle) / period * 1.7 + rng.uniform(0, 6)) * period * 0.4
    phase = (-x * np.sin(angle) + y * np.cos(angle) + folds) / period
    stripes = (np.sin(phase * np.pi * 1.5) > 0)[..., None]
    first, second = (
        (np.array([0.75, 0.1, 0.15], np.float32), np.array([0.92, 0.9, 0.9], np.float32))
        if rng.random() < 0.5
        else (_colour(rng), _colour(rng))
    )
    cloth = np.where(stripes, first, second) * (1 + 0.25 * np.sin(phase * 0 + folds / period * 3))[..., None]
    left, right = sorted(rng.uniform(-0.2, 1.2, 2) * width)
    if right - left < 0.3 * width:
        right = left + 0.3 * width
    band = slice(max(0, int(left)), int(right))
    image[:, band] = cloth[:, band]
    if rng.random() < 0.6:
        corner = np.array([(left, 0), (left + period * 2, 0), (left + period * 2, height * 0.4), (left, height * 0.4)])
        _polygon(image, corner, np.array([0.1, 0.15, 0.4], np.float32))


def _clutter(image: np.ndarray, rng: np.random.Generator, count: int) -> None:
    height, width = image.shape[:2]
    for _ in range(count):
        centre = rng.uniform(0, 1, 2) * (width, height)
        size = rng.uniform(0.03, 0.25) * width
        sides = rng.integers(3, 9)
        angle = np.sort(rng.uniform(0, 2 * np.pi, sides))
        points = centre + np.stack([np.cos(angle), np.sin(angle)], -1) * size * rng.uniform(0.5, 1, (sides, 1))
        if rng.random() < 0.3:
            cv2.line(image, tuple(int(v) for v in centre),
                     tuple(int(v) for v in points[0] + rng.normal(0, size * 2, 2)),
                     tuple(float(v) for v in _colour(rng)), int(rng.integers(1, 5)), cv2.LINE_8)  # fmt: skip
        else:
            _polygon(image, points, _colour(rng))


def _false_faces(image: np.ndarray, rng: np.random.Generator) -> None:
    """Skin-coloured ellipses and balls without a face's parts, some with two or three dark dots in wrong places."""
    height, width = image.shape[:2]
    for _ in range(rng.integers(1, 4)):
        centre = rng.uniform(0, 1, 2) * (width, height)
        axes = rng.uniform(0.03, 0.14, 2) * width
        rgb = _SKIN_LIKE[rng.integers(4)] if rng.random() < 0.6 else _colour(rng)
        for shrink in (1.0, 0.8, 0.55):
            cv2.ellipse(image, tuple(int(v) for v in centre), tuple(int(max(1, v * shrink)) for v in axes),
                        float(rng.uniform(0, 180)),
                        0, 360, tuple(float(v) for v in rgb * (1.25 - 0.3 * shrink)), -1, cv2.LINE_AA)  # fmt: skip
        for _ in range(pick_any(rng, (0, 0, 1, 2))):
            dot = centre + rng.uniform(-1, 1, 2) * axes * 0.6
            cv2.circle(
                image,
                tuple(int(v) for v in dot),
                int(max(1, axes.min() * 0.15)),
                tuple(float(v) for v in _colour(rng) * 0.4),
                -1,
            )


def _studio(size_hw: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Black, white or one colour, evenly lit or brighter in one spot."""
    base = pick(rng, (rng.uniform(0, 0.06), rng.uniform(0.9, 1.0), rng.uniform(0.06, 0.9)), (0.45, 0.25, 0.3))
    rgb = np.clip(base * (1 + rng.normal(0, pick_any(rng, (0.0, 0.05, 0.25)), 3)), 0, 1).astype(np.float32)
    if rng.random() < 0.5:
        return np.ascontiguousarray(np.broadcast_to(rgb, (*size_hw, 3)))
    y, x = np.mgrid[0 : size_hw[0], 0 : size_hw[1]].astype(np.float32)
    spot_xy, reach = rng.uniform(0.1, 0.9, 2) * size_hw[::-1], rng.uniform(0.3, 1.0) * max(size_hw)
    fall = np.exp(-(np.square(x - spot_xy[0]) + np.square(y - spot_xy[1])) / np.float32(reach * reach))
    light = fall * np.float32(rng.uniform(0.0, 0.3)) + np.float32(1 - rng.uniform(0, 0.5)) * (1 - fall) + fall
    return np.clip(cv2.merge([light * plane for plane in rgb]), 0, 1)


def make_background(size_hw: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Background (height, width, 3) float32 display RGB in 0..1, usually out of focus."""
    kind = pick(rng, _KINDS, (0.12, 0.09, 0.11, 0.15, 0.06, 0.06, 0.14, 0.06, 0.21))
    if kind == "studio":
        return _studio(size_hw, rng)
    half = max(2, size_hw[0] * 3 // 4), max(2, size_hw[1] * 3 // 4)
    image = np.clip(_gradient(half, rng), 0, 1).astype(np.float32)
    if kind in ("cloud", "sky"):
        image += (rng.uniform(0.05, 0.2) * crop_noise("cloud", half, rng, half[0] / 200))[..., None] * (
            1 + rng.normal(0, 0.2, 3)
        ).astype(np.float32)
    elif kind == "leaf":
        green = np.array([0.35, 0.5, 0.22], np.float32) * rng.uniform(0.5, 1.4) + rng.normal(0, 0.05, 3).astype(
            np.float32
        )
        leaves = crop_noise("leaf", half, rng, rng.uniform(0.7, 2.5))
        image = 0.4 * image + green * np.clip(0.8 + 0.6 * leaves, 0, 2.2)[..., None]
    elif kind == "room":
        _boxes(image, rng, int(rng.integers(3, 10)))
    elif kind == "shelf":
        _shelf(image, rng)
    elif kind == "flag":
        _flag(image, rng)
        _clutter(image, rng, int(rng.integers(0, 6)))
    elif kind == "clutter":
        _clutter(image, rng, int(rng.integers(8, 40)))
    if rng.random() < 0.35:
        _clutter(image, rng, int(rng.integers(1, 8)))
    if rng.random() < 0.35:
        _false_faces(image, rng)
    texture = crop_noise("pink", half, rng) * np.float32(rng.uniform(0.0, 0.06))
    image = image.astype(np.float32, copy=False)
    # NumPy is slow over a last axis of three, so the texture is spread first.
    image += cv2.merge((texture,) * 3)
    between(image, 0, 1)
    blur = pick(rng, (0.0, rng.uniform(0.5, 2), rng.uniform(2, 7)), (0.25, 0.35, 0.4)) * half[0] / 168
    if blur > 0.4:
        image = cv2.GaussianBlur(image, (0, 0), blur)
    return cv2.resize(image, size_hw[::-1], interpolation=cv2.INTER_LINEAR)
