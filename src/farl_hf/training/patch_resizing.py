"""Gives a trained vision tower patches of another size: fewer tokens for the same crop, or finer ones.

The kernel of the patch projection is resized by the pseudo-inverse of the resizing itself (FlexiViT, Beyer et al.,
CVPR 2023), so that a patch that is enlarged keeps its token; positions are resized to the new grid. Not in the paper.
"""

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from farl_hf.errors import InvalidFaceInputError
from farl_hf.modeling.configuration_farl import FaRLConfig
from farl_hf.modeling.modeling_farl import FaRLVisionModel
from farl_hf.modeling.position_tables_farl import resize_position_table
from farl_hf.training.backbone_choice import check_tower_may_change

__all__ = ["resized_kernel", "take_resized_patches", "tower_with_patches"]


def tower_with_patches(start: FaRLConfig, patch_size: int, image_size: int) -> dict[str, Any]:
    """Settings that give a checkpoint's tower patches of another size.

    Args:
        start ([`FaRLConfig`]): Of the checkpoint.
        patch_size (`int`): Side of a patch in pixels.
        image_size (`int`): Side of the crop in pixels.

    Raises:
        InvalidFaceInputError: The tower is another library's, the patch does not divide the crop, or ZeRO-3 divides
            the weights.
    """
    check_tower_may_change(start, "patch_size")
    if patch_size < 1 or image_size % patch_size:
        raise InvalidFaceInputError(
            f"patch_size is {patch_size}, which does not divide the image_size {image_size}; choose ones that fit."
        )
    return {"vision_config": start.vision_config.to_dict() | {"patch_size": patch_size, "image_size": image_size}}


@torch.no_grad()
def take_resized_patches(model: PreTrainedModel, model_name_or_path: str) -> None:
    """Fills patch projection and positions of a model from a checkpoint whose patches have another size.

    Args:
        model ([`~transformers.PreTrainedModel`]): Its `vision_model` is FaRL's tower.
        model_name_or_path (`str`): The checkpoint that the rest of the weights came from.
    """
    start = FaRLVisionModel.from_pretrained(model_name_or_path, dtype="float32").embeddings
    wanted = model.vision_model.embeddings
    wanted.patch_embedding.weight.copy_(resized_kernel(start.patch_embedding.weight, wanted.patch_size))
    grids_hw = [(embeddings.grid_size, embeddings.grid_size) for embeddings in (start, wanted)]
    wanted.position_embedding.weight.copy_(resize_position_table(start.position_embedding.weight, 1, *grids_hw))


def resized_kernel(kernel_CRPP: torch.Tensor, patch_size: int) -> torch.Tensor:
    """A patch projection for patches of another size.

    Args:
        kernel_CRPP (`torch.Tensor` of shape `(C, 3, P, P)`): Weights of the patch convolution.
        patch_size (`int`): Wanted side of a patch in pixels, Q.

    Returns:
        `torch.Tensor` of shape `(C, 3, Q, Q)`: For Q ≥ P, its product with a bilinearly enlarged patch is that of the
        given kernel with the patch itself; for smaller Q the nearest to that in the mean square.
    """
    side = kernel_CRPP.shape[-1]
    pixels = torch.eye(side * side, dtype=torch.float64).reshape(-1, 1, side, side)
    resized_PQ = nn.functional.interpolate(
        pixels, size=(patch_size, patch_size), mode="bilinear", align_corners=False, antialias=True
    ).flatten(1)
    kernel = kernel_CRPP.double().flatten(2) @ torch.linalg.pinv(resized_PQ).T
    return kernel.unflatten(2, (patch_size, patch_size)).to(kernel_CRPP.dtype)
