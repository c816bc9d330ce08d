"""Draws eyes, lids, lashes and brows."""

import numpy as np

from .face_layout import FaceLayout
from .identity import Expression, Identity
from .painter import Painter

__all__ = ["paint_brows", "paint_eyes"]


def _lid_shade(painter: Painter, layout: FaceLayout, side: int, person: Identity) -> None:
    """Crease, shadow of the socket, eye shadow and bag, below the eye itself."""
    upper, lower = layout.eyes_upper[side], layout.eyes_lower[side]
    sign = -1 if side == 0 else 1
    deep = np.array([0.62, 0.5, 0.46])
    shift = np.array([0, 1.0])
    painter.shape(layout.eye_outline(side), deep, 0.4, blur_cm=0.5, multiply=True)
    painter.blob(
        (sign * (person.eye_spacing - person.eye_width - 0.25), -0.25),
        (0.45, 0.6),
        deep,
        strength=0.45,
        blur_cm=0.35,
        multiply=True,
    )
    lid = np.concatenate(
        [upper - shift * 0.45 * np.sin(np.linspace(0, np.pi, len(upper)))[:, None] ** 0.7, upper[::-1]]
    )
    if person.eye_shadow > 0:
        wide = np.concatenate(
            [upper - shift * 0.85 * np.sin(np.linspace(0, np.pi, len(upper)))[:, None] ** 0.6, upper[::-1]]
        )
        painter.shape(wide, person.eye_shadow_rgb, person.eye_shadow, blur_cm=0.22)
    painter.shape(lid, (1.06, 1.05, 1.05), 0.6, blur_cm=0.12, multiply=True)
    crease = upper[1:-1] - shift * (
        0.42 * np.sin(np.linspace(0.12, np.pi * 0.95, len(upper) - 2))[:, None] ** 0.6 + 0.03
    )
    painter.shape(crease, deep * 0.8, 0.75, blur_cm=0.06, thickness_cm=0.09, multiply=True)
    bag = lower[2:-2] + shift * (0.35 + 0.3 * np.sin(np.linspace(0, np.pi, len(lower) - 4))[:, None])
    painter.shape(bag, deep, 0.12 + 0.65 * person.bags, blur_cm=0.12, thickness_cm=0.12, multiply=True)
    if person.bags > 0.3:
        area = np.concatenate([lower, bag[::-1]])
        painter.shape(area, (0.8, 0.72, 0.78), 0.6 * (person.bags - 0.3), blur_cm=0.2, multiply=True)


def _eyeball(
    painter: Painter, layout: FaceLayout, side: int, person: Identity, mood: Expression, light_x: float
) -> np.ndarray:
    """Sclera, iris, pupil and catch-light; returns the pupil's centre (a, b)."""
    outline = layout.eye_outline(side)
    sign = -1 if side == 0 else 1
    white = np.array([0.9, 0.87, 0.85]) * (0.98 - 0.012 * person.tone)
    painter.shape(outline, white)
    corner = np.array([layout.eyes_upper[side][0, 0] + sign * 0.12, layout.eyes_upper[side][0, 1]])
    painter.blob(corner, (0.26, 0.2), np.array([0.78, 0.48, 0.45]), blur_cm=0.07, strength=0.8, clip=outline)
    painter.shape(layout.eyes_lower[side], (0.82, 0.6, 0.56), 0.6, blur_cm=0.04, thickness_cm=0.08)
    pupil = layout.eye_centres[side] + (mood.gaze[0], mood.gaze[1] - 0.03)
    radius = 0.64
    iris = person.eye_rgb
    painter.blob(pupil, (radius, radius), iris * 0.42, blur_cm=0.03, clip=outline)
    painter.blob(pupil, (radius * 0.84, radius * 0.84), iris, blur_cm=0.07, clip=outline)
    painter.blob(
        pupil + np.array([0, 0.28]),
        (radius * 0.55, radius * 0.3),
        iris * 1.5 + 0.04,
        strength=0.55,
        blur_cm=0.1,
        clip=outline,
    )
    painter.blob(pupil, (0.27, 0.27), np.array([0.03, 0.025, 0.025]), blur_cm=0.03, clip=outline)
    shade = layout.eyes_upper[side] + np.array([0, 0.06])
    painter.shape(shade, (0.25, 0.2, 0.2), 0.75, blur_cm=0.12, thickness_cm=0.22, multiply=True, clip=outline)
    glint = pupil + np.array([0.22 * np.clip(light_x * 1.6, -1, 1), -0.22])
    painter.blob(glint, (0.12, 0.12), (1.3, 1.3, 1.3), blur_cm=0.03, clip=outline)
    return pupil


def _lashes(painter: Painter, layout: FaceLayout, side: int, person: Identity) -> None:
    upper, lower = layout.eyes_upper[side], layout.eyes_lower[side]
    sign = -1 if side == 0 else 1
    dark = np.array([0.07, 0.05, 0.045])
    heavy = person.mascara
    painter.shape(upper[1:], dark, 0.6 + 0.4 * heavy, blur_cm=0.02, thickness_cm=0.09 + 0.11 * heavy)
    painter.shape(lower[4:], dark, 0.25 + 0.4 * heavy, blur_cm=0.03, thickness_cm=0.06)
    if heavy < 0.3 or painter.scale < 8:
        return
    lines = []
    for k in range(6, len(upper), 2):
        reach = (0.18 + 0.28 * heavy) * (0.6 + 0.5 * k / len(upper))
        lines.append(np.stack([upper[k], upper[k] + (sign * reach * (0.2 + 0.7 * k / len(upper)), -reach * 0.8)]))
    painter.strokes(lines, dark, 0.4 + 0.4 * heavy, 0.06)


def paint_eyes(painter: Painter, layout: FaceLayout, person: Identity, mood: Expression, light_x: float) -> np.ndarray:
    """Paint both eyes and their labels; returns the pupils (2, 2) in surface coordinates."""
    pupils = []
    for side in (0, 1):
        _lid_shade(painter, layout, side, person)
        pupils.append(_eyeball(painter, layout, side, person, mood, light_x))
        _lashes(painter, layout, side, person)
        painter.set_label(layout.eye_outline(side), 4 + side)
    return np.stack(pupils)


def paint_brows(painter: Painter, layout: FaceLayout, person: Identity, rng: np.random.Generator) -> None:
    """Paint both brows as a soft body with hair strokes, and their labels."""
    for side in (0, 1):
        outline, centre = layout.brows_outline[side], layout.brows_centre[side]
        sign = -1 if side == 0 else 1
        painter.shape(outline, person.brow_rgb, 0.62 * person.brow_density, blur_cm=0.1)
        if painter.scale >= 7:
            _brow_hairs(painter, centre, sign, person, rng)
        painter.set_label(outline, 2 + side)


def _brow_hairs(painter: Painter, centre: np.ndarray, sign: int, person: Identity, rng: np.random.Generator) -> None:
    count = 26
    t = np.linspace(0.02, 0.97, count)
    index = np.arange(len(centre)) / (len(centre) - 1)
    x, y = np.interp(t, index, centre[:, 0]), np.interp(t, index, centre[:, 1])
    half = person.brow_thickness * np.interp(t, [0, 0.2, 0.6, 1], [0.9, 1, 0.8, 0.15])
    start = np.stack([x, y + half * rng.uniform(0.2, 1.0, count)], -1)
    lean = np.interp(t, [0, 0.3, 1], [0.1, 0.45, 0.75]) + rng.normal(0, 0.06, count)
    end = start + np.stack([sign * lean, -half * np.interp(t, [0, 0.5, 1], [2.0, 1.2, 0.2])], -1)
    painter.strokes(list(np.stack([start, end], 1)), person.brow_rgb * 0.8, 0.6 * person.brow_density, 0.07)
