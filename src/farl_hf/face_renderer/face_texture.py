"""Paints a whole face in surface coordinates: skin, creases, nose and beard, then mouth, eyes and brows.

Parts that a face has twice are painted in one go, the image-left one first.
"""

import cv2
import numpy as np

from farl_hf.face_renderer.face_layout import FaceLayout
from farl_hf.face_renderer.identity import Expression, Identity
from farl_hf.face_renderer.painter import Painter, both_sides
from farl_hf.face_renderer.photo_effects import crop_noise
from farl_hf.face_renderer.random_choice import between

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
    furrows = person.wrinkles * 0.8 + 0.5 * max(mood.brow_raise, 0) * (person.age > 0.2)
    if furrows > 0.15:
        x = np.linspace(-4, 4, 15)
        waves = [b + 0.15 * np.cos(x * 0.8) + 0.08 * np.sin(x * 2 + rng.uniform(0, 6)) for b in (-3.6, -4.6, -5.6)]
        painter.shape(
            np.stack([np.stack([x, y], -1) for y in waves]), _CREASE, furrows * 0.55, 0.09, 0.07, multiply=True
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
    rgb = person.beard_rgb
    everywhere = (slice(None), slice(None))
    if person.stubble > 0:
        area = painter.soft_area(_STUBBLE_OUTLINE, 0.5)
        grain = np.clip(0.42 + 0.3 * crop_noise("pore", painter.size_hw, rng), 0, 1)
        weight = area * grain * np.float32(0.85 * person.stubble)
        painter.blend(everywhere, weight, rgb * np.float32(0.75) + np.float32(0.08))
    if person.beard > 0 or person.goatee:
        outline = _BEARD_OUTLINE if person.beard > 0 else _GOATEE_OUTLINE
        area = painter.soft_area(outline, 0.22 + 0.3 * (1 - person.beard))
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
) -> Painter:
    """Paint one face.

    Args:
        scale (`float`): texture pixels per cm.
        light_x (`float`): where the key light stands, -1 image-left to 1, for the catch-lights.

    Returns:
        `Painter`: The painted textures.
    """
    painter = Painter(scale, person.skin_rgb)
    _paint_skin(painter, person, rng)
    _paint_creases(painter, person, mood, rng)
    _paint_nose(painter, layout, person)
    _paint_facial_hair(painter, layout, person, rng)
    _paint_mouth(painter, layout, person, mood)
    _paint_eyes(painter, layout, person, mood, light_x)
    _paint_brows(painter, layout, person, rng)
    between(painter.albedo, 0, 1.3)
    return painter


# Eyes, lids, lashes and brows.

_DEEP = np.array([0.62, 0.5, 0.46])
_CORNER_SHADE = np.array([0.5, 0.4, 0.38])
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
    painter.blob(inner, (0.45, 0.6), _DEEP, strength=0.3, blur_cm=0.35, multiply=True)
    # On photographs the outer corner and the skin around it are half as bright as the cheek: lashes and their shadow.
    dusk = 0.7 + 0.25 * person.mascara
    painter.blob(upper[:, -2], (0.75, 0.42), _CORNER_SHADE, strength=dusk, blur_cm=0.4, multiply=True)
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
    outer = upper[:, -1]
    painter.blob(outer, (0.85, 0.6), (0.6, 0.55, 0.54), strength=0.75, blur_cm=0.3, multiply=True, clip=clip)
    _irises(painter, pupils, clip, person.eye_rgb * 0.55)
    shade = np.add(upper, (0, 0.06))
    painter.shape(shade, (0.25, 0.2, 0.2), 0.75, blur_cm=0.12, thickness_cm=0.26, multiply=True, clip=clip)
    glint = np.add(pupils, (0.22 * min(max(light_x * 1.6, -1), 1), -0.22))
    painter.blob(glint, (0.1, 0.1), (1.3, 1.3, 1.3), blur_cm=0.03, clip=clip)


def _irises(painter: Painter, pupils: np.ndarray, clip: np.ndarray, iris: np.ndarray) -> None:
    radius = 0.6
    painter.blob(pupils, (radius, radius), iris * 0.42, blur_cm=0.03, clip=clip)
    painter.blob(pupils, (radius * 0.84, radius * 0.84), iris, blur_cm=0.07, clip=clip)
    low = np.add(pupils, (0, 0.28))
    bright = (radius * 0.55, radius * 0.3)
    painter.blob(low, bright, iris * 1.4 + 0.03, strength=0.5, blur_cm=0.1, clip=clip)
    painter.blob(pupils, (0.3, 0.3), np.array([0.03, 0.025, 0.025]), blur_cm=0.03, clip=clip)


def _lashes(painter: Painter, upper: np.ndarray, lower: np.ndarray, person: Identity) -> None:
    dark = np.array([0.07, 0.05, 0.045])
    heavy = person.mascara
    painter.shape(upper[:, 1:], dark, 0.7 + 0.3 * heavy, blur_cm=0.03, thickness_cm=0.12 + 0.11 * heavy)
    painter.shape(upper[:, 9:], dark, 0.45 + 0.4 * heavy, blur_cm=0.08, thickness_cm=0.2 + 0.12 * heavy)
    painter.shape(lower[:, 4:], dark, 0.35 + 0.4 * heavy, blur_cm=0.05, thickness_cm=0.08)
    if heavy < 0.3 or painter.scale < 8:
        return
    k = np.arange(6, upper.shape[1], 2)
    outward = k / upper.shape[1]
    reach = (0.18 + 0.28 * heavy) * (0.6 + 0.5 * outward)
    tips = upper[:, k] + both_sides(np.stack([reach * (0.2 + 0.7 * outward), -reach * 0.8], -1))
    lines = np.stack([upper[:, k], tips], 2).reshape(-1, 2, 2)
    painter.shape(lines, dark, 0.4 + 0.4 * heavy, thickness_cm=0.06)


def _paint_eyes(painter: Painter, layout: FaceLayout, person: Identity, mood: Expression, light_x: float) -> None:
    """Both eyes and their labels."""
    upper, lower = np.stack(layout.eyes_upper), np.stack(layout.eyes_lower)
    pupils = np.add(layout.eye_centres, (mood.gaze[0], mood.gaze[1] - 0.03))
    _lid_shade(painter, upper, lower, person)
    _eyeballs(painter, upper, lower, pupils, person, light_x)
    _lashes(painter, upper, lower, person)
    for side in (0, 1):
        painter.set_label(layout.eye_outline(side), 4 + side)


def _paint_brows(painter: Painter, layout: FaceLayout, person: Identity, rng: np.random.Generator) -> None:
    """Both brows as a soft body with hair strokes, and their labels."""
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


# Lips, teeth, tongue and the dark of an open mouth.

_TEETH_GAPS = np.arange(-4, 5) * 0.43


def _lip_rgb(person: Identity) -> np.ndarray:
    skin = person.skin_rgb
    natural = skin * np.array([0.92, 0.58, 0.59]) + np.array([0.03, 0.0, 0.01])
    return natural + person.lipstick * 0.85 * (person.lipstick_rgb - natural)


def _inside(painter: Painter, layout: FaceLayout, mood: Expression) -> None:
    """Teeth, tongue and throat between the lips."""
    outline = np.concatenate([layout.lip_upper_low, layout.lip_lower_top[::-1]])
    painter.shape(outline, (0.13, 0.05, 0.05))
    clip = painter.area(outline)
    painter.set_label(outline, 8)
    stretch = 1.0 + mood.jaw / 0.6
    centre_top = layout.lip_upper_low[:, 1]
    half = abs(layout.lip_upper_low[0, 0])
    if mood.jaw > 0.5:
        low = layout.lip_lower_top[12, 1]
        painter.blob((0, low), (half * 0.6, 0.2 + 0.1 * mood.gap), (0.62, 0.3, 0.3), blur_cm=0.08, clip=clip)
    if mood.teeth:
        x = layout.lip_upper_low[3:-3, 0] * 0.96
        top = centre_top[3:-3] - 0.05
        low = top + 0.1 + 0.85 / np.sqrt(stretch) * np.sqrt(np.clip(1 - (x / half) ** 2, 0, 1))
        teeth = np.concatenate([np.stack([x, top], -1), np.stack([x, low], -1)[::-1]])
        painter.shape(teeth, (0.93, 0.9, 0.84), blur_cm=0.03, clip=clip, gloss=1.6)
        if stretch < 2:
            across, top_end, low_end = _TEETH_GAPS, np.full(9, top.min()), np.full(9, low.max())
            gaps = np.stack([np.stack([across, top_end], -1), np.stack([across * 0.98, low_end], -1)], 1)
            painter.shape(gaps, (0.55, 0.42, 0.36), 0.35, thickness_cm=0.05, clip=painter.area(teeth))
        painter.shape(np.stack([x, low], -1), (0.3, 0.15, 0.14), 0.4, blur_cm=0.04, thickness_cm=0.06, clip=clip)
    sides = np.array([0.3, 0.16, 0.15])
    corners = layout.lip_upper_low[[0, -1]] * (0.93, 1)
    painter.blob(corners, (0.5, 0.35), sides, strength=0.7, blur_cm=0.2, multiply=True, clip=clip)
    painter.shape(layout.lip_upper_low, sides, 0.4, blur_cm=0.06, thickness_cm=0.08, multiply=True, clip=clip)


def _paint_mouth(painter: Painter, layout: FaceLayout, person: Identity, mood: Expression) -> None:
    """Lips, mouth interior and their labels."""
    lip = _lip_rgb(person)
    upper = np.concatenate([layout.lip_upper_top, layout.lip_upper_low[::-1]])
    lower = np.concatenate([layout.lip_lower_top, layout.lip_lower_low[::-1]])
    soft = 0.035 + 0.05 * (1 - person.lipstick)
    strength = 0.75 + 0.25 * person.lipstick
    painter.shape(
        layout.lip_lower_low + np.array([0, 0.22]),
        (0.72, 0.6, 0.58),
        0.3,
        blur_cm=0.14,
        thickness_cm=0.22,
        multiply=True,
    )
    painter.shape(lower, lip * 1.04, strength, blur_cm=soft, gloss=1.5 + person.lipstick)
    painter.shape(upper, lip * 0.9, strength, blur_cm=soft, gloss=1.1 + 0.5 * person.lipstick)
    painter.set_label(upper, 7)
    painter.set_label(lower, 9)
    middle = (layout.lip_lower_top + layout.lip_lower_low)[6:-6] / 2
    painter.shape(middle - (0, 0.05), (1.16, 1.18, 1.18), 0.6, blur_cm=0.1, thickness_cm=0.16, multiply=True)
    if mood.gap > 0.05:
        _inside(painter, layout, mood)
    painter.shape(layout.lip_upper_low, (0.34, 0.19, 0.18), 0.9, blur_cm=0.05, thickness_cm=0.11, multiply=True)
    corners = layout.lip_upper_low[[0, -1]]
    painter.blob(corners, (0.28, 0.2), (0.5, 0.38, 0.36), strength=0.6, blur_cm=0.15, multiply=True)
