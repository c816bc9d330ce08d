"""The command line: `farl-hf demo`, `farl-hf annotate`, `farl-hf convert` …

Modules of commands import nothing that takes long at their top, so that `--help` is quick.
"""

import sys

import typer

from farl_hf.cli.annotate import annotate
from farl_hf.cli.checkpoints import convert, download, export, list_checkpoints, push
from farl_hf.cli.data import data_app
from farl_hf.cli.demo import demo
from farl_hf.cli.environment import autoload_app, environment
from farl_hf.cli.evaluate import evaluate
from farl_hf.cli.explain import explain
from farl_hf.cli.face_outputs import anonymize, crop
from farl_hf.cli.laion_face import laion_face_app
from farl_hf.cli.match import index, match
from farl_hf.cli.train import train

__all__ = ["app", "main"]

app = typer.Typer(
    name="farl-hf",
    help="Faces in photos: where they are, their parts, their landmarks, their attributes.\n\n"
    "Start with [bold]farl-hf demo[/bold]: it needs no photo and no network. "
    "Then [bold]farl-hf annotate my_photo.jpg[/bold].",
    rich_markup_mode="rich",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)
app.command("demo")(demo)
app.command("annotate")(annotate)
app.command("crop")(crop)
app.command("anonymize")(anonymize)
app.command("explain")(explain)
app.command("match")(match)
app.command("index")(index)
app.command("convert")(convert)
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


def main() -> None:
    """Run the command line; the entry point of `farl-hf`."""
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # file names need not be UTF-8
    app()
