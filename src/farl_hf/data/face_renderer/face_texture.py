"""Paints a whole face in surface coordinates: skin, creases, nose, beard, then eyes, brows and mouth."""

import cv2
import numpy as np

from .clamping import between
from .eye_texture import paint_brows, paint_eyes
from .face_layout import FaceLayout
from .identity import Expression, Identity
from .mouth_texture import paint_mouth
from .noise_bank import crop_noise
from .painter import Painter, both_sides

__all__ = ["paint_face"]

_CREASE = np.array([0.7, 0.56, 0.52])
_BEARD_OUTLINE = np.array(
    [(-8.2, 1.5), (-7.0, 2.4), (-6.4, 5.0), (-4.4, 6.3), (-2.9, 6.9), (-2.4, 8.6), (-0.9, 8.75), (0, 8.6), (0.9, 8.75),
     (2.4, 8.6), (2.9, 6.9), (4.4, 6.3), (6.4, 5.0), (7.0, 2.4), (8.2, 1.5), (8.6, 12.0),
     (4, 13), (-4, 13), (-8.6, 12.0)]
)  # fmt: skip
_STUBBLE_OUTLINE = np.array(
    [(-7.4, 2.5), (-5.6, 6.0), (-3.0, 5.4), (-1.2, 5.4), (0, 5.6), (1.2, 5.4), (3.0, 5.4), (5.6, 6.0), (7.4, 2.5),
     (8.0, 12.0), (4, 13), (-4, 13), (-8.0, 12.0)]
)  # fmt: skip
_GOATEE_OUTLINE = np.array(
    [(-2.9, 7.2), (-2.4, 8.7), (0, 8.8), (2.4, 8.7), (2.9, 7.2), (3.1, 10.5), (1.8, 12.5), (-1.8, 12.5), (-3.1, 10.5)]
)


def _paint_skin(painter: Painter, person: Identity, rng: np.random.Generator) -> None:
    """Blotches, pores, redness of cheeks and nose, freckles and moles."""
    coarse = Painter(painter.scale / 4, person.skin_rgb)
    _paint_flush(coarse, person)
    mottle = crop_noise("mottle", coarse.size_hw, rng)
    coarse.albedo *= 1 + mottle * np.array([0.018, 0.028, 0.03], np.float32)[:, None, None]
    size = painter.size_hw[::-1]
    for fine, rough in zip(painter.albedo, coarse.albedo, strict=True):
        cv2.resize(rough, size, dst=fine, interpolation=cv2.INTER_LINEAR)
    pore = crop_noise("pore", painter.size_hw, rng)
    painter.albedo *= 1 + pore * np.float32(0.012 + 0.02 * person.age)
    if person.freckles > 0.1:
        spots = crop_noise("pore", painter.size_hw, rng, max(painter.scale * 0.11, 1))
        weight = np.clip((spots - 1.5) * 1.5, 0, 0.45 * min(person.freckles, 1.0)).astype(np.float32)
        weight *= np.clip(1.5 - np.abs(np.linspace(-1, 1.3, len(weight)))[:, None] * 2.2, 0, 1).astype(np.float32)
        painter.blend((slice(None), slice(None)), weight, person.skin_rgb * np.array([0.68, 0.52, 0.42], np.float32))
    for _ in range(rng.poisson(0.6)):
        radius = rng.uniform(0.05, 0.1)
        painter.blob(
            rng.uniform((-6, -5), (6, 10)), (radius, radius), person.skin_rgb * 0.5, strength=0.7, blur_cm=0.04
        )


def _paint_flush(painter: Painter, person: Identity) -> None:
    flush = person.skin_rgb * np.array([1.06, 0.86, 0.84])
    painter.blob(both_sides([4.2, 3.2]), (1.6, 1.3), flush, strength=0.25 + 0.4 * person.redness, blur_cm=0.8)
    if person.rouge > 0.05:
        rouge = person.skin_rgb * np.array([1.02, 0.66, 0.68])
        painter.blob(both_sides([4.7, 2.9]), (1.5, 0.9), rouge, strength=person.rouge, blur_cm=0.6)
    painter.blob((0, 3.9), (1.2, 0.8), flush, strength=0.2 + 0.5 * person.redness, blur_cm=0.5)


def _paint_creases(painter: Painter, person: Identity, mood: Expression, rng: np.random.Generator) -> None:
    """Nasolabial folds, forehead lines, crow's feet and frown lines."""
    fold = 0.12 + 0.5 * person.wrinkles + 0.45 * mood.smile
    curve = np.array([(1.95, 3.9), (2.5, 4.7), (3.0 + 0.3 * mood.smile, 5.8), (3.25 + 0.4 * mood.smile, 6.9)])
    painter.shape(both_sides(curve), _CREASE, min(fold, 0.9), blur_cm=0.14, thickness_cm=0.14, multiply=True)
    ridge = both_sides(np.add(curve, (0.35, 0)))
    painter.shape(ridge, (1.06, 1.06, 1.05), fold * 0.7, blur_cm=0.2, thickness_cm=0.3, multiply=True)
    feet = person.wrinkles * 0.7 + 0.35 * mood.squint * (person.age > 0.3)
    if feet > 0.15:
        lines = [both_sides([(4.95, rise * 0.6), (5.9, rise * 1.6)]) for rise in (-0.35, 0.1, 0.5)]
        painter.shape(np.concatenate(lines), _CREASE, feet * 0.6, 0.06, 0.06, multiply=True)
    if mood.frown > 0.3:
        line = both_sides([(0.5, -1.3), (0.45, -2.6)])
        painter.shape(line, _CREASE, 0.6 * mood.frown, blur_cm=0.08, thickness_cm=0.1, multiply=True)
    lines = person.wrinkles * 0.8 + 0.5 * max(mood.brow_raise, 0) * (person.age > 0.2)
    if lines > 0.15:
        x = np.linspace(-4, 4, 15)
        waves = [b + 0.15 * np.cos(x * 0.8) + 0.08 * np.sin(x * 2 + rng.uniform(0, 6)) for b in (-3.6, -4.6, -5.6)]
        painter.shape(
            np.stack([np.stack([x, y], -1) for y in waves]), _CREASE, lines * 0.55, 0.09, 0.07, multiply=True
        )


def _paint_nose(painter: Painter, layout: FaceLayout, person: Identity) -> None:
    width = person.nose_label_width
    painter.set_label(layout.nose_outline, 6)
    wing = both_sides([(1.35, 3.35), (1.75, 3.65), (1.85, 4.15), (1.6, 4.65), (1.15, 4.8)]) * (width, 1)
    painter.shape(wing, _CREASE * 0.92, 0.6, blur_cm=0.1, thickness_cm=0.12, multiply=True)
    side = both_sides([(0.75, -0.4), (0.95, 1.2), (1.3, 2.8)]) * (width, 1)
    painter.shape(side, _CREASE, 0.22, blur_cm=0.3, thickness_cm=0.4, multiply=True)
    nostrils = both_sides([0.68 * width, 4.62])
    painter.blob(nostrils, (0.34 * width, 0.17), (0.13, 0.06, 0.05), strength=0.9, blur_cm=0.06)
    base = np.array([(-1.3 * width, 4.85), (-0.5, 5.1), (0, 5.2), (0.5, 5.1), (1.3 * width, 4.85)])
    painter.shape(base, _CREASE, 0.25, blur_cm=0.2, thickness_cm=0.25, multiply=True)
    painter.blob((0.0, 3.55), (0.3, 0.25), (1.08, 1.08, 1.08), strength=0.5, blur_cm=0.2, multiply=True)


def _paint_facial_hair(painter: Painter, layout: FaceLayout, person: Identity, rng: np.random.Generator) -> None:
    rgb = person.brow_rgb
    everywhere = (slice(None), slice(None))
    if person.stubble > 0:
        area = painter.soft_area(_STUBBLE_OUTLINE, 0.5)
        grain = np.clip(0.42 + 0.3 * crop_noise("pore", painter.size_hw, rng), 0, 1)
        weight = area * grain * np.float32(0.85 * person.stubble)
        painter.blend(everywhere, weight, rgb * np.float32(0.75) + np.float32(0.08))
    if person.beard > 0 or person.goatee:
        outline = _BEARD_OUTLINE if person.beard > 0 else _GOATEE_OUTLINE
        area = painter.soft_area(outline, 0.22)
        strand = crop_noise("strand", painter.size_hw, rng, 1.2)
        colour = np.clip((rgb * np.float32(1.1))[:, None, None] * (1 + np.float32(0.28) * strand), 0.02, 1)
        weight = np.clip(area * 1.5 + 0.25 * area * strand, 0, 1) * max(person.beard, 0.85)
        painter.blend(everywhere, weight.astype(np.float32), colour)
        painter.gloss *= 1 - 0.8 * area
    if person.moustache > 0:
        top = layout.lip_upper_top
        lip = top[2:-2]
        arch = np.stack([lip[:, 0] * 1.2, lip[:, 1] - 0.9 * (1 - (np.abs(lip[:, 0]) / 3.2) ** 1.5)], -1)
        outline = np.concatenate([arch, lip[::-1] + np.array([0, 0.12])])
        painter.shape(outline, rgb, 0.85 * person.moustache, blur_cm=0.1, gloss=0.2)
        painter.shape(outline + np.array([0, 0.1]), rgb * 0.6, 0.4 * person.moustache, blur_cm=0.2)
    if person.sideburns > 0:
        painter.shape(both_sides([(6.9, -4.2), (9.2, -4.2), (8.7, 2.4), (7.6, 2.9)]), rgb, 0.8, blur_cm=0.35)


def paint_face(
    layout: FaceLayout, person: Identity, mood: Expression, scale: float, light_x: float, rng: np.random.Generator
) -> tuple[Painter, np.ndarray]:
    """Paint one face.

    Args:
        scale (`float`): texture pixels per cm.
        light_x (`float`): where the key light stands, -1 image-left to 1, for the catch-lights.

    Returns:
        The painted textures and the pupils (2, 2) in surface coordinates.
    """
    painter = Painter(scale, person.skin_rgb)
    _paint_skin(painter, person, rng)
    _paint_creases(painter, person, mood, rng)
    _paint_nose(painter, layout, person)
    _paint_facial_hair(painter, layout, person, rng)
    paint_mouth(painter, layout, person, mood)
    pupils = paint_eyes(painter, layout, person, mood, light_x)
    paint_brows(painter, layout, person, rng)
    between(painter.albedo, 0, 1.3)
    return painter, pupils
