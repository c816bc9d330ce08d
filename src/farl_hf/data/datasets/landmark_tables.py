"""Faces with a box and landmarks, the photos and rows made of them, and the tables that list them.

Tables are those of HRNet-Facial-Landmark-Detection: image, scale, centre and landmarks, one face per line.

The square box of a face has the side 200 × scale around the centre (FacePerceiver/FaRL `farl/datasets/ibug300w.py`,
lines 67-74; `wflw.py`, lines 59-66).
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import numpy as np

from farl_hf.data.datasets.builder import FaceDatasetBuilder, RawPhoto, five_points, picture_file
from farl_hf.data.datasets.raw_folders import parse_numbers, path_inside, read_lines
from farl_hf.errors import InvalidDatasetError

_HALF_BOX_PER_SCALE = 100.0


class LandmarkFace(NamedTuple):
    """A face: its photo's relative path, box (4,) and landmarks (N, 2), float32, continuous photo pixels."""

    image: str
    box_xyxy: np.ndarray
    landmarks_xy: np.ndarray
    list_position: int = 0  # in the data set's list; `photos_of_faces` counts


def photos_of_faces(images: Path, faces: Iterable[LandmarkFace]) -> list[RawPhoto]:
    """Photos with their faces, in the order in which they first appear."""
    photos: dict[str, list[LandmarkFace]] = {}
    for position, face in enumerate(faces):
        photos.setdefault(face.image, []).append(face._replace(list_position=position))
    return [RawPhoto(path_inside(images, image), tuple(found)) for image, found in photos.items()]


class LandmarkDatasetBuilder(FaceDatasetBuilder):
    """A data set whose photos have [`LandmarkFace`]s: their box, landmarks, five points and place in the list."""

    VERSION = datasets.Version("1.1.0")  # caches of 1.0.0 have no `list_position`
    COLUMNS = ("image", "boxes_xyxy", "points5_xy", "landmarks_xy", "list_position")

    def row(self, photo: RawPhoto) -> dict[str, Any]:
        """Boxes, landmarks, and their five points. Lists, which `datasets` encodes faster than arrays."""
        return {
            "image": picture_file(photo.path),
            "boxes_xyxy": [face.box_xyxy.tolist() for face in photo.faces],
            "points5_xy": [five_points(face.landmarks_xy).tolist() for face in photo.faces],
            "landmarks_xy": [face.landmarks_xy.tolist() for face in photo.faces],
            "list_position": [face.list_position for face in photo.faces],
        }


def read_hrnet_csv(path: Path, num_landmarks: int, offset_px: float) -> list[LandmarkFace]:
    """Faces of a table.

    Args:
        path (`Path`): The table, its first line a header.
        num_landmarks (`int`): Landmarks per face.
        offset_px (`float`): What turns the table's coordinates into continuous pixels.

    Raises:
        InvalidDatasetError: The table cannot be read, or a line has another number of columns.
    """
    return [
        parse_face(line, num_landmarks, offset_px, f"Line {number} of {path}")
        for number, line in enumerate(read_lines(path)[1:], start=2)
    ]


def parse_face(line: str, num_landmarks: int, offset_px: float, where: str) -> LandmarkFace:
    """One line of a table."""
    image, *words = line.strip().split(",")
    numbers = parse_numbers(words, 3 + 2 * num_landmarks, where, f"scale, centre and x y of {num_landmarks} points")
    if numbers[0] <= 0:
        raise InvalidDatasetError(f"{where} has the scale {numbers[0]}; expected more than 0.")
    half, centre_xy = _HALF_BOX_PER_SCALE * numbers[0], numbers[1:3] + offset_px
    return LandmarkFace(
        image,
        np.concatenate([centre_xy - half, centre_xy + half]).astype(np.float32),
        (numbers[3:].reshape(-1, 2) + offset_px).astype(np.float32),
    )
