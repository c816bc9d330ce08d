"""Draws eyes, lids, lashes and brows, image-left and image-right ones in one go."""

import numpy as np

from .face_layout import FaceLayout
from .identity import Expression, Identity
from .painter import Painter, both_sides

__all__ = ["paint_brows", "paint_eyes"]

_DEEP = np.array([0.62, 0.5, 0.46])
_DOWN = np.array([0, 1.0])
_NUM_HAIRS = 26
_HAIR_T = np.linspace(0.02, 0.97, _NUM_HAIRS)
_HAIR_HALF = np.interp(_HAIR_T, [0, 0.2, 0.6, 1], [0.9, 1, 0.8, 0.15])
_HAIR_LEAN = np.interp(_HAIR_T, [0, 0.3, 1], [0.1, 0.45, 0.75])
_HAIR_RISE = np.interp(_HAIR_T, [0, 0.5, 1], [2.0, 1.2, 0.2])


def _arch(count: int, power: float = 1.0, first: float = 0.0, last: float = np.pi) -> np.ndarray:
    """Heights (count, 1) of half a sine wave."""
    return np.sin(np.linspace(first, last, count))[:, None] ** power


_LID_ARCH, _SHADOW_ARCH = _arch(17, 0.7), _arch(17, 0.6)
_CREASE_ARCH, _BAG_ARCH = _arch(15, 0.6, 0.12, np.pi * 0.95), _arch(13)


def _band(upper: np.ndarray, height: np.ndarray) -> np.ndarray:
    """Area (2, n, 2) between the upper lids and curves above them."""
    return np.concatenate([upper - _DOWN * height, upper[:, ::-1]], 1)


def _lid_shade(painter: Painter, upper: np.ndarray, lower: np.ndarray, person: Identity) -> None:
    """Crease, shadow of the socket, eye shadow and bag, below the eyes themselves; lids are (2, n, 2)."""
    painter.shape(_outlines(upper, lower), _DEEP, 0.4, blur_cm=0.5, multiply=True)
    inner = both_sides([person.eye_spacing - person.eye_width - 0.25, -0.25])
    painter.blob(inner, (0.45, 0.6), _DEEP, strength=0.45, blur_cm=0.35, multiply=True)
    if person.eye_shadow > 0:
        wide = _band(upper, 0.85 * _SHADOW_ARCH)
        painter.shape(wide, person.eye_shadow_rgb, person.eye_shadow, blur_cm=0.22)
    painter.shape(_band(upper, 0.45 * _LID_ARCH), (1.06, 1.05, 1.05), 0.6, blur_cm=0.12, multiply=True)
    crease = upper[:, 1:-1] - _DOWN * (0.42 * _CREASE_ARCH + 0.03)
    painter.shape(crease, _DEEP * 0.8, 0.75, blur_cm=0.06, thickness_cm=0.09, multiply=True)
    bag = lower[:, 2:-2] + _DOWN * (0.35 + 0.3 * _BAG_ARCH)
    painter.shape(bag, _DEEP, 0.12 + 0.65 * person.bags, blur_cm=0.12, thickness_cm=0.12, multiply=True)
    if person.bags > 0.3:
        area = np.concatenate([lower, bag[:, ::-1]], 1)
        painter.shape(area, (0.8, 0.72, 0.78), 0.6 * (person.bags - 0.3), blur_cm=0.2, multiply=True)


def _outlines(upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """Closed polygons (2, n, 2) of the openings between the lids."""
    return np.concatenate([upper, lower[:, ::-1]], 1)


def _eyeballs(
    painter: Painter, upper: np.ndarray, lower: np.ndarray, pupils: np.ndarray, person: Identity, light_x: float
) -> None:
    """Sclera, iris, pupil and catch-light."""
    outline = _outlines(upper, lower)
    clip = painter.area(outline)
    painter.shape(outline, np.array([0.9, 0.87, 0.85]) * (0.98 - 0.012 * person.tone))
    corners = upper[:, 0] + [(-0.12, 0), (0.12, 0)]
    painter.blob(corners, (0.26, 0.2), np.array([0.78, 0.48, 0.45]), blur_cm=0.07, strength=0.8, clip=clip)
    painter.shape(lower, (0.82, 0.6, 0.56), 0.6, blur_cm=0.04, thickness_cm=0.08)
    _irises(painter, pupils, clip, person.eye_rgb)
    shade = np.add(upper, (0, 0.06))
    painter.shape(shade, (0.25, 0.2, 0.2), 0.75, blur_cm=0.12, thickness_cm=0.22, multiply=True, clip=clip)
    glint = np.add(pupils, (0.22 * min(max(light_x * 1.6, -1), 1), -0.22))
    painter.blob(glint, (0.12, 0.12), (1.3, 1.3, 1.3), blur_cm=0.03, clip=clip)


def _irises(painter: Painter, pupils: np.ndarray, clip: np.ndarray, iris: np.ndarray) -> None:
    radius = 0.64
    painter.blob(pupils, (radius, radius), iris * 0.42, blur_cm=0.03, clip=clip)
    painter.blob(pupils, (radius * 0.84, radius * 0.84), iris, blur_cm=0.07, clip=clip)
    low = np.add(pupils, (0, 0.28))
    bright = (radius * 0.55, radius * 0.3)
    painter.blob(low, bright, iris * 1.5 + 0.04, strength=0.55, blur_cm=0.1, clip=clip)
    painter.blob(pupils, (0.27, 0.27), np.array([0.03, 0.025, 0.025]), blur_cm=0.03, clip=clip)


def _lashes(painter: Painter, upper: np.ndarray, lower: np.ndarray, person: Identity) -> None:
    dark = np.array([0.07, 0.05, 0.045])
    heavy = person.mascara
    painter.shape(upper[:, 1:], dark, 0.6 + 0.4 * heavy, blur_cm=0.02, thickness_cm=0.09 + 0.11 * heavy)
    painter.shape(lower[:, 4:], dark, 0.25 + 0.4 * heavy, blur_cm=0.03, thickness_cm=0.06)
    if heavy < 0.3 or painter.scale < 8:
        return
    k = np.arange(6, upper.shape[1], 2)
    outward = k / upper.shape[1]
    reach = (0.18 + 0.28 * heavy) * (0.6 + 0.5 * outward)
    tips = upper[:, k] + both_sides(np.stack([reach * (0.2 + 0.7 * outward), -reach * 0.8], -1))
    lines = np.stack([upper[:, k], tips], 2).reshape(-1, 2, 2)
    painter.shape(lines, dark, 0.4 + 0.4 * heavy, thickness_cm=0.06)


def paint_eyes(painter: Painter, layout: FaceLayout, person: Identity, mood: Expression, light_x: float) -> np.ndarray:
    """Paint both eyes and their labels; returns the pupils (2, 2) in surface coordinates."""
    upper, lower = np.stack(layout.eyes_upper), np.stack(layout.eyes_lower)
    pupils = np.add(layout.eye_centres, (mood.gaze[0], mood.gaze[1] - 0.03))
    _lid_shade(painter, upper, lower, person)
    _eyeballs(painter, upper, lower, pupils, person, light_x)
    _lashes(painter, upper, lower, person)
    for side in (0, 1):
        painter.set_label(layout.eye_outline(side), 4 + side)
    return pupils


def paint_brows(painter: Painter, layout: FaceLayout, person: Identity, rng: np.random.Generator) -> None:
    """Paint both brows as a soft body with hair strokes, and their labels."""
    painter.shape(np.stack(layout.brows_outline), person.brow_rgb, 0.62 * person.brow_density, blur_cm=0.1)
    if painter.scale >= 7:
        hairs = [
            _brow_hairs(centre, sign, person, rng) for centre, sign in zip(layout.brows_centre, (-1, 1), strict=True)
        ]
        strength = 0.6 * person.brow_density
        painter.shape(np.concatenate(hairs), person.brow_rgb * 0.8, strength, thickness_cm=0.07)
    for side in (0, 1):
        painter.set_label(layout.brows_outline[side], 2 + side)


def _brow_hairs(centre: np.ndarray, sign: int, person: Identity, rng: np.random.Generator) -> np.ndarray:
    """Strokes (n, 2, 2) of one brow."""
    index = np.arange(len(centre)) / (len(centre) - 1)
    x, y = np.interp(_HAIR_T, index, centre[:, 0]), np.interp(_HAIR_T, index, centre[:, 1])
    half = person.brow_thickness * _HAIR_HALF
    start = np.stack([x, y + half * rng.uniform(0.2, 1.0, _NUM_HAIRS)], -1)
    lean = _HAIR_LEAN + rng.normal(0, 0.06, _NUM_HAIRS)
    return np.stack([start, start + np.stack([sign * lean, -half * _HAIR_RISE], -1)], 1)
