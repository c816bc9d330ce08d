"""Names of published models with heads, to ours: parsing and landmarks, attributes, and RetinaFace; names of outputs.

Sources of the published names:
- parsing and landmarks: FacePerceiver/FaRL `farl/network/transformers.py`, `farl/network/mmseg.py` and
  `farl/experiments/{face_parsing,face_alignment}/network.py`; open-mmlab/mmsegmentation 0.18
  `decode_heads/uper_head.py`. The parsing model calls its head `head`, the landmark model `heatmap_head`; both wrap
  mmsegmentation's, which adds `.head`.
- attributes: FacePerceiver/facer `facer/farl/classification.py`.
- RetinaFace: biubug6/Pytorch_Retinaface, batch-face and facer, which share their names. Every published tensor has
  exactly one place in `RetinaFaceForFaceDetection`, unchanged in shape and value. Only the classifier of a body that
  was trained on ImageNet (`fc`) has none. A graph in ONNX has no such names; the order of its convolutions tells
  where they belong.
"""

import re
from collections.abc import Iterable, Mapping

import torch
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from farl_hf.conversion.backbone_keys import vision_rules
from farl_hf.conversion.key_rules import DropRule, KeyRule
from farl_hf.errors import ConversionError, NotACheckpointError
from farl_hf.labels import CELEBA_ATTRIBUTES, CELEBAMASK_LABELS, LAPA_LABELS

__all__ = [
    "ATTRIBUTE_DROPS",
    "ATTRIBUTE_RULES",
    "DENSE_DROPS",
    "DENSE_RULES",
    "RETINAFACE_GRAPH_ORDER",
    "RETINAFACE_KEY_RULES",
    "label_names",
    "place_folded_convolutions",
    "rename_retinaface_key",
    "rename_retinaface_keys",
]

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


DENSE_RULES = (
    *vision_rules(r"backbone\.visual\."),
    KeyRule(r"backbone\.fpns\.(.+)", (r"pyramid.levels.\1",)),
    *_head_rules(),
    KeyRule(rf"{_HEAD}conv_seg\.(weight|bias)", (r"head.classifier.\1",)),
)
DENSE_DROPS = (
    DropRule(r"backbone\.image_mean", _IN_PROCESSOR, tuple(OPENAI_CLIP_MEAN)),
    DropRule(r"backbone\.image_std", _IN_PROCESSOR, tuple(OPENAI_CLIP_STD)),
    *_unread_drops(r"backbone\.visual\."),
)


def _flat(weights_1V1):
    return weights_1V1.reshape(-1)


ATTRIBUTE_RULES = (
    *vision_rules(r"backbone\."),
    KeyRule(r"head\.weights", ("head.mixture",), _flat),
    KeyRule(r"head\.norm_(\d+)\.(weight|bias)", (r"head.norms.\1.\2",)),
    KeyRule(r"head\.final_fc\.(weight|bias)", (r"head.classifier.\1",)),
)
ATTRIBUTE_DROPS = (*_unread_drops(r"backbone\."),)

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
    "downsample.0": "shortcut.convolution",
    "downsample.1": "shortcut.normalization",
}
_CONTEXT_PARTS = {
    "conv3X3": "context_3x3",
    "conv5X5_1": "reduce",
    "conv5X5_2": "context_5x5",
    "conv7X7_2": "widen",
    "conv7x7_3": "context_7x7",
}
_HEADS = {"ClassHead": "class_head", "BboxHead": "box_head", "LandmarkHead": "keypoint_head"}
_PYRAMID_PARTS = {"output": "laterals", "merge": "merges"}


def _mobilenet_stem(part, tensor):
    return f"model.body.stem.{_CONV_NORM_PARTS[part]}.{tensor}"


def _mobilenet_block(stage, block, part, tensor):
    # The stem is block 0 of the first published stage, which shifts that stage's numbers by one.
    index = int(block) - (stage == "1")
    return f"model.body.stages.{int(stage) - 1}.{index}.{_SEPARABLE_PARTS[part]}.{tensor}"


def _resnet_stem(part, tensor):
    return f"model.body.stem.{'convolution' if part == 'conv' else 'normalization'}.{tensor}"


def _resnet_block(stage, block, part, tensor):
    return f"model.body.stages.{int(stage) - 1}.{block}.{_BOTTLENECK_PARTS[part]}.{tensor}"


def _pyramid(kind, level, part, tensor):
    return f"model.feature_pyramid.{_PYRAMID_PARTS[kind]}.{int(level) - 1}.{_CONV_NORM_PARTS[part]}.{tensor}"


def _context(level, branch, part, tensor):
    return f"model.context_modules.{int(level) - 1}.{_CONTEXT_PARTS[branch]}.{_CONV_NORM_PARTS[part]}.{tensor}"


def _head(head, level, tensor):
    return f"{_HEADS[head]}.convolutions.{level}.{tensor}"


# Pattern of a published name -> how its groups make ours.
RETINAFACE_KEY_RULES = (
    (r"body\.stage1\.0\.([01])\.(\w+)", _mobilenet_stem),
    (r"body\.stage([123])\.(\d+)\.([0134])\.(\w+)", _mobilenet_block),
    (r"body\.(conv|bn)1\.(\w+)", _resnet_stem),
    (r"body\.layer([1234])\.(\d+)\.(conv[123]|bn[123]|downsample\.[01])\.(\w+)", _resnet_block),
    (r"fpn\.(output|merge)([123])\.([01])\.(\w+)", _pyramid),
    (r"ssh([123])\.(conv3X3|conv5X5_[12]|conv7X7_2|conv7x7_3)\.([01])\.(\w+)", _context),
    (r"(ClassHead|BboxHead|LandmarkHead)\.([012])\.conv1x1\.(\w+)", _head),
)


def rename_retinaface_key(name: str) -> str | None:
    """
    Our name of a published RetinaFace tensor.

    Args:
        name (`str`): Name in a published file; a leading `module.` (saved from several devices) does not matter.

    Returns:
        `str`: Name in `RetinaFaceForFaceDetection`; `None` for the ImageNet classifier, which has no place there.

    Raises:
        NotACheckpointError: The name belongs to no RetinaFace network.
    """
    name = name.removeprefix("module.")
    if re.fullmatch(r"(body\.)?fc\.(weight|bias)", name):
        return None
    for pattern, make_name in RETINAFACE_KEY_RULES:
        match = re.fullmatch(pattern, name)
        if match:
            return make_name(*match.groups())
    raise NotACheckpointError(
        f"The tensor {name!r} is unknown; expected a RetinaFace file with names such as 'body.stage1.0.0.weight'."
    )


def rename_retinaface_keys(names: Iterable[str]) -> dict[str, str]:
    """Published names to ours, without those that have no place in the network."""
    renamed = {name: rename_retinaface_key(name) for name in names}
    return {name: ours for name, ours in renamed.items() if ours is not None}


# Our layers in the order in which a graph of the MobileNetV1 network computes them. It merges the coarser level first,
# and its three heads come in any order; ours are sorted by their number of outputs.
_BLOCKS_PER_STAGE = (5, 6, 2)
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
