"""Folders that appear complete or not at all."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from farl_hf.errors import ConversionError, FaRLError

__all__ = ["check_output_folder", "complete_folder"]


def check_output_folder(output: Path, overwrite: bool) -> None:
    """
    Refuse to write over what is there.

    Raises:
        ConversionError: `output` is a file, the working directory, or a folder that is not empty and either must not
            be overwritten or is no checkpoint.
    """
    if output.resolve() == Path.cwd():  # replacing it would leave the user's shell in a deleted folder
        raise ConversionError(f"{output} is the working directory; give the name of a folder.")
    if output.is_dir():
        if not any(output.iterdir()):
            return
        if not overwrite:
            raise ConversionError(f"The folder {output} is not empty; choose another one, or pass --overwrite.")
        if not (output / "config.json").is_file():
            raise ConversionError(f"The folder {output} holds something else than a checkpoint; it is left alone.")
    elif output.exists() or output.is_symlink():
        raise ConversionError(f"{output} is a file; give the name of a folder.")


@contextmanager
def complete_folder(output: Path, overwrite: bool = False) -> Iterator[Path]:
    """
    Give a folder beside `output` to write into, and move it there once everything has been written.

    Args:
        output (`Path`): Its final place.
        overwrite (`bool`): Replace a checkpoint that is there.

    Raises:
        ConversionError: It cannot be written, the disk is full for example; nothing stays behind.
    """
    check_output_folder(output, overwrite)
    output = output.resolve()
    partial = output.parent / f".{output.name}.{secrets.token_hex(4)}.partial"
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir()
        yield partial
        check_output_folder(output, overwrite)  # again: another process may have been faster
        _put_in_place(partial, output)
    except FaRLError:  # some are OSErrors too, and say better what is wrong
        raise
    except OSError as error:
        raise ConversionError(
            f"The checkpoint cannot be written to {output}: {error.strerror or error}. Nothing was left there; "
            "make room or choose another folder."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _put_in_place(partial, output):
    if output.is_dir() and not any(output.iterdir()):
        output.rmdir()  # Windows does not replace folders
    if not output.exists():
        os.replace(partial, output)
        return
    former = partial.with_suffix(".former")
    os.replace(output, former)
    try:
        os.replace(partial, output)
    except OSError:
        os.replace(former, output)
        raise
    shutil.rmtree(former, ignore_errors=True)
