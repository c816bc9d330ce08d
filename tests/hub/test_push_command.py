"""`farl-hf push` says what it will upload before it does, and uploads exactly that."""

import os
import shutil

import pytest
from typer.testing import CliRunner

from farl_hf.cli import app


@pytest.fixture
def push(monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    return lambda *arguments: CliRunner().invoke(app, ["push", *map(str, arguments)])


@pytest.fixture
def folder(checkpoints, tmp_path):
    folder = shutil.copytree(checkpoints["face-attributes"], tmp_path / "attributes")
    (folder / "optimizer.pt").write_bytes(b"state")
    return folder


def test_a_dry_run_shows_and_uploads_nothing(here, folder, push):
    done = push(folder, "me/dry", "--dry-run")
    assert done.exit_code == 0
    for shown in ("me/dry (private", "model.safetensors", "face-detector/model.safetensors", "code, ", " kB", "all"):
        assert shown in done.output
    assert "Skipped: optimizer.pt" in done.output
    assert "There is no README.md" in done.output
    assert "me/dry" not in here.repositories


def test_names_in_the_plan_are_shown_as_they_are(here, folder, push):
    (folder / "[bold]notes.md").write_text("a note")
    done = push(folder, os.fsdecode(b"me/caf\xe9[/x]\x1b[31m"), "--dry-run")
    assert done.exit_code == 0, done.output
    assert r"me/caf\xe9[/x]\x1b[31m" in done.output
    assert "[bold]notes.md" in done.output


def test_a_push_uploads_what_it_showed(here, folder, push):
    done = push(folder, "me/pushed", "--public", "--revision", "v1")
    assert done.exit_code == 0, done.output
    repository = here.repositories["me/pushed"]
    commit, files = repository.files("v1")
    assert commit in done.output
    assert not repository.private
    assert "optimizer.pt" not in files
    assert all(path.endswith(".py") or path in done.output for path in files)


def test_an_incomplete_folder_is_refused_before_anything_is_uploaded(here, folder, push):
    (folder / "preprocessor_config.json").unlink()
    done = push(folder, "me/incomplete")
    assert done.exit_code == 2
    assert "lacks preprocessor_config.json" in done.output
    assert "me/incomplete" not in here.repositories


def test_a_refusal_of_the_hub_is_one_sentence(here, folder, push):
    here.refusals["/commit/"] = 403
    done = push(folder, "me/refused-here")
    assert done.exit_code == 2
    assert "Error: me/refused-here could not be written" in done.output
    assert "Traceback" not in done.output
