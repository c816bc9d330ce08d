import json

import pytest
from huggingface_hub import close_session, constants

from farl_hf import conversion
from farl_hf.conversion.source_reading import file_sha256


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """An empty Hugging Face cache, online."""
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield tmp_path / "home" / "hub"
    close_session()


@pytest.fixture
def quick_conversion(monkeypatch):
    """A conversion whose weights are the bytes of the source; it records what it was asked."""
    asked = []

    def convert(source, output, *, name=None, check=False, progress=None):
        asked.append(name)
        output.mkdir()
        (output / "config.json").write_text('{"model_type": "farl"}')
        (output / "model.safetensors").write_bytes(source.read_bytes())
        (output / "conversion.json").write_text(json.dumps({"source": {"sha256": file_sha256(source)}}))

    monkeypatch.setattr(conversion, "convert_checkpoint", convert)
    return asked
