"""Mirror tables against geometry: where parts lie after a mirror, on faces drawn here and on rendered label maps.

The faces follow the figures of the data sets: outlines run from the image's left to its right, and loops begin at
their left end and go over the upper edge.
"""

import numpy as np
import PIL.Image
import pytest

from farl_hf.data.datasets.celebamask_hq import PARTS, compose_label_map
from farl_hf.data.samples.face_samples import mirror_order
from farl_hf.face_renderer import render_face_photo
from farl_hf.labels import (
    CELEBAMASK_DATASET_LABELS,
    CELEBAMASK_DATASET_MIRROR_PAIRS,
    CELEBAMASK_LABELS,
    CELEBAMASK_MIRROR_PAIRS,
    FIVE_POINTS_MIRROR_PAIRS,
    LANDMARK_MIRROR_PAIRS,
    LAPA_MIRROR_PAIRS,
)

PAIRS = {5: FIVE_POINTS_MIRROR_PAIRS, **LANDMARK_MIRROR_PAIRS}
LEFT_EYE, RIGHT_EYE, MOUTH = (-0.4, -0.3), (0.4, -0.3), (0.0, 0.5)


def row(count, left_xy, right_xy, rise=0.0):
    """Points from left to right on a bow that rises (y down) in its middle."""
    share = np.linspace(0, 1, count)
    points_xy = np.outer(1 - share, left_xy) + np.outer(share, right_xy)
    points_xy[:, 1] -= rise * np.sin(np.pi * share)
    return points_xy


def loop(count, centre_xy, half_width, half_height):
    """Points around an ellipse: from its left end over its top."""
    angles = np.pi - 2 * np.pi * np.arange(count) / count
    return np.array(centre_xy) + np.stack([half_width * np.cos(angles), -half_height * np.sin(angles)], axis=1)


def brow(upper, lower, centre_x):
    """The upper edge from left to right and, if there is one, the lower edge back."""
    top = row(upper, (centre_x - 0.25, -0.55), (centre_x + 0.25, -0.55), 0.1)
    return np.concatenate([top, row(lower, (centre_x + 0.2, -0.5), (centre_x - 0.2, -0.5), 0.08)]) if lower else top


def both_eyes(count):
    return [loop(count, LEFT_EYE, 0.15, 0.06), loop(count, RIGHT_EYE, 0.15, 0.06)]


def lips():
    return [loop(12, MOUTH, 0.3, 0.12), loop(8, MOUTH, 0.2, 0.05)]


def contour(count):
    return row(count, (-1, -0.2), (1, -0.2), -1.2)


BRIDGE = np.stack([np.zeros(4), np.linspace(-0.3, 0.15, 4)], axis=1)
FACES = {
    5: [[LEFT_EYE, RIGHT_EYE, (0, 0.15)], row(2, (-0.3, 0.5), (0.3, 0.5))],
    19: [
        *(brow(3, 0, x) for x in (-0.4, 0.4)),
        *(row(3, (x - 0.15, -0.3), (x + 0.15, -0.3)) for x in (-0.4, 0.4)),
        *(row(3, (-width, y), (width, y)) for width, y in ((0.15, 0.2), (0.3, 0.5))),
        [(0, 1)],
    ],
    68: [
        contour(17),
        *(brow(5, 0, x) for x in (-0.4, 0.4)),
        *(BRIDGE, row(5, (-0.15, 0.2), (0.15, 0.2), -0.05)),
        *(*both_eyes(6), *lips()),
    ],
    98: [
        contour(33),
        *(brow(5, 4, x) for x in (-0.4, 0.4)),
        *(BRIDGE, row(5, (-0.15, 0.2), (0.15, 0.2), -0.05)),
        *(*both_eyes(8), *lips(), [LEFT_EYE, RIGHT_EYE]),
    ],
    106: [
        contour(33),
        *(brow(5, 4, x) for x in (-0.4, 0.4)),
        *(BRIDGE, row(11, (-0.08, -0.2), (0.08, -0.2), -0.5)),
        *(part for eye in zip(both_eyes(8), ([LEFT_EYE], [RIGHT_EYE]), strict=True) for part in eye),
        *(*lips(), [LEFT_EYE, RIGHT_EYE]),
    ],
}


@pytest.mark.parametrize("num_points", sorted(PAIRS))
def test_every_landmark_meets_its_partner(num_points):
    points_xy = np.concatenate(FACES[num_points])
    assert len(points_xy) == num_points
    distances = np.linalg.norm(points_xy[:, None] - points_xy[None] * [-1, 1], axis=2)
    to_partner = distances[np.arange(num_points), mirror_order(PAIRS[num_points], num_points)]
    assert to_partner.max() < 1e-9
    # Nothing else lies there, but for LaPa's pupils, which are where its eye centres are.
    alone = (distances < 1e-3).sum(axis=1) == 1
    assert alone.sum() == num_points - (4 if num_points == 106 else 0)


def test_parsing_classes_keep_their_side():
    """LaPa's classes, on rendered faces; those of CelebAMask-HQ follow, on painted ones."""
    order = mirror_order(LAPA_MIRROR_PAIRS, 11)
    offsets = []  # of each class from the nose, before and after a mirror
    for index in range(12):
        label_map = render_face_photo(index).label_map
        for one in (label_map, order[label_map[:, ::-1]]):
            columns = [np.nonzero(one == label)[1] for label in range(11)]
            offsets.append([found.mean() - columns[6].mean() if found.size else np.nan for found in columns])
    before, after = np.array(offsets[::2]), np.array(offsets[1::2])
    np.testing.assert_allclose(after[:, order], -before, atol=1e-9)
    for sides in (before, after):
        assert (np.nanmean(sides, axis=0)[[2, 4]] < -5).all()
        assert (np.nanmean(sides, axis=0)[[3, 5]] > 5).all()


# The classes of CelebAMask-HQ, by the names of the mask files, whose "l" and "r" are the person's: `l_eye` is the eye
# on the right of the picture. Sources: FacePerceiver/FaRL `farl/datasets/celebamask_hq.py`, lines 85-96 (order, and
# the names rr, lr, rb, lb, re, le for the files l_ear, r_ear, l_brow, r_brow, l_eye, r_eye);
# switchablenorms/CelebAMask-HQ `face_parsing/Data_preprocessing/g_mask.py` (the other order).
# fmt: off
CELEBAMASK_FILES = {
    "farl": ["neck", "skin", "cloth", "l_ear", "r_ear", "l_brow", "r_brow", "l_eye", "r_eye", "nose", "mouth", "l_lip",
             "u_lip", "hair", "eye_g", "hat", "ear_r", "neck_l"],
    "dataset": ["skin", "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "l_ear", "r_ear", "mouth", "u_lip",
                "l_lip", "hair", "hat", "ear_r", "neck_l", "neck", "cloth"],
}
# fmt: on
# x and y of a box of each part, in parts of the picture; those of the person's left are on the right.
CELEBAMASK_BOXES = {
    "l_eye": [(0.58, 0.40, 0.70, 0.44)],
    "r_eye": [(0.28, 0.39, 0.42, 0.44)],
    "l_brow": [(0.56, 0.33, 0.72, 0.36)],
    "r_brow": [(0.26, 0.31, 0.42, 0.36)],
    "l_ear": [(0.80, 0.40, 0.86, 0.55)],
    "r_ear": [(0.12, 0.42, 0.20, 0.55)],
    "skin": [(0.20, 0.20, 0.80, 0.80)],
    "nose": [(0.46, 0.40, 0.56, 0.58)],
    "mouth": [(0.40, 0.67, 0.62, 0.69)],
    "u_lip": [(0.40, 0.64, 0.62, 0.67)],
    "l_lip": [(0.40, 0.69, 0.62, 0.72)],
    "hair": [(0.20, 0.05, 0.75, 0.25)],
    "eye_g": [(0.45, 0.40, 0.46, 0.42), (0.24, 0.44, 0.42, 0.47)],
    "hat": [(0.30, 0.00, 0.80, 0.10)],
    "ear_r": [(0.13, 0.55, 0.15, 0.60)],
    "neck_l": [(0.34, 0.86, 0.70, 0.88)],
    "neck": [(0.38, 0.80, 0.64, 0.90)],
    "cloth": [(0.10, 0.90, 0.95, 1.00)],
}


def painted(files, mirrored, side=100):
    """A label map of one order. Of the mirrored face, each box and each side of the person is the other one."""
    label_map = np.zeros((side, side), np.int64)
    for name in files:  # later ones cover earlier ones
        other_side = {"l_": "r_", "r_": "l_"}.get(name[:2]) if name[2:] in ("eye", "brow", "ear") else None
        painted_as = other_side + name[2:] if mirrored and other_side else name
        for box in CELEBAMASK_BOXES[name]:
            left, top, right, bottom = (round(side * edge) for edge in box)
            left, right = (side - right, side - left) if mirrored else (left, right)
            label_map[top:bottom, left:right] = 1 + files.index(painted_as)
    return label_map


@pytest.mark.parametrize(
    ("files", "pairs", "names"),
    [
        (CELEBAMASK_FILES["farl"], CELEBAMASK_MIRROR_PAIRS, CELEBAMASK_LABELS),
        (CELEBAMASK_FILES["dataset"], CELEBAMASK_DATASET_MIRROR_PAIRS, CELEBAMASK_DATASET_LABELS),
    ],
    ids=CELEBAMASK_FILES,
)
def test_a_mirrored_face_of_celebamask_hq_is_painted_as_a_face(files, pairs, names):
    face = painted(files, mirrored=False)
    assert set(np.unique(face)) == set(range(19))
    np.testing.assert_array_equal(mirror_order(pairs, 19)[face[:, ::-1]], painted(files, mirrored=True))
    for label, name in enumerate(names):  # names are the picture's side
        columns = np.nonzero(face == label)[1]
        if name.startswith(("left_", "right_")):
            assert (columns < 50).all() == name.startswith("left_")
            assert (columns >= 50).all() == name.startswith("right_")


@pytest.mark.parametrize("order", CELEBAMASK_FILES)
def test_label_maps_of_celebamask_hq_are_those_painted_here(order, tmp_path):
    """The loader's own composition of the mask files."""
    for name, boxes in CELEBAMASK_BOXES.items():
        mask = np.zeros((100, 100), np.uint8)
        for box in boxes:
            left, top, right, bottom = (round(100 * edge) for edge in box)
            mask[top:bottom, left:right] = 255
        PIL.Image.fromarray(mask).save(tmp_path / f"{name}.png")
    masks = {name: str(tmp_path / f"{name}.png") for name in CELEBAMASK_BOXES}
    label_map = compose_label_map(masks, PARTS[order])
    np.testing.assert_array_equal(label_map, painted(CELEBAMASK_FILES[order], mirrored=False))
