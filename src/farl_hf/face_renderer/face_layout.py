"""Where the parts of a face lie on the surface (a, b) in cm, and the 68 landmarks read off the same curves."""

from dataclasses import dataclass

import numpy as np

from farl_hf.face_renderer.identity import Expression, Identity

__all__ = ["FaceLayout", "make_layout"]

# iBUG contour points 0..8 (image-left half), surface coordinates; row b follows the edge of the jaw.
_CONTOUR_HALF = np.array(
    [
        (-8.3, 0.2),
        (-8.35, 2.2),
        (-8.3, 4.3),
        (-8.1, 6.4),
        (-7.6, 8.6),
        (-6.3, 10.3),
        (-4.5, 11.2),
        (-2.3, 11.55),
        (0, 11.6),
    ]
)
_NOSE_OUTLINE_HALF = np.array(
    [(-0.62, -0.75), (-0.72, 0.6), (-0.95, 1.9), (-1.35, 2.9), (-1.78, 3.5),
     (-1.9, 4.15), (-1.6, 4.7), (-1.0, 4.85), (-0.5, 5.05), (0, 5.15)]
)  # fmt: skip
# Shapes of the curves along their length, which no person or mood changes.
_BROW_POINTS = [0.0, 0.26, 0.54, 0.81, 1.0]  # from the inner end
_LID_T = np.linspace(0, 1, 17)
_LID_UPPER, _LID_LOWER = np.sin(np.pi * _LID_T**0.82) ** 0.85, np.sin(np.pi * _LID_T**1.15) ** 0.9
_BROW_T = np.linspace(0, 1, 13)
_BROW_ARCH, _BROW_TAIL = np.sin(np.pi * np.clip(_BROW_T * 0.78, 0, 1)) ** 1.4, _BROW_T**2.5
_BROW_HALF = np.interp(_BROW_T, [0, 0.12, 0.5, 0.85, 1], [0.85, 1.05, 0.9, 0.55, 0.15])
_LIP_T = np.linspace(-1, 1, 25)
_LIP_CORNER, _LIP_ARC = np.abs(_LIP_T) ** 1.8, np.clip(1 - _LIP_T**2, 0, None)
_LIP_WAVE = 0.06 * np.cos(3 * np.pi * _LIP_T) * _LIP_ARC
_GAP_UPPER, _GAP_LOWER, _LIP_FULL = _LIP_ARC**0.6, _LIP_ARC**0.55, _LIP_ARC**0.62
_LIP_BOW = np.interp(np.abs(_LIP_T), [0, 0.19, 0.6, 1], [0.8, 1.0, 0.62, 0.0])


@dataclass(frozen=True)
class FaceLayout:
    """Curves in surface coordinates, image-left part first; every array is (n, 2)."""

    eyes_upper: tuple[np.ndarray, np.ndarray]
    eyes_lower: tuple[np.ndarray, np.ndarray]
    eye_centres: np.ndarray
    brows_centre: tuple[np.ndarray, np.ndarray]
    brows_outline: tuple[np.ndarray, np.ndarray]
    nose_outline: np.ndarray
    lip_upper_top: np.ndarray
    lip_upper_low: np.ndarray
    lip_lower_top: np.ndarray
    lip_lower_low: np.ndarray
    landmarks: np.ndarray

    def eye_outline(self, side: int) -> np.ndarray:
        """Closed polygon of the opening between the lids."""
        return np.concatenate([self.eyes_upper[side], self.eyes_lower[side][::-1]])


def _eye(sign: int, person: Identity, mood: Expression) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Upper and lower lid from the inner to the outer corner, and the centre of the eyeball."""
    t = _LID_T
    centre = np.array([person.eye_spacing, 0.05])
    half = person.eye_width
    base = 0.16 - t * (0.16 + person.eye_tilt)
    opening = max(1 - mood.blink[0 if sign < 0 else 1], 0.03)
    upper = base - person.eye_height * 0.68 * (opening - 0.35 * (1 - opening)) * _LID_UPPER
    lower = base + person.eye_height * 0.35 * (1 - 0.35 * mood.squint) * _LID_LOWER
    upper = np.minimum(upper, lower)
    x = sign * (centre[0] - half + 2 * half * t)
    return np.stack([x, upper], -1), np.stack([x, lower], -1), np.array([sign * centre[0], centre[1]])


def _brow(sign: int, person: Identity, mood: Expression) -> tuple[np.ndarray, np.ndarray]:
    """Centre line from the inner to the outer end, and the outline."""
    t = _BROW_T
    lift = -0.75 * mood.brow_raise + 0.35 * mood.frown
    inner_y = person.brow_height + lift * 0.8 + 0.3 * mood.frown
    arch = person.brow_arch * _BROW_ARCH
    y = inner_y - arch - lift * 0.1 * t + person.brow_tail * _BROW_TAIL
    x = sign * (person.brow_inner - 0.25 * mood.frown + t * person.brow_length)
    half = person.brow_thickness * _BROW_HALF
    centre = np.stack([x, y], -1)
    outline = np.concatenate([np.stack([x, y - half], -1), np.stack([x, y + half], -1)[::-1]])
    return centre, outline


def _mouth(person: Identity, mood: Expression) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Four lip curves from the image-left to the image-right corner."""
    half = person.mouth_width * (1 + 0.4 * mood.smile - 0.12 * mood.jaw - 0.25 * mood.pucker)
    x = _LIP_T * half
    corner = 0.3 - 0.3 * mood.smile + 0.45 * mood.mouth_frown
    line = 6.92 + corner * _LIP_CORNER + 0.03 * mood.smile
    gap = mood.gap
    upper_low = line - gap * 0.6 * _GAP_UPPER + _LIP_WAVE
    lower_top = line + gap * 0.65 * _GAP_LOWER + _LIP_WAVE * (gap < 0.1)
    lower_top = np.maximum(lower_top, upper_low)
    thin = 1 - 0.28 * mood.smile - 0.15 * mood.jaw
    upper_top = upper_low - person.lip_upper * thin * _LIP_BOW
    lower_low = lower_top + person.lip_lower * thin * _LIP_FULL
    curves = [np.stack([x, y], -1) for y in (upper_top, upper_low, lower_top, lower_low)]
    return curves[0], curves[1], curves[2], curves[3]


def _at(curve: np.ndarray, fractions: list[float]) -> np.ndarray:
    position = np.asarray(fractions) * (len(curve) - 1)
    index = np.arange(len(curve))
    return np.stack([np.interp(position, index, curve[:, k]) for k in (0, 1)], -1)


def _landmarks(
    person: Identity, eyes: list, brows: list[np.ndarray], nose: np.ndarray, lips: tuple[np.ndarray, ...]
) -> np.ndarray:
    contour = np.concatenate([_CONTOUR_HALF, (_CONTOUR_HALF * (-1, 1))[-2::-1]])
    # The points of a brow lie on the upper half of its hair, between the centre line and the edge, spaced as in the
    # mean shape of the 68 points of 300-W.
    rise = np.stack([0 * _BROW_HALF, 0.5 * person.brow_thickness * _BROW_HALF], -1)
    left, right = (brow - rise for brow in brows)
    brow = [_at(left, _BROW_POINTS[::-1]), _at(right, _BROW_POINTS)]
    width = person.nose_label_width
    ridge = np.array([(0, -0.35), (0, 1.0), (0, 2.4), (0, 3.75)])
    base = np.array(
        [(-1.25 * width, 4.75), (-0.65 * width, 4.95), (0, 5.1), (0.65 * width, 4.95), (1.25 * width, 4.75)]
    )
    eye = []
    for side, (upper, lower) in enumerate(eyes):
        top, low = _at(upper, [0, 0.33, 0.67, 1]), _at(lower, [0.33, 0.67])
        order = (top[3], top[2], top[1], top[0], low[0], low[1]) if side == 0 else (*top, low[1], low[0])
        eye.append(np.stack(order))
    upper_top, upper_low, lower_top, lower_low = lips
    outer = np.concatenate(
        [_at(upper_top, [0, 0.17, 0.405, 0.5, 0.595, 0.83, 1]), _at(lower_low, [0.83, 0.66, 0.5, 0.34, 0.17])]
    )
    inner = np.concatenate([_at(upper_low, [0.07, 0.3, 0.5, 0.7, 0.93]), _at(lower_top, [0.7, 0.5, 0.3])])
    return np.concatenate([contour, *brow, ridge, base, *eye, outer, inner])


def make_layout(person: Identity, mood: Expression) -> FaceLayout:
    """Place the parts of a person's face for an expression."""
    left, right = _eye(-1, person, mood), _eye(1, person, mood)
    brow_left, brow_right = _brow(-1, person, mood), _brow(1, person, mood)
    half = _NOSE_OUTLINE_HALF * (person.nose_label_width, 1)
    nose = np.concatenate([half, (half * (-1, 1))[-2::-1]])
    lips = _mouth(person, mood)
    landmarks = _landmarks(
        person, [(left[0], left[1]), (right[0], right[1])], [brow_left[0], brow_right[0]], nose, lips
    )
    return FaceLayout(
        (left[0], right[0]), (left[1], right[1]), np.stack([left[2], right[2]]), (brow_left[0], brow_right[0]),
        (brow_left[1], brow_right[1]), nose, *lips, landmarks,
    )  # fmt: skip
