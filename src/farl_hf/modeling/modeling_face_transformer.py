"""Face Transformer: a ViT trained for face recognition, one of the paper's baselines.

Architecture: zhongyy/Face-Transformer `copy-to-vit_pytorch-path/vit_face.py`, lines 257-397, ViT-P8S8. Rewritten; the
patch projection is a convolution here. Attention divides scores by the square root of the full width, not of a head's
(line 290).

Letters in shapes: B batch, T tokens, C width, A heads, D channels per head.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .configuration_face_transformer import FaceTransformerConfig
from .fast_inference_farl import FastLinears, fast_as
from .modeling_farl import (
    BlockOutputs,
    FaRLPreTrainedModel,
    PatchMaps,
    eager_attention,
    resize_position_table,
    token_grid,
)
from .pretrained_model_farl import record_outputs


class FaceTransformerAttention(nn.Module):
    """Multi-head self-attention without biases on query, key and value."""

    def __init__(self, config: FaceTransformerConfig):
        super().__init__()
        self.config = config
        self.head_dim = config.head_dim
        self.scaling = config.hidden_size**-0.5
        self.is_causal = False
        inner = config.num_attention_heads * config.head_dim
        self.q_proj = nn.Linear(config.hidden_size, inner, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, inner, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, inner, bias=False)
        self.out_proj = nn.Linear(inner, config.hidden_size)

    def forward(self, hidden_BTC: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the attended tokens (B, T, C) and, in eager mode, the weights (B, A, T, T)."""
        split = (*hidden_BTC.shape[:-1], -1, self.head_dim)
        query, key, value = (
            projection(hidden_BTC).view(split).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention)
        attended, weights = attend(self, query, key, value, None, scaling=self.scaling, dropout=0.0)
        return self.out_proj(attended.reshape(*hidden_BTC.shape[:-1], -1)), weights


class FaceTransformerLayer(GradientCheckpointingLayer):
    """`x += attention(norm(x)); x += mlp(norm(x))`."""

    def __init__(self, config: FaceTransformerConfig):
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.self_attn = FaceTransformerAttention(config)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)
        self.dropout = nn.Dropout(config.hidden_dropout)

    def forward(self, hidden_BTC: torch.Tensor) -> torch.Tensor:
        """Map (B, T, C) to (B, T, C)."""
        hidden_BTC = hidden_BTC + self.dropout(self.self_attn(self.layer_norm1(hidden_BTC))[0])
        mixed_BTC = self.dropout(nn.functional.gelu(self.fc1(self.layer_norm2(hidden_BTC))))
        return hidden_BTC + self.dropout(self.fc2(mixed_BTC))


class FaceTransformerModel(PatchMaps, FaRLPreTrainedModel):
    """The encoder; its class token, normalised, is the embedding of a face.

    Input is RGB in 0..255, as in the authors' code (`image_iter.py`, lines 68-78). An image processor whose mean is 0
    and whose standard deviation is 1/255 makes it from [0, 1].

    Args:
        config ([`FaceTransformerConfig`]): Its sizes.
        add_post_layernorm (`bool`, *optional*, defaults to `True`): Whether the class token is normalised at the end.
            The task heads read raw block outputs and go without.
    """

    config_class = FaceTransformerConfig
    base_model_prefix = "face_transformer"
    input_modalities = ["image"]  # noqa: RUF012
    _input_embed_layer = "patch_embedding"
    _no_split_modules = ["FaceTransformerLayer"]  # noqa: RUF012
    _can_record_outputs = {  # noqa: RUF012
        "hidden_states": FaceTransformerLayer,
        "attentions": FaceTransformerAttention,
    }

    def __init__(self, config: FaceTransformerConfig, add_post_layernorm: bool = True):
        super().__init__(config)
        self.width, self.patch_size, self.depth = config.hidden_size, config.patch_size, config.num_hidden_layers
        self.grid_size = config.image_size // config.patch_size
        self.patch_embedding = nn.Conv2d(config.num_channels, self.width, self.patch_size, stride=self.patch_size)
        self.class_embedding = nn.Parameter(torch.zeros(1, 1, self.width))
        self.position_embedding = nn.Parameter(torch.zeros(1, 1 + self.grid_size**2, self.width))
        self.dropout = nn.Dropout(config.embedding_dropout)
        self.layers = nn.ModuleList([FaceTransformerLayer(config) for _ in range(self.depth)])
        self.post_layernorm = nn.LayerNorm(self.width, eps=config.layer_norm_eps) if add_post_layernorm else None
        self.post_init()

    def init_farl_weights(self, factor: float) -> None:
        """Class token and positions are standard normal, as officially (`vit_face.py`, lines 349-351)."""
        init.normal_(self.class_embedding, std=factor)
        init.normal_(self.position_embedding, std=factor)

    def embed(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Return the tokens (B, T, C) that enter the first block."""
        grid_hw = token_grid(pixel_values, self.patch_size)
        patches_BTC = self.patch_embedding(pixel_values.to(self.patch_embedding.weight.dtype)).flatten(2).mT
        class_B1C = self.class_embedding.expand(patches_BTC.shape[0], -1, -1)
        positions_TC = resize_position_table(self.position_embedding[0], 1, (self.grid_size, self.grid_size), grid_hw)
        return self.dropout(torch.cat([class_B1C, patches_BTC], dim=1) + positions_TC)

    @fast_as(FastLinears)
    def run_blocks(
        self, hidden_BTC: torch.Tensor, block_indices: Sequence[int] = ()
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Run the blocks as [`FaRLEncoder`] does."""
        outputs = {}
        for index, layer in enumerate(self.layers[: max(block_indices) + 1] if block_indices else self.layers):
            hidden_BTC = layer(hidden_BTC)
            if index in block_indices:
                outputs[index] = hidden_BTC
        return hidden_BTC, [outputs[index] for index in block_indices]

    @record_outputs
    def forward(
        self, pixel_values: torch.Tensor, block_indices: Sequence[int] | None = None, **kwargs: Any
    ) -> BlockOutputs:
        """Encode faces.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(B, 3, H, W)`): RGB in 0..255; the patch divides the sides.
            block_indices (`list[int]`, *optional*): 0-based blocks whose outputs to return; see [`FaRLVisionModel`].

        Returns:
            [`BlockOutputs`]: `last_hidden_state` (B, 1 + patches, C), `pooler_output` (B, C), the embedding, and
            `block_outputs` if `block_indices` are given.
        """
        hidden_BTC, outputs = self.run_blocks(self.embed(pixel_values), block_indices or ())
        return BlockOutputs(
            last_hidden_state=hidden_BTC,
            pooler_output=None if self.post_layernorm is None else self.post_layernorm(hidden_BTC[:, 0]),
            block_outputs=tuple(outputs) or None,
        )
