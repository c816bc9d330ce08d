"""Names of published encoders, to ours: FaRL and CLIP, and the others that the paper compares with their settings.

Sources of the published names:
- FaRL and OpenAI's CLIP: FacePerceiver/FaRL `farl/network/farl/model.py`, lines 188-323; openai/CLIP `clip/model.py`,
  lines 171-295. Ours are the names of Transformers' CLIP; query, key and value are the three thirds of `in_proj`, in
  this order. The branch of masked image modelling stays beside the encoders: `mask_token` (C,),
  `mim_encoder.layers.N.*` (blocks named as in the encoders), `mim_layer_norm.*`, `mim_head.*`. [`FaRLModel`] ignores
  it when it loads.
- MoCo v3, DeiT, BEiT: facebookresearch/moco-v3 `convert_to_deit.py`, lines 25-39; facebookresearch/deit `models.py`;
  microsoft/unilm `beit/modeling_finetune.py` and `modeling_pretrain.py`. Ours are the names of timm's models.
- Face Transformer: zhongyy/Face-Transformer `copy-to-vit_pytorch-path/vit_face.py`, lines 264-361.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from farl_hf.conversion.key_rules import DropRule, KeyMap, KeyRule
from farl_hf.errors import ConversionError
from farl_hf.modeling import FaceTransformerConfig, FaRLConfig

# FaRL and CLIP.
_BLOCK_PARTS = {
    r"attn\.out_proj": "self_attn.out_proj",
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    r"mlp\.c_fc": "mlp.fc1",
    r"mlp\.c_proj": "mlp.fc2",
}


def block_rules(source: str, target: str) -> tuple[KeyRule, ...]:
    """Rules of a stack of transformer blocks; `source` is a regular expression, both end before the block's number."""
    inputs = tuple(rf"{target}.\1.self_attn.{part}_proj.\2" for part in "qkv")
    fused = KeyRule(rf"{source}\.(\d+)\.attn\.in_proj_(weight|bias)", inputs)
    others = (
        KeyRule(rf"{source}\.(\d+)\.{theirs}\.(weight|bias)", (rf"{target}.\1.{ours}.\2",))
        for theirs, ours in _BLOCK_PARTS.items()
    )
    return fused, *others


def vision_rules(source: str) -> tuple[KeyRule, ...]:
    """Rules of a vision encoder up to its last block; `source`, a regular expression, is empty or ends with a dot."""
    ours = "vision_model"
    return (
        KeyRule(rf"{source}class_embedding", (f"{ours}.embeddings.class_embedding",)),
        KeyRule(rf"{source}positional_embedding", (f"{ours}.embeddings.position_embedding.weight",)),
        KeyRule(rf"{source}conv1\.weight", (f"{ours}.embeddings.patch_embedding.weight",)),
        KeyRule(rf"{source}ln_pre\.(weight|bias)", (rf"{ours}.pre_layrnorm.\1",)),
        *block_rules(rf"{source}transformer\.resblocks", f"{ours}.encoder.layers"),
    )


_TEXT_RULES = (
    KeyRule(r"token_embedding\.weight", ("text_model.embeddings.token_embedding.weight",)),
    KeyRule("positional_embedding", ("text_model.embeddings.position_embedding.weight",)),
    KeyRule(r"ln_final\.(weight|bias)", (r"text_model.final_layer_norm.\1",)),
    *block_rules(r"transformer\.resblocks", "text_model.encoder.layers"),
)
_MIM_RULES = (
    KeyRule(r"visual\.mask_token", ("mask_token",)),
    KeyRule(r"visual\.ln_lm\.(weight|bias)", (r"mim_layer_norm.\1",)),
    KeyRule(r"visual\.lm_head\.(weight|bias)", (r"mim_head.\1",)),
    *block_rules(r"visual\.lm_transformer\.resblocks", "mim_encoder.layers"),
)

_CLIP_RULES = (
    *vision_rules(r"visual\."),
    KeyRule(r"visual\.ln_post\.(weight|bias)", (r"vision_model.post_layernorm.\1",)),
    KeyRule(r"visual\.proj", ("visual_projection.weight",), torch.t),
    *_TEXT_RULES,
    KeyRule("text_projection", ("text_projection.weight",), torch.t),
    KeyRule("logit_scale", ("logit_scale",), torch.flatten),
    *_MIM_RULES,
)
_CLIP_DROPS = (
    DropRule("input_resolution|context_length|vocab_size", "a size that the shapes of the weights give (OpenAI)"),
    DropRule("attn_mask|transformer.*attn_mask", "the causal mask, which the text encoder makes itself (OpenAI)"),
)
CLIP_KEYS = KeyMap(_CLIP_RULES, _CLIP_DROPS)

HF_CLIP_KEYS = KeyMap(
    (
        KeyRule("logit_scale", ("logit_scale",), torch.flatten),
        KeyRule(r"((?:vision_model|text_model|visual_projection|text_projection)\..*(?<!position_ids))", (r"\1",)),
    ),
    (DropRule(r".*\.position_ids", "a constant 0, 1, 2 … that older versions of Transformers saved"),),
)

# The other encoders.
HEAD_CHANNELS = 64  # of each attention head
_MODEL = "vision_model.model."
_AFTER_BLOCKS = "what follows the last block; the heads read raw block outputs"
_PARTS = r"((?:cls_token|dist_token|pos_embed|patch_embed\.proj\.\w+|blocks\.(?!.*relative_position).+))"

TIMM_KEYS = KeyMap(
    (KeyRule(_PARTS, (rf"{_MODEL}\1",)),),
    (DropRule(r"(norm|fc_norm|head|head_dist|pre_logits)\..+", _AFTER_BLOCKS),),
)
MOCO_KEYS = KeyMap(
    (KeyRule(rf"module\.base_encoder\.{_PARTS}", (rf"{_MODEL}\1",)),),
    (
        DropRule(r"module\.base_encoder\.(norm|head)\..+", _AFTER_BLOCKS),
        DropRule(r"module\.(momentum_encoder|predictor)\..+", "the second encoder and the predictor of pre-training"),
    ),
)
BEIT_KEYS = KeyMap(
    (
        KeyRule(r"rel_pos_bias\.relative_position_bias_table", ("vision_model.biases.0.table",)),
        KeyRule(r"blocks\.(\d+)\.attn\.relative_position_bias_table", (r"vision_model.biases.\1.table",)),
        *TIMM_KEYS.rules,
    ),
    (
        DropRule(r".*relative_position_index", "a table of indices, which the size of the grid gives"),
        DropRule(r"mask_token|lm_head\..+", "masked image modelling"),
        *TIMM_KEYS.drops,
    ),
)


def _as_convolution(weight_CN):
    """Weights over a flattened patch in the order (row, column, channel) as a convolution's."""
    side = round((weight_CN.shape[1] / 3) ** 0.5)
    return weight_CN.reshape(-1, side, side, 3).permute(0, 3, 1, 2)


_FACE_BLOCK = r"transformer\.layers\.(\d+)\."
_FACE_LAYER = r"vision_model.layers.\1."
_FACE_TRANSFORMER_RULES = (
    KeyRule("pos_embedding", ("vision_model.position_embedding",)),
    KeyRule("cls_token", ("vision_model.class_embedding",)),
    KeyRule(r"patch_to_embedding\.weight", ("vision_model.patch_embedding.weight",), _as_convolution),
    KeyRule(r"patch_to_embedding\.bias", ("vision_model.patch_embedding.bias",)),
    KeyRule(
        rf"{_FACE_BLOCK}0\.fn\.fn\.to_qkv\.weight",
        tuple(f"{_FACE_LAYER}self_attn.{part}_proj.weight" for part in "qkv"),
    ),
    KeyRule(rf"{_FACE_BLOCK}0\.fn\.norm\.(\w+)", (rf"{_FACE_LAYER}layer_norm1.\2",)),
    KeyRule(rf"{_FACE_BLOCK}0\.fn\.fn\.to_out\.0\.(\w+)", (rf"{_FACE_LAYER}self_attn.out_proj.\2",)),
    KeyRule(rf"{_FACE_BLOCK}1\.fn\.norm\.(\w+)", (rf"{_FACE_LAYER}layer_norm2.\2",)),
    KeyRule(rf"{_FACE_BLOCK}1\.fn\.fn\.net\.0\.(\w+)", (rf"{_FACE_LAYER}fc1.\2",)),
    KeyRule(rf"{_FACE_BLOCK}1\.fn\.fn\.net\.3\.(\w+)", (rf"{_FACE_LAYER}fc2.\2",)),
)
_FACE_TRANSFORMER_DROPS = (
    DropRule(r"mlp_head\..+", _AFTER_BLOCKS),
    DropRule(r"loss\..+", "the classifier of the identities that it was trained on"),
)
FACE_TRANSFORMER_KEYS = KeyMap(_FACE_TRANSFORMER_RULES, _FACE_TRANSFORMER_DROPS)


def has_fixed_positions(tensors: Mapping[str, torch.Tensor]) -> bool:
    """Whether positions are MoCo v3's fixed ones, which are zero for the class token (`vits.py`, lines 66-69)."""
    return "pos_embed" in tensors and not tensors["pos_embed"][0, 0].any()


def count_numbered(names: Iterable[str], pattern: str) -> int:
    """One more than the highest number that the group of a pattern finds at the beginning of names."""
    numbers = [int(match[1]) for name in names if (match := re.match(pattern, name))]
    return max(numbers, default=-1) + 1


def square_side(count: int, what: str) -> int:
    """The side of a square grid of so many cells.

    Raises:
        ConversionError: The number is no square; the message says what was counted.
    """
    side = round(count**0.5)
    if side**2 != count:
        raise ConversionError(f"The source has {count} {what}; expected a square number.")
    return side


def required_tensor(tensors: Mapping[str, torch.Tensor], name: str) -> torch.Tensor:
    """The converted tensor of a name.

    Raises:
        ConversionError: The source has none.
    """
    if name not in tensors:
        raise ConversionError(f"The source lacks the tensor that becomes {name}; it is incomplete or of another kind.")
    return tensors[name]


def _timm_config(tensors, architecture, grid_side, num_heads, **settings):
    width, _, _, patch = required_tensor(tensors, f"{_MODEL}patch_embed.proj.weight").shape
    sizes = {
        "embed_dim": width,
        "depth": count_numbered(tensors, r"vision_model\.model\.blocks\.(\d+)\."),
        "num_heads": num_heads or width // HEAD_CHANNELS,
        "mlp_ratio": required_tensor(tensors, f"{_MODEL}blocks.0.mlp.fc1.weight").shape[0] / width,
        "patch_size": patch,
        "img_size": patch * grid_side,
    }
    backbone = {"model_type": "timm_wrapper", "architecture": architecture, "model_args": sizes | settings}
    return FaRLConfig(backbone_config=backbone)


def _vit(tensors, architecture, num_prefix_tokens):
    num_patches = required_tensor(tensors, f"{_MODEL}pos_embed").shape[1] - num_prefix_tokens
    return _timm_config(tensors, architecture, square_side(num_patches, "positions of patches"), None)


def vit_config(tensors: Mapping[str, torch.Tensor], settings: Mapping[str, Any]):
    """`FaRLConfig` over timm's ViT; heads have 64 channels."""
    return _vit(tensors, "vit_base_patch16_224", 1)


def deit_config(tensors: Mapping[str, torch.Tensor], settings: Mapping[str, Any]):
    """`FaRLConfig` over timm's distilled DeiT; heads have 64 channels."""
    return _vit(tensors, "deit_base_distilled_patch16_224", 2)


def beit_config(tensors: Mapping[str, torch.Tensor], settings: Mapping[str, Any]):
    """`FaRLConfig` over timm's BEiT, with one table of relative positions (pt22k) or one per block (ft22k)."""
    num_tables = count_numbered(tensors, r"vision_model\.biases\.(\d+)\.table")
    rows, num_heads = required_tensor(tensors, "vision_model.biases.0.table").shape
    grid_side = (square_side(rows - 3, "relative positions") + 1) // 2
    shared = num_tables == 1
    kind = {"use_shared_rel_pos_bias": shared, "use_rel_pos_bias": not shared}
    return _timm_config(tensors, "beit_base_patch16_224", grid_side, num_heads, **kind)


def face_transformer_config(tensors: Mapping[str, torch.Tensor], settings: Mapping[str, Any]):
    """`FaRLConfig` over Face Transformer; heads have 64 channels."""
    layers = "vision_model.layers."
    width, _, _, patch = required_tensor(tensors, "vision_model.patch_embedding.weight").shape
    positions = required_tensor(tensors, "vision_model.position_embedding").shape[1] - 1
    backbone = FaceTransformerConfig(
        hidden_size=width,
        intermediate_size=required_tensor(tensors, f"{layers}0.fc1.weight").shape[0],
        num_hidden_layers=count_numbered(tensors, r"vision_model\.layers\.(\d+)\."),
        num_attention_heads=required_tensor(tensors, f"{layers}0.self_attn.q_proj.weight").shape[0] // HEAD_CHANNELS,
        head_dim=HEAD_CHANNELS,
        patch_size=patch,
        image_size=patch * square_side(positions, "positions of patches"),
    )
    return FaRLConfig(backbone_config=backbone)
