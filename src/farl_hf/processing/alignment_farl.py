"""Matrices that carry photo pixels to crop pixels: from five points (two ways), from a box, from the whole photo.

Convention: `crop_from_photo` maps photo to crop, continuous pixels on both sides (the centre of the first pixel is
(0.5, 0.5)); points are (x, y); boxes are x_min, y_min, x_max, y_max.
"""

import torch

__all__ = [
    "box_matrix",
    "checked_boxes",
    "checked_points",
    "ffhq_square_matrix",
    "similarity_matrix",
    "transform_points",
    "whole_matrix",
]


def _float_tensor(values, what):
    """Return nested lists, arrays, a tensor or a list of these as one float32 tensor."""
    try:
        if isinstance(values, (list, tuple)) and any(hasattr(value, "shape") for value in values):
            return torch.stack([torch.as_tensor(value, dtype=torch.float32) for value in values])
        return torch.as_tensor(values, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{what} are not an array of numbers: {error}.") from error


def checked_points(points, photo_name="the photo"):
    """Return five-point sets as float tensor (F, 5, 2), or raise `ValueError` saying what is wrong with them."""
    points = _float_tensor(points, f"landmarks of {photo_name}")
    points = points[None] if points.ndim == 2 else points
    if points.numel() == 0:
        return points.reshape(0, 5, 2)
    if points.ndim != 3 or points.shape[1:] != (5, 2):
        raise ValueError(
            f"landmarks of {photo_name} have shape {tuple(points.shape)}, expected (faces, 5, 2): (x, y) in pixels of "
            "image-left eye, image-right eye, nose tip, image-left and image-right mouth corner."
        )
    if not torch.isfinite(points).all():
        raise ValueError(
            f"landmarks of {photo_name} contain NaN or infinity; leave out faces without all five points."
        )
    spread = (points.amax(dim=1) - points.amin(dim=1)).amax(dim=-1)
    if bool((spread < 1e-3).any()):
        raise ValueError(f"landmarks of {photo_name} are degenerate: the five points of a face coincide.")
    return points


def checked_boxes(boxes, size_hw, photo_name="the photo"):
    """Return boxes as float tensor (F, 4), or raise `ValueError` saying what is wrong with them."""
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
    if bool((boxes[:, 2:] <= boxes[:, :2]).any()):
        raise ValueError(f"a box of {photo_name} has no area; expected x_min < x_max and y_min < y_max.")
    height, width = size_hw
    outside = (boxes[:, 0] >= width) | (boxes[:, 1] >= height) | (boxes[:, 2] <= 0) | (boxes[:, 3] <= 0)
    if bool(outside.any()):
        raise ValueError(f"a box of {photo_name} lies outside it; the photo is {width} pixels wide and {height} high.")
    return boxes


def similarity_matrix(points_from_FN2, points_to_FN2):
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
    shift = mean_to.transpose(-2, -1) - linear @ mean_from.transpose(-2, -1)
    return _homogeneous(torch.cat([linear, shift.expand(*linear.shape[:-1], 1)], dim=-1))


def ffhq_square_matrix(points_F52, size_hw):
    """Matrices of the square crops that FFHQ and CelebA-HQ were cut with, which CelebAMask-HQ labels.

    The square lies along the line between eyes and mouth; its side is the larger of 4 eye distances and 3.6
    eye-to-mouth distances (FFHQ's `download_ffhq.py`; FacePerceiver/facer `facer/transform.py`, `get_quad`).

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
    # The half pixel is the original's, whose points count from the centre of the first pixel.
    centre_F2 = eyes_F2 + 0.5 + eye_to_mouth_F2 * 0.1
    corners_F42 = torch.stack([centre_F2 + x * right_F2 + y * down_F2 for y in (-1, 1) for x in (-1, 1)], dim=1)
    height, width = size_hw
    return similarity_matrix(corners_F42, points_F52.new_tensor([[0, 0], [width, 0], [0, height], [width, height]]))


def _quarter_turn(vectors_F2):
    return torch.stack([-vectors_F2[:, 1], vectors_F2[:, 0]], dim=-1)


def box_matrix(boxes_F4, size_hw, box_scale):
    """Matrices of square crops around boxes.

    Args:
        boxes_F4 (`torch.Tensor` of shape `(F, 4)`): x_min, y_min, x_max, y_max in photo pixels.
        size_hw (`tuple[int, int]`): Crop size.
        box_scale (`float`): Share of the crop that the longer side of the box fills (the official `scale_mu`).
    """
    centres = (boxes_F4[:, :2] + boxes_F4[:, 2:]) / 2
    half = (boxes_F4[:, 2:] - boxes_F4[:, :2]).amax(dim=-1, keepdim=True) / 2 / box_scale
    return _scaling(centres - half, centres + half, size_hw)


def whole_matrix(photo_size_hw, size_hw):
    """Matrix (1, 3, 3) that stretches the whole photo over the crop."""
    corner = torch.tensor([[photo_size_hw[1], photo_size_hw[0]]], dtype=torch.float32)
    return _scaling(torch.zeros_like(corner), corner, size_hw)


def _scaling(low_F2, high_F2, size_hw):
    scale_F2 = torch.tensor([size_hw[1], size_hw[0]], dtype=low_F2.dtype, device=low_F2.device) / (high_F2 - low_F2)
    return _homogeneous(torch.cat([torch.diag_embed(scale_F2), (-low_F2 * scale_F2)[..., None]], dim=-1))


def _homogeneous(affine_F23):
    last = torch.tensor([0.0, 0.0, 1.0], dtype=affine_F23.dtype, device=affine_F23.device)
    return torch.cat([affine_F23, last.expand(*affine_F23.shape[:-2], 1, 3)], dim=-2)


def transform_points(points_FN2, matrix_F33):
    """Apply affine matrices (F, 3, 3) to points (F, N, 2)."""
    return points_FN2 @ matrix_F33[..., :2, :2].transpose(-2, -1) + matrix_F33[..., None, :2, 2]
