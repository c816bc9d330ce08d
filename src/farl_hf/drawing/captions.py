"""Text beside pictures: panels of lines, legends of colours, attributes beside faces, contact sheets.

[`text_panel`] turns lines into a picture. [`with_legend`] adds a strip that names colours. [`draw_face_attributes`]
lists the likeliest attributes of every face under the photo. [`contact_sheet`] puts captioned pictures side by side.
Lengths whose names end in `_px` are pixels; the layout of attribute panels is in units of their text size.
"""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from farl_hf.drawing.antialiased_canvas import INK, PAPER, AntialiasedCanvas, line_width_px
from farl_hf.drawing.boxes_and_landmarks import draw_tag, face_colour, face_sizes_px
from farl_hf.errors import InvalidArgumentError, InvalidFaceInputError
from farl_hf.results import FaceAttributes, Faces

Box = tuple[float, float, float, float]

# Text panels and contact sheets, whose sizes do not depend on the photo.
_TEXT_PX = 17
_LINE_PX = 26
_MARGIN_PX = 12

# Legends and attribute panels, whose text grows with the picture and the face.
_SMALLEST_TEXT_PX = 8.0

# Attribute panels, in units of the text size.
_LINE = 1.35  # height of a line of text
_PAD = 0.6  # from the text to the border of its panel
_BAR = 3.0  # length of a full probability bar
_NUMBER = 2.3  # room for its number
_GAP = 0.8  # between cards
_SMALLER = (1.0, 0.85, 0.7, 0.55)  # sizes of text, tried until the cards of all faces take no more room than the photo
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
    text_px = _text_px(picture.size)
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


def _text_px(size_wh: tuple[int, int], scale: float = 1.0) -> float:
    """Of legends and cards: by the shorter side, and by the width where that is long, as screens shrink it."""
    return max(_SMALLEST_TEXT_PX, scale * max(min(size_wh) / 38, size_wh[0] / 72))


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
    inside: bool = False,
) -> Image.Image:
    """The photo with a card for every face that lists its likeliest attributes and their probabilities.

    Args:
        photo (`PIL.Image.Image`): The upright photo; it is left as it is.
        faces (`Faces`): Where the faces are, in pixels of this photo.
        attributes (`FaceAttributes`): The attributes of the same faces.
        max_attributes (`int`, *optional*, defaults to 6): Lines in a card at most.
        threshold (`float`, *optional*): Attributes less likely than this are left out; by default, those that are
            not `present`.
        numbers (`Sequence[int]`, *optional*): Name the faces and choose the colours: the tracks of a video, whose
            colours stay. By default faces are counted from 1.
        inside (`bool`, *optional*, defaults to `False`): Lay the cards over the photo, beside the faces, as frames of
            a video need, whose size stays. By default they stand under the photo.

    Returns:
        `PIL.Image.Image`: A new RGB image, larger by the cards, or of the same size with `inside`.

    Raises:
        InvalidFaceInputError: If faces and attributes are not equally many.
    """
    if len(faces) != len(attributes):
        raise InvalidFaceInputError(
            f"{len(faces)} faces came with the attributes of {len(attributes)}; give one each."
        )
    picture, named = photo.convert("RGB"), range(1, len(faces) + 1) if numbers is None else numbers
    colours = [face_colour(number - 1 if numbers is None else number) for number in named]
    lines = [_likeliest(attributes[row], max_attributes, threshold) for row in range(len(faces))]
    if not lines:
        return picture
    sizes_px = face_sizes_px(faces.boxes_xyxy)
    if not inside:
        for box_xyxy, size_px, number, colour in zip(faces.boxes_xyxy, sizes_px, named, colours, strict=True):
            picture = _draw_box(picture, box_xyxy, float(size_px), str(number) if len(faces) > 1 else "", colour)
        return _with_cards(picture, [str(number) for number in named] if len(faces) > 1 else [], lines, colours)
    taken: list[Box] = [tuple(box_xyxy) for box_xyxy in faces.boxes_xyxy]
    for box_xyxy, size_px, shown, colour in zip(faces.boxes_xyxy, sizes_px, lines, colours, strict=True):
        text_px, card_xyxy = _place(shown, box_xyxy, float(size_px), photo.size, taken)
        taken.append(card_xyxy)
        picture = _draw_box(picture, box_xyxy, float(size_px), "", colour)
        picture = _draw_card(picture, card_xyxy, text_px, "", shown, colour)
    return picture


def _likeliest(attributes: FaceAttributes, max_attributes: int, threshold: float | None) -> list[tuple[str, float]]:
    probabilities = attributes.probabilities[0]
    shown = np.asarray(attributes.present)[0] if threshold is None else probabilities >= threshold
    order = [i for i in np.argsort(-probabilities, kind="stable") if shown[i]][:max_attributes]
    lines = [(attributes.label_names[i].replace("_", " "), float(probabilities[i])) for i in order]
    return lines or [("no attribute is likely", 0.0)]


def _card_size_px(lines: Sequence[tuple[str, float]], num_lines: int, text_px: float) -> tuple[float, float]:
    """Width and height of a card for lines (text, probability), with room for `num_lines` of them."""
    longest = max(ImageFont.load_default(text_px).getlength(text) for text, _ in lines)
    return longest + (2 * _PAD + 0.9 + _BAR + _NUMBER) * text_px, (2 * _PAD + _LINE * num_lines) * text_px


def _with_cards(picture: Image.Image, titles: Sequence[str], lines: Sequence[list], colours: Sequence) -> Image.Image:
    """The picture with rows of cards of equal size under it; titles may be none."""
    width, height = picture.size
    num_lines = max(map(len, lines)) + bool(titles)
    for smaller in _SMALLER:
        text_px = _text_px(picture.size, smaller)
        card_wh = _card_size_px([line for shown in lines for line in shown], num_lines, text_px)
        gap = _GAP * text_px
        columns = max(1, min(len(lines), int((width - gap) / (card_wh[0] + gap))))
        rows = math.ceil(len(lines) / columns)
        cards_wh = (columns * (card_wh[0] + gap) + gap, rows * (card_wh[1] + gap) + gap)
        if cards_wh[1] <= height:
            break
    result = Image.new("RGB", (max(width, math.ceil(cards_wh[0])), height + math.ceil(cards_wh[1])), PAPER)
    result.paste(picture, (0, 0))
    for index, (shown, colour) in enumerate(zip(lines, colours, strict=True)):
        row, column = divmod(index, columns)
        left, top = gap + column * (card_wh[0] + gap), height + gap + row * (card_wh[1] + gap)
        title = f"face {titles[index]}" if titles else ""
        result = _draw_card(result, (left, top, left + card_wh[0], top + card_wh[1]), text_px, title, shown, colour)
    return result


def _place(
    lines: Sequence[tuple[str, float]],
    box_xyxy: np.ndarray,
    size_px: float,
    photo_size_wh: tuple[int, int],
    taken: Sequence[Box],
) -> tuple[float, Box]:
    """Text size and box of the card right of, left of, below or above the face, where it covers least of others."""
    short_px = min(photo_size_wh)
    smallest, largest = (max(_SMALLEST_TEXT_PX, short_px / lines_across) for lines_across in (55, 22))
    text_px = float(np.clip(size_px / 10, smallest, largest))
    width, height = _card_size_px(lines, len(lines), text_px)
    gap = 0.5 * text_px
    x_min, y_min, x_max, y_max = (float(side) for side in box_xyxy)
    corners = (
        (x_max + gap, y_min),
        (x_min - gap - width, y_min),
        (x_min, y_max + gap),
        (x_min, y_min - gap - height),
    )
    boxes = [_moved_inside((left, top, left + width, top + height), photo_size_wh) for left, top in corners]
    return text_px, min(boxes, key=lambda box: sum(_overlap(box, other) for other in taken))


def _moved_inside(box: Box, photo_size_wh: tuple[int, int]) -> Box:
    """The box moved into the photo, as far as it fits."""
    width, height = box[2] - box[0], box[3] - box[1]
    left = max(0.0, min(box[0], photo_size_wh[0] - width))
    top = max(0.0, min(box[1], photo_size_wh[1] - height))
    return (left, top, left + width, top + height)


def _overlap(box: Sequence[float], other: Sequence[float]) -> float:
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    return max(0.0, width) * max(0.0, height)


def _draw_box(
    picture: Image.Image, box_xyxy: np.ndarray, size_px: float, tag: str, colour: tuple[int, int, int]
) -> Image.Image:
    """The outline of a face with its number."""
    width_px, text_px = line_width_px(size_px), max(_SMALLEST_TEXT_PX, size_px / 9)
    margin = 3 * width_px + 2 * text_px
    canvas = AntialiasedCanvas(box_xyxy + np.array([-margin, -margin, margin, margin]), picture.size)
    canvas.rounded_box(tuple(box_xyxy), size_px / 16, colour, 1.4 * width_px)
    if tag:
        draw_tag(canvas, box_xyxy, tag, text_px, colour)
    return canvas.composite_over(picture)


def _draw_card(
    picture: Image.Image, card_xyxy: Box, text_px: float, title: str, lines: Sequence, colour: tuple[int, int, int]
) -> Image.Image:
    """A card with a title, and per line a name, a bar and a number."""
    left, top, right, bottom = card_xyxy
    canvas = AntialiasedCanvas((left - 3, top - 3, right + 3, bottom + 3), picture.size)
    canvas.rounded_box(card_xyxy, 0.5 * text_px, (*colour, 255), 0.12 * text_px, fill=(*PAPER, 225))
    number_left = right - (_PAD + _NUMBER - 0.5) * text_px
    bar_left, bar_right = right - (_PAD + _NUMBER + _BAR) * text_px, right - (_PAD + _NUMBER) * text_px
    middles = iter(top + (_PAD + _LINE * (row + 0.5)) * text_px for row in range(len(lines) + 1))
    if title:
        middle = next(middles)
        swatch = (left + _PAD * text_px, middle - 0.4 * text_px, left + (_PAD + 0.8) * text_px, middle + 0.4 * text_px)
        canvas.rounded_box(swatch, 0.2 * text_px, None, 0, fill=colour)
        canvas.text((left + (_PAD + 1.2) * text_px, middle), title, text_px, INK)
    for (text, probability), middle in zip(lines, middles, strict=False):
        canvas.text((left + _PAD * text_px, middle), text, text_px, INK)
        canvas.line(np.array([[bar_left, middle], [bar_right, middle]]), _TRACK, 0.42 * text_px)
        if probability > 0:
            filled = bar_left + probability * (bar_right - bar_left)
            canvas.line(np.array([[bar_left, middle], [filled, middle]]), colour, 0.42 * text_px)
        canvas.text((number_left, middle), f"{probability:.2f}", text_px, INK)
    return canvas.composite_over(picture)


def contact_sheet(
    pictures: Sequence[tuple[str, Image.Image]], columns: int = 2, cell_size_wh: tuple[int, int] = (640, 480)
) -> Image.Image:
    """A sheet of captioned pictures, row by row.

    Args:
        pictures (`Sequence`): (caption, picture) pairs. Captions wider than a cell go on in further lines.
        columns (`int`, *optional*, defaults to 2): Pictures in a row.
        cell_size_wh (`tuple[int, int]`, *optional*): The largest width and height of a picture on the sheet; larger
            ones are shrunk, smaller ones are left as they are.

    Returns:
        `PIL.Image.Image`: A new RGB image.

    Raises:
        InvalidArgumentError: There are no pictures.
    """
    if not pictures:
        raise InvalidArgumentError("A contact sheet needs at least one picture, but got none.")
    shown = [(caption, picture.convert("RGB")) for caption, picture in pictures]
    for _, picture in shown:
        picture.thumbnail(cell_size_wh)
    width = max(picture.width for _, picture in shown)
    captions = [_wrapped(caption, width) for caption, _ in shown]
    columns = min(columns, len(shown))
    starts = range(0, len(shown), columns)
    captions_px = [_LINE_PX * max(len(lines) for lines in captions[start : start + columns]) + 4 for start in starts]
    heights_px = [max(picture.height for _, picture in shown[start : start + columns]) for start in starts]
    height = sum(captions_px) + sum(heights_px) + _MARGIN_PX * (len(starts) + 1)
    sheet = Image.new("RGB", (columns * (width + _MARGIN_PX) + _MARGIN_PX, height), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_TEXT_PX)
    top = _MARGIN_PX
    for start, caption_px, height_px in zip(starts, captions_px, heights_px, strict=True):
        for column, (_, picture) in enumerate(shown[start : start + columns]):
            left, lines = _MARGIN_PX + column * (width + _MARGIN_PX), captions[start + column]
            for row, line in enumerate(lines):
                middle = top + caption_px - 4 - (len(lines) - row - 0.5) * _LINE_PX
                draw.text((left, middle), line, fill=INK, font=font, anchor="lm")
            sheet.paste(picture, (left, top + caption_px))
        top += caption_px + height_px + _MARGIN_PX
    return sheet


def _wrapped(caption: str, width_px: int) -> list[str]:
    """The caption in lines that fit, broken between words, or within words that are longer than a line."""
    font, lines = ImageFont.load_default(_TEXT_PX), [""]
    for word in caption.split():
        trial = f"{lines[-1]} {word}".strip()
        if font.getlength(trial) <= width_px:
            lines[-1] = trial
            continue
        lines += [""] if lines[-1] else []
        for letter in word:
            if lines[-1] and font.getlength(lines[-1] + letter) > width_px:
                lines.append("")
            lines[-1] += letter
    return lines
