"""One resampling from photo to warped crop, and the way back for points and label maps.

Frames: photo --crop_from_photo--> crop --tanh_alpha--> warped crop, the network's input. With alpha = 0 the last two
coincide. All in continuous pixels: the centre of the first pixel is (0.5, 0.5), `align_corners=False`.

`grid_offset` is 0 where the weights expect sampling on pixel centres (facer), 0.5 where they expect the integer grid
of the official training code: there, pixel i has coordinate i when the warp is computed.
"""

import torch
from torch.nn.functional import grid_sample

from .alignment_farl import transform_points
from .tanh_warp_farl import tanh_unwarp, tanh_warp

__all__ = ["WarpGeometry", "sample_crops"]


class WarpGeometry:
    """What, besides the matrix, fixes the way from photo to warped crop.

    Args:
        size_hw (`tuple[int, int]`): Size of the crop in pixels.
        warp_factor (`float`): alpha of the tanh warp, in [0, 1].
        grid_offset (`float`): 0 for pixel centres, 0.5 for the integer grid.
    """

    def __init__(self, size_hw, warp_factor, grid_offset):
        self.size_hw, self.warp_factor, self.grid_offset = size_hw, warp_factor, grid_offset

    def _size_xy(self, like):
        return torch.tensor([self.size_hw[1], self.size_hw[0]], dtype=like.dtype, device=like.device)

    def _along_tanh(self, points_xy, function, **options):
        if self.warp_factor == 0:
            return points_xy
        half_xy = self._size_xy(points_xy) / 2
        fractions = (points_xy - self.grid_offset) / half_xy - 1
        return (function(fractions, self.warp_factor, **options) + 1) * half_xy + self.grid_offset

    def warped_from_photo(self, points_photo_xy, crop_from_photo):
        """Map points (F, N, 2) from photo pixels to warped-crop pixels."""
        return self._along_tanh(transform_points(points_photo_xy, crop_from_photo), tanh_warp)

    def photo_from_warped(self, points_warped_xy, crop_from_photo, **options):
        """Map points (F, N, 2) from warped-crop pixels to photo pixels; inexact at the rim, see `tanh_unwarp`."""
        points_crop_xy = self._along_tanh(points_warped_xy, tanh_unwarp, **options)
        return transform_points(points_crop_xy, torch.linalg.inv(crop_from_photo))

    def sampling_points(self, crop_from_photo):
        """Return where in the photo each pixel of each warped crop looks: (F, H * W, 2) in photo pixels."""
        height, width = self.size_hw
        like = crop_from_photo
        y, x = torch.meshgrid(
            torch.arange(height, dtype=like.dtype, device=like.device) + 0.5,
            torch.arange(width, dtype=like.dtype, device=like.device) + 0.5,
            indexing="ij",
        )
        points_warped_xy = torch.stack([x, y], dim=-1).reshape(1, -1, 2)
        return self.photo_from_warped(points_warped_xy.expand(like.shape[0], -1, -1), crop_from_photo)


def _region(points_xy, size_hw):
    """Return the photo window x0, y0, x1, y1 (pixel indices) that bilinear reads at the points touch."""
    flat = points_xy.detach().reshape(-1, 2)
    low = (flat.amin(dim=0) - 0.5).floor()
    high = (flat.amax(dim=0) - 0.5).floor() + 2
    limits = torch.tensor([size_hw[1], size_hw[0]], dtype=flat.dtype, device=flat.device)
    low = torch.minimum(low.clamp(min=0), limits - 1)
    high = torch.maximum(torch.minimum(high, limits), low + 1)
    return (*low.int().tolist(), *high.int().tolist())


def sample_crops(photo_CHW, crop_from_photo, geometry, mode="bilinear"):
    """Cut every face of one photo, each with a single resampling.

    Only the window of the photo that the crops touch is converted to float, once for all faces; the photo is never
    copied per face. Differentiable with respect to a floating-point photo.

    Args:
        photo_CHW (`torch.Tensor` of shape `(C, H, W)`): uint8 or floating point, values are kept as they are.
        crop_from_photo (`torch.Tensor` of shape `(F, 3, 3)`): One matrix per face.
        geometry ([`WarpGeometry`]): Crop size and warp.
        mode (`str`, *optional*, defaults to `"bilinear"`): `"nearest"` for label maps.

    Returns:
        `torch.Tensor` of shape `(F, C, h, w)`: float32 (float64 for such a photo), same value range, zero outside.
    """
    faces, (height, width) = crop_from_photo.shape[0], geometry.size_hw
    # At least float32: half precision cannot tell neighbouring pixels of a photo apart.
    dtype = torch.promote_types(photo_CHW.dtype, torch.float32)
    if faces == 0:
        return photo_CHW.new_zeros((0, photo_CHW.shape[0], height, width), dtype=dtype)
    points_photo_xy = geometry.sampling_points(crop_from_photo.to(photo_CHW.device))
    x0, y0, x1, y1 = _region(points_photo_xy, photo_CHW.shape[-2:])
    window_CHW = photo_CHW[:, y0:y1, x0:x1].to(dtype)
    corner = points_photo_xy.new_tensor([x0, y0])
    extent = points_photo_xy.new_tensor([x1 - x0, y1 - y0])
    grid = ((points_photo_xy - corner) * 2 / extent - 1).reshape(1, faces * height, width, 2)
    sampled = grid_sample(window_CHW[None], grid.to(dtype), mode=mode, padding_mode="zeros", align_corners=False)
    return sampled[0].unflatten(1, (faces, height)).transpose(0, 1)
