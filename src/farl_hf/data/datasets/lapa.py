"""LaPa: 11-class label maps and 106 landmarks of one face per photo (JDAI-CV/lapa-dataset).

Folder: `{train, val, test}/{images/*.jpg, labels/*.png, landmarks/*.txt}`, files of one photo with the same stem. A
landmark file begins with 106, then has one "x y" per line.

Convention: the official code uses the numbers as indices of pixels, counted from 0 (FacePerceiver/FaRL
`farl/datasets/lapa.py`, lines 47-51, whose warp gives pixel i the coordinate i); in continuous pixels that is + 0.5.

Rows are in the order of names. The official code takes the order of the file system (the same file, line 34), on which
its few-shot subsets depend.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np

from farl_hf.data.datasets.builder import FaceDatasetBuilder, RawPhoto, five_points, picture_file
from farl_hf.data.datasets.raw_folders import parse_numbers, read_lines
from farl_hf.errors import InvalidDatasetError, in_short
from farl_hf.labels import LAPA_LABELS

_FOLDERS = {"train": "train", "validation": "val", "test": "test"}
NUM_LANDMARKS = 106


class LaPa(FaceDatasetBuilder):
    """LaPa, one face per photo: `image`, `label_map`, `points5_xy`, `landmarks_xy`."""

    DATASET = "lapa"
    COLUMNS = ("image", "label_map", "points5_xy", "landmarks_xy")
    NUM_LABELS = len(LAPA_LABELS)

    def index(self, root: Path) -> dict[str, list[RawPhoto]]:
        """Every stem of the three folders of a split; one that is not in all of them is reported as missing."""
        return {split: photos_of(root / folder) for split, folder in _FOLDERS.items()}

    def row(self, photo: RawPhoto) -> dict[str, Any]:
        """The label map stays a file; the landmarks are read. Lists, which `datasets` encodes faster than arrays."""
        label_path, landmark_path = photo.companions
        landmarks_xy = read_landmarks(Path(landmark_path)) + 0.5
        return {
            "image": picture_file(photo.path),
            "label_map": picture_file(label_path),
            "points5_xy": [five_points(landmarks_xy).tolist()],
            "landmarks_xy": [landmarks_xy.tolist()],
        }


def photos_of(folder: Path) -> list[RawPhoto]:
    """The photos of one split, by name."""
    kinds = {"images": ".jpg", "labels": ".png", "landmarks": ".txt"}
    stems = set()
    for kind, suffix in kinds.items():
        if (folder / kind).is_dir():
            names = os.listdir(folder / kind)
            stems |= {name.removesuffix(suffix) for name in names if name.endswith(suffix)}
    places = [(str(folder / kind), suffix) for kind, suffix in kinds.items()]
    photos = []
    for stem in sorted(stems):
        image, label, landmarks = (f"{place}/{stem}{suffix}" for place, suffix in places)
        photos.append(RawPhoto(image, (stem,), (label, landmarks)))
    return photos


def read_landmarks(path: Path) -> np.ndarray:
    """Landmarks (106, 2) as they are in the file, pixels counted from 0."""
    lines = read_lines(path)
    if not lines or lines[0].strip() != str(NUM_LANDMARKS):
        raise InvalidDatasetError(
            f"The landmark file {path} begins with {in_short(lines[:1])}; expected {NUM_LANDMARKS}."
        )
    words = " ".join(lines[1:]).split()
    return parse_numbers(words, 2 * NUM_LANDMARKS, f"The landmark file {path}", "x y of 106 points").reshape(-1, 2)
