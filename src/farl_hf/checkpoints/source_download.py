"""Fetches a published file and checks its content.

What is there already is kept, and a broken connection is continued. The beginning of a file lies in `<file>.part`;
`<file>.etag` beside it identifies the content that it begins. The requests go through the Hub's client, so that its
proxies, certificates and offline mode hold here too.
"""

import contextlib
import errno
import json
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from farl_hf.checkpoints.checkpoint_names import OFFICIAL_MODELS
from farl_hf.errors import DownloadError


def require_known_sha256(name: str, sha256: str, accept_new: bool = False) -> None:
    """
    Check the content of a file of weights, by the published checksum or by that of the first file that converted here.

    Args:
        name (`str`): A key of `OFFICIAL_MODELS`.
        sha256 (`str`): Of the file at hand.
        accept_new (`bool`): Whether it may differ from the recorded one; never from a published one.

    Raises:
        DownloadError: It differs; the message has both values.
    """
    published = OFFICIAL_MODELS[name].sha256
    expected = published or _recorded_sha256(name)
    if expected in (None, sha256) or (accept_new and not published):
        return
    origin = "the published file has" if published else "the file that was first converted here had"
    remedy = "fetch it again" if published else f"fetch it again, or accept it with `farl-hf download {name} --force`"
    raise DownloadError(f"The file for {name} has the sha256 {sha256}, but {origin} {expected}; {remedy}.")


def record_sha256(name: str, sha256: str) -> None:
    """Remember the content of the file that a name's checkpoint was made of."""
    path = _record_path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(json.dumps({"file": OFFICIAL_MODELS[name].file_name, "sha256": sha256}) + "\n")
    os.replace(draft, path)


def _recorded_sha256(name: str) -> str | None:
    path = _record_path(name)
    return json.loads(path.read_text())["sha256"] if path.is_file() else None


def _record_path(name: str) -> Path:
    """One file per name, so that nobody writes two at once; not in the cache entry, whose deletion it outlives."""
    from huggingface_hub import constants

    return Path(constants.HF_HOME) / "farl_hf" / "sources" / f"{name}.json"


Progress = Callable[[int, int | None], None]

_TIMEOUT_SECONDS = 30
_WAITS_SECONDS = (1, 2, 4)  # before the tries that follow one which brought nothing
_WORTH_ANOTHER_TRY = {408, 425, 429, 500, 502, 503, 504}


class _Interrupted(Exception):
    """The connection ended early, or the server asks to come back."""


def download_file(address: str, target: Path, progress: Progress | None = None) -> Path:
    """
    Fetch a file.

    Args:
        address (`str`): Where it is.
        target (`Path`): Where to put it, once it is complete.
        progress (`Callable`, *optional*): Called with the bytes that are here and the bytes of the whole, or `None`
            where the server does not say.

    Returns:
        `Path`: The target.

    Raises:
        DownloadError: Offline mode, a server that refuses or cannot be reached, or a disk that is full.
    """
    from huggingface_hub import constants

    if constants.is_offline_mode():
        raise DownloadError(f"Offline mode is on (HF_HUB_OFFLINE), so {address} was not asked for.")
    part = target.with_name(target.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    with _plain_reasons(address, part.parent):
        _fetch_whole(address, part, progress or (lambda done, total: None))
    os.replace(part, target)
    _etag_file(part).unlink(missing_ok=True)
    return target


def _fetch_whole(address: str, part: Path, progress: Progress) -> None:
    """Ask again until the file is whole; give up when several tries in a row bring nothing."""
    waits = iter(_WAITS_SECONDS)
    while True:
        before = _size(part)
        try:
            return _fetch_rest(address, part, progress)
        except _Interrupted as interruption:
            if _size(part) > before:
                waits = iter(_WAITS_SECONDS)
            wait = next(waits, None)
            if wait is None:
                raise DownloadError(
                    f"{address} could not be fetched: {interruption}; run the command again."
                ) from None
            time.sleep(wait)


def _fetch_rest(address: str, part: Path, progress: Progress) -> None:
    """One request, for what is missing."""
    from huggingface_hub import get_session
    from huggingface_hub.utils import httpx

    headers = {"Accept-Encoding": "identity", **_range_headers(part)}
    try:
        with get_session().stream("GET", address, headers=headers, timeout=_TIMEOUT_SECONDS) as response:
            start, total = _start_and_total(response, part, address)
            _require_space(part, (total or 0) - start)
            with part.open("r+b" if start else "wb") as file:
                # Only now, when bytes of other content are gone.
                _etag_file(part).write_text(response.headers.get("ETag", ""))
                file.seek(start)
                done = _write_chunks(response, file, lambda done: progress(done, total))
    except httpx.RequestError as error:
        raise _Interrupted(str(error) or type(error).__name__) from error
    if total is not None and done != total:
        raise _Interrupted(f"the connection ended after {done:,} of {total:,} bytes")


def _range_headers(part: Path) -> dict[str, str]:
    """Headers that ask for the rest of a beginning, if the server can tell that it is one of the same content."""
    etag = _etag_file(part).read_text() if _etag_file(part).exists() else ""
    if not etag or etag.startswith("W/") or not _size(part):
        return {}
    return {"Range": f"bytes={_size(part)}-", "If-Range": etag}


def _start_and_total(response, part: Path, address: str) -> tuple[int, int | None]:
    """Where in the file the answer begins, and how long the file is."""
    if response.status_code in _WORTH_ANOTHER_TRY:
        raise _Interrupted(f"the server answers {response.status_code}")
    if response.status_code == 416:  # nothing of that content is left to send; Content-Range says "bytes */total"
        if response.headers.get("Content-Range") != f"bytes */{_size(part)}":
            part.unlink()
            raise _Interrupted("what was here is longer than the file")
        return _size(part), _size(part)
    if response.status_code == 206:
        content_range = response.headers.get("Content-Range", "")
        part_of_file = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", content_range)
        if part_of_file is None:
            raise DownloadError(
                f"{address} could not be fetched: the server sends a part, with the Content-Range {content_range!r}."
            )
        return int(part_of_file[1]), int(part_of_file[2])
    if response.status_code != 200:
        raise DownloadError(f"{address} could not be fetched: the server answers {response.status_code}.")
    length = response.headers.get("Content-Length")
    return 0, int(length) if length else None


def _write_chunks(response, file, progress: Callable[[int], None]) -> int:
    if response.status_code == 416:
        return file.tell()
    # As they arrive: bytes that wait for a chunk to fill up would be lost with the connection.
    for chunk in response.iter_bytes():
        file.write(chunk)
        progress(file.tell())
    return file.tell()


def _require_space(part: Path, missing_bytes: int) -> None:
    if missing_bytes > shutil.disk_usage(part.parent).free:
        raise OSError(errno.ENOSPC, "No space left on device")


@contextlib.contextmanager
def _plain_reasons(address: str, folder: Path):
    try:
        yield
    except DownloadError:
        raise
    except OSError as error:
        raise DownloadError(
            f"{address} could not be stored in {folder}: {error.strerror or error}; mend that and run the command "
            "again, it goes on from where it stopped."
        ) from error


def _etag_file(part: Path) -> Path:
    return part.with_suffix(".etag")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
