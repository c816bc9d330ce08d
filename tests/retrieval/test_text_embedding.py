"""Vectors of texts against the model called by hand."""

import logging

import pytest
import torch
from torch.nn.functional import normalize

from farl_hf import InvalidTextError, UnsuitableModelError, embed_texts

TEXTS = ["a smile", "a man with a very long beard and eyeglasses", "hat"]
WRAPPERS = ("a photo of {}", "{} in a portrait", "{}")


def by_hand(model, processor, texts):
    ids = processor.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")
    with torch.no_grad():
        return normalize(model.get_text_features(**ids).pooler_output, dim=-1)


def test_short_padding_changes_nothing(image_text_model):
    model, processor = image_text_model
    embeds = embed_texts(model, processor, TEXTS)
    torch.testing.assert_close(embeds, by_hand(model, processor, TEXTS), rtol=0, atol=1e-6)
    assert not embeds.requires_grad


def test_wrapped_sentences_are_averaged_as_unit_vectors(image_text_model):
    model, processor = image_text_model
    embeds = embed_texts(model, processor, TEXTS, WRAPPERS)
    for text, embed in zip(TEXTS, embeds, strict=True):
        mean = by_hand(model, processor, [wrapper.format(text) for wrapper in WRAPPERS]).mean(0)
        torch.testing.assert_close(embed, mean / mean.norm(), rtol=0, atol=1e-6)


def test_braces_in_a_text_are_text(farl):
    assert embed_texts(*farl, "a {0} {smile", ("a photo of {}",)).shape == (1, 16)


def test_many_texts_are_embedded_in_parts(farl):
    texts = [f"person {number}" for number in range(70)]
    together = embed_texts(*farl, texts)
    torch.testing.assert_close(together[66], embed_texts(*farl, texts[66])[0], rtol=0, atol=1e-6)


def test_five_thousand_words_are_cut_with_one_warning(image_text_model, caplog):
    model, processor = image_text_model
    with caplog.at_level(logging.WARNING):
        embeds = embed_texts(model, processor, ["smile " * 5000, "a smile"])
    (record,) = caplog.records
    assert "5002 tokens" in record.getMessage()
    torch.testing.assert_close(embeds[0], by_hand(model, processor, ["smile " * 75])[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("texts", [None, [], "", "  ", ["a", ""], [7]])
def test_texts_that_say_nothing(farl, texts):
    with pytest.raises(InvalidTextError, match="such as 'a smile'"):
        embed_texts(*farl, texts)


@pytest.mark.parametrize("wrappers", [[], ["a photo"], ["{} or {}"], "a photo of {}"])
def test_wrappers_without_one_place_for_the_text(farl, wrappers):
    with pytest.raises(InvalidTextError, match=r"one \{\} each"):
        embed_texts(*farl, "a smile", wrappers)


def test_models_without_a_text_encoder(farl):
    model, processor = farl
    with pytest.raises(UnsuitableModelError, match="FaRLVisionModel has no text encoder"):
        embed_texts(model.vision_model, processor, "a smile")
    with pytest.raises(UnsuitableModelError, match="FaRLImageProcessor has no tokenizer"):
        embed_texts(model, processor.image_processor, "a smile")
