"""Weights of google-research/vision_transformer (AugReg, `.npz` of JAX arrays) under timm's names.

Arrays are (in, out); attention's are split by head. Source of the names: `vit_jax/models_vit.py`.
"""

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from farl_hf.errors import ConversionError

__all__ = ["is_npz", "read_npz", "with_timm_names"]

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


def is_npz(path: Path) -> bool:
    """Whether a zip file is NumPy's."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    return bool(names) and all(name.endswith(".npy") for name in names)


def read_npz(path: Path) -> dict[str, torch.Tensor]:
    """The arrays of a file by name.

    Raises:
        ConversionError: It holds objects, which only running code could read.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    except (ValueError, TypeError) as error:
        raise ConversionError(f"{path.name} holds more than arrays of numbers, and was not read ({error}).") from error


def with_timm_names(arrays: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The arrays as timm's ViT names and lays them out; a name that is not known stays."""
    renamed, inputs = {}, {}
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
