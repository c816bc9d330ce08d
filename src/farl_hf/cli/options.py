"""Options that commands share which find faces and compare them with texts."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from farl_hf.checkpoints import DEFAULT_CHECKPOINTS
from farl_hf.errors import FaRLError, UnknownNameError

__all__ = [
    "DETECTION",
    "LANDMARKS",
    "TASKS",
    "TWO_TOWER_MODEL",
    "USAGE_ERROR",
    "DetectorOption",
    "DeviceOption",
    "ThresholdOption",
    "error_console",
    "parse_tasks",
    "plain_errors",
    "report_failures",
]


ThresholdOption = Annotated[
    float | None, typer.Option(min=0.0, max=1.0, help="Lowest score of a face; the detector's own by default.")
]
DetectorOption = Annotated[str | None, typer.Option(help="Checkpoint, name or folder, of face-detection.")]
DeviceOption = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps …; the first accelerator by default.")]


# The tasks of the command line, and what they are called in file names and help.


TASKS = tuple(DEFAULT_CHECKPOINTS)
DETECTION = "face-detection"
LANDMARKS = "face-landmarks"
TWO_TOWER_MODEL = "farl-tiny"  # compares faces with texts, unless another is named


def parse_tasks(words: Sequence[str], without: Sequence[str] = ()) -> tuple[str, ...]:
    """Task names from command-line words, in the order of `TASKS` and each once.

    Args:
        words (`Sequence[str]`): Names with or without `face-`; one word may hold several, separated by commas.
        without (`Sequence[str]`): Tasks to leave out, although they are known.

    Raises:
        UnknownNameError: If a name is not a task, or none is left; the message lists the tasks.
    """
    names = [name.strip() for word in words for name in word.split(",") if name.strip()]
    chosen = {name if name.startswith("face-") else f"face-{name}" for name in names}
    unknown = sorted(chosen - set(TASKS))
    known = ", ".join(task for task in TASKS if task not in without)
    if unknown:
        raise UnknownNameError(f"There is no task {unknown[0]!r}. Known tasks: {known}; 'face-' may be left out.")
    tasks = tuple(task for task in TASKS if task in chosen and task not in without)
    if not tasks:
        raise UnknownNameError(f"No task is left to do; choose from {known}.")
    return tasks


# Errors that the user can mend, shown as one sentence instead of a traceback.


USAGE_ERROR = 2  # exit status of a command that could not start


def error_console() -> Console:
    """Where errors go."""
    return Console(stderr=True, soft_wrap=True)


def report_failures(failures: Mapping[str, Exception]) -> None:
    """Say which photos were left out, and why."""
    for photo, error in failures.items():
        error_console().print(Text.assemble(("Failed: ", "bold red"), f"{photo}: {error}"))


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn a `FaRLError` into a message and exit status 2."""
    try:
        yield
    except FaRLError as error:
        error_console().print(Text.assemble(("Error: ", "bold red"), str(error)))
        raise typer.Exit(USAGE_ERROR) from error
