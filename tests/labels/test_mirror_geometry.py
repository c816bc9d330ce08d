"""Mirror tables against geometry: where parts lie after a mirror, on faces drawn here and on rendered label maps.

The faces follow the figures of the data sets: outlines run from the image's left to its right, and loops begin at
their left end and go over the upper edge.
"""

import numpy as np
import pytest

from farl_hf.data.samples.face_samples import mirror_order
from farl_hf.face_renderer import render_face_photo
from farl_hf.labels import FIVE_POINTS_MIRROR_PAIRS, LANDMARK_MIRROR_PAIRS, LAPA_MIRROR_PAIRS

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
    """LaPa's classes; those of CelebAMask-HQ are known by their names only."""
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
