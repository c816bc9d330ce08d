"""FaRL: General Facial Representation Learning in a Visual-Linguistic Manner (CVPR 2022): image and text encoder.

Paper: Zheng et al., arXiv 2112.03109. Sources: FacePerceiver/FaRL 3fb4694 (MIT)
`farl/network/farl/model.py`, lines 165-363, and `farl/network/transformers.py`, lines 134-178; openai/CLIP (MIT)
`clip/model.py`, lines 157-372. Changed:

- Module names and separate q, k, v projections are those of Transformers' CLIP, so its checkpoints load unchanged.
- Attention goes through Transformers' attention interface.
- Positions are interpolated for any input size that the patch divides: bicubic, corners not aligned, prefix rows
  untouched, as in FaRL's backbone (`farl/network/transformers.py`, lines 44-59). FaRL does so once, before training;
  here the stored table learns (docs/training.md, "Deviations, named").
- The logit scale has shape (1,), because DeepSpeed cannot broadcast 0-dimensional parameters.

Letters in shapes: B batch, T tokens, C width, A attention heads, D channels of a head, H and W pixels, h and w a grid
of tokens, P size of the shared image-text space, N pairs of all processes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.backbone_utils import BackboneMixin
from transformers.masking_utils import create_causal_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BackboneOutput, BaseModelOutputWithPooling
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils import ModelOutput
from transformers.utils.generic import can_return_tuple, merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from .configuration_farl import FaRLConfig, FaRLTextConfig, FaRLVisionConfig
from .fast_inference_farl import FastInferenceMixin, FastLinears, FastQuickGELU, fast_as
from .pretrained_model_farl import ModelLoadedWhole, ModelPushedWithCode, encoder_records

# Weights of a checkpoint that a model leaves out on purpose. Loading does not report them.
TEXT_PARTS = (r"text_model\.", r"text_projection\.")
FORMER_PARTS = (r"word_head\.",)  # of checkpoints of version 0.1 that learned to name words
JOINT_PARTS = (r"visual_projection\.", r"logit_scale", *FORMER_PARTS)
PRETRAINING_PARTS = (r"mim_", r"mask_token", r"self_supervision\.")
PARTS_BESIDE_VISION = (*TEXT_PARTS, *JOINT_PARTS, *PRETRAINING_PARTS)
HEAD_PARTS = (r"pyramid\.", r"(^|\.)head\.")


@dataclass
class FaRLOutput(ModelOutput):
    """Output of [`FaRLModel`].

    Args:
        loss (`torch.FloatTensor` of shape `()`, *optional*): Symmetric contrastive loss, with `return_loss=True`.
        logits_per_image (`torch.FloatTensor` of shape `(num_images, num_texts)`): Scaled cosine similarities.
        logits_per_text (`torch.FloatTensor` of shape `(num_texts, num_images)`): Their transpose.
        text_embeds (`torch.FloatTensor` of shape `(num_texts, projection_dim)`): Unit-length text features.
        image_embeds (`torch.FloatTensor` of shape `(num_images, projection_dim)`): Unit-length image features.
        text_model_output (`BaseModelOutputWithPooling`): Output of the text encoder.
        vision_model_output (`BaseModelOutputWithPooling`): Output of the vision encoder.
    """

    loss: torch.Tensor | None = None
    logits_per_image: torch.Tensor | None = None
    logits_per_text: torch.Tensor | None = None
    text_embeds: torch.Tensor | None = None
    image_embeds: torch.Tensor | None = None
    text_model_output: BaseModelOutputWithPooling | None = None
    vision_model_output: BaseModelOutputWithPooling | None = None

    def to_tuple(self) -> tuple[Any, ...]:
        """Return the fields that are set, nested outputs as tuples."""
        return tuple(value.to_tuple() if isinstance(value, ModelOutput) else value for value in self.values())


# --- embeddings


def token_grid(pixel_values_BCHW: torch.Tensor, patch_size: int) -> tuple[int, int]:
    """Return rows and columns of patches.

    Raises:
        ValueError: The patch does not divide the input's sides.
    """
    height, width = pixel_values_BCHW.shape[-2:]
    if height % patch_size or width % patch_size:
        fitting = tuple(max(patch_size, round(side / patch_size) * patch_size) for side in (height, width))
        raise ValueError(
            f"pixel_values are {height} x {width}, but both sides must be multiples of the patch size {patch_size}; "
            f"resize to {fitting[0]} x {fitting[1]}, for example."
        )
    return height // patch_size, width // patch_size


def resize_position_table(
    table_TC: torch.Tensor, num_prefix_rows: int, stored_hw: tuple[int, int], wanted_hw: tuple[int, int]
) -> torch.Tensor:
    """Return positions (num_prefix_rows + h * w, C) for a token grid; the rows of prefix tokens are untouched."""
    if tuple(stored_hw) == tuple(wanted_hw):
        return table_TC
    grid_1ChW = table_TC[num_prefix_rows:].reshape(1, *stored_hw, -1).permute(0, 3, 1, 2)
    resized = nn.functional.interpolate(grid_1ChW.float(), size=wanted_hw, mode="bicubic", align_corners=False)
    return torch.cat([table_TC[:num_prefix_rows], resized.flatten(2)[0].t().to(table_TC.dtype)])


class FaRLVisionEmbeddings(nn.Module):
    """Patches, class token and positions."""

    def __init__(self, config: FaRLVisionConfig):
        super().__init__()
        self.config = config
        self.patch_size = config.patch_size
        self.grid_size = config.image_size // config.patch_size
        self.class_embedding = nn.Parameter(torch.zeros(config.hidden_size))
        self.patch_embedding = nn.Conv2d(
            config.num_channels,
            config.hidden_size,
            kernel_size=config.patch_size,
            stride=config.patch_size,
            bias=False,
        )
        self.position_embedding = nn.Embedding(self.grid_size**2 + 1, config.hidden_size)

    def init_farl_weights(self, factor: float) -> None:
        """Class token and positions are normal, scaled by width^-0.5 (FaRL `farl/network/farl/model.py`, 301-307)."""
        std = self.config.hidden_size**-0.5 * factor
        init.normal_(self.class_embedding, std=std)
        init.normal_(self.position_embedding.weight, std=std)

    def positions(self, grid_hw: tuple[int, int], device: torch.device) -> torch.Tensor:
        """Return positions (1, 1 + h * w, C) for a token grid, bicubically resized; the class row is untouched."""
        # All rows by a call: accelerate and DeepSpeed bring offloaded weights only to a module that is called.
        table_TC = self.position_embedding(torch.arange(self.position_embedding.num_embeddings, device=device))
        return resize_position_table(table_TC, 1, (self.grid_size, self.grid_size), grid_hw)[None]

    def forward(
        self,
        pixel_values_BCHW: torch.Tensor,
        bool_masked_pos: torch.Tensor | None = None,
        mask_token: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return tokens (B, 1 + patches, C), class token first.

        With a mask (B, patches), `mask_token` (C,) replaces the masked patches, before class token and positions are
        added: a masked patch keeps its position.
        """
        grid_hw = token_grid(pixel_values_BCHW, self.patch_size)
        patches_BCHW = self.patch_embedding(pixel_values_BCHW.to(self.patch_embedding.weight.dtype))
        patches_BTC = patches_BCHW.flatten(2).transpose(1, 2)
        if bool_masked_pos is not None and mask_token is not None:
            patches_BTC = torch.where(bool_masked_pos[..., None], mask_token.to(patches_BTC.dtype), patches_BTC)
        class_B1C = self.class_embedding.expand(patches_BTC.shape[0], 1, -1)
        return torch.cat([class_B1C, patches_BTC], dim=1) + self.positions(grid_hw, patches_BTC.device)


class FaRLTextEmbeddings(nn.Module):
    """Token and position embeddings."""

    def __init__(self, config: FaRLTextConfig):
        super().__init__()
        self.token_embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embedding = nn.Embedding(config.max_position_embeddings, config.hidden_size)

    def init_farl_weights(self, factor: float) -> None:
        """openai/CLIP `clip/model.py`, lines 300-301: 0.02 for tokens, 0.01 for positions."""
        init.normal_(self.token_embedding.weight, std=0.02 * factor)
        init.normal_(self.position_embedding.weight, std=0.01 * factor)

    def forward(self, input_ids_BT: torch.Tensor, first_B: torch.Tensor) -> torch.Tensor:
        """Return (B, T, C). Positions count from `first_B`, the place of the start token of each text."""
        length, longest = input_ids_BT.shape[-1], self.position_embedding.num_embeddings
        if length > longest:
            raise ValueError(f"The text has {length} tokens, the model takes {longest}; truncate it.")
        places_BT = (torch.arange(length, device=input_ids_BT.device) - first_B[:, None]).clamp(min=0)
        return self.token_embedding(input_ids_BT) + self.position_embedding(places_BT)


# --- blocks


def eager_attention(
    module: nn.Module,
    query_BATD: torch.Tensor,
    key_BATD: torch.Tensor,
    value_BATD: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return attended values (B, T, A, D) and weights (B, A, T, T): the attention interface, written out."""
    weights_BATT = torch.matmul(query_BATD, key_BATD.transpose(-1, -2)) * scaling
    if attention_mask is not None:
        weights_BATT = weights_BATT + attention_mask
    weights_BATT = nn.functional.softmax(weights_BATT, dim=-1, dtype=torch.float32).to(query_BATD.dtype)
    weights_BATT = nn.functional.dropout(weights_BATT, p=dropout, training=module.training)
    return torch.matmul(weights_BATT, value_BATD).transpose(1, 2).contiguous(), weights_BATT


class FaRLAttention(nn.Module):
    """Multi-head self-attention with biases on every projection."""

    def __init__(self, config: FaRLVisionConfig | FaRLTextConfig):
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

    def forward(
        self, hidden_BTC: torch.Tensor, attention_mask: torch.Tensor | None = None, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the attended tokens (B, T, C) and, in eager mode, the weights (B, A, T, T)."""
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

    def init_farl_weights(self, factor: float) -> None:
        """Text: openai/CLIP `clip/model.py`, lines 316-321. Vision: PyTorch's for the fused (3C, C) weight.

        That is xavier-uniform; FaRL's own initialisation (`farl/network/farl/model.py`, lines 325-332) skips it.
        """
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
    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map a tensor of any shape."""
        return inputs * torch.sigmoid(1.702 * inputs)


class FaRLMLP(nn.Module):
    """Two linear layers around QuickGELU, or another activation that the configuration names."""

    def __init__(self, config: FaRLVisionConfig | FaRLTextConfig):
        super().__init__()
        self.config = config
        self.activation = QuickGELU() if config.hidden_act == "quick_gelu" else ACT2FN[config.hidden_act]
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, hidden_BTC: torch.Tensor) -> torch.Tensor:
        """Map (B, T, C) to (B, T, C)."""
        return self.fc2(self.activation(self.fc1(hidden_BTC)))

    def init_farl_weights(self, factor: float) -> None:
        """Text: openai/CLIP `clip/model.py`, lines 316-323. Vision: the default of every linear layer."""
        width, depth = self.config.hidden_size, self.config.num_hidden_layers
        if self.config.model_type == "farl_text_model":
            init.normal_(self.fc1.weight, std=(2 * width) ** -0.5 * factor)
            init.normal_(self.fc2.weight, std=width**-0.5 * (2 * depth) ** -0.5 * factor)


def _drop_path(branch_BTC, rate, training):
    """Drop the residual branch of random samples; scale the others so that the expectation stays the same."""
    if rate == 0.0 or not training:
        return branch_BTC
    keep = 1.0 - rate
    kept_B11 = torch.rand(branch_BTC.shape[0], 1, 1, device=branch_BTC.device) < keep
    return branch_BTC * kept_B11.to(branch_BTC.dtype) / keep


class FaRLEncoderLayer(GradientCheckpointingLayer):
    """`x += attention(norm(x)); x += mlp(norm(x))`, each branch optionally dropped per sample."""

    def __init__(self, config: FaRLVisionConfig | FaRLTextConfig, drop_path_rate: float = 0.0):
        super().__init__()
        self.drop_path_rate = drop_path_rate
        self.self_attn = FaRLAttention(config)
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = FaRLMLP(config)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(
        self, hidden_BTC: torch.Tensor, attention_mask: torch.Tensor | None = None, **kwargs: Any
    ) -> torch.Tensor:
        """Map (B, T, C) to (B, T, C)."""
        attended_BTC, _ = self.self_attn(self.layer_norm1(hidden_BTC), attention_mask, **kwargs)
        hidden_BTC = hidden_BTC + _drop_path(attended_BTC, self.drop_path_rate, self.training)
        mixed_BTC = self.mlp(self.layer_norm2(hidden_BTC))
        return hidden_BTC + _drop_path(mixed_BTC, self.drop_path_rate, self.training)


class FaRLEncoder(nn.Module):
    """CLIP's pre-norm residual attention blocks, one after the other; both encoders of FaRL are built of them.

    Args:
        config ([`FaRLVisionConfig`] or [`FaRLTextConfig`]): Sizes of a block, and the depth.
        drop_path_rates (`list[float]`, *optional*): One per block, where the depth is not that of the configuration.
    """

    def __init__(self, config: FaRLVisionConfig | FaRLTextConfig, drop_path_rates: list[float] | None = None):
        super().__init__()
        if drop_path_rates is None:
            depth = config.num_hidden_layers
            final_rate = getattr(config, "drop_path_rate", 0.0)
            drop_path_rates = [final_rate * index / max(depth - 1, 1) for index in range(depth)]
        self.layers = nn.ModuleList([FaRLEncoderLayer(config, rate) for rate in drop_path_rates])

    @fast_as(FastLinears)
    def forward(
        self,
        hidden_BTC: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        block_indices: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Run the blocks, (B, T, C) each; return the output of the last one, and those of `block_indices`.

        These count from 0; a block may be given twice. Blocks after the last one given are not computed.
        """
        wanted = () if block_indices is None else block_indices
        outputs = {}
        for index, layer in enumerate(self.layers[: max(wanted) + 1] if wanted else self.layers):
            hidden_BTC = layer(hidden_BTC, attention_mask, **kwargs)
            if index in wanted:
                outputs[index] = hidden_BTC
        return hidden_BTC, [outputs[index] for index in wanted]


# --- models


class FaRLPreTrainedModel(FastInferenceMixin, ModelLoadedWhole, ModelPushedWithCode, PreTrainedModel):
    """Initialisation, loading and saving shared by every FaRL model."""

    config_class: type[PreTrainedConfig] = FaRLConfig
    base_model_prefix = "farl"
    main_input_name = "pixel_values"
    _input_encoder = "vision_model"
    input_modalities = ["image", "text"]  # noqa: RUF012
    supports_gradient_checkpointing = True
    # Trainer takes a forward with **kwargs for one that divides by num_items_in_batch, and scales gradients wrongly.
    accepts_loss_kwargs = False
    _no_split_modules = ["FaRLEncoderLayer", "FaRLVisionEmbeddings", "FaRLTextEmbeddings"]  # noqa: RUF012
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_record_outputs = {"hidden_states": FaRLEncoderLayer, "attentions": FaRLAttention}  # noqa: RUF012

    @torch.no_grad()
    def _init_weights(self, module):
        factor = self.config.initializer_factor
        if hasattr(module, "init_farl_weights"):
            module.init_farl_weights(factor)
        elif isinstance(module, (nn.Linear, nn.Conv2d)):
            init.trunc_normal_(module.weight, std=getattr(self.config, "initializer_range", 0.02) * factor)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.ConvTranspose2d):
            # PyTorch's own initialisation, as in the official pyramid (`farl/network/transformers.py`, lines 21-29).
            # Computed from the module's settings, because under ZeRO-3 the weight has no shape.
            bound = (module.out_channels // module.groups * math.prod(module.kernel_size)) ** -0.5
            init.uniform_(module.weight, -bound, bound)
            if module.bias is not None:
                init.uniform_(module.bias, -bound, bound)
        else:
            super()._init_weights(module)

    def get_input_embeddings(self) -> nn.Module:
        """Return what turns inputs into vectors: those of the encoder `_input_encoder`, if the model has one."""
        encoder: Any = getattr(self, self._input_encoder, super())
        return encoder.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace it."""
        encoder: Any = getattr(self, self._input_encoder, super())
        encoder.set_input_embeddings(value)

    def _initialize_weights(self, module, *_):
        # The second argument says whether the class belongs to another package. Transformers skips modules of such
        # classes that have no parameters of their own, and with them most `init_farl_weights`.
        super()._initialize_weights(module)

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> None:
        """Save in this library's own layout, whatever layout the weights were loaded from."""
        kwargs.setdefault("save_original_format", False)
        if self._auto_class is not None:  # code is saved too: let plain `AutoModel` find this class in it
            module_name = type(self).__module__.rsplit(".", 1)[-1]
            self.config.auto_map = {"AutoModel": f"{module_name}.{type(self).__name__}"}
        super().save_pretrained(save_directory, *args, **kwargs)


@dataclass
class BlockOutputs(BaseModelOutputWithPooling):
    """Output of a vision encoder.

    Args:
        last_hidden_state (`torch.FloatTensor` of shape `(B, prefix + patches, C)`): Output of the last block that ran.
        pooler_output (`torch.FloatTensor` of shape `(B, C)`, *optional*): Its class token, normalised.
        block_outputs (`tuple` of `torch.FloatTensor` of shape `(B, prefix + patches, C)`, *optional*): Raw outputs of
            the blocks asked for, in that order, class token first.
        hidden_states, attentions (*optional*): As everywhere in Transformers.
    """

    block_outputs: tuple[torch.Tensor, ...] | None = None


class PatchMaps:
    """A vision encoder under a head; a subclass takes `(pixel_values, block_indices)` and returns [`BlockOutputs`]."""

    patch_size: int
    num_prefix_tokens: int = 1

    def as_maps(self, tokens: Sequence[torch.Tensor], pixel_values: torch.Tensor) -> list[torch.Tensor]:
        """Return the patches of tokens (B, prefix + patches, C) as maps (B, C, H / patch, W / patch)."""
        grid_hw = token_grid(pixel_values, self.patch_size)
        return [each[:, self.num_prefix_tokens :].transpose(1, 2).unflatten(2, grid_hw) for each in tokens]

    def feature_maps(self, pixel_values: torch.Tensor, block_indices: Sequence[int]) -> list[torch.Tensor]:
        """Return the patches of chosen 0-based blocks as maps (B, C, H / patch, W / patch)."""
        encoder: Any = self  # a module
        return self.as_maps(encoder(pixel_values, block_indices=block_indices).block_outputs, pixel_values)


class FaRLVisionModel(PatchMaps, FaRLPreTrainedModel):
    """The vision encoder: CLIP's ViT.

    Args:
        config ([`FaRLVisionConfig`]): Its sizes.
        add_post_layernorm (`bool`, *optional*, defaults to `True`): Whether the class token is normalised at the end.
            The task heads read raw block outputs and go without.
    """

    config_class = FaRLVisionConfig
    input_modalities = ["image"]  # noqa: RUF012
    _input_embed_layer = "patch_embedding"
    _keys_to_ignore_on_load_unexpected = [*PARTS_BESIDE_VISION, *HEAD_PARTS]  # noqa: RUF012

    def __init__(self, config: FaRLVisionConfig, add_post_layernorm: bool = True):
        super().__init__(config)
        self.width, self.patch_size, self.depth = config.hidden_size, config.patch_size, config.num_hidden_layers
        self.embeddings = FaRLVisionEmbeddings(config)
        self.pre_layrnorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)  # the spelling of HF's CLIP
        self.encoder = FaRLEncoder(config)
        self.post_layernorm = (
            nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps) if add_post_layernorm else None
        )
        self.post_init()

    @merge_with_config_defaults
    @capture_outputs(tie_last_hidden_states=False)
    def forward(
        self,
        pixel_values: torch.Tensor,
        interpolate_pos_encoding: bool = True,
        bool_masked_pos: torch.Tensor | None = None,
        mask_token: torch.Tensor | None = None,
        block_indices: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> BlockOutputs:
        """Encode images.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(B, 3, H, W)`): Normalised images; the patch divides the sides.
            interpolate_pos_encoding (`bool`, *optional*, defaults to `True`): Allow sizes other than
                `config.image_size`. With `False` such a size is an error.
            bool_masked_pos (`torch.BoolTensor` of shape `(B, patches)`, *optional*): Patches to mask, row by row.
            mask_token (`torch.FloatTensor` of shape `(C,)`, *optional*): What stands in their place.
            block_indices (`list[int]`, *optional*): 0-based blocks whose outputs to return; a block may be given
                twice. Blocks after the last one given are not computed.

        Returns:
            [`BlockOutputs`]: `last_hidden_state` (B, 1 + patches, C), `pooler_output` (B, C), the normalised class
            token, and `block_outputs` if `block_indices` are given.
        """
        size = self.config.image_size
        if not interpolate_pos_encoding and tuple(pixel_values.shape[-2:]) != (size, size):
            raise ValueError(
                f"pixel_values are {tuple(pixel_values.shape[-2:])}, expected {(size, size)}; "
                "resize them or pass interpolate_pos_encoding=True."
            )
        tokens_BTC = self.pre_layrnorm(self.embeddings(pixel_values, bool_masked_pos, mask_token))
        hidden_BTC, outputs = self.encoder(tokens_BTC, block_indices=block_indices, **kwargs)
        return BlockOutputs(
            last_hidden_state=hidden_BTC,
            pooler_output=None if self.post_layernorm is None else self.post_layernorm(hidden_BTC[:, 0]),
            block_outputs=tuple(outputs) or None,
        )


class FaRLTextModel(FaRLPreTrainedModel):
    """The text encoder: CLIP's causal transformer. The feature of the end token represents the text."""

    config_class = FaRLTextConfig
    main_input_name = "input_ids"
    input_modalities = ["text"]  # noqa: RUF012
    _input_embed_layer = "token_embedding"
    _keys_to_ignore_on_load_unexpected = [r"vision_model\.", r"text_projection\.", *JOINT_PARTS, *PRETRAINING_PARTS]  # noqa: RUF012

    def __init__(self, config: FaRLTextConfig):
        super().__init__(config)
        self.embeddings = FaRLTextEmbeddings(config)
        self.encoder = FaRLEncoder(config)
        self.final_layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()

    @merge_with_config_defaults
    @capture_outputs(tie_last_hidden_states=False)
    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, **kwargs: Any
    ) -> BaseModelOutputWithPooling:
        """Encode texts.

        Args:
            input_ids (`torch.LongTensor` of shape `(B, T)`): Token ids with start and end tokens, T <= 77.
            attention_mask (`torch.LongTensor` of shape `(B, T)`, *optional*): 1 for tokens, 0 for padding. Padding at
                the right does not change the pooled feature: attention is causal. Padding at the left does not either
                if the mask says where it is.

        Returns:
            `BaseModelOutputWithPooling`: `last_hidden_state` (B, T, C) and `pooler_output` (B, C), at the first end
            token.
        """
        first_B = _first_tokens(input_ids, attention_mask)
        hidden_BTC = self.embeddings(input_ids, first_B)
        # By position: Transformers 5.24 renamed the fourth argument.
        mask = create_causal_mask(self.config, hidden_BTC, attention_mask, None)
        kwargs.pop("is_causal", None)
        hidden_BTC = self.final_layer_norm(self.encoder(hidden_BTC, mask, is_causal=True, **kwargs)[0])
        # Padding is the end token, too, and that at the left is no end.
        after_BT = torch.arange(input_ids.shape[-1], device=input_ids.device) >= first_B[:, None]
        end_B = ((input_ids == self.config.eos_token_id) & after_BT).int().argmax(dim=-1)
        rows_B = torch.arange(hidden_BTC.shape[0], device=hidden_BTC.device)
        return BaseModelOutputWithPooling(last_hidden_state=hidden_BTC, pooler_output=hidden_BTC[rows_B, end_B])


def _first_tokens(input_ids_BT, attention_mask):
    """Return where texts begin, (B,): after the padding at their left, which a mask (B, T) shows."""
    if attention_mask is None or attention_mask.ndim != 2:
        return input_ids_BT.new_zeros(input_ids_BT.shape[0])
    return attention_mask.int().argmax(dim=-1)


# --- image-text contrast between the pairs of all processes, with exact gradients


def contrastive_loss(
    image_embeds: torch.Tensor, text_embeds: torch.Tensor, logit_scale: torch.Tensor, gather: bool = True
) -> torch.Tensor:
    """Mean of the cross-entropies image to text and text to image.

    Supplement, section 6: logits are gathered from all GPUs and all considered. Each of W processes
    compares its own B pairs with all N, so no process holds an N x N matrix. Its value is that of its
    own rows: the mean over the processes is the loss of all pairs, and averaged gradients (DDP, ZeRO) are exact.

    Args:
        image_embeds (`torch.FloatTensor` of shape `(B, P)`): Unit-length image features; row i belongs to text i.
        text_embeds (`torch.FloatTensor` of shape `(B, P)`): Unit-length text features.
        logit_scale (`torch.FloatTensor` of shape `(1,)` or `()`): Factor of the similarities, not its logarithm.
        gather (`bool`, *optional*, defaults to `True`): Take the pairs of all processes of the default process group;
            every process must call, in the forward and in the backward pass.

    Returns:
        `torch.FloatTensor` of shape `()`: Loss in float32.

    Raises:
        ValueError: If the processes hold different numbers of pairs, or texts do not match images.
    """
    if image_embeds.shape != text_embeds.shape:
        raise ValueError(
            f"image_embeds are {tuple(image_embeds.shape)} and text_embeds {tuple(text_embeds.shape)}; "
            "a contrastive loss needs one text per image."
        )
    pairs, first, images_NP, texts_NP = image_embeds.shape[0], 0, image_embeds, text_embeds
    if gather and process_count() > 1:
        _check_equal_batches(pairs, image_embeds.device)
        joined_N2P = _GatheredRows.apply(torch.cat([image_embeds, text_embeds], dim=1))
        images_NP, texts_NP = joined_N2P.chunk(2, dim=1)
        first = distributed.get_rank() * pairs
    own_B = torch.arange(first, first + pairs, device=image_embeds.device)
    image_loss = nn.functional.cross_entropy(scaled_similarities(image_embeds, texts_NP, logit_scale), own_B)
    text_loss = nn.functional.cross_entropy(scaled_similarities(text_embeds, images_NP, logit_scale), own_B)
    return (image_loss + text_loss) / 2


def unit_length(features_BP: torch.Tensor) -> torch.Tensor:
    """Return features (B, P) of the same directions and of length 1."""
    return nn.functional.normalize(features_BP, dim=-1)


def scaled_similarities(rows_BP: torch.Tensor, columns_NP: torch.Tensor, logit_scale: torch.Tensor) -> torch.Tensor:
    """Return the cosine similarities (B, N) of unit-length features times the logit scale, in float32."""
    # Products with a logit scale of up to 100 lose whole digits in bfloat16, which autocast would use.
    with torch.autocast(rows_BP.device.type, enabled=False):
        return rows_BP.float() @ columns_NP.float().t() * logit_scale.float()


def process_count() -> int:
    """Return the number of processes of the default process group; 1 without one."""
    ready = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if ready else 1


def _check_equal_batches(pairs, device):
    """With unequal batches the gathering hangs or mixes up rows, depending on the backend."""
    counts_W = torch.empty(process_count(), dtype=torch.int64, device=device)
    distributed.all_gather_into_tensor(counts_W, torch.tensor([pairs], device=device))
    counts = counts_W.tolist()
    if len(set(counts)) > 1:
        raise ValueError(
            f"The processes hold {counts} pairs; contrast between processes needs equal batches. Drop the last, "
            "smaller batch (dataloader_drop_last=True), or pass return_loss=False in evaluation."
        )


class _GatheredRows(torch.autograd.Function):
    """Rows (B, C) of all processes, in the order of their ranks (W * B, C)."""

    @staticmethod
    def forward(ctx, rows_BC):
        ctx.rows = rows_BC.shape[0]
        all_NC = rows_BC.new_empty(distributed.get_world_size() * ctx.rows, *rows_BC.shape[1:])
        distributed.all_gather_into_tensor(all_NC, rows_BC.contiguous())
        return all_NC

    @staticmethod
    def backward(ctx, gradient_NC):
        # The losses of all processes depend on the rows of this one.
        gradient_NC = gradient_NC.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(gradient_NC)
        first = distributed.get_rank() * ctx.rows
        return gradient_NC[first : first + ctx.rows]


class FaRLModel(FaRLPreTrainedModel):
    """Both encoders and their projections into the shared image-text space (FaRL's README, lines 33-58)."""

    main_input_name = "input_ids"
    _input_encoder = "text_model"
    _keys_to_ignore_on_load_unexpected = [*PRETRAINING_PARTS, *FORMER_PARTS]  # noqa: RUF012

    def __init__(self, config: FaRLConfig):
        super().__init__(config)
        if config.backbone_config is not None:
            raise ValueError(
                f"{type(self).__name__} has FaRL's own encoders, but the configuration names another backbone "
                f"({config.backbone_config.model_type}); load it under a head, or with FaRLFeatureMaps."
            )
        self.build_parts(config)
        self.post_init()

    def build_parts(self, config: FaRLConfig) -> None:
        """Create the parts; a model with more of them adds its own."""
        self.text_model = FaRLTextModel._from_config(config.text_config)
        self.vision_model = FaRLVisionModel._from_config(config.vision_config)
        self.visual_projection = nn.Linear(config.vision_config.hidden_size, config.projection_dim, bias=False)
        self.text_projection = nn.Linear(config.text_config.hidden_size, config.projection_dim, bias=False)
        self.logit_scale = nn.Parameter(torch.full((1,), float(config.logit_scale_init_value)))

    def init_farl_weights(self, factor: float) -> None:
        """Projections are normal with width^-0.5; the logit scale starts at its configured value."""
        init.normal_(self.visual_projection.weight, std=self.config.vision_config.hidden_size**-0.5 * factor)
        init.normal_(self.text_projection.weight, std=self.config.text_config.hidden_size**-0.5 * factor)
        init.constant_(self.logit_scale, float(self.config.logit_scale_init_value))

    def _for_encoders(self, kwargs):
        """Pass on what the configuration of the whole model asks for; the encoders know their own only."""
        names = ("output_hidden_states", "output_attentions")
        return {name: True for name in names if getattr(self.config, name, False)} | kwargs

    @can_return_tuple
    def get_image_features(self, pixel_values: torch.Tensor, **kwargs: Any) -> BaseModelOutputWithPooling:
        """Encode and project images; `pooler_output` is (B, P), not normalised. See [`FaRLVisionModel`]."""
        outputs = self.vision_model(pixel_values=pixel_values, return_dict=True, **self._for_encoders(kwargs))
        outputs.pooler_output = self.visual_projection(outputs.pooler_output)
        return outputs

    @can_return_tuple
    def get_text_features(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, **kwargs: Any
    ) -> BaseModelOutputWithPooling:
        """Encode and project texts; `pooler_output` is (B, P), not normalised. See [`FaRLTextModel`]."""
        kwargs = self._for_encoders(kwargs)
        outputs = self.text_model(input_ids=input_ids, attention_mask=attention_mask, return_dict=True, **kwargs)
        outputs.pooler_output = self.text_projection(outputs.pooler_output)
        return outputs

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        return_loss: bool | None = None,
        interpolate_pos_encoding: bool = True,
        **kwargs: Any,
    ) -> FaRLOutput | BaseModelOutputWithPooling:
        """Compare every image with every text. Given only images or only texts, encode them.

        Args:
            input_ids (`torch.LongTensor` of shape `(num_texts, T)`, *optional*): Token ids.
            pixel_values (`torch.FloatTensor` of shape `(num_images, 3, H, W)`, *optional*): Normalised images.
            attention_mask (`torch.LongTensor` of shape `(num_texts, T)`, *optional*): 1 for tokens, 0 for padding.
            return_loss (`bool`, *optional*): Also return the symmetric contrastive loss; pair i is image i, text i.
            interpolate_pos_encoding (`bool`, *optional*, defaults to `True`): Allow any size the patch divides.

        Returns:
            [`FaRLOutput`]: Similarities, features and the outputs of both encoders. Without texts or without images,
            the output of `get_image_features` or `get_text_features`: feature extraction needs one encoder only.
        """
        if input_ids is None and pixel_values is None:
            raise ValueError("Neither input_ids nor pixel_values were given; pass texts, images or both.")
        if pixel_values is None:
            return self.get_text_features(input_ids, attention_mask, return_dict=True, **kwargs)
        vision = self.get_image_features(
            pixel_values, interpolate_pos_encoding=interpolate_pos_encoding, return_dict=True, **kwargs
        )
        if input_ids is None:
            return vision
        text = self.get_text_features(input_ids, attention_mask, return_dict=True, **kwargs)
        image_embeds, text_embeds = unit_length(vision.pooler_output), unit_length(text.pooler_output)
        scale = self.logit_scale.float().exp()
        logits_per_image = scaled_similarities(image_embeds, text_embeds, scale)
        return FaRLOutput(
            loss=contrastive_loss(image_embeds, text_embeds, scale, gather=False) if return_loss else None,
            logits_per_image=logits_per_image,
            logits_per_text=logits_per_image.t(),
            text_embeds=text_embeds,
            image_embeds=image_embeds,
            text_model_output=text,
            vision_model_output=vision,
        )


class FaRLBackbone(BackboneMixin, FaRLPreTrainedModel):
    """The vision encoder as a backbone: patch tokens of chosen blocks as feature maps of stride `patch_size`.

    `out_indices` counts blocks from 0; {3, 5, 7, 11} by default for 12 blocks (FaRL farl/network/transformers.py).
    """

    config_class = FaRLVisionConfig
    input_modalities = ["image"]  # noqa: RUF012
    _keys_to_ignore_on_load_unexpected = [*PARTS_BESIDE_VISION, *HEAD_PARTS, r"post_layernorm\."]  # noqa: RUF012

    def __init__(self, config: FaRLVisionConfig):
        super().__init__(config)
        self.vision_model = FaRLVisionModel(config, add_post_layernorm=False)
        self.num_features = [config.hidden_size] * config.num_hidden_layers
        self.post_init()

    @encoder_records
    def forward(self, pixel_values: torch.Tensor, **kwargs: Any) -> BackboneOutput:
        """Return a `BackboneOutput` whose `feature_maps` are (B, C, H / patch, W / patch), one per out index.

        With `config.reshape_hidden_states=False` they are tokens (B, 1 + patches, C), class token first.
        """
        blocks = [index % self.vision_model.depth for index in self.out_indices]
        outputs = self.vision_model(pixel_values, block_indices=blocks, **kwargs)
        return feature_maps_of(self, outputs, pixel_values)


def feature_maps_of(model: Any, outputs: BlockOutputs, pixel_values: torch.Tensor) -> BackboneOutput:
    """Return what a backbone returns: maps, or tokens with `config.reshape_hidden_states=False`."""
    tokens: Any = outputs.block_outputs
    maps: Any = model.vision_model.as_maps(tokens, pixel_values) if model.config.reshape_hidden_states else tokens
    return BackboneOutput(
        feature_maps=tuple(maps),
        hidden_states=outputs.hidden_states,
        attentions=outputs.attentions,
    )
