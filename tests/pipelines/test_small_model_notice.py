"""Loading a built-in head or `farl-tiny` says once that it is small, and how to get the official one."""

import shutil
import subprocess
import sys

import pytest
from PIL import Image
from transformers import AutoModel, pipeline
from typer.testing import CliRunner

from farl_hf import FaRLForFaceParsing
from farl_hf.checkpoints import DEFAULT_CHECKPOINTS, KNOWN_NAMES, embedded_models
from farl_hf.checkpoints.checkpoint_names import ALIASES
from farl_hf.checkpoints.embedded_models import OFFICIAL_COUNTERPARTS, log_if_small
from farl_hf.cli import app
from farl_hf.cli.model_loading import load_model_and_processor
from farl_hf.cli.options import IMAGE_TEXT_MODEL
from farl_hf.hub.flat_code import flat_code

HEAD_TASKS = {DEFAULT_CHECKPOINTS[task]: task for task in ("face-parsing", "face-landmarks", "face-attributes")}


@pytest.fixture
def built_in(toy_checkpoints, monkeypatch):
    """The folder of the built-in models, toys here, none of which has been used."""
    monkeypatch.setattr(embedded_models, "_FOLDER", toy_checkpoints["face-parsing"].parent)
    embedded_models._log_small.cache_clear()
    yield embedded_models._FOLDER
    embedded_models._log_small.cache_clear()


@pytest.fixture
def said(caplog):
    """A function: what has been said of small models since it was called last."""

    def messages():
        found = [one.getMessage() for one in caplog.records if one.name == embedded_models.__name__]
        caplog.clear()
        return found

    return messages


def test_every_head_has_an_official_counterpart():
    assert set(OFFICIAL_COUNTERPARTS) == {*HEAD_TASKS, IMAGE_TEXT_MODEL}
    assert set(OFFICIAL_COUNTERPARTS.values()) <= {*KNOWN_NAMES, *ALIASES}


@pytest.mark.parametrize("name", HEAD_TASKS)
def test_the_first_pipeline_says_it_and_the_second_does_not(built_in, said, name):
    pipeline(HEAD_TASKS[name], model=str(built_in / name), device="cpu")
    (message,) = said()
    assert f"{OFFICIAL_COUNTERPARTS[name]} for {HEAD_TASKS[name]}" in message
    assert "farl-hf download" in message
    pipeline(HEAD_TASKS[name], model=str(built_in / name), device="cpu")
    log_if_small(name)
    assert said() == []


def test_it_is_said_once_however_many_heads_are_used(built_in, said):
    for name in HEAD_TASKS:
        log_if_small(name)
    assert len(said()) == 1


def test_nothing_is_said_of_other_models(built_in, said, tmp_path, monkeypatch):
    for name in ("farl-lapa-448", "farl-tiny-parsing", "my-parser"):
        shutil.copytree(built_in / "farl-tiny-parsing", tmp_path / name)
        pipeline("face-parsing", model=str(tmp_path / name), device="cpu")
    monkeypatch.chdir(tmp_path)
    pipeline("face-parsing", model="farl-tiny-parsing", device="cpu")  # the folder of the user, not ours
    pipeline("face-detection", model=str(built_in / DEFAULT_CHECKPOINTS["face-detection"]), device="cpu")
    log_if_small("farl-tiny-generator")
    assert said() == []


def test_it_is_said_of_the_model_of_sentences(said):
    embedded_models._log_small.cache_clear()
    load_model_and_processor(None, "cpu")
    (message,) = said()
    assert "farl for zero-shot-image-classification" in message


@pytest.mark.parametrize(
    "load",
    [
        pytest.param(lambda: AutoModel.from_pretrained("farl-tiny"), id="auto"),
        pytest.param(lambda: FaRLForFaceParsing.from_pretrained("farl-tiny-parsing"), id="class"),
        pytest.param(
            lambda: FaRLForFaceParsing.from_pretrained("farl-tiny-parsing", output_loading_info=True)[0], id="parts"
        ),
        pytest.param(lambda: pipeline("image-segmentation", model="farl-tiny-parsing"), id="image-segmentation"),
        pytest.param(lambda: pipeline("image-classification", model="farl-tiny-attributes"), id="classification"),
        pytest.param(lambda: pipeline("zero-shot-image-classification", model="farl-tiny"), id="zero-shot"),
    ],
)
def test_transformers_own_classes_say_it_too(said, load):
    embedded_models._log_small.cache_clear()
    load()
    assert len(said()) == 1


def test_it_is_said_of_links_of_a_subfolder_and_of_the_working_directory(built_in, said, tmp_path, monkeypatch):
    def from_links():
        for file in (built_in / "farl-tiny-parsing").iterdir():
            (tmp_path / file.name).symlink_to(file)
        FaRLForFaceParsing.from_pretrained(tmp_path)

    def from_here():
        monkeypatch.chdir(built_in / "farl-tiny-parsing")
        FaRLForFaceParsing.from_pretrained(".")

    for load in (
        from_links,
        lambda: FaRLForFaceParsing.from_pretrained(built_in, subfolder="farl-tiny-parsing"),
        from_here,
    ):
        load()
        assert len(said()) == 1
        embedded_models._log_small.cache_clear()


@pytest.mark.parametrize(
    "code",
    [
        "from farl_hf.modeling import FaRLModel; FaRLModel.from_pretrained('farl-tiny')",
        "import farl_hf; from transformers import AutoModel; AutoModel.from_pretrained('farl-tiny')",
        "from transformers import AutoModel, pipeline; import farl_hf; AutoModel.from_pretrained('farl-tiny')",
    ],
)
def test_it_is_said_in_every_order_of_imports(code):
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stderr.count("The built-in models of parts") == 1


def test_commands_say_it_too(built_in, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (96, 80), (90, 80, 70)).save("photo.png")
    annotated = CliRunner().invoke(app, ["annotate", "photo.png", "--tasks", "parsing,landmarks", "--device", "cpu"])
    assert annotated.exit_code == 0, annotated.output
    assert len(said()) == 1
    embedded_models._log_small.cache_clear()
    command = ["explain", "photo.png", "nose", "--aligned", "--model", "farl-tiny-parsing", "--device", "cpu"]
    explained = CliRunner().invoke(app, command)
    assert explained.exit_code == 0, explained.output
    assert len(said()) == 1


def test_repositories_do_not_carry_the_names_of_built_in_models():
    code = flat_code(["farl_hf.pipelines.face_tasks"])
    assert "embedded_models.py" not in code
    assert not any("log_if_small" in text for text in code.values())
