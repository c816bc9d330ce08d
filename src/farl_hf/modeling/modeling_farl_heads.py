"""FaRL's task heads: face parsing, face landmarks and face attributes (paper section 3.3, supplement section 6).

Parsing and landmarks read four blocks of the vision encoder, turn them into a feature pyramid and score its finest
level by a UperNet head; a landmark is the centre of mass of its heat map. Attributes are classified from pooled
features of several blocks.

Sources: FacePerceiver/FaRL `farl/network/transformers.py` (pyramid) and `farl/experiments` (MIT); open-mmlab/
mmsegmentation 0.18 `decode_heads/uper_head.py` and `psp_head.py` (Apache-2.0), the head of FaRL's
`farl/network/mmseg.py`; FacePerceiver/facer `facer/farl/classification.py` (MIT) for attributes. Rewritten; the
arithmetic is the same. Changed: batch norm instead of its synchronised kind, which
`torch.nn.SyncBatchNorm.convert_sync_batchnorm` restores for multi-GPU training.

Letters in shapes: B batch, T tokens, C channels of the encoder, S side of the token grid, K channels of the head, N
classes or points, V pooled vectors, s `config.output_stride`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.functional import interpolate
from transformers import initialization as init
from transformers.modeling_outputs import ImageClassifierOutput, SemanticSegmenterOutput
from transformers.utils import ModelOutput

from .configuration_farl import FaRLConfig
from .fast_inference_farl import FastDenseHead, fast_as
from .losses_farl import attribute_loss, decode_heatmaps, landmark_losses, parsing_loss
from .modeling_farl import JOINT_PARTS, PRETRAINING_PARTS, TEXT_PARTS, FaRLPreTrainedModel, record_outputs
from .vision_backbones_farl import make_vision_backbone

__all__ = [
    "FaRLDenseModel",
    "FaRLFeaturePyramid",
    "FaRLForAttributes",
    "FaRLForFaceParsing",
    "FaRLForLandmarks",
    "FaRLLandmarksOutput",
    "FaRLUperHead",
    "cells_per_patch",
]


# Grid sizes of the pyramid pooling (PSPNet, Zhao et al., CVPR 2017), as in FaRL's `farl/network/mmseg.py`.
POOL_SCALES = (1, 2, 3, 6)
_PATCH_SIZES = (8, 14, 16)


@dataclass
class FaRLLandmarksOutput(ModelOutput):
    """Output of [`FaRLForLandmarks`].

    Args:
        loss (`torch.FloatTensor` of shape `()`, *optional*): Weighted sum of the point and heat-map losses.
        logits (`torch.FloatTensor` of shape `(B, N, H / s, W / s)`): Heat-map scores before the sigmoid, s being
            `config.output_stride`.
        landmarks (`torch.FloatTensor` of shape `(B, N, 2)`): (x, y) in [0, 1] of the crop, continuous pixels / size.
        hidden_states (`tuple` of `torch.FloatTensor` of shape `(B, T, C)`, *optional*): Input of the first block and
            outputs of the blocks, up to the last one that the head reads.
        attentions (`tuple` of `torch.FloatTensor` of shape `(B, heads, T, T)`, *optional*): Weights of these blocks.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    landmarks: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


# --- feature pyramid


def _upsample_2x(channels):
    return nn.ConvTranspose2d(channels, channels, kernel_size=2, stride=2)


def _upsample_4x(channels):
    return nn.Sequential(_upsample_2x(channels), nn.BatchNorm2d(channels), nn.GELU(), _upsample_2x(channels))


def cells_per_patch(patch_size: int, output_stride: int) -> int:
    """Return how many cells of the finest level lie along a patch: 4 or 2.

    Args:
        patch_size (`int`): Side of a patch in pixels.
        output_stride (`int`): Stride of the finest level in pixels.

    Raises:
        ValueError: The pyramid has no such level.
    """
    if patch_size not in _PATCH_SIZES:
        *smaller, largest = map(str, _PATCH_SIZES)
        known = f"{', '.join(smaller)} and {largest}"
        raise ValueError(f"The feature pyramid is defined for patch sizes {known}, not {patch_size}.")
    nominal_size = 16 if patch_size == 14 else patch_size  # ViT-L/14 has the pyramid of 16, of strides 3.5, 7, 14, 28
    if nominal_size not in (2 * output_stride, 4 * output_stride):
        raise ValueError(
            f"output_stride={output_stride} does not suit patches of {patch_size} pixels, which hold four or two "
            f"cells along a side: pass {nominal_size // 4} or {nominal_size // 2}."
        )
    return nominal_size // output_stride


def _adapters(channels, patch_size, output_stride):
    """One module per level; each halves the resolution of the one before."""
    if cells_per_patch(patch_size, output_stride) == 4:
        return [_upsample_4x(channels), _upsample_2x(channels), nn.Identity(), nn.MaxPool2d(2)]
    return [_upsample_2x(channels), nn.Identity(), nn.MaxPool2d(2), nn.MaxPool2d(4)]


class FaRLFeaturePyramid(nn.Module):
    """From four (B, C, S, S) maps to a pyramid, of strides 4, 8, 16, 32 in the paper; channels are preserved.

    Args:
        channels (`int`): C.
        patch_size (`int`): Side of the backbone's patches in pixels: 8, 14 or 16.
        output_stride (`int`, *optional*, defaults to 4): Stride of the finest level in pixels, 4 in the paper.
    """

    def __init__(self, channels: int, patch_size: int, output_stride: int = 4):
        super().__init__()
        self.levels = nn.ModuleList(_adapters(channels, patch_size, output_stride))

    def forward(self, maps: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return one map per level; for patch 16 and stride 4 their sides are 4S, 2S, S and S // 2."""
        return [adapter(level_BCSS) for adapter, level_BCSS in zip(self.levels, maps, strict=True)]


# --- UperNet head


def _resize_to(source_BKHW, target_BKHW):
    return interpolate(source_BKHW, size=target_BKHW.shape[-2:], mode="bilinear", align_corners=False)


class FaRLConvNormAct(nn.Sequential):
    """Convolution without bias, batch norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int):
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
        )

    def init_farl_weights(self, factor: float) -> None:
        """Kaiming-normal over the outgoing connections, as mmcv's ConvModule."""
        weight = self[0].get_parameter("weight")
        init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu")


class FaRLPyramidPooling(nn.Module):
    """Context of several grid sizes, concatenated with the map itself and mixed by a 3 x 3 convolution."""

    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        self.pool_scales = POOL_SCALES
        self.branches = nn.ModuleList([FaRLConvNormAct(in_channels, channels, 1) for _ in POOL_SCALES])
        self.bottleneck = FaRLConvNormAct(in_channels + len(POOL_SCALES) * channels, channels, 3)

    def forward(self, coarsest_BCHW: torch.Tensor) -> torch.Tensor:
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

    def __init__(self, in_channels: int, channels: int, num_outputs: int, dropout: float = 0.1):
        super().__init__()
        self.pyramid_pooling = FaRLPyramidPooling(in_channels, channels)
        self.laterals = nn.ModuleList([FaRLConvNormAct(in_channels, channels, 1) for _ in range(3)])
        self.smoothers = nn.ModuleList([FaRLConvNormAct(channels, channels, 3) for _ in range(3)])
        self.fusion = FaRLConvNormAct(4 * channels, channels, 3)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_outputs, kernel_size=1)

    def init_farl_weights(self, factor: float) -> None:
        """Mmseg initialises the classifier with a normal of deviation 0.01."""
        init.normal_(self.classifier.weight, std=0.01)
        init.zeros_(self.classifier.get_parameter("bias"))

    def _top_down(self, pyramid):
        """Return head-width maps, fine to coarse, each with the coarser ones added."""
        maps = [lateral(level) for lateral, level in zip(self.laterals, pyramid[:3], strict=True)]
        maps.append(self.pyramid_pooling(pyramid[3]))
        for index in (2, 1, 0):
            maps[index] = maps[index] + _resize_to(maps[index + 1], maps[index])
        return maps

    def forward(self, pyramid: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return logits (B, N, ., .) of the size of the finest of four levels (B, C, ., .), fine to coarse."""
        *fine, coarsest = self._top_down(pyramid)
        levels = [smoother(level) for smoother, level in zip(self.smoothers, fine, strict=True)] + [coarsest]
        fused = self.fusion(torch.cat([levels[0], *(_resize_to(level, levels[0]) for level in levels[1:])], dim=1))
        return self.classifier(self.dropout(fused))


# --- parsing and landmarks


class FaRLDenseModel(FaRLPreTrainedModel):
    """What parsing and landmarks share: encoder, pyramid and head, from pixels to maps of a quarter of the side.

    A quarter is the paper's; with `config.output_stride` 2 it is a half.

    Loads a checkpoint of [`FaRLModel`], too: the text encoder and everything else that is not needed is skipped.
    """

    config_class = FaRLConfig
    input_modalities = ["image"]  # noqa: RUF012
    _keys_to_ignore_on_load_unexpected = [*TEXT_PARTS, *JOINT_PARTS, *PRETRAINING_PARTS, r"post_layernorm\."]  # noqa: RUF012

    def __init__(self, config: FaRLConfig):
        super().__init__(config)
        self.vision_model = make_vision_backbone(config)
        width = self.vision_model.width
        self.pyramid = FaRLFeaturePyramid(width, self.vision_model.patch_size, config.output_stride)
        self.head = FaRLUperHead(width, config.head_channels, config.num_labels, config.head_dropout)  # type: ignore[arg-type]  # a number
        self.layout_as_built = self.layout()
        self.post_init()

    def layout(self) -> tuple:
        """Return classes and settings of pyramid, head and all that they contain, for `optimize_for_inference`."""
        parts = (*self.pyramid.modules(), *self.head.modules())
        return tuple((type(part), part.extra_repr()) for part in parts)

    def dense_logits(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Map (B, 3, H, W) to (B, num_labels, H / s, W / s)."""
        return self.decode(self.vision_model.feature_maps(pixel_values, self.config.feature_levels))

    @fast_as(FastDenseHead)
    def decode(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """Map four maps (B, C, S, S) of the encoder to logits (B, num_labels, H / s, W / s)."""
        return self.head(self.pyramid(maps))


class FaRLForFaceParsing(FaRLDenseModel):
    """Labels every pixel of a face crop; `config.id2label` names the classes."""

    @record_outputs
    def forward(
        self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None, **kwargs: Any
    ) -> SemanticSegmenterOutput:
        """Score every class at every pixel.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(B, 3, H, W)`): Warped, normalised face crops from
                [`FaRLImageProcessor`]; sides are multiples of the patch size.
            labels (`torch.LongTensor` of shape `(B, H, W)`, *optional*): Class ids; 255 and -100 are ignored.

        Returns:
            `SemanticSegmenterOutput`: `logits` (B, num_labels, H / s, W / s) in the crop frame, s being
            `config.output_stride`, and `loss` if labels are given: mean cross-entropy at the labels' resolution.
        """
        logits = self.dense_logits(pixel_values)
        loss = None if labels is None else parsing_loss(logits, labels, self.config.label_weights)
        return SemanticSegmenterOutput(loss=loss, logits=logits)


class FaRLForLandmarks(FaRLDenseModel):
    """Finds `config.num_labels` points in a face crop."""

    @record_outputs
    def forward(
        self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None, **kwargs: Any
    ) -> FaRLLandmarksOutput:
        """Find the points.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(B, 3, H, W)`): Normalised face crops.
            labels (`torch.FloatTensor` of shape `(B, N, 2)`, *optional*): True (x, y) in [0, 1] of the crop; NaN where
                a point is not labelled.

        Returns:
            [`FaRLLandmarksOutput`]: Maps, points decoded in the crop as the original training code does, and the loss.
        """
        logits = self.dense_logits(pixel_values)
        landmarks = decode_heatmaps(logits.float().sigmoid())
        loss = None if labels is None else self._loss(logits, landmarks, labels)
        return FaRLLandmarksOutput(loss=loss, logits=logits, landmarks=landmarks)

    def _loss(self, logits, landmarks, labels):
        config = self.config
        point, heatmap = landmark_losses(logits, landmarks, labels, config.heatmap_size, config.heatmap_radius)
        return config.point_loss_weight * point + heatmap


# --- attributes


class FaRLAttributeHead(nn.Module):
    """Mean, max and class token of each level, LayerNorm each, softmax-weighted sum, linear classifier.

    The original keeps its mixture as `weight` over 3 x levels vectors, in the order mean, max, class token per level.
    A backbone without class token gives mean and max only. Of several prefix tokens the first is the class token; the
    others (DeiT's distillation token, registers) are not read.
    """

    def __init__(self, num_levels: int, channels: int, num_labels: int, num_prefix_tokens: int = 1):
        super().__init__()
        self.num_prefix_tokens = num_prefix_tokens
        num_vectors = (3 if num_prefix_tokens else 2) * num_levels
        self.norms = nn.ModuleList([nn.LayerNorm(channels) for _ in range(num_vectors)])
        self.mixture = nn.Parameter(torch.ones(num_vectors))
        self.classifier = nn.Linear(channels, num_labels)

    def init_farl_weights(self, factor: float) -> None:
        """Every pooled vector starts with the same weight."""
        init.ones_(self.mixture)

    def forward(self, levels: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return logits (B, N) for block outputs (B, prefix + patches, C), class token first."""
        pooled = []
        for tokens_BTC in levels:
            patches_BTC = tokens_BTC[:, self.num_prefix_tokens :]
            pooled += [patches_BTC.mean(dim=1), patches_BTC.amax(dim=1)]
            if self.num_prefix_tokens:
                pooled.append(tokens_BTC[:, 0])
        normed_BVC = torch.stack([norm(vector) for norm, vector in zip(self.norms, pooled, strict=True)], dim=1)
        mixed_BC = (normed_BVC * self.mixture.softmax(dim=0)[:, None]).sum(dim=1)
        return self.classifier(mixed_BC)


class FaRLForAttributes(FaRLPreTrainedModel):
    """Scores the attributes of a face crop, each on its own; `config.id2label` names them.

    Loads a checkpoint of [`FaRLModel`], too: everything but the vision encoder is skipped.
    """

    config_class = FaRLConfig
    input_modalities = ["image"]  # noqa: RUF012
    _keys_to_ignore_on_load_unexpected = [  # noqa: RUF012
        *TEXT_PARTS,
        *JOINT_PARTS,
        *PRETRAINING_PARTS,
        r"post_layernorm\.",
        r"^pyramid\.",
    ]

    def __init__(self, config: FaRLConfig):
        if config.problem_type is None:  # else Transformers' image-classification takes labels for exclusive
            config.problem_type = "multi_label_classification"
        super().__init__(config)
        self.vision_model = backbone = make_vision_backbone(config)
        num_levels, num_labels = len(config.feature_levels), config.num_labels
        self.head = FaRLAttributeHead(num_levels, backbone.width, num_labels, backbone.num_prefix_tokens)  # type: ignore[arg-type]  # a number
        self.post_init()

    @record_outputs
    def forward(
        self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None, **kwargs: Any
    ) -> ImageClassifierOutput:
        """Score the attributes.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(B, 3, H, W)`): Aligned, normalised face crops.
            labels (`torch.Tensor` of shape `(B, num_labels)`, *optional*): 0 or 1; -100 is ignored.

        Returns:
            `ImageClassifierOutput`: `logits` (B, num_labels) before the sigmoid, and `loss` if labels are given.
        """
        logits = self.head(self.vision_model.block_outputs(pixel_values, self.config.feature_levels))
        return ImageClassifierOutput(loss=None if labels is None else attribute_loss(logits, labels), logits=logits)
