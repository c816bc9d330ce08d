"""Pictures of a dataset row as numpy arrays, decoded only when a sample needs them."""

import io
import warnings
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import PIL.Image
import PIL.ImageOps

from farl_hf.errors import MissingExtraError, UnreadablePhotoError

__all__ = [
    "MAX_PHOTO_PIXELS",
    "OversizedPhotoError",
    "ReducedPhoto",
    "decode_map",
    "decode_photo",
    "open_photo",
    "without_decoding",
]


def without_decoding(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> Sequence[dict[str, Any]]:
    """A view of the rows that keeps these columns and leaves pictures as encoded bytes.

    `datasets.Dataset` decodes every picture of a row whether it is used or not, through PIL; skipping that is most of
    the speed of a CPU training. A list of dicts is returned as it is.
    """
    if not hasattr(rows, "cast_column"):
        return rows
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError('Training needs the `datasets` package: pip install "farl-hf[train]".') from error
    view = rows.select_columns([name for name in columns if name in rows.column_names])
    for name, feature in view.features.items():
        if isinstance(feature, datasets.Image):
            view = view.cast_column(name, datasets.Image(decode=False))
    return view


def decode_photo(picture: Any) -> np.ndarray:
    """(H, W, 3) uint8 RGB from encoded bytes, a path, a PIL image or an array."""
    array = decode(picture, cv2.IMREAD_COLOR)
    if array is None:
        return np.ascontiguousarray(np.asarray(picture.convert("RGB") if hasattr(picture, "convert") else picture))
    return cv2.cvtColor(array, cv2.COLOR_BGR2RGB)


def decode_map(picture: Any) -> np.ndarray:
    """(H, W) uint8 class or instance ids from encoded bytes, a path, a PIL image or an array."""
    array = decode(picture, cv2.IMREAD_UNCHANGED)
    if array is None:
        return np.asarray(picture)
    if array.ndim == 3:  # a palette picture: OpenCV looks the colours up, the ids are the indices
        source = io.BytesIO(picture["bytes"]) if picture.get("bytes") is not None else picture["path"]
        return np.asarray(PIL.Image.open(source))
    return array


def decode(picture: Any, flag: int) -> np.ndarray | None:
    """Decodes `{"bytes", "path"}` as the undecoded `datasets.Image` gives it; None for anything else."""
    if not isinstance(picture, dict):
        return None
    if picture.get("bytes") is not None:
        encoded = np.frombuffer(picture["bytes"], np.uint8)
    else:
        encoded = read_bytes(picture["path"])
    array = cv2.imdecode(encoded, flag) if encoded.size else None
    if array is None:
        raise UnreadablePhotoError(f"The picture {picture.get('path') or 'of a dataset row'} cannot be decoded.")
    return array


def read_bytes(path: str) -> np.ndarray:
    """Encoded bytes of a file as uint8."""
    try:
        return np.fromfile(path, np.uint8)
    except OSError as error:
        raise UnreadablePhotoError(f"The picture {path} cannot be read: {error.strerror}.") from error


# Photos decoded no larger than a crop needs, after their size has been checked.
#
# A face that fills a large photo is shrunk by its crop. JPEG pictures can be decoded at a half, a quarter or an
# eighth
# of their size in a fraction of the time, and the rest of the shrinking then no longer skips pixels.


# What Pillow itself warns about: a quarter of a gigabyte of RGB. Photos of the web are far below.
MAX_PHOTO_PIXELS = 89_478_485
REDUCTIONS = (8, 4, 2)
# Pillow goes by content, not by name, and would start an interpreter for a picture that is a PostScript program.
PHOTO_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
EXIF_ORIENTATION = 0x0112


class OversizedPhotoError(UnreadablePhotoError):
    """A picture whose header promises more pixels than any photo has."""


class ReducedPhoto:
    """A photo that is decoded when the scale at which it will be seen is known.

    Args:
        picture: `{"bytes", "path"}` as the undecoded `datasets.Image` gives it, a PIL image, or an array (H, W, 3)
            uint8 RGB.
        max_pixels (`int`): Larger photos are refused before they are decoded.

    Attributes:
        size_hw (`tuple[int, int]`): Height and width of the whole photo, turned as its EXIF tag says.

    Raises:
        OversizedPhotoError: More than `max_pixels`.
        UnreadablePhotoError: The picture cannot be opened.
    """

    def __init__(self, picture: Any, max_pixels: int = MAX_PHOTO_PIXELS):
        self.picture = opened(picture) if isinstance(picture, dict) else picture
        # Asking for a smaller decoding changes a PIL image for good, so never one of the caller's.
        self.draftable = isinstance(picture, dict)
        if isinstance(self.picture, PIL.Image.Image):
            width, height = self.picture.size
        else:
            self.picture = decode_photo(self.picture)
            height, width = self.picture.shape[:2]
        if width * height > max_pixels:
            raise OversizedPhotoError(f"A picture of {width} x {height} pixels is larger than {max_pixels} pixels.")
        self.turned = isinstance(self.picture, PIL.Image.Image) and has_orientation(self.picture)
        sideways = self.turned and self.picture.getexif()[EXIF_ORIENTATION] >= 5
        self.size_hw = (width, height) if sideways else (height, width)

    def decode(self, scale: float) -> tuple[np.ndarray, int]:
        """Decodes for a crop that shows `scale` crop pixels per photo pixel.

        Returns:
            `tuple[numpy.ndarray, int]`: (h, w, 3) uint8 RGB and the whole number by which it is smaller than the
            photo: photo coordinates divided by it are its coordinates.

        Raises:
            UnreadablePhotoError: The data is damaged or ends early.
        """
        reduction = next((factor for factor in REDUCTIONS if scale * factor <= 1), 1)
        if isinstance(self.picture, PIL.Image.Image):
            return self.decoded(reduction), reduction
        if reduction == 1:
            return self.picture, 1
        # Whole blocks only, as a shrunk JPEG has them; the rim repeats the last pixels.
        height, width = self.size_hw
        padding = (0, -height % reduction, 0, -width % reduction)
        padded = cv2.copyMakeBorder(self.picture, *padding, borderType=cv2.BORDER_REPLICATE)
        small_wh = (padded.shape[1] // reduction, padded.shape[0] // reduction)
        return cv2.resize(padded, small_wh, interpolation=cv2.INTER_AREA), reduction

    def decoded(self, reduction: int) -> np.ndarray:
        """RGB of a PIL image, `reduction` times smaller."""
        try:
            picture, achieved = self.picture, 1
            if reduction > 1 and self.draftable and not self.turned:  # a turned photo's last blocks would come first
                size = (max(1, picture.width // reduction), max(1, picture.height // reduction))
                drafted = picture.draft("RGB", size)
                achieved = round(self.size_hw[1] / drafted[1][2]) if drafted else 1
            picture = PIL.ImageOps.exif_transpose(picture) if self.turned else picture
            picture = picture.convert("RGB")
            return np.asarray(picture.reduce(reduction // achieved) if reduction > achieved else picture)
        except (OSError, ValueError, SyntaxError, IndexError, TypeError) as error:  # Pillow's own, by format
            raise UnreadablePhotoError(f"A picture of a dataset row cannot be decoded: {error}.") from error


def open_photo(picture: Any, max_pixels: int = MAX_PHOTO_PIXELS) -> ReducedPhoto:
    """The photo of a row, not yet decoded; see [`ReducedPhoto`]."""
    return ReducedPhoto(picture, max_pixels)


def opened(picture: dict[str, Any]) -> PIL.Image.Image:
    """A PIL image of which only the header has been read."""
    source = io.BytesIO(picture["bytes"]) if picture.get("bytes") is not None else picture["path"]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)  # the limit is checked by the caller
            return PIL.Image.open(source, formats=PHOTO_FORMATS)
    except PIL.Image.DecompressionBombError as error:
        raise OversizedPhotoError(f"A picture is far too large: {error}") from error
    except (OSError, ValueError, SyntaxError, TypeError) as error:
        raise UnreadablePhotoError(f"A picture of a dataset row cannot be opened: {error}.") from error


def has_orientation(picture: PIL.Image.Image) -> bool:
    """Whether the EXIF tag turns or mirrors the picture."""
    # Most pictures carry no EXIF block, and asking for the tags would parse one of XMP too.
    return "exif" in picture.info and picture.getexif().get(EXIF_ORIENTATION, 1) in range(2, 9)
