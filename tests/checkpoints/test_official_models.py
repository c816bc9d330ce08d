import importlib.util
import re
from pathlib import Path

import pytest

from farl_hf.checkpoints import DEFAULT_CHECKPOINTS, EMBEDDED_CHECKPOINTS, KNOWN_NAMES, OFFICIAL_MODELS
from farl_hf.checkpoints.checkpoint_download import download_checkpoint
from farl_hf.checkpoints.checkpoint_names import ALIASES
from farl_hf.conversion import RELEASED_MODELS
from farl_hf.errors import UnknownNameError


def test_addresses_are_those_that_facer_fetches_from():
    (facer,) = importlib.util.find_spec("facer").submodule_search_locations  # reads its files, runs none
    text = "\n".join(path.read_text() for path in Path(facer).rglob("*.py"))
    fetched = set(re.findall(r"https://\S+?/releases/download/[^\s'\"]+", text))
    ours = {model.address for name, model in OFFICIAL_MODELS.items() if name not in ("farl-ep16", "farl-ep64")}
    assert ours == fetched


def test_names_are_unique_and_lead_somewhere():
    assert len(set(KNOWN_NAMES)) == len(KNOWN_NAMES)
    assert set(ALIASES.values()) <= {*OFFICIAL_MODELS, *EMBEDDED_CHECKPOINTS}
    assert set(KNOWN_NAMES) == {*ALIASES, *OFFICIAL_MODELS, *EMBEDDED_CHECKPOINTS}


def test_every_task_is_a_pipeline():
    tasks = {model.task for model in OFFICIAL_MODELS.values()}
    assert tasks == {*DEFAULT_CHECKPOINTS, "zero-shot-image-classification"}


def test_a_file_without_an_address_has_a_name_for_conversion_only():
    with pytest.raises(UnknownNameError):
        download_checkpoint("retinaface-mobilenet-imagenet")
    assert RELEASED_MODELS.keys() - OFFICIAL_MODELS.keys() == {"retinaface-mobilenet-imagenet"}
