"""The tokenizer, against open_clip's."""

import copy
import json
import pickle
import unicodedata

import open_clip
import pytest
import torch
from text_samples import random_texts, well_decoded_texts
from transformers import AddedToken, AutoTokenizer, CLIPTokenizer

from farl_hf import FaRLConfig, FaRLTextConfig, FaRLTokenizer
from farl_hf.conversion.clip_vocabulary import make_clip_tokenizer
from farl_hf.processing import tokenization_farl

START, END = 49_406, 49_407


@pytest.fixture(scope="module")
def tokenizer():
    return make_clip_tokenizer()


def different_rows(tokenizer, texts):
    """Texts whose ids are not open_clip's. It pads with 0, we pad with the end token under a mask."""
    ours = tokenizer(texts, padding="max_length", return_tensors="pt")
    theirs = open_clip.tokenize(texts)
    assert ours["input_ids"].shape == theirs.shape == (len(texts), 77)
    same = (ours["input_ids"] * ours["attention_mask"] == theirs).all(dim=1)
    return [text for text, is_same in zip(texts, same.tolist(), strict=True) if not is_same]


@pytest.mark.parametrize("number", [2_000, pytest.param(10_000, marks=pytest.mark.nightly)])
def test_ids_are_open_clips_on_random_and_multilingual_strings(tokenizer, number):
    assert different_rows(tokenizer, random_texts(number)) == []


def test_every_character_that_unicode_knows_is_split_as_open_clip_splits_it(tokenizer):
    known = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) not in ("Cs", "Cn", "Co")]
    # "x" before and "7" after tell letters, numbers and others apart; a stride keeps the test short.
    texts = ["x" + "x7".join(known[start : start + 12]) + "7" for start in range(0, len(known), 48)]
    assert different_rows(tokenizer, texts) == []


def test_without_ftfy_ids_differ_only_where_the_encoding_was_wrong(tokenizer, monkeypatch):
    texts = well_decoded_texts()
    assert different_rows(tokenizer, texts) == []
    monkeypatch.setattr(tokenization_farl, "ftfy", None)
    assert different_rows(tokenizer, texts) == []
    assert tokenizer("cafÃ©")["input_ids"] != tokenizer("café")["input_ids"]
    assert tokenizer("lone \ud800 surrogate")["input_ids"] == tokenizer("lone \ufffd surrogate")["input_ids"]


def test_long_texts_are_cut_and_keep_the_end_token(tokenizer):
    ids = tokenizer("face " * 500)["input_ids"]
    assert (len(ids), ids[0], ids[-1]) == (77, START, END)
    assert len(tokenizer("face " * 500, truncation=False)["input_ids"]) == 502
    assert tokenizer.encode("face " * 500) == ids
    assert len(tokenizer.encode("face " * 500, truncation=False)) == 502


def test_an_empty_text_is_a_start_and_an_end(tokenizer):
    assert tokenizer("")["input_ids"] == tokenizer(" \n ")["input_ids"] == [START, END]


def test_the_ids_are_those_that_the_model_is_configured_for(tokenizer):
    config = FaRLTextConfig()
    assert len(tokenizer) == config.vocab_size
    assert tokenizer.model_max_length == config.max_position_embeddings
    ids = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    assert ids == (config.bos_token_id, config.eos_token_id, config.pad_token_id)


@pytest.mark.parametrize("text", ["a", ["a", "b"], [], [["a", "B"]], "'tis"])
def test_all_shapes_of_input_are_cleaned(tokenizer, text):
    upper = json.loads(json.dumps(text).upper())
    split = bool(text) and isinstance(text[0], list)
    if text:
        assert tokenizer(upper, is_split_into_words=split) == tokenizer(text, is_split_into_words=split)


def test_decoding_gives_the_words_back(tokenizer):
    ids = tokenizer("A young woman, smiling")["input_ids"]
    for copied in (tokenizer, copy.deepcopy(tokenizer), pickle.loads(pickle.dumps(tokenizer))):
        assert copied("A young woman, smiling")["input_ids"] == ids
        assert copied.decode(ids, skip_special_tokens=True) == "a young woman , smiling"
        assert copied.batch_decode([ids, ids], skip_special_tokens=True) == ["a young woman , smiling"] * 2


def test_a_folder_without_vocabulary_gives_no_tokenizer(tmp_path):
    FaRLConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"no vocabulary; .* which has a tokenizer\.json"):
        AutoTokenizer.from_pretrained(tmp_path)


def test_a_saved_tokenizer_loads_to_the_same_ids(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    FaRLConfig().save_pretrained(tmp_path)
    texts = random_texts(300, seed=3)
    expected = tokenizer(texts, padding="max_length")["input_ids"]
    for loaded in (AutoTokenizer.from_pretrained(tmp_path), FaRLTokenizer.from_pretrained(tmp_path)):
        assert type(loaded) is FaRLTokenizer
        assert loaded(texts, padding="max_length")["input_ids"] == expected
        assert loaded.model_max_length == 77


def test_other_readers_of_the_file_get_lower_case_words(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    plain = CLIPTokenizer.from_pretrained(tmp_path)
    text = "A WOMAN\n with  curly hair"
    assert plain(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert (
        json.loads((tmp_path / "tokenizer.json").read_text())["normalizer"]["normalizers"][-1]["type"] == "Lowercase"
    )
    assert tokenizer(random_texts(50), padding="max_length", return_tensors="pt")["input_ids"].dtype == torch.long


def test_added_tokens_may_have_capitals(tmp_path):
    tokenizer = make_clip_tokenizer()
    sentence = "A FACE with<Smile> and <|IMG|>, an  INTERFACE &amp; FACES"
    before = tokenizer("A cat's  Face &amp; more")["input_ids"]
    tokenizer.add_tokens(["FACE", "<Smile>"])
    tokenizer.add_tokens([AddedToken("<|IMG|>", special=True)], special_tokens=True)
    expected = ["a</w>", "FACE", "with</w>", "<Smile>", "and</w>", "<|IMG|>", ",</w>", "an</w>", "inter</w>"]
    assert tokenizer.tokenize("A FACE with<Smile> and <|IMG|>, an  INTER")[: len(expected)] == expected
    ids = tokenizer(sentence)["input_ids"]
    assert tokenizer("A cat's  Face &amp; more")["input_ids"] == before  # only the word as it is written
    tokenizer.save_pretrained(tmp_path)
    for other in (tokenizer, FaRLTokenizer.from_pretrained(tmp_path), copy.deepcopy(tokenizer)):
        assert other(sentence)["input_ids"] == ids
        assert other([sentence, "FACE"])["input_ids"][1][1] == tokenizer.convert_tokens_to_ids("FACE")
