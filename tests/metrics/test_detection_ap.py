"""Average precision by hand, and against scikit-learn's precision-recall curve."""

import numpy as np
import pytest
import torch
from sklearn.metrics import precision_recall_curve

from farl_hf.errors import InvalidFaceInputError
from farl_hf.metrics.detection_ap import average_precision, box_overlaps, match_detections

FACE, OTHER, NOTHING = [0, 0, 10, 10], [100, 0, 110, 10], [50, 50, 60, 60]


def found(*scored_boxes):
    return {
        "scores": [score for score, _ in scored_boxes],
        "boxes_xyxy": np.array([box for _, box in scored_boxes]).reshape(-1, 4),
    }


def test_overlaps_by_hand():
    boxes = [FACE, [0, 0, 0, 0]]
    others = [FACE, [5, 0, 15, 10], [0, 0, 5, 5], OTHER, [0, 0, 0, 0]]
    np.testing.assert_allclose(box_overlaps(boxes, others), [[1, 1 / 3, 0.25, 0, 0], [0, 0, 0, 0, 0]])


def test_overlaps_equal_torchvision():
    from torchvision.ops import box_iou

    rng = np.random.default_rng(0)
    boxes = rng.uniform(0, 50, (20, 4))
    boxes[:, 2:] += boxes[:, :2]
    theirs = box_iou(torch.from_numpy(boxes[:8]), torch.from_numpy(boxes[8:])).numpy()
    np.testing.assert_allclose(box_overlaps(boxes[:8], boxes[8:]), theirs)


@pytest.mark.parametrize(
    ("detections", "faces", "expected"),
    [
        ([(0.9, FACE)], [FACE], 1.0),
        ([(0.9, FACE), (0.8, OTHER)], [FACE, OTHER], 1.0),
        ([(0.9, FACE)], [FACE, OTHER], 0.5),  # one of two found
        ([(0.9, NOTHING), (0.8, FACE)], [FACE], 0.5),  # found after one mistake
        ([(0.9, FACE), (0.8, NOTHING)], [FACE], 1.0),  # a mistake after everything is found costs nothing
        ([(0.9, FACE), (0.8, FACE)], [FACE], 1.0),  # so does a second detection of a face
        ([(0.9, FACE), (0.8, FACE), (0.7, OTHER)], [FACE, OTHER], 0.5 + 0.5 * 2 / 3),
        ([(0.9, NOTHING), (0.8, FACE), (0.7, OTHER)], [FACE, OTHER], 2 / 3),  # precision made non-increasing
        ([(0.9, [0, 0, 10, 5])], [FACE], 1.0),  # exactly half
        ([(0.9, [0, 0, 10, 4.9])], [FACE], 0.0),
        ([], [FACE], 0.0),
    ],
)
def test_average_precision_by_hand(detections, faces, expected):
    scores = average_precision([found(*detections)], [faces])
    assert scores["average_precision"] == pytest.approx(expected)
    assert (scores["num_faces"], scores["num_detections"]) == (len(faces), len(detections))


def test_photos_are_apart_but_share_one_ranking():
    detections = [found((0.9, FACE)), found((0.95, FACE), (0.5, OTHER))]
    scores = average_precision(detections, [[FACE], [OTHER]])
    assert scores["average_precision"] == pytest.approx(0.5 * 2 / 3 + 0.5 * 2 / 3)
    assert scores["recall"] == 1
    assert scores["precision"] == pytest.approx(2 / 3)
    assert scores["scores"].tolist() == [0.95, 0.9, 0.5]


def test_better_scores_choose_first():
    loose, exact = [0, 0, 10, 8], FACE
    assert match_detections([0.5, 0.9], [exact, loose], [FACE]).tolist() == [False, True]


def test_curve_equals_scikit_learn():
    rng = np.random.default_rng(0)
    correct, scores = rng.random(300) < 0.6, rng.permutation(300) / 300
    detections = [found((score, FACE if good else NOTHING)) for score, good in zip(scores, correct, strict=True)]
    ours = average_precision(detections, [[FACE] if good else [] for good in correct])
    precision, recall, _ = precision_recall_curve(correct, scores)
    envelope = np.maximum.accumulate(precision)
    assert ours["average_precision"] == pytest.approx(-(np.diff(recall) * envelope[:-1]).sum())


def test_tensors_and_photos_without_faces_are_taken():
    empty = {"scores": torch.zeros(0), "boxes_xyxy": torch.zeros(0, 4)}
    one = {"scores": torch.tensor([0.9]), "boxes_xyxy": torch.tensor([FACE])}
    assert average_precision([empty, one], [np.zeros((0, 4)), torch.tensor([FACE])])["average_precision"] == 1
    assert np.isnan(average_precision([one], [[]])["average_precision"])


@pytest.mark.parametrize(
    "detection",
    [
        {"scores": [float("nan")], "boxes_xyxy": [FACE]},
        {"scores": [0.5, 0.4], "boxes_xyxy": [FACE]},
        {"scores": [0.5], "boxes_xyxy": [[0, 0, 1]]},
        {"scores": [0.5], "boxes_xyxy": [[*FACE, *FACE]]},
    ],
)
def test_detections_that_cannot_be(detection):
    with pytest.raises(InvalidFaceInputError, match="expected"):
        average_precision([detection], [[FACE]])


def test_different_numbers_of_photos_are_refused():
    with pytest.raises(ValueError, match="detections of 1 photos and faces of 2"):
        average_precision([found()], [[], []])
