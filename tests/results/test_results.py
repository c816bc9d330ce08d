import dataclasses

import numpy as np
import pytest

from farl_hf.errors import InvalidFaceInputError
from farl_hf.results import FaceAttributes, FaceLandmarks, FaceParsing, Faces

BOXES = [[0, 0, 10, 20], [5, 5, 9, 9], [1, 2, 3, 4]]


def three_faces():
    return Faces(BOXES, [0.9, 0.8, 0.7], np.arange(30).reshape(3, 5, 2))


def test_length_iteration_and_slicing_agree():
    faces = three_faces()
    assert len(faces) == 3
    assert [len(face) for face in faces] == [1, 1, 1]
    assert [face.scores[0] for face in faces] == pytest.approx([0.9, 0.8, 0.7])
    assert faces[1:].boxes_xyxy.tolist() == BOXES[1:]
    assert faces[-1].keypoints_xy.tolist() == faces.keypoints_xy[2:].tolist()
    assert faces[faces.scores > 0.75].boxes_xyxy.tolist() == BOXES[:2]
    assert faces[[2, 0]].scores.tolist() == pytest.approx([0.7, 0.9])
    with pytest.raises(IndexError):
        faces[3]


def test_results_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        three_faces().scores = np.zeros(3)


def test_no_faces_is_a_result_too():
    assert len(Faces([], [], [])) == len(Faces.from_pipeline([])) == 0
    assert len(FaceParsing.from_pipeline([])) == len(FaceLandmarks.from_pipeline([])) == 0
    assert list(FaceAttributes.from_pipeline([])) == []


@pytest.mark.parametrize(
    ("boxes", "scores", "keypoints", "message"),
    [
        ([[0, 0, 1]], [1], None, "shape"),
        (BOXES, [1, 1], None, "scores"),
        (BOXES, [1, 1, 1], np.zeros((3, 4, 2)), "keypoints_xy"),
        ([[0, 0, 1, float("nan")]], [1], None, "NaN"),
        ([[3, 0, 3, 5]], [1], None, "no area"),
        ([[0, 0, 1, 1]], [1], np.full((1, 5, 2), np.inf), "infinite"),
    ],
)
def test_faces_that_cannot_be_are_refused(boxes, scores, keypoints, message):
    with pytest.raises(InvalidFaceInputError, match=message):
        Faces(boxes, scores, keypoints)


def test_other_results_are_checked_at_birth():
    with pytest.raises(InvalidFaceInputError, match="class id 2"):
        FaceParsing(np.full((1, 2, 2), 2), ("background", "skin"))
    with pytest.raises(InvalidFaceInputError, match="points_xy"):
        FaceLandmarks(np.zeros((1, 68)))
    with pytest.raises(InvalidFaceInputError, match="between 0 and 1"):
        FaceAttributes([[0.5, 1.5]], ("bald", "young"))
    with pytest.raises(InvalidFaceInputError, match="expected"):
        FaceAttributes([[0.5]], ("bald", "young"))


def test_parsing_keeps_its_names_when_sliced():
    parsing = FaceParsing(np.eye(4, dtype=int)[None].repeat(2, 0), ("background", "skin"))
    assert parsing[1].label_maps.shape == (1, 4, 4)
    assert parsing[1].label_names == ("background", "skin")


def test_attributes_from_pipeline_line_up_across_faces():
    faces = [
        {"attributes": [{"label": "young", "score": 0.9}, {"label": "bald", "score": 0.1}]},
        {"attributes": [{"label": "bald", "score": 0.8}, {"label": "young", "score": 0.3}]},
    ]
    attributes = FaceAttributes.from_pipeline(faces)
    assert attributes.label_names == ("bald", "young")
    assert attributes.probabilities == pytest.approx(np.array([[0.1, 0.9], [0.8, 0.3]]))
    assert attributes.present.tolist() == [[False, True], [True, False]]
    faces[0]["attributes"][1]["present"] = True
    assert FaceAttributes.from_pipeline(faces)[0].present.tolist() == [[True, True]]
