"""Turns four maps of one resolution into a pyramid of strides 4, 8, 16, 32.

Source: FacePerceiver/FaRL `farl/network/transformers.py` (MIT). Changed: batch norm instead of its synchronised kind,
which `torch.nn.SyncBatchNorm.convert_sync_batchnorm` restores for multi-GPU training.

Shapes: B batch, C width, S side of the token grid.
"""

from torch import nn

__all__ = ["PYRAMID_PATCH_SIZES", "FaRLFeaturePyramid"]

PYRAMID_PATCH_SIZES = (8, 14, 16)


def _upsample_2x(channels):
    return nn.ConvTranspose2d(channels, channels, kernel_size=2, stride=2)


def _upsample_4x(channels):
    return nn.Sequential(_upsample_2x(channels), nn.BatchNorm2d(channels), nn.GELU(), _upsample_2x(channels))


def _adapters(channels, patch_size):
    """One module per level; the strides of the results are 4, 8, 16, 32 for both kinds of patch."""
    if patch_size in (14, 16):
        return [_upsample_4x(channels), _upsample_2x(channels), nn.Identity(), nn.MaxPool2d(2)]
    if patch_size == 8:
        return [_upsample_2x(channels), nn.Identity(), nn.MaxPool2d(2), nn.MaxPool2d(4)]
    *smaller, largest = map(str, PYRAMID_PATCH_SIZES)
    known = f"{', '.join(smaller)} and {largest}"
    raise ValueError(f"The feature pyramid is defined for patch sizes {known}, not {patch_size}.")


class FaRLFeaturePyramid(nn.Module):
    """Adapters from four (B, C, S, S) maps to the pyramid; channels are preserved."""

    def __init__(self, channels, patch_size):
        super().__init__()
        self.levels = nn.ModuleList(_adapters(channels, patch_size))

    def forward(self, maps):
        """Return one map per level; for patch 16 their sides are 4S, 2S, S and S // 2."""
        return [adapter(level_BCSS) for adapter, level_BCSS in zip(self.levels, maps, strict=True)]
