import hashlib
import json
import os
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import constants
from typer.testing import CliRunner

from farl_hf import conversion
from farl_hf.checkpoints import KNOWN_NAMES
from farl_hf.cli import app


@pytest.fixture(autouse=True)
def _empty_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home/hub"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A file, and a conversion that takes its bytes for weights."""

    def convert(source, output, **_):
        output.mkdir()
        (output / "config.json").write_text("{}")
        (output / "model.safetensors").write_bytes(source.read_bytes())
        record = {"source": {"sha256": hashlib.sha256(source.read_bytes()).hexdigest()}}
        (output / "conversion.json").write_text(json.dumps(record))

    monkeypatch.setattr(conversion, "convert_checkpoint", convert)
    path = tmp_path / "source.pth"
    path.write_bytes(b"weights")
    return str(path)


def farl_hf(*words):
    return CliRunner().invoke(app, words)


def row_of(name):
    (row,) = [line for line in farl_hf("list").stdout.splitlines() if line.split()[:1] == [name]]
    return row


def test_list_shows_every_name_and_what_is_here(source):
    for name in KNOWN_NAMES:
        assert row_of(name)
    assert "embedded" in row_of("farl-tiny-parsing")
    assert "not downloaded" in row_of("farl")
    assert "~ 652.0 MB" in row_of("farl")
    assert farl_hf("download", "farl", "--from", source).exit_code == 0
    assert "here (= farl-ep64)" in row_of("farl")
    assert "not downloaded" not in row_of("farl-ep64")
    assert "not downloaded" in row_of("farl-ep16")


def test_list_tells_of_folders_that_hide_names():
    for name in ("farl", "farl-tiny", "retinaface-tiny"):
        os.mkdir(name)
    hidden = [name for name in KNOWN_NAMES if f"./{name} hides it" in row_of(name)]
    assert sorted(hidden) == ["farl", "farl-tiny", "retinaface-tiny"]


def test_download_ends_with_the_folder(source, tmp_path):
    result = farl_hf("download", "farl", "--from", source)
    assert result.exit_code == 0, result.output
    folder = result.stdout.strip()
    assert folder.startswith(str(tmp_path / "home/hub/models--farl-ep64/snapshots"))
    assert "from_pretrained('farl')" in result.stderr
    assert f"sha256 of its file: {hashlib.sha256(Path(source).read_bytes()).hexdigest()}" in result.stderr


def test_what_was_here_is_not_made_anew_unasked(source):
    assert "was here" not in farl_hf("download", "farl", "--from", source).stderr
    assert "was here already (--force makes it again)" in farl_hf("download", "farl", "--from", source).stderr
    assert "was here" not in farl_hf("download", "farl", "--from", source, "--force").stderr


def test_another_file_is_not_passed_over(source, tmp_path):
    """The printed checksum is of the file that the checkpoint was made from, and the advice is a command that runs."""
    farl_hf("download", "farl", "--from", source)
    other = tmp_path / "other weights.pth"
    other.write_bytes(b"other weights")
    refused = farl_hf("download", "farl", "--from", str(other))
    assert refused.exit_code == 2
    (command,) = re.findall(r"`farl-hf (.*?)`", " ".join(refused.stderr.split()))
    accepted = farl_hf(*shlex.split(command))
    assert accepted.exit_code == 0, accepted.output
    assert "was here" not in accepted.stderr
    assert hashlib.sha256(b"other weights").hexdigest() in accepted.stderr
    assert (Path(accepted.stdout.strip()) / "model.safetensors").read_bytes() == b"other weights"


def test_the_checksum_is_of_the_file_where_that_of_the_release_is_another(source, monkeypatch):
    row = replace(conversion.RELEASED_MODELS["farl-ep64"], sha256="0" * 64)
    monkeypatch.setitem(conversion.RELEASED_MODELS, "farl-ep64", row)
    result = farl_hf("download", "farl", "--from", source, "--trust")
    assert f"sha256 of its file: {hashlib.sha256(b'weights').hexdigest()}" in result.stderr


def test_something_else_of_that_name_is_pointed_out(source, tmp_path):
    (tmp_path / "work/farl").mkdir()
    assert "Transformers loads ./farl" in farl_hf("download", "farl", "--from", source).stderr
    assert "./farl" in row_of("farl")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("farl-lapa",), "There is no model 'farl-lapa'"),
        (("farl-tiny-parsing", "--from", "nothing.pth"), "farl-tiny-parsing is built in"),
        (("farl", "--from", "nothing.pth"), "nothing.pth is no file that can be read"),
    ],
)
def test_mistakes_are_one_sentence(words, sentence):
    result = farl_hf("download", *words)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert "Traceback" not in result.output


def test_offline_it_fails_at_once(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    result = farl_hf("download", "retinaface-mobilenet")
    assert result.exit_code == 2
    assert "farl-hf download retinaface-mobilenet --from mobilenet0.25_Final.pth" in result.stderr
    assert "https://github.com/" in result.stderr
