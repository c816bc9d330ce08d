"""The options of the scripts: both spellings, and no docstring that names one which does not exist."""

import ast
import re
import runpy
import sys
from pathlib import Path

import pytest
from transformers import HfArgumentParser

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SCRIPTS = sorted(path for path in EXAMPLES.rglob("*.py") if '__name__ == "__main__"' in path.read_text())
SCRIPTS.remove(EXAMPLES / "tiny_models" / "train.py")  # it runs recipes; test_tiny_models.py starts it
OF_LAUNCHERS = {"--config_file", "--help", "--nproc_per_node", "--num_processes"}  # accelerate's and torchrun's


class ParsedError(Exception):
    """Ends a script where it reads its command line."""


@pytest.fixture
def options_of(monkeypatch):
    """Option strings that a script takes."""
    found = {}

    def parse(parser, *args, **kwargs):
        found.update(parser._option_string_actions)
        parser.format_help()  # fails where a help text has a lone per cent sign
        raise ParsedError

    def options(script):
        monkeypatch.setattr(HfArgumentParser, "parse_args_into_dataclasses", parse)
        monkeypatch.setattr(sys, "argv", [str(script)])
        monkeypatch.syspath_prepend(str(script.parent))
        with pytest.raises(ParsedError):
            runpy.run_path(str(script), run_name="__main__")
        return set(found) | {"--recipe"}

    return options


def test_there_are_scripts():
    assert len(SCRIPTS) >= 13


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_options_take_dashes_and_underscores_and_docstrings_name_only_real_ones(script, options_of):
    options = options_of(script)
    assert "--output_dir" in options
    assert {name.replace("_", "-") for name in options if name.startswith("--") and "_" in name} <= options
    mentioned = set(re.findall(r"--[a-z][\w-]*", ast.get_docstring(ast.parse(script.read_text())) or ""))
    assert mentioned - OF_LAUNCHERS <= options
    assert not any("_" in name for name in mentioned - OF_LAUNCHERS)
