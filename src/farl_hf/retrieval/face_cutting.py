"""The faces of one photo as network inputs, for models whose processor may be FaRL's or CLIP's."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from farl_hf.errors import UnsuitableModelError
from farl_hf.pipelines.face_finding import FaceFinder
from farl_hf.pipelines.face_task_pipeline import face_arguments
from farl_hf.pipelines.photo_inputs import photo_of
from farl_hf.pipelines.photo_loading import load_photo
from farl_hf.processing import FaRLImageProcessor
from farl_hf.results import Faces

__all__ = ["FaceCrops", "FaceCutter"]

_CLIP_SETTINGS = ("image_mean", "image_std", "rescale_factor", "do_rescale", "do_normalize")


@dataclass(frozen=True)
class FaceCrops:
    """The faces of one photo, cut out.

    Args:
        faces (`Faces`): Where they are, in photo pixels, best score first.
        pixel_values (`torch.FloatTensor` of shape `(num_faces, 3, h, w)`): Network inputs.
        crop_from_photo (`torch.FloatTensor` of shape `(num_faces, 3, 3)`): See docs/conventions.md.
        photo_size_hw (`tuple[int, int]`): Height and width of the upright photo.
    """

    faces: Faces
    pixel_values: torch.Tensor
    crop_from_photo: torch.Tensor
    photo_size_hw: tuple[int, int]


class FaceCutter:
    """Finds the faces of photos and cuts them as a model expects them.

    Args:
        model (`PreTrainedModel`): Whose faces they are.
        processor: A processor or an image processor. [`FaRLImageProcessor`] cuts as it is set; of another one, such as
            CLIP's, the size and the normalisation are taken, and faces are aligned as FaRL's default.
        aligned (`bool`): Each photo is one face, or is to be taken whole; nothing is searched.
        detector (`FaceDetectionPipeline`, callable, `str` or `Path`, *optional*): What finds the faces; the default
            detector otherwise.
        detection: `threshold`, `nms_threshold` of the detector.

    Raises:
        UnsuitableModelError: If the processor has nothing that prepares images.
    """

    def __init__(
        self, model: Any, processor: Any, aligned: bool = False, detector: Any = None, **detection: Any
    ) -> None:
        self.image_processor = _face_image_processor(processor)
        self.aligned = aligned
        self._find_faces = FaceFinder(detector, model.device, model.config)
        self._detection = {name: value for name, value in detection.items() if value is not None}

    def __call__(self, photo_input: Any) -> FaceCrops:
        """Cut the faces of a photo: anything that `load_photo` reads, or a dict that brings boxes or keypoints."""
        photo = load_photo(photo_of(photo_input))
        faces = self._find_faces(photo, photo_input, self.aligned, **self._detection)
        size_hw = (photo.height, photo.width)
        if len(faces) == 0:
            return FaceCrops(faces, torch.zeros(0, 3, *self.image_processor.size_hw), torch.zeros(0, 3, 3), size_hw)
        photo_CHW = torch.from_numpy(np.array(photo)).permute(2, 0, 1)
        cut = self.image_processor(
            photo_CHW,
            **face_arguments(faces, self.aligned),
            input_data_format="channels_first",
            return_tensors="pt",
        )
        return FaceCrops(faces, cut["pixel_values"], cut["crop_from_photo"], size_hw)


def _face_image_processor(processor: Any) -> FaRLImageProcessor:
    image_processor = getattr(processor, "image_processor", processor)
    if hasattr(image_processor, "post_process_heat_maps"):
        return image_processor
    if not hasattr(image_processor, "image_mean"):
        raise UnsuitableModelError(
            f"{type(processor).__name__} prepares no images; pass the checkpoint's processor, loaded with "
            "AutoProcessor, or its image processor."
        )
    settings = {name: getattr(image_processor, name) for name in _CLIP_SETTINGS}
    return FaRLImageProcessor(size=_crop_size(image_processor), **settings)


def _crop_size(image_processor: Any) -> dict[str, int]:
    size = getattr(image_processor, "crop_size", None) or image_processor.size
    side = size.get("shortest_edge")
    return {"height": side or size["height"], "width": side or size["width"]}
