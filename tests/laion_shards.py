"""Tiny LAION-Face: shards as img2dataset writes them (its tars carry extended headers for fractional times), and
detections as LAION-Face publishes them. Every sample's picture has its own grey, its number is its key's."""

import io
import json
import struct
import tarfile
import zlib

import cv2
import numpy as np
import torch

PHOTO_SIZE_HW = (40, 48)
FACE_POINTS_XY = np.array([[18, 15], [30, 15], [24, 21], [19, 27], [29, 27]], np.float32)
FACE = (np.array([5, 2, 41, 38], np.float32), FACE_POINTS_XY, np.float32(0.99))
# SAMPLE_IDs of LAION-400M are large.
FIRST_SAMPLE_ID = 3_000_000_000_000


def photo_bytes(number=0, size_hw=PHOTO_SIZE_HW, suffix=".jpg"):
    picture = np.full((*size_hw, 3), 40 + number % 200, np.uint8)
    picture[::4] += 5
    return cv2.imencode(suffix, picture)[1].tobytes()


def bomb_bytes(width=40_000, height=30_000):
    """A PNG of a few bytes whose header promises more than a gigapixel."""
    encoded = bytearray(photo_bytes(suffix=".png"))
    encoded[16:24] = struct.pack(">II", width, height)
    encoded[29:33] = struct.pack(">I", zlib.crc32(encoded[12:29]))
    return bytes(encoded)


def sample_members(number, shard=0, **changes):
    """Members of one sample, suffix to bytes; `changes` replaces some, None takes them out."""
    key = f"{shard:05d}{number:04d}"
    metadata = {
        "url": f"https://example.org/{key}.jpg",
        "caption": f"caption {number}",
        "NSFW": "UNLIKELY",
        "similarity": 0.31,
        "LICENSE": "?",
        "SAMPLE_ID": FIRST_SAMPLE_ID + 10_000 * shard + number,
        "key": key,
        "status": "success",
        "error_message": None,
        "width": PHOTO_SIZE_HW[1],
        "height": PHOTO_SIZE_HW[0],
        "original_width": PHOTO_SIZE_HW[1],
        "original_height": PHOTO_SIZE_HW[0],
        "exif": "{}",
        "sha256": "0" * 64,
    }
    metadata |= changes.pop("metadata", {})
    members = {
        "jpg": photo_bytes(number),
        "txt": f"caption {number} of shard {shard}".encode(),
        "json": json.dumps(metadata).encode(),
    } | changes
    return {f"{key}.{suffix}": content for suffix, content in members.items() if content is not None}


def write_tar(path, members, extra=(), form=tarfile.PAX_FORMAT):
    """Writes (name, bytes) pairs; `extra` are `tarfile.TarInfo` without content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), 1_650_000_000.25
            tar.addfile(info, io.BytesIO(content))
        for info in extra:
            tar.addfile(info)
    return path


def write_shard(root, shard=0, count=6, part=0, changes=None, extra=(), before=()):
    """A shard of `count` samples; `changes` maps a number to what is different about its sample."""
    members = [*before]
    for number in range(count):
        members += sample_members(number, shard, **(changes or {}).get(number, {})).items()
    return write_tar(root / f"split_{part:05d}" / f"{shard:05d}.tar", members, extra)


def write_detections(root, shards, count=6, part=0, changes=None):
    """`sample2detect_{part}.pth` with one face per sample; `changes` maps SAMPLE_ID to faces, None takes it out."""
    faces = {FIRST_SAMPLE_ID + 10_000 * shard + n: [FACE] for shard in shards for n in range(count)}
    faces |= changes or {}
    root.mkdir(parents=True, exist_ok=True)
    path = root / f"sample2detect_{part}.pth"
    torch.save({key: value for key, value in faces.items() if value is not None}, path)
    return path


def sample_id(number, shard=0):
    return FIRST_SAMPLE_ID + 10_000 * shard + number
