"""Heat maps on the patch grid: the scores that they explain, Grad-CAM, and attention roll-out.

Sources: Selvaraju et al., Grad-CAM (ICCV 2017); FaRL supplement section 2; Abnar and Zuidema, Quantifying Attention
Flow in Transformers (ACL 2020).

Shapes: F faces, K names, T tokens (class token first), C width, H heads, h and w patches.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from farl_hf.errors import UnsuitableModelError, check_name
from farl_hf.explanation.vision_layers import find_layer, last_block_on_class_token, opened_at, token_grid_hw
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


@torch.inference_mode(False)  # gradients are needed, even where the caller has turned them off
@torch.enable_grad()
def grad_cam(
    vision_model: Any, scores: ExplainedScores, layer_name: str, pixel_values: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Which patches raise each score: one forward pass, then one backward pass per name down to the layer, not below.

    A channel's weight is the mean over all patches of the score's gradient; the map is the positive part of the
    weighted sum of the channels. The class token takes part in neither.

    Args:
        vision_model (`FaRLVisionModel` or `CLIPVisionModel`): The vision encoder of the model.
        scores ([`ExplainedScores`]): What is explained.
        layer_name (`str`): See `find_layer`.
        pixel_values (`torch.Tensor` of shape `(F, 3, H, W)`): Network inputs.

    Returns:
        `tuple[torch.Tensor, torch.Tensor]`: Scores (F, K), and maps (F, K, h, w), not negative, not scaled; float32.

    Raises:
        UnknownNameError: If there is no such layer.
    """
    layer = find_layer(vision_model, layer_name, scores.class_token_only)
    shortened = last_block_on_class_token(vision_model) if scores.class_token_only else nullcontext()
    with shortened, opened_at(layer) as leaves:
        scores_FK = scores.compute(pixel_values)
    (tokens_FTC,) = leaves
    patches_FNC = tokens_FTC.detach()[:, 1:].float()
    maps_FN = []
    for scores_F in scores_FK.unbind(dim=1):  # faces do not meet, so that one pass serves them all
        (gradient_FTC,) = torch.autograd.grad(scores_F.sum(), tokens_FTC, retain_graph=True)
        weights_FC = gradient_FTC[:, 1:].float().mean(dim=1)
        maps_FN.append((patches_FNC * weights_FC[:, None]).sum(dim=-1).relu())
    grid_hw = token_grid_hw(vision_model, pixel_values)
    return scores_FK.detach(), torch.stack(maps_FN, dim=1).unflatten(-1, grid_hw)


@torch.no_grad()
def attention_rollout(vision_model: Any, pixel_values: torch.Tensor) -> torch.Tensor:
    """How much of each patch reaches the class token through the attention of all blocks; the same for every text.

    Attention is averaged over heads, mixed half and half with the residual connection, and multiplied over blocks.

    Returns:
        `torch.Tensor` of shape `(F, 1, h, w)`: Shares, not negative, float32.
    """
    with _recorded_attentions(vision_model) as attentions:
        vision_model(pixel_values=pixel_values, interpolate_pos_encoding=True)
    share_F1T = torch.zeros_like(attentions[-1][:, :1])
    share_F1T[..., 0] = 1
    for attention_FTT in reversed(attentions):
        share_F1T = (share_F1T @ attention_FTT + share_F1T) / 2
    return share_F1T[..., 1:].unflatten(-1, token_grid_hw(vision_model, pixel_values))


@contextmanager
def _recorded_attentions(vision_model: Any) -> Iterator[list[torch.Tensor]]:
    """Yield a list that the next forward pass fills with the head-averaged attention (F, T, T) of each block.

    From queries and keys, because only the slowest attention implementation hands out its weights.
    """
    attentions: list[torch.Tensor] = []
    with ExitStack() as hooks:
        for block in vision_model.encoder.layers:
            seen: dict[str, torch.Tensor] = {}
            for name in ("q_proj", "k_proj"):
                handle = block.self_attn.get_submodule(name).register_forward_hook(_keep(seen, name))
                hooks.callback(handle.remove)
            handle = block.self_attn.register_forward_hook(_append_attention(attentions, seen))
            hooks.callback(handle.remove)
        yield attentions


def _keep(seen: dict[str, torch.Tensor], name: str) -> Callable:
    def hook(module: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        seen[name] = output

    return hook


def _append_attention(attentions: list[torch.Tensor], seen: dict[str, torch.Tensor]) -> Callable:
    def hook(module: Any, inputs: tuple, output: tuple) -> None:
        query, key = (
            seen.pop(name).float().unflatten(-1, (-1, module.head_dim)).transpose(1, 2)
            for name in ("q_proj", "k_proj")
        )
        logits_FHTT = query @ key.transpose(-1, -2) * module.head_dim**-0.5
        attentions.append(logits_FHTT.softmax(dim=-1).mean(dim=1))

    return hook
