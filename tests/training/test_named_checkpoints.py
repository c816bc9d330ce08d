"""Names of `farl-hf list` in training scripts, as on a machine without network."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from farl_hf import checkpoint
from farl_hf.errors import NotACheckpointError, NotDownloadedError
from farl_hf.training.arguments import ModelArguments
from farl_hf.training.runs import folder_of_name, with_checked_start

ROOT = Path(__file__).resolve().parents[2]


def test_known_names_become_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert folder_of_name("farl-tiny") == str(checkpoint("farl-tiny"))
    assert folder_of_name("org/other") == "org/other"
    assert folder_of_name(None) is None


def test_a_folder_of_that_name_wins(tmp_path, monkeypatch):
    (tmp_path / "farl-tiny").mkdir()
    monkeypatch.chdir(tmp_path)
    assert folder_of_name("farl-tiny") == "farl-tiny"


def test_the_command_that_brings_the_weights_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotDownloadedError, match="farl-hf download farl-lapa-448"):
        folder_of_name("farl-lapa-448")


def test_other_fields_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = ModelArguments(model_name_or_path="farl-tiny", config_name="tiny")
    named = with_checked_start(given, "config_name")
    assert (named.model_name_or_path, named.config_name) == (str(checkpoint("farl-tiny")), "tiny")
    assert given.model_name_or_path == "farl-tiny"


def test_a_start_without_a_configuration_is_refused(tmp_path):
    with pytest.raises(NotACheckpointError, match="has no configuration"):
        with_checked_start(ModelArguments(model_name_or_path=str(tmp_path)))


def test_a_script_starts_from_a_built_in_name_offline(tmp_path):
    words = ["--model_name_or_path", "farl-tiny", "--max_train_samples", "4", "--max_steps", "1", "--do_train"]
    words += ["--output_dir", "run", "--per_device_train_batch_size", "2", "--dataloader_num_workers", "0"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "empty")}
    finished = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "train_attributes.py"), *words],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert (tmp_path / "run" / "model.safetensors").is_file()
    # What the run records is the name, which means the same on another machine.
    assert "model_name_or_path: farl-tiny\n" in (tmp_path / "run" / "recipe.yaml").read_text()
