"""Label maps and heat maps from the crop frame back to the photo, only where the crop can reach.

For labels, the full way (FacePerceiver/facer) un-warps every class of every face to the size of the photo: faces x
classes x pixels. Three facts give the same labels without it:

- Far from the face, a bilinear read mixes border cells of the class maps with zero padding. If one class wins on the
  whole border, it wins there too, and only the window around all other cells is computed. If not, the whole photo is.
- Where the four cells around a read have the same winner, that class wins the mixture. Only other pixels need scores.
- Rows are independent, so memory is bounded by working in stripes.
"""

import torch
from torch.nn.functional import grid_sample, interpolate

__all__ = ["unwarp_heat_maps", "unwarp_label_map"]

_MIXED = 255  # marks a cell whose four corners disagree; class ids stay below
_STRIPE_PIXELS = 1 << 18


def unwarp_label_map(logits_KHW, crop_from_photo, photo_size_hw, geometry, score_size_hw=None):
    """Label every pixel of the photo from one face's class scores.

    Args:
        logits_KHW (`torch.Tensor` of shape `(K, h, w)`): Class scores in the warped crop, K < 255.
        crop_from_photo (`torch.Tensor` of shape `(3, 3)`): Matrix of the face.
        photo_size_hw (`tuple[int, int]`): Size of the photo.
        geometry ([`WarpGeometry`]): Crop size and warp.
        score_size_hw (`tuple[int, int]`, *optional*): Size to which the scores are upsampled before they are read; the
            crop's by default.

    Returns:
        `torch.Tensor` of shape `(H, W)`, uint8: Class ids. Pixels that the crop does not reach get class 0 for a plain
        crop, the class of the crop's border for a tanh warp (which squeezes the whole plane into the crop).
    """
    if logits_KHW.shape[0] >= _MIXED:
        raise ValueError(f"{logits_KHW.shape[0]} classes; label maps are uint8 and hold fewer than {_MIXED}.")
    score_size_hw = tuple(score_size_hw or geometry.size_hw)
    scores_KHW = interpolate(logits_KHW[None].float(), size=score_size_hw, mode="bilinear", align_corners=False)[0]
    winners_HW = scores_KHW.max(dim=0).indices
    outside = 0 if geometry.warp_factor == 0 else _border_class(winners_HW)
    height, width = photo_size_hw
    labels_HW = torch.full((height, width), outside or 0, dtype=torch.uint8, device=logits_KHW.device)
    cells = _cell_classes(winners_HW)
    whole = (0, 0, width, height)
    x0, y0, x1, y1 = whole if outside is None else _busy_window(cells, outside, crop_from_photo, whole, geometry)
    rows = max(1, _STRIPE_PIXELS // max(x1 - x0, 1))
    for top in range(y0, y1, rows):
        bottom = min(top + rows, y1)
        stripe = (x0, top, x1, bottom)
        labels_HW[top:bottom, x0:x1] = _label_window(scores_KHW, cells, crop_from_photo, stripe, geometry)
    return labels_HW


def _border_class(winners_HW):
    border = torch.cat([winners_HW[0], winners_HW[-1], winners_HW[:, 0], winners_HW[:, -1]])
    return int(border[0]) if bool((border == border[0]).all()) else None


def _busy_window(cells, outside, crop_from_photo, whole, geometry):
    """Return the photo window x0, y0, x1, y1 around all that is not simply of the outside's class."""
    busy = (cells != outside).nonzero()
    if not len(busy):
        return 0, 0, 0, 0
    (low_y, low_x), (high_y, high_x) = busy.amin(dim=0).tolist(), busy.amax(dim=0).tolist()
    # Cell (i, j) lies between the centres of pixels i - 2 and i - 1.
    left, top, right, bottom = low_x - 1.5, low_y - 1.5, high_x - 0.5, high_y - 0.5
    corners_xy = torch.tensor([[left, top], [right, top], [right, bottom], [left, bottom]], dtype=torch.float64)
    corners_warped_xy = corners_xy / _cells_per_pixel(cells, geometry, corners_xy)
    matrix = crop_from_photo.double().cpu()
    corners_xy = geometry.photo_from_warped(corners_warped_xy[None], matrix[None], clamp=1 - 1e-9)[0]
    x0, y0 = (corners_xy.amin(dim=0) - 1).floor().int().tolist()
    x1, y1 = (corners_xy.amax(dim=0) + 1).ceil().int().tolist()
    clip_x, clip_y = (min(max(x, 0), whole[2]) for x in (x0, x1)), (min(max(y, 0), whole[3]) for y in (y0, y1))
    (x0, x1), (y0, y1) = clip_x, clip_y
    return x0, y0, x1, y1


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


def _cells_per_pixel(cells, geometry, like):
    """Score cells per crop pixel, (x, y); `cells` has three rows and columns more than the scores."""
    height, width = geometry.size_hw
    return like.new_tensor([(cells.shape[1] - 3) / width, (cells.shape[0] - 3) / height])


def _window_points(window, like):
    """Return the pixel centres of a window, (H * W, 2) in photo pixels."""
    x0, y0, x1, y1 = window
    x = torch.arange(x0, x1, device=like.device, dtype=torch.float32) + 0.5
    y = torch.arange(y0, y1, device=like.device, dtype=torch.float32) + 0.5
    return torch.stack([x.repeat(len(y)), y.repeat_interleave(len(x))], dim=-1)


def _label_window(scores_KHW, cells, crop_from_photo, window, geometry):
    """Label one window of the photo; see the module's text for why this equals scoring every pixel."""
    x0, y0, x1, y1 = window
    points_photo_xy = _window_points(window, scores_KHW)
    matrix = crop_from_photo.to(points_photo_xy)
    warped_xy = geometry.warped_from_photo(points_photo_xy[None], matrix[None])[0]
    last_x, last_y = cells.shape[1] - 1, cells.shape[0] - 1
    score_xy = warped_xy * _cells_per_pixel(cells, geometry, warped_xy)
    index_x = (score_xy[:, 0] + 1.5).floor().clamp(0, last_x).int()
    index_y = (score_xy[:, 1] + 1.5).floor().clamp(0, last_y).int()
    labels = cells.flatten()[index_y * cells.shape[1] + index_x]
    mixed = (labels == _MIXED).nonzero()[:, 0]
    if mixed.numel():
        size_xy = warped_xy.new_tensor([geometry.size_hw[1], geometry.size_hw[0]])
        grid = (warped_xy[mixed] * 2 / size_xy - 1)[None, None]
        scores = grid_sample(scores_KHW[None], grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        labels[mixed] = scores[0, :, 0].max(dim=0).indices.to(torch.uint8)
    return labels.reshape(y1 - y0, x1 - x0)


def unwarp_heat_maps(maps_KHW, crop_from_photo, photo_size_hw, geometry):
    """Read heat maps of one face at every pixel of the photo, bilinearly.

    Args:
        maps_KHW (`torch.Tensor` of shape `(K, h, w)`): Maps over the warped crop, of any resolution.
        crop_from_photo (`torch.Tensor` of shape `(3, 3)`): Matrix of the face.
        photo_size_hw (`tuple[int, int]`): Size of the photo.
        geometry ([`WarpGeometry`]): Crop size and warp.

    Returns:
        `torch.Tensor` of shape `(K, H, W)`, float32: 0 where the crop does not reach.
    """
    height, width = photo_size_hw
    photo_maps_KHW = maps_KHW.new_zeros((maps_KHW.shape[0], height, width), dtype=torch.float32)
    x0, y0, x1, y1 = _crop_window(crop_from_photo, photo_size_hw, geometry)
    size_xy = photo_maps_KHW.new_tensor([geometry.size_hw[1], geometry.size_hw[0]])
    rows = max(1, _STRIPE_PIXELS // max(x1 - x0, 1))
    for top in range(y0, y1, rows):
        bottom = min(top + rows, y1)
        points_photo_xy = _window_points((x0, top, x1, bottom), photo_maps_KHW)
        warped_xy = geometry.warped_from_photo(points_photo_xy[None], crop_from_photo.to(points_photo_xy)[None])
        # The border is repeated, not faded out: a map is as warm at the rim of its crop as just inside.
        grid = (warped_xy * 2 / size_xy - 1)[None]
        read = grid_sample(maps_KHW[None].float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
        inside = ((warped_xy >= 0) & (warped_xy <= size_xy)).all(dim=-1)
        window = (slice(None), slice(top, bottom), slice(x0, x1))
        photo_maps_KHW[window] = (read[0, :, 0] * inside).unflatten(1, (bottom - top, x1 - x0))
    return photo_maps_KHW


def _crop_window(crop_from_photo, photo_size_hw, geometry):
    """Return the photo window x0, y0, x1, y1 that the crop shows; with a tanh warp that is the whole photo."""
    (height, width), (crop_height, crop_width) = photo_size_hw, geometry.size_hw
    if geometry.warp_factor:
        return 0, 0, width, height
    corners_xy = torch.tensor([[0, 0], [crop_width, 0], [crop_width, crop_height], [0, crop_height]])
    matrix = crop_from_photo.double().cpu()
    corners_xy = geometry.photo_from_warped(corners_xy.double()[None], matrix[None])[0]
    x0, y0 = corners_xy.amin(dim=0).floor().int().tolist()
    x1, y1 = corners_xy.amax(dim=0).ceil().int().tolist()
    return (*(max(low, 0) for low in (x0, y0)), min(x1, width), min(y1, height))
