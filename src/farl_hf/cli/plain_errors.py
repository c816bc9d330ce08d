"""Errors that the user can mend, shown as one sentence instead of a traceback."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.text import Text

from farl_hf.errors import FaRLError

__all__ = ["USAGE_ERROR", "error_console", "plain_errors", "report_failures"]

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
