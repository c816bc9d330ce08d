"""Pictures of a dataset row as numpy arrays, decoded only when a sample needs them.

A picture is `{"bytes", "path"}` as the undecoded `datasets.Image` gives it; most functions also take a PIL image or an
array. `farl_hf.photos` opens all of them, so that training sees the pixels that pipelines see.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import PIL.Image
import torch

from farl_hf.errors import InvalidFaceInputError
from farl_hf.photos import OversizedPhotoError, load_photo, open_picture, orientation, upright, upright_rgb

# What Pillow itself warns about: a quarter of a gigabyte of RGB. Photos of the web are far below.
MAX_PHOTO_PIXELS = 89_478_485
# Parts of its size at which a JPEG can be decoded, in a fraction of the time.
REDUCTIONS = (8, 4, 2)
# By what Pillow multiplies grey values of few bits, by the name of their layout in the file.
SPREAD = {"L;2": 85, "L;4": 17}


def column_names(rows: Any) -> list[str]:
    """Columns of a `datasets.Dataset` or of a list of dicts."""
    return list(rows.column_names) if hasattr(rows, "column_names") else list(rows[0])


def without_decoding(rows: Any, columns: Sequence[str]) -> Any:
    """A view of the rows that keeps these columns and leaves pictures as encoded bytes.

    `datasets.Dataset` decodes every picture of a row through PIL, whether it is used or not; skipping that is most of
    the speed of a CPU training. A list of dicts is returned as it is.
    """
    if not hasattr(rows, "cast_column"):
        return rows
    import datasets

    view = rows.select_columns([name for name in columns if name in rows.column_names])
    for name, feature in view.features.items():
        if isinstance(feature, datasets.Image):
            view = view.cast_column(name, datasets.Image(decode=False))
    return view


def decode_photo(picture: Any, name: str | None = None) -> np.ndarray:
    """(H, W, 3) uint8 RGB, upright, of anything that `load_photo` reads.

    Args:
        picture: The photo, for example `{"bytes", "path"}`.
        name (`str`, *optional*): What errors call it.

    Raises:
        UnreadablePhotoError: The picture cannot be read or decoded.
    """
    return np.asarray(load_photo(picture, picture_name(picture, name)))


def decode_map(picture: Any, name: str | None = None) -> np.ndarray:
    """(H, W) uint8 class or instance ids from encoded bytes, a path, a PIL image or an array.

    Args:
        picture: The map. Of a palette, the indices are the ids; of grey pictures of 1, 2, 4 or 8 bits, the values as
            stored.
        name (`str`, *optional*): What errors call it.

    Raises:
        UnreadablePhotoError: The picture cannot be read or decoded.
        InvalidFaceInputError: It has colours, or ids beyond 0 to 255.
    """
    name = picture_name(picture, name)
    if not isinstance(picture, np.ndarray | torch.Tensor):
        picture = stored_values(picture if isinstance(picture, PIL.Image.Image) else open_picture(picture, name), name)
    ids = np.asarray(picture)
    if ids.ndim == 3 and ids.shape[2] == 1:
        ids = ids[..., 0]
    if ids.ndim != 2 or ids.dtype.kind not in "bui":
        raise InvalidFaceInputError(
            f"The label map {name} is a colour picture, of shape {ids.shape} and type {ids.dtype}; expected one"
            " channel of whole class ids."
        )
    if ids.size and (ids.min() < 0 or ids.max() > 255):
        raise InvalidFaceInputError(
            f"The label map {name} has the ids {ids.min()} to {ids.max()}; expected them within 0 to 255."
        )
    return ids.astype(np.uint8)


def stored_values(picture: PIL.Image.Image, name: str) -> np.ndarray:
    """The values of a map as they were written: Pillow spreads grey of 2 and 4 bits over 0 to 255."""
    tiles = getattr(picture, "tile", None)  # gone once the picture is decoded
    arguments = tiles[0].args if tiles else ""
    raw_mode = arguments if isinstance(arguments, str) else str(arguments[0])
    values = np.asarray(upright(picture, name))
    if picture.mode in ("RGBA", "LA", "PA"):
        values = values[..., :-1] if (values[..., -1] == 255).all() or picture.mode == "PA" else values
    return values // SPREAD[raw_mode] if picture.mode == "L" and raw_mode in SPREAD else values


def picture_name(picture: Any, name: str | None = None) -> str:
    """The name of `{"bytes", "path"}` in an error: its path, and what the caller calls it."""
    path = picture.get("path") if isinstance(picture, Mapping) else None
    return " of ".join(filter(None, (path, name))) or "a dataset row"


class ReducedPhoto:
    """A photo that is decoded no larger than a crop needs, once the scale of the crop is known.

    The crop of a face that fills a large photo shrinks it. JPEG pictures can be decoded at a half, a quarter or an
    eighth of their size in a fraction of the time, and the remaining resampling skips no pixels.

    Args:
        picture: `{"bytes", "path"}` as the undecoded `datasets.Image` gives it, a PIL image, or an array (H, W, 3)
            uint8 RGB.
        name (`str`, *optional*): What errors call it.

    Attributes:
        size_hw (`tuple[int, int]`): Height and width of the whole photo, turned as its EXIF tag says.

    Raises:
        OversizedPhotoError: It has more than `MAX_PHOTO_PIXELS`; it is refused before it is decoded.
        UnreadablePhotoError: The picture cannot be opened.
    """

    def __init__(self, picture: Any, name: str | None = None):
        self.name = picture_name(picture, name)
        # Asking for a smaller decoding changes a PIL image for good, so never one of the caller's.
        self.draftable = isinstance(picture, dict)
        if isinstance(picture, dict):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)  # our limit follows
                picture = open_picture(picture, self.name)
        elif not isinstance(picture, PIL.Image.Image):
            picture = load_photo(picture, self.name)
        width, height = picture.size
        if width * height > MAX_PHOTO_PIXELS:
            raise OversizedPhotoError(
                f"The picture {self.name}, of {width} x {height} pixels, is larger than {MAX_PHOTO_PIXELS} pixels."
            )
        if picture.format == "JPEG":
            self.turn = orientation(picture)
        else:  # only JPEG is decoded in part, and PNG may have its EXIF block after the pixels
            picture, self.turn = upright(picture, self.name), 1
        width, height = picture.size
        self.picture, self.size_hw = picture, (width, height) if self.turn >= 5 else (height, width)

    def decode(self, scale: float) -> tuple[np.ndarray, int]:
        """Decodes for a crop that shows `scale` crop pixels per photo pixel.

        Returns:
            `tuple[numpy.ndarray, int]`: (h, w, 3) uint8 RGB and the whole number by which it is smaller than the
            photo: photo coordinates divided by it are its coordinates.

        Raises:
            UnreadablePhotoError: The data is damaged or ends early.
        """
        reduction = next((factor for factor in REDUCTIONS if scale * factor <= 1), 1)
        achieved = 1
        if reduction > 1 and self.draftable and self.turn == 1:  # a turned photo's last blocks would come first
            width, height = self.picture.size
            drafted = self.picture.draft("RGB", (max(1, width // reduction), max(1, height // reduction)))
            achieved = round(width / drafted[1][2]) if drafted else 1
        photo = upright_rgb(self.picture, self.name)
        return np.asarray(photo.reduce(reduction // achieved) if reduction > achieved else photo), reduction
