"""Commands of the README in an environment without extras."""

import json
import os
import subprocess
import sys

import pytest
import skimage.data
from PIL import Image

# Packages of extras that these commands must not ask for.
EXTRAS = ("accelerate", "av", "datasets", "deepspeed", "evaluate", "faiss", "onnx", "open_clip", "peft", "ray", "timm")
WORKING = [
    ["annotate", "portrait.jpg", "--tasks", "attributes", "--output", "annotated"],
    ["match", "portrait.jpg", "--texts", "a smiling person"],
    ["explain", "portrait.jpg", "brown hair", "--output", "explained"],
    ["env"],
    ["list"],
]
REFUSED = {
    "accelerate": [
        ["train", "lapa_448_finetuned", "--data-dir", "none"],
        ["evaluate", "farl-tiny-parsing", "lapa", "--data-dir", "none"],
    ],
    "datasets": [["data", "check", "lapa", "none"]],
}
# Every command as its own program would run it; statuses and errors go to a file.
PROGRAM = """
import contextlib, io, json, sys
sys.modules.update(dict.fromkeys({extras}))  # an import of these raises a ModuleNotFoundError
from farl_hf.cli import app
outcomes = []
for words in {commands}:
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors):
        try:
            app(words)
            status = 0
        except SystemExit as end:
            status = end.code or 0
    outcomes.append([words, status, errors.getvalue()])
json.dump(outcomes, open("outcomes.json", "w"))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Folder where the commands ran."""
    folder = tmp_path_factory.mktemp("plain")
    Image.fromarray(skimage.data.astronaut()).save(folder / "portrait.jpg")
    commands = WORKING + [words for group in REFUSED.values() for words in group]
    program = PROGRAM.format(extras=EXTRAS, commands=commands)
    command = [sys.executable, "-c", program]
    environment = os.environ | {"COLUMNS": "200"}
    finished = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def outcomes(folder):
    """Words of a command -> its exit status and what it wrote to the error stream."""
    return {
        tuple(words): (status, errors) for words, status, errors in json.loads((folder / "outcomes.json").read_text())
    }


@pytest.mark.parametrize(("package", "words"), [(package, words) for package in REFUSED for words in REFUSED[package]])
def test_a_command_that_needs_an_extra_names_it(outcomes, package, words):
    status, errors = outcomes[tuple(words)]
    assert status == 2
    (line,) = errors.splitlines()
    assert f"`{package}`" in line
    assert "farl-hf[train]" in line


def test_photos_are_annotated_matched_and_explained(folder, outcomes):
    assert {words: outcomes[tuple(words)] for words in map(tuple, WORKING) if outcomes[words][0]} == {}
    assert list((folder / "annotated").iterdir())
    assert list((folder / "explained").iterdir())
