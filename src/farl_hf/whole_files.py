"""Files and folders that appear complete or not at all, and output folders that one run at a time writes to.

Everything is written in a hidden folder beside its place and gets there by a rename. A run holds locks (`flock`) on
its hidden folders and on its output folder. The system drops them with the process, however it ends: what nobody holds
is left over. Where a file system has no locks, none are held and nothing is taken for left over.
"""

import contextlib
import glob
import io
import itertools
import json
import logging
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from farl_hf.errors import FaRLError, FileWriteError, InvalidArgumentError

if TYPE_CHECKING:
    from PIL import Image

with contextlib.suppress(ImportError):  # Windows has no locks of folders, and opens none
    import fcntl

logger = logging.getLogger(__name__)

UNFINISHED = ".partial"
_FORMER = "former"  # what a new folder replaces, until the new one is in its place
_HIDDEN_FOLDERS = f".*.{'?' * 8}{UNFINISHED}"  # as `tempfile` names them
_NAME_CHARACTERS = 40  # of the name of a hidden folder; a whole name may be as long as the file system allows
_held: set[int] = set()  # descriptors of locked folders


@contextlib.contextmanager
def written_whole(
    path: str | os.PathLike, error: type[FaRLError] = FileWriteError, overwrite: bool = True
) -> Iterator[Path]:
    """Gives a place to write a file or folder at; it moves to `path` when the block ends without an error.

    That place has the same name and lies in a folder of its own; whatever else is written there is deleted.

    Args:
        path (`str`): Where the file or folder will be; behind a link, what the link names is written.
        error (`type`): What is raised.
        overwrite (`bool`): Replace a folder that is there and not empty. Files are always replaced.

    Raises:
        FileWriteError: The disk is full, or the place cannot be written.
    """
    path = Path(path)
    with _errors_of_writing(path, error):
        place = Path(os.path.realpath(path)) if path.is_symlink() else path
        place.parent.mkdir(parents=True, exist_ok=True)
        with _hidden_folder(place) as hidden:
            unfinished = hidden / path.name  # writers look at the ending
            yield unfinished
            _put_in_place(unfinished, place, overwrite)


def write_picture(path: Path, picture: "Image.Image", **options: Any) -> Path:
    """Writes a picture, see [`written_whole`]; the ending of the name chooses the format. Returns the path.

    Raises:
        InvalidArgumentError: The format holds no such picture.
        FileWriteError: The disk is full, or the place cannot be written.
    """
    from PIL import Image  # which most callers, such as `farl-hf --help`, do not need

    kind = Image.registered_extensions()[path.suffix.lower()]
    # In memory: Pillow takes a write that the disk cut short for a whole one; Python does not.
    content = io.BytesIO()
    try:
        picture.save(content, kind, **options)
    except (OSError, ValueError) as error:  # the disk has no part in it
        raise InvalidArgumentError(
            f"{path.name} cannot be made: {kind} holds no picture of {picture.width} x {picture.height} pixels"
            f"{' (at most 65,500 a side)' * (kind == 'JPEG')}, or not of its mode {picture.mode}; give a smaller one."
        ) from error
    with written_whole(path) as unfinished:
        # No `getbuffer()`: the garbage collector of Python 3.12.1 crashes at such a view in the traceback of a failed
        # write (https://github.com/python/cpython/issues/111211). `getvalue()` makes no copy either.
        unfinished.write_bytes(content.getvalue())
    return path


@contextlib.contextmanager
def _errors_of_writing(path: Path, error: type[FaRLError]) -> Iterator[None]:
    try:
        yield
    except FaRLError:  # some are OSErrors too, and say better what is wrong
        raise
    except (OSError, SafetensorError) as reason:
        said = getattr(reason, "strerror", None) or reason
        raise error(
            f"{path} could not be written: {said}. Nothing was left there; make room, or choose another place."
        ) from reason


@contextlib.contextmanager
def files_written_whole(folder: Path) -> Iterator[Path]:
    """Gives a folder to write files into; they move to `folder` when the block ends without an error, weights last.

    A kill may leave some of them there, but no part of one, and no new weights without their settings.

    Raises:
        FileWriteError: The disk is full, or the place cannot be written.
    """
    with _errors_of_writing(folder, FileWriteError):
        folder.mkdir(parents=True, exist_ok=True)
        with _hidden_folder(folder / "files") as hidden:
            yield hidden
            for path in sorted(hidden.iterdir(), key=lambda path: (path.suffix == ".safetensors", path.name)):
                os.replace(path, folder / path.name)


def write_whole(path: Path, content: bytes, error: type[FaRLError] = FileWriteError) -> Path:
    """Writes a file, see [`written_whole`]; returns the path."""
    with written_whole(path, error) as unfinished:
        unfinished.write_bytes(content)
    return path


def write_json(path: Path, content: Any, error: type[FaRLError] = FileWriteError) -> None:
    """Writes a JSON file, see [`written_whole`]; NaN and infinity become null."""
    text = json.dumps(finite_or_none(content), ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    write_whole(path, text.encode("utf-8", "backslashreplace"), error)  # lone surrogates, as JSON writes them


def check_utf8(path: str | os.PathLike, error: type[FaRLError] = InvalidArgumentError) -> None:
    """Raises `error` for a path that is not UTF-8: safetensors, Arrow and writers of graphs open no such files."""
    try:
        os.path.abspath(path).encode()
    except UnicodeEncodeError as reason:
        raise error(
            f"The path {path} is not UTF-8, and weights, tables and graphs need one; choose another."
        ) from reason


def finite_or_none(content: Any) -> Any:
    """The content; numbers that are not finite are None, at any depth. JSON has no words for them."""
    if isinstance(content, dict):
        return {name: finite_or_none(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite_or_none(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def read_or_set_aside(path: Path, kind: type) -> Any:
    """The content of a JSON file; None if there is none.

    A file that holds anything else than one value of a kind is renamed to `NAME.broken`, with a warning.
    """
    try:
        content = json.loads(path.read_bytes())
        if isinstance(content, kind):
            return content
    except FileNotFoundError:
        return None
    except ValueError:  # of JSON or UTF-8
        pass
    aside = (path.with_name(f"{path.name}.broken{number or ''}") for number in itertools.count())
    target = next(place for place in aside if not place.exists())
    os.replace(path, target)
    logger.warning("%s is broken, and was renamed to %s.", path, target.name)
    return None


def remove_left_over(path: Path) -> None:
    """Removes what killed processes left unfinished of `path`; what they were about to replace is put back."""
    try:
        path = path.resolve()
    except (OSError, ValueError):  # nothing can have that name
        return
    name = glob.escape(path.name[:_NAME_CHARACTERS])
    for hidden in path.parent.glob(f".{name}.*{UNFINISHED}"):
        _remove_unless_held(hidden)


def _remove_unless_held(hidden: Path) -> None:
    with contextlib.suppress(OSError), _locked(hidden):
        for former in hidden.glob(f"{_FORMER}/*"):
            if not (hidden.parent / former.name).exists():
                os.replace(former, hidden.parent / former.name)
        shutil.rmtree(hidden, ignore_errors=True)


def writable_folder(folder: Path) -> Path:
    """Returns an output folder; it is made where it is missing.

    Raises:
        InvalidArgumentError: It cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()  # rights alone say nothing to root, nor on a full disk
    except (OSError, ValueError) as error:  # the latter for a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise InvalidArgumentError(
            f"The output folder {str(folder)[:300]} cannot be made or written: {reason}; choose another one."
        ) from error
    return folder


@contextlib.contextmanager
def held_folder(folder: Path) -> Iterator[Path]:
    """Keeps other runs out of an output folder, which is made if it does not exist; removes what killed runs left
    unfinished in it and its folders.

    Raises:
        InvalidArgumentError: It cannot be made or written, there is a file in its place, or another run writes to it.
    """
    writable_folder(folder)
    with held(folder):
        for pattern in (_HIDDEN_FOLDERS, f"*/{_HIDDEN_FOLDERS}"):
            for hidden in folder.glob(pattern):
                _remove_unless_held(hidden)
        yield folder


@contextlib.contextmanager
def held(place: Path) -> Iterator[None]:
    """Keeps other runs off a file or folder that exists.

    Raises:
        InvalidArgumentError: Another run is writing to it.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_locked(place))
        except BlockingIOError as error:
            raise InvalidArgumentError(
                f"Another run is writing to {place}; wait for its end, or choose another output."
            ) from error
        except OSError:  # no locks here
            pass
        yield


@contextlib.contextmanager
def _hidden_folder(path: Path) -> Iterator[Path]:
    """A new folder beside `path`, held until the block ends and then deleted. Deleting it raises nothing."""
    with contextlib.ExitStack() as stack:
        while True:
            hidden = Path(tempfile.mkdtemp(UNFINISHED, f".{path.name[:_NAME_CHARACTERS]}.", path.parent))
            try:
                stack.enter_context(_locked(hidden))
            except (BlockingIOError, FileNotFoundError):
                continue  # another process took it for left over, in the moment before it was locked
            except OSError:
                break  # no locks here
            if hidden.exists():
                break
        stack.callback(shutil.rmtree, hidden, ignore_errors=True)
        yield hidden


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Holds the lock of a folder.

    Raises:
        BlockingIOError: Another process holds it.
        OSError: The folder cannot be locked.
    """
    if os.name == "nt":
        raise OSError("Windows has no such locks")
    descriptor = os.open(folder, os.O_RDONLY)
    _held.add(descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        if descriptor in _held:
            _held.remove(descriptor)
            # Unlocked, because a child that was just forked may not have closed its copy yet.
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)


def _drop_locks() -> None:
    """In a new child process: it would hold the locks of its parent beyond the parent's end."""
    while _held:
        os.close(_held.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_drop_locks)


def _put_in_place(unfinished: Path, path: Path, overwrite: bool) -> None:
    if not (path.is_dir() and unfinished.is_dir()):
        os.replace(unfinished, path)
    elif not overwrite or not any(path.iterdir()):
        path.rmdir()  # Windows does not replace folders
        os.replace(unfinished, path)
    else:
        former = unfinished.parent / _FORMER / path.name
        former.parent.mkdir()
        os.replace(path, former)
        try:
            os.replace(unfinished, path)
        except OSError:
            os.replace(former, path)
            raise
