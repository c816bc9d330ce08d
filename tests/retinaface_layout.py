"""RetinaFace as a function of its weights, written from the layout that biubug6/Pytorch_Retinaface b984b4b publishes.

`models/net.py` (lines 9-124: convolutions, context modules, pyramid, MobileNetV1) and `models/retinaface.py` (lines
14-127: heads, order of outputs); the ResNet-50 is torchvision's v1.5 (stride on the 3x3 convolution). It imports
neither that code nor pyfacer's copy.
"""

import torch
from torch.nn.functional import batch_norm, conv2d, interpolate, leaky_relu, max_pool2d


class _Layers:
    """The weights, and the few kinds of layer that they are for; all convolutions before a norm lack a bias."""

    def __init__(self, weights):
        self.weights = weights

    def has(self, name):
        return f"{name}.weight" in self.weights

    def normed(self, values, convolution, norm, stride=1, groups=1, slope=None):
        """Convolution and norm; then LeakyReLU of a slope (0 is ReLU), or nothing for `None`."""
        kernel = self.weights[f"{convolution}.weight"]
        values = conv2d(values, kernel, stride=stride, padding=kernel.shape[-1] // 2, groups=groups)
        mean, var, gain, bias = (
            self.weights[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        values = batch_norm(values, mean, var, gain, bias)
        return values if slope is None else leaky_relu(values, slope)


def _mobilenet(layers, values):
    """`conv_bn`, then depthwise and pointwise pairs; strides of the comments in `net.py`, lines 105-124."""
    maps = []
    strides = {"stage1": (None, 1, 2, 1, 2, 1), "stage2": (2, 1, 1, 1, 1, 1), "stage3": (2, 1)}
    for stage, blocks in strides.items():
        for index, stride in enumerate(blocks):
            name = f"body.{stage}.{index}"
            if stride is None:
                values = layers.normed(values, f"{name}.0", f"{name}.1", stride=2, slope=0.1)
                continue
            values = layers.normed(values, f"{name}.0", f"{name}.1", stride, groups=values.shape[1], slope=0.1)
            values = layers.normed(values, f"{name}.3", f"{name}.4", slope=0.1)
        maps.append(values)
    return maps


def _resnet(layers, values):
    values = max_pool2d(layers.normed(values, "body.conv1", "body.bn1", stride=2, slope=0), 3, stride=2, padding=1)
    maps = []
    for stage, blocks in enumerate((3, 4, 6, 3), start=1):
        for index in range(blocks):
            name = f"body.layer{stage}.{index}"
            stride = 2 if stage > 1 and index == 0 else 1
            branch = layers.normed(values, f"{name}.conv1", f"{name}.bn1", slope=0)
            branch = layers.normed(branch, f"{name}.conv2", f"{name}.bn2", stride, slope=0)
            branch = layers.normed(branch, f"{name}.conv3", f"{name}.bn3")
            if layers.has(f"{name}.downsample.0"):
                values = layers.normed(values, f"{name}.downsample.0", f"{name}.downsample.1", stride)
            values = (values + branch).relu()
        maps.append(values)
    return maps[1:]


def _context(layers, values, name, slope):
    fine = layers.normed(values, f"{name}.conv3X3.0", f"{name}.conv3X3.1")
    reduced = layers.normed(values, f"{name}.conv5X5_1.0", f"{name}.conv5X5_1.1", slope=slope)
    middle = layers.normed(reduced, f"{name}.conv5X5_2.0", f"{name}.conv5X5_2.1")
    widened = layers.normed(reduced, f"{name}.conv7X7_2.0", f"{name}.conv7X7_2.1", slope=slope)
    wide = layers.normed(widened, f"{name}.conv7x7_3.0", f"{name}.conv7x7_3.1")
    return torch.cat([fine, middle, wide], dim=1).relu()


def outputs_of_layout(weights, pixels):
    """Box offsets (B, A, 4), class logits (B, A, 2) and point offsets (B, A, 10) of pictures (B, 3, H, W)."""
    layers = _Layers(weights)
    maps = (_resnet if layers.has("body.layer1.0.conv1") else _mobilenet)(layers, pixels)
    slope = 0.1 if weights["fpn.output1.0.weight"].shape[0] <= 64 else 0
    one, two, three = (
        layers.normed(values, f"fpn.output{level}.0", f"fpn.output{level}.1", slope=slope)
        for level, values in enumerate(maps, start=1)
    )
    two = two + interpolate(three, size=two.shape[2:], mode="nearest")
    two = layers.normed(two, "fpn.merge2.0", "fpn.merge2.1", slope=slope)
    one = one + interpolate(two, size=one.shape[2:], mode="nearest")
    one = layers.normed(one, "fpn.merge1.0", "fpn.merge1.1", slope=slope)
    features = [_context(layers, values, f"ssh{level}", slope) for level, values in enumerate((one, two, three), 1)]
    return [
        torch.cat(
            [_head(weights, values, f"{head}.{level}.conv1x1", width) for level, values in enumerate(features)], 1
        )
        for head, width in (("BboxHead", 4), ("ClassHead", 2), ("LandmarkHead", 10))
    ]


def _head(weights, values, name, width):
    scores = conv2d(values, weights[f"{name}.weight"], weights[f"{name}.bias"])
    return scores.permute(0, 2, 3, 1).reshape(len(values), -1, width)
