"""The built-in models: size, cards, and what two towers and generator know. Photographs have files of their own."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from transformers import AutoModel, AutoProcessor, pipeline

from farl_hf.checkpoints import DEFAULT_CHECKPOINTS, EMBEDDED_CHECKPOINTS, checkpoint
from farl_hf.data.synthetic_faces import render_face_photo
from farl_hf.labels import CELEBA_ATTRIBUTES, LAPA_LABELS

MOST_BYTES, MOST_BYTES_OF_TWO_TOWERS, MOST_BYTES_OF_GENERATOR = 12_000_000, 6_000_000, 4_000_000


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
