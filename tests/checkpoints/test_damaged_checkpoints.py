"""Damaged downloads and checkpoints end in one sentence, in pipelines, commands and Python."""

import shutil
from types import SimpleNamespace

import pytest
from PIL import Image
from transformers import pipeline
from typer.testing import CliRunner

import farl_hf
from farl_hf.checkpoints.checked_loading import load_image_processor, read_config
from farl_hf.checkpoints.source_download import _start_and_total, require_known_sha256
from farl_hf.cli import app
from farl_hf.errors import DownloadError, FaRLError, NotACheckpointError


@pytest.fixture
def detector(tmp_path):
    return shutil.copytree(farl_hf.checkpoint("retinaface-mobilenet-wider"), tmp_path / "detector")


@pytest.mark.parametrize(
    "content_range", [None, "", "bytes */9", "bytes 3-8/*", "bytes 0-8/9", "bytes 4-2/9", "bytes 4-9/9", "bytes 5-8/9"]
)
def test_a_part_must_begin_where_it_was_asked_for(content_range, tmp_path):
    part = tmp_path / "weights.part"
    part.write_bytes(b"four")
    headers = {} if content_range is None else {"Content-Range": content_range}
    with pytest.raises(DownloadError, match="Content-Range"):
        _start_and_total(SimpleNamespace(status_code=206, headers=headers), part, "http://x")
    right = SimpleNamespace(status_code=206, headers={"Content-Range": "bytes 4-8/9"})
    assert _start_and_total(right, part, "http://x") == (4, 9)


@pytest.mark.parametrize("length", ["many", "-3", "", "1e3"])
def test_a_length_that_is_no_number_is_none(length, tmp_path):
    response = SimpleNamespace(status_code=200, headers={"Content-Length": length})
    assert _start_and_total(response, tmp_path / "part", "http://x") == (0, None)


@pytest.mark.parametrize("record", ["", "{", "[]", "3", "{}"])
def test_a_damaged_record_of_a_checksum_is_none(record, tmp_path, monkeypatch):
    path = tmp_path / "farl.json"
    path.write_text(record)
    monkeypatch.setattr("farl_hf.checkpoints.source_download._record_path", lambda name: path)
    require_known_sha256("farl-ep64", "0" * 64, "farl-hf download farl-ep64 --trust")


def cut(path, size):
    path.write_bytes(path.read_bytes()[:size])


@pytest.mark.parametrize("size", [0, 4, 100, 100_000])
def test_truncated_weights(size, detector, tmp_path):
    cut(detector / "model.safetensors", size)
    with pytest.raises(FaRLError, match=r"^[^\n]*detector has no weights that can be read[^\n]*$"):
        pipeline("face-detection", model=str(detector))
    told = CliRunner().invoke(
        app, ["annotate", "x.jpg", "--detector", str(detector), "--tasks", "detection", "-o", str(tmp_path / "out")]
    )
    assert told.exit_code in (1, 2)
    assert not told.exception or isinstance(told.exception, SystemExit)


@pytest.mark.parametrize("content", ["null", "3", "[]", "{", '{"model_type": "retinaface", "body": 3}'])
def test_commands_say_what_is_wrong_with_a_config(content, detector, tmp_path):
    (detector / "config.json").write_text(content)
    for words in (
        ["annotate", str(detector / "config.json"), "--detector", str(detector), "-o", str(tmp_path / "out")],
        ["export", str(detector), "-o", str(tmp_path / "graph"), "--format", "torch-export"],
        ["evaluate", str(detector), "synthetic_faces", "-o", str(tmp_path / "scores")],
        ["explain", str(detector / "config.json"), "smile", "--model", str(detector), "-o", str(tmp_path / "maps")],
    ):
        told = CliRunner().invoke(app, words)
        assert told.exit_code == 2, words
        assert not told.exception or isinstance(told.exception, SystemExit), words


def test_settings_without_the_class_of_an_image_processor_are_not_replaced_by_others(detector):
    (detector / "preprocessor_config.json").write_text('{"score_threshold": 0.9}')
    with pytest.raises(NotACheckpointError, match="image_processor_type"):
        load_image_processor(farl_hf.RetinaFaceImageProcessor, detector)
    with pytest.raises(NotACheckpointError, match="image_processor_type"):
        pipeline("face-detection", model=str(detector), device="cpu")
    Image.new("RGB", (40, 30)).save(detector / "photo.png")
    words = ["annotate", detector / "photo.png", "-t", "detection", "--detector", detector, "-o", detector / "out"]
    told = CliRunner().invoke(app, [*map(str, words)])
    assert told.exit_code == 2
    assert "image_processor_type" in told.stderr


@pytest.mark.parametrize("kind", ["3", '["farl"]', "{}"])
def test_a_model_type_is_a_name(kind, tmp_path):
    (tmp_path / "config.json").write_text(f'{{"model_type": {kind}}}')
    with pytest.raises(NotACheckpointError, match="model_type"):
        read_config(tmp_path, farl_hf.FaRLConfig)


def test_a_detector_that_is_another_model_is_named(detector):
    (detector / "config.json").write_text('{"model_type": "bert"}')
    parsing = pipeline("face-parsing", model="farl-tiny-parsing", detector=str(detector), device="cpu")
    with pytest.raises(NotACheckpointError, match=r"BertConfig \(another task\); expected RetinaFaceForFaceDetection"):
        parsing(Image.new("RGB", (40, 30)))
