"""Pictures without faces, with captions: coloured shapes on coloured grounds.

They stand for the other part of the pre-training data when the share of faces is studied at tiny scale.
"""

import datasets
import numpy as np
from PIL import Image, ImageDraw

from farl_hf.data.datasets.builder import row_features

SIDE_PX = 128
FIRST_INDEX = 10**9
COLOURS_RGB = {
    "red": (200, 40, 40),
    "green": (40, 150, 60),
    "blue": (50, 80, 200),
    "yellow": (230, 200, 50),
    "purple": (140, 60, 160),
    "orange": (235, 130, 40),
    "white": (240, 240, 240),
    "black": (25, 25, 25),
}
# Corners on the unit circle, in turns from the top; None is the circle itself.
SHAPE_TURNS = {
    "circle": None,
    "triangle": (0, 1 / 3, 2 / 3),
    "square": (1 / 8, 3 / 8, 5 / 8, 7 / 8),
    "diamond": (0, 1 / 4, 1 / 2, 3 / 4),
    "hexagon": tuple(corner / 6 for corner in range(6)),
}
COLUMNS = ("image", "points5_xy", "caption", "index")


def corners_xy(shape: str, center_xy: np.ndarray, radius_px: float) -> list[tuple[float, float]]:
    """Outline of a shape, in pixels."""
    turns = np.arange(48) / 48 if SHAPE_TURNS[shape] is None else np.array(SHAPE_TURNS[shape])
    angles = 2 * np.pi * turns
    outline = center_xy + radius_px * np.stack([np.sin(angles), -np.cos(angles)], axis=1)
    return [tuple(point) for point in outline]


def draw_shapes(index: int) -> tuple[Image.Image, str]:
    """A picture of two shapes side by side or one above the other, and its caption."""
    rng = np.random.default_rng((11, index))
    ground, first, second = rng.choice(list(COLOURS_RGB), 3, replace=False)
    shapes = rng.choice(list(SHAPE_TURNS), 2)
    beside = rng.random() < 0.5
    offset = np.array([0.22, 0.0]) if beside else np.array([0.0, 0.22])
    picture = Image.fromarray(
        np.clip(np.array(COLOURS_RGB[ground]) + rng.normal(0, 12, (SIDE_PX, SIDE_PX, 3)), 0, 255).astype(np.uint8)
    )
    pen = ImageDraw.Draw(picture)
    for shape, colour, sign in zip(shapes, (first, second), (-1, 1), strict=True):
        center_xy = SIDE_PX * (0.5 + sign * offset + rng.uniform(-0.04, 0.04, 2))
        pen.polygon(corners_xy(shape, center_xy, SIDE_PX * rng.uniform(0.12, 0.2)), fill=COLOURS_RGB[colour])
    place = "left of" if beside else "above"
    return picture, f"a {first} {shapes[0]} {place} a {second} {shapes[1]} on {ground}"


def shape_pictures(count: int) -> datasets.Dataset:
    """That many pictures as rows of the common shape, without a face; their numbers are no rendered face's."""
    indices = range(FIRST_INDEX, FIRST_INDEX + count)
    pictures, captions = zip(*map(draw_shapes, indices), strict=True)
    columns = {"image": pictures, "points5_xy": [[]] * count, "caption": captions, "index": indices}
    return datasets.Dataset.from_dict(
        {name: list(values) for name, values in columns.items()}, features=row_features(COLUMNS)
    )
