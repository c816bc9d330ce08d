"""Sentences around the words of captions, for patches."""

import pytest
import torch

from farl_hf.checkpoints import checkpoint
from farl_hf.processing.tokenization_farl import FaRLTokenizer
from farl_hf.training.word_sentences import WordSentences

CAPTIONS = ["a man wearing a hat", "a woman with black hair", "a smiling man, one of 2 people"]


@pytest.fixture(scope="module")
def tokenizer():
    return FaRLTokenizer.from_pretrained(checkpoint("farl-tiny"))


def made(tokenizer, captions):
    batch = tokenizer(captions, padding=True, return_tensors="pt")
    return WordSentences(tokenizer)(batch["input_ids"])


def words_of(tokenizer, sentences):
    return [tokenizer.decode([index]).strip() for index in sentences["word_ids"].tolist()]


def test_words_are_those_that_some_captions_have_and_not_most(tokenizer):
    words = words_of(tokenizer, made(tokenizer, CAPTIONS))
    assert sorted(words) == sorted(
        ["wearing", "hat", "woman", "with", "black", "hair", "smiling", "one", "of", "people"]
    )


def test_every_sentence_has_its_word(tokenizer):
    sentences = made(tokenizer, CAPTIONS)
    ids, mask = sentences["word_input_ids"], sentences["word_attention_mask"]
    assert ids.shape == mask.shape
    assert len(ids) == len(sentences["word_ids"])
    assert ((ids == sentences["word_ids"][:, None]) & (mask > 0)).any(dim=1).all()


def test_sentences_are_drawn_anew_and_alike_from_one_seed(tokenizer):
    torch.manual_seed(3)
    first, second = made(tokenizer, CAPTIONS), made(tokenizer, CAPTIONS)
    torch.manual_seed(3)
    again = made(tokenizer, CAPTIONS)
    assert torch.equal(first["word_input_ids"], again["word_input_ids"])
    assert not torch.equal(first["word_input_ids"], second["word_input_ids"])


def test_what_describes_hair_mostly_names_the_hair(tokenizer):
    torch.manual_seed(0)
    sentences = WordSentences(tokenizer)
    about_hair = [sentences.sentence("black").endswith("black hair") for _ in range(400)]
    assert 0.5 < sum(about_hair) / 400 < 0.7
    assert not any("hair" in sentences.sentence("hat") for _ in range(100))


def test_captions_that_are_all_alike_ask_for_nothing(tokenizer):
    sentences = made(tokenizer, ["a man wearing a hat"] * 3)
    assert sentences["word_ids"].shape == (0,)
    assert len(sentences["word_input_ids"]) == 0


def test_the_tokenizer_is_saved_as_it_was(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path / "before")
    made(tokenizer, CAPTIONS)
    tokenizer.save_pretrained(tmp_path / "after")
    before, after = ((tmp_path / name / "tokenizer.json").read_text() for name in ("before", "after"))
    assert before == after
