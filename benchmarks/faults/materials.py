"""What the inputs are made of: noise, encoded pictures, toy checkpoints, toy data. Made once per process."""

import functools
import importlib
import io
import struct
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image

ORIENTATION = 0x0112
# EXIF orientation -> what a viewer does with the stored pixels (H, W, 3). Source: EXIF 2.3, section 4.6.4.
TURNS = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].transpose(1, 0, 2),
    8: lambda pixels: np.rot90(pixels),
}
LOSSLESS = {"PNG": {}, "BMP": {}, "TIFF": {}, "PPM": {}, "WEBP": {"lossless": True}, "TGA": {}}
LOSSY = {"JPEG": {}, "AVIF": {}, "JPEG2000": {}, "GIF": {}, "WEBP": {"quality": 50}}


def noise(rng: np.random.Generator, least: int = 8, most: int = 40) -> np.ndarray:
    """A picture (H, W, 3), uint8, of two different sides."""
    height, width = rng.choice(np.arange(least, most + 1), 2, replace=False)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(picture: Any, file_format: str, **options: Any) -> bytes:
    """The bytes of a file."""
    file = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(file, file_format, **options)
    return file.getvalue()


def decoded(content: bytes) -> np.ndarray:
    """What Pillow reads, as RGB."""
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def written(path: Path, content: bytes) -> Path:
    """The path of a file with that content."""
    path.write_bytes(content)
    return path


def tiff_block(entries: list[tuple[int, int, int, bytes]]) -> bytes:
    """An EXIF block of (tag, type, count, value) as it is written, whatever the values are."""
    directory, data, base = struct.pack("<H", len(entries)), b"", 8 + 2 + 12 * len(entries) + 4
    for tag, type_number, count, value in entries:
        place = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack("<I", base + len(data))
        data += value if len(value) > 4 else b""
        directory += struct.pack("<HHI", tag, type_number, count) + place
    return b"II*\0" + struct.pack("<I", 8) + directory + struct.pack("<I", 0) + data


def with_exif(pixels: np.ndarray, file_format: str, block: bytes, **options: Any) -> bytes:
    """A picture with an EXIF block that Pillow itself may refuse to write."""
    if file_format == "JPEG":
        content = encoded(pixels, "JPEG", **options)
        body = b"Exif\0\0" + block
        return content[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + content[2:]
    if file_format == "PNG":
        content = encoded(pixels, "PNG", **options)
        chunk = b"eXIf" + block
        return (
            content[:33] + struct.pack(">I", len(block)) + chunk + struct.pack(">I", zlib.crc32(chunk)) + content[33:]
        )
    room = tiff_block([(0x10E, 2, max(len(block), 8), b"\x7e" * max(len(block), 8))])
    content = encoded(pixels, file_format, exif=room, **options)
    start = content.index(b"II*\0\x08\0\0\0\x01\0\x0e\x01")
    return content[:start] + block.ljust(len(room), b"\0") + content[start + len(room) :]


# Checkpoints and models, as the tests make them


def test_module(name: str) -> Any:
    """A module with which the tests make toys."""
    tests = str(Path(__file__).parents[2] / "tests")
    if tests not in sys.path:
        sys.path.append(tests)
    return importlib.import_module(name)


@functools.cache
def shared_folder() -> Path:
    """A folder of this process, beside those of the cases."""
    return Path(tempfile.mkdtemp(prefix="shared-", dir=Path.cwd().parent))


@functools.cache
def checkpoints() -> dict[str, Path]:
    """Folders of toy models: task -> folder."""
    return test_module("toy_checkpoints").save_toy_checkpoints(shared_folder() / "checkpoints")


@functools.cache
def image_text_folder() -> Path:
    """A checkpoint of a toy model of images and texts."""
    for part in image_text_toy():
        part.save_pretrained(shared_folder() / "farl")
    return shared_folder() / "farl"


@functools.cache
def image_text_toy() -> tuple[Any, Any]:
    """A toy model of images and texts, and its processor."""
    return test_module("image_text_toys").make_farl()


@functools.cache
def toy_pipeline(task: str) -> Any:
    """A pipeline of a toy model; its detector is a toy too."""
    from transformers import pipeline

    import farl_hf  # noqa: F401  # registers the tasks

    more = {} if task == "face-detection" else {"detector": str(checkpoints()["face-detection"])}
    return pipeline(task, model=str(checkpoints()[task]), device="cpu", **more)


@contextmanager
def toy_defaults() -> Iterator[None]:
    """Inside, the default models are toys."""
    from farl_hf.checkpoints import embedded_models

    checkpoints()
    with patch.object(embedded_models, "_FOLDER", shared_folder() / "checkpoints"):
        yield


@functools.cache
def astronaut() -> np.ndarray:
    """A photograph with one face, at about (172, 60, 275, 185); (512, 512, 3)."""
    from skimage import data

    return data.astronaut()


ASTRONAUT_POINTS = np.array([(201, 101), (246, 102), (226, 130), (206, 142), (243, 144)], np.float32)
ASTRONAUT_FACE = (172, 60, 275, 185)


@functools.cache
def face_rows(num_photos: int = 8) -> Any:
    """A data set of drawn faces."""
    return test_module("face_rows").make_face_dataset(num_photos)


@functools.cache
def rows_folder() -> Path:
    """Drawn faces with splits, as `save_to_disk` writes them."""
    import datasets

    make, folder = test_module("face_rows").make_face_dataset, shared_folder() / "rows"
    datasets.DatasetDict(train=make(8), validation=make(2, first_index=100)).save_to_disk(str(folder))
    return folder


@functools.cache
def pairs_folder() -> Path:
    """Pairs of photos and captions with splits."""
    return test_module("pretraining_runs").write_pairs(shared_folder() / "pairs")


@contextmanager
def no_programs() -> Iterator[list[Any]]:
    """Inside, a program that is started is noted and refused."""
    started: list[Any] = []

    def note(*words: Any, **_: Any) -> None:
        started.append(words)
        raise OSError("a program was started")

    with patch("subprocess.Popen", note), patch("os.system", note), patch("os.posix_spawn", note):
        yield started


def seeded_model(model_class: Any, config: Any) -> Any:
    """A model with the same random weights every time."""
    torch.manual_seed(0)
    return model_class(config).eval()
