"""Random weights that fit the data: for small towers that learn from scratch, where the first plateau is long.

Not in the paper. Patches are projected on the directions in which they differ most, scaled to equal variance, each
with both signs (as Coates and Ng, 2012; the whitening layer of Jordan's airbench); positions begin as sines and
cosines; and every LayerNorm is scaled and shifted such that its channels have mean 0 and deviation 1 on a batch (after
Krähenbühl et al., ICLR 2016), so that what is common to all faces does not drown what tells them apart.

Shapes: B photos, N patches, C width, P = 3 * patch * patch.
"""

from typing import Any

import torch
from torch import nn
from torch.nn.functional import unfold

from farl_hf.errors import InvalidFaceInputError
from farl_hf.modeling.modeling_farl import FaRLVisionModel

__all__ = ["start_from_data"]

_PATCHES = 40_000
_SMALLEST_VARIANCE = 0.02  # of normalised pixels; directions with less are noise
_PATCH_GAIN, _POSITION_GAIN = 0.5, 0.3
_LONGEST_WAVE = 100.0  # of positions, in patches over 2 pi
_SMALLEST_DEVIATION = 0.05


@torch.no_grad()
def start_from_data(model: nn.Module, pixel_values: torch.Tensor) -> None:
    """Replaces the patch projection, the positions and the LayerNorms' scales of a model with random weights.

    Args:
        model (`nn.Module`): A task model, or both towers, whose `vision_model` is FaRL's tower. Of two towers, only
            the vision tower changes.
        pixel_values (`torch.Tensor` of shape `(B, 3, H, W)`): Normalised training samples, some hundred.

    Raises:
        InvalidFaceInputError: The vision tower is another library's, or its width no multiple of 4.
    """
    tower = getattr(model, "vision_model", None)
    if not isinstance(tower, FaRLVisionModel):
        raise InvalidFaceInputError("data_dependent_start is for FaRL's own vision tower; leave it out.")
    embeddings = tower.embeddings
    if embeddings.class_embedding.shape[0] % 4:
        raise InvalidFaceInputError(
            f"data_dependent_start needs a hidden_size that 4 divides, not {embeddings.class_embedding.shape[0]}."
        )
    _whiten_patches(embeddings.patch_embedding, pixel_values)
    _place_waves(embeddings.position_embedding.weight)
    _standardise_norms(model, tower, pixel_values)


def _whiten_patches(convolution: nn.Conv2d, pixel_values: torch.Tensor) -> None:
    side, width = convolution.kernel_size[0], convolution.out_channels
    patches_NP = unfold(pixel_values, side, stride=side).transpose(1, 2).flatten(0, 1)
    patches_NP = patches_NP[torch.randperm(len(patches_NP))[:_PATCHES]]
    variances, directions = torch.linalg.eigh(patches_NP.T @ patches_NP / len(patches_NP))
    most = min(width // 2, len(variances))
    scaled = directions[:, -most:] / (variances[-most:] + _SMALLEST_VARIANCE).sqrt()
    both = torch.cat([scaled, -scaled], dim=1).T * _PATCH_GAIN
    convolution.weight[: 2 * most] = both.view(-1, *convolution.weight.shape[1:])


def _place_waves(table_TC: torch.Tensor) -> None:
    """Row 0 is the class token's and stays."""
    side, quarter = round((len(table_TC) - 1) ** 0.5), table_TC.shape[1] // 4
    rates = _LONGEST_WAVE ** -(torch.arange(quarter) / quarter)
    waves = torch.arange(side)[:, None] * rates
    waves = torch.cat([waves.sin(), waves.cos()], dim=1)
    rows = waves[:, None].expand(side, side, -1)
    table_TC[1:] = torch.cat([rows, rows.transpose(0, 1)], dim=2).flatten(0, 1) * _POSITION_GAIN


def _standardise_norms(model: nn.Module, tower: nn.Module, pixel_values: torch.Tensor) -> None:
    """One pass: each norm is changed when it is reached, so that the next sees its new output."""
    head = getattr(model, "head", None)
    parts = [tower] if head is None else [tower, head]
    norms = [module for part in parts for module in part.modules() if isinstance(module, nn.LayerNorm)]
    hooks = [norm.register_forward_hook(_standardise) for norm in norms]
    was_training = model.training
    model.eval()
    try:
        (tower if head is None else model)(pixel_values=pixel_values)
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()


def _standardise(norm: nn.LayerNorm, inputs: Any, output: torch.Tensor) -> torch.Tensor:
    values = output.flatten(0, -2)
    deviation, mean = values.std(dim=0).clamp_min(_SMALLEST_DEVIATION), values.mean(dim=0)
    norm.weight.div_(deviation)
    norm.bias.sub_(mean).div_(deviation)
    return (output - mean) / deviation
