"""Commands of the README in an environment without extras."""

import os
import subprocess
import sys

import pytest
import skimage.data
from PIL import Image

# Packages of extras that these commands must not ask for.
EXTRAS = ("accelerate", "av", "datasets", "deepspeed", "evaluate", "faiss", "onnx", "open_clip", "peft", "ray", "timm")
PROGRAM = """
import sys
sys.modules.update(dict.fromkeys({extras}))  # an import of these raises a ModuleNotFoundError
from farl_hf.cli import app
for words in {commands}:
    app(words, standalone_mode=False)
"""


@pytest.mark.parametrize(
    ("words", "package"),
    [
        (["train", "lapa_448_finetuned", "--data-dir", "none"], "accelerate"),
        (["evaluate", "farl-tiny-parsing", "lapa", "--data-dir", "none"], "accelerate"),
        (["data", "check", "lapa", "none"], "datasets"),
    ],
)
def test_a_command_that_needs_an_extra_names_it(words, package):
    program = PROGRAM.format(extras=EXTRAS, commands=[words])
    command = [sys.executable, "-c", program.replace("app(words, standalone_mode=False)", "app(words)")]
    finished = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"COLUMNS": "200"}
    )
    assert finished.returncode == 2
    (line,) = finished.stderr.splitlines()
    assert f"`{package}`" in line
    assert "farl-hf[train]" in line


def test_photos_are_annotated_matched_and_explained(tmp_path):
    Image.fromarray(skimage.data.astronaut()).save(tmp_path / "portrait.jpg")
    commands = [
        ["annotate", "portrait.jpg", "--tasks", "attributes", "--output", "annotated"],
        ["match", "portrait.jpg", "--texts", "a smiling person"],
        ["explain", "portrait.jpg", "brown hair", "--output", "explained"],
        ["env"],
        ["list"],
    ]
    program = PROGRAM.format(extras=EXTRAS, commands=commands)
    command = [sys.executable, "-c", program]
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr[-3000:]
    assert list((tmp_path / "explained").iterdir())
