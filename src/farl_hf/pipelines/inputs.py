"""What a caller may hand to a pipeline: one photo, or many in a list, a generator or a dataset.

Of many photos, the next ones are prepared by a thread while the network computes.
"""

import queue
import threading
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from numbers import Integral
from pathlib import Path
from types import GeneratorType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset
from transformers.pipelines.pt_utils import PipelineIterator

from farl_hf.errors import (
    InvalidArgumentError,
    InvalidFaceInputError,
    NotACheckpointError,
    NotDownloadedError,
    UnknownNameError,
    in_short,
)

_ONE_PHOTO = (str, bytes, bytearray, memoryview, Path, Image.Image, np.ndarray, torch.Tensor, Mapping)
_OF_A_MODEL = (NotACheckpointError, NotDownloadedError, UnknownNameError)  # a detector is loaded when it is needed
_MANY_PHOTOS = (list, GeneratorType, Dataset)
_LARGEST_BATCH = 1_000_000
MOST_WORKERS = 1024
_BATCHES_AHEAD = 2
_FACES_AHEAD = 4  # where a batch is a single face
_MISSPELT = 0.7  # share of equal letters; with less, "race" would be "faces"
_EXTRA_LETTERS = 2  # a column "keypoints_xy" is another thing
_STOP_CHECK_S = 0.1  # how soon an abandoned iteration is noticed


def as_pipeline_inputs(inputs: Any) -> Any:
    """The same inputs in a form that `transformers.Pipeline` recognises as one photo or as many.

    Lists stay lists (the pipeline answers with a list); every other collection is streamed (it answers with an
    iterator).
    """
    if isinstance(inputs, (*_ONE_PHOTO, *_MANY_PHOTOS)):
        return inputs
    if isinstance(inputs, tuple):
        return list(inputs)
    if isinstance(inputs, Iterable):  # a `datasets.Dataset` or any other collection
        return (photo for photo in inputs)
    return inputs


def check_spelling(given: Mapping[str, Any], known: Iterable[str], what: str) -> None:
    """Refuses a key that is nearly one of the known ones, which is not given. Others are let be: rows have columns.

    Raises:
        InvalidFaceInputError: With the key that was meant.
    """
    meanings = {name: name for name in known if given.get(name) is None}
    for key in given:
        plain = str(key).lower().replace("bbox", "box").replace("-", "_")
        near = [] if key in known else get_close_matches(plain, meanings, n=1, cutoff=_MISSPELT)
        if near and abs(len(plain) - len(near[0])) <= _EXTRA_LETTERS:
            raise InvalidFaceInputError(f"{what} has the key {key!r}, which is not read; use {near[0]!r}.")


def checked_on_error(on_error: str) -> str:
    """The name of a way to treat a photo that fails.

    Raises:
        InvalidArgumentError: It is neither `"raise"` nor `"record"`.
    """
    if on_error not in ("raise", "record"):
        raise InvalidArgumentError(f'on_error is {on_error!r}; give "raise", or "record" for {{"error": sentence}}.')
    return on_error


def checked_thresholds(**thresholds: Any) -> dict[str, Any]:
    """Those that are given.

    Raises:
        InvalidArgumentError: One is no number from 0 to 1; with -1, every anchor would be a face.
    """
    given = {name: value for name, value in thresholds.items() if value is not None}
    for name, value in given.items():
        number = hasattr(value, "__float__") and not isinstance(value, bool) and np.ndim(value) == 0
        if not number or not 0 <= value <= 1:
            raise InvalidArgumentError(f"{name}={in_short(repr(value))} cannot be used; expected 0 to 1.")
    return given


def check_batch_size(batch_size: Any, name: str = "batch_size", least: int = 1, most: int = _LARGEST_BATCH) -> None:
    """Raises [`InvalidArgumentError`] unless it is a whole number in its range: loaders list a batch ahead."""
    if isinstance(batch_size, bool) or not isinstance(batch_size, Integral) or not least <= int(batch_size) <= most:
        raise InvalidArgumentError(
            f"{name}={in_short(repr(batch_size))} cannot be used; expected a whole number from {least} to {most}."
        )


def recorded(error: Exception, on_error: str) -> str:
    """The sentence of an error that belongs to a photo; other errors are raised again, all with `"raise"`."""
    of_a_photo = isinstance(error, (OSError, ValueError)) and not isinstance(error, _OF_A_MODEL)
    if on_error == "raise" or not of_a_photo:  # a fault of the code is not hidden
        raise error
    return str(error) or type(error).__name__


class Prefetched:
    """The same items, made by a thread a few ahead of their use, so that making and using them overlap.

    An exception of the items is raised where the item would have come. A caller who stops early stops the thread.

    Args:
        items (`Iterable`): Iterated in the thread, with the gradient mode of the caller.
        num_ahead (`int`): Most items that wait for their use; what bounds the memory.
    """

    def __init__(self, items: Iterable[Any], num_ahead: int) -> None:
        self.items = items
        self.num_ahead = num_ahead

    def __iter__(self) -> Iterator[Any]:
        waiting: queue.Queue[tuple[str, Any]] = queue.Queue(self.num_ahead)
        stopped = threading.Event()
        modes = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        maker = threading.Thread(target=_make, args=(self.items, waiting, stopped, modes), daemon=True)
        maker.start()
        try:
            while True:
                kind, value = waiting.get()
                if kind == "end":
                    return
                if kind == "error":
                    raise value
                yield value
        finally:
            stopped.set()
            if threading.current_thread() is not maker:
                maker.join()  # nothing of this iteration runs on after it


def _make(items, waiting, stopped, modes):
    """Fill the queue until the items end or the caller stops; grad and inference mode belong to a thread."""
    gradients, inference = modes
    with torch.inference_mode(inference), torch.set_grad_enabled(gradients and not inference):
        try:
            for item in items:
                if not _put(waiting, ("item", item), stopped):
                    return
        except BaseException as error:  # raised again by the caller's thread
            _put(waiting, ("error", error), stopped)
        else:
            _put(waiting, ("end", None), stopped)


def _put(waiting, entry, stopped):
    """Return whether the caller still wants entries."""
    while not stopped.is_set():
        try:
            waiting.put(entry, timeout=_STOP_CHECK_S)
            return True
        except queue.Full:
            continue
    return False


def prefetch_inputs(answers: PipelineIterator, inputs: Any, num_workers: int, batch_size: int) -> PipelineIterator:
    """Let a Transformers pipeline prepare its next inputs while its model runs.

    Args:
        answers (`PipelineIterator`): What `Pipeline.get_iterator` returned: post-processing of the model's outputs of
            batches.
        inputs: What it was made for; a single photo has no next one.
        num_workers (`int`): Worker processes of its loader, which already work ahead.
        batch_size (`int`): Photos, or faces, of a batch.
    """
    if num_workers == 0 and not (isinstance(inputs, list) and len(inputs) == 1):
        outputs = answers.loader
        outputs.loader = Prefetched(outputs.loader, max(_BATCHES_AHEAD, _FACES_AHEAD // batch_size))
    return answers
