"""Landmark heat-maps: decoding points from them and drawing the targets.

Source: FacePerceiver/FaRL `farl/experiments/face_alignment` and `farl/network/ext/p2i_ops` (MIT).

Convention: points are (x, y) in [0, 1] of the crop, continuous pixels divided by the size; the centre of the first
cell of a map of side M lies at 0.5 / M.

Shapes: B batch, N points, M side of the map.
"""

import torch

__all__ = ["decode_heatmaps", "draw_heatmaps"]


def _cell_centres(size, like):
    return (torch.arange(size, device=like.device, dtype=like.dtype) + 0.5) / size


def decode_heatmaps(maps_BNHW):
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


def draw_heatmaps(points_BN2, size, radius):
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
