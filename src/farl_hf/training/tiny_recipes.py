"""Configurations small enough to learn from scratch on a laptop's processor."""

import json
from pathlib import Path
from typing import Any

from farl_hf.errors import UnknownNameError
from farl_hf.modeling.configuration_farl import FaRLConfig

__all__ = ["MODEL_RECIPES", "make_scratch_config"]

# The text tower is never built by a task model; it is kept small so that the configuration says nothing misleading.
TINY_TEXT = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4}

MODEL_RECIPES: dict[str, dict[str, Any]] = {
    # 1.2 million parameters: the built-in landmark model, and what the parser began as. Patches of 8 pixels, because
    # brows and lips are a few pixels thick.
    "tiny": {
        "vision_config": {
            "hidden_size": 128,
            "intermediate_size": 512,
            "num_hidden_layers": 4,
            "num_attention_heads": 2,
            "patch_size": 8,
        },
        "text_config": TINY_TEXT,
        "projection_dim": 128,
        "head_channels": 40,
        "head_dropout": 0.0,
        "heatmap_size": 64,
        "heatmap_radius": 5.0,
    },
    # For tests: learns nothing, runs in no time.
    "toy": {
        "vision_config": {
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "patch_size": 8,
        },
        "text_config": {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
        "projection_dim": 16,
        "head_channels": 8,
        "head_dropout": 0.0,
        "heatmap_size": 16,
    },
    # ViT-B/16 with the official head.
    "base": {},
}
VISION_SETTINGS = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "patch_size")


def make_scratch_config(name: str, image_size: int, label_names: list[str], overrides: dict[str, Any]) -> FaRLConfig:
    """Configuration of a model that starts from random weights.

    Args:
        name (`str`): A key of `MODEL_RECIPES`, or a JSON file with the arguments of [`FaRLConfig`].
        image_size (`int`): Side of the crop in pixels.
        label_names (`list[str]`): Names of the model's outputs.
        overrides (`dict[str, Any]`): Settings that replace the recipe's. Those of the vision tower (`hidden_size`,
            `num_hidden_layers`, …) go there.
    """
    settings = read_settings(name)
    given = dict(overrides)
    vision = settings.get("vision_config", {}) | {key: given.pop(key) for key in VISION_SETTINGS if key in given}
    if "hidden_size" in overrides:
        vision["intermediate_size"] = 4 * vision["hidden_size"]
    return FaRLConfig(
        **(settings | given | {"vision_config": vision | {"image_size": image_size}}), **label_settings(label_names)
    )


def read_settings(name: str) -> dict[str, Any]:
    """Arguments of a recipe or of a JSON file."""
    if name in MODEL_RECIPES:
        return MODEL_RECIPES[name]
    if Path(name).is_file():
        settings = json.loads(Path(name).read_text())
        return {FaRLConfig.attribute_map.get(key, key): value for key, value in settings.items()}
    raise UnknownNameError(f"{name!r} is neither a model recipe ({', '.join(MODEL_RECIPES)}) nor a JSON file.")


def label_settings(label_names: list[str]) -> dict[str, Any]:
    """`id2label` and `label2id` of a configuration."""
    return {"id2label": dict(enumerate(label_names)), "label2id": {name: i for i, name in enumerate(label_names)}}
