"""The heat maps of one face."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from farl_hf.errors import UnknownNameError

__all__ = ["FaceExplanation"]


@dataclass(frozen=True, eq=False)
class FaceExplanation:
    """Where one face holds what was asked for.

    Args:
        names (`tuple[str, ...]`): Texts, attributes or classes, one per map.
        scores (`np.ndarray` of shape `(num_names,)`): What was explained: cosine similarity of face and text, the
            attribute's logit, the class's mean logit over its pixels. NaN for attention roll-out.
        patch_maps (`np.ndarray` of shape `(num_names, rows, columns)`): Maps as computed, one value per patch, ≥ 0.
        crop_maps (`np.ndarray` of shape `(num_names, h, w)`): Those over the pixels of the (warped) crop, each scaled
            to [0, 1]; all 0 where nothing speaks for the name.
        crop_from_photo (`np.ndarray` of shape `(3, 3)`): Where the crop lies in the photo, see docs/conventions.md.
        box_xyxy (`np.ndarray` of shape `(4,)`): The face's box in photo pixels.
        photo_size_hw (`tuple[int, int]`): Height and width of the upright photo.
        image_processor ([`FaRLImageProcessor`]): What cut the crop, and brings the maps back.
    """

    names: tuple[str, ...]
    scores: np.ndarray
    patch_maps: np.ndarray
    crop_maps: np.ndarray
    crop_from_photo: np.ndarray
    box_xyxy: np.ndarray
    photo_size_hw: tuple[int, int]
    image_processor: Any

    def photo_map(self, name: str) -> np.ndarray:
        """One map in the photo frame, (height, width), float32 in [0, 1], 0 where the crop does not reach.

        Computed when asked for: the maps of all names over all faces of a large photo would take gigabytes.

        Raises:
            UnknownNameError: If there is no map of that name.
        """
        if name not in self.names:
            raise UnknownNameError(f"There is no map of {name!r}; there are: {', '.join(self.names)}.")
        crop_map = torch.from_numpy(self.crop_maps[self.names.index(name)])
        (photo_maps,) = self.image_processor.post_process_heat_maps(
            crop_map[None, None], torch.from_numpy(self.crop_from_photo)[None], [self.photo_size_hw]
        )
        return photo_maps[0].numpy()
