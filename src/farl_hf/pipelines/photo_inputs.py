"""What a caller may hand to a pipeline: one photo, or many in a list, a generator or a dataset."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import GeneratorType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from farl_hf.errors import InvalidFaceInputError

__all__ = ["as_pipeline_inputs", "photo_of"]

_ONE_PHOTO = (str, Path, Image.Image, np.ndarray, torch.Tensor, Mapping)
_MANY_PHOTOS = (list, GeneratorType, Dataset)


def as_pipeline_inputs(inputs: Any) -> Any:
    """The same inputs in a form that `transformers.Pipeline` recognises as one photo or as many.

    Lists stay lists (the pipeline answers with a list); every other collection is streamed (it answers with an
    iterator).
    """
    if isinstance(inputs, (*_ONE_PHOTO, *_MANY_PHOTOS)):
        return inputs
    if isinstance(inputs, tuple):
        return list(inputs)
    if isinstance(inputs, (Iterable, Sequence)):  # a `datasets.Dataset` or any other collection
        return _stream(inputs)
    return inputs


def photo_of(photo_input: Any) -> Any:
    """The picture of an input: the input itself, or its `image` entry.

    Raises:
        InvalidFaceInputError: If a dict has no `image` entry.
    """
    if not isinstance(photo_input, Mapping):
        return photo_input
    if "image" not in photo_input:
        raise InvalidFaceInputError(
            f"A dict with the keys {sorted(map(str, photo_input))} came in; expected 'image', and 'boxes' or "
            "'keypoints' to skip the detection."
        )
    return photo_input["image"]


def _stream(photos: Iterable[Any]) -> Iterator[Any]:
    yield from photos
