"""The built-in heads on photographs, with faces given: regions and points drawn by hand, attributes named by eye."""

from typing import NamedTuple

import cv2
import numpy as np
import pytest
from photographs import DRAWN_FACES, open_photo
from sklearn.metrics import roc_auc_score
from transformers import pipeline

from farl_hf.labels import LAPA_LABELS

# Photos and faces that show an attribute; all the other faces of `DRAWN_FACES` do not.
SHOWN = {
    "eyeglasses": {("grace_hopper", 0), ("group", 4)},
    "wearing_hat": {("grace_hopper", 0)},
    "blond_hair": {("group", 2)},
    "smiling": {("astronaut", 0)},
}
MOST_POINT_ERROR = 0.25  # of the distance of the eyes
# What today's weights do not reach. A model that does makes its test fail: remove its line then.
SHORTFALLS = {
    "grace_hopper-mouth": "recall 0.67",
    "eyeglasses": "area under the curve 0.79",
}
FACE_PARTS = [name for name in LAPA_LABELS if name not in ("background", "hair")]


class PhotoRegion(NamedTuple):
    """An outline drawn by hand on the enlarged photograph, and how far the parsing of a face must agree with it.

    An outline of a part of what the labels mean has no precision.
    """

    photo: str
    face: int
    name: str
    parts: tuple[str, ...]
    outline_xy: tuple[tuple[int, int], ...]
    least_recall: float
    least_precision: float = 0.0


PHOTO_REGIONS = (
    PhotoRegion(
        "astronaut", 0, "nose", ("nose",),
        ((221, 104), (233, 104), (237, 120), (239, 126), (236, 131), (225, 133), (215, 131), (212, 126), (216, 120)),
        least_recall=0.7, least_precision=0.7,
    ),
    PhotoRegion(
        "astronaut", 0, "mouth", ("upper_lip", "inner_mouth", "lower_lip"),
        (
            (203, 140), (215, 139), (224, 141), (233, 140), (244, 141),
            (237, 148), (229, 153), (222, 155), (214, 153), (208, 146),
        ),
        least_recall=0.7, least_precision=0.7,
    ),
    PhotoRegion(
        "astronaut", 0, "left eye", ("left_eye",),
        ((193, 99), (198, 97), (205, 97), (211, 100), (212, 103), (205, 105), (198, 103)),
        least_recall=0.5, least_precision=0.5,
    ),
    PhotoRegion(
        "astronaut", 0, "right eye", ("right_eye",),
        ((236, 103), (241, 100), (248, 99), (255, 100), (259, 103), (254, 106), (247, 107), (240, 106)),
        least_recall=0.5, least_precision=0.5,
    ),
    PhotoRegion(
        "astronaut", 0, "hair below y = 40", ("hair",),
        (
            (190, 40), (170, 45), (155, 62), (154, 73), (155, 95), (162, 112), (172, 119), (179, 113), (183, 95),
            (186, 80), (195, 76), (217, 80), (243, 84), (265, 89), (269, 92), (271, 110), (271, 127), (282, 128),
            (295, 110), (300, 90), (300, 65), (293, 48), (287, 40),
        ),
        least_recall=0.5, least_precision=0.7,
    ),
    PhotoRegion(
        "grace_hopper", 0, "nose", ("nose",),
        (
            (256, 190), (273, 190), (280, 205), (287, 222), (295, 232), (297, 240), (290, 246), (280, 250),
            (268, 254), (256, 251), (246, 247), (240, 240), (243, 230), (250, 215), (254, 202),
        ),
        least_recall=0.7, least_precision=0.7,
    ),
    PhotoRegion(
        "grace_hopper", 0, "mouth", ("upper_lip", "inner_mouth", "lower_lip"),
        (
            (229, 281), (243, 276), (256, 273), (267, 275), (280, 272), (295, 275), (309, 278),
            (298, 287), (285, 293), (265, 296), (248, 292), (238, 286),
        ),
        least_recall=0.7, least_precision=0.7,
    ),
    PhotoRegion(
        "grace_hopper", 0, "left eye", ("left_eye",),
        ((199, 193), (215, 185), (224, 183), (235, 188), (241, 194), (228, 199), (212, 198)),
        least_recall=0.5, least_precision=0.5,
    ),
    PhotoRegion(
        "grace_hopper", 0, "right eye", ("right_eye",),
        ((287, 191), (295, 184), (304, 182), (315, 184), (323, 191), (312, 195), (300, 195)),
        least_recall=0.5, least_precision=0.5,
    ),
    PhotoRegion(
        "grace_hopper", 0, "forehead under the hat", ("skin",),
        ((195, 142), (225, 135), (262, 132), (300, 136), (330, 145), (330, 155), (195, 155)),
        least_recall=0.7,
    ),
    PhotoRegion(
        "group", 2, "blond hair beside the face", ("hair",),
        (
            (500, 92), (524, 100), (540, 117), (549, 136), (556, 157), (561, 178), (565, 195), (545, 205), (532, 200),
            (537, 175), (537, 150), (533, 135), (520, 118), (505, 102), (484, 104), (470, 116), (474, 105), (485, 95),
        ),
        least_recall=0.5,
    ),
)  # fmt: skip


def with_shortfalls(cases):
    """Cases by their names as parameters; those of `SHORTFALLS` are expected to fail."""
    for name, case in cases:
        marks = [pytest.mark.xfail(strict=True, reason=SHORTFALLS[name])] if name in SHORTFALLS else []
        yield pytest.param(case, marks=marks, id=name)


@pytest.fixture(scope="module")
def answers():
    """A function: the answers of a task's default pipeline for the drawn faces of a photo."""
    pipelines, known = {}, {}

    def answer(task, name):
        if (task, name) not in known:
            if task not in pipelines:
                pipelines[task] = pipeline(task, device="cpu")
            faces = {"image": open_photo(name), "keypoints": [face.keypoints_xy for face in DRAWN_FACES[name]]}
            known[task, name] = pipelines[task](faces)
        return known[task, name]

    return answer


@pytest.mark.parametrize("region", with_shortfalls((f"{one.photo}-{one.name}", one) for one in PHOTO_REGIONS))
def test_the_parsing_overlaps_regions_drawn_by_hand(answers, region):
    labels = np.array(answers("face-parsing", region.photo)[region.face]["segmentation"])
    drawn = np.zeros(labels.shape, np.uint8)
    cv2.fillPoly(drawn, [np.array(region.outline_xy)], 1)
    found = np.isin(labels, [LAPA_LABELS.index(part) for part in region.parts])
    both = (found & (drawn == 1)).sum()
    assert both / drawn.sum() >= region.least_recall
    assert both / found.sum() >= region.least_precision


@pytest.mark.parametrize("name", DRAWN_FACES)
def test_the_inside_of_each_face_is_labelled_as_face(answers, name):
    for answer, drawn in zip(answers("face-parsing", name), DRAWN_FACES[name], strict=True):
        labels = np.array(answer["segmentation"])
        x_min, y_min, x_max, y_max = drawn.box_xyxy
        centre, half_axes = ((x_min + x_max) // 2, (y_min + y_max) // 2), ((x_max - x_min) // 3, (y_max - y_min) // 3)
        inside = cv2.ellipse(np.zeros(labels.shape, np.uint8), centre, half_axes, 0, 0, 360, 1, -1) == 1
        found = np.isin(labels, [LAPA_LABELS.index(part) for part in FACE_PARTS])
        assert found[inside].mean() > 0.8


def test_what_is_far_from_the_face_is_background(answers):
    (face,) = answers("face-parsing", "astronaut")
    labels = np.array(face["segmentation"])
    assert labels.shape == (512, 512)
    assert (labels[320:] == LAPA_LABELS.index("background")).mean() > 0.99  # the suit and the helmet


@pytest.mark.parametrize("name", DRAWN_FACES)
def test_the_landmarks_lie_on_the_drawn_eyes_and_corners_of_the_mouth(answers, name):
    for answer, drawn in zip(answers("face-landmarks", name), DRAWN_FACES[name], strict=True):
        points_xy = np.array(answer["landmarks"])
        assert points_xy.shape == (68, 2)
        found = np.stack([points_xy[36:42].mean(0), points_xy[42:48].mean(0), points_xy[48], points_xy[54]])
        drawn_xy = np.array(drawn.keypoints_xy)[[0, 1, 3, 4]]
        eyes = np.linalg.norm(drawn_xy[1] - drawn_xy[0])
        assert np.linalg.norm(found - drawn_xy, axis=1).max() < MOST_POINT_ERROR * eyes


@pytest.mark.parametrize("attribute", with_shortfalls((name, name) for name in SHOWN))
def test_faces_that_show_an_attribute_score_above_the_others(answers, attribute):
    scores, shown = [], []
    for name in DRAWN_FACES:
        for row, answer in enumerate(answers("face-attributes", name)):
            scores += [one["score"] for one in answer["attributes"] if one["label"] == attribute]
            shown.append((name, row) in SHOWN[attribute])
    assert roc_auc_score(shown, scores) > 0.8


def test_the_attributes_are_named_and_sorted(answers):
    (face,) = answers("face-attributes", "astronaut")
    scores = {entry["label"]: entry["score"] for entry in face["attributes"]}
    assert list(scores.values()) == sorted(scores.values(), reverse=True)
    assert scores["bald"] < 0.5 < scores["no_beard"]
