"""The transformer block that both towers of FaRL share: CLIP's pre-norm residual attention block.

Source: FacePerceiver/FaRL `farl/network/farl/model.py` (MIT). Changed: separate q, k, v projections as in
Transformers' CLIP, so that its checkpoints load unchanged; attention through the attention interface.

Shapes: B batch, T tokens, C width, H heads, D channels per head.
"""

import torch
from torch import nn
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .fast_inference_farl import FastLinears, FastQuickGELU, fast_as

__all__ = ["FaRLAttention", "FaRLEncoder", "FaRLEncoderLayer", "FaRLMLP", "eager_attention"]


def eager_attention(module, query_BHTD, key_BHTD, value_BHTD, attention_mask, scaling, dropout=0.0, **kwargs):
    """Return attended values (B, T, H, D) and weights (B, H, T, T): the attention interface, written out."""
    weights_BHTT = torch.matmul(query_BHTD, key_BHTD.transpose(-1, -2)) * scaling
    if attention_mask is not None:
        weights_BHTT = weights_BHTT + attention_mask
    weights_BHTT = nn.functional.softmax(weights_BHTT, dim=-1, dtype=torch.float32).to(query_BHTD.dtype)
    weights_BHTT = nn.functional.dropout(weights_BHTT, p=dropout, training=module.training)
    return torch.matmul(weights_BHTT, value_BHTD).transpose(1, 2).contiguous(), weights_BHTT


class FaRLAttention(nn.Module):
    """Multi-head self-attention with biases on every projection."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.scaling = self.head_dim**-0.5
        self.attention_dropout = config.attention_dropout
        self.is_causal = False
        self.q_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.k_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.v_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.out_proj = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden_BTC, attention_mask=None, **kwargs):
        """Return the attended tokens (B, T, C) and, in eager mode, the weights (B, H, T, T)."""
        split = (*hidden_BTC.shape[:-1], -1, self.head_dim)
        query, key, value = (
            projection(hidden_BTC).view(split).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention)
        dropout = self.attention_dropout if self.training else 0.0
        attended, weights = attend(
            self, query, key, value, attention_mask, scaling=self.scaling, dropout=dropout, **kwargs
        )
        return self.out_proj(attended.reshape(*hidden_BTC.shape[:-1], -1)), weights

    def init_farl_weights(self, factor):
        """Text: openai/CLIP `initialize_parameters`. Vision: PyTorch's xavier-uniform for the fused (3C, C) weight."""
        width, depth = self.config.hidden_size, self.config.num_hidden_layers
        inputs = (self.q_proj, self.k_proj, self.v_proj)
        if self.config.model_type == "farl_text_model":
            for projection in inputs:
                init.normal_(projection.weight, std=width**-0.5 * factor)
            init.normal_(self.out_proj.weight, std=width**-0.5 * (2 * depth) ** -0.5 * factor)
        else:
            bound = (6 / (4 * width)) ** 0.5 * factor
            for projection in inputs:
                init.uniform_(projection.weight, -bound, bound)


class QuickGELU(nn.Module):
    """`x * sigmoid(1.702 x)`."""

    @fast_as(FastQuickGELU)
    def forward(self, inputs):
        """Map a tensor of any shape."""
        return inputs * torch.sigmoid(1.702 * inputs)


class FaRLMLP(nn.Module):
    """Two linear layers around QuickGELU, or another activation that the configuration names."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.activation = QuickGELU() if config.hidden_act == "quick_gelu" else ACT2FN[config.hidden_act]
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, hidden_BTC):
        """Map (B, T, C) to (B, T, C)."""
        return self.fc2(self.activation(self.fc1(hidden_BTC)))

    def init_farl_weights(self, factor):
        """Text: openai/CLIP `initialize_parameters`. Vision: the default of every linear layer."""
        width, depth = self.config.hidden_size, self.config.num_hidden_layers
        if self.config.model_type == "farl_text_model":
            init.normal_(self.fc1.weight, std=(2 * width) ** -0.5 * factor)
            init.normal_(self.fc2.weight, std=width**-0.5 * (2 * depth) ** -0.5 * factor)


def _drop_path(branch_BTC, rate, training):
    """Drop the residual branch of random samples and scale the others, so that its expectation stays."""
    if rate == 0.0 or not training:
        return branch_BTC
    keep = 1.0 - rate
    kept_B11 = torch.rand(branch_BTC.shape[0], 1, 1, device=branch_BTC.device) < keep
    return branch_BTC * kept_B11.to(branch_BTC.dtype) / keep


class FaRLEncoderLayer(GradientCheckpointingLayer):
    """`x += attention(norm(x)); x += mlp(norm(x))`, each branch optionally dropped per sample."""

    def __init__(self, config, drop_path_rate=0.0):
        super().__init__()
        self.drop_path_rate = drop_path_rate
        self.self_attn = FaRLAttention(config)
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = FaRLMLP(config)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, hidden_BTC, attention_mask=None, **kwargs):
        """Map (B, T, C) to (B, T, C)."""
        attended_BTC, _ = self.self_attn(self.layer_norm1(hidden_BTC), attention_mask, **kwargs)
        hidden_BTC = hidden_BTC + _drop_path(attended_BTC, self.drop_path_rate, self.training)
        mixed_BTC = self.mlp(self.layer_norm2(hidden_BTC))
        return hidden_BTC + _drop_path(mixed_BTC, self.drop_path_rate, self.training)


class FaRLEncoder(nn.Module):
    """A stack of blocks. Stops after the last block that the caller asks for.

    Args:
        config ([`FaRLVisionConfig`] or [`FaRLTextConfig`]): Sizes of a block, and the depth.
        drop_path_rates (`list[float]`, *optional*): One per block, where the depth is not that of the configuration.
    """

    def __init__(self, config, drop_path_rates=None):
        super().__init__()
        if drop_path_rates is None:
            depth = config.num_hidden_layers
            final_rate = getattr(config, "drop_path_rate", 0.0)
            drop_path_rates = [final_rate * index / max(depth - 1, 1) for index in range(depth)]
        self.layers = nn.ModuleList([FaRLEncoderLayer(config, rate) for rate in drop_path_rates])

    @fast_as(FastLinears)
    def forward(self, hidden_BTC, attention_mask=None, **kwargs):
        """Run every block; (B, T, C) in and out."""
        for layer in self.layers:
            hidden_BTC = layer(hidden_BTC, attention_mask, **kwargs)
        return hidden_BTC

    @fast_as(FastLinears)
    def block_outputs(self, hidden_BTC, block_indices, **kwargs):
        """Return the raw outputs (B, T, C) of the given 0-based blocks, in the order given; blocks may repeat."""
        wanted, outputs = set(block_indices), {}
        for index, layer in enumerate(self.layers[: max(wanted) + 1]):
            hidden_BTC = layer(hidden_BTC, None, **kwargs)
            if index in wanted:
                outputs[index] = hidden_BTC
        return [outputs[index] for index in block_indices]
