"""Faces to unit vectors of the space that faces and texts share, differentiably; FaRL's model or CLIP's."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.functional import normalize

__all__ = ["evaluating", "unit_image_features"]


def unit_image_features(model: Any, pixel_values: torch.Tensor) -> torch.Tensor:
    """Vectors (F, P) of length 1, at least float32, of normalised crops (F, 3, h, w)."""
    features_FP = model.get_image_features(pixel_values=pixel_values, interpolate_pos_encoding=True).pooler_output
    return normalize(features_FP.to(torch.promote_types(features_FP.dtype, torch.float32)), dim=-1)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Drop nothing at random in between, and leave every module in the mode it had."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
