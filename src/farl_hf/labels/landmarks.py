"""Landmark sets: the five keypoints in them, their parts, mirror pairs, and what their errors are divided by.

Sets are named by their number of points: 68 (300W), 98 (WFLW), 19 (AFLW-19), 106 (LaPa). Indices count from 0. Left is
the image's left.
"""

# The keypoints that detectors give and that alignment needs: point 0 is the eye on the left of the picture.
FIVE_POINTS = ("left_eye", "right_eye", "nose_tip", "left_mouth_corner", "right_mouth_corner")

FIVE_POINTS_MIRROR_PAIRS = ((0, 1), (3, 4))

# Number of landmarks -> for each of the five points, the indices whose mean it is.
FIVE_FROM_LANDMARKS = {
    19: ((7,), (10,), (13,), (15,), (17,)),  # AFLW-19: eye centres, nose tip, mouth corners
    68: (tuple(range(36, 42)), tuple(range(42, 48)), (30,), (48,), (54,)),  # eye centres as means of the lids
    98: ((96,), (97,), (54,), (76,), (82,)),  # WFLW: pupils
    106: ((104,), (105,), (54,), (84,), (90,)),  # LaPa: pupils (FaRL:farl/datasets/prepare.py, line 26)
}


def _line(first: int, last: int) -> tuple[tuple[int, ...], bool]:
    return tuple(range(first, last + 1)), False


def _loop(first: int, last: int) -> tuple[tuple[int, ...], bool]:
    return tuple(range(first, last + 1)), True


# Which landmarks form which part of the face, for drawing: name -> (indices, whether the line closes). A group of one
# index is a single point (a pupil, the chin).
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


def _crossed(first: int, last: int) -> tuple[tuple[int, int], ...]:
    """Pairs of a run that is its own mirror image: (first, last), (first + 1, last - 1) …; an odd middle stays."""
    return tuple((first + step, last - step) for step in range((last - first + 1) // 2))


_BROWS_98 = ((33, 46), (34, 45), (35, 44), (36, 43), (37, 42), (38, 50), (39, 49), (40, 48), (41, 47))

# Which landmarks change places when a picture is mirrored; points that are not listed keep theirs.
#
# Sources: HRNet-Facial-Landmark-Detection, lib/utils/transforms.py, for 68, 19 (both stored there counting from 1) and
# 98 points. There is no public table for the 106 of LaPa; theirs follow from the layout of its figure, and pair the
# points that meet when it is mirrored (tests/labels/test_mirror_geometry.py).
# fmt: off
LANDMARK_MIRROR_PAIRS = {
    19: (
        *_crossed(0, 5),                                               # eyebrows
        *_crossed(6, 11),                                              # eyes
        (12, 14), (15, 17),                                            # nostrils, mouth corners
    ),
    68: (
        *_crossed(0, 16),                                              # contour
        *_crossed(17, 26),                                             # eyebrows
        *_crossed(31, 35),                                             # nose bottom
        (36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46),    # eyes
        *_crossed(48, 54), (59, 55), (58, 56),                         # outer lips
        *_crossed(60, 64), (67, 65),                                   # inner lips
    ),
    98: (
        *_crossed(0, 32), *_BROWS_98,
        *_crossed(55, 59),                                             # nose bottom
        (60, 72), (61, 71), (62, 70), (63, 69), (64, 68), (65, 75), (66, 74), (67, 73),  # eyes
        *_crossed(76, 82), (87, 83), (86, 84),                         # outer lips
        *_crossed(88, 92), (95, 93),                                   # inner lips
        (96, 97),                                                      # pupils
    ),
    106: (
        *_crossed(0, 32), *_BROWS_98,
        *_crossed(55, 65),                                             # nose bottom
        (66, 79), (67, 78), (68, 77), (69, 76), (70, 75), (71, 82), (72, 81), (73, 80), (74, 83),  # eyes
        *_crossed(84, 90), *_crossed(91, 95),                          # outer lips
        *_crossed(96, 100), *_crossed(101, 103),                       # inner lips
        (104, 105),                                                    # pupils
    ),
}
# fmt: on

# What a landmark error is divided by: name -> (indices of one end, indices of the other). The length is the distance
# between the means of the two index groups.
# Sources: FaRL:farl/experiments/face_alignment/scorers, ibug300w.yaml, lines 8-17 (68), wflw.yaml, lines 10-19 (98),
# and aflw19.yaml, lines 10-18 (19); LaPa (106) by the same meaning.
NORMALISERS: dict[int, dict[str, tuple[tuple[int, ...], tuple[int, ...]]]] = {
    19: {"inter_ocular": ((6,), (11,)), "inter_pupil": ((7,), (10,))},
    68: {"inter_ocular": ((36,), (45,)), "inter_pupil": (tuple(range(36, 42)), tuple(range(42, 48)))},
    98: {"inter_ocular": ((60,), (72,)), "inter_pupil": ((96,), (97,))},
    106: {"inter_ocular": ((66,), (79,)), "inter_pupil": ((104,), (105,))},
}

# Normalisers that come from the annotated box of width w and height h instead of from the landmarks.
BOX_NORMALISERS = {"box": "sqrt(w * h)", "diag": "sqrt(w ** 2 + h ** 2)"}

# The normaliser that each benchmark reports first.
DEFAULT_NORMALISER = {19: "diag", 68: "inter_ocular", 98: "inter_ocular", 106: "inter_ocular"}

# Normaliser and largest error of the curve whose area and end (failure rate) a benchmark reports. FaRL's scorers give
# them for 98 points (wflw.yaml, lines 21-30) and 19 (aflw19.yaml, lines 26-33); the others follow WFLW.
ERROR_CURVES = {
    19: ("box", 0.07),
    68: ("inter_ocular", 0.10),
    98: ("inter_ocular", 0.10),
    106: ("inter_ocular", 0.10),
}
