"""LFWA: forty attributes of the faces of LFW (mmlab.ie.cuhk.edu.hk/projects/CelebA.html).

Folder: `lfw_att_40.mat` (`AttrName`, `label`, `name`), `indices_train_test.mat` (`indices_img_train`,
`indices_img_test`, counted from 1) and the photos `lfw/<person>/<person>_0001.jpg`. Both files are MATLAB v7.3, which
is HDF5: h5py reads them, with the axes the other way round. Names have backslashes.

There are no points and no boxes: align by a detector, or take the whole photo.
"""

from pathlib import Path
from typing import Any

import numpy as np

from farl_hf.data.datasets.builder import FaceDatasetBuilder, RawPhoto, picture_file
from farl_hf.data.datasets.celeba import attribute_order
from farl_hf.data.datasets.raw_folders import find_path, path_inside
from farl_hf.errors import InvalidDatasetError, in_short
from farl_hf.labels import CELEBA_ATTRIBUTES

_INDICES = {"train": "indices_img_train", "test": "indices_img_test"}


class LFWA(FaceDatasetBuilder):
    """LFWA, one face per photo: `image`, `attributes`."""

    DATASET = "lfwa"
    COLUMNS = ("image", "attributes")

    def index(self, root: Path) -> dict[str, list[RawPhoto]]:
        """Photos of the two splits, in the order of the indices."""
        names, labels = read_labels(root / "lfw_att_40.mat")
        images = find_path(self.DATASET, root, ["lfw", "lfw-funneled", "lfw-deepfunneled", "images"])
        index_path = find_path(self.DATASET, root, ["indices_train_test.mat"])
        splits = {}
        for split, numbers in read_indices(index_path, len(names)).items():
            splits[split] = [
                RawPhoto(path_inside(images, names[number]), (tuple(labels[number].tolist()),)) for number in numbers
            ]
        return splits

    def row(self, photo: RawPhoto) -> dict[str, Any]:
        """The attributes are known already."""
        return {"image": picture_file(photo.path), "attributes": [list(photo.faces[0])]}


def read_labels(path: Path) -> tuple[list[str], np.ndarray]:
    """Relative paths of the photos, and their attributes (N, 40) int8 in our order."""
    with open_matlab(path) as file:
        names = [cell_text(file, reference).replace("\\", "/") for reference in entry(file, "name").ravel()]
        attribute_names = [cell_text(file, reference) for reference in entry(file, "AttrName").ravel()]
        labels = np.asarray(entry(file, "label"))
    if labels.shape != (len(CELEBA_ATTRIBUTES), len(names)):
        raise InvalidDatasetError(
            f"{path} has labels of shape {labels.shape} for {len(names)} photos; expected forty for each."
        )
    if not np.isin(labels, (0, 1)).all():
        raise InvalidDatasetError(f"{path} has labels other than 0 and 1.")
    return names, labels.T[:, attribute_order(attribute_names, path)].astype(np.int8)


def read_indices(path: Path, num_photos: int) -> dict[str, np.ndarray]:
    """Photos of each split, counted from 0."""
    splits = {}
    with open_matlab(path) as file:
        for split, key in _INDICES.items():
            numbers = np.asarray(entry(file, key)).ravel().astype(np.int64) - 1
            if numbers.size and not (numbers.min() >= 0 and numbers.max() < num_photos):
                raise InvalidDatasetError(
                    f"{path} has {key} from {numbers.min() + 1} to {numbers.max() + 1}; expected 1 to {num_photos}."
                )
            splits[split] = numbers
    return splits


def open_matlab(path: Path) -> Any:
    """A MATLAB v7.3 file.

    Raises:
        InvalidDatasetError: It is missing, cut off, or of an older version.
    """
    import h5py

    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise InvalidDatasetError(f"{path} is not a readable MATLAB v7.3 file: {in_short(error)}.") from error


def entry(file: Any, key: str) -> np.ndarray:
    """A variable of a MATLAB file."""
    if key not in file:
        raise InvalidDatasetError(f"{file.filename} has no {key!r}; it has: {', '.join(sorted(file))}.")
    try:
        return file[key][()]
    except (KeyError, OSError, RuntimeError, ValueError) as error:  # what h5py makes of damage
        raise InvalidDatasetError(f"{key!r} of {file.filename} cannot be read: {in_short(error)}.") from error


def cell_text(file: Any, reference: Any) -> str:
    """The text in a cell: a reference to an array of character codes."""
    try:
        return "".join(map(chr, np.asarray(file[reference][()]).ravel()))
    except (KeyError, OSError, RuntimeError, ValueError, TypeError, OverflowError) as error:
        raise InvalidDatasetError(f"A name in {file.filename} cannot be read: {in_short(error)}.") from error
