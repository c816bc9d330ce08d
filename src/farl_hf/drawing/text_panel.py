"""Lines of text as a picture, to stand beside another."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from farl_hf.drawing.colours import INK, PAPER

__all__ = ["text_panel"]

_TEXT_PX = 17
_LINE_PX = 26
_MARGIN_PX = 12


def text_panel(lines: Sequence[str], size_wh: tuple[int, int]) -> Image.Image:
    """The lines from the top of an RGB picture of that size; what does not fit is cut off."""
    panel = Image.new("RGB", size_wh, PAPER)
    draw, font = ImageDraw.Draw(panel), ImageFont.load_default(_TEXT_PX)
    for row, line in enumerate(lines):
        draw.text((_MARGIN_PX, (row + 0.5) * _LINE_PX), line, fill=INK, font=font, anchor="lm")
    return panel
