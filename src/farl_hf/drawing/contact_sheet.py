"""Several pictures side by side, each with a caption."""

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont, ImageOps

from farl_hf.drawing.colours import INK, PAPER

__all__ = ["contact_sheet"]

_GAP_PX = 12
_CAPTION_PX = 30
_TEXT_PX = 17


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
    shown = [(caption, _fitted(picture, cell_size_wh)) for caption, picture in pictures]
    width = max(picture.width for _, picture in shown)
    height = max(picture.height for _, picture in shown) + _CAPTION_PX
    columns = min(columns, len(shown))
    rows = math.ceil(len(shown) / columns)
    sheet = Image.new("RGB", (columns * (width + _GAP_PX) + _GAP_PX, rows * (height + _GAP_PX) + _GAP_PX), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_TEXT_PX)
    for index, (caption, picture) in enumerate(shown):
        left = _GAP_PX + (index % columns) * (width + _GAP_PX)
        top = _GAP_PX + (index // columns) * (height + _GAP_PX)
        draw.text((left, top + _CAPTION_PX / 2), caption, fill=INK, font=font, anchor="lm")
        sheet.paste(picture, (left, top + _CAPTION_PX))
    return sheet


def _fitted(picture: Image.Image, size_wh: tuple[int, int]) -> Image.Image:
    picture = picture.convert("RGB")
    fits = picture.width <= size_wh[0] and picture.height <= size_wh[1]
    return picture if fits else ImageOps.contain(picture, size_wh)
