"""`farl_hf.explain`: from a photo to maps in its frame, and what it says to input that cannot be used."""

import logging

import numpy as np
import pytest
import torch

import farl_hf
from farl_hf import (
    FaRLForAttributes,
    FaRLImageProcessor,
    InvalidTextError,
    UnknownNameError,
    UnsuitableModelError,
)
from farl_hf.retrieval.text_embedding import embed_texts

FACES = [[[20, 30], [45, 30], [32, 44], [23, 60], [42, 60]], [[25, 33], [50, 38], [34, 48], [22, 62], [40, 66]]]
TEXTS = ["a smile", "eyeglasses"]


def test_one_explanation_per_face_with_maps_in_both_frames(image_text_model, photo):
    model, processor = image_text_model
    faces = farl_hf.explain(model, processor, {"image": photo, "keypoints": FACES}, TEXTS)
    assert len(faces) == 2
    for face in faces:
        assert face.names == tuple(TEXTS)
        assert face.patch_maps.shape == (2, 4, 4)
        assert face.crop_maps.shape == (2, 32, 32)
        assert (face.crop_maps.min((1, 2)) == 0).all()
        assert (np.abs(face.crop_maps.max((1, 2)) - 1) < 1e-6).all()
        assert face.photo_map("a smile").shape == (90, 70)
    assert not np.allclose(faces[0].patch_maps, faces[1].patch_maps)


def test_scores_are_the_similarities_of_the_model(image_text_model, photo):
    model, processor = image_text_model
    (face,) = farl_hf.explain(model, processor, photo, TEXTS, aligned=True)
    pixel_values = FaRLImageProcessor(size={"height": 32, "width": 32})(photo, return_tensors="pt")["pixel_values"]
    ids = processor.tokenizer(TEXTS, padding="max_length", return_tensors="pt")
    expected = model(**ids, pixel_values=pixel_values).logits_per_image / model.logit_scale.exp()
    assert np.allclose(face.scores, expected.detach().numpy(), atol=1e-6)


def test_the_photo_map_is_warm_where_the_crop_map_is(farl, photo):
    """Each photo pixel inside the crop holds the value of the crop pixel that lies over it."""
    model, processor = farl
    face = farl_hf.explain(model, processor, {"image": photo, "keypoints": FACES}, "a smile")[0]
    photo_map = face.photo_map("a smile")
    rng = np.random.default_rng(0)
    checked = 0
    for x, y in rng.integers(0, (70, 90), (200, 2)):
        column, row, _ = face.crop_from_photo @ [x + 0.5, y + 0.5, 1] - 0.5
        if 0 <= column <= 31 and 0 <= row <= 31:
            nearby = face.crop_maps[0][int(row) : int(row) + 2, int(column) : int(column) + 2]
            assert nearby.min() - 1e-6 <= photo_map[y, x] <= nearby.max() + 1e-6
            checked += 1
        elif not (-1 <= column <= 32 and -1 <= row <= 32):
            assert photo_map[y, x] == 0
    assert checked > 20


def test_faces_share_batches_without_meeting(farl, photo):
    model, processor = farl
    boxes = [[5 * index, 4 * index, 5 * index + 30, 4 * index + 35] for index in range(5)]
    alone, together = (
        farl_hf.explain(model, processor, {"image": photo, "boxes": boxes}, TEXTS, batch_size=size) for size in (1, 4)
    )
    assert len(alone) == len(together) == 5
    for one, other in zip(alone, together, strict=True):
        assert np.allclose(one.crop_maps, other.crop_maps, atol=1e-4)


def test_no_face_is_an_empty_list(farl, photo):
    model, processor = farl
    assert farl_hf.explain(model, processor, photo, TEXTS, detector=lambda photo: []) == []


def test_dropout_is_off_and_modes_are_kept(photo, farl):
    model, processor = farl
    expected = farl_hf.explain(model, processor, photo, TEXTS, aligned=True)[0].crop_maps
    model.train()
    model.text_model.eval()
    model.vision_model.encoder.layers[0].drop_path_rate = 0.9
    try:
        assert np.array_equal(farl_hf.explain(model, processor, photo, TEXTS, aligned=True)[0].crop_maps, expected)
        assert model.training
        assert model.vision_model.training
        assert not model.text_model.training
    finally:
        model.eval()
        model.vision_model.encoder.layers[0].drop_path_rate = 0.0


def test_prompts_are_averaged(farl, photo):
    model, processor = farl
    wrappers = ("a photo of {}", "a portrait of {}")
    wrapped = farl_hf.explain(model, processor, photo, "a smile", prompts=wrappers, aligned=True)[0]
    apart = farl_hf.explain(model, processor, photo, [w.format("a smile") for w in wrappers], aligned=True)[0]
    assert wrapped.names == ("a smile",)
    one, other = embed_texts(model, processor, [wrapper.format("a smile") for wrapper in wrappers])
    assert np.isclose(wrapped.scores[0], sum(apart.scores) / float((one + other).norm()))


def test_a_head_that_reads_early_blocks_is_explained_there(toy_model, photo):
    model = toy_model(FaRLForAttributes, feature_levels=[1, 1, 1, 1])
    processor = FaRLImageProcessor(size={"height": 32, "width": 32})
    (face,) = farl_hf.explain(model, processor, photo, ["LABEL_1"], aligned=True)
    (named,) = farl_hf.explain(model, processor, photo, ["LABEL_1"], aligned=True, layer="layers.1.layer_norm1")
    assert np.array_equal(face.crop_maps, named.crop_maps)
    with pytest.raises(UnknownNameError, match="N from 0 to 1"):
        farl_hf.explain(model, processor, photo, ["LABEL_1"], aligned=True, layer="layers.2.mlp")


def test_labels_of_a_head_and_what_it_has_not(toy_model, photo):
    model = toy_model(FaRLForAttributes)
    processor = FaRLImageProcessor(size={"height": 32, "width": 32})
    (face,) = farl_hf.explain(model, processor, photo, ["LABEL_1", "LABEL_2"], aligned=True)
    assert face.crop_maps.shape == (2, 32, 32)
    with pytest.raises(UnknownNameError, match=r"no label 'a smile'.*LABEL_0, LABEL_1"):
        farl_hf.explain(model, processor, photo, ["a smile"], aligned=True)


def test_rollout_needs_no_text(farl, photo):
    model, processor = farl
    (face,) = farl_hf.explain(model, processor, photo, method="attention_rollout", aligned=True)
    (same,) = farl_hf.explain(model, processor, photo, None, method="attention_rollout", aligned=True)
    np.testing.assert_array_equal(same.crop_maps, face.crop_maps)
    assert face.names == ("attention",)
    assert np.isnan(face.scores).all()
    with pytest.raises(InvalidTextError, match="without texts"):
        farl_hf.explain(model, processor, photo, ["a smile"], method="attention_rollout", aligned=True)


def test_too_long_a_text_is_cut_with_a_warning(farl, photo, caplog):
    model, processor = farl
    with caplog.at_level(logging.WARNING):
        (face,) = farl_hf.explain(model, processor, photo, ["smile " * 5000, "a smile"], aligned=True)
    (record,) = caplog.records
    assert "5002 tokens" in record.getMessage()
    assert "77" in record.getMessage()
    cut = farl_hf.explain(model, processor, photo, ["smile " * 75], aligned=True)[0]
    assert np.allclose(face.crop_maps[0], cut.crop_maps[0], atol=1e-5)


@pytest.mark.parametrize(
    ("texts", "options", "error", "said"),
    [
        ([], {}, InvalidTextError, "at least one"),
        ("", {}, InvalidTextError, "says nothing"),
        (["a smile", " \n"], {}, InvalidTextError, "Text 2"),
        ([None], {}, InvalidTextError, "Text 1 is None"),
        (["a"], {"layer": "layers.3.mlp"}, UnknownNameError, r"layers\.N\.layer_norm1.*N from 0 to 2"),
        (["a"], {"layer": "layers.2.mlp"}, UnknownNameError, "class token alone"),
        (["a"], {"method": "lime"}, UnknownNameError, "grad_cam, attention_rollout"),
    ],
)
def test_what_cannot_be_explained_is_said_before_the_photo_is_read(farl, texts, options, error, said):
    with pytest.raises(error, match=said):
        farl_hf.explain(*farl, "no such photo.jpg", texts, **options)


def test_models_and_processors_that_lack_something(farl, photo, toy_model):
    model, processor = farl
    with pytest.raises(UnsuitableModelError, match="FaRLVisionModel has neither a text encoder"):
        farl_hf.explain(model.vision_model, processor, photo, "a smile")
    with pytest.raises(UnsuitableModelError, match="no tokenizer"):
        farl_hf.explain(model, processor.image_processor, photo, "a smile")
    with pytest.raises(UnsuitableModelError, match="no vision encoder"):
        farl_hf.explain(torch.nn.Linear(2, 2), processor, photo, "a smile")
    with pytest.raises(UnsuitableModelError, match="prepares no images"):
        farl_hf.explain(model, processor.tokenizer, photo, "a smile")
    with pytest.raises(UnknownNameError, match="eyeglasses"):
        farl_hf.explain(model, processor, photo, "eyeglasses", aligned=True)[0].photo_map("hat")
