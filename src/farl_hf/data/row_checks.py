"""What a row must satisfy: pictures that decode, a label map of the photo's size, class ids and counts in range."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageOps

from farl_hf.errors import InvalidDatasetError, UnreadablePhotoError

__all__ = ["check_row", "parse_numbers"]


def check_row(row: Mapping[str, Any], num_labels: int | None = None) -> None:
    """Decodes the pictures of a row and compares them.

    Args:
        row (`Mapping`): A row as a builder yields it, pictures as paths or bytes.
        num_labels (`int`, *optional*): Number of classes of the label map.

    Raises:
        UnreadablePhotoError: A picture is missing, cut off or no picture.
        InvalidDatasetError: The label map has another size than the photo, or ids that are no class.
    """
    photo = decoded(row["image"])
    if row.get("label_map") is None:
        return
    label_map = decoded(row["label_map"])
    if label_map.size != photo.size:
        raise InvalidDatasetError(
            f"The label map {name_of(row['label_map'])} has (width, height) {label_map.size}, its photo"
            f" {name_of(row['image'])} {photo.size}; expected one size."
        )
    ids = np.asarray(label_map)
    if ids.ndim != 2:
        raise InvalidDatasetError(
            f"The label map {name_of(row['label_map'])} is a colour picture; expected one channel of class ids."
        )
    if num_labels is not None and int(ids.max()) >= num_labels:
        raise InvalidDatasetError(
            f"The label map {name_of(row['label_map'])} has the class id {int(ids.max())}; expected 0 to"
            f" {num_labels - 1}."
        )


def decoded(picture: Mapping[str, Any]) -> PIL.Image.Image:
    """The whole picture as it is shown; PIL notices a file that is cut off, OpenCV fills it with grey."""
    source = picture["path"] if picture.get("bytes") is None else io.BytesIO(picture["bytes"])
    try:
        image = PIL.Image.open(source)
        image.load()
        return PIL.ImageOps.exif_transpose(image)
    except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError) as error:
        raise UnreadablePhotoError(f"The picture {name_of(picture)} cannot be decoded: {error}.") from error


def name_of(picture: Mapping[str, Any]) -> str:
    """How errors call a picture."""
    return picture.get("path") or "of a dataset row"


def parse_numbers(words: list[str], count: int, where: str, what: str) -> np.ndarray:
    """Words of an annotation as float64.

    Raises:
        InvalidDatasetError: There are more or fewer of them than expected, or one is no finite number.
    """
    if len(words) != count:
        raise InvalidDatasetError(f"{where} has {len(words)} numbers; expected {count}: {what}.")
    try:
        numbers = np.array(words, dtype=np.float64)
    except ValueError as error:
        raise InvalidDatasetError(f"{where} holds something that is not a number: {error}.") from error
    if not np.isfinite(numbers).all():
        raise InvalidDatasetError(f"{where} holds a number that is not finite; expected {what}.")
    return numbers
