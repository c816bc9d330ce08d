"""The built-in models, through the default pipelines, on the one photograph that is always at hand."""

from typing import NamedTuple

import cv2
import numpy as np
import pytest
import torch
from skimage import data
from sklearn.metrics import roc_auc_score
from transformers import AutoModel, AutoProcessor, pipeline

from farl_hf.checkpoints import DEFAULT_CHECKPOINTS, EMBEDDED_CHECKPOINTS, checkpoint
from farl_hf.data.synthetic_faces import render_face_photo
from farl_hf.labels import CELEBA_ATTRIBUTES, LAPA_LABELS

# Read off the astronaut photograph by eye, in the order of the five points.
FIVE_POINTS_XY = np.array([[201, 101], [246, 102], [226, 130], [206, 142], [243, 144]])
MOST_BYTES, MOST_BYTES_OF_TWO_TOWERS, MOST_BYTES_OF_GENERATOR = 12_000_000, 6_000_000, 4_000_000


class PhotoRegion(NamedTuple):
    """An outline drawn by hand on the enlarged photograph, and how far the parsing must agree with it."""

    name: str
    parts: tuple[str, ...]
    outline_xy: tuple[tuple[int, int], ...]
    least_recall: float
    least_precision: float


PHOTO_REGIONS = (
    PhotoRegion(
        "nose", ("nose",),
        ((221, 104), (233, 104), (237, 120), (239, 126), (236, 131), (225, 133), (215, 131), (212, 126), (216, 120)),
        least_recall=0.7, least_precision=0.7,
    ),
    PhotoRegion(
        "mouth", ("upper_lip", "inner_mouth", "lower_lip"),
        (
            (203, 140), (215, 139), (224, 141), (233, 140), (244, 141),
            (237, 148), (229, 153), (222, 155), (214, 153), (208, 146),
        ),
        least_recall=0.7, least_precision=0.7,
    ),
    PhotoRegion(
        "left eye", ("left_eye",),
        ((193, 99), (198, 97), (205, 97), (211, 100), (212, 103), (205, 105), (198, 103)),
        least_recall=0.5, least_precision=0.5,
    ),
    PhotoRegion(
        "right eye", ("right_eye",),
        ((236, 103), (241, 100), (248, 99), (255, 100), (259, 103), (254, 106), (247, 107), (240, 106)),
        least_recall=0.5, least_precision=0.5,
    ),
    PhotoRegion(
        "hair below y = 40", ("hair",),
        (
            (190, 40), (170, 45), (155, 62), (154, 73), (155, 95), (162, 112), (172, 119), (179, 113), (183, 95),
            (186, 80), (195, 76), (217, 80), (243, 84), (265, 89), (269, 92), (271, 110), (271, 127), (282, 128),
            (295, 110), (300, 90), (300, 65), (293, 48), (287, 40),
        ),
        least_recall=0.5, least_precision=0.7,
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def astronaut():
    return data.astronaut()


@pytest.fixture(scope="module")
def given_face(astronaut):
    return {"image": astronaut, "keypoints": [FIVE_POINTS_XY.tolist()]}


@pytest.fixture(scope="module")
def single_faces():
    """Rendered photos of one face each, which no training has seen."""
    photos = (render_face_photo(20_000_000 + index) for index in range(2000, 2080))
    return [photo for photo in photos if len(photo.boxes_xyxy) == 1]


def size_of(name):
    return sum(file.stat().st_size for file in checkpoint(name).iterdir())


def test_they_are_small_and_each_has_a_card():
    assert sum(map(size_of, DEFAULT_CHECKPOINTS.values())) <= MOST_BYTES
    assert size_of("farl-tiny") <= MOST_BYTES_OF_TWO_TOWERS
    assert size_of("farl-tiny-generator") <= MOST_BYTES_OF_GENERATOR
    assert all("Scores" in (checkpoint(name) / "README.md").read_text() for name in EMBEDDED_CHECKPOINTS)


@pytest.mark.parametrize(("colour", "other"), [("black", "blond"), ("blond", "black")])
def test_both_towers_know_the_colour_of_hair(colour, other):
    """On rendered faces that training has not seen: most are told apart by two sentences."""
    name = str(checkpoint("farl-tiny"))
    model, processor = AutoModel.from_pretrained(name).eval(), AutoProcessor.from_pretrained(name)
    column = CELEBA_ATTRIBUTES.index(f"{colour}_hair")
    photos = (render_face_photo(20_000_000 + index) for index in range(1000, 1080))
    faces = [photo for photo in photos if len(photo.boxes_xyxy) == 1 and photo.attributes[0, column] == 1][:8]
    texts = [f"a photo of a person with {word} hair" for word in (colour, other)]
    inputs = processor(
        images=[photo.image for photo in faces], keypoints=[photo.points5_xy for photo in faces], text=texts,
        return_tensors="pt",
    )  # fmt: skip
    names = ("pixel_values", "input_ids", "attention_mask")
    with torch.no_grad():
        logits = model(**{name: inputs[name] for name in names}).logits_per_image
    assert (logits.argmax(1) == 0).sum() >= len(faces) - 2


@pytest.mark.parametrize(
    ("attribute", "phrase"),
    [
        pytest.param(
            "mouth_slightly_open",
            "with an open mouth",
            marks=pytest.mark.xfail(
                strict=True, reason="the weights learned from an older, easier renderer: AUC 0.70"
            ),
        ),
        ("eyeglasses", "wearing glasses"),
        ("wearing_hat", "wearing a hat"),
    ],
)
def test_both_towers_know_what_a_face_shows_or_wears(attribute, phrase, single_faces):
    """Faces that have it are nearer to the sentence that says so, by the area under the ROC curve; 0.5 is chance."""
    name = str(checkpoint("farl-tiny"))
    model, processor = AutoModel.from_pretrained(name).eval(), AutoProcessor.from_pretrained(name)
    truth = np.array([photo.attributes[0, CELEBA_ATTRIBUTES.index(attribute)] for photo in single_faces])
    inputs = processor(
        images=[photo.image for photo in single_faces], keypoints=[photo.points5_xy for photo in single_faces],
        text=[f"a person {phrase}", "a person"], return_tensors="pt",
    )  # fmt: skip
    with torch.no_grad():
        logits = model(
            **{key: inputs[key] for key in ("pixel_values", "input_ids", "attention_mask")}
        ).logits_per_image
    known = truth >= 0
    assert roc_auc_score(truth[known], (logits[:, 0] - logits[:, 1])[known]) > 0.8


def test_the_generator_draws_faces_that_follow_a_sentence():
    """The parser and the attribute head take no part in the editing."""
    from farl_hf.editing import edit_latents

    name = str(checkpoint("farl-tiny"))
    generator = AutoModel.from_pretrained(str(checkpoint("farl-tiny-generator"))).eval()
    edited = edit_latents(
        generator, AutoModel.from_pretrained(name), AutoProcessor.from_pretrained(name),
        generator.sample_latents(4, seed=1), "a person with black hair", num_steps=30, l2_weight=0.002,
    )  # fmt: skip
    black = {}
    for when, images in (("before", edited.start_images), ("after", edited.images)):
        photos = (images.permute(0, 2, 3, 1) * 255).round().byte().numpy()
        faces = [{"image": photo, "keypoints": [generator.points5_xy.tolist()]} for photo in photos]
        for (face,) in pipeline("face-parsing")(faces):
            seen = set(np.unique(np.array(face["segmentation"])))
            assert {LAPA_LABELS.index(part) for part in ("skin", "nose", "hair")} <= seen
        attributes = [face["attributes"] for (face,) in pipeline("face-attributes")(faces)]
        black[when] = [entry["score"] for each in attributes for entry in each if entry["label"] == "black_hair"]
    assert np.mean(black["after"]) > np.mean(black["before"]) + 0.4


@pytest.mark.parametrize("region", PHOTO_REGIONS, ids=lambda region: region.name)
def test_the_parsing_overlaps_regions_drawn_by_hand(given_face, region):
    (face,) = pipeline("face-parsing")(given_face)
    labels = np.array(face["segmentation"])
    drawn = np.zeros(labels.shape, np.uint8)
    cv2.fillPoly(drawn, [np.array(region.outline_xy)], 1)
    found = np.isin(labels, [LAPA_LABELS.index(part) for part in region.parts])
    both = (found & (drawn == 1)).sum()
    assert both / drawn.sum() >= region.least_recall
    assert both / found.sum() >= region.least_precision


def test_what_is_far_from_the_face_is_background(given_face):
    (face,) = pipeline("face-parsing")(given_face)
    labels = np.array(face["segmentation"])
    assert labels.shape == (512, 512)
    assert (labels[320:] == LAPA_LABELS.index("background")).mean() > 0.99  # the suit and the helmet


def test_the_landmarks_lie_on_the_photograph(given_face):
    (face,) = pipeline("face-landmarks")(given_face)
    points = np.array(face["landmarks"])
    eyes_and_corners = np.stack([points[36:42].mean(0), points[42:48].mean(0), points[48], points[54]])
    assert points.shape == (68, 2)
    assert np.abs(eyes_and_corners - FIVE_POINTS_XY[[0, 1, 3, 4]]).max() < 8


def test_the_attributes_are_named_and_sorted(given_face):
    (face,) = pipeline("face-attributes")(given_face)
    scores = {entry["label"]: entry["score"] for entry in face["attributes"]}
    assert list(scores.values()) == sorted(scores.values(), reverse=True)
    assert scores["bald"] < 0.5 < scores["no_beard"]
