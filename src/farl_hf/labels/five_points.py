"""The five points that detectors give and that alignment needs, and where to read them in larger landmark sets.

Left is the image's left: point 0 is the eye on the left of the picture. Indices count from 0.
"""

__all__ = ["FIVE_FROM_LANDMARKS", "FIVE_POINTS", "FIVE_POINTS_MIRROR_PAIRS"]

FIVE_POINTS = ("left_eye", "right_eye", "nose_tip", "left_mouth_corner", "right_mouth_corner")

FIVE_POINTS_MIRROR_PAIRS = ((0, 1), (3, 4))

# Number of landmarks -> for each of the five points, the indices whose mean it is.
FIVE_FROM_LANDMARKS = {
    19: ((7,), (10,), (13,), (15,), (17,)),  # AFLW-19: eye centres, nose tip, mouth corners
    68: (tuple(range(36, 42)), tuple(range(42, 48)), (30,), (48,), (54,)),  # eye centres as means of the lids
    98: ((96,), (97,), (54,), (76,), (82,)),  # WFLW: pupils
    106: ((104,), (105,), (54,), (84,), (90,)),  # LaPa (FaRL:farl/datasets/prepare.py): pupils
}
