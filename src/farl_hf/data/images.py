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

from farl_hf.errors import MissingExtraError, UnreadablePhotoError

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
    if picture.get("bytes") is not None:
        encoded = np.frombuffer(picture["bytes"], np.uint8)
    else:
        encoded = read_bytes(picture["path"])
    array = cv2.imdecode(encoded, flag) if encoded.size else None
    if array is None:
        raise UnreadablePhotoError(f"The picture {picture_name(picture)} cannot be decoded.")
    return array


def read_bytes(path: str) -> np.ndarray:
    """Encoded bytes of a file as uint8."""
    try:
        return np.fromfile(path, np.uint8)
    except OSError as error:
        raise UnreadablePhotoError(f"The picture {path} cannot be read: {error.strerror}.") from error


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
        max_pixels (`int`): Larger photos are refused before they are decoded.

    Attributes:
        size_hw (`tuple[int, int]`): Height and width of the whole photo, turned as its EXIF tag says.

    Raises:
        OversizedPhotoError: More than `max_pixels`.
        UnreadablePhotoError: The picture cannot be opened.
    """

    def __init__(self, picture: Any, max_pixels: int = MAX_PHOTO_PIXELS):
        # Asking for a smaller decoding changes a PIL image for good, so never one of the caller's.
        self.draftable = isinstance(picture, dict)
        picture = opened(picture) if isinstance(picture, dict) else picture
        self.picture = picture if isinstance(picture, PIL.Image.Image) else decode_photo(picture)
        if isinstance(self.picture, PIL.Image.Image):
            width, height = self.picture.size
        else:
            height, width = self.picture.shape[:2]
        if width * height > max_pixels:
            raise OversizedPhotoError(f"A picture of {width} x {height} pixels is larger than {max_pixels} pixels.")
        self.turned = sideways = False
        if isinstance(self.picture, PIL.Image.Image) and has_orientation(self.picture):
            self.turned, sideways = True, self.picture.getexif()[EXIF_ORIENTATION] >= 5
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
            return self.decoded(self.picture, reduction), reduction
        return shrunk_array(self.picture, reduction), reduction

    def decoded(self, picture: PIL.Image.Image, reduction: int) -> np.ndarray:
        """RGB of a PIL image, `reduction` times smaller."""
        try:
            achieved = 1
            if reduction > 1 and self.draftable and not self.turned:  # a turned photo's last blocks would come first
                size = (max(1, picture.width // reduction), max(1, picture.height // reduction))
                drafted = picture.draft("RGB", size)
                achieved = round(self.size_hw[1] / drafted[1][2]) if drafted else 1
            picture = PIL.ImageOps.exif_transpose(picture) if self.turned else picture
            picture = picture.convert("RGB")
            return np.asarray(picture.reduce(reduction // achieved) if reduction > achieved else picture)
        except (OSError, ValueError, SyntaxError, IndexError, TypeError) as error:  # Pillow's own, by format
            raise UnreadablePhotoError(f"A picture of a dataset row cannot be decoded: {error}.") from error


def shrunk_array(array_rgb: np.ndarray, reduction: int) -> np.ndarray:
    """RGB `reduction` times smaller, in whole blocks as a shrunk JPEG has them; the rim repeats the last pixels."""
    if reduction == 1:
        return array_rgb
    height, width = array_rgb.shape[:2]
    padded = cv2.copyMakeBorder(
        array_rgb, 0, -height % reduction, 0, -width % reduction, borderType=cv2.BORDER_REPLICATE
    )
    small_wh = (padded.shape[1] // reduction, padded.shape[0] // reduction)
    return cv2.resize(padded, small_wh, interpolation=cv2.INTER_AREA)


def open_photo(picture: Any, max_pixels: int = MAX_PHOTO_PIXELS) -> ReducedPhoto:
    """The photo of a row, not yet decoded; see [`ReducedPhoto`]."""
    return ReducedPhoto(picture, max_pixels)


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


def has_orientation(picture: PIL.Image.Image) -> bool:
    """Whether the EXIF tag turns or mirrors the picture."""
    # Most pictures carry no EXIF block, and asking for the tags would parse one of XMP too.
    return "exif" in picture.info and picture.getexif().get(EXIF_ORIENTATION, 1) in range(2, 9)
