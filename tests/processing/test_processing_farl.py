"""The processor: each half as if it were called alone, and the model takes what comes out."""

import numpy as np
import pytest
import torch
from transformers import AutoProcessor

from farl_hf import FaRLConfig, FaRLImageProcessor, FaRLModel, FaRLProcessor, RetinaFaceImageProcessor
from farl_hf.conversion.clip_vocabulary import make_clip_tokenizer

FACES = [
    [[20, 30], [45, 30], [32, 44], [23, 60], [42, 60]],
    [[25, 33], [50, 38], [34, 48], [22, 62], [40, 66]],
]
BOXES = [[10, 12, 60, 80]]
TEXTS = ["a smiling face", "glasses " * 90, ""]


@pytest.fixture(scope="module")
def processor():
    return FaRLProcessor(FaRLImageProcessor(size={"height": 32, "width": 32}, warp_factor=0.8), make_clip_tokenizer())


@pytest.fixture
def photo():
    return np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8)


@pytest.mark.parametrize("faces", [{"keypoints": [FACES]}, {"boxes": [BOXES]}, {}], ids=["keypoints", "boxes", "none"])
@pytest.mark.parametrize("nested", [False, True])
def test_both_halves_give_what_they_give_alone(processor, photo, faces, nested):
    arguments = {"images_kwargs": faces} if nested else faces
    both = processor(images=photo, text=TEXTS, return_tensors="pt", **arguments)
    image = processor.image_processor(photo, return_tensors="pt", **faces)
    text = processor.tokenizer(TEXTS, padding="max_length", return_tensors="pt")
    assert set(both) == {*image, *text}
    assert all(torch.equal(both[name], value) for part in (image, text) for name, value in part.items())
    assert both["input_ids"].shape == (len(TEXTS), 77)


def test_the_defaults_can_be_changed_per_call(processor):
    assert processor(text=["a face"], padding=False, return_tensors="pt")["input_ids"].shape == (1, 4)
    assert processor(text=TEXTS, max_length=10, return_tensors="pt")["input_ids"].shape == (3, 10)


def test_the_model_takes_everything_that_comes_out(processor, photo, toy_model):
    model = toy_model(FaRLModel, text={"vocab_size": 49_408, "max_position_embeddings": 77, "eos_token_id": 49_407})
    inputs = processor(images=photo, text=TEXTS, keypoints=[FACES], return_tensors="pt")
    outputs = model(**inputs)
    assert outputs.logits_per_image.shape == (len(FACES), len(TEXTS))
    needed = ("input_ids", "attention_mask", "pixel_values")
    alone = model(**{name: inputs[name] for name in needed})
    assert torch.equal(outputs.logits_per_image, alone.logits_per_image)


def test_one_kind_of_input_gives_the_features_of_its_tower(processor, photo, toy_model):
    model = toy_model(FaRLModel, text={"vocab_size": 49_408, "max_position_embeddings": 77, "eos_token_id": 49_407})
    images, texts = processor(images=photo, return_tensors="pt"), processor(text=TEXTS, return_tensors="pt")
    both = model(**images, **texts)
    image_features, text_features = model(**images).pooler_output, model(**texts).pooler_output
    torch.testing.assert_close(torch.nn.functional.normalize(image_features), both.image_embeds)
    torch.testing.assert_close(torch.nn.functional.normalize(text_features), both.text_embeds)
    with pytest.raises(ValueError, match="pass texts, images or both"):
        model()


def test_a_saved_processor_loads_to_the_same_settings(processor, photo, tmp_path):
    processor.save_pretrained(tmp_path)
    loaded = AutoProcessor.from_pretrained(tmp_path)
    assert type(loaded) is FaRLProcessor
    arguments = {"images": photo, "text": TEXTS, "keypoints": [FACES], "return_tensors": "pt"}
    expected, actual = processor(**arguments), loaded(**arguments)
    assert all(torch.equal(actual[name], value) for name, value in expected.items())
    assert loaded.to_dict() == processor.to_dict()
    assert set(expected) == set(processor.model_input_names)


@pytest.mark.parametrize("processor_class", [FaRLImageProcessor, RetinaFaceImageProcessor])
def test_settings_of_image_processors_are_the_same_after_loading(processor_class, photo, tmp_path):
    processor = processor_class()
    processor.save_pretrained(tmp_path)
    assert processor_class.from_pretrained(tmp_path).to_dict() == processor.to_dict()
    assert set(processor(photo, return_tensors="pt")) == set(processor.model_input_names)


def test_checkpoints_without_texts_have_their_image_processor_for_a_processor(processor, tmp_path):
    FaRLConfig().save_pretrained(tmp_path)
    processor.image_processor.save_pretrained(tmp_path)
    assert type(AutoProcessor.from_pretrained(tmp_path)) is FaRLImageProcessor
