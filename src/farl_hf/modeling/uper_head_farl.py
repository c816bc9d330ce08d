"""UperNet head: pyramid pooling, top-down additions, fusion at the finest level.

Source: open-mmlab/mmsegmentation 0.18 `decode_heads/uper_head.py` and `psp_head.py` (Apache-2.0), the head of
FacePerceiver/FaRL `farl/network/mmseg.py`. Rewritten; the arithmetic is the same.

Shapes: B batch, C channels of the backbone, K channels of the head, N classes or points.
"""

import torch
from torch import nn
from torch.nn.functional import interpolate
from transformers import initialization as init

__all__ = ["FaRLUperHead"]

# Grid sizes of the pyramid pooling (PSPNet, Zhao et al., CVPR 2017), as in FaRL's `farl/network/mmseg.py`.
POOL_SCALES = (1, 2, 3, 6)


def _resize_to(source_BKHW, target_BKHW):
    return interpolate(source_BKHW, size=target_BKHW.shape[-2:], mode="bilinear", align_corners=False)


class FaRLConvNormAct(nn.Sequential):
    """Convolution without bias, batch norm, ReLU."""

    def __init__(self, in_channels, out_channels, kernel_size):
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
        )

    def init_farl_weights(self, factor):
        """Kaiming-normal over the outgoing connections, as mmcv's ConvModule."""
        init.kaiming_normal_(self[0].weight, mode="fan_out", nonlinearity="relu")


class FaRLPyramidPooling(nn.Module):
    """Context of several grid sizes, concatenated with the map itself and mixed by a 3 x 3 convolution."""

    def __init__(self, in_channels, channels):
        super().__init__()
        self.pool_scales = POOL_SCALES
        self.branches = nn.ModuleList([FaRLConvNormAct(in_channels, channels, 1) for _ in POOL_SCALES])
        self.bottleneck = FaRLConvNormAct(in_channels + len(POOL_SCALES) * channels, channels, 3)

    def forward(self, coarsest_BCHW):
        """Map (B, C, H, W) to (B, K, H, W)."""
        pooled = [
            branch(nn.functional.adaptive_avg_pool2d(coarsest_BCHW, scale))
            for branch, scale in zip(self.branches, self.pool_scales, strict=True)
        ]
        return self.bottleneck(torch.cat([coarsest_BCHW, *(_resize_to(p, coarsest_BCHW) for p in pooled)], dim=1))


class FaRLUperHead(nn.Module):
    """From the pyramid, of strides 4, 8, 16, 32 in the paper, to logits of its finest stride.

    Args:
        in_channels (`int`): Channels of every pyramid level.
        channels (`int`): Width of the head; 768 in the paper's models.
        num_outputs (`int`): Classes or points.
        dropout (`float`): Channel dropout before the classifier.
    """

    def __init__(self, in_channels, channels, num_outputs, dropout=0.1):
        super().__init__()
        self.pyramid_pooling = FaRLPyramidPooling(in_channels, channels)
        self.laterals = nn.ModuleList([FaRLConvNormAct(in_channels, channels, 1) for _ in range(3)])
        self.smoothers = nn.ModuleList([FaRLConvNormAct(channels, channels, 3) for _ in range(3)])
        self.fusion = FaRLConvNormAct(4 * channels, channels, 3)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_outputs, kernel_size=1)

    def init_farl_weights(self, factor):
        """Mmseg initialises the classifier with a normal of deviation 0.01."""
        init.normal_(self.classifier.weight, std=0.01)
        init.zeros_(self.classifier.bias)

    def _top_down(self, pyramid):
        """Return head-width maps, fine to coarse, each with the coarser ones added."""
        maps = [lateral(level) for lateral, level in zip(self.laterals, pyramid[:3], strict=True)]
        maps.append(self.pyramid_pooling(pyramid[3]))
        for index in (2, 1, 0):
            maps[index] = maps[index] + _resize_to(maps[index + 1], maps[index])
        return maps

    def forward(self, pyramid):
        """Return logits (B, N, ., .) of the size of the finest of four levels (B, C, ., .), fine to coarse."""
        *fine, coarsest = self._top_down(pyramid)
        levels = [smoother(level) for smoother, level in zip(self.smoothers, fine, strict=True)] + [coarsest]
        fused = self.fusion(torch.cat([levels[0], *(_resize_to(level, levels[0]) for level in levels[1:])], dim=1))
        return self.classifier(self.dropout(fused))
