"""Face tables of HRNet-Facial-Landmark-Detection: image, scale, centre and landmarks, one face per line.

The square box of a face has the side 200 × scale around the centre (FacePerceiver/FaRL `farl/datasets/ibug300w.py`,
`wflw.py`).
"""

from pathlib import Path

import numpy as np

from farl_hf.data.landmark_faces import LandmarkFace
from farl_hf.data.raw_folders import read_lines
from farl_hf.data.row_checks import parse_numbers
from farl_hf.errors import InvalidDatasetError

__all__ = ["read_hrnet_csv"]

_HALF_BOX_PER_SCALE = 100.0


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
