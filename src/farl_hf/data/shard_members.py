"""Where the samples of a webdataset shard lie in its tar file, whatever state the file is in.

Nothing is unpacked: members are read in place, by offset. A damaged file gives the samples that can still be found.
"""

import mmap
import os
import tarfile
from collections import Counter
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np

__all__ = ["DAMAGED_SHARD", "INCOMPLETE_SAMPLE", "UNSAFE_MEMBER", "ShardMembers", "find_members"]

# Reasons under which left-out data is counted; the first two count shards and members, not samples.
DAMAGED_SHARD, UNSAFE_MEMBER, INCOMPLETE_SAMPLE = "damaged_shard", "unsafe_member", "incomplete_sample"

BLOCK = tarfile.BLOCKSIZE
MAGIC, MAGIC_OFFSET = b"ustar", 257
FILE_TYPES = (tarfile.REGTYPE, tarfile.AREGTYPE)
# Extended attributes and long names of the member that follows. What they say of it is not followed: names of
# img2dataset's members are short, and another name or size could only mislead.
EXTENSION_TYPES = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
    tarfile.DIRTYPE,
)
PICTURE_SUFFIXES = ("jpg", "jpeg", "png", "webp")
# Columns of `ShardMembers.places`; of these a sample can lack the caption.
PICTURE, METADATA, CAPTION = 0, 2, 4


class ShardMembers(NamedTuple):
    """The samples of a shard.

    Args:
        places (`numpy.ndarray` of shape `(samples, 6)`): Offset and size in bytes of picture, metadata and caption
            (size -1: the sample has no caption), in the order of the file.
        left_out (`Counter`): What was left out, by reason.
    """

    places: np.ndarray
    left_out: Counter


def find_members(path: str | os.PathLike) -> ShardMembers:
    """Lists the samples of a shard: pictures with metadata (`key.jpg`, `key.json`) and perhaps a caption (`key.txt`).

    Links, devices and members whose path leaves the folder are not looked at. Where headers are damaged, the search
    goes on at the next sound one. A file that cannot be opened has no samples.
    """
    left_out: Counter = Counter()
    samples: dict[str, dict[int, tuple[int, int]]] = {}
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            for name, offset, size in member_places(data, left_out):
                column = column_of(name)
                if column is not None:
                    samples.setdefault(name.partition(".")[0], {})[column] = (offset, size)
    except (OSError, ValueError):  # an empty file cannot be mapped
        left_out[DAMAGED_SHARD] = 1
    complete = [sample for sample in samples.values() if PICTURE in sample and METADATA in sample]
    if len(samples) > len(complete):
        left_out[INCOMPLETE_SAMPLE] = len(samples) - len(complete)
    places = [(*sample[PICTURE], *sample[METADATA], *sample.get(CAPTION, (0, -1))) for sample in complete]
    return ShardMembers(np.array(places, dtype=np.int64).reshape(-1, 6), left_out)


def member_places(data: mmap.mmap, left_out: Counter):
    """Yields name, offset and size in bytes of every plain file of a tar that is there in full."""
    position, ended = 0, False
    while position + BLOCK <= len(data):
        header = data[position : position + BLOCK]
        info = parsed_header(header)
        if info is None:
            following = next_header(data, position + BLOCK)
            ended = following is None and not header.strip(b"\0")
            if following is None:
                break
            left_out[DAMAGED_SHARD] = 1
            position = following
            continue
        start = position + BLOCK
        position = start + -(-info.size // BLOCK) * BLOCK
        if info.type in EXTENSION_TYPES:
            continue
        if info.type not in FILE_TYPES or not is_inside(info.name):
            left_out[UNSAFE_MEMBER] += 1
        elif start + info.size <= len(data):
            yield info.name, start, info.size
    if not ended:  # a whole tar ends with blocks of zeros
        left_out[DAMAGED_SHARD] = 1


def parsed_header(header: bytes) -> tarfile.TarInfo | None:
    """A header whose checksum is right, or None."""
    try:
        info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return None
    return info if info.size >= 0 else None


def next_header(data: mmap.mmap, start: int) -> int | None:
    """Position of the next block, from `start` on, that carries the mark of a header."""
    found = data.find(MAGIC, start + MAGIC_OFFSET)
    while found >= 0:
        if (found - MAGIC_OFFSET) % BLOCK == 0:
            return found - MAGIC_OFFSET
        found = data.find(MAGIC, found + 1)
    return None


def is_inside(name: str) -> bool:
    """Whether a member's path stays in the folder into which its tar would be unpacked."""
    path = PurePosixPath(name.replace("\\", "/"))
    return not path.is_absolute() and ".." not in path.parts


def column_of(name: str) -> int | None:
    """What a member is to its sample, or None for anything else."""
    suffix = name.rpartition(".")[2].lower()
    if suffix in PICTURE_SUFFIXES:
        return PICTURE
    return {"json": METADATA, "txt": CAPTION}.get(suffix)
