"""AFLW-19: 19 landmarks of faces at all angles (mmlab.ie.cuhk.edu.hk/projects/compositional.html). Rows are photos.

Folder: `AFLWinfo_release.mat` and the photos `data/flickr/{0, 2, 3}/*.jpg`. In the file, one row per face: `nameList`
(path), `bbox` in the order left, right, top, bottom, `data` as x of all points, then y of all points, `mask_new`
(visibility) and `ra`, a permutation that counts from 1: its first 20,000 faces are `train`, the others `test`.
`test_frontal` are the faces of `test` with all 19 points visible.

Hidden points are annotated too, and count in the published scores (`farl/experiments/face_alignment/scorer.py`, lines
94-95), so there is no column for visibility.

Convention: coordinates are used as indices of pixels, counted from 0 (FacePerceiver/FaRL `farl/datasets/aflw.py`,
lines 46-49); in continuous pixels that is + 0.5, for boxes too, so that crops are the official ones.
"""

from pathlib import Path

import numpy as np

from farl_hf.data.datasets.builder import RawPhoto
from farl_hf.data.datasets.landmark_tables import LandmarkDatasetBuilder, LandmarkFace, photos_of_faces
from farl_hf.data.datasets.raw_folders import find_path
from farl_hf.errors import InvalidDatasetError

_NUM_LANDMARKS = 19
_OFFSET_PX = 0.5
NUM_TRAIN_FACES = 20_000
_LEFT_TOP_RIGHT_BOTTOM = [0, 2, 1, 3]


class AFLW19(LandmarkDatasetBuilder):
    """AFLW-19: `image`, `boxes_xyxy`, `points5_xy`, `landmarks_xy`, `list_position`."""

    DATASET = "aflw19"

    def index(self, root: Path) -> dict[str, list[RawPhoto]]:
        """Photos of the two splits and the frontal subset, in the order of the permutation."""
        info = read_info(root / "AFLWinfo_release.mat")
        images = find_path(self.DATASET, root, ["data/flickr", "flickr", "images"])
        faces = np.asarray(info["ra"]).ravel().astype(np.int64) - 1
        visible = np.logical_and.reduce(np.asarray(info["mask_new"]).astype(bool), axis=1)
        splits = {"train": faces[:NUM_TRAIN_FACES], "test": faces[NUM_TRAIN_FACES:]}
        splits["test_frontal"] = splits["test"][visible[splits["test"]]]
        return {split: photos_of_faces(images, faces_of(info, numbers)) for split, numbers in splits.items()}


def faces_of(info: dict[str, np.ndarray], numbers: np.ndarray) -> list[LandmarkFace]:
    """Faces by their row in the file."""
    boxes_xyxy = (info["bbox"][:, _LEFT_TOP_RIGHT_BOTTOM] + _OFFSET_PX).astype(np.float32)
    landmarks_xy = info["data"].reshape(-1, 2, _NUM_LANDMARKS).transpose(0, 2, 1)
    landmarks_xy = (landmarks_xy + _OFFSET_PX).astype(np.float32)
    names = [str(np.asarray(cell).ravel()[0]) for cell in info["nameList"].ravel()]
    return [LandmarkFace(names[face], boxes_xyxy[face], landmarks_xy[face]) for face in numbers]


def read_info(path: Path) -> dict[str, np.ndarray]:
    """The variables of the file, their shapes checked.

    Raises:
        InvalidDatasetError: It cannot be read, or a variable is missing or has another shape.
    """
    import scipy.io

    try:
        info = scipy.io.loadmat(path)
    except (OSError, ValueError, LookupError, NotImplementedError, TypeError, scipy.io.matlab.MatReadError) as error:
        raise InvalidDatasetError(f"{path} is not a readable MATLAB file: {error}.") from error
    num_faces = np.size(info.get("nameList", ()))
    shapes = {"bbox": (num_faces, 4), "data": (num_faces, 2 * _NUM_LANDMARKS), "mask_new": (num_faces, _NUM_LANDMARKS)}
    for key, shape in shapes.items():
        found = np.shape(info.get(key))
        if found != shape:
            raise InvalidDatasetError(f"{path} has {key!r} of shape {found} for {num_faces} faces; expected {shape}.")
    if sorted(np.ravel(info.get("ra", ())).tolist()) != list(range(1, num_faces + 1)):
        raise InvalidDatasetError(f"{path} has no 'ra' that orders its {num_faces} faces, counted from 1.")
    return {key: np.asarray(info[key]) for key in ("bbox", "data", "mask_new", "nameList", "ra")}
