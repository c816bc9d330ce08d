"""Pictures of a dataset row as numpy arrays, decoded only when a sample needs them.

A picture is `{"bytes", "path"}` as the undecoded `datasets.Image` gives it; most functions also take a PIL image or an
array. Label maps and photos of prepared data sets are decoded by OpenCV, the fastest. Photos of the web are opened by
Pillow, which tells their size before decoding ([`ReducedPhoto`]).
"""

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import PIL.Image
import PIL.ImageOps

from farl_hf.errors import UnreadablePhotoError

# What Pillow itself warns about: a quarter of a gigabyte of RGB. Photos of the web are far below.
MAX_PHOTO_PIXELS = 89_478_485
# Parts of its size at which a JPEG can be decoded, in a fraction of the time.
REDUCTIONS = (8, 4, 2)
# Pillow goes by content, not by name, and would start an interpreter for a picture that is a PostScript program.
PHOTO_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
EXIF_ORIENTATION = 0x0112


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


def decode_photo(picture: Any) -> np.ndarray:
    """(H, W, 3) uint8 RGB from encoded bytes, a path, a PIL image or an array.

    Raises:
        UnreadablePhotoError: The picture cannot be read or decoded.
    """
    array = decode(picture, cv2.IMREAD_COLOR)
    if array is None:
        return np.ascontiguousarray(np.asarray(picture.convert("RGB") if hasattr(picture, "convert") else picture))
    return cv2.cvtColor(array, cv2.COLOR_BGR2RGB)


def decode_map(picture: Any) -> np.ndarray:
    """(H, W) uint8 class or instance ids from encoded bytes, a path, a PIL image or an array.

    Raises:
        UnreadablePhotoError: The picture cannot be read or decoded.
    """
    array = decode(picture, cv2.IMREAD_UNCHANGED)
    if array is None:
        return np.asarray(picture)
    if array.ndim == 3:  # a palette picture: OpenCV gives the colours, the ids are the indices
        return np.asarray(PIL.Image.open(encoded_source(picture)))
    return array


def decode(picture: Any, flag: int) -> np.ndarray | None:
    """The array that OpenCV decodes of `{"bytes", "path"}`; None for anything else."""
    if not isinstance(picture, dict):
        return None
    try:
        content = picture.get("bytes")
        encoded = np.fromfile(picture["path"], np.uint8) if content is None else np.frombuffer(content, np.uint8)
    except OSError as error:
        raise UnreadablePhotoError(f"The picture {picture_name(picture)} cannot be read: {error.strerror}.") from error
    array = cv2.imdecode(encoded, flag) if encoded.size else None
    if array is None:
        raise UnreadablePhotoError(f"The picture {picture_name(picture)} cannot be decoded.")
    return array


def encoded_source(picture: Mapping[str, Any]) -> Any:
    """Where Pillow reads `{"bytes", "path"}`: the bytes as a file, else the path."""
    return io.BytesIO(picture["bytes"]) if picture.get("bytes") is not None else picture["path"]


def picture_name(picture: Mapping[str, Any]) -> str:
    """The name of `{"bytes", "path"}` in an error."""
    return picture.get("path") or "of a dataset row"


class OversizedPhotoError(UnreadablePhotoError):
    """A picture whose header promises more pixels than any photo has."""


class ReducedPhoto:
    """A photo that is decoded no larger than a crop needs, once the scale of the crop is known.

    The crop of a face that fills a large photo shrinks it. JPEG pictures can be decoded at a half, a quarter or an
    eighth of their size in a fraction of the time, and the remaining resampling skips no pixels.

    Args:
        picture: `{"bytes", "path"}` as the undecoded `datasets.Image` gives it, a PIL image, or an array (H, W, 3)
            uint8 RGB.

    Attributes:
        size_hw (`tuple[int, int]`): Height and width of the whole photo, turned as its EXIF tag says.

    Raises:
        OversizedPhotoError: It has more than `MAX_PHOTO_PIXELS`; it is refused before it is decoded.
        UnreadablePhotoError: The picture cannot be opened.
    """

    def __init__(self, picture: Any):
        # Asking for a smaller decoding changes a PIL image for good, so never one of the caller's.
        self.draftable = isinstance(picture, dict)
        if isinstance(picture, dict):
            picture = opened(picture)
        elif not isinstance(picture, PIL.Image.Image):
            picture = PIL.Image.fromarray(np.asarray(picture))
        width, height = picture.size
        if width * height > MAX_PHOTO_PIXELS:
            raise OversizedPhotoError(
                f"A picture of {width} x {height} pixels is larger than {MAX_PHOTO_PIXELS} pixels."
            )
        # Most pictures have no EXIF block, and asking for the tags would parse one of XMP too.
        orientation = picture.getexif().get(EXIF_ORIENTATION, 1) if "exif" in picture.info else 1
        self.picture, self.turned = picture, orientation in range(2, 9)
        self.size_hw = (width, height) if orientation in range(5, 9) else (height, width)

    def decode(self, scale: float) -> tuple[np.ndarray, int]:
        """Decodes for a crop that shows `scale` crop pixels per photo pixel.

        Returns:
            `tuple[numpy.ndarray, int]`: (h, w, 3) uint8 RGB and the whole number by which it is smaller than the
            photo: photo coordinates divided by it are its coordinates.

        Raises:
            UnreadablePhotoError: The data is damaged or ends early.
        """
        reduction = next((factor for factor in REDUCTIONS if scale * factor <= 1), 1)
        picture, achieved = self.picture, 1
        try:
            if reduction > 1 and self.draftable and not self.turned:  # a turned photo's last blocks would come first
                size = (max(1, picture.width // reduction), max(1, picture.height // reduction))
                drafted = picture.draft("RGB", size)
                achieved = round(self.size_hw[1] / drafted[1][2]) if drafted else 1
            picture = PIL.ImageOps.exif_transpose(picture) if self.turned else picture
            picture = picture.convert("RGB")
            return np.asarray(picture.reduce(reduction // achieved) if reduction > achieved else picture), reduction
        except (OSError, ValueError, SyntaxError, IndexError, TypeError) as error:  # Pillow's own, by format
            raise UnreadablePhotoError(f"A picture of a dataset row cannot be decoded: {error}.") from error


def opened(picture: dict[str, Any]) -> PIL.Image.Image:
    """A PIL image of which only the header has been read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)  # the limit is checked by the caller
            return PIL.Image.open(encoded_source(picture), formats=PHOTO_FORMATS)
    except PIL.Image.DecompressionBombError as error:
        raise OversizedPhotoError(f"A picture is far too large: {error}") from error
    except (OSError, ValueError, SyntaxError, TypeError) as error:
        raise UnreadablePhotoError(f"A picture of a dataset row cannot be opened: {error}.") from error
