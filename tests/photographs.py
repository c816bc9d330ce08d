"""Photographs of installed packages, with boxes and points drawn by hand.

The boxes and points were drawn on enlarged photos, before any detector had seen them.
`src/farl_hf/cli/demo_photographs/README.md` tells where the photos come from.
"""

from typing import NamedTuple

import matplotlib.cbook
from PIL import Image
from skimage import data

from farl_hf.cli.demo import GROUP_PHOTO


class DrawnFace(NamedTuple):
    """A face from forehead to chin and from cheek to cheek, and its five points; photo pixels."""

    box_xyxy: tuple[int, int, int, int]
    keypoints_xy: tuple[tuple[int, int], ...]


DRAWN_FACES = {
    "astronaut": (DrawnFace((180, 66, 271, 178), ((201, 101), (246, 102), (226, 130), (206, 142), (243, 144))),),
    "grace_hopper": (DrawnFace((172, 125, 344, 325), ((223, 189), (305, 187), (264, 235), (230, 280), (302, 278))),),
    "group": (  # the front row, from left to right
        DrawnFace((56, 76, 127, 178), ((81, 119), (117, 118), (105, 136), (88, 155), (111, 155))),
        DrawnFace((281, 82, 349, 178), ((297, 123), (337, 122), (324, 135), (312, 155), (334, 155))),
        DrawnFace((474, 98, 536, 185), ((497, 136), (527, 137), (512, 152), (499, 164), (523, 164))),
        DrawnFace((624, 118, 686, 206), ((649, 160), (675, 166), (665, 178), (649, 186), (665, 192))),
        DrawnFace((802, 116, 854, 194), ((819, 150), (843, 149), (834, 165), (824, 178), (840, 177))),
        DrawnFace((977, 76, 1034, 158), ((997, 107), (1024, 107), (1010, 125), (1002, 138), (1021, 138))),
        DrawnFace((1134, 116, 1190, 191), ((1150, 144), (1180, 142), (1167, 163), (1158, 175), (1175, 172))),
    ),
}

# Hidden by half, or out of focus behind the front row: they may be found or not.
UNCERTAIN_BOXES_XYXY = {
    "group": (
        *((1056, 128, 1097, 194), (710, 135, 735, 175), (860, 175, 888, 215), (121, 76, 135, 130)),
        *((948, 146, 968, 166), (1034, 132, 1052, 164), (1180, 142, 1200, 182)),
    )
}


def open_photo(name):
    """One of `DRAWN_FACES` as a PIL image."""
    if name == "astronaut":
        return Image.fromarray(data.astronaut())
    path = GROUP_PHOTO if name == "group" else matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    return Image.open(path).convert("RGB")
