"""The likeliest attributes of every face, written beside it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFont

from farl_hf.drawing.colours import INK, PAPER
from farl_hf.drawing.face_boxes import face_colour, face_sizes_px
from farl_hf.drawing.fine_layer import FineLayer, line_width_px
from farl_hf.errors import InvalidFaceInputError
from farl_hf.results import FaceAttributes, Faces

__all__ = ["draw_face_attributes"]

_LINE = 1.35  # height of a line of text, in units of the text size
_PAD = 0.6  # from the text to the border of its panel, likewise
_BAR = 3.0  # length of a full probability bar, likewise
_SMALLEST_TEXT_PX = 8.0
_TRACK = (212, 213, 216)  # opaque: a translucent line would replace the panel under it, not tint it


def draw_face_attributes(
    photo: Image.Image,
    faces: Faces,
    attributes: FaceAttributes,
    max_attributes: int = 6,
    threshold: float = 0.5,
    numbers: Sequence[int] | None = None,
) -> Image.Image:
    """The photo with a panel beside every face that lists its likeliest attributes and their probabilities.

    Args:
        photo (`PIL.Image.Image`): The upright photo; it is left as it is.
        faces (`Faces`): Where the faces are, in pixels of this photo.
        attributes (`FaceAttributes`): The attributes of the same faces.
        max_attributes (`int`, *optional*, defaults to 6): Lines in a panel at most.
        threshold (`float`, *optional*, defaults to 0.5): Attributes less likely than this are left out.
        numbers (`Sequence[int]`, *optional*): Choose the colours: the tracks of a video, whose colours stay.

    Returns:
        `PIL.Image.Image`: A new RGB image of the same size.

    Raises:
        InvalidFaceInputError: If faces and attributes are not equally many.
    """
    if len(faces) != len(attributes):
        raise InvalidFaceInputError(
            f"{len(faces)} faces came with the attributes of {len(attributes)}; give one each."
        )
    picture = photo.convert("RGB")
    taken = [tuple(box_xyxy) for box_xyxy in faces.boxes_xyxy]
    for row, size_px in enumerate(face_sizes_px(faces.boxes_xyxy)):
        lines = _likeliest(attributes[row], max_attributes, threshold)
        colour = face_colour(row if numbers is None else numbers[row])
        panel = _place(lines, faces.boxes_xyxy[row], float(size_px), photo.size, taken)
        taken.append(panel.box_xyxy)
        picture = _draw_face(picture, faces.boxes_xyxy[row], float(size_px), panel, colour)
    return picture


@dataclass(frozen=True)
class _Panel:
    """Lines (text, probability) of a size, and the box they fill."""

    lines: Sequence[tuple[str, float]]
    text_px: float
    box_xyxy: tuple[float, float, float, float]


def _likeliest(attributes: FaceAttributes, max_attributes: int, threshold: float) -> list[tuple[str, float]]:
    probabilities = attributes.probabilities[0]
    order = np.argsort(-probabilities, kind="stable")[:max_attributes]
    lines = [(attributes.label_names[i].replace("_", " "), float(probabilities[i])) for i in order]
    return [line for line in lines if line[1] >= threshold] or [("no attribute is likely", 0.0)]


def _place(
    lines: Sequence[tuple[str, float]],
    box_xyxy: np.ndarray,
    size_px: float,
    photo_size_wh: tuple[int, int],
    taken: Sequence[tuple[float, float, float, float]],
) -> _Panel:
    """The panel to the right, left, below or above the face, wherever it covers least of what is there already."""
    short_px = min(photo_size_wh)
    text_px = float(
        np.clip(size_px / 10, max(_SMALLEST_TEXT_PX, short_px / 55), max(_SMALLEST_TEXT_PX, short_px / 22))
    )
    longest = max(ImageFont.load_default(text_px).getlength(text) for text, _ in lines)
    width = longest + (2 * _PAD + 0.5 + _BAR) * text_px
    height = (2 * _PAD + _LINE * len(lines)) * text_px
    gap = 0.5 * text_px
    x_min, y_min, x_max, y_max = (float(side) for side in box_xyxy)
    corners = (
        (x_max + gap, y_min),
        (x_min - gap - width, y_min),
        (x_min, y_max + gap),
        (x_min, y_min - gap - height),
    )
    boxes = [_inside((left, top, left + width, top + height), photo_size_wh) for left, top in corners]
    return _Panel(lines, text_px, min(boxes, key=lambda box: sum(_overlap(box, other) for other in taken)))


def _inside(box: tuple[float, float, float, float], photo_size_wh: tuple[int, int]) -> tuple[float, ...]:
    """The box moved into the photo, as far as it fits."""
    width, height = box[2] - box[0], box[3] - box[1]
    left = max(0.0, min(box[0], photo_size_wh[0] - width))
    top = max(0.0, min(box[1], photo_size_wh[1] - height))
    return (left, top, left + width, top + height)


def _overlap(box: Sequence[float], other: Sequence[float]) -> float:
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    return max(0.0, width) * max(0.0, height)


def _draw_face(
    picture: Image.Image, box_xyxy: np.ndarray, size_px: float, panel: _Panel, colour: tuple[int, int, int]
) -> Image.Image:
    width_px = line_width_px(size_px)
    box = tuple(float(side) for side in box_xyxy)
    both = np.array([box, panel.box_xyxy])
    margin = 3 * width_px
    layer = FineLayer((*(both[:, :2].min(axis=0) - margin), *(both[:, 2:].max(axis=0) + margin)), picture.size)
    layer.rounded_box(box, size_px / 16, colour, 1.4 * width_px)
    layer.rounded_box(panel.box_xyxy, 0.5 * panel.text_px, (*colour, 255), 1.2 * width_px, fill=(*PAPER, 215))
    _draw_lines(layer, panel, colour)
    return layer.laid_on(picture)


def _draw_lines(layer: FineLayer, panel: _Panel, colour: tuple[int, int, int]) -> None:
    text_px = panel.text_px
    left, top, right, _ = panel.box_xyxy
    bar_left, bar_right = right - (_PAD + _BAR) * text_px, right - _PAD * text_px
    for row, (text, probability) in enumerate(panel.lines):
        middle = top + (_PAD + _LINE * (row + 0.5)) * text_px
        layer.text((left + _PAD * text_px, middle), text, text_px, INK)
        layer.line(np.array([[bar_left, middle], [bar_right, middle]]), _TRACK, 0.42 * text_px)
        if probability > 0:
            filled = bar_left + probability * (bar_right - bar_left)
            layer.line(np.array([[bar_left, middle], [filled, middle]]), colour, 0.42 * text_px)
