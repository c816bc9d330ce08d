"""What a landmark error is divided by, per landmark set: name -> (indices of one end, indices of the other).

The length is the distance between the means of the two index groups. Indices count from 0.
Sources: FaRL:farl/experiments/face_alignment (scorers) for 68, 98 and 19 points; LaPa (106) by the same meaning.
"""

__all__ = ["BOX_NORMALISERS", "DEFAULT_NORMALISER", "ERROR_CURVES", "NORMALISERS"]

NORMALISERS = {
    19: {"inter_ocular": ((6,), (11,)), "inter_pupil": ((7,), (10,))},
    68: {"inter_ocular": ((36,), (45,)), "inter_pupil": (tuple(range(36, 42)), tuple(range(42, 48)))},
    98: {"inter_ocular": ((60,), (72,)), "inter_pupil": ((96,), (97,))},
    106: {"inter_ocular": ((66,), (79,)), "inter_pupil": ((104,), (105,))},
}

# Normalisers that come from the annotated box of width w and height h instead of from the landmarks.
BOX_NORMALISERS = {"box": "sqrt(w * h)", "diag": "sqrt(w ** 2 + h ** 2)"}

# The one each benchmark reports first.
DEFAULT_NORMALISER = {19: "diag", 68: "inter_ocular", 98: "inter_ocular", 106: "inter_ocular"}

# Normaliser and largest error of the curve whose area and end (failure rate) a benchmark reports. FaRL's scorers give
# them for 98 points (WFLW) and 19 (AFLW-19); the others follow WFLW.
ERROR_CURVES = {
    19: ("box", 0.07),
    68: ("inter_ocular", 0.10),
    98: ("inter_ocular", 0.10),
    106: ("inter_ocular", 0.10),
}
