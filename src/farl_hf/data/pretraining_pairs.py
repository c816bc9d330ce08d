"""Image-text pairs of a data set that fits on a disk, as samples of pre-training."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from farl_hf.data.decoding import without_decoding
from farl_hf.data.pretraining_samples import KEY_COLUMNS, PretrainingTransform, usable_points
from farl_hf.errors import InvalidDatasetError

__all__ = ["PretrainingPairs", "require_captions", "rows_with_one_face"]

PAIR_COLUMNS = ("image", "points5_xy", "caption", *KEY_COLUMNS)


class PretrainingPairs(Dataset):
    """One sample per photo.

    Args:
        rows (`datasets.Dataset` or sequence of dicts): Photos in the common row shape, with `caption`.
        transform ([`PretrainingTransform`]): Makes a sample of a row.
        with_attributes (`bool`, *optional*, defaults to `False`): Also return the face's `attributes` (40,) int64, as
            far as the data has them, and leave out photos with no face or several, whose caption may be of another
            one.

    Raises:
        InvalidDatasetError: The rows have no captions.
    """

    def __init__(self, rows: Sequence[dict[str, Any]], transform: PretrainingTransform, with_attributes: bool = False):
        require_captions(rows)
        columns = column_names(rows)
        self.transform, self.with_attributes = transform, with_attributes and "attributes" in columns
        self.rows = without_decoding(rows, [*PAIR_COLUMNS, *(["attributes"] if self.with_attributes else [])])
        self.chosen = np.arange(len(self.rows))
        if with_attributes and "points5_xy" in columns:
            self.chosen = rows_with_one_face(self.rows)

    def __len__(self) -> int:
        return len(self.chosen)

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch whose random changes are drawn; accelerate's data loaders call it."""
        self.transform.set_epoch(epoch)

    def __getitem__(self, item: int) -> dict[str, torch.Tensor]:
        row = self.rows[int(self.chosen[item])]
        sample = self.transform.sample(row)
        if self.with_attributes:
            sample["attributes"] = torch.as_tensor(row["attributes"][0], dtype=torch.int64)
        return sample


def column_names(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Columns of a data set, or of a list of dicts."""
    return rows.column_names if hasattr(rows, "column_names") else list(rows[0])


def column_of(rows: Sequence[dict[str, Any]], name: str) -> Sequence[Any]:
    """A column of a data set, or of a list of dicts."""
    return rows[name] if hasattr(rows, "column_names") else [row[name] for row in rows]


def rows_with_one_face(rows: Sequence[dict[str, Any]]) -> np.ndarray:
    """Numbers of the rows of which exactly one face has five usable points."""
    return np.flatnonzero([len(usable_points(faces)) == 1 for faces in column_of(rows, "points5_xy")])


def require_captions(rows: Sequence[dict[str, Any]]) -> None:
    """Refuses rows that are no pairs."""
    if "caption" not in column_names(rows):
        raise InvalidDatasetError(
            f"The data set has the columns {', '.join(column_names(rows))}; pre-training needs pairs with a caption."
        )
