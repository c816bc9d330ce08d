"""Names of published models with heads, to ours: parsing and landmarks, attributes, and RetinaFace; names of outputs.

Sources of the published names:
- parsing and landmarks: FacePerceiver/FaRL `farl/network/transformers.py`, lines 62-114, `farl/network/mmseg.py`,
  lines 11-29, and `farl/experiments/{face_parsing,face_alignment}/network.py`; open-mmlab/mmsegmentation 0.18
  `decode_heads/uper_head.py`, lines 24-75. The parsing model calls its head `head`, the landmark model `heatmap_head`;
  both wrap mmsegmentation's, which adds `.head`.
- attributes: pyfacer 0.0.5 `facer/farl/classification.py`, lines 7-27 and 131-149.
- RetinaFace: biubug6/Pytorch_Retinaface, batch-face and facer, which share their names. Every published tensor has
  exactly one place in `RetinaFaceForFaceDetection`, unchanged in shape and value. Only the classifier of a body that
  was trained on ImageNet (`fc`) has none. A graph in ONNX has no such names; the order of its convolutions tells
  where they belong.
"""

from collections.abc import Mapping

import torch
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from farl_hf.conversion.backbone_keys import vision_rules
from farl_hf.conversion.key_rules import DropRule, KeyMap, KeyRule
from farl_hf.errors import ConversionError
from farl_hf.labels import CELEBA_ATTRIBUTES, CELEBAMASK_LABELS, LAPA_LABELS

# Names of a converted model's outputs, by kind and number of outputs.
_KNOWN_LABELS = {
    ("parsing", 11): LAPA_LABELS,
    ("parsing", 19): CELEBAMASK_LABELS,
    ("attributes", 40): CELEBA_ATTRIBUTES,
}
_NUMBERED = {"parsing": "class", "landmarks": "point", "attributes": "attribute"}


def label_names(kind: str, num_outputs: int) -> tuple[str, ...]:
    """The names, in id order: those of the data set that has this many, else numbered ones."""
    numbered = tuple(f"{_NUMBERED[kind]}_{index}" for index in range(num_outputs))
    return _KNOWN_LABELS.get((kind, num_outputs), numbered)


# Parsing and landmarks.
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


def _unread_drops(backbone):
    """What the backbone has and no head reads; `backbone`, a regular expression, ends with a dot."""
    return (
        DropRule(rf"{backbone}(ln_post\.(weight|bias)|proj)", "used for image embeddings only; the head reads blocks"),
        DropRule(
            rf"{backbone}(mask_token|ln_lm\..+|lm_head\..+|lm_transformer\..+)",
            "the pre-training branch, which the head does not read",
        ),
    )


DENSE_KEYS = KeyMap(
    (
        *vision_rules(r"backbone\.visual\."),
        KeyRule(r"backbone\.fpns\.(.+)", (r"pyramid.levels.\1",)),
        *_head_rules(),
        KeyRule(rf"{_HEAD}conv_seg\.(weight|bias)", (r"head.classifier.\1",)),
    ),
    (
        DropRule(r"backbone\.image_mean", _IN_PROCESSOR, tuple(OPENAI_CLIP_MEAN)),
        DropRule(r"backbone\.image_std", _IN_PROCESSOR, tuple(OPENAI_CLIP_STD)),
        *_unread_drops(r"backbone\.visual\."),
    ),
)


ATTRIBUTE_KEYS = KeyMap(
    (
        *vision_rules(r"backbone\."),
        KeyRule(r"head\.weights", ("head.mixture",), torch.flatten),
        KeyRule(r"head\.norm_(\d+)\.(weight|bias)", (r"head.norms.\1.\2",)),
        KeyRule(r"head\.final_fc\.(weight|bias)", (r"head.classifier.\1",)),
    ),
    _unread_drops(r"backbone\."),
)

# RetinaFace.
_CONV_NORM_PARTS = {"0": "convolution", "1": "normalization"}
_SEPARABLE_PARTS = {
    "0": "depthwise.convolution",
    "1": "depthwise.normalization",
    "3": "pointwise.convolution",
    "4": "pointwise.normalization",
}
_BOTTLENECK_PARTS = {
    "conv1": "reduce.convolution",
    "bn1": "reduce.normalization",
    "conv2": "spatial.convolution",
    "bn2": "spatial.normalization",
    "conv3": "expand.convolution",
    "bn3": "expand.normalization",
    r"downsample\.0": "shortcut.convolution",
    r"downsample\.1": "shortcut.normalization",
}
_CONTEXT_PARTS = {
    "conv3X3": "context_3x3",
    "conv5X5_1": "reduce",
    "conv5X5_2": "context_5x5",
    "conv7X7_2": "widen",
    "conv7x7_3": "context_7x7",
}
_HEADS = {"ClassHead": "class_head", "BboxHead": "box_head", "LandmarkHead": "keypoint_head"}
_BLOCKS_PER_STAGE = (5, 6, 2)  # of MobileNetV1, without the stem


def _part_rules(source, target, parts):
    """A rule for each part of a module; `source` is a regular expression."""
    for theirs, ours in parts.items():
        yield KeyRule(rf"{source}\.{theirs}\.(?P<tensor>\w+)", (rf"{target}.{ours}.\g<tensor>",))


def _retinaface_rules():
    """Stages and levels count from 1 in the source. Block 0 of MobileNet's first stage is our stem."""
    yield from _part_rules(r"body\.stage1\.0", "model.body.stem", _CONV_NORM_PARTS)
    yield from _part_rules("body", "model.body.stem", {"conv1": "convolution", "bn1": "normalization"})
    for block in range(_BLOCKS_PER_STAGE[0]):
        yield from _part_rules(rf"body\.stage1\.{block + 1}", f"model.body.stages.0.{block}", _SEPARABLE_PARTS)
    for index in range(4):
        number, stage = index + 1, rf"model.body.stages.{index}.\1"
        if index in (1, 2):
            yield from _part_rules(rf"body\.stage{number}\.(\d+)", stage, _SEPARABLE_PARTS)
        yield from _part_rules(rf"body\.layer{number}\.(\d+)", stage, _BOTTLENECK_PARTS)
        for theirs, ours in (("output", "laterals"), ("merge", "merges")):
            yield from _part_rules(
                rf"fpn\.{theirs}{number}", f"model.feature_pyramid.{ours}.{index}", _CONV_NORM_PARTS
            )
        for theirs, ours in _CONTEXT_PARTS.items():
            yield from _part_rules(
                rf"ssh{number}\.{theirs}", f"model.context_modules.{index}.{ours}", _CONV_NORM_PARTS
            )
    for theirs, ours in _HEADS.items():
        yield KeyRule(rf"{theirs}\.(\d)\.conv1x1\.(\w+)", (rf"{ours}.convolutions.\1.\2",))


RETINAFACE_KEYS = KeyMap(
    tuple(_retinaface_rules()),
    (DropRule(r"(body\.)?fc\.(weight|bias)", "the classifier of a body trained on ImageNet"),),
)

# The body alone: mobilenetV1X0.25_pretrain.tar (Pytorch_Retinaface `models/retinaface.py`, lines 58-67).
_BODY = r"body\."
DETECTOR_BODY_KEYS = KeyMap(
    tuple(
        KeyRule(rule.pattern.removeprefix(_BODY), tuple(target.removeprefix("model.") for target in rule.targets))
        for rule in RETINAFACE_KEYS.rules
        if rule.pattern.startswith(_BODY)
    ),
    RETINAFACE_KEYS.drops,
)


# Our layers in the order in which a graph of the MobileNetV1 network computes them. It merges the coarser level first,
# and its three heads come in any order; ours are sorted by their number of outputs.
_NUM_HEAD_CONVOLUTIONS = 9
RETINAFACE_GRAPH_ORDER = (
    "model.body.stem",
    *(
        f"model.body.stages.{stage}.{block}.{part}"
        for stage, num_blocks in enumerate(_BLOCKS_PER_STAGE)
        for block in range(num_blocks)
        for part in ("depthwise", "pointwise")
    ),
    *(f"model.feature_pyramid.laterals.{level}" for level in range(3)),
    "model.feature_pyramid.merges.1",
    "model.feature_pyramid.merges.0",
    *(f"model.context_modules.{level}.{branch}" for level in range(3) for branch in _CONTEXT_PARTS.values()),
    *(f"{head}.convolutions.{level}" for head in _HEADS.values() for level in range(3)),
)


def place_folded_convolutions(convolutions: Mapping[str, torch.Tensor], what: str) -> dict[str, torch.Tensor]:
    """
    The tensors of a RetinaFace network from the convolutions of a graph whose batch norms are folded into them.

    The norms of the result pass their input through and add the bias, exactly where their epsilon is 0.

    Args:
        convolutions (`Mapping[str, torch.Tensor]`): `convolutions.N.weight` and `.bias`, in the order of the graph.
        what (`str`): What the source is taken for, for errors.

    Raises:
        ConversionError: The graph has another number of convolutions.
    """
    weights = [value for name, value in convolutions.items() if name.endswith(".weight")]
    biases = [value for name, value in convolutions.items() if name.endswith(".bias")]
    if len(weights) != len(RETINAFACE_GRAPH_ORDER):
        raise ConversionError(
            f"The source is a graph of another network: it has {len(weights)} convolutions, the first of shape "
            f"{tuple(weights[0].shape)}; {what} has {len(RETINAFACE_GRAPH_ORDER)}."
        )
    pairs = list(zip(weights, biases, strict=True))
    heads = sorted(pairs[-_NUM_HEAD_CONVOLUTIONS:], key=lambda pair: len(pair[0]))  # stable: levels keep their order
    placed: dict[str, torch.Tensor] = {}
    for layer, (weight, bias) in zip(RETINAFACE_GRAPH_ORDER, pairs[:-_NUM_HEAD_CONVOLUTIONS] + heads, strict=True):
        if layer.startswith(tuple(_HEADS.values())):
            placed |= {f"{layer}.weight": weight, f"{layer}.bias": bias}
        else:
            placed |= {
                f"{layer}.convolution.weight": weight,
                f"{layer}.normalization.weight": torch.ones_like(bias),
                f"{layer}.normalization.bias": bias,
                f"{layer}.normalization.running_mean": torch.zeros_like(bias),
                f"{layer}.normalization.running_var": torch.ones_like(bias),
            }
    return placed
