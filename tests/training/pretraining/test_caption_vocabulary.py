"""A vocabulary learned from captions is one that CLIP's engine understands."""

import pytest
from transformers import CLIPTokenizer

from farl_hf.errors import InvalidArgumentError
from farl_hf.training.pretraining.run import train_caption_tokenizer

CAPTIONS = ["a photo of a smiling man with long brown hair", "a portrait of an old woman wearing a hat"] * 20


@pytest.fixture(scope="module")
def tokenizer():
    return train_caption_tokenizer(CAPTIONS, 640, model_max_length=16)


def test_entries_are_in_clips_order(tokenizer):
    ids = tokenizer.get_vocab()
    assert ids["!"] == 0
    assert ids["!</w>"] == 256
    assert (ids["<|startoftext|>"], ids["<|endoftext|>"]) == (len(ids) - 2, len(ids) - 1)
    assert sorted(ids.values()) == list(range(len(ids)))
    assert len(ids) <= 640


def test_known_words_take_one_token_and_unknown_ones_more(tokenizer):
    words = tokenizer.tokenize("smiling woman")
    assert words == ["smiling</w>", "woman</w>"]
    assert len(tokenizer.tokenize("zebra")) > 1
    assert tokenizer.decode(tokenizer("Zebra, WOMAN!")["input_ids"], skip_special_tokens=True) == "zebra , woman !"


def test_merges_agree_with_transformers_clip_tokenizer(tokenizer):
    """Transformers' own class, given the same vocabulary and merges, encodes alike."""
    import json

    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    other = CLIPTokenizer(vocab=model["vocab"], merges=[tuple(pair) for pair in model["merges"]])
    for text in (*CAPTIONS[:2], "an unheard-of hairdo", "glasses 42"):
        assert tokenizer(text)["input_ids"] == other(text)["input_ids"]


def test_long_texts_keep_the_end_token(tokenizer):
    ids = tokenizer("long brown hair " * 30)["input_ids"]
    assert len(ids) == 16
    assert ids[-1] == tokenizer.eos_token_id


def test_saved_and_loaded_tokenizer_encodes_alike(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    loaded = type(tokenizer).from_pretrained(tmp_path)
    assert loaded(CAPTIONS[0])["input_ids"] == tokenizer(CAPTIONS[0])["input_ids"]
    assert loaded.model_max_length == 16


def test_a_vocabulary_without_room_for_merges_is_refused():
    with pytest.raises(InvalidArgumentError, match="choose more than 514"):
        train_caption_tokenizer(CAPTIONS, 500)
