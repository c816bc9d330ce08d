"""Names of parsers and aligners: backbone, pyramid adapters and UperNet head, to ours.

Sources: FacePerceiver/FaRL `farl/network/transformers.py`, `farl/network/mmseg.py`,
`farl/experiments/{face_parsing,face_alignment}/network.py`; open-mmlab/mmsegmentation 0.18
`decode_heads/uper_head.py`.
The parser calls its head `head`, the aligner `heatmap_head`; both wrap mmsegmentation's, which adds `.head`.
"""

from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from farl_hf.conversion.clip_keys import vision_rules
from farl_hf.conversion.key_rules import DropRule, KeyRule

__all__ = ["DENSE_DROPS", "DENSE_RULES"]

_IN_PROCESSOR = "CLIP's constants, which stand in preprocessor_config.json"
_HEAD = r"(?:heatmap_)?head\.head\."
_HEAD_PARTS = {
    r"psp_modules\.(?P<index>\d+)\.1": r"head.pyramid_pooling.branches.\g<index>",
    "bottleneck": "head.pyramid_pooling.bottleneck",
    r"lateral_convs\.(?P<index>\d+)": r"head.laterals.\g<index>",
    r"fpn_convs\.(?P<index>\d+)": r"head.smoothers.\g<index>",
    "fpn_bottleneck": "head.fusion",
}


def _head_rules():
    """A ConvModule of mmcv is a pair of `conv` and `bn`, ours the entries 0 and 1 of a sequence."""
    for theirs, ours in _HEAD_PARTS.items():
        yield KeyRule(rf"{_HEAD}{theirs}\.conv\.(?P<tensor>weight)", (rf"{ours}.0.\g<tensor>",))
        yield KeyRule(rf"{_HEAD}{theirs}\.bn\.(?P<tensor>\w+)", (rf"{ours}.1.\g<tensor>",))


DENSE_RULES = (
    *vision_rules(r"backbone\.visual\."),
    KeyRule(r"backbone\.fpns\.(.+)", (r"pyramid.levels.\1",)),
    *_head_rules(),
    KeyRule(rf"{_HEAD}conv_seg\.(weight|bias)", (r"head.classifier.\1",)),
)
DENSE_DROPS = (
    DropRule(r"backbone\.image_mean", _IN_PROCESSOR, tuple(OPENAI_CLIP_MEAN)),
    DropRule(r"backbone\.image_std", _IN_PROCESSOR, tuple(OPENAI_CLIP_STD)),
    DropRule(
        r"backbone\.visual\.(ln_post\.(weight|bias)|proj)", "used for image embeddings only; the head reads blocks"
    ),
    DropRule(
        r"backbone\.visual\.(mask_token|ln_lm\..+|lm_head\..+|lm_transformer\..+)",
        "the pre-training branch, which the head does not read",
    ),
)
