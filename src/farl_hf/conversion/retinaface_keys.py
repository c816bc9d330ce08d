"""Names of RetinaFace weights: published (biubug6/Pytorch_Retinaface, batch-face, facer) to ours, one-to-one.

Every published tensor has exactly one place in `RetinaFaceForFaceDetection`, unchanged in shape and value. The
classifier of a body trained on ImageNet (`fc`) has none.
"""

import re
from collections.abc import Iterable

from farl_hf.errors import NotACheckpointError

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


__all__ = ["RETINAFACE_KEY_RULES", "rename_retinaface_key", "rename_retinaface_keys"]
