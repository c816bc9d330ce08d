"""Maps as translucent colours over a photo: label maps with outlines and a legend, and heat maps.

Heat maps are clear where cold and go to the yellow of viridis, whose steps look equally large (van der Walt and Smith,
matplotlib), colour-blind eyes included.
"""

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from farl_hf.drawing.antialiased_canvas import INK, PAPER, AntialiasedCanvas, line_width_px
from farl_hf.drawing.captions import with_legend
from farl_hf.errors import InvalidFaceInputError
from farl_hf.labels import palette_for
from farl_hf.results import FaceParsing

_FEATHER_PX = 0.6  # softens the steps between pixels of the label map
_SMALLEST_REGION = 1 / 4000  # of the labelled area; smaller specks are coloured but get no outline
_OPAQUE_FROM = 0.5  # heat at which the colour of a heat map reaches its full opacity


def draw_face_parsing(
    photo: Image.Image, parsing: FaceParsing, opacity: float = 0.5, legend: bool = True
) -> Image.Image:
    """The photo with the parts of every face in colour.

    Args:
        photo (`PIL.Image.Image`): The upright photo; it is left as it is.
        parsing (`FaceParsing`): Label maps as large as the photo. Where faces overlap, the first in the list wins.
        opacity (`float`, *optional*, defaults to 0.5): Of the colours, in [0, 1].
        legend (`bool`, *optional*, defaults to `True`): Whether a strip under the photo names the colours.

    Returns:
        `PIL.Image.Image`: A new RGB image, as large as the photo, or taller by the legend.

    Raises:
        InvalidFaceInputError: If the label maps are not as large as the photo.
    """
    picture = photo.convert("RGB")
    if len(parsing) and parsing.label_maps.shape[1:] != (photo.height, photo.width):
        raise InvalidFaceInputError(
            f"The label maps are {parsing.label_maps.shape[2]} x {parsing.label_maps.shape[1]} pixels, the photo is "
            f"{photo.width} x {photo.height}; draw on the photo that was parsed."
        )
    palette = palette_for(parsing.label_names)
    for label_map in parsing.label_maps[::-1]:
        if label_map.any():
            picture = _draw_face(picture, label_map, palette, opacity)
    seen = [label for label in np.unique(parsing.label_maps) if label > 0]
    if not legend or not seen:
        return picture
    return with_legend(picture, [(parsing.label_names[label], palette[label]) for label in seen])


def _draw_face(picture: Image.Image, label_map: np.ndarray, palette: tuple, opacity: float) -> Image.Image:
    window = _labelled_window(label_map)
    x_min, y_min, x_max, y_max = window
    labels = label_map[y_min:y_max, x_min:x_max]
    result = picture.copy()
    result.paste(_coloured(picture.crop(window), labels, palette, opacity), window)
    width_px = line_width_px(0.7 * float(np.sqrt(np.count_nonzero(labels))))
    canvas = AntialiasedCanvas(window, picture.size)
    for label in np.unique(labels[labels > 0]):
        _outline(canvas, labels == label, (x_min, y_min), palette[label], width_px)
    return canvas.composite_over(result)


def _labelled_window(label_map: np.ndarray) -> tuple[int, int, int, int]:
    """The box x_min, y_min, x_max, y_max around everything labelled, with room for the outline."""
    height, width = label_map.shape
    rows, columns = np.flatnonzero(label_map.any(axis=1)), np.flatnonzero(label_map.any(axis=0))
    margin = 4 + (rows[-1] - rows[0]) // 50
    return (
        int(max(columns[0] - margin, 0)),
        int(max(rows[0] - margin, 0)),
        int(min(columns[-1] + 1 + margin, width)),
        int(min(rows[-1] + 1 + margin, height)),
    )


def _coloured(photo: Image.Image, labels: np.ndarray, palette: tuple, opacity: float) -> Image.Image:
    alpha = cv2.GaussianBlur((labels > 0).astype(np.float32), (0, 0), _FEATHER_PX)[..., None]
    colour = np.asarray(palette, np.float32)[labels]
    # Blurring colour times coverage and dividing by coverage keeps the black of the background out of the edges.
    colour = cv2.GaussianBlur(colour, (0, 0), _FEATHER_PX) / np.maximum(alpha, 1e-6)
    blended = np.asarray(photo, np.float32) * (1 - opacity * alpha) + colour * (opacity * alpha)
    return Image.fromarray(blended.clip(0, 255).round().astype(np.uint8))


def _outline(
    canvas: AntialiasedCanvas,
    mask: np.ndarray,
    offset_xy: tuple[int, int],
    colour: tuple[int, int, int],
    width_px: float,
) -> None:
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    for contour in contours:
        if len(contour) > 4 and cv2.contourArea(contour) > _SMALLEST_REGION * mask.size:
            points_xy = contour[:, 0].astype(float) + 0.5 + np.array(offset_xy)
            canvas.line(_smooth(points_xy, width_px), (*_brighter(colour), 235), width_px, closed=True)


def _smooth(points_xy: np.ndarray, width_px: float) -> np.ndarray:
    """The running mean along a closed contour, over about three line widths: the steps between pixels vanish."""
    reach = min(max(2, round(1.5 * width_px)), len(points_xy) // 4)
    around = np.concatenate([points_xy[-reach:], points_xy, points_xy[:reach]]) if reach else points_xy
    kernel = np.full(2 * reach + 1, 1 / (2 * reach + 1))
    return np.stack([np.convolve(around[:, axis], kernel, mode="valid") for axis in (0, 1)], axis=1)


def _brighter(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    red, green, blue = (round(channel + 0.45 * (255 - channel)) for channel in colour)
    return red, green, blue


def draw_heat_map(photo: Image.Image, heat_map: np.ndarray, opacity: float = 0.6) -> Image.Image:
    """The photo with one heat map over it.

    Args:
        photo (`PIL.Image.Image`): The upright photo; it is left as it is.
        heat_map (`np.ndarray` of shape `(height, width)`): Heat in [0, 1], as large as the photo.
        opacity (`float`, *optional*, defaults to 0.6): Of the colours where it is warm, in [0, 1].

    Returns:
        `PIL.Image.Image`: A new RGB image of the same size.

    Raises:
        InvalidFaceInputError: If the map is not as large as the photo.
    """
    if heat_map.shape != (photo.height, photo.width):
        raise InvalidFaceInputError(
            f"The heat map has shape {heat_map.shape}, the photo is {photo.height} pixels high and {photo.width} "
            "wide; draw on the photo that was explained."
        )
    heat = np.clip(np.asarray(heat_map, np.float32), 0, 1)
    colours_bgr = cv2.applyColorMap(np.round(255 * heat).astype(np.uint8), cv2.COLORMAP_VIRIDIS)
    alpha = (opacity * np.minimum(heat / _OPAQUE_FROM, 1))[..., None]
    blended = np.asarray(photo.convert("RGB"), np.float32) * (1 - alpha) + colours_bgr[..., ::-1] * alpha
    return Image.fromarray(blended.round().astype(np.uint8))


def colour_bar(low: str, high: str, title: str, height_px: int) -> Image.Image:
    """The scale of heat maps as an RGB picture of that height: a title, and the colours between two numbers."""
    font = ImageFont.load_default(0.55 * height_px)
    before, after = f"{title}   {low}  ", f"  {high}"
    left, length = round(font.getlength(before)), 8 * height_px
    bar = Image.new("RGB", (left + length + round(font.getlength(after)), height_px), PAPER)
    draw = ImageDraw.Draw(bar)
    draw.text((0, height_px / 2), before, fill=INK, font=font, anchor="lm")
    draw.text((left + length, height_px / 2), after, fill=INK, font=font, anchor="lm")
    heat = np.linspace(0, 1, length, dtype=np.float32)[None].repeat(height_px // 2, axis=0)
    bar.paste(draw_heat_map(Image.new("RGB", heat.shape[::-1], PAPER), heat, opacity=1), (left, height_px // 4))
    return bar
