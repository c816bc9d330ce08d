"""FaRL's task heads: face parsing, face landmarks and face attributes (supplement, section 6).

Parsing and landmarks read four blocks of the vision encoder, turn them into a feature pyramid and score its finest
level by a UperNet head; a landmark is the centre of mass of its heat map. Attributes are classified from pooled
features of several blocks.

Sources: FacePerceiver/FaRL 3fb4694 (MIT), `farl/network/transformers.py`, lines 19-41 (pyramid),
`farl/experiments/{face_parsing,face_alignment}`, `network.py` and `task.py`, and
`farl/network/ext/p2i_ops/p2i_max.h`, lines 41-50 (heat maps); open-mmlab/mmsegmentation 0.18 (Apache-2.0)
`decode_heads/uper_head.py`, lines 24-127, and `psp_head.py`, lines 11-59, the head of FaRL's `farl/network/mmseg.py`;
pyfacer 0.0.5 (MIT) `facer/farl/classification.py`, lines 7-46, for attributes. Rewritten; the arithmetic is the same.
Changed: batch norm instead of its synchronised kind, which `torch.nn.SyncBatchNorm.convert_sync_batchnorm` restores
for multi-GPU training.

Losses are in float32; entries that are not labelled take no part. Points are (x, y) in [0, 1] of the crop, continuous
pixels divided by the size: the centre of the first cell of a heat map of side M lies at 0.5 / M.

Letters in shapes: B batch, T tokens, C channels of the encoder, S side of the token grid, K channels of the head, N
classes, points or attributes, V pooled vectors, H and W pixels or labels, h and w scores, M side of a heat map,
s `config.output_stride`.
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
from .modeling_farl import PARTS_BESIDE_VISION, BlockOutputs, FaRLPreTrainedModel
from .pretrained_model_farl import encoder_records
from .vision_backbones_farl import make_vision_backbone

# Grid sizes of the pyramid pooling (PSPNet, Zhao et al., CVPR 2017), as in FaRL's `farl/network/mmseg.py`, line 19.
POOL_SCALES = (1, 2, 3, 6)


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
    if patch_size not in (8, 14, 16):
        raise ValueError(f"The feature pyramid is defined for patch sizes 8, 14 and 16, not {patch_size}.")
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

    Source: FaRL `farl/network/transformers.py`, lines 19-41.

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
        """Kaiming-normal over the outgoing connections, as mmcv 1.3.14 `cnn/bricks/conv_module.py`, lines 166-192."""
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
        channels (`int`): Width of the head; 768 in the paper's models (`trainers/lapa_farl.yaml`, line 49).
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
        """Normal of deviation 0.01, as mmsegmentation's `decode_head.py`, lines 72-73, if `init_weights` is called.

        FaRL does not call it, so its classifiers start as PyTorch's: docs/training.md, "Deviations, named".
        """
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
    """What parsing and landmarks share: encoder, pyramid and head.

    The side of the maps is that of the input divided by `config.output_stride`, which is 4 in the paper.

    Loads a checkpoint of [`FaRLModel`], too: everything but the vision encoder is skipped.
    """

    config_class = FaRLConfig
    input_modalities = ["image"]  # noqa: RUF012
    _keys_to_ignore_on_load_unexpected = [*PARTS_BESIDE_VISION, r"post_layernorm\."]  # noqa: RUF012

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

    def dense_logits(self, pixel_values: torch.Tensor, **kwargs: Any) -> tuple[torch.Tensor, BlockOutputs]:
        """Map (B, 3, H, W) to (B, num_labels, H / s, W / s); return the output of the vision encoder, too."""
        outputs = self.vision_model(pixel_values, block_indices=self.config.feature_levels, **kwargs)
        return self.decode(self.vision_model.as_maps(outputs.block_outputs, pixel_values)), outputs

    @fast_as(FastDenseHead)
    def decode(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """Map four maps (B, C, S, S) of the encoder to logits (B, num_labels, H / s, W / s)."""
        return self.head(self.pyramid(maps))


def parsing_loss(
    logits: torch.Tensor, labels: torch.Tensor, label_weights: Sequence[float] | None = None
) -> torch.Tensor:
    """Mean cross-entropy per pixel, logits bilinearly upsampled to the labels.

    Args:
        logits (`torch.Tensor` of shape `(B, N, h, w)`): Class scores.
        labels (`torch.LongTensor` of shape `(B, H, W)`): Class ids; 255 and -100 are ignored.
        label_weights (`list[float]` of length `N`, *optional*): Weight of the pixels of each class in the mean; equal
            by default, as in the original (`farl/experiments/face_parsing/task.py`, lines 69-74).
    """
    logits = interpolate(logits.float(), size=labels.shape[-2:], mode="bilinear", align_corners=False)
    ignored = (labels == 255) | (labels == -100)
    targets = labels.masked_fill(ignored, -100).long()
    if label_weights is None:
        return nn.functional.cross_entropy(logits, targets, reduction="sum") / (~ignored).sum().clamp(min=1)
    weights_N = logits.new_tensor(label_weights)
    total = nn.functional.cross_entropy(logits, targets, weight=weights_N, reduction="sum")
    return total / (weights_N[targets.clamp(min=0)] * ~ignored).sum().clamp(min=1e-6)


class FaRLForFaceParsing(FaRLDenseModel):
    """Labels every pixel of a face crop; `config.id2label` names the classes."""

    @encoder_records
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
        logits, outputs = self.dense_logits(pixel_values, **kwargs)
        loss = None if labels is None else parsing_loss(logits, labels, self.config.label_weights)
        return SemanticSegmenterOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )


def landmark_losses(
    logits: torch.Tensor, points: torch.Tensor, labels: torch.Tensor, heatmap_size: int, heatmap_radius: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The two losses of the official code: of the points, and of the heat maps.

    Source: FaRL `farl/experiments/face_alignment/task.py`, lines 65-109.

    Args:
        logits (`torch.Tensor` of shape `(B, N, h, w)`): Heat-map scores before the sigmoid.
        points (`torch.Tensor` of shape `(B, N, 2)`): Decoded points in [0, 1].
        labels (`torch.Tensor` of shape `(B, N, 2)`): True points in [0, 1]; NaN where a point is not labelled.
        heatmap_size (`int`): Side of the target maps.
        heatmap_radius (`float`): Radius of a target in cells.

    Returns:
        `tuple[torch.Tensor, torch.Tensor]`: Mean Euclidean distance ("coord_l1_loss" in the original, though it is no
        L1 norm) and mean binary cross-entropy of the maps.
    """
    labelled = torch.isfinite(labels).all(dim=-1)
    count = labelled.sum().clamp(min=1)
    targets = torch.where(labelled[..., None], labels, torch.zeros_like(labels)).float()
    distances = (points.float() - targets + 1e-12).norm(dim=-1)
    maps = interpolate(logits.float(), size=(heatmap_size, heatmap_size), mode="bilinear", align_corners=False)
    drawn = draw_heatmaps(targets, heatmap_size, heatmap_radius)
    entropies = nn.functional.binary_cross_entropy_with_logits(maps, drawn, reduction="none").mean(dim=(-2, -1))
    return (distances * labelled).sum() / count, (entropies * labelled).sum() / count


def decode_heatmaps(maps_BNHW: torch.Tensor) -> torch.Tensor:
    """Return each map's centre of mass.

    Args:
        maps_BNHW (`torch.Tensor` of shape `(B, N, H, W)`): Non-negative maps, sigmoid already applied.

    Returns:
        `torch.Tensor` of shape `(B, N, 2)`: (x, y) in [0, 1]. The mass is clamped at 1e-6, and half a cell is added
        after the division, as in the original (`farl/network/geometry.py`, lines 15 and 67): an empty map gives the
        centre of the first cell.
    """
    height, width = maps_BNHW.shape[-2:]
    mass_BN = maps_BNHW.sum(dim=(-2, -1)).clamp(min=1e-6)
    # Sums of products, and no matrix products: autocast would round those to half precision.
    columns_BN = (maps_BNHW.sum(dim=-2) * _cell_indices(width, maps_BNHW)).sum(dim=-1) / mass_BN
    rows_BN = (maps_BNHW.sum(dim=-1) * _cell_indices(height, maps_BNHW)).sum(dim=-1) / mass_BN
    return torch.stack([(columns_BN + 0.5) / width, (rows_BN + 0.5) / height], dim=-1)


def draw_heatmaps(points_BN2: torch.Tensor, size: int, radius: float) -> torch.Tensor:
    """Draw one truncated Gaussian per point (FaRL `farl/network/ext/p2i_ops/p2i_max.h`, lines 41-50).

    Args:
        points_BN2 (`torch.Tensor` of shape `(B, N, 2)`): (x, y) in [0, 1]; points outside draw what still reaches in.
        size (`int`): Side M of the maps.
        radius (`float`): Radius R in cells; the value is exp(-16 r^2 / (2 R^2)), zero beyond R.

    Returns:
        `torch.Tensor` of shape `(B, N, M, M)`: Values in [0, 1]; zero for points that are NaN.
    """
    centres_M = _cell_centres(size, points_BN2)
    dx2_BN1M = ((centres_M - points_BN2[..., :1]) * size).square().unsqueeze(-2)
    dy2_BNM1 = ((centres_M - points_BN2[..., 1:]) * size).square().unsqueeze(-1)
    squared_BNMM = dx2_BN1M + dy2_BNM1
    values_BNMM = torch.exp(squared_BNMM * (-8.0 / radius**2))
    return torch.where(squared_BNMM <= radius**2, values_BNMM, torch.zeros_like(values_BNMM))


def _cell_indices(size, like):
    return torch.arange(size, device=like.device, dtype=like.dtype)


def _cell_centres(size, like):
    return (_cell_indices(size, like) + 0.5) / size


class FaRLForLandmarks(FaRLDenseModel):
    """Finds `config.num_labels` points in a face crop."""

    @encoder_records
    def forward(
        self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None, **kwargs: Any
    ) -> FaRLLandmarksOutput:
        """Find the points.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(B, 3, H, W)`): Normalised face crops.
            labels (`torch.FloatTensor` of shape `(B, N, 2)`, *optional*): True (x, y) in [0, 1] of the crop; NaN where
                a point is not labelled.

        Returns:
            [`FaRLLandmarksOutput`]: Maps, points decoded in the crop as the original training code does
            (`farl/experiments/face_alignment/network.py`, lines 30-34), and the loss.
        """
        logits, outputs = self.dense_logits(pixel_values, **kwargs)
        landmarks = decode_heatmaps(logits.float().sigmoid())
        loss, config = None, self.config
        if labels is not None:
            point, heatmap = landmark_losses(logits, landmarks, labels, config.heatmap_size, config.heatmap_radius)
            loss = config.point_loss_weight * point + heatmap
        return FaRLLandmarksOutput(
            loss=loss,
            logits=logits,
            landmarks=landmarks,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )


# --- attributes


class FaRLAttributeHead(nn.Module):
    """Mean, max and class token of each level, LayerNorm each, softmax-weighted sum, linear classifier.

    The original keeps its mixture as `weights` over 3 x levels vectors, in the order mean, max, class token per level
    (`facer/farl/classification.py`, lines 18-20 and 29-41).
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


def attribute_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean binary cross-entropy over the entries that are labelled.

    Args:
        logits (`torch.Tensor` of shape `(B, N)`): Scores before the sigmoid.
        labels (`torch.Tensor` of shape `(B, N)`): 0 or 1; -100 where an attribute is not labelled.
    """
    labelled = labels != -100
    targets = labels.float().masked_fill(~labelled, 0.0)
    entropies = nn.functional.binary_cross_entropy_with_logits(logits.float(), targets, reduction="none")
    return (entropies * labelled).sum() / labelled.sum().clamp(min=1)


class FaRLForAttributes(FaRLPreTrainedModel):
    """Scores the attributes of a face crop, each on its own; `config.id2label` names them.

    Loads a checkpoint of [`FaRLModel`], too: everything but the vision encoder is skipped.
    """

    config_class = FaRLConfig
    input_modalities = ["image"]  # noqa: RUF012
    _keys_to_ignore_on_load_unexpected = [*PARTS_BESIDE_VISION, r"post_layernorm\.", r"^pyramid\."]  # noqa: RUF012

    def __init__(self, config: FaRLConfig):
        if config.problem_type is None:  # else Transformers' image-classification takes labels for exclusive
            config.problem_type = "multi_label_classification"
        super().__init__(config)
        self.vision_model = backbone = make_vision_backbone(config)
        num_levels, num_labels = len(config.feature_levels), config.num_labels
        self.head = FaRLAttributeHead(num_levels, backbone.width, num_labels, backbone.num_prefix_tokens)  # type: ignore[arg-type]  # a number
        self.post_init()

    @encoder_records
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
        outputs = self.vision_model(pixel_values, block_indices=self.config.feature_levels, **kwargs)
        logits = self.head(outputs.block_outputs)
        return ImageClassifierOutput(
            loss=None if labels is None else attribute_loss(logits, labels),
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )
