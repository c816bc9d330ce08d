"""Options of the whole command line, and texts after one option."""

import inspect
import itertools
import re
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from farl_hf import __version__
from farl_hf.cli import app
from farl_hf.cli.match import ManyTextsCommand, match
from farl_hf.cli.options import plain_errors, report_failures
from farl_hf.errors import UnreadablePhotoError
from farl_hf.photos import load_photo
from farl_hf.training.arguments import errors_as_sentences


def test_the_version_is_shown_also_by_python_m():
    assert CliRunner().invoke(app, ["--version"]).output.strip() == f"farl-hf {__version__}"
    done = subprocess.run([sys.executable, "-m", "farl_hf", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"farl-hf {__version__}"


def test_shells_complete_the_names_of_commands():
    environment = {"_FARL_HF_COMPLETE": "complete_bash", "COMP_WORDS": "farl-hf an", "COMP_CWORD": "1"}
    result = CliRunner().invoke(app, [], prog_name="farl-hf", env=environment)
    assert {"annotate", "anonymize"} <= set(result.output.split())
    assert "--install-completion" in CliRunner().invoke(app, ["--help"]).output


@pytest.mark.parametrize("command", ["annotate", "match", "explain", "crop", "anonymize", "evaluate", "data convert"])
def test_help_is_wrapped_by_the_terminal(command):
    """Only the last line of a paragraph may be short."""
    text = CliRunner().invoke(app, [*command.split(), "--help"], env={"COLUMNS": "100", "TERM": "dumb"}).output
    lines = [line.rstrip() for line in text.partition("╭")[0].splitlines()]
    for line, following in itertools.pairwise(lines):
        if line and following:
            assert len(line) + 1 + len(following.split()[0]) > 97, line


@pytest.mark.parametrize("option", ["--data-dir", "--data_dir"])
def test_options_may_have_underscores_as_in_training_scripts(option, tmp_path):
    assert CliRunner().invoke(app, ["train", option, str(tmp_path), "--list"]).exit_code == 0
    assert "_" not in CliRunner().invoke(app, ["train", "--help"]).output.partition("Options")[2].partition("--set")[0]


def parsed(*words):
    """What `farl-hf match` gets as photos and texts."""
    seen = []
    one = typer.Typer()

    def see(**settings):
        seen.append((settings["photos"], settings["texts"], settings["top"]))

    see.__signature__, see.__annotations__ = inspect.signature(match), match.__annotations__
    one.command(cls=ManyTextsCommand)(see)
    result = CliRunner().invoke(one, list(words))
    assert result.exit_code == 0, result.output
    return seen[0]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("p --texts A B", (["p"], ["A", "B"], 5)),
        ("p q -t A B --top 2", (["p", "q"], ["A", "B"], 2)),
        ("p --texts A -t B C", (["p"], ["A", "B", "C"], 5)),
        ("--texts A --top 3 p", (["p"], ["A"], 3)),
        ("--texts=A p", (["p"], ["A"], 5)),
        ("-t A -- p", (["p"], ["A"], 5)),
    ],
)
def test_several_texts_follow_one_option(words, expected):
    assert parsed(*words.split()) == expected


def test_training_scripts_begin_with_our_options():
    from farl_hf.training.arguments import make_parser

    text = make_parser().format_help()
    groups = re.findall(r"^(\w.*):$", text, flags=re.MULTILINE)
    assert len(groups) == 4
    assert "Transformers" in groups[3]
    ours, theirs = text.split(groups[3])
    for option in ("--model_name_or_path", "--dataset_name", "--allow_changed", "--dataloader_num_workers"):
        assert re.search(rf"{option}[ ,]", ours)  # Python 3.13 writes the value once, after all names
        assert not re.search(rf"{option}[ ,]", theirs)
    assert "--learning_rate_scheduler" not in ours
    assert "--warmup_steps" in theirs
    listed = re.findall(r"^  (--\w+)[ ,]", text, flags=re.MULTILINE)
    assert len(set(listed)) == len(listed)


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied", "a/b"), OSError(5, "Input/output error")])
def test_what_the_operating_system_refuses_is_one_sentence(error, capsys):
    with pytest.raises(typer.Exit) as ended, plain_errors():
        raise error
    assert ended.value.exit_code == 2
    said = capsys.readouterr().err.strip()
    assert error.strerror in said
    assert "\n" not in said


def test_a_name_of_several_lines_stays_one_line_of_an_error(capsys, tmp_path):
    with pytest.raises(typer.Exit), plain_errors():
        load_photo(tmp_path / "a\nb\tc\x1b[31m.png")
    report_failures({"d\ne.png": UnreadablePhotoError("of\nf")})
    said = "".join(capsys.readouterr().err.split("\n"))
    assert r"a\nb\tc\x1b[31m.png" in said
    assert r"d\ne.png: of\nf" in said
    with pytest.raises(SystemExit, match=r"^Error: [^\n\x1b]*a\\nb\\x1b\[31m"), errors_as_sentences():
        load_photo(tmp_path / "a\nb\x1b[31m.png")


@pytest.mark.parametrize(
    "words",
    [
        "annotate missing.jpg",
        "annotate missing.mp4",
        "crop missing.jpg",
        "anonymize missing.jpg",
        "index missing.jpg",
        "match missing.jpg --texts hat",
        "explain missing.jpg hat",
        "evaluate farl-tiny-parsing lapa --data-dir missing",
    ],
)
def test_what_is_missing_is_told_before_a_model_is_loaded(words, tmp_path, monkeypatch):
    from transformers import PreTrainedModel

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(PreTrainedModel, "from_pretrained", lambda *words, **settings: pytest.fail("a model"))
    result = CliRunner().invoke(app, words.split(), env={"COLUMNS": "300"})
    assert result.exit_code in (1, 2)
    assert "missing" in result.stderr
    assert "Traceback" not in result.output + result.stderr


def test_a_torchvision_for_another_torch_is_one_sentence(capsys):
    error = ModuleNotFoundError("Could not import module 'AutoImageProcessor'.")  # Transformers' own
    error.__cause__ = RuntimeError("operator torchvision::nms does not exist")
    with pytest.raises(typer.Exit), plain_errors():
        raise error
    assert "pip install --upgrade torch torchvision" in capsys.readouterr().err
    with pytest.raises(RuntimeError, match="another"), plain_errors():
        raise RuntimeError("another")
