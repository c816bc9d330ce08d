"""The command line: `farl-hf demo`, `farl-hf annotate`, `farl-hf convert` …

Modules of commands import nothing that takes long at their top, so that `--help` is quick.
"""

import inspect
import os
import re
import sys
from collections.abc import Callable
from typing import Annotated

import typer

import farl_hf
from farl_hf.cli.annotate import annotate
from farl_hf.cli.checkpoints import check_app, convert, download, export, list_checkpoints, push
from farl_hf.cli.data import data_app
from farl_hf.cli.demo import demo
from farl_hf.cli.environment import autoload_app, environment
from farl_hf.cli.evaluate import evaluate
from farl_hf.cli.explain import explain
from farl_hf.cli.face_outputs import anonymize, crop
from farl_hf.cli.laion_face import laion_face_app
from farl_hf.cli.match import ManyTextsCommand, index, match
from farl_hf.cli.train import train

__all__ = ["app", "main"]

app = typer.Typer(
    name="farl-hf",
    help="Faces in photos: where they are, their parts, their landmarks, their attributes.\n\n"
    "Start with [bold]farl-hf demo[/bold]: it needs no photo and no network. "
    "Then [bold]farl-hf annotate my_photo.jpg[/bold].",
    rich_markup_mode="rich",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    # Training scripts take options with underscores, too.
    context_settings={"token_normalize_func": lambda name: name.replace("_", "-")},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"farl-hf {farl_hf.__version__}")
        raise typer.Exit


@app.callback()
def _all_commands(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options before the name of a command."""


app.command("demo")(demo)
app.command("annotate")(annotate)
app.command("crop")(crop)
app.command("anonymize")(anonymize)
app.command("explain")(explain)
app.command("match", cls=ManyTextsCommand)(match)
app.command("index")(index)
app.command("convert")(convert)
app.add_typer(check_app, name="check")
app.command("export")(export)
app.add_typer(data_app, name="data")
app.add_typer(laion_face_app, name="laion-face")
app.command("list")(list_checkpoints)
app.command("download")(download)
app.command("push")(push)
app.command("train")(train)
app.command("evaluate")(evaluate)
app.add_typer(autoload_app, name="autoload")
app.command("env")(environment)


def _unwrapped(command: Callable) -> str:
    """The text of `--help`: without line breaks within paragraphs, because the terminal has its own width."""
    return re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.getdoc(command) or "")


for commands in (app, check_app, data_app, laion_face_app, autoload_app):
    for command in commands.registered_commands:
        if command.callback is not None:
            command.help = _unwrapped(command.callback)


def main() -> None:
    """Run the command line; the entry point of `farl-hf`."""
    # PyTorch keeps what it prepared for the last 1,024 shapes of convolutions. That fills memory where every photo has
    # its own size (benchmarks/long_run.py). It reads this before its first convolution. Trainings have one size.
    if sys.argv[1:2] != ["train"]:
        os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "8")
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # file names need not be UTF-8
    app()
