"""Faces of photos to a [`FaceIndex`]."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch

from farl_hf.errors import FaRLError, UnsuitableModelError
from farl_hf.pipelines.face_detection import optimized_for_inference
from farl_hf.retrieval.face_cutting import FaceCrops, FaceCutter
from farl_hf.retrieval.face_index import FaceIndex, model_fingerprint
from farl_hf.retrieval.image_features import unit_image_features
from farl_hf.retrieval.text_embedding import compares_with_texts

__all__ = ["index_faces"]


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
        model ([`FaRLModel`] or [`CLIPModel`]): A model of both towers.
        processor: Its processor.
        photos (`Iterable`): Paths and URLs, or (name, photo) pairs whose photos are anything that `explain` takes,
            also dicts that bring the faces' boxes or keypoints. Read one after the other.
        aligned (`bool`, *optional*, defaults to `False`): Each photo is one face; nothing is searched.
        detector, threshold (*optional*): See [`explain`].
        batch_size (`int`, *optional*, defaults to 32): Faces that share a forward pass.
        on_failure (`Callable`, *optional*): Told the name and the reason of each photo that cannot be used, which is
            then left out. By default the first one ends the run.

    Returns:
        [`FaceIndex`]: One row per face, photos in order. Photos without a face have none.

    Raises:
        UnsuitableModelError: If the model has not both towers.
    """
    if not compares_with_texts(model):
        raise UnsuitableModelError(
            f"{type(model).__name__} has no text tower, so no text could be looked for among its faces; load a "
            "checkpoint of both towers."
        )
    optimized_for_inference(model)
    cutter = FaceCutter(model, processor, aligned, detector, threshold=threshold)
    names: list[str] = []
    boxes, embeddings = [np.zeros((0, 4), np.float32)], [np.zeros((0, model.config.projection_dim), np.float32)]
    for some_names, boxes_xyxy, pixel_values in _batches(_cut_photos(cutter, photos, on_failure), batch_size):
        names += some_names
        boxes.append(boxes_xyxy)
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


def _batches(
    cut_photos: Iterable[tuple[str, FaceCrops]], size: int
) -> Iterator[tuple[list, np.ndarray, torch.Tensor]]:
    """At least `size` faces of different photos at a time, so that the faces of a photo stay together."""
    names: list[str] = []
    waiting: list[FaceCrops] = []
    for name, crops in cut_photos:
        names += [name] * len(crops.faces)
        waiting.append(crops)
        if len(names) >= size:
            yield names, *_joined(waiting)
            names, waiting = [], []
    if names:
        yield names, *_joined(waiting)


def _joined(crops: list[FaceCrops]) -> tuple[np.ndarray, torch.Tensor]:
    return (
        np.concatenate([one.faces.boxes_xyxy for one in crops]),
        torch.cat([one.pixel_values for one in crops]),
    )


@torch.inference_mode()
def _embedded(model: Any, pixel_values: torch.Tensor) -> np.ndarray:
    pixel_values = pixel_values.to(model.device, model.dtype)
    return unit_image_features(model, pixel_values).cpu().numpy()
