"""The part of a photo around one face, enlarged for a picture."""

from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image

__all__ = ["enlarged_window", "face_window"]


def face_window(
    crop_from_photo: torch.Tensor, crop_hw: tuple[int, int], photo_hw: tuple[int, int]
) -> tuple[int, int, int, int]:
    """The part of the photo that the crop shows (with a warp: before it), x_min, y_min, x_max, y_max."""
    height, width = crop_hw
    corners = torch.tensor([[0, width, width, 0], [0, 0, height, height], [1, 1, 1, 1]], dtype=torch.float64)
    x, y = (torch.linalg.inv(crop_from_photo.double()) @ corners)[:2].numpy()
    x_min, x_max = np.clip([x.min(), x.max()], 0, photo_hw[1]).round().astype(int)
    y_min, y_max = np.clip([y.min(), y.max()], 0, photo_hw[0]).round().astype(int)
    if x_max - x_min < 2 or y_max - y_min < 2:
        return 0, 0, photo_hw[1], photo_hw[0]
    return int(x_min), int(y_min), int(x_max), int(y_max)


def enlarged_window(
    picture: np.ndarray, window: tuple[int, int, int, int], longer_side_px: int, nearest: bool = False
) -> Any:
    """The window of a photo (a PIL image) or, `nearest`, of a label map (an array), at that size."""
    x_min, y_min, x_max, y_max = window
    part = picture[y_min:y_max, x_min:x_max]
    scale = longer_side_px / max(part.shape[:2])
    size_wh = (max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale)))
    shrinks = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    resized = cv2.resize(part, size_wh, interpolation=cv2.INTER_NEAREST if nearest else shrinks)
    return resized if nearest else Image.fromarray(resized)
