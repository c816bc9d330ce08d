"""300W: 68 landmarks (ibug.doc.ic.ac.uk/resources/300-W), with the tables of HRNet-Facial-Landmark-Detection.

Folder: `afw/`, `helen/`, `ibug/`, `lfpw/` (also inside `images/`) and `face_landmarks_300w_*.csv` (also inside
`annotations/`). Splits: `train`; `test` = `test_common` + `test_challenge`; `test_private` where its table is there.

Convention: the official code subtracts 2 from all coordinates of these tables and then uses them as indices of pixels,
counted from 0 (FacePerceiver/FaRL `farl/datasets/ibug300w.py`, lines 57-58); in continuous pixels that is - 2 + 0.5.

One photo of ibug has a space in its name on disk, `image_092 _01.jpg`, but not in the tables.
"""

from pathlib import Path

from farl_hf.data.datasets.builder import RawPhoto
from farl_hf.data.datasets.landmark_tables import LandmarkDatasetBuilder, LandmarkFace, photos_of_faces, read_hrnet_csv
from farl_hf.data.datasets.raw_folders import find_path

_TABLES = {
    "train": "face_landmarks_300w_train.csv",
    "test": "face_landmarks_300w_valid.csv",
    "test_common": "face_landmarks_300w_valid_common.csv",
    "test_challenge": "face_landmarks_300w_valid_challenge.csv",
}
# The private test set was given away later; without its table there is no such split.
_PRIVATE_TABLE = "face_landmarks_300w_test.csv"
_NUM_LANDMARKS = 68
_OFFSET_PX = -2.0 + 0.5
_NAME_IN_TABLE, _NAME_ON_DISK = "image_092_01.jpg", "image_092 _01.jpg"


class W300(LandmarkDatasetBuilder):
    """300W: `image`, `boxes_xyxy`, `points5_xy`, `landmarks_xy`, `list_position`."""

    DATASET = "w300"

    def index(self, root: Path) -> dict[str, list[RawPhoto]]:
        """Photos of every table."""
        paths = {split: self.table(root, name) for split, name in _TABLES.items()}
        if any((root / place / _PRIVATE_TABLE).exists() for place in (".", "annotations")):
            paths["test_private"] = self.table(root, _PRIVATE_TABLE)
        images = root / "images" if (root / "images").is_dir() else root
        tables = {split: read_hrnet_csv(path, _NUM_LANDMARKS, _OFFSET_PX) for split, path in paths.items()}
        return {
            split: photos_of_faces(images, [mended(face, images) for face in faces]) for split, faces in tables.items()
        }

    def table(self, root: Path, name: str) -> Path:
        """A table, at the top or in `annotations/`."""
        return find_path(self.DATASET, root, [name, f"annotations/{name}"])


def mended(face: LandmarkFace, images: Path) -> LandmarkFace:
    """The face with its photo's name on disk; some copies of the data set have renamed that photo."""
    if not face.image.endswith(_NAME_IN_TABLE) or (images / face.image).exists():
        return face
    return face._replace(image=face.image.removesuffix(_NAME_IN_TABLE) + _NAME_ON_DISK)
