"""The encoder under a head: FaRL's own or any plain ViT, of this library, timm or Transformers.

A backbone is a module with `width`, `patch_size`, `depth` and `num_prefix_tokens` that takes pixel values and
`block_indices` and returns [`BlockOutputs`]: the raw outputs (B, prefix + patches, C) of these 0-based blocks, class
token first. Layers after the last block are not built. [`FaRLFeatureMaps`] is a backbone without a head: what a
converted encoder is stored as, and what features are read from.

timm's ViTs and BEiTs are run block by block here, because they would resize positions with anti-aliasing, and tables
of relative positions not at all. BEiT is timm's and not Transformers', because timm's names are those of the official
files.

Source of the relative positions: microsoft/unilm `beit/modeling_finetune.py`, lines 209-245 (MIT).

Letters in shapes: B batch, T tokens, C width, A attention heads, h and w a grid of tokens, N rows of a table.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from transformers import AutoModel
from transformers import initialization as init
from transformers.modeling_outputs import BackboneOutput

from .configuration_face_transformer import FaceTransformerConfig
from .configuration_farl import FaRLConfig
from .modeling_face_transformer import FaceTransformerModel
from .modeling_farl import (
    HEAD_PARTS,
    PARTS_BESIDE_VISION,
    BlockOutputs,
    FaRLPreTrainedModel,
    FaRLVisionModel,
    PatchMaps,
    feature_maps_of,
    resize_position_table,
    token_grid,
)
from .pretrained_model_farl import encoder_records

_TIMM_CONFIGS = ("timm_wrapper", "timm_backbone")
# Parameters of Transformers' embeddings that stand before the patches; the second axis from the end counts tokens.
_PREFIX_PARAMETERS = ("cls_token", "class_embedding", "distillation_token", "register_tokens")
_AFTER_THE_BLOCKS = ("layernorm", "post_layernorm", "norm", "pooler", "head")
_CLASS_ROWS = 3  # of a table of relative positions: class to patch, patch to class, class to class


class FaRLFeatureMaps(FaRLPreTrainedModel):
    """Any encoder that the heads accept (`config.backbone_config`), without a head.

    The heads load its checkpoints, and it loads theirs, as well as those of [`FaRLModel`].
    """

    config_class = FaRLConfig
    input_modalities = ["image"]  # noqa: RUF012
    _keys_to_ignore_on_load_unexpected = [*PARTS_BESIDE_VISION, *HEAD_PARTS, r"post_layernorm\."]  # noqa: RUF012

    def __init__(self, config: FaRLConfig):
        super().__init__(config)
        self.vision_model = make_vision_backbone(config)
        self.post_init()

    @encoder_records
    def forward(self, pixel_values: torch.Tensor, **kwargs: Any) -> BackboneOutput:
        """Return a `BackboneOutput` whose `feature_maps` are (B, C, H / patch, W / patch), one per feature level.

        With `config.reshape_hidden_states=False` they are tokens (B, prefix + patches, C).

        Args:
            pixel_values (`torch.FloatTensor` of shape `(B, 3, H, W)`): Normalised images; the patch divides the sides.
        """
        outputs = self.vision_model(pixel_values, block_indices=self.config.feature_levels, **kwargs)
        return feature_maps_of(self, outputs, pixel_values)

    # What models with a backbone ask of it; `BackboneMixin` needs a configuration that knows the depth beforehand.

    @property
    def stage_names(self) -> list[str]:
        """Names of the blocks."""
        return [f"block{index}" for index in range(self.vision_model.depth)]

    @property
    def out_indices(self) -> list[int]:
        """Blocks (0-based) whose outputs are returned."""
        return list(self.config.feature_levels)

    @property
    def out_features(self) -> list[str]:
        """Their names."""
        return [self.stage_names[index] for index in self.out_indices]

    @property
    def channels(self) -> list[int]:
        """Their channels."""
        return [self.vision_model.width] * len(self.out_indices)

    def forward_with_filtered_kwargs(self, *args: Any, **kwargs: Any) -> BackboneOutput:
        """As `forward`."""
        return self(*args, **kwargs)


def make_vision_backbone(config: FaRLConfig) -> Any:
    """Build the backbone that a [`FaRLConfig`] names, with random weights, and settle its levels.

    Raises:
        ValueError: It is no plain ViT, or has no block of a configured level.
        ImportError: It is timm's, and timm is not installed.
    """
    given = config.backbone_config
    if given is None:
        backbone = FaRLVisionModel._from_config(config.vision_config, add_post_layernorm=False)
    elif given.model_type == FaceTransformerConfig.model_type:  # its class may be a second copy in shipped code
        backbone = FaceTransformerModel._from_config(given, add_post_layernorm=False, **_attention(config))
    elif given.model_type in _TIMM_CONFIGS:
        backbone = _make_timm_backbone(given, config._attn_implementation)
    else:
        backbone = TransformersBackbone(given, _attention(config))
    config.settle_levels(backbone.depth)
    return backbone


def _attention(config):
    implementation = config._attn_implementation
    return {"attn_implementation": implementation} if isinstance(implementation, str) else {}


def _make_timm_backbone(config, attention):
    try:
        from timm import create_model
        from timm.models.beit import Beit
        from timm.models.vision_transformer import VisionTransformer
    except ImportError as error:
        raise ImportError("The backbone is a model of timm, which is not installed: pip install timm") from error
    name = config.architecture if config.model_type == "timm_wrapper" else config.backbone
    settings = {"num_classes": 0, **(getattr(config, "model_args", None) or {})}
    # This library has its own tables. The signature of an architecture does not tell which kind it has.
    shared, own = (settings.pop(key, False) for key in ("use_shared_rel_pos_bias", "use_rel_pos_bias"))
    if name.startswith("beit"):
        own = own or not shared
        settings |= {"use_rel_pos_bias": False, "use_shared_rel_pos_bias": False}
    model = create_model(name, pretrained=False, **settings)
    if not isinstance(model, VisionTransformer | Beit):
        raise ValueError(f"timm's {name} is a {type(model).__name__}; expected one of its plain ViTs or BEiTs.")
    num_tables = (len(model.blocks) if own else 1) if name.startswith("beit") else 0
    return TimmBackbone(model, num_tables, fused=attention != "eager")


def _relative_rows(grid_hw, device):
    """Return which row of the table belongs to each pair of tokens, (1 + h * w, 1 + h * w)."""
    height, width = grid_hw
    y, x = torch.meshgrid(torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij")
    dy, dx = (axis.flatten()[:, None] - axis.flatten()[None] for axis in (y, x))
    num_offsets = (2 * height - 1) * (2 * width - 1)
    patches = (dy + height - 1) * (2 * width - 1) + dx + width - 1
    rows = nn.functional.pad(patches, (1, 0, 1, 0), value=num_offsets)
    rows[:, 0] = num_offsets + 1
    rows[0, 0] = num_offsets + 2
    return rows


class RelativePositionBias(nn.Module):
    """BEiT's bias of attention by the offset of two tokens, resized to the input's grid.

    The table has a row per offset, (2h - 1)(2w - 1) of them, and three for the class token, which are untouched.
    """

    def __init__(self, grid_hw: tuple[int, int], num_heads: int):
        super().__init__()
        self.stored_hw = (2 * grid_hw[0] - 1, 2 * grid_hw[1] - 1)
        self.table = nn.Parameter(torch.zeros(self.stored_hw[0] * self.stored_hw[1] + _CLASS_ROWS, num_heads))

    def init_farl_weights(self, factor: float) -> None:
        """Zero, as officially (microsoft/unilm `beit/modeling_finetune.py`, lines 215-216)."""
        init.zeros_(self.table)

    def forward(self, grid_hw: tuple[int, int]) -> torch.Tensor:
        """Return (1, A, 1 + h * w, 1 + h * w), to be added to attention scores."""
        wanted_hw = (2 * grid_hw[0] - 1, 2 * grid_hw[1] - 1)
        offsets_NA = resize_position_table(self.table[:-_CLASS_ROWS], 0, self.stored_hw, wanted_hw)
        table_NA = torch.cat([offsets_NA, self.table[-_CLASS_ROWS:]])
        return table_NA[_relative_rows(grid_hw, table_NA.device)].permute(2, 0, 1)[None]


class TimmBackbone(PatchMaps, nn.Module):
    """A ViT, distilled DeiT or BEiT of timm, for any input size that its patch divides.

    Args:
        model (`nn.Module`): timm's model; its head and last norm are taken away.
        num_bias_tables (`int`): Tables of relative positions: none, one for all blocks, or one per block.
        fused (`bool`): Whether attention is PyTorch's fused one.
    """

    gradient_checkpointing = False  # Transformers sets it and the function
    _gradient_checkpointing_func: Callable[..., torch.Tensor]

    def __init__(self, model: Any, num_bias_tables: int, fused: bool):
        super().__init__()
        model.prune_intermediate_layers(len(model.blocks) - 1, prune_norm=True, prune_head=True)
        model.patch_embed.strict_img_size = False
        self.model = model
        self.width, self.depth = model.embed_dim, len(model.blocks)
        self.patch_size = model.patch_embed.patch_size[0]
        self.num_prefix_tokens = model.num_prefix_tokens
        grid_hw, num_heads = model.patch_embed.grid_size, model.blocks[0].attn.num_heads
        self.biases = nn.ModuleList([RelativePositionBias(grid_hw, num_heads) for _ in range(num_bias_tables)])
        for block in model.blocks:
            block.attn.fused_attn = fused

    def init_farl_weights(self, factor: float) -> None:
        """Tokens and positions have deviation 0.02, as timm's; attention's key has no bias in BEiT."""
        for parameter in self.model.parameters(recurse=False):
            init.trunc_normal_(parameter, std=0.02 * factor)
        for block in self.model.blocks:
            if getattr(block.attn, "k_bias", None) is not None:
                init.zeros_(block.attn.k_bias)

    def get_input_embeddings(self) -> nn.Module:
        """Return the patch convolution."""
        return self.model.patch_embed.proj

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the patch convolution."""
        self.model.patch_embed.proj = value

    def embed(self, pixel_values: torch.Tensor, grid_hw: tuple[int, int]) -> torch.Tensor:
        """Return the tokens (B, T, C) that enter the first block."""
        model = self.model
        patches_BTC = model.patch_embed(pixel_values.to(model.patch_embed.proj.weight.dtype)).flatten(1, -2)
        tokens = (getattr(model, name, None) for name in ("cls_token", "dist_token", "reg_token"))
        prefix = [token.expand(patches_BTC.shape[0], -1, -1) for token in tokens if token is not None]
        only_patches = getattr(model, "no_embed_class", False)  # have positions, not the prefix
        positions_TC: torch.Tensor | float = 0.0
        if model.pos_embed is not None:
            num_rows = 0 if only_patches else self.num_prefix_tokens
            stored_hw = model.patch_embed.grid_size
            positions_TC = resize_position_table(model.pos_embed[0], num_rows, stored_hw, grid_hw)
        if only_patches:
            tokens_BTC = torch.cat([*prefix, patches_BTC + positions_TC], dim=1)
        else:
            tokens_BTC = torch.cat([*prefix, patches_BTC], dim=1) + positions_TC
        tokens_BTC = model.pos_drop(tokens_BTC)
        return model.norm_pre(tokens_BTC) if hasattr(model, "norm_pre") else tokens_BTC

    def forward(self, pixel_values: torch.Tensor, block_indices: Sequence[int], **kwargs: Any) -> BlockOutputs:
        """Return the raw outputs (B, prefix + patches, C) of the given 0-based blocks; blocks may repeat."""
        grid_hw = token_grid(pixel_values, self.patch_size)
        hidden_BTC, outputs = self.embed(pixel_values, grid_hw), {}
        shared = self.biases[0](grid_hw) if len(self.biases) == 1 else None
        for index, block in enumerate(self.model.blocks[: max(block_indices) + 1]):
            bias = self.biases[index](grid_hw) if len(self.biases) > 1 else shared
            hidden_BTC = self._run(block, hidden_BTC, *(() if bias is None else (bias.to(hidden_BTC.dtype),)))
            outputs[index] = hidden_BTC
        return BlockOutputs(
            last_hidden_state=hidden_BTC, block_outputs=tuple(outputs[index] for index in block_indices)
        )

    def _run(self, block, *inputs):
        if self.gradient_checkpointing and self.training:
            return self._gradient_checkpointing_func(block, *inputs)
        return block(*inputs)


class TransformersBackbone(PatchMaps, nn.Module):
    """Any plain ViT of Transformers; its own code resizes positions (bicubic in CLIP, ViT, DeiT, DINOv2)."""

    def __init__(self, config: Any, attention: dict[str, Any]):
        super().__init__()
        sizes: list[Any] = [getattr(config, name, None) for name in ("hidden_size", "patch_size", "num_hidden_layers")]
        if hasattr(config, "depths") or not all(isinstance(size, int) for size in sizes):  # Swin's kind has depths
            raise ValueError(
                f"backbone_config of type {config.model_type!r} is no plain ViT: expected whole numbers hidden_size, "
                f"patch_size and num_hidden_layers, got {sizes}. If the model has a text encoder, too, give the "
                "configuration of its vision encoder."
            )
        self.width, self.patch_size, self.depth = sizes
        self.model = AutoModel.from_config(config, **attention)
        for name in _AFTER_THE_BLOCKS:
            if getattr(self.model, name, None) is not None:
                setattr(self.model, name, None if name == "pooler" else nn.Identity())
        self.num_prefix_tokens = sum(
            parameter.unflatten(-1, (1, -1)).shape[-3] if parameter.ndim > 1 else 1
            for name, parameter in self.model.named_parameters()
            if name.endswith(_PREFIX_PARAMETERS)
        )
        for name, parameter in self.model.named_parameters():
            if name.endswith("mask_token"):  # not used here; data-parallel training would wait for its gradient
                parameter.requires_grad_(False)
        accepted = inspect.signature(self.model.forward).parameters
        self._options = {"interpolate_pos_encoding": True} if "interpolate_pos_encoding" in accepted else {}

    def get_input_embeddings(self) -> nn.Module:
        """Return what the model calls its input embeddings."""
        return self.model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace it."""
        self.model.set_input_embeddings(value)

    def forward(self, pixel_values: torch.Tensor, block_indices: Sequence[int], **kwargs: Any) -> BlockOutputs:
        """Return the raw outputs (B, prefix + patches, C) of the given 0-based blocks; blocks may repeat."""
        token_grid(pixel_values, self.patch_size)
        outputs: dict[int, torch.Tensor] = {}
        stacks = (module for module in self.model.modules() if isinstance(module, nn.ModuleList))
        blocks = next(stack for stack in stacks if len(stack) == self.depth)
        hooks = [blocks[index].register_forward_hook(_keep(outputs, index)) for index in set(block_indices)]
        try:
            self.model(pixel_values, **self._options)
        finally:
            for hook in hooks:
                hook.remove()
        return BlockOutputs(
            last_hidden_state=outputs[max(block_indices)],
            block_outputs=tuple(outputs[index] for index in block_indices),
        )


def _keep(outputs, index):
    def hook(module, inputs, output):
        outputs[index] = output[0] if isinstance(output, tuple) else output

    return hook
