"""`farl-hf convert`, as one types it."""

import contextlib
import json
import multiprocessing
import os
import signal

import conversion_sources as sources
import pytest
import torch
from typer.testing import CliRunner

from farl_hf.cli import app
from farl_hf.conversion import checkpoint_conversion, parity
from farl_hf.whole_files import written_whole


def run(*arguments):
    return CliRunner().invoke(app, ["convert", *map(str, arguments)])


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "mobilenet0.25_Final.pth"
    return sources.write_plain(path, sources.make_detector())


def test_writes_a_checkpoint_and_says_so(source, tmp_path):
    result = run(source, "--output", tmp_path / "detector", "--name", "retinaface-mobilenet")
    assert result.exit_code == 0, result.output
    odd = run(source, "--output", tmp_path / "[bold]\x1b")
    assert r"[bold]\x1b: RetinaFace" in odd.output.replace("\n", "")
    refused = run(source, "--output", tmp_path / os.fsdecode(b"caf\xe9"))
    assert refused.exit_code == 2
    assert "not UTF-8" in refused.output
    assert "RetinaFaceForFaceDetection" in result.output
    assert (tmp_path / "detector/model.safetensors").is_file()
    assert json.loads((tmp_path / "detector/conversion.json").read_text())["parity"] is None


def test_what_a_killed_conversion_left_is_removed_by_the_next(source, tmp_path):
    def convert_and_die():
        checkpoint_conversion.write_safetensors = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        checkpoint_conversion.convert_checkpoint(source, tmp_path / "detector")

    killed = multiprocessing.get_context("fork").Process(target=convert_and_die)
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    (left_over,) = tmp_path.iterdir()
    with contextlib.suppress(KeyboardInterrupt), written_whole(tmp_path / "detector") as unfinished:
        unfinished.write_text("of a conversion that still runs")
        assert run(source, "-o", tmp_path / "detector").exit_code == 0
        assert not left_over.exists()
        assert unfinished.exists()
        raise KeyboardInterrupt
    assert (tmp_path / "detector" / "model.safetensors").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["detector"]


def test_check_shows_every_stage(source, tmp_path):
    result = run(source, "-o", tmp_path / "detector", "--check")
    assert result.exit_code == 0, result.output
    for words in ("box offsets", "number of detections", "five points", "equal"):
        assert words in result.output
    assert "different" not in result.output


def test_a_difference_is_an_exit_status(source, tmp_path, monkeypatch):
    monkeypatch.setattr(parity, "NETWORK_LIMIT", -1.0)
    result = run(source, "-o", tmp_path / "detector", "--check")
    assert result.exit_code == 1
    assert "different" in result.output


def test_overwriting_must_be_asked_for(source, tmp_path):
    assert run(source, "-o", tmp_path / "detector").exit_code == 0
    refused = run(source, "-o", tmp_path / "detector")
    assert refused.exit_code == 2
    assert "not empty" in refused.output
    assert run(source, "-o", tmp_path / "detector", "--overwrite").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--name", "farl-lapa-448"], "another kind"),
        (["--name", "farl"], "'farl-ep64' is another kind"),
        (["--name", "nonsense"], "Known: farl-ep16"),
    ],
)
def test_errors_are_one_sentence(source, tmp_path, arguments, message):
    result = run(source, "-o", tmp_path / "detector", *arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output
    assert not (tmp_path / "detector").exists()


def test_a_file_that_is_something_else(tmp_path):
    torch.save({"weight": torch.ones(2)}, tmp_path / "other[1].pth")
    result = run(tmp_path / "other[1].pth", "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "No known model has the tensors weight" in result.output
