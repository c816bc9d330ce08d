"""Landmarks joined to the outlines of the parts of the face."""

import numpy as np
from PIL import Image

from farl_hf.drawing.colours import INK, LANDMARK_COLOURS
from farl_hf.drawing.fine_layer import FineLayer, line_width_px
from farl_hf.labels import LANDMARK_GROUPS
from farl_hf.results import FaceLandmarks

__all__ = ["draw_face_landmarks"]


def draw_face_landmarks(photo: Image.Image, landmarks: FaceLandmarks) -> Image.Image:
    """The photo with the landmarks of every face, joined by part where the layout is known.

    Args:
        photo (`PIL.Image.Image`): The upright photo; it is left as it is.
        landmarks (`FaceLandmarks`): The landmarks, in pixels of this photo. Layouts of 19, 68, 98 and 106 points are
            joined to lines; of others only the points are drawn.

    Returns:
        `PIL.Image.Image`: A new RGB image of the same size.
    """
    picture = photo.convert("RGB")
    for points_xy in landmarks.points_xy:
        if len(points_xy):
            picture = _draw_face(picture, points_xy)
    return picture


def _draw_face(picture: Image.Image, points_xy: np.ndarray) -> Image.Image:
    lowest, highest = points_xy.min(axis=0), points_xy.max(axis=0)
    width_px = line_width_px(float(np.sqrt(np.prod(highest - lowest))))
    margin = 5 * width_px
    layer = FineLayer((*(lowest - margin), *(highest + margin)), picture.size)
    everything = {"other": (tuple(range(len(points_xy))), False)}
    groups = LANDMARK_GROUPS.get(len(points_xy))
    if groups is not None:
        _draw_lines(layer, points_xy, groups, width_px)
    _draw_points(layer, points_xy, groups or everything, width_px)
    return layer.laid_on(picture)


def _draw_lines(layer: FineLayer, points_xy: np.ndarray, groups: dict, width_px: float) -> None:
    lines = [
        (name, points_xy[list(indices)], closed) for name, (indices, closed) in groups.items() if len(indices) > 1
    ]
    for _, line_xy, closed in lines:
        layer.line(line_xy, (*INK, 110), 2.2 * width_px, closed)
    for name, line_xy, closed in lines:
        layer.line(line_xy, _colour(name), width_px, closed)


def _draw_points(layer: FineLayer, points_xy: np.ndarray, groups: dict, width_px: float) -> None:
    for name, (indices, _) in groups.items():
        for point_xy in points_xy[list(indices)]:
            layer.dot(point_xy, 1.3 * width_px, _colour(name))
            layer.dot(point_xy, 0.75 * width_px, (255, 255, 255))


def _colour(group_name: str) -> tuple[int, int, int]:
    return LANDMARK_COLOURS.get(group_name, LANDMARK_COLOURS["other"])
