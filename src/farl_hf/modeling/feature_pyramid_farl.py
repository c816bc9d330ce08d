"""Turns four maps of one resolution into a pyramid, of strides 4, 8, 16, 32 in the paper.

Source: FacePerceiver/FaRL `farl/network/transformers.py` (MIT). Changed: batch norm instead of its synchronised kind,
which `torch.nn.SyncBatchNorm.convert_sync_batchnorm` restores for multi-GPU training.

Shapes: B batch, C width, S side of the token grid.
"""

from torch import nn

__all__ = ["FaRLFeaturePyramid", "cells_per_patch"]

_PATCH_SIZES = (8, 14, 16)


def _upsample_2x(channels):
    return nn.ConvTranspose2d(channels, channels, kernel_size=2, stride=2)


def _upsample_4x(channels):
    return nn.Sequential(_upsample_2x(channels), nn.BatchNorm2d(channels), nn.GELU(), _upsample_2x(channels))


def cells_per_patch(patch_size, output_stride):
    """Return how many cells of the finest level lie along a patch, 4 or 2, or say why the pyramid has no such level.

    Args:
        patch_size (`int`): Side of a patch in pixels.
        output_stride (`int`): Stride of the finest level in pixels.
    """
    if patch_size not in _PATCH_SIZES:
        *smaller, largest = map(str, _PATCH_SIZES)
        known = f"{', '.join(smaller)} and {largest}"
        raise ValueError(f"The feature pyramid is defined for patch sizes {known}, not {patch_size}.")
    nominal_size = 16 if patch_size == 14 else patch_size  # ViT-L/14 has the pyramid of 16, of strides 3.5, 7, 14, 28
    if nominal_size not in (2 * output_stride, 4 * output_stride):
        raise ValueError(
            f"output_stride={output_stride} does not suit patches of {patch_size}; the scores are four or two times "
            f"as fine as the patches: pass {nominal_size // 4} or {nominal_size // 2}."
        )
    return nominal_size // output_stride


def _adapters(channels, patch_size, output_stride):
    """One module per level; each halves the resolution of the one before."""
    if cells_per_patch(patch_size, output_stride) == 4:
        return [_upsample_4x(channels), _upsample_2x(channels), nn.Identity(), nn.MaxPool2d(2)]
    return [_upsample_2x(channels), nn.Identity(), nn.MaxPool2d(2), nn.MaxPool2d(4)]


class FaRLFeaturePyramid(nn.Module):
    """Adapters from four (B, C, S, S) maps to the pyramid; channels are preserved.

    Args:
        channels (`int`): C.
        patch_size (`int`): Side of the backbone's patches in pixels: 8, 14 or 16.
        output_stride (`int`, *optional*, defaults to 4): Stride of the finest level in pixels, 4 in the paper.
    """

    def __init__(self, channels, patch_size, output_stride=4):
        super().__init__()
        self.levels = nn.ModuleList(_adapters(channels, patch_size, output_stride))

    def forward(self, maps):
        """Return one map per level; for patch 16 and stride 4 their sides are 4S, 2S, S and S // 2."""
        return [adapter(level_BCSS) for adapter, level_BCSS in zip(self.levels, maps, strict=True)]
