"""Text beside pictures: panels of lines, legends of colours, attributes beside faces, contact sheets.

[`text_panel`] turns lines into a picture. [`with_legend`] adds a strip that names colours. [`draw_face_attributes`]
writes the likeliest attributes of every face beside it. [`contact_sheet`] puts captioned pictures side by side.
Lengths whose names end in `_px` are pixels; the layout of attribute panels is in units of their text size.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from farl_hf.drawing.antialiased_canvas import INK, PAPER, AntialiasedCanvas, line_width_px
from farl_hf.drawing.boxes_and_landmarks import face_colour, face_sizes_px
from farl_hf.errors import InvalidFaceInputError
from farl_hf.results import FaceAttributes, Faces

Box = tuple[float, float, float, float]

# Text panels and contact sheets, whose sizes do not depend on the photo.
_TEXT_PX = 17
_LINE_PX = 26
_MARGIN_PX = 12
_CAPTION_PX = 30  # height of the strip above a picture of a sheet

# Legends and attribute panels, whose text grows with the picture and the face.
_SMALLEST_TEXT_PX = 8.0

# Attribute panels, in units of the text size.
_LINE = 1.35  # height of a line of text
_PAD = 0.6  # from the text to the border of its panel
_BAR = 3.0  # length of a full probability bar
_TRACK = (212, 213, 216)  # behind a bar; opaque, because a translucent line would replace the panel under it


def text_panel(lines: Sequence[str], size_wh: tuple[int, int]) -> Image.Image:
    """The lines from the top of an RGB picture of that size; what does not fit is cut off."""
    panel = Image.new("RGB", size_wh, PAPER)
    draw, font = ImageDraw.Draw(panel), ImageFont.load_default(_TEXT_PX)
    for row, line in enumerate(lines):
        draw.text((_MARGIN_PX, (row + 0.5) * _LINE_PX), line, fill=INK, font=font, anchor="lm")
    return panel


def with_legend(picture: Image.Image, entries: Sequence[tuple[str, tuple[int, int, int]]]) -> Image.Image:
    """The picture with a strip under it: a swatch and a name for each colour.

    Args:
        picture (`PIL.Image.Image`): An RGB image.
        entries (`Sequence`): (name, RGB colour) pairs; underscores in names become spaces.

    Returns:
        `PIL.Image.Image`: A new RGB image of the same width, taller by the strip.
    """
    text_px = max(_SMALLEST_TEXT_PX, min(picture.size) / 38)
    rows = _rows([(name.replace("_", " "), colour) for name, colour in entries], text_px, picture.width)
    line_px = 1.9 * text_px
    height = round(line_px * len(rows) + 0.8 * text_px)
    result = Image.new("RGB", (picture.width, picture.height + height), PAPER)
    result.paste(picture, (0, 0))
    canvas = AntialiasedCanvas((0, picture.height, *result.size), result.size)
    half_px = 0.45 * text_px
    for row, shown in enumerate(rows):
        middle = picture.height + 0.4 * text_px + (row + 0.5) * line_px
        for name, colour, left in shown:
            swatch = (left, middle - half_px, left + 2 * half_px, middle + half_px)
            canvas.rounded_box(swatch, half_px / 2.5, None, 0, fill=colour)
            canvas.text((left + 3 * half_px, middle), name, text_px, INK)
    return canvas.composite_over(result)


def _rows(entries: list, text_px: float, width_px: float) -> list[list]:
    rows: list[list] = [[]]
    used_px = text_px
    for name, colour in entries:
        entry_px = ImageFont.load_default(text_px).getlength(name) + 2.6 * text_px
        if rows[-1] and used_px + entry_px > width_px:
            rows.append([])
            used_px = text_px
        rows[-1].append((name, colour, used_px))
        used_px += entry_px
    return rows


def draw_face_attributes(
    photo: Image.Image,
    faces: Faces,
    attributes: FaceAttributes,
    max_attributes: int = 6,
    threshold: float | None = None,
    numbers: Sequence[int] | None = None,
) -> Image.Image:
    """The photo with a panel beside every face that lists its likeliest attributes and their probabilities.

    Args:
        photo (`PIL.Image.Image`): The upright photo; it is left as it is.
        faces (`Faces`): Where the faces are, in pixels of this photo.
        attributes (`FaceAttributes`): The attributes of the same faces.
        max_attributes (`int`, *optional*, defaults to 6): Lines in a panel at most.
        threshold (`float`, *optional*): Attributes less likely than this are left out; by default, those that are
            not `present`.
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
    taken: list[Box] = [tuple(box_xyxy) for box_xyxy in faces.boxes_xyxy]
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
    box_xyxy: Box


def _likeliest(attributes: FaceAttributes, max_attributes: int, threshold: float | None) -> list[tuple[str, float]]:
    probabilities = attributes.probabilities[0]
    shown = np.asarray(attributes.present)[0] if threshold is None else probabilities >= threshold
    order = [i for i in np.argsort(-probabilities, kind="stable") if shown[i]][:max_attributes]
    lines = [(attributes.label_names[i].replace("_", " "), float(probabilities[i])) for i in order]
    return lines or [("no attribute is likely", 0.0)]


def _place(
    lines: Sequence[tuple[str, float]],
    box_xyxy: np.ndarray,
    size_px: float,
    photo_size_wh: tuple[int, int],
    taken: Sequence[Box],
) -> _Panel:
    """The panel right of, left of, below or above the face, where it covers least of other faces and panels."""
    short_px = min(photo_size_wh)
    smallest, largest = (max(_SMALLEST_TEXT_PX, short_px / lines_across) for lines_across in (55, 22))
    text_px = float(np.clip(size_px / 10, smallest, largest))
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


def _inside(box: Box, photo_size_wh: tuple[int, int]) -> Box:
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
    canvas = AntialiasedCanvas(
        (*(both[:, :2].min(axis=0) - margin), *(both[:, 2:].max(axis=0) + margin)), picture.size
    )
    canvas.rounded_box(box, size_px / 16, colour, 1.4 * width_px)
    canvas.rounded_box(panel.box_xyxy, 0.5 * panel.text_px, (*colour, 255), 1.2 * width_px, fill=(*PAPER, 215))
    _draw_lines(canvas, panel, colour)
    return canvas.composite_over(picture)


def _draw_lines(canvas: AntialiasedCanvas, panel: _Panel, colour: tuple[int, int, int]) -> None:
    text_px = panel.text_px
    left, top, right, _ = panel.box_xyxy
    bar_left, bar_right = right - (_PAD + _BAR) * text_px, right - _PAD * text_px
    for row, (text, probability) in enumerate(panel.lines):
        middle = top + (_PAD + _LINE * (row + 0.5)) * text_px
        canvas.text((left + _PAD * text_px, middle), text, text_px, INK)
        canvas.line(np.array([[bar_left, middle], [bar_right, middle]]), _TRACK, 0.42 * text_px)
        if probability > 0:
            filled = bar_left + probability * (bar_right - bar_left)
            canvas.line(np.array([[bar_left, middle], [filled, middle]]), colour, 0.42 * text_px)


def contact_sheet(
    pictures: Sequence[tuple[str, Image.Image]], columns: int = 2, cell_size_wh: tuple[int, int] = (640, 480)
) -> Image.Image:
    """A sheet of captioned pictures, row by row.

    Args:
        pictures (`Sequence`): (caption, picture) pairs.
        columns (`int`, *optional*, defaults to 2): Pictures in a row.
        cell_size_wh (`tuple[int, int]`, *optional*): The largest width and height of a picture on the sheet; larger
            ones are shrunk, smaller ones are left as they are.

    Returns:
        `PIL.Image.Image`: A new RGB image.
    """
    shown = [(caption, picture.convert("RGB")) for caption, picture in pictures]
    for _, picture in shown:
        picture.thumbnail(cell_size_wh)
    width = max(picture.width for _, picture in shown)
    height = max(picture.height for _, picture in shown) + _CAPTION_PX
    columns = min(columns, len(shown))
    rows = math.ceil(len(shown) / columns)
    sheet = Image.new(
        "RGB", (columns * (width + _MARGIN_PX) + _MARGIN_PX, rows * (height + _MARGIN_PX) + _MARGIN_PX), PAPER
    )
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_TEXT_PX)
    for index, (caption, picture) in enumerate(shown):
        left = _MARGIN_PX + (index % columns) * (width + _MARGIN_PX)
        top = _MARGIN_PX + (index // columns) * (height + _MARGIN_PX)
        draw.text((left, top + _CAPTION_PX / 2), caption, fill=INK, font=font, anchor="lm")
        sheet.paste(picture, (left, top + _CAPTION_PX))
    return sheet
