"""A strip under a picture that names its colours."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from farl_hf.drawing.colours import INK, PAPER

__all__ = ["with_legend"]

_OVERSAMPLING = 3
_SMALLEST_TEXT_PX = 8.0


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
    result.paste(_strip(rows, text_px, line_px, (picture.width, height)), (0, picture.height))
    return result


def _entry_width_px(name: str, text_px: float) -> float:
    return ImageFont.load_default(text_px).getlength(name) + 2.6 * text_px


def _rows(entries: list, text_px: float, width_px: float) -> list[list]:
    rows, used_px = [[]], text_px
    for name, colour in entries:
        entry_px = _entry_width_px(name, text_px)
        if rows[-1] and used_px + entry_px > width_px:
            rows.append([])
            used_px = text_px
        rows[-1].append((name, colour, used_px))
        used_px += entry_px
    return rows


def _strip(rows: list[list], text_px: float, line_px: float, size_wh: tuple[int, int]) -> Image.Image:
    scale = _OVERSAMPLING
    strip = Image.new("RGB", (size_wh[0] * scale, size_wh[1] * scale), PAPER)
    draw = ImageDraw.Draw(strip)
    font = ImageFont.load_default(text_px * scale)
    for row, entries in enumerate(rows):
        middle = (0.4 * text_px + (row + 0.5) * line_px) * scale
        half = 0.45 * text_px * scale
        for name, colour, left_px in entries:
            left = left_px * scale
            draw.rounded_rectangle([left, middle - half, left + 2 * half, middle + half], half / 2.5, fill=colour)
            draw.text((left + 3 * half, middle), name, fill=INK, font=font, anchor="lm")
    return strip.reduce(scale)
