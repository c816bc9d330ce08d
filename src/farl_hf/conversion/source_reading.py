"""Reads a source of weights, whatever its shape; what it is, its content tells, not its name."""

import os
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from farl_hf.conversion.augreg_arrays import is_npz, read_npz, with_timm_names
from farl_hf.conversion.clip_folder import read_clip_folder, read_safetensors, weights_file
from farl_hf.conversion.file_hashes import file_sha256
from farl_hf.conversion.torch_files import find_state_dict, load_pickled_tensors
from farl_hf.conversion.torchscript_archive import is_torchscript, open_extra_file, read_torchscript
from farl_hf.errors import ConversionError

__all__ = ["SourceFile", "SourceWeights", "describe_source", "read_source"]

_ZIP_START = b"PK\x03\x04"


@dataclass(frozen=True)
class SourceFile:
    """What a source file was: its name, its size in bytes, its sha256 in hexadecimal."""

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class SourceWeights:
    """Named tensors of a source.

    Args:
        tensors (`dict[str, torch.Tensor]`): As the source names them.
        shape (`str`): `"torch_file"`, `"training_states"`, `"torchscript"`, `"arrays"`, `"safetensors"` or
            `"clip_folder"`.
        settings (`dict`): `config.json` of a CLIP folder.
    """

    tensors: dict[str, torch.Tensor]
    shape: str
    settings: dict[str, Any] = field(default_factory=dict)


def describe_source(source: Path) -> SourceFile:
    """Name, size and sha256 of a file, or of the weights file of a folder."""
    path = weights_file(source) if source.is_dir() else source
    return SourceFile(path.name, path.stat().st_size, file_sha256(path))


def read_source(source: Path) -> SourceWeights:
    """
    Read the weights of a file or folder.

    Args:
        source (`Path`): A file of `torch.save` (zip or legacy), a TorchScript archive, a `.npz` of AugReg, a
            `.safetensors` file or a CLIP folder.

    Raises:
        ConversionError: It is none of these, damaged, or would need code to be read; the message says which.
    """
    if source.is_dir():
        tensors, settings = read_clip_folder(source)
        return SourceWeights(tensors, "clip_folder", settings)
    if not source.is_file() or not os.access(source, os.R_OK):
        raise ConversionError(f"There is no file or folder {source} that can be read.")
    if _is_zip(source):
        _check_zip(source)
        if is_torchscript(source):
            return SourceWeights(_read_archive(source), "torchscript")
        if is_npz(source):
            return SourceWeights(with_timm_names(read_npz(source)), "arrays")
    if _is_safetensors(source):
        return SourceWeights(read_safetensors(source), "safetensors")
    tensors, place = find_state_dict(load_pickled_tensors(source, source.name), source.name)
    return SourceWeights(tensors, "training_states" if "networks" in place else "torch_file")


def _is_zip(path):
    with path.open("rb") as file:
        start = file.read(len(_ZIP_START))
    if not start:
        raise ConversionError(f"{path.name} is empty.")
    if start == _ZIP_START and not zipfile.is_zipfile(path):
        raise ConversionError(
            f"{path.name} is cut off: its end, where a zip archive lists its content, is missing after "
            f"{path.stat().st_size} bytes. Download it again."
        )
    return start == _ZIP_START


def _is_safetensors(path):
    """Eight bytes that count the header, then the header, which is JSON."""
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def _check_zip(path):
    """Compare every member's bytes with its checksum: mapping a file into memory would not notice damage."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:  # the last: encrypted or unknown packing
        raise ConversionError(f"{path.name} is damaged ({error}); download it again.") from error
    if damaged is not None:
        raise ConversionError(f"{path.name} is damaged in its member {damaged}; download it again.")


def _read_archive(path):
    """Tensors of an archive; facer's aligners are a head with the backbone pickled in an extra file."""
    tensors, backbone = read_torchscript(path), open_extra_file(path, "backbone")
    if backbone is None:
        return tensors
    what = f"the backbone inside {path.name}"
    with backbone:
        inner, _ = find_state_dict(load_pickled_tensors(backbone, what), what)
    return {f"heatmap_head.{name}": value for name, value in tensors.items()} | {
        f"backbone.{name}": value for name, value in inner.items()
    }
