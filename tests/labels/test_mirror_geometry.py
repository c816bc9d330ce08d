"""Mirror tables against geometry: where parts lie after a mirror, on mean faces and on rendered label maps.

The mean faces are those of jhb86253817/PIPNet, `data/*/meanface.txt`, means over the training sets of AFLW-19, 300W,
WFLW and LaPa.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from farl_hf.data.samples.face_samples import mirror_order
from farl_hf.face_renderer import render_face_photo
from farl_hf.labels import FIVE_FROM_LANDMARKS, FIVE_POINTS_MIRROR_PAIRS, LANDMARK_MIRROR_PAIRS, LAPA_MIRROR_PAIRS

MEAN_FACES = json.loads((Path(__file__).parent / "mean_faces.json").read_text())
PAIRS = {5: FIVE_POINTS_MIRROR_PAIRS, **LANDMARK_MIRROR_PAIRS}
MEETING_POINTS = 0.015  # of the face box; neighbours on an outline are farther apart


def mean_face(num_points):
    if num_points > 5:
        return np.array(MEAN_FACES[str(num_points)])
    landmarks_xy = np.array(MEAN_FACES["68"])
    return np.stack([landmarks_xy[list(group)].mean(axis=0) for group in FIVE_FROM_LANDMARKS[68]])


def distances_to_mirrored(points_xy):
    """(N, N): from each point to the mirror image of each, the face turned upright and its middle at x = 0."""
    centred = points_xy - points_xy.mean(axis=0)
    found = []
    for turn in np.linspace(-0.1, 0.1, 201):
        turned = centred @ [[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]
        found.append(np.linalg.norm(turned[:, None] - turned[None] * [-1, 1], axis=2))
    return min(found, key=lambda distances: distances.min(axis=1).sum())


@pytest.mark.parametrize("num_points", sorted(PAIRS))
def test_every_landmark_meets_its_partner(num_points):
    distances = distances_to_mirrored(mean_face(num_points))
    partners = mirror_order(PAIRS[num_points], num_points)
    to_partner = distances[np.arange(num_points), partners]
    assert to_partner.max() < MEETING_POINTS
    # No other point is nearer. LaPa's pupils and eye centres are the same places.
    assert (to_partner <= distances.min(axis=1) + 1e-9).all()


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
