"""Gives a trained vision tower more blocks, which at first pass on what they get.

The last matrix of both branches of a new block starts at zero, so that the deeper model computes what the shallower
one did, and learns from there (Net2DeeperNet, Chen et al., ICLR 2016; for residual blocks by zeros, as in ReZero,
Bachlechner et al., 2021, and in the depth expansion of LLaMA Pro, Wu et al., 2024). Not in the paper.
"""

from typing import Any

import torch
from transformers import PreTrainedModel

from farl_hf.errors import InvalidFaceInputError
from farl_hf.modeling.configuration_farl import FaRLConfig
from farl_hf.training.backbone_choice import check_tower_may_change

__all__ = ["silence_blocks", "tower_with_blocks"]

# They name blocks of the shallower tower; a configuration derives them from its depth.
_FIELDS_OF_DEPTH = ("stage_names", "out_features", "out_indices")


def tower_with_blocks(start: FaRLConfig, num_hidden_layers: int) -> dict[str, Any]:
    """Settings that give a checkpoint's tower more blocks; levels of the head that read its last read the new last.

    Args:
        start ([`FaRLConfig`]): Of the checkpoint.
        num_hidden_layers (`int`): Wanted number of blocks.

    Raises:
        InvalidFaceInputError: The tower is another library's or has more blocks already, or ZeRO-3 divides the
            weights.
    """
    depth = start.vision_config.num_hidden_layers
    check_tower_may_change(start, "num_hidden_layers")
    if num_hidden_layers < depth:
        raise InvalidFaceInputError(
            f"num_hidden_layers is {num_hidden_layers}, but the checkpoint's tower has {depth} blocks and none is "
            f"taken away; choose {depth} or more, or leave it out."
        )
    vision = {name: value for name, value in start.vision_config.to_dict().items() if name not in _FIELDS_OF_DEPTH}
    levels = [num_hidden_layers - 1 if level == depth - 1 else level for level in start.feature_levels]
    return {"vision_config": vision | {"num_hidden_layers": num_hidden_layers}, "feature_levels": levels}


@torch.no_grad()
def silence_blocks(model: PreTrainedModel, first: int) -> None:
    """Makes blocks add nothing, until they learn.

    Args:
        model ([`~transformers.PreTrainedModel`]): Its `vision_model` is FaRL's tower.
        first (`int`): The first of them, 0-based; all after it, too.
    """
    for block in model.vision_model.encoder.layers[first:]:
        for last in (block.self_attn.out_proj, block.mlp.fc2):
            last.weight.zero_()
            last.bias.zero_()
