"""What commands share: options, names of tasks, and errors as one sentence with an exit status."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from farl_hf.checkpoints import DEFAULT_CHECKPOINTS
from farl_hf.errors import FaRLError, UnknownNameError

TASKS = tuple(DEFAULT_CHECKPOINTS)
DETECTION = "face-detection"
LANDMARKS = "face-landmarks"
IMAGE_TEXT_MODEL = "farl-tiny"  # the default of commands that compare faces with texts
USAGE_ERROR = 2  # exit status of a command that could not start

ThresholdOption = Annotated[
    float | None, typer.Option(min=0.0, max=1.0, help="Lowest score of a face. Default: the detector's.")
]
DetectorOption = Annotated[str | None, typer.Option(help="Name or folder of a face-detection checkpoint.")]
DeviceOption = Annotated[
    str | None, typer.Option(help="cpu, cuda, cuda:1, mps … Default: the first accelerator, else cpu.")
]
PublicOption = Annotated[
    bool, typer.Option("--public/--private", help="Who can see a new repository; an existing one stays as it is.")
]


def parse_tasks(words: Sequence[str], without: Sequence[str] = ()) -> tuple[str, ...]:
    """Task names from command-line words, in the order of `TASKS` and each once.

    Args:
        words (`Sequence[str]`): Names with or without `face-`; one word may hold several, separated by commas.
        without (`Sequence[str]`): Tasks to ignore.

    Raises:
        UnknownNameError: If a name is not a task, or none is left; the message lists the tasks.
    """
    names = [name.strip() for word in words for name in word.split(",") if name.strip()]
    chosen = {name if name.startswith("face-") else f"face-{name}" for name in names}
    unknown = sorted(chosen - set(TASKS))
    known = ", ".join(task for task in TASKS if task not in without)
    if unknown:
        raise UnknownNameError(
            f"There is no task {unknown[0]!r}. Known tasks: {known}; the prefix 'face-' is optional."
        )
    tasks = tuple(task for task in TASKS if task in chosen and task not in without)
    if not tasks:
        raise UnknownNameError(f"No task remains; choose from {known}.")
    return tasks


def error_console() -> Console:
    """The console of the error stream."""
    return Console(stderr=True, soft_wrap=True)


def report_failures(failures: Mapping[str, Exception]) -> None:
    """Print which photos failed, and why."""
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
