"""Configurations read off the shapes of converted weights.

What shapes cannot tell follows CLIP: heads of 64 channels, QuickGELU, the last two entries of the vocabulary as start
and end token. A CLIP folder's own `config.json` overrides these.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch

from farl_hf.errors import ConversionError

__all__ = ["detector_config", "face_task_config", "two_tower_config"]

_HEAD_CHANNELS = 64
_FROM_CLIP_FOLDER = ("num_attention_heads", "hidden_act", "layer_norm_eps", "attention_dropout")

Tensors = Mapping[str, torch.Tensor]


def _shape(tensors: Tensors, name: str) -> tuple[int, ...]:
    if name not in tensors:
        raise ConversionError(f"The source lacks the tensor that becomes {name}; it is incomplete or of another kind.")
    return tuple(tensors[name].shape)


def _depth(tensors: Tensors, prefix: str) -> int:
    """One more than the highest block number below a prefix."""
    numbers = [int(match[1]) for name in tensors if (match := re.match(rf"{re.escape(prefix)}\.(\d+)\.", name))]
    return max(numbers, default=-1) + 1


def _tower_sizes(tensors: Tensors, tower: str, width: int) -> dict[str, int]:
    if width % _HEAD_CHANNELS:
        raise ConversionError(f"The {tower} is {width} wide; CLIP's towers are multiples of {_HEAD_CHANNELS}.")
    return {
        "hidden_size": width,
        "intermediate_size": _shape(tensors, f"{tower}.encoder.layers.0.mlp.fc1.weight")[0],
        "num_hidden_layers": _depth(tensors, f"{tower}.encoder.layers"),
        "num_attention_heads": width // _HEAD_CHANNELS,
    }


def _vision_sizes(tensors: Tensors) -> dict[str, int]:
    width, channels, patch, _ = _shape(tensors, "vision_model.embeddings.patch_embedding.weight")
    tokens = _shape(tensors, "vision_model.embeddings.position_embedding.weight")[0]
    side = round((tokens - 1) ** 0.5)
    if side**2 != tokens - 1:
        raise ConversionError(f"The vision tower has {tokens} positions; expected one more than a square number.")
    sizes = _tower_sizes(tensors, "vision_model", width)
    return {**sizes, "num_channels": channels, "patch_size": patch, "image_size": side * patch}


def _text_sizes(tensors: Tensors) -> dict[str, int]:
    vocabulary, width = _shape(tensors, "text_model.embeddings.token_embedding.weight")
    return {
        **_tower_sizes(tensors, "text_model", width),
        "vocab_size": vocabulary,
        "max_position_embeddings": _shape(tensors, "text_model.embeddings.position_embedding.weight")[0],
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
        "pad_token_id": vocabulary - 1,
    }


def _mim_sizes(tensors: Tensors) -> dict[str, int]:
    """Of the branch of masked image modelling; without one, the defaults of a new branch stay."""
    if "mim_head.weight" not in tensors:
        return {}
    return {
        "mim_num_hidden_layers": _depth(tensors, "mim_encoder.layers"),
        "mim_vocab_size": _shape(tensors, "mim_head.weight")[0],
    }


def _of_folder(settings: Mapping[str, Any], tower: str) -> dict[str, Any]:
    given = settings.get(tower) or {}
    return {name: given[name] for name in _FROM_CLIP_FOLDER if name in given}


def two_tower_config(tensors: Tensors, settings: Mapping[str, Any]):
    """`FaRLConfig` of both towers; `settings` is the `config.json` of a CLIP folder, or empty."""
    from farl_hf.modeling import FaRLConfig

    return FaRLConfig(
        vision_config=_vision_sizes(tensors) | _of_folder(settings, "vision_config"),
        text_config=_text_sizes(tensors) | _of_folder(settings, "text_config"),
        projection_dim=_shape(tensors, "visual_projection.weight")[0],
        **_mim_sizes(tensors),
    )


def face_task_config(tensors: Tensors, settings: Mapping[str, Any]):
    """`FaRLConfig` of a model with a head; class names are numbers until labels are known."""
    from farl_hf.modeling import FaRLConfig

    vision = _vision_sizes(tensors)
    config = {"vision_config": vision, "num_labels": _shape(tensors, "head.classifier.weight")[0]}
    if "head.mixture" in tensors:
        config["feature_levels"] = _attribute_levels(_shape(tensors, "head.mixture")[0], vision["num_hidden_layers"])
    else:
        config["head_channels"] = _shape(tensors, "head.classifier.weight")[1]
    return FaRLConfig(**config)


def _attribute_levels(vectors: int, depth: int) -> list[int] | None:
    """The blocks, 3 vectors each: the last one (released model), all (the code's default) or the paper's four."""
    known = {1: [depth - 1], depth: list(range(depth)), 4: None}
    levels, rest = divmod(vectors, 3)
    if rest or levels not in known:
        raise ConversionError(
            f"The attribute head mixes {vectors} vectors; expected three per level, for 1, 4 or {depth} levels."
        )
    return known[levels]


def detector_config(tensors: Tensors, settings: Mapping[str, Any]):
    """`RetinaFaceConfig` of one of the two published bodies."""
    from farl_hf.modeling import RetinaFaceConfig

    is_resnet = any(".shortcut." in name for name in tensors)
    return RetinaFaceConfig(body="resnet" if is_resnet else "mobilenet_v1")
