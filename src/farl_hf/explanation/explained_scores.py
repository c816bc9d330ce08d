"""The scores that a heat map explains: one per face and name, computed by the model from pixels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from farl_hf.errors import UnsuitableModelError, check_name
from farl_hf.retrieval.face_embedding import unit_image_features
from farl_hf.retrieval.text_embedding import checked_texts, compares_with_texts, embed_texts


@dataclass(frozen=True)
class ExplainedScores:
    """Scores that can be differentiated.

    Args:
        names (`tuple[str, ...]`): Texts, attributes or classes.
        compute (`Callable`): Normalised crops (F, 3, H, W) -> scores (F, num_names).
        class_token_only (`bool`): The scores read the last class token of the vision encoder and nothing else.
    """

    names: tuple[str, ...]
    compute: Callable[[torch.Tensor], torch.Tensor]
    class_token_only: bool


def explained_scores(model: Any, processor: Any, names: Sequence[str], wrappers: Sequence[str]) -> ExplainedScores:
    """The scores of a model: similarity to texts, logits of attributes, mean logits over the pixels of classes.

    Args:
        model (`PreTrainedModel`): Of images and texts, or with a head for attributes or face parsing.
        processor: With a tokenizer, for texts.
        names (`Sequence[str]`): Texts, or names of the model's own labels.
        wrappers (`Sequence[str]`): Prompts around texts.

    Raises:
        InvalidTextError: If no name was given or a text is empty.
        UnknownNameError: If the model has no label of that name.
        UnsuitableModelError: If the model has neither a text encoder nor a head.
    """
    names = checked_texts(names)
    if compares_with_texts(model):
        text_embeds_PK = embed_texts(model, processor, names, wrappers).t()
        return ExplainedScores(names, lambda pixels: unit_image_features(model, pixels) @ text_embeds_PK, True)
    if not hasattr(model, "head"):
        raise UnsuitableModelError(
            f"{type(model).__name__} has neither a text encoder nor a head for attributes or classes, so it gives no "
            f"score for {names[0]!r}; load a checkpoint of images and texts, of face-attributes or of face-parsing."
        )
    return ExplainedScores(names, partial(_label_scores, model, _label_ids(model, names)), False)


def _label_ids(model: Any, names: Sequence[str]) -> list[int]:
    ids = {name: index for index, name in model.config.id2label.items()}
    for name in names:
        check_name("label", name, ids, f"{type(model).__name__} has no text encoder for free texts.")
    return [ids[name] for name in names]


def _label_scores(model: Any, ids: list[int], pixel_values: torch.Tensor) -> torch.Tensor:
    logits = model(pixel_values=pixel_values).logits.float()
    return logits[:, ids] if logits.ndim == 2 else _mean_over_own_pixels(logits, ids)


def _mean_over_own_pixels(logits_FCHW: torch.Tensor, ids: list[int]) -> torch.Tensor:
    """Mean logit of each class over the pixels where it wins, 0 if it wins nowhere: (F, num_ids)."""
    winners_FHW = logits_FCHW.argmax(dim=1)
    own_FKHW = torch.stack([winners_FHW == index for index in ids], dim=1)
    return (logits_FCHW[:, ids] * own_FKHW).sum(dim=(-2, -1)) / own_FKHW.sum(dim=(-2, -1)).clamp(min=1)
