"""Which parameters learn at which rate.

The three parts of every FaRL task model are told apart by the prefix of their parameter names.
"""

from typing import Any

from torch import nn

__all__ = ["PART_PREFIXES", "freeze_backbone", "make_parameter_groups"]

PART_PREFIXES = {"backbone": "vision_model.", "pyramid": "pyramid.", "head": "head."}


def part_of(parameter_name: str) -> str:
    """`"backbone"`, `"pyramid"` or `"head"`; a name without a known prefix learns like the head."""
    for part, prefix in PART_PREFIXES.items():
        if parameter_name.startswith(prefix):
            return part
    return "head"


def decays(parameter: nn.Parameter, decay_norm_and_bias: bool) -> bool:
    """Biases and normalisation weights are the parameters with one axis."""
    return decay_norm_and_bias or parameter.ndim > 1


def make_parameter_groups(
    model: nn.Module, learning_rates: dict[str, float], weight_decay: float, decay_norm_and_bias: bool = True
) -> list[dict[str, Any]]:
    """Optimizer groups, one per part and decay.

    Args:
        model (`nn.Module`): A FaRL task model.
        learning_rates (`dict[str, float]`): Rate of `"backbone"`, `"pyramid"` and `"head"`.
        weight_decay (`float`): AdamW weight decay.
        decay_norm_and_bias (`bool`, *optional*, defaults to `True`): Officially everything decays. `False` leaves out
            parameters with one axis.

    Returns:
        `list[dict]`: Non-empty groups with `params`, `lr`, `weight_decay` and `name`, trainable parameters only.
    """
    groups: dict[tuple[str, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        key = (part_of(name), decays(parameter, decay_norm_and_bias))
        part, decay = key
        settings = {
            "params": [],
            "lr": learning_rates[part],
            "weight_decay": weight_decay if decay else 0.0,
            "name": part if decay else f"{part}_without_decay",
        }
        groups.setdefault(key, settings)["params"].append(parameter)
    return list(groups.values())


def freeze_backbone(model: nn.Module) -> None:
    """Stops the vision tower from learning."""
    for name, parameter in model.named_parameters():
        if part_of(name) == "backbone":
            parameter.requires_grad_(False)
