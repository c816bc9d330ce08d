"""Names of the attribute model, to ours. Source: FacePerceiver/facer `facer/farl/classification.py`."""

from farl_hf.conversion.clip_keys import vision_rules
from farl_hf.conversion.key_rules import DropRule, KeyRule

__all__ = ["ATTRIBUTE_DROPS", "ATTRIBUTE_RULES"]


def _flat(weights_1V1):
    return weights_1V1.reshape(-1)


ATTRIBUTE_RULES = (
    *vision_rules(r"backbone\."),
    KeyRule(r"head\.weights", ("head.mixture",), _flat),
    KeyRule(r"head\.norm_(\d+)\.(weight|bias)", (r"head.norms.\1.\2",)),
    KeyRule(r"head\.final_fc\.(weight|bias)", (r"head.classifier.\1",)),
)
ATTRIBUTE_DROPS = (
    DropRule(r"backbone\.(ln_post\.(weight|bias)|proj)", "used for image embeddings only; the head reads blocks"),
    DropRule(
        r"backbone\.(mask_token|ln_lm\..+|lm_head\..+|lm_transformer\..+)",
        "the pre-training branch, which the head does not read",
    ),
)
