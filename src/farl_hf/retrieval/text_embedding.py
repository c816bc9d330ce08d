"""Texts to unit vectors of the space that faces and texts share, with prompt ensembling."""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import normalize

from farl_hf.errors import InvalidTextError, UnsuitableModelError

logger = logging.getLogger(__name__)

PLAIN = ("{}",)  # the text as it is
_BATCH_SIZE = 64
_SHOWN = 40  # characters of a text in a message


def compares_with_texts(model: Any) -> bool:
    """Whether a model embeds images and texts."""
    return hasattr(model, "get_text_features") and hasattr(model, "get_image_features")


def checked_texts(texts: str | Sequence[str]) -> tuple[str, ...]:
    """The texts, one or several, as a tuple.

    Raises:
        InvalidTextError: If there is none, or one of them is empty or no text.
    """
    listed = (texts,) if isinstance(texts, str) else tuple(() if texts is None else texts)
    if not listed:
        raise InvalidTextError("No text was given; give at least one, such as 'a smile'.")
    for number, text in enumerate(listed, start=1):
        if not isinstance(text, str) or not text.strip():
            raise InvalidTextError(f"Text {number} is {text!r}, which says nothing; give words, such as 'a smile'.")
    return listed


@torch.inference_mode(False)  # its tensors could never take part in a differentiated computation
@torch.no_grad()
def embed_texts(model: Any, processor: Any, texts: str | Sequence[str], wrappers: Sequence[str] = PLAIN) -> Any:
    """One unit vector per text.

    Args:
        model ([`FaRLModel`] or [`CLIPModel`]): A model of images and texts.
        processor ([`FaRLProcessor`] or [`CLIPProcessor`]): With its tokenizer, or the tokenizer itself.
        texts (`str` or `Sequence[str]`): What to embed. Longer ones than the model takes are cut, with a warning.
        wrappers (`Sequence[str]`, *optional*): Patterns with one `{}`. A text's vector is the mean of the unit vectors
            of its wrapped forms (openai/CLIP data/prompts.md, prompt ensembling). By default the text stays as it is.

    Returns:
        `torch.FloatTensor` of shape `(num_texts, P)`: float32, of length 1, on the model's device.

    Raises:
        InvalidTextError: If a text is empty, or a wrapper has not one place for it.
        UnsuitableModelError: If the model has no text encoder or the processor no tokenizer.
    """
    texts = checked_texts(texts)
    if isinstance(wrappers, str) or not wrappers or not all(one.count("{}") == 1 for one in wrappers):
        raise InvalidTextError(f"The patterns are {wrappers!r}; expected a list of texts with one {{}} each.")
    tokenizer = _tokenizer_of(model, processor)
    sentences = [wrapper.replace("{}", text) for text in texts for wrapper in wrappers]
    starts = range(0, len(sentences), _BATCH_SIZE)
    features = [_features(model, tokenizer, sentences[start : start + _BATCH_SIZE]) for start in starts]
    units_TWP = normalize(torch.cat(features), dim=-1).unflatten(0, (len(texts), len(wrappers)))
    return normalize(units_TWP.mean(dim=1), dim=-1)


def _tokenizer_of(model: Any, processor: Any) -> Any:
    if not compares_with_texts(model):
        raise UnsuitableModelError(
            f"{type(model).__name__} has no text encoder, so it cannot compare a face with a text; load a checkpoint "
            "of images and texts, such as farl or farl-tiny, as FaRLModel or CLIPModel."
        )
    tokenizer = getattr(processor, "tokenizer", processor)
    if not hasattr(tokenizer, "model_max_length"):
        raise UnsuitableModelError(
            f"{type(processor).__name__} has no tokenizer, so it cannot read texts; load the checkpoint's processor "
            "with AutoProcessor."
        )
    return tokenizer


def _features(model: Any, tokenizer: Any, sentences: list[str]) -> torch.Tensor:
    longest = min(tokenizer.model_max_length, model.config.text_config.max_position_embeddings)
    _warn_of_cuts(tokenizer, sentences, longest)
    # Padded to the longest sentence, not to 77 tokens: padding comes after the end token, which is what is read.
    batch = tokenizer(sentences, padding=True, truncation=True, max_length=longest, return_tensors="pt")
    inputs = {name: batch[name].to(model.device) for name in ("input_ids", "attention_mask")}
    return model.get_text_features(**inputs).pooler_output.float()


def _warn_of_cuts(tokenizer: Any, sentences: list[str], longest: int) -> None:
    for sentence, ids in zip(
        sentences, tokenizer(sentences, truncation=False, verbose=False)["input_ids"], strict=True
    ):
        if len(ids) > longest:
            logger.warning(
                "The text '%s …' has %d tokens and is cut to the %d that the model takes.",
                sentence[:_SHOWN],
                len(ids),
                longest,
            )
