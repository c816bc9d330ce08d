"""Draws lips, teeth, tongue and the dark of an open mouth."""

import numpy as np

from .face_layout import FaceLayout
from .identity import Expression, Identity
from .painter import Painter

__all__ = ["paint_mouth"]


_TEETH_GAPS = np.arange(-4, 5) * 0.43


def _lip_rgb(person: Identity) -> np.ndarray:
    skin = person.skin_rgb
    natural = skin * np.array([0.9, 0.64, 0.63]) + np.array([0.03, 0.0, 0.01])
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
        low = top + 0.1 + 0.72 / stretch * np.sqrt(np.clip(1 - (x / half) ** 2, 0, 1))
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
    painter.shape(layout.lip_upper_low, sides, 0.6, blur_cm=0.06, thickness_cm=0.1, multiply=True, clip=clip)


def paint_mouth(painter: Painter, layout: FaceLayout, person: Identity, mood: Expression) -> None:
    """Paint lips, mouth interior and their labels."""
    lip = _lip_rgb(person)
    upper = np.concatenate([layout.lip_upper_top, layout.lip_upper_low[::-1]])
    lower = np.concatenate([layout.lip_lower_top, layout.lip_lower_low[::-1]])
    soft = 0.035 + 0.05 * (1 - person.lipstick)
    strength = 0.75 + 0.25 * person.lipstick
    painter.shape(
        layout.lip_lower_low + np.array([0, 0.22]),
        (0.72, 0.6, 0.58),
        0.55,
        blur_cm=0.14,
        thickness_cm=0.22,
        multiply=True,
    )
    painter.shape(lower, lip * 1.04, strength, blur_cm=soft, gloss=1.5 + person.lipstick)
    painter.shape(upper, lip * 0.86, strength, blur_cm=soft, gloss=1.1 + 0.5 * person.lipstick)
    painter.set_label(upper, 7)
    painter.set_label(lower, 9)
    middle = (layout.lip_lower_top + layout.lip_lower_low)[6:-6] / 2
    painter.shape(middle - (0, 0.05), (1.16, 1.18, 1.18), 0.6, blur_cm=0.1, thickness_cm=0.16, multiply=True)
    if mood.gap > 0.05:
        _inside(painter, layout, mood)
    painter.shape(layout.lip_upper_low, (0.3, 0.2, 0.18), 0.85, blur_cm=0.03, thickness_cm=0.07, multiply=True)
    corners = layout.lip_upper_low[[0, -1]]
    painter.blob(corners, (0.28, 0.2), (0.5, 0.38, 0.36), strength=0.6, blur_cm=0.15, multiply=True)
