"""Fetches a published file and checks its content.

An interrupted download is resumed. The first bytes of a file lie in `<file>.part`; `<file>.etag` beside it identifies
the content. The requests go through the Hub's client, so that its proxies, certificates and offline mode apply.
"""

import errno
import json
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from farl_hf.checkpoints.checkpoint_names import OFFICIAL_MODELS
from farl_hf.conversion.released_models import RELEASED_MODELS
from farl_hf.errors import DownloadError
from farl_hf.whole_files import write_json


def require_known_sha256(name: str, sha256: str, accepting_command: str | None) -> None:
    """
    Check the content of a file of weights by the checksum of its release or, where none is known, of the first file
    that converted here.

    Args:
        name (`str`): A key of `OFFICIAL_MODELS`.
        sha256 (`str`): Checksum of the file at hand.
        accepting_command (`str`, *optional*): The command that accepts another one than the recorded; `None` where
            it has been accepted.

    Raises:
        DownloadError: The checksums differ; the message has both.
    """
    recorded = recorded_sha256(name) or sha256
    if recorded != sha256 and accepting_command is not None:
        raise DownloadError(
            f"The file for {name} has the sha256 {sha256}, but {recorded} is on record, of the release or of the file "
            f"that was first converted here; fetch it again, or accept it with `{accepting_command}`."
        )


def recorded_sha256(name: str) -> str | None:
    """The checksum on record for a key of `OFFICIAL_MODELS`; `None` where there is none, or the record is damaged."""
    if RELEASED_MODELS[name].sha256:  # the projects publish none so far
        return RELEASED_MODELS[name].sha256
    try:
        return str(json.loads(_record_path(name).read_text())["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def record_sha256(name: str, sha256: str) -> None:
    """Record the checksum of the file from which the checkpoint of a name was made."""
    write_json(_record_path(name), {"file": OFFICIAL_MODELS[name].file_name, "sha256": sha256})


def has_record(name: str) -> bool:
    """Whether the checksum of the file of a name was recorded."""
    return _record_path(name).is_file()


def _record_path(name: str) -> Path:
    """One file per name, so that no file has two writers; outside the cache entry, so that it outlives the entry."""
    from huggingface_hub import constants

    return Path(constants.HF_HOME) / "farl_hf" / "sources" / f"{name}.json"


Progress = Callable[[int, int | None], None]

_TIMEOUT_SECONDS = 30
_WAITS_SECONDS = (1, 2, 4)  # before another attempt, after attempts that brought nothing
_WORTH_ANOTHER_TRY = {408, 425, 429, 500, 502, 503, 504}


class _Interrupted(Exception):
    """The connection ended early, or the server asks to come back."""


def download_file(address: str, target: Path, progress: Progress | None = None) -> Path:
    """
    Fetch a file.

    Args:
        address (`str`): Where it is.
        target (`Path`): Where to put it, once it is complete.
        progress (`Callable`, *optional*): Called with the bytes received and the bytes of the whole file (`None` if
            the server does not say).

    Returns:
        `Path`: The target.

    Raises:
        DownloadError: Offline mode is on, the server refuses or cannot be reached, or the disk is full.
    """
    from huggingface_hub import constants

    if constants.is_offline_mode():
        raise DownloadError(f"Offline mode is on (HF_HUB_OFFLINE), so {address} was not fetched.")
    part = target.with_name(target.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        _fetch_whole(address, part, progress or (lambda done, total: None))
    except DownloadError:
        raise
    except OSError as error:
        raise DownloadError(
            f"{address} could not be stored in {part.parent}: {error.strerror or error}; correct that and run the "
            "command again, which resumes the download."
        ) from error
    os.replace(part, target)
    _etag_file(part).unlink(missing_ok=True)
    return target


def _fetch_whole(address: str, part: Path, progress: Progress) -> None:
    """Repeat requests until the file is complete; give up when several requests in a row bring nothing."""
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
            if (total or 0) - start > shutil.disk_usage(part.parent).free:
                raise OSError(errno.ENOSPC, "No space left on device")
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
    """Headers that ask for the missing bytes, if the server can tell whether its content is still the same."""
    etag = _etag_file(part).read_text() if _etag_file(part).exists() else ""
    if not etag or etag.startswith("W/") or not _size(part):
        return {}
    return {"Range": f"bytes={_size(part)}-", "If-Range": etag}


def _start_and_total(response, part: Path, address: str) -> tuple[int, int | None]:
    """At which byte of the file the response begins, and how long the file is."""
    if response.status_code in _WORTH_ANOTHER_TRY:
        raise _Interrupted(f"the server answers {response.status_code}")
    if response.status_code == 416:  # no bytes are left to send; Content-Range is "bytes */total"
        if response.headers.get("Content-Range") != f"bytes */{_size(part)}":
            part.unlink()
            raise _Interrupted("the bytes received before are more than the file has")
        return _size(part), _size(part)
    if response.status_code == 206:
        content_range = response.headers.get("Content-Range", "")
        part_of_file = re.fullmatch(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15})", content_range)
        first, last, total = map(int, part_of_file.groups()) if part_of_file else (0, 0, 0)
        # Bytes from another place than the one asked for would leave a hole, or overwrite good ones.
        if first != _size(part) or not first <= last < total:
            raise DownloadError(
                f"{address} could not be fetched: the server sends a part, with the Content-Range {content_range!r}."
            )
        return first, total
    if response.status_code != 200:
        raise DownloadError(f"{address} could not be fetched: the server answers {response.status_code}.")
    length = response.headers.get("Content-Length")
    return 0, int(length) if length and length.isdecimal() else None


def _write_chunks(response, file, progress: Callable[[int], None]) -> int:
    if response.status_code == 416:
        return file.tell()
    # As they arrive: bytes that wait for a chunk to fill up would be lost with the connection.
    for chunk in response.iter_bytes():
        file.write(chunk)
        progress(file.tell())
    return file.tell()


def _etag_file(part: Path) -> Path:
    return part.with_suffix(".etag")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
