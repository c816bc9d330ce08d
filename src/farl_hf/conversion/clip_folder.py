"""A checkpoint folder of Transformers' CLIP, as named tensors and its configuration."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from farl_hf.conversion.torch_files import find_state_dict, load_pickled_tensors
from farl_hf.errors import ConversionError

__all__ = ["has_vocabulary", "read_clip_folder", "read_safetensors", "weights_file"]

_VOCABULARY_FILES = ("tokenizer.json", "vocab.json")
_WEIGHTS_FILES = ("model.safetensors", "pytorch_model.bin")


def weights_file(folder: Path) -> Path:
    """The file that holds the weights of a checkpoint folder; safetensors first.

    Raises:
        ConversionError: There is none.
    """
    for name in _WEIGHTS_FILES:
        if (folder / name).is_file():
            return folder / name
    raise ConversionError(
        f"{folder} holds neither {' nor '.join(_WEIGHTS_FILES)}; give a file, or the folder of a CLIP checkpoint."
    )


def has_vocabulary(source: Path) -> bool:
    """Whether a source is a folder that brings its tokenizer along."""
    return any((source / name).is_file() for name in _VOCABULARY_FILES)


def read_clip_folder(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """
    Weights and configuration of a CLIP checkpoint folder.

    Raises:
        ConversionError: A file is missing or damaged, or the folder holds another kind of model.
    """
    path = weights_file(folder)
    try:
        settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConversionError(f"{folder / 'config.json'} is missing or cannot be read ({error}).") from error
    if settings.get("model_type") != "clip":
        raise ConversionError(f"{folder} holds a model of type {settings.get('model_type')!r}, expected 'clip'.")
    if path.suffix == ".bin":
        return find_state_dict(load_pickled_tensors(path, path.name), path.name)[0], settings
    return read_safetensors(path), settings


def read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    """
    The tensors of a safetensors file.

    Raises:
        ConversionError: It is damaged.
    """
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ConversionError(f"{path} is damaged ({error}); download it again.") from error
