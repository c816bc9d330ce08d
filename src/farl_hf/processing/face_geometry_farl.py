"""Geometry of face crops: templates, alignment matrices, the tanh warp, and the one resampling from photo to crop.

Frames: photo --crop_from_photo--> crop --tanh_alpha--> warped crop, the input of the network. With alpha = 0 crop and
warped crop are the same. Points are (x, y), boxes are x_min, y_min, x_max, y_max, both in continuous pixels: the
centre of the first pixel is (0.5, 0.5), as with `align_corners=False`.

Sources: pyfacer 0.0.5 `facer/transform.py`; py-blueprint 0.0.1.post3 `blueprint/ml/augmenters/face.py`, lines 270-304,
and `transform.py`, lines 482-577; for the tanh warp also section 6 of the paper's supplement.

Letters in shapes: F faces, N points, C channels, H and W the photo, h and w the crop.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.functional import grid_sample

from .photo_tensors_farl import has_plain_values

# Where the five points of a face lie in an aligned crop, in fractions of the half side: (-1, -1) is top left, (1, 1)
# bottom right. Order: image-left eye, image-right eye, nose tip, image-left mouth corner, image-right mouth corner.

# py-blueprint `blueprint/ml/augmenters/face.py`, lines 270-278, and pyfacer `facer/transform.py`, lines 113-120:
# points of a 512 frame, stored as p / 256 - 1. Used by the parsing models trained on LaPa; looser crops scale it by
# `face_scale` < 1.
LAPA_TEMPLATE = tuple(
    (x / 256 - 1, y / 256 - 1) for x, y in ((196, 226), (316, 226), (256, 286), (220, 360.4), (292, 360.4))
)

# pyfacer `facer/face_attribute/farl.py`, lines 13-29: points of a 256 frame, 30 lower, centred in a frame of 500.
ATTRIBUTE_TEMPLATE = tuple(
    ((x - 128 + 250) / 250 - 1, (y + 30 - 128 + 250) / 250 - 1)
    for x, y in (
        (85.82991, 85.7792),
        (169.0532, 84.3381),
        (127.574, 137.0006),
        (90.6964, 174.7014),
        (167.3069, 173.3733),
    )
)

_ARCTANH_CLAMP = 0.999  # blueprint/ml/augmenters/transform.py, lines 482-486; facer/transform.py, line 229


# --- matrices: from five points (two ways), from a box, from the whole photo


def similarity_matrix(points_from_FN2: torch.Tensor, points_to_FN2: torch.Tensor) -> torch.Tensor:
    """Least-squares similarity (rotation, one scale, shift; no reflection) from one point set to the other.

    Args:
        points_from_FN2 (`torch.Tensor` of shape `(F, N, 2)`): Source points (x, y).
        points_to_FN2 (`torch.Tensor` of shape `(F, N, 2)` or `(N, 2)`): Target points (x, y).

    Returns:
        `torch.Tensor` of shape `(F, 3, 3)`: Homogeneous matrices, target from source.
    """
    mean_from, mean_to = points_from_FN2.mean(dim=-2, keepdim=True), points_to_FN2.mean(dim=-2, keepdim=True)
    source, target = points_from_FN2 - mean_from, points_to_FN2 - mean_to
    power = source.square().sum(dim=(-2, -1))
    cosine = (source * target).sum(dim=(-2, -1)) / power
    sine = (source[..., 0] * target[..., 1] - source[..., 1] * target[..., 0]).sum(dim=-1) / power
    linear = torch.stack([torch.stack([cosine, -sine], -1), torch.stack([sine, cosine], -1)], dim=-2)
    shift = mean_to.transpose(-2, -1) - _product(linear, mean_from.transpose(-2, -1))
    return _homogeneous(torch.cat([linear, shift.expand(*linear.shape[:-1], 1)], dim=-1))


def ffhq_square_matrix(points_F52: torch.Tensor, size_hw: tuple[int, int]) -> torch.Tensor:
    """Matrices of the square crops that FFHQ and CelebA-HQ were cut with, which CelebAMask-HQ labels.

    The square lies along the line between eyes and mouth; its side is the larger of 4 eye distances and 3.6
    eye-to-mouth distances (FFHQ's `download_ffhq.py`; pyfacer `facer/transform.py`, lines 154-169).

    Args:
        points_F52 (`torch.Tensor` of shape `(F, 5, 2)`): Five points (x, y) in photo pixels.
        size_hw (`tuple[int, int]`): Crop size; its corners are the corners of the square.

    Returns:
        `torch.Tensor` of shape `(F, 3, 3)`: `crop_from_photo`.
    """
    eyes_F2, mouth_F2 = points_F52[:, :2].mean(dim=1), points_F52[:, 3:].mean(dim=1)
    eye_to_eye_F2, eye_to_mouth_F2 = points_F52[:, 1] - points_F52[:, 0], mouth_F2 - eyes_F2
    right_F2 = eye_to_eye_F2 - _quarter_turn(eye_to_mouth_F2)
    half = torch.maximum(eye_to_eye_F2.norm(dim=-1) * 2.0, eye_to_mouth_F2.norm(dim=-1) * 1.8)
    right_F2 = right_F2 / right_F2.norm(dim=-1, keepdim=True) * half[:, None]
    down_F2 = _quarter_turn(right_F2)
    # The half pixel is the original's (lines 158-159), whose points count from the centre of the first pixel.
    centre_F2 = eyes_F2 + 0.5 + eye_to_mouth_F2 * 0.1
    corners_F42 = torch.stack([centre_F2 + x * right_F2 + y * down_F2 for y in (-1, 1) for x in (-1, 1)], dim=1)
    height, width = size_hw
    return similarity_matrix(corners_F42, points_F52.new_tensor([[0, 0], [width, 0], [0, height], [width, height]]))


def _quarter_turn(vectors_F2):
    return torch.stack([-vectors_F2[:, 1], vectors_F2[:, 0]], dim=-1)


def box_matrix(boxes_F4: torch.Tensor, size_hw: tuple[int, int], box_scale: float) -> torch.Tensor:
    """Matrices of square crops around boxes.

    Args:
        boxes_F4 (`torch.Tensor` of shape `(F, 4)`): x_min, y_min, x_max, y_max in photo pixels.
        size_hw (`tuple[int, int]`): Crop size.
        box_scale (`float`): Share of the crop that the longer side of the box fills (the official `scale_mu`,
            `farl/experiments/face_alignment/trainers/*_farl.yaml`, line 28).
    """
    centres = (boxes_F4[:, :2] + boxes_F4[:, 2:]) / 2
    half = (boxes_F4[:, 2:] - boxes_F4[:, :2]).amax(dim=-1, keepdim=True) / 2 / box_scale
    return _scaling(centres - half, centres + half, size_hw)


def whole_matrix(photo_size_hw: tuple[int, int], size_hw: tuple[int, int]) -> torch.Tensor:
    """Matrix (1, 3, 3) that stretches the whole photo over the crop."""
    corner = torch.tensor([[photo_size_hw[1], photo_size_hw[0]]], dtype=torch.float32)
    return _scaling(torch.zeros_like(corner), corner, size_hw)


def _scaling(low_F2, high_F2, size_hw):
    scale_F2 = torch.tensor([size_hw[1], size_hw[0]], dtype=low_F2.dtype, device=low_F2.device) / (high_F2 - low_F2)
    return _homogeneous(torch.cat([torch.diag_embed(scale_F2), (-low_F2 * scale_F2)[..., None]], dim=-1))


def _homogeneous(affine_F23):
    last = torch.tensor([0.0, 0.0, 1.0], dtype=affine_F23.dtype, device=affine_F23.device)
    return torch.cat([affine_F23, last.expand(*affine_F23.shape[:-2], 1, 3)], dim=-2)


def transform_points(points_FN2: torch.Tensor, matrix_F33: torch.Tensor) -> torch.Tensor:
    """Apply affine matrices (F, 3, 3) to points (F, N, 2)."""
    return _product(points_FN2, matrix_F33[..., :2, :2].transpose(-2, -1)) + matrix_F33[..., None, :2, 2]


def _product(left, right):
    """Return `left @ right`, also under autocast, which would round coordinates to the eight bits of bfloat16."""
    with torch.autocast(left.device.type, enabled=False):
        return left @ right


# --- the tanh warp


def tanh_warp(crop: torch.Tensor, alpha: float) -> torch.Tensor:
    """Map crop coordinates to warped ones, element by element; any shape.

    The warp is the identity in the middle of a crop and squeezes the surroundings into its rim. Coordinates are
    fractions of the half side: the crop spans [-1, 1] before the warp, the warped crop spans [-1, 1] after it.
    alpha = 0 is a plain crop, alpha = 1 warps everywhere.
    """
    if alpha == 0:
        return crop
    core = crop.clamp(-(1 - alpha), 1 - alpha)
    return core + alpha * torch.tanh((crop - core) / alpha)


def tanh_unwarp(warped: torch.Tensor, alpha: float, clamp: float = _ARCTANH_CLAMP) -> torch.Tensor:
    """Map warped coordinates back to crop coordinates, element by element; any shape.

    The argument of arctanh is clamped at +-`clamp`, 0.999 in the original. So beyond |x| = 1 - alpha + clamp * alpha
    this is not the inverse of `tanh_warp`.
    """
    if alpha == 0:
        return warped
    core = warped.clamp(-(1 - alpha), 1 - alpha)
    return core + alpha * torch.arctanh(((warped - core) / alpha).clamp(-clamp, clamp))


# --- resampling


class WarpGeometry:
    """What, besides the matrix, fixes the way from photo to warped crop.

    Args:
        size_hw (`tuple[int, int]`): Size of the crop in pixels.
        warp_factor (`float`): alpha of the tanh warp, in [0, 1].
        grid_offset (`float`): 0 where the weights expect sampling on pixel centres (facer/transform.py, line 195), 0.5
            where they expect the integer grid of the official training code: there, pixel i has coordinate i when the
            warp is computed (py-blueprint 0.0.1.post3, `blueprint/ml/augmenters/transform.py`, lines 458-531).
        canvas_size (`int`, *optional*): Side of the canvas whose pixels `grid_offset` counts; the crop's by default.
    """

    def __init__(
        self, size_hw: tuple[int, int], warp_factor: float, grid_offset: float, canvas_size: int | None = None
    ):
        self.size_hw, self.warp_factor, self.grid_offset = size_hw, warp_factor, grid_offset
        self.canvas_size = canvas_size

    def _along_tanh(self, points_crop, half, function, **options):
        if self.warp_factor == 0:
            return points_crop
        offset = self.grid_offset * (2 * half / self.canvas_size if self.canvas_size else 1)
        fractions = (points_crop - offset) / half - 1
        return (function(fractions, self.warp_factor, **options) + 1) * half + offset

    def _half_xy(self, like):
        return torch.tensor([self.size_hw[1], self.size_hw[0]], dtype=like.dtype, device=like.device) / 2

    def warped_from_photo(self, points_photo_xy: torch.Tensor, crop_from_photo: torch.Tensor) -> torch.Tensor:
        """Map points (F, N, 2) from photo pixels to warped-crop pixels."""
        points_crop_xy = transform_points(points_photo_xy, crop_from_photo)
        return self._along_tanh(points_crop_xy, self._half_xy(points_crop_xy), tanh_warp)

    def photo_from_warped(
        self, points_warped_xy: torch.Tensor, crop_from_photo: torch.Tensor, clamp: float = _ARCTANH_CLAMP
    ) -> torch.Tensor:
        """Map points (F, N, 2) from warped-crop pixels to photo pixels; inexact at the rim, see `tanh_unwarp`."""
        half_xy = self._half_xy(points_warped_xy)
        points_crop_xy = self._along_tanh(points_warped_xy, half_xy, tanh_unwarp, clamp=clamp)
        return transform_points(points_crop_xy, torch.linalg.inv(crop_from_photo))

    def sampling_axes(self, like: torch.Tensor) -> list[torch.Tensor]:
        """Return where in the crop the columns (w,) and the rows (h,) of a warped crop look, in crop pixels."""
        height, width = self.size_hw
        centres = [torch.arange(side, dtype=like.dtype, device=like.device) + 0.5 for side in (width, height)]
        return [self._along_tanh(axis, len(axis) / 2, tanh_unwarp) for axis in centres]


def _lattice(
    matrix_F33: torch.Tensor, x_w: torch.Tensor, y_h: torch.Tensor, window_xy: tuple[int, int] | None = None
) -> torch.Tensor:
    """Map points (x, y) of a rectangular lattice by affine matrices: (F, h, w, 2), in [-1, 1] of a window if given.

    A point is the sum of its column's part and its row's part: a fifth of the time of a matrix product per point. x
    and y are computed apart, because arithmetic on alternating x and y takes four times as long.
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
    """Return the window x0, y0, x1, y1 (pixel indices) of the photo that bilinear reading at the points touches."""
    flat = points_xy.reshape(-1, 2)
    low = (flat.amin(dim=0) - 0.5).floor()
    high = (flat.amax(dim=0) - 0.5).floor() + 2
    limits = torch.tensor([size_hw[1], size_hw[0]], dtype=flat.dtype, device=flat.device)
    low = torch.minimum(low.clamp(min=0), limits - 1)
    high = torch.maximum(torch.minimum(high, limits), low + 1)
    return (*low.int().tolist(), *high.int().tolist())


def sample_crops(
    photo_CHW: torch.Tensor, crop_from_photo: torch.Tensor, geometry: WarpGeometry, mode: str = "bilinear"
) -> torch.Tensor:
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


def sample_aligned_crops(
    pictures_and_modes: Sequence[tuple[torch.Tensor, str]], crop_from_photo: torch.Tensor, geometry: WarpGeometry
) -> list[torch.Tensor]:
    """Cut the same crops from pictures (C, H, W) of one size, such as a photo and its label map; see `sample_crops`.

    The positions to read are computed once for all pictures; that takes as long as reading a label map.
    """
    (first, _), faces, (height, width) = pictures_and_modes[0], crop_from_photo.shape[0], geometry.size_hw
    # At least float32: half precision cannot tell neighbouring pixels of a photo apart.
    dtype = torch.promote_types(first.dtype, torch.float32)
    if faces == 0:
        return [
            picture.new_zeros((0, picture.shape[0], height, width), dtype=dtype) for picture, _ in pictures_and_modes
        ]
    # In float64, on the CPU, which has it: rounding would move every read. These are few numbers.
    photo_from_crop = torch.linalg.inv(crop_from_photo.detach().cpu().double())
    x_w, y_h = geometry.sampling_axes(photo_from_crop)
    # Warp and matrix keep the order along x and along y, so the outermost points are those of the corners.
    x0, y0, x1, y1 = _region(_lattice(photo_from_crop, x_w[[0, -1]], y_h[[0, -1]]), first.shape[-2:])
    photo_from_crop[:, :2, 2] -= photo_from_crop.new_tensor([x0, y0])  # from here on pixels of the window
    matrix, x_w, y_h = (part.to(first.device, dtype) for part in (photo_from_crop, x_w, y_h))
    grid = _lattice(matrix, x_w, y_h, (x1 - x0, y1 - y0)).reshape(1, faces * height, width, 2)
    crops = []
    for picture_CHW, mode in pictures_and_modes:
        # In channels-first memory: reading channels-last memory takes twice as long.
        window_CHW = picture_CHW[:, y0:y1, x0:x1].contiguous().to(dtype)
        sampled = grid_sample(window_CHW[None], grid, mode=mode, padding_mode="zeros", align_corners=False)
        crops.append(sampled[0].unflatten(1, (faces, height)).transpose(0, 1))
    return crops


# --- points and boxes from users


def _float_tensor(values, what):
    """Return nested lists, arrays, a tensor or a list of these as one float32 tensor."""
    try:
        if isinstance(values, (list, tuple)) and any(hasattr(value, "shape") for value in values):
            return torch.stack([_float_tensor(value, what) for value in values])
        if isinstance(values, np.ndarray):  # PyTorch takes no views that run backwards and no foreign byte order
            values = np.array(values, np.float32, order="C")
        tensor = torch.as_tensor(values, dtype=torch.float32)
        if not has_plain_values(tensor):
            raise TypeError(f"a tensor without plain values ({tensor.layout}, {tensor.device})")
        return tensor
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ValueError(f"{what} are not an array of numbers: {error}.") from error


# Photos are smaller. Squares of larger coordinates overflow, and matrices of them are rounded to nothing.
_LARGEST_COORDINATE_PX = 1e6
FACE_MARGIN = 0.6  # from the outermost of the five points to the outline of a face, in units of their longer side


def checked_points(points: Any, photo_name: str = "the photo", size_hw: tuple[int, int] | None = None) -> torch.Tensor:
    """Return the five keypoints of each face as a float tensor (F, 5, 2); a `ValueError` says what is wrong.

    They may lie anywhere if the size of the photo is not given: training adds noise to the points of faces at an edge.
    """
    points = _float_tensor(points, f"keypoints of {photo_name}")
    points = points[None] if points.ndim == 2 else points
    if points.numel() == 0:
        return points.reshape(0, 5, 2)
    if points.ndim != 3 or points.shape[1:] != (5, 2):
        raise ValueError(
            f"keypoints of {photo_name} have shape {tuple(points.shape)}, expected (faces, 5, 2): (x, y) in pixels of "
            "image-left eye, image-right eye, nose tip, image-left and image-right mouth corner."
        )
    if not torch.isfinite(points).all():
        raise ValueError(
            f"keypoints of {photo_name} contain NaN or infinity; leave out faces without all five points."
        )
    _require_near(points, f"keypoints of {photo_name}")
    lowest, highest = points.amin(dim=1), points.amax(dim=1)
    if bool(((highest - lowest).amax(dim=-1) < 1e-3).any()):
        raise ValueError(f"keypoints of {photo_name} are degenerate: the five points of a face coincide.")
    if size_hw is None:
        return points
    height, width = size_hw
    margin = FACE_MARGIN * (highest - lowest).amax(dim=-1, keepdim=True)
    if bool(((lowest - margin >= lowest.new_tensor([width, height])) | (highest + margin <= 0)).any()):
        raise ValueError(
            f"the keypoints of a face of {photo_name} lie outside it; it is {width} pixels wide and {height} high."
        )
    return points


def _require_near(values, what):
    if values.numel() and float(values.abs().max()) > _LARGEST_COORDINATE_PX:
        raise ValueError(f"{what} reach beyond {_LARGEST_COORDINATE_PX:,.0f} pixels; expected pixels of the photo.")


def checked_boxes(boxes: Any, size_hw: tuple[int, int] | None = None, photo_name: str = "the photo") -> torch.Tensor:
    """Return boxes as a float tensor (F, 4); a `ValueError` says what is wrong with them.

    They may lie anywhere if the size of the photo is not given.
    """
    boxes = _float_tensor(boxes, f"boxes of {photo_name}")
    boxes = boxes[None] if boxes.ndim == 1 and boxes.numel() else boxes
    if boxes.numel() == 0:
        return boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(
            f"boxes of {photo_name} have shape {tuple(boxes.shape)}, expected (faces, 4): "
            "x_min, y_min, x_max, y_max in pixels."
        )
    if not torch.isfinite(boxes).all():
        raise ValueError(f"boxes of {photo_name} contain NaN or infinity.")
    _require_near(boxes, f"boxes of {photo_name}")
    if bool((boxes[:, 2:] <= boxes[:, :2]).any()):
        raise ValueError(f"a box of {photo_name} has no area; expected x_min < x_max and y_min < y_max.")
    if size_hw is None:
        return boxes
    height, width = size_hw
    outside = (boxes[:, 0] >= width) | (boxes[:, 1] >= height) | (boxes[:, 2] <= 0) | (boxes[:, 3] <= 0)
    if bool(outside.any()):
        raise ValueError(f"a box of {photo_name} lies outside it; the photo is {width} pixels wide and {height} high.")
    return boxes
