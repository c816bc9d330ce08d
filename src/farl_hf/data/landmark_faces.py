"""Faces with a box and landmarks, grouped into photos, and the rows that are made of them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from farl_hf.data.face_dataset_builder import RawPhoto
from farl_hf.data.raw_folders import path_inside
from farl_hf.data.row_shape import five_points, picture_file

__all__ = ["LANDMARK_COLUMNS", "LandmarkFace", "landmark_row", "photos_of_faces"]

LANDMARK_COLUMNS = ("image", "boxes_xyxy", "points5_xy", "landmarks_xy")


class LandmarkFace(NamedTuple):
    """A face: its photo's relative path, box (4,) and landmarks (N, 2), float32, continuous photo pixels."""

    image: str
    box_xyxy: np.ndarray
    landmarks_xy: np.ndarray


def photos_of_faces(images: Path, faces: Iterable[LandmarkFace]) -> list[RawPhoto]:
    """Photos with their faces, in the order in which they first appear."""
    photos: dict[str, list[LandmarkFace]] = {}
    for face in faces:
        photos.setdefault(face.image, []).append(face)
    return [RawPhoto(path_inside(images, image), tuple(found)) for image, found in photos.items()]


def landmark_row(photo: RawPhoto) -> dict[str, Any]:
    """Boxes, landmarks, and the five points that they hold, as lists, which `datasets` encodes faster than arrays."""
    return {
        "image": picture_file(photo.path),
        "boxes_xyxy": [face.box_xyxy.tolist() for face in photo.faces],
        "points5_xy": [five_points(face.landmarks_xy).tolist() for face in photo.faces],
        "landmarks_xy": [face.landmarks_xy.tolist() for face in photo.faces],
    }
