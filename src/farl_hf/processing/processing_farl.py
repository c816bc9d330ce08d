"""Processor of FaRL: photos and texts to the inputs of both encoders in one call."""

from typing import Any

from transformers.processing_utils import ProcessingKwargs, ProcessorMixin

from .image_processing_farl import FaRLImageProcessorKwargs
from .processor_push_farl import ProcessorPushedWithCode


class FaRLProcessorKwargs(ProcessingKwargs, total=False):
    """Settings of a call of [`FaRLProcessor`]: those of the tokenizer and of the image processor."""

    images_kwargs: FaRLImageProcessorKwargs  # type: ignore[misc]  # narrower, as Transformers asks for
    _defaults = {"text_kwargs": {"padding": "max_length", "truncation": True}}  # type: ignore[misc]  # noqa: RUF012 (Transformers reads it here)


class FaRLProcessor(ProcessorPushedWithCode, ProcessorMixin):
    """An image processor and a tokenizer behind one call.

    `processor(images=…, text=…)` returns one `BatchFeature` with `input_ids`, `attention_mask` and everything that
    the image processor returns; the model takes it whole: `model(**inputs)`. `keypoints` or `boxes` say where the
    faces are; without them each photo is taken for a face crop. Texts are padded and truncated to the
    tokenizer's `model_max_length`, 77 tokens for CLIP's.

    Args:
        image_processor ([`FaRLImageProcessor`]): Cuts and normalises faces.
        tokenizer ([`FaRLTokenizer`]): Turns texts into token ids.

    Example:
        >>> from transformers import AutoProcessor
        >>> processor = AutoProcessor.from_pretrained("my_farl")  # doctest: +SKIP
        >>> inputs = processor(images=photo, text=["a smiling face"], return_tensors="pt")  # doctest: +SKIP
    """

    valid_processor_kwargs = FaRLProcessorKwargs  # type: ignore[assignment]  # its images_kwargs are narrower

    def __init__(self, image_processor: Any, tokenizer: Any, **kwargs: Any):
        super().__init__(image_processor, tokenizer, **kwargs)
