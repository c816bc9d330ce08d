"""Label maps from the crop frame back to the photo, only where the crop can reach.

The full way (FacePerceiver/facer) un-warps every class of every face to the size of the photo: faces x classes x
pixels. Three facts give the same labels without it:

- Outside the region that the crop reaches, a bilinear read mixes border cells of the class maps with zero padding. If
  one class wins on the whole border, it wins there too. If not, the whole photo is computed.
- Where the four cells around a read have the same winner, that class wins the mixture. Only other pixels need scores.
- Rows are independent, so memory is bounded by working in stripes.
"""

import torch
from torch.nn.functional import grid_sample, interpolate

from .tanh_warp_farl import tanh_reach

__all__ = ["unwarp_label_map"]

_MIXED = 255  # marks a cell whose four corners disagree; class ids stay below
_STRIPE_PIXELS = 1 << 18


def unwarp_label_map(logits_KHW, crop_from_photo, photo_size_hw, geometry):
    """Label every pixel of the photo from one face's class scores.

    Args:
        logits_KHW (`torch.Tensor` of shape `(K, h, w)`): Class scores in the warped crop, K < 255.
        crop_from_photo (`torch.Tensor` of shape `(3, 3)`): Matrix of the face.
        photo_size_hw (`tuple[int, int]`): Size of the photo.
        geometry ([`WarpGeometry`]): Crop size and warp.

    Returns:
        `torch.Tensor` of shape `(H, W)`, uint8: Class ids. Pixels that the crop does not reach get class 0 for a plain
        crop, the class of the crop's border for a tanh warp (which squeezes the whole plane into the crop).
    """
    scores_KHW = interpolate(logits_KHW[None].float(), size=geometry.size_hw, mode="bilinear", align_corners=False)[0]
    winners_HW = scores_KHW.max(dim=0).indices
    outside = 0 if geometry.warp_factor == 0 else _border_class(winners_HW)
    height, width = photo_size_hw
    labels_HW = torch.full((height, width), outside or 0, dtype=torch.uint8, device=logits_KHW.device)
    window = (0, 0, width, height) if outside is None else _reached_window(crop_from_photo, photo_size_hw, geometry)
    x0, y0, x1, y1 = window
    cells = _cell_classes(winners_HW)
    rows = max(1, _STRIPE_PIXELS // max(x1 - x0, 1))
    for top in range(y0, y1, rows):
        stripe = (x0, top, x1, min(top + rows, y1))
        labels_HW[stripe[1] : stripe[3], x0:x1] = _label_window(scores_KHW, cells, crop_from_photo, stripe, geometry)
    return labels_HW


def _border_class(winners_HW):
    border = torch.cat([winners_HW[0], winners_HW[-1], winners_HW[:, 0], winners_HW[:, -1]])
    return int(border[0]) if bool((border == border[0]).all()) else None


def _reached_window(crop_from_photo, photo_size_hw, geometry):
    """Return the photo window x0, y0, x1, y1 that encloses what the crop's cells look at."""
    (crop_height, crop_width), (height, width) = geometry.size_hw, photo_size_hw
    matrix = torch.linalg.inv(crop_from_photo.double().cpu())
    reach_x, reach_y = tanh_reach(geometry.warp_factor, crop_width), tanh_reach(geometry.warp_factor, crop_height)
    corners = torch.tensor([[-reach_x, -reach_y], [reach_x, -reach_y], [reach_x, reach_y], [-reach_x, reach_y]])
    half = torch.tensor([crop_width / 2, crop_height / 2], dtype=torch.float64)
    corners_crop_xy = (corners.double() + 1) * half + geometry.grid_offset
    corners_photo_xy = corners_crop_xy @ matrix[:2, :2].T + matrix[:2, 2]
    low = (corners_photo_xy.amin(dim=0) - 1).floor().int().tolist()
    high = (corners_photo_xy.amax(dim=0) + 1).ceil().int().tolist()
    x0, y0 = min(max(low[0], 0), width), min(max(low[1], 0), height)
    return x0, y0, max(min(high[0], width), x0), max(min(high[1], height), y0)


def _cell_classes(winners_HW):
    """Class of each cell between four neighbouring centres, `_MIXED` where they differ; beyond the padding, class 0.

    Entry (i, j) of the result is the cell whose upper-left centre is (i - 2, j - 2).
    """
    winners = winners_HW[None, None].to(torch.float32)
    padded = torch.nn.functional.pad(winners, (1, 1, 1, 1), mode="replicate")[0, 0].to(torch.uint8)
    corner = padded[:-1, :-1]
    same = (corner == padded[:-1, 1:]) & (corner == padded[1:, :-1]) & (corner == padded[1:, 1:])
    cells = torch.where(same, corner, torch.full_like(corner, _MIXED))
    return torch.nn.functional.pad(cells, (1, 1, 1, 1), value=0)


def _window_points(window, like):
    x0, y0, x1, y1 = window
    x = torch.arange(x0, x1, device=like.device, dtype=torch.float32) + 0.5
    y = torch.arange(y0, y1, device=like.device, dtype=torch.float32) + 0.5
    return torch.stack([x.expand(len(y), -1), y[:, None].expand(-1, len(x))], dim=-1)


def _label_window(scores_KHW, cells, crop_from_photo, window, geometry):
    """Label one window of the photo; see the module's text for why this equals scoring every pixel."""
    points_photo_xy = _window_points(window, scores_KHW)
    matrix = crop_from_photo.to(points_photo_xy)
    size_xy = points_photo_xy.new_tensor([geometry.size_hw[1], geometry.size_hw[0]])
    warped_xy = geometry.warped_from_photo(points_photo_xy.flatten(0, 1)[None], matrix[None])[0]
    index_xy = (warped_xy - 0.5).floor().long() + 2
    limit_xy = torch.tensor([cells.shape[1] - 1, cells.shape[0] - 1], device=cells.device)
    index_xy = torch.minimum(index_xy.clamp(min=0), limit_xy)
    labels = cells[index_xy[:, 1], index_xy[:, 0]]
    mixed = (labels == _MIXED).nonzero()[:, 0]
    if mixed.numel():
        grid = (warped_xy[mixed] * 2 / size_xy - 1)[None, None]
        scores = grid_sample(scores_KHW[None], grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        labels[mixed] = scores[0, :, 0].max(dim=0).indices.to(torch.uint8)
    return labels.reshape(points_photo_xy.shape[:2])
