"""Transformers' own pipelines on a checkpoint folder of the two towers: they work as they are."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModel, AutoProcessor, pipeline

from farl_hf import FaRLImageProcessor, FaRLModel, FaRLProcessor
from farl_hf.conversion.clip_vocabulary import make_clip_tokenizer

LABELS = ["a smiling woman", "a man in a hat " * 30, "nobody"]  # the second is longer than the model can read


@pytest.fixture
def folder(toy_model, tmp_path):
    text = {"vocab_size": 49_408, "max_position_embeddings": 77, "pad_token_id": 49_407, "bos_token_id": 49_406}
    toy_model(FaRLModel, text=text | {"eos_token_id": 49_407}).save_pretrained(tmp_path)
    image_processor = FaRLImageProcessor(size={"height": 32, "width": 32})
    FaRLProcessor(image_processor, make_clip_tokenizer()).save_pretrained(tmp_path)
    image_processor.save_pretrained(tmp_path)  # pipelines of images alone look for this file
    return tmp_path


@pytest.fixture
def photos():
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (90, 70, 3), dtype=np.uint8)) for _ in range(3)]


@torch.inference_mode()
def probabilities(folder, photo):
    """softmax(100 cos) over the labels, from the two features alone."""
    processor, model = AutoProcessor.from_pretrained(folder), AutoModel.from_pretrained(folder)
    texts = processor(text=[f"This is a photo of {label}." for label in LABELS], return_tensors="pt")
    image = model.get_image_features(processor.image_processor(photo, return_tensors="pt")["pixel_values"])
    cosines = torch.nn.functional.cosine_similarity(
        image.pooler_output, model.get_text_features(**texts).pooler_output
    )
    return dict(zip(LABELS, (model.logit_scale.exp() * cosines).softmax(-1).tolist(), strict=True))


@pytest.mark.parametrize("batch_size", [1, 2])
def test_zero_shot_classification_ranks_labels_by_cosine(folder, photos, batch_size):
    classify = pipeline("zero-shot-image-classification", model=str(folder))
    answers = classify(photos, candidate_labels=LABELS, batch_size=batch_size)
    assert len(answers) == len(photos)
    for photo, answer in zip(photos, answers, strict=True):
        assert [entry["score"] for entry in answer] == sorted((entry["score"] for entry in answer), reverse=True)
        assert {entry["label"]: entry["score"] for entry in answer} == pytest.approx(
            probabilities(folder, photo), abs=1e-5
        )


def test_feature_extraction_gives_tokens_or_the_embedding(folder, photos):
    extract = pipeline("image-feature-extraction", model=str(folder))
    processor, model = AutoProcessor.from_pretrained(folder), AutoModel.from_pretrained(folder)
    with torch.inference_mode():
        features = model.get_image_features(processor.image_processor(photos[0], return_tensors="pt")["pixel_values"])
    torch.testing.assert_close(torch.tensor(extract(photos[0])), features.last_hidden_state)
    torch.testing.assert_close(torch.tensor(extract(photos[0], pool=True)), features.pooler_output)
    assert np.shape(extract(photos, pool=True, batch_size=2)) == (3, 1, model.config.projection_dim)
