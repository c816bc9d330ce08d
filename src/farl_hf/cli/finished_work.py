"""What a command has finished: a file with a line per photo, which the next run of the command reads.

The first line holds the settings. The line of a photo is added when its files are in place; those of a batch are added
in one write. So a kill costs the batch in work. Of several lines of a photo the last one counts.
"""

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farl_hf.errors import FileWriteError, InvalidArgumentError
from farl_hf.photo_names import URL_SCHEMES, same_uri
from farl_hf.whole_files import finite_or_none, held, write_whole

_CONTENT = ("bytes", "mtime_ns", "sha256")
NO_CONTENT = {"bytes": -1, "mtime_ns": 0, "sha256": ""}  # what no photo and no URL has: it is done again
_CHECKPOINT_FILES = ("config.json", "*processor_config.json", "*.safetensors", "pytorch_model*.bin", "*.onnx*")


def content_of(photo: str) -> dict[str, Any] | None:
    """What tells whether a file is the same: `bytes`, `mtime_ns`, `sha256`; None for URLs and what is no file."""
    try:
        status = os.stat(photo)
        if not stat.S_ISREG(status.st_mode):
            return None  # a pipe would wait for a writer, and a device may never end
        with open(photo, "rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError):  # the latter for a NUL in the name
        return None
    return {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": sha256}


def has_content(photo: str, content: Mapping[str, Any] | None) -> bool:
    """Whether a photo is as it was. A file is read only if its size is equal and its time is not; URLs go by name."""
    if content is None:
        return photo.startswith(URL_SCHEMES)
    try:
        status = os.stat(photo)
    except (OSError, ValueError):
        return False
    if status.st_size != content["bytes"]:
        return False
    return status.st_mtime_ns == content["mtime_ns"] or (content_of(photo) or {}).get("sha256") == content["sha256"]


def checkpoint_digest(folder: Path) -> str:
    """Sixteen characters that differ between checkpoints with other weights or settings."""
    digest = hashlib.sha256()
    for path in sorted({path for pattern in _CHECKPOINT_FILES for path in folder.glob(pattern)}):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class _Line:
    """Where the line of a photo lies in the file, and what is needed of it to go on."""

    offset: int
    stem: str
    content: dict[str, Any] | None
    is_whole: bool

    @classmethod
    def of(cls, line: dict[str, Any], offset: int, is_whole: bool) -> "_Line":
        """Of a line that was read.

        Raises:
            ValueError, KeyError, TypeError: It holds something else than `FinishedWork.add` writes.
        """
        content, stem = line["content"], line["stem"]
        if Path(stem).name != stem:  # it becomes a part of file names
            raise ValueError(stem)
        return cls(offset, stem, content and {name: content[name] for name in _CONTENT}, is_whole)


class FinishedWork:
    """The photos that are finished, by their URI. In memory is only where their lines lie.

    Args:
        path (`Path`): The file; it is made if it does not exist, and other processes are kept off it until `close`.
        settings (`dict`): Plain values: everything that the answers depend on beside the photos.
        is_whole (`Callable`, *optional*): Whether the files of a line are there; photos without them are not finished.
        others (`Sequence[str]`, *optional*): Names of files beside it that are not this command's. They are noted when
            the file is made, and `others` are those that were noted.

    Raises:
        InvalidArgumentError: The work there was done with other settings, another run writes to the file, or it is
            something else.
        FileWriteError: The file cannot be written.
    """

    def __init__(
        self,
        path: Path,
        settings: dict[str, Any],
        is_whole: Callable[[dict[str, Any]], bool] = lambda line: True,
        others: Sequence[str] = (),
    ) -> None:
        self.path = path
        self.others = others
        settings = json.loads(json.dumps(settings))
        self._lines: dict[str, _Line] = {}
        self._end = 0  # of the last whole line
        if not path.exists():
            write_whole(path, self._first(settings))
        with contextlib.ExitStack() as stack:
            stack.enter_context(held(path))  # before it is read: what another run adds would be cut off
            there = self._read(is_whole)
            # Without a buffer: what a full disk did not take would fail again at the end, and hide the reason.
            self._file = stack.enter_context(path.open("r+b", buffering=0))
            if self._lines:
                _require_equal(there, settings, path)
            else:  # nothing was finished with them
                exports = [json.dumps(line).encode() for line in lines_of_list(path) if "exports" in line]
                self._end = 0
                self._write(b"".join([self._first(settings), *(line + b"\n" for line in exports)]))
            self._file.truncate(self._end)
            self._until_closed = stack.pop_all()

    def _first(self, settings: dict[str, Any]) -> bytes:
        return json.dumps({"settings": settings} | ({"others": self.others} if self.others else {})).encode() + b"\n"

    def _read(self, is_whole: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Read the finished photos; return the settings."""
        settings: dict[str, Any] = {}
        with self.path.open("rb") as file:
            for raw in file:
                offset, self._end = self._end, self._end + len(raw)
                try:
                    line = json.loads(raw) if raw.endswith(b"\n") else {}
                    if offset == 0:
                        settings, self.others = dict(line["settings"]), list(line.get("others", ()))
                    elif line.get("forgotten"):
                        self._lines.pop(same_uri(line["uri"]), None)
                    elif line:
                        self._lines[same_uri(line["uri"])] = _Line.of(line, offset, is_whole(line))
                    else:
                        self._end = offset  # cut short by a kill
                except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                    if offset == 0:  # a later line that holds something else is passed over
                        raise InvalidArgumentError(
                            f"{self.path} is not of this version of farl-hf; choose another output, or give "
                            "--overwrite to begin anew."
                        ) from error
        return settings

    def __contains__(self, uri: str) -> bool:
        return uri in self._lines

    @property
    def stems(self) -> dict[str, str]:
        """First part of the names of the files of each photo, by URI."""
        return {uri: line.stem for uri, line in self._lines.items()}

    def is_finished(self, uri: str, photo: str) -> bool:
        """Whether a photo needs no work: it was finished, its files are there, and it is as it was."""
        line = self._lines.get(uri)
        return line is not None and line.is_whole and has_content(photo, line.content)

    def add(self, lines: Iterable[dict[str, Any]]) -> None:
        """Note finished photos: dicts with `uri`, `stem`, `content` and more, all fit for JSON.

        Raises:
            FileWriteError: The disk is full.
        """
        written, places = b"", {}
        for line in lines:
            places[line["uri"]] = _Line(self._end + len(written), line["stem"], line["content"], True)
            written += json.dumps(finite_or_none(line), allow_nan=False).encode() + b"\n"
        self._write(written)
        self._lines |= places

    def forget(self, uris: Iterable[str]) -> list[dict[str, Any]]:
        """Leave photos out from now on, such as those that have changed and fail; returns the lines they had.

        Raises:
            FileWriteError: The disk is full.
        """
        there = [uri for uri in dict.fromkeys(uris) if uri in self._lines]
        if not there:
            return []
        lines = list(self.lines(there))
        self._write(b"".join(json.dumps({"uri": uri, "forgotten": True}).encode() + b"\n" for uri in there))
        for uri in there:
            del self._lines[uri]
        return lines

    def note_export(self, name: str, content: dict[str, Any] | None) -> None:
        """Note that this command writes a file beside the list, so that `earlier_exports` tells it from others.

        Args:
            name (`str`): Of the file.
            content (`dict`, *optional*): See `content_of`; None for a folder.

        Raises:
            FileWriteError: The disk is full.
        """
        self._write(json.dumps({"exports": {name: content}}).encode() + b"\n")

    def _write(self, content: bytes) -> None:
        try:
            self._file.seek(self._end)
            rest = memoryview(content)
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise FileWriteError(
                f"{self.path} could not be written: {error.strerror}. Make room and run the command again; what it "
                "had finished is kept."
            ) from error
        self._end += len(content)

    def version(self, uri: str) -> str:
        """Differs between two contents of a photo."""
        content = self._lines[uri].content
        return content["sha256"][:16] if content else ""

    def uris(self, last: Iterable[str] = ()) -> list[str]:
        """All finished photos: those that are not among `last` in the order of the file, then these in their order."""
        last = [uri for uri in dict.fromkeys(last) if uri in self._lines]
        others = self._lines.keys() - set(last)
        return [uri for uri in self._lines if uri in others] + last

    def lines(self, uris: Iterable[str]) -> Iterator[dict[str, Any]]:
        """The lines of finished photos, read one after the other."""
        with self.path.open("rb") as file:
            for uri in uris:
                file.seek(self._lines[uri].offset)
                yield json.loads(file.readline())

    def close(self) -> None:
        """Close the file, and let other processes have it."""
        self._until_closed.close()


def lines_of_list(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a list that are whole, the first one with the settings; none where there is no list."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as lines:
        for raw in lines:
            with contextlib.suppress(ValueError, RecursionError):
                line = json.loads(raw)
                if isinstance(line, dict):
                    yield line


def earlier_exports(path: Path) -> dict[str, list[dict[str, Any] | None]]:
    """By name, the contents that were noted by `FinishedWork.note_export`."""
    exports: dict[str, list[dict[str, Any] | None]] = {}
    for line in lines_of_list(path):
        noted = line.get("exports")
        for name, content in noted.items() if isinstance(noted, dict) else ():
            exports.setdefault(name, []).append(content)
    return exports


def _require_equal(there: Mapping[str, Any], now: Mapping[str, Any], path: Path) -> None:
    differing = "; ".join(_differences(there, now))
    if differing:
        raise InvalidArgumentError(
            f"{path} tells of other settings: {differing}. Give the former ones to go on, --overwrite to begin anew, "
            "or choose another --output."
        )


def _differences(there: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """What differs between two settings, those in settings too, as words."""
    for name in {**there, **now}:
        before, after = there.get(name), now.get(name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from _differences(before, after)
        elif before != after:
            yield f"{name}: {_shown(before)} there, {_shown(after)} now"


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_shown(one)}" for name, one in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return {None: "the default", True: "yes", False: "no"}.get(value, str(value))
