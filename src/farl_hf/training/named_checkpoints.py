"""Checkpoints by the names of `farl-hf list`, without network."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from farl_hf.checkpoints import KNOWN_NAMES, checkpoint

__all__ = ["folder_of_name", "with_folders_of_names"]


def folder_of_name(name: str | None) -> str | None:
    """The folder of a known name; everything else as it is.

    Transformers asks a server for a name that is no folder, and offline its own cache, which does not have the
    built-in models. A folder of that name in the working directory is taken, as Transformers takes it.

    Raises:
        NotDownloadedError: The name is known, but its weights are not on this machine.
    """
    known = name in KNOWN_NAMES and not Path(name).exists()
    return str(checkpoint(name)) if known else name


def with_folders_of_names(arguments: Any, *fields: str) -> Any:
    """A dataclass with known names replaced by their folders in some fields."""
    return replace(arguments, **{name: folder_of_name(getattr(arguments, name)) for name in fields})
