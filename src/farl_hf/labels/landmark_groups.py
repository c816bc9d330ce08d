"""Which landmarks form which part of the face, for drawing: name -> (indices, whether the line closes).

Sets: 68 points (300W), 98 (WFLW), 19 (AFLW-19), 106 (LaPa). Indices count from 0; left is the image's left.
A group of one index is a lone point (a pupil, the chin).
"""

__all__ = ["LANDMARK_GROUPS"]


def _line(first: int, last: int) -> tuple[tuple[int, ...], bool]:
    return tuple(range(first, last + 1)), False


def _loop(first: int, last: int) -> tuple[tuple[int, ...], bool]:
    return tuple(range(first, last + 1)), True


LANDMARK_GROUPS = {
    19: {
        "left_eyebrow": _line(0, 2),
        "right_eyebrow": _line(3, 5),
        "left_eye": _line(6, 8),
        "right_eye": _line(9, 11),
        "nose": _line(12, 14),
        "mouth": _line(15, 17),
        "chin": _line(18, 18),
    },
    68: {
        "contour": _line(0, 16),
        "left_eyebrow": _line(17, 21),
        "right_eyebrow": _line(22, 26),
        "nose_bridge": _line(27, 30),
        "nose_bottom": _line(31, 35),
        "left_eye": _loop(36, 41),
        "right_eye": _loop(42, 47),
        "outer_lips": _loop(48, 59),
        "inner_lips": _loop(60, 67),
    },
    98: {
        "contour": _line(0, 32),
        "left_eyebrow": _loop(33, 41),
        "right_eyebrow": _loop(42, 50),
        "nose_bridge": _line(51, 54),
        "nose_bottom": _line(55, 59),
        "left_eye": _loop(60, 67),
        "right_eye": _loop(68, 75),
        "outer_lips": _loop(76, 87),
        "inner_lips": _loop(88, 95),
        "left_pupil": _line(96, 96),
        "right_pupil": _line(97, 97),
    },
    106: {
        "contour": _line(0, 32),
        "left_eyebrow": _loop(33, 41),
        "right_eyebrow": _loop(42, 50),
        "nose_bridge": _line(51, 54),
        "nose_bottom": _line(55, 65),
        "left_eye": _loop(66, 73),
        "left_eye_centre": _line(74, 74),
        "right_eye": _loop(75, 82),
        "right_eye_centre": _line(83, 83),
        "outer_lips": _loop(84, 95),
        "inner_lips": _loop(96, 103),
        "left_pupil": _line(104, 104),
        "right_pupil": _line(105, 105),
    },
}
