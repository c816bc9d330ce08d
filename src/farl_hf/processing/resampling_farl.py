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

__all__ = ["WarpGeometry", "sample_aligned_crops", "sample_crops"]


class WarpGeometry:
    """What, besides the matrix, fixes the way from photo to warped crop.

    Args:
        size_hw (`tuple[int, int]`): Size of the crop in pixels.
        warp_factor (`float`): alpha of the tanh warp, in [0, 1].
        grid_offset (`float`): 0 for pixel centres, 0.5 for the integer grid.
    """

    def __init__(self, size_hw, warp_factor, grid_offset):
        self.size_hw, self.warp_factor, self.grid_offset = size_hw, warp_factor, grid_offset

    def _along_tanh(self, points_crop, half, function, **options):
        if self.warp_factor == 0:
            return points_crop
        fractions = (points_crop - self.grid_offset) / half - 1
        return (function(fractions, self.warp_factor, **options) + 1) * half + self.grid_offset

    def _half_xy(self, like):
        return torch.tensor([self.size_hw[1], self.size_hw[0]], dtype=like.dtype, device=like.device) / 2

    def warped_from_photo(self, points_photo_xy, crop_from_photo):
        """Map points (F, N, 2) from photo pixels to warped-crop pixels."""
        points_crop_xy = transform_points(points_photo_xy, crop_from_photo)
        return self._along_tanh(points_crop_xy, self._half_xy(points_crop_xy), tanh_warp)

    def photo_from_warped(self, points_warped_xy, crop_from_photo, **options):
        """Map points (F, N, 2) from warped-crop pixels to photo pixels; inexact at the rim, see `tanh_unwarp`."""
        points_crop_xy = self._along_tanh(points_warped_xy, self._half_xy(points_warped_xy), tanh_unwarp, **options)
        return transform_points(points_crop_xy, torch.linalg.inv(crop_from_photo))

    def sampling_axes(self, like):
        """Return where in the crop the columns (w,) and the rows (h,) of a warped crop look, in crop pixels."""
        height, width = self.size_hw
        centres = [torch.arange(side, dtype=like.dtype, device=like.device) + 0.5 for side in (width, height)]
        return [self._along_tanh(axis, len(axis) / 2, tanh_unwarp) for axis in centres]


def _lattice(matrix_F33, x_w, y_h, window_xy=None):
    """Map points (x, y) of a rectangular lattice by affine matrices: (F, h, w, 2), in [-1, 1] of a window if given.

    Sums of a column's and a row's part, a fifth of the time of a matrix product with every point. Axes lie apart until
    the last step: arithmetic on alternating x and y takes four times as long.
    """
    column_parts_F2w = matrix_F33[:, :2, 0, None] * x_w
    row_parts_F2h = matrix_F33[:, :2, 1, None] * y_h + matrix_F33[:, :2, 2, None]
    points = matrix_F33.new_empty(len(matrix_F33), len(y_h), len(x_w), 2)
    for axis in range(2):
        plane_Fhw = row_parts_F2h[:, axis, :, None] + column_parts_F2w[:, axis, None]
        if window_xy is not None:
            plane_Fhw.div_(window_xy[axis] / 2).sub_(1)
        points[..., axis] = plane_Fhw
    return points


def _region(points_xy, size_hw):
    """Return the photo window x0, y0, x1, y1 (pixel indices) that bilinear reads at the points touch."""
    flat = points_xy.reshape(-1, 2)
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
    return sample_aligned_crops([(photo_CHW, mode)], crop_from_photo, geometry)[0]


def sample_aligned_crops(pictures_and_modes, crop_from_photo, geometry):
    """Cut the same crops from pictures (C, H, W) of one size, such as a photo and its label map; see `sample_crops`.

    Where to read is computed once, which takes as long as to read a label map there.
    """
    (first, _), faces, (height, width) = pictures_and_modes[0], crop_from_photo.shape[0], geometry.size_hw
    # At least float32: half precision cannot tell neighbouring pixels of a photo apart.
    dtype = torch.promote_types(first.dtype, torch.float32)
    if faces == 0:
        return [
            picture.new_zeros((0, picture.shape[0], height, width), dtype=dtype) for picture, _ in pictures_and_modes
        ]
    # Few numbers, so in float64 and where that exists: rounding would move every read.
    photo_from_crop = torch.linalg.inv(crop_from_photo.detach().cpu().double())
    x_w, y_h = geometry.sampling_axes(photo_from_crop)
    # Both steps keep order along x and y, so what lies farthest out comes from a corner.
    x0, y0, x1, y1 = _region(_lattice(photo_from_crop, x_w[[0, -1]], y_h[[0, -1]]), first.shape[-2:])
    photo_from_crop[:, :2, 2] -= photo_from_crop.new_tensor([x0, y0])  # from here on pixels of the window
    on_device = (part.to(first.device, dtype) for part in (photo_from_crop, x_w, y_h))
    grid = _lattice(*on_device, (x1 - x0, y1 - y0)).reshape(1, faces * height, width, 2)
    crops = []
    for picture_CHW, mode in pictures_and_modes:
        # Channels first: of channels last, reading takes twice as long.
        window_CHW = picture_CHW[:, y0:y1, x0:x1].contiguous().to(dtype)
        sampled = grid_sample(window_CHW[None], grid, mode=mode, padding_mode="zeros", align_corners=False)
        crops.append(sampled[0].unflatten(1, (faces, height)).transpose(0, 1))
    return crops
