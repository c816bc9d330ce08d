"""Embeds faces of photos as unit vectors of the space that faces and texts share, and makes a [`FaceIndex`].

Model and processor are FaRL's or CLIP's.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from farl_hf.errors import FaRLError, UnsuitableModelError
from farl_hf.photos import load_photo
from farl_hf.pipelines.face_analysis import face_image_processor, unit_image_features
from farl_hf.pipelines.face_detection import optimized_for_inference
from farl_hf.pipelines.face_tasks import FaceFinder, face_arguments
from farl_hf.pipelines.inputs import check_batch_size
from farl_hf.results import Faces
from farl_hf.retrieval.face_index import FaceIndex, model_fingerprint
from farl_hf.retrieval.text_embedding import compares_with_texts


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put the model into evaluation mode; at the end, every module gets back the mode it had."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@dataclass(frozen=True)
class FaceCrops:
    """The crops of the faces of one photo.

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
    """Finds the faces of photos and makes the crops that a model expects.

    Args:
        model (`PreTrainedModel`): The model that takes the crops.
        processor: A processor or an image processor, see [`face_image_processor`].
        aligned (`bool`): Each photo is one face crop; no face is searched.
        detector (`FaceDetectionPipeline`, callable, `str` or `Path`, *optional*): What finds the faces; the default
            detector otherwise.
        detection: `threshold`, `nms_threshold` of the detector.

    Raises:
        UnsuitableModelError: If the processor has nothing that prepares images.
    """

    def __init__(
        self, model: Any, processor: Any, aligned: bool = False, detector: Any = None, **detection: Any
    ) -> None:
        self.image_processor = face_image_processor(processor)
        self.aligned = aligned
        self._find_faces = FaceFinder(detector, model.device, model.config)
        self._detection = {name: value for name, value in detection.items() if value is not None}

    def __call__(self, photo_input: Any) -> FaceCrops:
        """Crop the faces of a photo: anything that `load_photo` reads, or a dict with boxes or keypoints too."""
        photo = load_photo(photo_input)
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


def index_faces(
    model: Any,
    processor: Any,
    photos: Iterable[Any],
    *,
    aligned: bool = False,
    detector: Any = None,
    threshold: float | None = None,
    batch_size: int = 32,
    on_failure: Callable[[str, FaRLError], None] | None = None,
) -> FaceIndex:
    """Find and embed the faces of photos.

    Args:
        model ([`FaRLModel`] or [`CLIPModel`]): A model of images and texts.
        processor: Its processor.
        photos (`Iterable`): Paths and URLs, or (name, photo) pairs whose photos are anything that `explain` takes,
            also dicts with the faces' boxes or keypoints. Read one after the other.
        aligned (`bool`, *optional*, defaults to `False`): Each photo is one face crop; no face is searched.
        detector, threshold (*optional*): See [`explain`].
        batch_size (`int`, *optional*, defaults to 32): Faces that share a forward pass.
        on_failure (`Callable`, *optional*): Called with the name and the error of each photo that cannot be used;
            the photo is skipped. By default the first one ends the run.

    Returns:
        [`FaceIndex`]: One row per face, photos in order. Photos without a face have none.

    Raises:
        UnsuitableModelError: If the model has no text encoder.
        InvalidArgumentError: If `batch_size` is no whole number from 1.
    """
    check_batch_size(batch_size)
    if not compares_with_texts(model):
        raise UnsuitableModelError(
            f"{type(model).__name__} has no text encoder, so its faces could not be searched by text; load a "
            "checkpoint of images and texts."
        )
    optimized_for_inference(model)
    cutter = FaceCutter(model, processor, aligned, detector, threshold=threshold)
    names: list[str] = []
    boxes, embeddings = [np.zeros((0, 4), np.float32)], [np.zeros((0, model.config.projection_dim), np.float32)]
    for batch in _batches(_cut_photos(cutter, photos, on_failure), batch_size):
        names += [name for name, crops in batch for _ in range(len(crops.faces))]
        boxes += [crops.faces.boxes_xyxy for _, crops in batch]
        pixel_values = torch.cat([crops.pixel_values for _, crops in batch])
        embeddings += [_embedded(model, some) for some in pixel_values.split(batch_size)]
    return FaceIndex(np.concatenate(embeddings), tuple(names), np.concatenate(boxes), model_fingerprint(model))


def _cut_photos(cutter: FaceCutter, photos: Iterable[Any], on_failure: Any) -> Iterator[tuple[str, FaceCrops]]:
    for photo in photos:
        name, photo_input = photo if isinstance(photo, tuple) else (str(photo), photo)
        try:
            yield name, cutter(photo_input)
        except FaRLError as error:
            if on_failure is None:
                raise
            on_failure(name, error)


def _batches(cut_photos: Iterable[tuple[str, FaceCrops]], size: int) -> Iterator[list[tuple[str, FaceCrops]]]:
    """Photos with at least `size` faces together, so that the faces of a photo stay together."""
    waiting: list[tuple[str, FaceCrops]] = []
    for name, crops in cut_photos:
        if len(crops.faces):
            waiting.append((name, crops))
        if sum(len(crops.faces) for _, crops in waiting) >= size:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


@torch.inference_mode()
def _embedded(model: Any, pixel_values: torch.Tensor) -> np.ndarray:
    pixel_values = pixel_values.to(model.device, model.dtype)
    return unit_image_features(model, pixel_values).cpu().numpy()
