"""WFLW: 98 landmarks (wywu.github.io/projects/LAB/WFLW.html). Rows are photos; the data set counts faces.

Folder: `WFLW_images/` (or `images/`) and one of two annotations, each a configuration:

- `hrnet` (default, and what the official code reads: lines 16-22): `face_landmarks_wflw_{train, test, test_*}.csv`,
  square boxes;
- `original`: `WFLW_annotations/list_98pt_rect_attr_train_test/list_98pt_rect_attr_{train, test}.txt`, 207 fields: 196
  coordinates, the rectangle x_min y_min x_max y_max, six flags (pose, expression, illumination, make-up, occlusion,
  blur), the photo. The subsets of the test set are the faces whose flag is 1.

Splits: `train`, `test` and its six subsets. A photo of a subset has only those of its faces that belong to it.

Convention: coordinates are used as indices of pixels, counted from 0, without an offset (FacePerceiver/FaRL
`farl/datasets/wflw.py`, lines 36-50); in continuous pixels that is + 0.5, for boxes too, so that crops are the
official ones.
"""

from pathlib import Path
from typing import ClassVar

import numpy as np

from farl_hf.data.datasets.builder import FaceDatasetConfig, RawPhoto
from farl_hf.data.datasets.landmark_tables import LandmarkDatasetBuilder, LandmarkFace, photos_of_faces, read_hrnet_csv
from farl_hf.data.datasets.raw_folders import find_path, parse_numbers, read_lines
from farl_hf.errors import InvalidDatasetError

# In the order of the six flags.
SUBSETS = ("largepose", "expression", "illumination", "makeup", "occlusion", "blur")
_NUM_LANDMARKS = 98
_OFFSET_PX = 0.5
_LIST_FOLDERS = ("WFLW_annotations/list_98pt_rect_attr_train_test", "list_98pt_rect_attr_train_test")


class WFLW(LandmarkDatasetBuilder):
    """WFLW: `image`, `boxes_xyxy`, `points5_xy`, `landmarks_xy`, `list_position`."""

    DATASET = "wflw"
    BUILDER_CONFIGS: ClassVar = [
        FaceDatasetConfig(name="hrnet", description="Tables of HRNet, square boxes."),
        FaceDatasetConfig(name="original", description="Lists of the authors, tight boxes."),
    ]
    DEFAULT_CONFIG_NAME = "hrnet"

    def index(self, root: Path) -> dict[str, list[RawPhoto]]:
        """Photos of train, test and the subsets of test."""
        images = find_path(self.DATASET, root, ["WFLW_images", "images"])
        faces = self.original_faces(root) if self.config.name == "original" else self.table_faces(root)
        return {split: photos_of_faces(images, found) for split, found in faces.items()}

    def table_faces(self, root: Path) -> dict[str, list[LandmarkFace]]:
        """Faces of HRNet's tables."""
        faces = {}
        for split in ("train", "test", *(f"test_{subset}" for subset in SUBSETS)):
            name = f"face_landmarks_wflw_{split}.csv"
            try:
                path = find_path(self.DATASET, root, [name, f"annotations/{name}"])
            except InvalidDatasetError as error:
                if not any((root / folder).is_dir() for folder in _LIST_FOLDERS):
                    raise
                raise InvalidDatasetError(
                    f"The folder {root} has no {name}, but the lists of the authors: read them with the configuration"
                    " 'original', or add HRNet's tables, which the official code reads."
                ) from error
            faces[split] = read_hrnet_csv(path, _NUM_LANDMARKS, _OFFSET_PX)
        return faces

    def original_faces(self, root: Path) -> dict[str, list[LandmarkFace]]:
        """Faces of the authors' lists, the subsets by the flags."""
        folder = find_path(self.DATASET, root, _LIST_FOLDERS)
        train, test = (read_list(folder / f"list_98pt_rect_attr_{split}.txt") for split in ("train", "test"))
        faces = {"train": [face for face, _ in train], "test": [face for face, _ in test]}
        for position, subset in enumerate(SUBSETS):
            faces[f"test_{subset}"] = [face for face, flags in test if flags[position] == 1]
        return faces


def read_list(path: Path) -> list[tuple[LandmarkFace, np.ndarray]]:
    """Faces of one of the authors' lists, each with its six flags."""
    faces = []
    for number, line in enumerate(read_lines(path), start=1):
        *words, image = line.split()
        numbers = parse_numbers(words, 206, f"Line {number} of {path}", "196 coordinates, 4 of the box, 6 flags")
        landmarks, box, flags = np.split(numbers, [2 * _NUM_LANDMARKS, 2 * _NUM_LANDMARKS + 4])
        landmarks_xy = (landmarks.reshape(-1, 2) + _OFFSET_PX).astype(np.float32)
        faces.append((LandmarkFace(image, (box + _OFFSET_PX).astype(np.float32), landmarks_xy), flags))
    return faces
