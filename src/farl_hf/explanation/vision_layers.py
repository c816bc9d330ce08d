"""The layers of a vision encoder that heat maps can be taken from, and a forward pass opened at one of them.

The vision encoders are those of FaRL and of Transformers' CLIP, whose modules have the same names. Layers are called
by their path in `vision_model.encoder`, blocks counted from 0: `layers.11.layer_norm1` is the first LayerNorm of the
twelfth block. The models are annotated as `Any`: PyTorch types the attributes of a module as tensors or modules only.

Shapes: B batch, T tokens (class token first), C width.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from farl_hf.errors import UnknownNameError, UnsuitableModelError

_PARTS = ("layer_norm1", "self_attn", "layer_norm2", "mlp")


def vision_model_of(model: Any) -> Any:
    """The vision encoder of a model, or the model itself if it is one.

    Raises:
        UnsuitableModelError: If it has none of FaRL's or CLIP's structure.
    """
    vision_model = getattr(model, "vision_model", model)
    blocks: Any = getattr(getattr(vision_model, "encoder", None), "layers", ())
    if not len(blocks) or not all(hasattr(blocks[-1], part) for part in _PARTS):
        raise UnsuitableModelError(
            f"{type(model).__name__} has no vision encoder of FaRL's or CLIP's structure; heat maps need one."
        )
    return vision_model


def token_grid_hw(vision_model: Any, pixel_values: torch.Tensor) -> tuple[int, int]:
    """Rows and columns of patches."""
    height, width = pixel_values.shape[-2:]
    return height // vision_model.config.patch_size, width // vision_model.config.patch_size


def default_layer(vision_model: Any, last: int | None = None) -> str:
    """The first LayerNorm of the last block (supplement section 2); `last` as in `find_layer`."""
    return f"layers.{len(vision_model.encoder.layers) - 1 if last is None else last}.layer_norm1"


def find_layer(vision_model: Any, name: str, class_token_only: bool, last: int | None = None) -> nn.Module:
    """A layer by its name.

    Args:
        vision_model (`FaRLVisionModel` or `CLIPVisionModel`): The vision encoder.
        name (`str`): Such as `layers.11.layer_norm1`.
        class_token_only (`bool`): What is explained reads the encoder's last class token and nothing else. Then
            patches have no influence from the attention of the last block on, and those layers are not known.
        last (`int`, *optional*): The last block that is computed, from 0: a head reads some blocks, and none after
            them is run. All are by default.

    Raises:
        UnknownNameError: If there is no such layer; the message lists those there are.
    """
    last = len(vision_model.encoder.layers) - 1 if last is None else last
    useless = {f"layers.{last}", *(f"layers.{last}.{part}" for part in _PARTS[1:])} if class_token_only else set()
    names = [f"layers.{block}{part}" for block in range(last + 1) for part in ("", *(f".{part}" for part in _PARTS))]
    if name not in names or name in useless:
        unread = f"; of layers.{last}, layer_norm1 only, because the text sees its class token alone"
        raise UnknownNameError(
            f"There is no layer {name!r} to take a heat map from. Known layers: layers.N, "
            f"{', '.join(f'layers.N.{part}' for part in _PARTS)}, with N from 0 to {last}{unread if useless else ''}."
        )
    return vision_model.encoder.get_submodule(name)


@contextmanager
def opened_at(layer: nn.Module) -> Iterator[list[torch.Tensor]]:
    """Run forward passes that record gradients from the output of one layer on, and not below it.

    Yields:
        `list[torch.Tensor]`: The output (B, T, C) of each pass, a leaf with respect to which to differentiate.
    """
    leaves: list[torch.Tensor] = []

    def open_graph(module: nn.Module, inputs: Any, output: Any) -> Any:
        tokens_BTC, *others = output if isinstance(output, tuple) else (output,)
        torch.set_grad_enabled(True)  # until the `no_grad` around the pass ends
        leaves.append(tokens_BTC.detach().requires_grad_())
        return (leaves[-1], *others) if isinstance(output, tuple) else leaves[-1]

    handle = layer.register_forward_hook(open_graph)
    try:
        with torch.no_grad():
            yield leaves
    finally:
        handle.remove()


@contextmanager
def last_block_on_class_token(vision_model: Any) -> Iterator[None]:
    """Compute the last block for the class token alone, except for the keys and values of its attention.

    A model of images and texts reads nothing else of its output. One backward pass per text then costs a sixth of
    the block, its keys and values, instead of the whole block.
    """
    block = vision_model.encoder.layers[-1]
    own = vars(block).get("forward")  # accelerate's, where the model lies on several devices
    block.forward = partial(_class_token_forward, block)
    try:
        yield
    finally:
        del block.forward
        if own is not None:
            block.forward = own


def _class_token_forward(block: Any, hidden_BTC: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    """Map (B, T, C) to (B, 1, C)."""
    hidden_B1C = hidden_BTC[:, :1] + _class_token_attention(block.self_attn, block.layer_norm1(hidden_BTC))
    return hidden_B1C + block.mlp(block.layer_norm2(hidden_B1C))


def _class_token_attention(attention: Any, normed_BTC: torch.Tensor) -> torch.Tensor:
    query, key, value = (
        projection(tokens).unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)
        for projection, tokens in (
            (attention.q_proj, normed_BTC[:, :1]),
            (attention.k_proj, normed_BTC),
            (attention.v_proj, normed_BTC),
        )
    )
    return attention.out_proj(scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))
