"""A transparent canvas over a part of a photo, and the colours and line widths that all drawings share.

Pillow draws without antialiasing. The canvas therefore has several times the resolution of the photo, and is averaged
down before it is composited over the photo.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

# Colours are RGB in 0..255, chosen to be told apart on skin and on most backgrounds.
PAPER = (250, 250, 248)
INK = (35, 38, 45)

# One after the other for the faces of a photo. Colour-blind eyes tell them apart, too.
FACE_COLOURS = (
    (0, 190, 255),
    (255, 176, 0),
    (60, 130, 60),
    (255, 90, 130),
    (130, 80, 230),
    (250, 240, 120),
)

# In the order of `labels.FIVE_POINTS`.
KEYPOINT_COLOURS = ((0, 210, 255), (120, 230, 90), (255, 190, 40), (255, 95, 125), (200, 120, 255))

# By name of the group in `labels.LANDMARK_GROUPS`; groups not listed take the last colour.
LANDMARK_COLOURS = {
    "contour": (120, 200, 255),
    "left_eyebrow": (180, 150, 255),
    "right_eyebrow": (180, 150, 255),
    "nose": (255, 200, 60),
    "nose_bridge": (255, 200, 60),
    "nose_bottom": (255, 200, 60),
    "left_eye": (90, 230, 160),
    "right_eye": (90, 230, 160),
    "mouth": (255, 105, 140),
    "outer_lips": (255, 105, 140),
    "inner_lips": (255, 160, 180),
    "other": (255, 255, 255),
}

Colour = tuple[int, int, int] | tuple[int, int, int, int]

# (longest side of a window in photo pixels, canvas pixels per photo pixel): less on large windows, to bound memory.
_OVERSAMPLING = ((1200, 4), (2600, 2))
_LINE_PER_FACE = 1 / 110
_THINNEST_LINE_PX = 1.0


def ink_on(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    """Dark text on light colours, light text on dark ones (weights of the channels as in ITU-R BT.601)."""
    red, green, blue = colour
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > 128 else PAPER


def line_width_px(face_size_px: float) -> float:
    """Width of a line that looks right on a face of that size (the side of a square of its area), in photo pixels."""
    return max(_THINNEST_LINE_PX, face_size_px * _LINE_PER_FACE)


class AntialiasedCanvas:
    """Draws in photo pixels on a window of a photo.

    Convention: continuous photo pixels, (x, y), the centre of the top-left pixel is (0.5, 0.5).

    Args:
        window_xyxy (`Sequence[float]`): The part of the photo that will be drawn on; it is cut at the photo's border.
        photo_size_wh (`tuple[int, int]`): Width and height of the photo.
    """

    def __init__(self, window_xyxy: Sequence[float], photo_size_wh: tuple[int, int]) -> None:
        width, height = photo_size_wh
        self.left = int(np.clip(np.floor(window_xyxy[0]), 0, width - 1))
        self.top = int(np.clip(np.floor(window_xyxy[1]), 0, height - 1))
        right = int(np.clip(np.ceil(window_xyxy[2]), self.left + 1, width))
        bottom = int(np.clip(np.ceil(window_xyxy[3]), self.top + 1, height))
        self.size_wh = (right - self.left, bottom - self.top)
        self.scale = next((scale for side, scale in _OVERSAMPLING if max(self.size_wh) <= side), 1)
        self.picture = Image.new("RGBA", (self.size_wh[0] * self.scale, self.size_wh[1] * self.scale))
        self._draw = ImageDraw.Draw(self.picture)

    def line(self, points_xy: np.ndarray, colour: Colour, width_px: float, closed: bool = False) -> None:
        """A line through points (n, 2), with round joints and ends."""
        points_xy = np.concatenate([points_xy, points_xy[:1]]) if closed else points_xy
        points = self._to_canvas(points_xy)
        width = self._to_length(width_px)
        self._draw.line([tuple(point) for point in points], fill=colour, width=width, joint="curve")
        if width > 2:
            for point in (points[0], points[-1]):
                self._ellipse(point, width / 2, colour)

    def dot(self, centre_xy: Sequence[float], radius_px: float, colour: Colour) -> None:
        """A filled circle."""
        self._ellipse(self._to_canvas(np.asarray(centre_xy)), radius_px * self.scale, colour)

    def rounded_box(
        self,
        box_xyxy: Sequence[float],
        radius_px: float,
        outline: Colour | None,
        width_px: float,
        fill: Colour | None = None,
    ) -> None:
        """A rectangle with round corners."""
        corners = self._to_canvas(np.asarray(box_xyxy, dtype=float).reshape(2, 2))
        self._draw.rounded_rectangle(
            [tuple(corner) for corner in corners],
            radius=self._to_length(radius_px),
            outline=outline,
            width=self._to_length(width_px) if outline else 0,
            fill=fill,
        )

    def text(self, left_middle_xy: Sequence[float], text: str, size_px: float, colour: Colour) -> None:
        """A line of text whose left end and middle height are given."""
        font = ImageFont.load_default(size_px * self.scale)
        self._draw.text(tuple(self._to_canvas(np.asarray(left_middle_xy))), text, fill=colour, font=font, anchor="lm")

    def composite_over(self, photo: Image.Image) -> Image.Image:
        """The photo, an RGB image, with this canvas composited over it, as a new image."""
        canvas = self.picture.reduce(self.scale) if self.scale > 1 else self.picture
        window = (self.left, self.top, self.left + self.size_wh[0], self.top + self.size_wh[1])
        result = photo.copy()
        result.paste(Image.alpha_composite(photo.crop(window).convert("RGBA"), canvas).convert("RGB"), window)
        return result

    def _to_canvas(self, points_xy: np.ndarray) -> np.ndarray:
        # Pillow counts from the centre of the first pixel.
        return (points_xy - np.array([self.left, self.top])) * self.scale - 0.5

    def _to_length(self, length_px: float) -> int:
        return max(1, round(length_px * self.scale))

    def _ellipse(self, centre: np.ndarray, radius: float, colour: Colour) -> None:
        x, y = centre
        self._draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=colour)
