"""Two views of each face, for self-supervised objectives."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import get_worker_info

from farl_hf.data.samples.pretraining_samples import PretrainingTransform, channels_first, single_rows, usable_points

__all__ = ["TwoViewTransform"]


class TwoViewTransform(PretrainingTransform):
    """As [`PretrainingTransform`], but a sample is two changed crops of one face, and no text.

    Returns:
        A dict of lists of tensors: `pixel_values` and `second_pixel_values` (3, S, S) float32, normalised.
    """

    def __init__(self, image_processor: Any, augmentation: str = "self_supervision", **settings: Any):
        super().__init__(image_processor, None, augmentation=augmentation, **settings)

    def __call__(self, rows: dict[str, Sequence[Any]]) -> dict[str, list[torch.Tensor]]:
        """The samples of a batch of rows."""
        samples = [self.sample(row) for row in single_rows(rows)]
        return {key: [sample[key] for sample in samples] for key in samples[0]}

    def sample(self, row: dict[str, Any], with_text: bool = False) -> dict[str, torch.Tensor]:
        """The sample of one row; there is never a text."""
        if get_worker_info() is not None:
            cv2.setNumThreads(0)  # OpenCV's own threads would fight with the loader's processes
        rng = self.row_rng(row)
        row = with_one_face(row, rng)
        return {
            name: self.image_processor.normalize(channels_first(self.crop(row, rng)))
            for name in ("pixel_values", "second_pixel_values")
        }


def with_one_face(row: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """The row with one of its usable faces, if it has any: both views must show the same."""
    faces = usable_points(row.get("points5_xy"))
    return row | {"points5_xy": faces[[rng.integers(len(faces))]] if len(faces) else None}
