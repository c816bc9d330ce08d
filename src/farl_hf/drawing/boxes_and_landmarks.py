"""Faces as boxes with scores and five points, and as landmarks joined to the outlines of the parts of the face."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageFont

from farl_hf.drawing.antialiased_canvas import (
    FACE_COLOURS,
    INK,
    KEYPOINT_COLOURS,
    LANDMARK_COLOURS,
    AntialiasedCanvas,
    ink_on,
    line_width_px,
)
from farl_hf.labels import LANDMARK_GROUPS
from farl_hf.results import FaceLandmarks, Faces

_SMALLEST_TEXT_PX = 9.0
_CERTAIN = 0.995  # a score from here on reads 100 per cent, which says nothing


def draw_faces(
    photo: Image.Image, faces: Faces, show_scores: bool = True, numbers: Sequence[int] | None = None
) -> Image.Image:
    """The photo with the box, the score and the five points of every face.

    Args:
        photo (`PIL.Image.Image`): The upright photo; it is left as it is.
        faces (`Faces`): The faces, in pixels of this photo.
        show_scores (`bool`, *optional*, defaults to `True`): Whether a box carries its number, where `numbers` are
            given, and its score in per cent, where that is below 99.5.
        numbers (`Sequence[int]`, *optional*): What stands before each score and chooses the colour: the tracks of a
            video, whose colours stay.

    Returns:
        `PIL.Image.Image`: A new RGB image of the same size.
    """
    picture = photo.convert("RGB")
    for row, (face, size_px) in enumerate(zip(faces, face_sizes_px(faces.boxes_xyxy), strict=True)):
        colour = face_colour(row if numbers is None else numbers[row])
        words = [] if numbers is None else [str(numbers[row])]
        if face.scores[0] < _CERTAIN:
            words.append(f"{100 * float(face.scores[0]):.0f}%")
        picture = _draw_face_box(picture, face, float(size_px), colour, " · ".join(words) if show_scores else "")
    return picture


def face_colour(number: int) -> tuple[int, int, int]:
    """The colour of a face, by its row or its track."""
    return FACE_COLOURS[number % len(FACE_COLOURS)]


def face_sizes_px(boxes_xyxy: np.ndarray) -> np.ndarray:
    """The side of a square of the same area, for boxes of shape (num_faces, 4)."""
    return np.sqrt((boxes_xyxy[:, 2] - boxes_xyxy[:, 0]) * (boxes_xyxy[:, 3] - boxes_xyxy[:, 1]))


def _draw_face_box(
    picture: Image.Image, face: Faces, size_px: float, colour: tuple[int, int, int], tag: str
) -> Image.Image:
    width_px = 1.6 * line_width_px(size_px)
    text_px = max(_SMALLEST_TEXT_PX, size_px / 11)
    box_xyxy = face.boxes_xyxy[0]
    margin = 2 * width_px + 2 * text_px
    canvas = AntialiasedCanvas(box_xyxy + np.array([-margin, -margin, margin + 4 * text_px, margin]), picture.size)
    canvas.rounded_box(box_xyxy, size_px / 16, (*INK, 150), 2 * width_px)
    canvas.rounded_box(box_xyxy, size_px / 16, colour, width_px)
    if tag:
        draw_tag(canvas, box_xyxy, tag, text_px, colour)
    if face.keypoints_xy is not None:
        for point_xy, point_colour in zip(face.keypoints_xy[0], KEYPOINT_COLOURS, strict=True):
            canvas.dot(point_xy, 2.2 * width_px, (255, 255, 255))
            canvas.dot(point_xy, 1.5 * width_px, point_colour)
    return canvas.composite_over(picture)


def draw_tag(
    canvas: AntialiasedCanvas, box_xyxy: np.ndarray, text: str, text_px: float, colour: tuple[int, int, int]
) -> None:
    """A tag on the upper edge of the box, inside it where the photo ends above."""
    left, top = float(box_xyxy[0]), float(box_xyxy[1])
    middle = top - 0.9 * text_px if top > 2 * text_px else top + 1.1 * text_px
    width = ImageFont.load_default(text_px).getlength(text) + 0.8 * text_px
    tag = (left, middle - 0.75 * text_px, left + width, middle + 0.75 * text_px)
    canvas.rounded_box(tag, 0.35 * text_px, None, 0, fill=colour)
    canvas.text((left + 0.4 * text_px, middle), text, text_px, ink_on(colour))


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
            picture = _draw_face_landmarks(picture, points_xy)
    return picture


def _draw_face_landmarks(picture: Image.Image, points_xy: np.ndarray) -> Image.Image:
    lowest, highest = points_xy.min(axis=0), points_xy.max(axis=0)
    width_px = line_width_px(float(np.sqrt(np.prod(highest - lowest))))
    margin = 5 * width_px
    canvas = AntialiasedCanvas((*(lowest - margin), *(highest + margin)), picture.size)
    unjoined = {"other": (tuple(range(len(points_xy))), False)}
    layout = LANDMARK_GROUPS.get(len(points_xy))
    groups = [(_colour(name), points_xy[list(row)], closed) for name, (row, closed) in (layout or unjoined).items()]
    lines = [group for group in groups if layout and len(group[1]) > 1]
    for _, line_xy, closed in lines:
        canvas.line(line_xy, (*INK, 110), 2.2 * width_px, closed)
    for colour, line_xy, closed in lines:
        canvas.line(line_xy, colour, width_px, closed)
    for colour, group_xy, _ in groups:
        for point_xy in group_xy:
            canvas.dot(point_xy, 1.3 * width_px, colour)
            canvas.dot(point_xy, 0.75 * width_px, (255, 255, 255))
    return canvas.composite_over(picture)


def _colour(group_name: str) -> tuple[int, int, int]:
    return LANDMARK_COLOURS.get(group_name, LANDMARK_COLOURS["other"])
