"""Aligned crops of single faces as pictures in [0, 1], for the training of a face generator."""

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.data import Dataset

from farl_hf.data.augmentation import AugmentationRecipe
from farl_hf.data.samples.face_samples import without_decoding
from farl_hf.data.samples.pretraining_samples import (
    KEY_COLUMNS,
    PretrainingTransform,
    channels_first,
    column_names,
    rows_with_one_face,
)
from farl_hf.errors import InvalidDatasetError
from farl_hf.modeling.configuration_face_decoder import FaceDecoderConfig
from farl_hf.processing.image_processing_farl import FaRLImageProcessor

__all__ = ["FaceCrops", "crop_of"]

_COLUMNS = ("image", "points5_xy", "caption", "attributes", *KEY_COLUMNS)
_MIRRORED = AugmentationRecipe(source="ours", mirror_probability=0.5)


def crop_of(config: FaceDecoderConfig) -> FaRLImageProcessor:
    """The image processor that cuts the pictures which the decoder learns to draw."""
    return FaRLImageProcessor(size=config.image_size, face_template=config.face_template, template_span="size")


class FaceCrops(Dataset):
    """One sample per photo that shows exactly one face.

    Args:
        rows (`datasets.Dataset` or sequence of dicts): Photos in the common row shape, with `points5_xy`.
        image_processor ([`FaRLImageProcessor`]): What a crop is.
        augment (`bool`, *optional*, defaults to `False`): Mirror every other crop.
        seed (`int`, *optional*, defaults to 0): Source of chance.

    A sample has `pixel_values` (3, H, W) float32 in [0, 1], black outside the photo; `inside` (1, H, W) bool, where
    the photo is; and `attributes` (L,) int64 where the data has them.

    Raises:
        InvalidDatasetError: The rows have no points, or no photo shows one face.
    """

    def __init__(self, rows: Sequence[dict[str, Any]], image_processor: Any, augment: bool = False, seed: int = 0):
        columns = column_names(rows)
        if "points5_xy" not in columns:
            raise InvalidDatasetError(f"The data set has the columns {', '.join(columns)}; crops need points5_xy.")
        self.with_attributes = "attributes" in columns
        self.transform = PretrainingTransform(
            image_processor, None, augmentation=_MIRRORED if augment else "none", seed=seed
        )
        self.chosen = rows_with_one_face(rows)
        if len(self.chosen) == 0:
            raise InvalidDatasetError(f"None of the {len(rows)} photos shows exactly one face; give more photos.")
        self.rows = without_decoding(rows, _COLUMNS)

    def __len__(self) -> int:
        return len(self.chosen)

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch whose mirrors are drawn; accelerate's data loaders call it."""
        self.transform.set_epoch(epoch)

    def __getitem__(self, item: int) -> dict[str, torch.Tensor]:
        row = self.rows[int(self.chosen[item])]
        crop_rgb = self.transform.crop(row, self.transform.row_rng({"caption": "", "index": item} | row))
        sample = {"pixel_values": channels_first(crop_rgb)}
        # Photos are hardly ever black to the last bit; a few such pixels less are no loss.
        sample["inside"] = sample["pixel_values"].amax(dim=0, keepdim=True) > 0
        if self.with_attributes:
            sample["attributes"] = torch.as_tensor(row["attributes"][0], dtype=torch.int64)
        return sample
