"""Where named checkpoints lie: entries of the Hugging Face cache, as if they had been fetched from the Hub.

    models--farl-ep64/refs/main                    the commit of the checkpoint
    models--farl-ep64/snapshots/<commit>/…         its files
    models--farl-ep64/downloads/…                  what is not finished, never looked at by a reader
    models--farl/snapshots/<commit>/…              an alias: links to blobs/, which are links to the files above

The commit derives from the content. A checkpoint comes into sight by one rename and one write of `refs/main`. Links go
through `blobs/`, because the Hub's tools unlink what a snapshot's link points to: that must be a link of the entry,
never a file of another entry or of the package.
"""

import contextlib
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from farl_hf.whole_files import write_whole

_REF = "refs/main"


def entry_folder(name: str) -> Path:
    """The folder of a name in the Hugging Face cache, whether it exists or not."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{name}"


def unfinished_folder(name: str) -> Path:
    """Where downloads and conversions of a name are written until they are complete."""
    return entry_folder(name) / "downloads"


@contextlib.contextmanager
def entry_lock(name: str, timeout_seconds: float | None = None) -> Iterator[None]:
    """
    Let one process at a time change the entry of a name.

    Raises:
        TimeoutError: Another process changes it for longer than the timeout.
    """
    from huggingface_hub.utils import WeakFileLock

    lock = entry_folder(name).parent / ".locks" / f"models--{name}" / "farl_hf.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(lock, timeout=timeout_seconds):
        yield


def read_snapshot(name: str) -> Path | None:
    """The folder of a complete checkpoint in the cache, or `None`."""
    entry = entry_folder(name)
    with contextlib.suppress(OSError):
        folder = entry / "snapshots" / (entry / _REF).read_text().strip()
        # Another program may have put single files here; a link whose target is gone does not exist.
        if (folder / "config.json").exists() and any(path.exists() for path in folder.glob("*.safetensors")):
            return folder
    return None


def store_snapshot(name: str, converted: Path) -> Path:
    """
    Move a complete checkpoint folder into the cache under a name, in place of what the name stood for.

    Args:
        name (`str`): A name that is no alias.
        converted (`Path`): A folder on the same disk; it is gone afterwards.

    Returns:
        `Path`: The snapshot.
    """
    commit = content_commit(converted)
    snapshot = entry_folder(name) / "snapshots" / commit
    snapshot.parent.mkdir(parents=True, exist_ok=True)
    if snapshot.exists() and content_commit(snapshot) == commit:
        shutil.rmtree(converted)  # somebody may be reading the one that is there
    else:
        shutil.rmtree(snapshot, ignore_errors=True)
        os.replace(converted, snapshot)
    _point_to(name, commit)
    return snapshot


def link_snapshot(name: str, folder: Path, commit: str) -> Path:
    """
    Make a name's entry of links to the files of a folder; nothing is copied where links can be made.

    Args:
        name (`str`): The name of the entry.
        folder (`Path`): A complete checkpoint.
        commit (`str`): The commit of the folder's content.

    Returns:
        `Path`: The snapshot of links.
    """
    entry = entry_folder(name)
    snapshot = entry / "snapshots" / commit
    for relative in relative_files(folder):
        blob, pointer = entry / "blobs" / file_etag(commit, relative), snapshot / relative
        if _holds(pointer, folder / relative):
            continue
        _link(folder / relative, blob)
        _link(blob, pointer)
    _point_to(name, commit)
    return snapshot


def is_linked(name: str, folder: Path, commit: str) -> bool:
    """Whether a name stands for a commit, whose files are those of a folder; looks only, and reads no weights."""
    entry = entry_folder(name)
    try:
        if (entry / _REF).read_text().strip() != commit:
            return False
    except OSError:
        return False
    snapshot = entry / "snapshots" / commit
    return all(_holds(snapshot / relative, folder / relative) for relative in relative_files(folder))


def _holds(pointer: Path, file: Path) -> bool:
    """Whether a file of a snapshot is a link to a file, or a file of the cache itself: a copy, made by us or the Hub's
    client.

    A link to elsewhere leads to the same name in another environment, whose package may have another version by now.
    """
    real = os.path.realpath(pointer)
    cache = os.path.realpath(entry_folder("").parent)
    return os.path.exists(real) and (real == os.path.realpath(file) or real.startswith(cache + os.sep))


def remove_dead_links(name: str) -> None:
    """Remove the entry of a name whose links lead nowhere, as after the deletion of what they pointed to."""
    entry = entry_folder(name)
    if any(path.is_symlink() and not path.exists() for path in entry.glob("snapshots/*/*")):
        shutil.rmtree(entry, ignore_errors=True)


def content_commit(folder: Path) -> str:
    """40 hexadecimal digits that derive from the names and the content of a folder's files."""
    digest = hashlib.sha1(usedforsecurity=False)
    for relative in relative_files(folder):
        with (folder / relative).open("rb") as file:
            digest.update(f"{relative} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def alias_commit(alias: str, commit: str) -> str:
    """The commit of an alias; its own, because the Hub's tools delete by commit, whatever the entry."""
    return hashlib.sha1(f"{alias} {commit}".encode(), usedforsecurity=False).hexdigest()


def file_etag(commit: str, relative: str) -> str:
    """The ETag of a file: a commit fixes the content, so weights need not be read to name it."""
    return hashlib.sha1(f"{commit}/{relative}".encode(), usedforsecurity=False).hexdigest()


def relative_files(folder: Path) -> list[str]:
    """The files in a folder and below, as sorted relative names with forward slashes."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _point_to(name: str, commit: str) -> None:
    """Make a commit the one that the name stands for, and drop the others."""
    entry = entry_folder(name)
    write_whole(entry / _REF, commit.encode())
    current = entry / "snapshots" / commit
    needed = {file_etag(commit, relative) for relative in relative_files(current)}
    for old in [folder for folder in current.parent.iterdir() if folder != current]:
        for blob in _linked_blobs(old) - needed:
            (entry / "blobs" / blob).unlink(missing_ok=True)
        shutil.rmtree(old, ignore_errors=True)


def _linked_blobs(snapshot: Path) -> set[str]:
    """Names of the blobs that a snapshot links to; fewer, if another process is removing it."""
    blobs = set()
    with contextlib.suppress(OSError):
        for path in snapshot.rglob("*"):
            if path.is_symlink():
                blobs.add(Path(os.readlink(path)).name)
    return blobs


def _link(target: Path, link: Path) -> None:
    """A symbolic link where the system allows it, else a hard link, else a copy. Inside the cache it is relative."""
    link.parent.mkdir(parents=True, exist_ok=True)
    draft = link.with_name(f".{link.name}.{secrets.token_hex(4)}")  # others may be making the same link
    cache = entry_folder("").parent
    try:
        try:
            os.symlink(os.path.relpath(target, link.parent) if target.is_relative_to(cache) else target, draft)
        except (OSError, NotImplementedError):
            _hard_link_or_copy(target, draft)
        os.replace(draft, link)
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)  # where the disk is full


def _hard_link_or_copy(target: Path, link: Path) -> None:
    try:
        os.link(target, link)
    except OSError:
        shutil.copyfile(target, link)
