"""Downloads a named checkpoint: fetch, verify, convert, store, link."""

import contextlib
import errno
import json
import os
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from farl_hf import conversion
from farl_hf.checkpoints.checkpoint_names import ALIASES, OFFICIAL_MODELS, link_aliases, resolve_name
from farl_hf.checkpoints.embedded_models import link_embedded_checkpoint
from farl_hf.checkpoints.hub_cache import (
    entry_folder,
    entry_lock,
    read_snapshot,
    store_snapshot,
    unfinished_folder,
)
from farl_hf.checkpoints.source_download import download_file, has_record, record_sha256, require_known_sha256
from farl_hf.conversion.clip_vocabulary import open_clip_vocabulary_file
from farl_hf.conversion.source_reading import file_sha256
from farl_hf.errors import ConversionError, DownloadError, FileWriteError

_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def download_checkpoint(
    name: str,
    source: Path | None = None,
    *,
    force: bool = False,
    trust: bool = False,
    keep_source: bool = False,
    progress: Callable[[int, int | None], None] | None = None,
    tell: Callable[[str], None] = lambda stage: None,
) -> Path:
    """
    Make a named checkpoint loadable by its name, offline too.

    Official weights are fetched and converted, unless they are on this machine. A given file is converted unless the
    checkpoint here was made from it. Embedded models need no download; they get an entry in the Hugging Face cache.

    Args:
        name (`str`): A known name.
        source (`Path`, *optional*): The published file, where it is here already.
        force (`bool`): Convert again, whatever is here; fetch again, too, unless `keep_source` kept the file.
        trust (`bool`): Accept a file whose checksum differs from the one on record.
        keep_source (`bool`): Keep a downloaded file beside the checkpoint after its conversion.
        progress (`Callable`, *optional*): See `download_file`.
        tell (`Callable`): Called with a word or two when a stage begins.

    Returns:
        `Path`: The folder of the checkpoint in the cache.

    Raises:
        UnknownNameError: No such name.
        DownloadError: The file cannot be fetched, is another one, or cannot be stored.
        ConversionError: The file is not what the name stands for.
        MissingExtraError: The conversion needs a package that is not installed; nothing is fetched then.
    """
    name = resolve_name(name)
    if name in OFFICIAL_MODELS and not force and _has_aliases(name):
        folder = _made_before(name, source)
        if folder is not None and not _was_interrupted(name):
            return folder  # without a lock: the cache may be read-only
    tell("preparing")
    with _storable(name), entry_lock(name):
        if name not in OFFICIAL_MODELS:
            if source is not None:
                raise DownloadError(f"{name} is built in and needs no file; omit --from.")
            return link_embedded_checkpoint(name)
        folder = None if force else _made_before(name, source)
        if folder is not None and _was_interrupted(name):
            _finish(name, folder, keep_source)
        if folder is None:
            options = ["--force"] * force + ["--keep-source"] * keep_source
            options += [] if source is None else ["--from", str(source)]
            command = shlex.join(["farl-hf", "download", name, *options, "--trust"])
            folder = _convert_into_cache(name, source, None if trust else command, keep_source, progress, tell)
        link_aliases(name)
        return folder


def _has_aliases(name: str) -> bool:
    return all(read_snapshot(alias) is not None for alias, target in ALIASES.items() if target == name)


def _made_before(name: str, source: Path | None) -> Path | None:
    """The checkpoint in the cache; `None` where there is none, or it was made from another file than the given one."""
    folder = read_snapshot(name)
    if folder is None or source is None:
        return folder
    return folder if source_sha256(folder) == file_sha256(_given(source)) else None


def source_sha256(folder: Path) -> str | None:
    """The checksum of the file that a checkpoint was made from; `None` where its `conversion.json` does not tell."""
    try:
        return str(json.loads((folder / "conversion.json").read_text())["source"]["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _convert_into_cache(name, source, accepting_command, keep_source, progress, tell) -> Path:
    if conversion.RELEASED_MODELS[name].kind == "two_towers":
        open_clip_vocabulary_file()
    unfinished = unfinished_folder(name)
    (entry_folder(name) / "snapshots").mkdir(parents=True, exist_ok=True)  # else the Hub's tools call it corrupted
    unfinished.mkdir(exist_ok=True)
    for draft in unfinished.glob("*converting-*"):  # of a killed process: only this one works on the name
        shutil.rmtree(draft, ignore_errors=True)
    try:
        file = _fetched(name, unfinished, progress, tell) if source is None else _given(source)
        with _removed_if_wrong(file) if source is None else contextlib.nullcontext():
            tell("verifying")
            sha256 = file_sha256(file)
            require_known_sha256(name, sha256, accepting_command)
            tell("converting")
            folder = _converted(name, file, unfinished, tell)
        if source is None and not keep_source:
            file.unlink()
        record_sha256(name, sha256)  # last: what has a record and lies beside the checkpoint is kept on purpose
        return folder
    finally:
        _remove_empty_folders(name)


def _was_interrupted(name: str) -> bool:
    """Whether a run was killed after it had stored the checkpoint, before it had tidied up."""
    return unfinished_folder(name).is_dir() and not has_record(name)


def _finish(name: str, folder: Path, keep_source: bool) -> None:
    """What a killed run left to do: remove the published file, record its checksum."""
    if not keep_source:
        (unfinished_folder(name) / OFFICIAL_MODELS[name].file_name).unlink(missing_ok=True)
    sha256 = source_sha256(folder)
    if sha256 is not None:
        record_sha256(name, sha256)
    _remove_empty_folders(name)


def _remove_empty_folders(name: str) -> None:
    with contextlib.suppress(OSError):  # a folder stays while something is in it
        for folder in (unfinished_folder(name), entry_folder(name) / "snapshots", entry_folder(name)):
            folder.rmdir()


def _fetched(name, unfinished: Path, progress, tell) -> Path:
    """The published file; one that an earlier run fetched whole is not fetched again."""
    model = OFFICIAL_MODELS[name]
    target = unfinished / model.file_name
    if target.is_file():
        return target
    tell("fetching")
    try:
        return download_file(model.address, target, progress)
    except DownloadError as error:
        raise DownloadError(
            f"{error} A file fetched in another way will do: `farl-hf download {name} --from {model.file_name}`."
        ) from error


def _given(source: Path) -> Path:
    if not os.path.isfile(source) or not os.access(source, os.R_OK):
        raise DownloadError(f"{source} is no file that can be read; give the published file, or none to fetch it.")
    return source


@contextlib.contextmanager
def _removed_if_wrong(file: Path) -> Iterator[None]:
    """Remove a file that is another one or does not convert, so that the next run does not take it again."""
    try:
        yield
    except (DownloadError, ConversionError):
        file.unlink()
        raise


def _converted(name: str, file: Path, unfinished: Path, tell: Callable[[str], None]) -> Path:
    draft = unfinished / f"converting-{os.getpid()}"
    try:
        conversion.convert_checkpoint(file, draft, name=name, progress=tell)
        return store_snapshot(name, draft)
    except ConversionError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in _OF_THE_DISK:
            raise error.__cause__ from None  # no fault of the file, which stays for the next run
        raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


@contextlib.contextmanager
def _storable(name: str) -> Iterator[None]:
    """Turn errors of the disk into a [`DownloadError`]."""
    try:
        yield
    except OSError as raised:
        error = raised.__cause__ if isinstance(raised, FileWriteError) else raised
        if not isinstance(error, OSError) or isinstance(error, DownloadError) or error.errno is None:
            raise
        reason = "it is full" if error.errno == errno.ENOSPC else error.strerror
        folder = error.filename or entry_folder(name)
        raise DownloadError(
            f"{name} cannot be stored: {reason} ({folder}). Make room or rights there, or choose another "
            "cache with the environment variable HF_HOME."
        ) from error
