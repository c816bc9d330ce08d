"""Numbers that no crop, detection or result can have end in one sentence."""

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError

from farl_hf import FaceParsing, Faces, FaRLImageProcessor, RetinaFaceImageProcessor
from farl_hf.errors import InvalidFaceInputError
from farl_hf.pipelines.face_detection import FaceDetectionPipeline
from farl_hf.pipelines.faces import faces_from_boxes, given_faces
from farl_hf.processing.photo_tensors_farl import check_number

NAN, INF = float("nan"), float("inf")
PHOTO = np.zeros((60, 40, 3), np.uint8)
POINTS = np.array([[10, 20], [30, 20], [20, 30], [12, 42], [28, 42]], np.float32)


@pytest.mark.parametrize("name", ["face_scale", "box_scale"])
@pytest.mark.parametrize("value", [0, -1, NAN, INF, "1", None, True, [1]])
def test_scales(name, value):
    with pytest.raises(ValueError, match=name):
        FaRLImageProcessor(**{name: value})


@pytest.mark.parametrize(
    "settings",
    [
        {"size": 0},
        {"size": -3},
        {"size": {"height": 0, "width": 8}},
        {"size": {"height": 10**9, "width": 8}},
        {"warp_factor": "a"},
        {"warp_factor": NAN},
        {"image_std": [0, 1, 1]},
        {"image_std": 0},
        {"image_std": [NAN] * 3},
        {"image_mean": [0.5, 0.5]},
        {"image_mean": [0.5, 0.5, "x"]},
    ],
)
def test_settings_of_the_face_processor(settings):
    with pytest.raises(ValueError, match=r"^[^\n]{10,300}$"):
        FaRLImageProcessor(**settings)
    with pytest.raises((ValueError, StrictDataclassError), match=next(iter(settings))):  # theirs: the type of a value
        FaRLImageProcessor()(PHOTO, **settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"max_long_side": -1},
        {"max_long_side": "x"},
        {"max_long_side": NAN},
        {"pad_size_divisor": 0},
        {"pad_size_divisor": 1.5},
        {"image_std": [1, 1, 0]},
        {"image_mean": [1, 1]},
    ],
)
def test_settings_of_the_detector(settings):
    with pytest.raises((ValueError, StrictDataclassError), match=next(iter(settings))):
        RetinaFaceImageProcessor()(PHOTO, **settings)


@pytest.mark.parametrize("name", ["score_threshold", "nms_threshold", "top_k", "max_faces"])
@pytest.mark.parametrize("value", [-1, NAN, "0.5", None])
def test_thresholds_of_the_detector(name, value):
    with pytest.raises(ValueError, match=name):
        RetinaFaceImageProcessor(**{name: value})


@pytest.mark.parametrize("name", ["threshold", "nms_threshold"])
@pytest.mark.parametrize("value", [-1, 1.01, NAN, "0.5", [0.5], True, np.array([0.1, 0.2])])
def test_thresholds_of_the_pipeline(name, value):
    with pytest.raises(ValueError, match=name):
        FaceDetectionPipeline._sanitize_parameters(None, **{name: value})


@pytest.mark.parametrize("value", [0, 1, 0.5, np.float32(0.5), np.int64(1), torch.tensor(0.5)])
def test_numbers_of_all_kinds_pass(value):
    check_number("a", value, 0, 1)
    assert FaceDetectionPipeline._sanitize_parameters(None, threshold=value)[1] == {"threshold": value}


@pytest.mark.parametrize(
    "boxes",
    [
        5,
        None,
        "abc",
        [[1, 2, 3]],
        [[1, 2, NAN, 4]],
        [[0, 0, 1e38, 1e38]],
        [[-1e7, 0, 10, 10]],
        [{"xmin": 1, "ymin": 2, "xmax": 3}],
        [[1, 2, 3, "x"]],
        [[10**400, 2, 3, 4]],
        [None],
    ],
)
def test_boxes(boxes):
    with pytest.raises(InvalidFaceInputError):
        faces_from_boxes(boxes, (60, 40))


@pytest.mark.parametrize("offset", [(1e38, 0), (1e7, 0), (500, 0), (0, -500), (NAN, 0)])
def test_points_far_away(offset):
    points = POINTS + np.array(offset, np.float32)
    with pytest.raises(InvalidFaceInputError):
        given_faces({"keypoints": [points]}, (60, 40))
    with pytest.raises(ValueError, match="keypoints"):
        FaRLImageProcessor()(PHOTO, keypoints=[[points.tolist()]])


def test_points_that_reach_a_little_beyond_the_photo_pass():
    FaRLImageProcessor(size=16)(PHOTO, keypoints=[[(POINTS - [15, 0]).tolist()]])


@pytest.mark.parametrize("scores", [[NAN], [INF]])
def test_scores(scores):
    with pytest.raises(InvalidFaceInputError, match="scores"):
        Faces(np.array([[0, 0, 1, 1]]), np.array(scores))


@pytest.mark.parametrize("label", [300, -1, 256])
def test_ids_that_a_byte_cannot_hold(label):
    with pytest.raises(InvalidFaceInputError, match=str(label)):
        FaceParsing(np.full((1, 4, 4), label), ("background", "skin"))
