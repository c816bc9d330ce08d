"""Losses of the three heads and of masked image modelling, in float32; and the heat maps of landmarks.

Entries that are not labelled take no part in a loss. Sources: FacePerceiver/FaRL `farl/experiments` (parsing,
alignment) and `farl/network/ext/p2i_ops` (heat maps), MIT; section 6 of the paper's supplement (attributes). The loss
of masked image modelling was not published.

Convention: points are (x, y) in [0, 1] of the crop, continuous pixels divided by the size; the centre of the first
cell of a heat map of side M lies at 0.5 / M.

Letters in shapes: B batch, N points, M side of a heat map, H and W labels, h and w scores, K classes, L attributes.
"""

from collections.abc import Sequence

import torch
from torch.nn import functional

__all__ = [
    "attribute_loss",
    "decode_heatmaps",
    "draw_heatmaps",
    "landmark_losses",
    "masked_token_loss",
    "parsing_loss",
]


def parsing_loss(
    logits: torch.Tensor, labels: torch.Tensor, label_weights: Sequence[float] | None = None
) -> torch.Tensor:
    """Mean cross-entropy per pixel, logits bilinearly upsampled to the labels.

    Args:
        logits (`torch.Tensor` of shape `(B, K, h, w)`): Class scores.
        labels (`torch.LongTensor` of shape `(B, H, W)`): Class ids; 255 and -100 are ignored.
        label_weights (`list[float]` of length `K`, *optional*): Weight of the pixels of each class in the mean; equal
            by default, as in the original.
    """
    logits = functional.interpolate(logits.float(), size=labels.shape[-2:], mode="bilinear", align_corners=False)
    ignored = (labels == 255) | (labels == -100)
    targets = labels.masked_fill(ignored, -100).long()
    if label_weights is None:
        return functional.cross_entropy(logits, targets, reduction="sum") / (~ignored).sum().clamp(min=1)
    weights_K = logits.new_tensor(label_weights)
    total = functional.cross_entropy(logits, targets, weight=weights_K, reduction="sum")
    return total / (weights_K[targets.clamp(min=0)] * ~ignored).sum().clamp(min=1e-6)


def landmark_losses(
    logits: torch.Tensor, points: torch.Tensor, labels: torch.Tensor, heatmap_size: int, heatmap_radius: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The two losses of the official code: of the points, and of the heat maps.

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
    maps = functional.interpolate(
        logits.float(), size=(heatmap_size, heatmap_size), mode="bilinear", align_corners=False
    )
    drawn = draw_heatmaps(targets, heatmap_size, heatmap_radius)
    entropies = functional.binary_cross_entropy_with_logits(maps, drawn, reduction="none").mean(dim=(-2, -1))
    return (distances * labelled).sum() / count, (entropies * labelled).sum() / count


def decode_heatmaps(maps_BNHW: torch.Tensor) -> torch.Tensor:
    """Return each map's centre of mass.

    Args:
        maps_BNHW (`torch.Tensor` of shape `(B, N, H, W)`): Non-negative maps, sigmoid already applied.

    Returns:
        `torch.Tensor` of shape `(B, N, 2)`: (x, y) in [0, 1]. The mass is clamped at 1e-6, as in the original.
    """
    height, width = maps_BNHW.shape[-2:]
    mass_BN = maps_BNHW.sum(dim=(-2, -1)).clamp(min=1e-6)
    x_BN = maps_BNHW.sum(dim=-2) @ _cell_centres(width, maps_BNHW)
    y_BN = maps_BNHW.sum(dim=-1) @ _cell_centres(height, maps_BNHW)
    return torch.stack([x_BN, y_BN], dim=-1) / mass_BN[..., None]


def draw_heatmaps(points_BN2: torch.Tensor, size: int, radius: float) -> torch.Tensor:
    """Draw one truncated Gaussian per point.

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


def attribute_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean binary cross-entropy over the entries that are labelled.

    Args:
        logits (`torch.Tensor` of shape `(B, L)`): Scores before the sigmoid.
        labels (`torch.Tensor` of shape `(B, L)`): 0 or 1; -100 where an attribute is not labelled.
    """
    labelled = labels != -100
    targets = labels.float().masked_fill(~labelled, 0.0)
    entropies = functional.binary_cross_entropy_with_logits(logits.float(), targets, reduction="none")
    return (entropies * labelled).sum() / labelled.sum().clamp(min=1)


def masked_token_loss(logits: torch.Tensor, labels: torch.Tensor, bool_masked_pos: torch.Tensor) -> torch.Tensor:
    """Cross-entropy over visual tokens, averaged over the masked patches of each image and then over the images.

    Images differ a little in how many patches are masked. Averaging per image keeps the loss of a batch the same
    however it is split over processes and accumulated passes; an image without masked patches counts as 0.

    Args:
        logits (`torch.Tensor` of shape `(M, V)`): Scores of the M masked patches, in row-major order.
        labels (`torch.LongTensor` of shape `(B, patches)`): Visual token of every patch; -100 is ignored.
        bool_masked_pos (`torch.BoolTensor` of shape `(B, patches)`): Which patches are masked.
    """
    targets_M = labels[bool_masked_pos].long()
    entropies_M = functional.cross_entropy(logits.float(), targets_M, reduction="none", ignore_index=-100)
    counted = bool_masked_pos & (labels != -100)
    share_B = 1.0 / counted.sum(dim=1).clamp(min=1).float()
    return (entropies_M * share_B[bool_masked_pos.nonzero()[:, 0]]).sum() / labels.shape[0]


def _cell_centres(size, like):
    return (torch.arange(size, device=like.device, dtype=like.dtype) + 0.5) / size
