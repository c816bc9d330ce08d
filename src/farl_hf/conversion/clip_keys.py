"""Names of CLIP-shaped weights: the official FaRL and OpenAI layout, and Transformers' CLIP, to ours.

Sources: FacePerceiver/FaRL `farl/network/farl/model.py`, openai/CLIP `clip/model.py`. Ours are the names of
Transformers' CLIP; query, key and value are the three thirds of `in_proj`, in this order.

The branch of masked image modelling is kept beside the towers, under names that stay: `mask_token` (C,),
`mim_encoder.layers.N.*` (blocks named as in the towers), `mim_layer_norm.*`, `mim_head.*`. [`FaRLModel`] leaves them
out when it loads.
"""

from farl_hf.conversion.key_rules import DropRule, KeyRule, transposed

__all__ = ["HF_CLIP_DROPS", "HF_CLIP_RULES", "TWO_TOWER_DROPS", "TWO_TOWER_RULES", "block_rules", "vision_rules"]

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
    """Rules of a vision tower up to its last block; `source`, a regular expression, is empty or ends with a dot."""
    ours = "vision_model"
    return (
        KeyRule(rf"{source}class_embedding", (f"{ours}.embeddings.class_embedding",)),
        KeyRule(rf"{source}positional_embedding", (f"{ours}.embeddings.position_embedding.weight",)),
        KeyRule(rf"{source}conv1\.weight", (f"{ours}.embeddings.patch_embedding.weight",)),
        KeyRule(rf"{source}ln_pre\.(weight|bias)", (rf"{ours}.pre_layrnorm.\1",)),
        *block_rules(rf"{source}transformer\.resblocks", f"{ours}.encoder.layers"),
    )


def _with_one_entry(scalar):
    return scalar.reshape(1)


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

TWO_TOWER_RULES = (
    *vision_rules(r"visual\."),
    KeyRule(r"visual\.ln_post\.(weight|bias)", (r"vision_model.post_layernorm.\1",)),
    KeyRule(r"visual\.proj", ("visual_projection.weight",), transposed),
    *_TEXT_RULES,
    KeyRule("text_projection", ("text_projection.weight",), transposed),
    KeyRule("logit_scale", ("logit_scale",), _with_one_entry),
    *_MIM_RULES,
)
TWO_TOWER_DROPS = (
    DropRule("input_resolution|context_length|vocab_size", "a size that the shapes of the weights give (OpenAI)"),
    DropRule("attn_mask|transformer.*attn_mask", "the causal mask, which the text tower makes itself (OpenAI)"),
)

HF_CLIP_RULES = (
    KeyRule("logit_scale", ("logit_scale",), _with_one_entry),
    KeyRule(r"((?:vision_model|text_model|visual_projection|text_projection)\..*(?<!position_ids))", (r"\1",)),
)
HF_CLIP_DROPS = (DropRule(r".*\.position_ids", "a constant 0, 1, 2 … that older versions of Transformers saved"),)
