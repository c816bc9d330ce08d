"""Which encoder stands under the head, and which pictures it expects."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import ImageProcessingMixin

from farl_hf.errors import UnknownNameError
from farl_hf.labels.backbones import BACKBONES
from farl_hf.training.script_arguments import ModelArguments

__all__ = ["pixel_normalisation", "scratch_settings", "with_backbone"]


def with_backbone(model_args: ModelArguments) -> ModelArguments:
    """The arguments, with the folder of a converted encoder as the checkpoint to start from.

    Raises:
        UnknownNameError: `backbone` is neither a folder, nor, for random weights, a name of the table.
    """
    name = model_args.backbone
    if name is None:
        return model_args
    if (Path(name) / "config.json").is_file():
        return replace(model_args, model_name_or_path=name, backbone=None)
    if name not in BACKBONES:
        raise UnknownNameError(
            f"--backbone {name} is neither the folder of a converted encoder nor one of {', '.join(BACKBONES)}."
        )
    if model_args.config_name is None:
        raise UnknownNameError(
            f"There is no folder {name} with the weights of {BACKBONES[name].described}. Make it of the published "
            f"file: farl-hf convert FILE -o {name}; --config_name base starts from random weights."
        )
    return replace(model_args, model_name_or_path=None)


def pixel_normalisation(model_args: ModelArguments) -> dict[str, Any]:
    """Mean and deviation of the encoder's pictures: of the checkpoint, or of the table for random weights."""
    if model_args.model_name_or_path:
        try:
            settings, _ = ImageProcessingMixin.get_image_processor_dict(model_args.model_name_or_path)
        except OSError:  # weights without a processor: FaRL's own
            return {}
        return {name: settings[name] for name in ("image_mean", "image_std") if settings.get(name) is not None}
    if model_args.backbone is None:
        return {}
    row = BACKBONES[model_args.backbone]
    return {"image_mean": list(row.image_mean), "image_std": list(row.image_std)}


def scratch_settings(model_args: ModelArguments) -> dict[str, Any]:
    """Settings that replace a model recipe's where a model starts from random weights."""
    given = model_args.scratch_overrides()
    if model_args.backbone is None or BACKBONES[model_args.backbone].config is None:
        return given
    row = BACKBONES[model_args.backbone]
    return {"backbone_config": dict(row.config), "feature_levels": list(row.levels)} | given
