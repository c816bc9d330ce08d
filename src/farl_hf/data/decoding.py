"""Pictures of a dataset row as numpy arrays, decoded only when a sample needs them."""

import io
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import PIL.Image

from farl_hf.errors import MissingExtraError, UnreadablePhotoError

__all__ = ["decode_map", "decode_photo", "without_decoding"]


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
