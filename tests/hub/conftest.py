import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hub_server import TOKEN, HubServer
from toy_checkpoints import VISION, save_toy_checkpoints

from farl_hf import FaRLConfig, FaRLImageProcessor, FaRLModel, FaRLProcessor
from farl_hf.conversion.clip_vocabulary import make_clip_tokenizer

TOY_TEXT = {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3}


def save_towers(folder):
    """A toy checkpoint of both towers, with tokenizer and processor."""
    torch.manual_seed(0)
    FaRLModel(FaRLConfig(vision_config=VISION, text_config=TOY_TEXT, projection_dim=16)).save_pretrained(folder)
    image_processor = FaRLImageProcessor(size={"height": 32, "width": 32})
    FaRLProcessor(image_processor, make_clip_tokenizer()).save_pretrained(folder)
    image_processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory):
    """Toy checkpoint folders, by task."""
    folder = tmp_path_factory.mktemp("checkpoints")
    return save_toy_checkpoints(folder) | {"zero-shot-image-classification": save_towers(folder / "towers")}


@pytest.fixture(scope="session")
def hub():
    with HubServer().running() as server:
        yield server


@pytest.fixture(scope="session")
def run_on_hub(hub, tmp_path_factory):
    """A function that runs Python with the hub as the Hub; `HF_ENDPOINT` is read once per process."""

    def run(*arguments, token=TOKEN, check=True):
        home = tmp_path_factory.mktemp("home")
        # HF_* of this process would let it find a warm cache, PYTHONPATH the sources.
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PYTHON"))}
        environment |= {"HF_HOME": str(home), "HF_ENDPOINT": hub.endpoint, "HF_HUB_DISABLE_XET": "1", "COLUMNS": "120"}
        environment |= {"HF_TOKEN": token} if token else {}
        process = subprocess.run(
            [sys.executable, "-I", *map(str, arguments)],
            env=environment,
            cwd=home,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert not check or process.returncode == 0, process.stdout[-1000:] + process.stderr[-4000:]
        return process

    return run


@pytest.fixture
def here(hub, monkeypatch):
    """The hub as this process's Hub, with the test's token."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.endpoint)
    address = f"{hub.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", address)
    # Both keep the address that they were made with, which an earlier test may have done.
    monkeypatch.setattr("huggingface_hub.hf_api.api.endpoint", hub.endpoint)
    monkeypatch.setattr("transformers.utils.hub._hf_api", None, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    yield hub
    hub.refusals.clear()


@pytest.fixture(scope="session")
def stranger():
    return Path(__file__).with_name("stranger.py")
