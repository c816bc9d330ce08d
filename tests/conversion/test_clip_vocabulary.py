"""CLIP's vocabulary from its three kinds of source, and from things that are none."""

import gzip
import importlib.util
import json
import shutil
from pathlib import Path

import open_clip
import pytest

from farl_hf.conversion.clip_vocabulary import make_clip_tokenizer
from farl_hf.errors import MissingExtraError, NotACheckpointError

VOCABULARY_FILE = Path(open_clip.__file__).with_name("bpe_simple_vocab_16e6.txt.gz")


@pytest.fixture(scope="module")
def tokenizer():
    return make_clip_tokenizer()


def test_the_vocabulary_is_open_clips(tokenizer):
    theirs = open_clip.tokenizer.SimpleTokenizer()
    ours = tokenizer.get_vocab()
    assert len(ours) == theirs.vocab_size == 49_408
    renamed = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    assert ours == {renamed.get(token, token): index for token, index in theirs.encoder.items()}


def save_clip_folder(tokenizer, folder, kind):
    """A folder as CLIP checkpoints carry it: the newer `tokenizer.json`, or `vocab.json` and `merges.txt`."""
    tokenizer.save_pretrained(folder)
    if kind == "two files":
        model = json.loads((folder / "tokenizer.json").read_text())["model"]
        (folder / "tokenizer.json").unlink()
        (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
        (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *map(" ".join, model["merges"]), ""]))


@pytest.mark.parametrize("kind", ["tokenizer.json", "two files"])
def test_a_local_clip_folder_serves_as_well(tokenizer, tmp_path, kind):
    save_clip_folder(tokenizer, tmp_path, kind)
    loaded = make_clip_tokenizer(tmp_path)
    assert loaded.get_vocab() == tokenizer.get_vocab()
    assert loaded("A smiling woman\u2019s face")["input_ids"] == tokenizer("A smiling woman\u2019s face")["input_ids"]


def test_the_file_itself_serves_as_well(tokenizer, tmp_path):
    copy = shutil.copy(VOCABULARY_FILE, tmp_path)
    assert make_clip_tokenizer(Path(copy)).get_vocab() == tokenizer.get_vocab()


def test_without_open_clip_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'farl-hf\[convert\]'"):
        make_clip_tokenizer()


def damage(folder, kind):
    path = folder / "vocabulary"
    contents = {
        "not gzip": b"plain text",
        "cut short": VOCABULARY_FILE.read_bytes()[:50_000],
        "few merges": gzip.compress(b"version\na b\n"),
        "no pairs": gzip.compress(b"version\nabc\n"),
    }
    if kind in contents:
        path.write_bytes(contents[kind])
    elif kind == "an empty folder":
        path.mkdir()
    elif kind == "another model":
        path.mkdir()
        (path / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"a": 0}, "merges": []}}))
    return path


@pytest.mark.parametrize(
    "kind", ["not gzip", "cut short", "few merges", "no pairs", "an empty folder", "another model", "nothing"]
)
def test_what_holds_no_clip_vocabulary_is_refused(tmp_path, kind):
    with pytest.raises(NotACheckpointError, match="vocabulary"):
        make_clip_tokenizer(damage(tmp_path, kind))
