"""RetinaFace: single-stage face detection with five keypoints per face.

Paper: Deng et al., "RetinaFace: Single-Shot Multi-Level Face Localisation in the Wild", CVPR 2020. The architecture
follows biubug6/Pytorch_Retinaface b984b4b (MIT), `models/net.py` and `models/retinaface.py`, so its published weights
fit one-to-one after renaming; the MultiBox loss follows its `layers/modules/multibox_loss.py`, lines 44-125, and
`utils/box_utils.py`, lines 96-153. What differs: names, anchors computed at once, channels-last memory, which only
saves time, and one rule of the loss: a face whose best anchor overlaps too little to claim it leaves that anchor
alone; the original lets it take over the anchor's target if another face made the anchor positive
(`utils/box_utils.py`, lines 142-143).

Letters in shapes: B pictures, A anchors, n faces of one picture, P positive anchors of the batch, H W height and width
of the input, C channels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.ops import box_convert, box_iou
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BackboneOutput
from transformers.utils import ModelOutput, can_return_tuple

from .configuration_retinaface import RetinaFaceConfig
from .fast_inference_farl import FastConvolutionAndNorm, FastInferenceMixin, fast_as
from .pretrained_model_farl import ModelLoadedWhole, ModelPushedWithCode, warn_unrecorded

# (output channels at full width, stride) of the depthwise-separable blocks of MobileNetV1, by stage; the stem comes
# first in stage one.
MOBILENET_V1_STEM = 32
MOBILENET_V1_STAGES = (
    ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1)),
    ((512, 2), (512, 1), (512, 1), (512, 1), (512, 1), (512, 1)),
    ((1024, 2), (1024, 1)),
)
RESNET_WIDTHS = (64, 128, 256, 512)
RESNET_EXPANSION = 4
MOBILENET_SLOPE = 0.1


@dataclass
class RetinaFaceFaceDetectionOutput(ModelOutput):
    """
    Raw predictions of every anchor; `RetinaFaceImageProcessor.post_process_face_detection` turns them into faces.

    Args:
        loss (`torch.Tensor` of shape (), *optional*): Weighted sum of the losses, when `labels` were given.
        class_logits (`torch.Tensor` of shape (B, A, 2)): Background and face.
        box_offsets (`torch.Tensor` of shape (B, A, 4)): Coded centre x, centre y, log width, log height.
        keypoint_offsets (`torch.Tensor` of shape (B, A, 10)): Coded x, y of the five points.
        anchors (`torch.Tensor` of shape (B, A, 4)): Centre x, centre y, width, height in input pixels, the same for
            every picture (a view: it takes no memory).
        loss_dict (`dict[str, torch.Tensor]`, *optional*): `class_loss`, `box_loss`, `keypoint_loss`, unweighted.
    """

    loss: torch.Tensor | None = None
    class_logits: torch.Tensor | None = None
    box_offsets: torch.Tensor | None = None
    keypoint_offsets: torch.Tensor | None = None
    anchors: torch.Tensor | None = None
    loss_dict: dict[str, torch.Tensor] | None = None


# --- body, pyramid, heads


def scale_channels(channels: int, width_multiplier: float) -> int:
    """Channels of a thinner or wider body: a multiple of 8, at least 8."""
    return max(8, int(channels * width_multiplier / 8 + 0.5) * 8)


class RetinaFaceConvNorm(nn.Module):
    """Convolution without bias, batch normalisation and, unless `slope` is `None`, LeakyReLU (slope 0 is ReLU)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        groups: int = 1,
        slope: float | None = None,
        eps: float = 1e-5,
    ):
        super().__init__()
        self.convolution = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, kernel_size // 2, groups=groups, bias=False
        )
        self.normalization = nn.BatchNorm2d(out_channels, eps=eps)
        self.slope = slope

    def train(self, mode: bool = True) -> "RetinaFaceConvNorm":
        """As of any module; a norm that is folded into its convolution (epsilon 0) stays in evaluation mode."""
        super().train(mode)
        if self.normalization.eps == 0:  # a batch's statistics would undo the folding, and PyTorch refuses them
            self.normalization.eval()
        return self

    def forward(self, hidden_state: torch.Tensor) -> torch.Tensor:
        """Map (B, C_in, H, W) to (B, C_out, ., .)."""
        hidden_state = self.convolved(hidden_state)
        if self.slope is None:
            return hidden_state
        if self.slope == 0:
            return F.relu(hidden_state, inplace=True)
        return F.leaky_relu(hidden_state, self.slope, inplace=True)

    @fast_as(FastConvolutionAndNorm)
    def convolved(self, hidden_state: torch.Tensor) -> torch.Tensor:
        """Convolution and normalisation."""
        return self.normalization(self.convolution(hidden_state))


class RetinaFaceSeparableConv(nn.Module):
    """Depthwise 3x3 and pointwise convolution of MobileNetV1."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, eps: float):
        super().__init__()
        self.depthwise = RetinaFaceConvNorm(
            in_channels, in_channels, 3, stride, groups=in_channels, slope=MOBILENET_SLOPE, eps=eps
        )
        self.pointwise = RetinaFaceConvNorm(in_channels, out_channels, 1, slope=MOBILENET_SLOPE, eps=eps)

    def forward(self, hidden_state: torch.Tensor) -> torch.Tensor:
        """Map (B, C_in, H, W) to (B, C_out, ., .)."""
        return self.pointwise(self.depthwise(hidden_state))


class RetinaFaceMobileNetV1Body(nn.Module):
    """MobileNetV1 without classifier: features at strides 8, 16 and 32."""

    def __init__(self, config: RetinaFaceConfig):
        super().__init__()
        channels = scale_channels(MOBILENET_V1_STEM, config.width_multiplier)
        eps = config.batch_norm_eps
        self.stem = RetinaFaceConvNorm(3, channels, 3, 2, slope=MOBILENET_SLOPE, eps=eps)
        self.stages = nn.ModuleList()
        self.channels = []
        for blocks in MOBILENET_V1_STAGES:
            stage = nn.Sequential()
            for full_width, stride in blocks:
                out_channels = scale_channels(full_width, config.width_multiplier)
                stage.append(RetinaFaceSeparableConv(channels, out_channels, stride, eps))
                channels = out_channels
            self.stages.append(stage)
            self.channels.append(channels)

    def forward(self, pixel_values: torch.Tensor) -> list[torch.Tensor]:
        """Map (B, 3, H, W) to the three maps, fine to coarse."""
        hidden_state = self.stem(pixel_values)
        features = []
        for stage in self.stages:
            hidden_state = stage(hidden_state)
            features.append(hidden_state)
        return features


class RetinaFaceBottleneck(nn.Module):
    """Bottleneck block of ResNet v1.5 (the stride sits on the 3x3 convolution)."""

    def __init__(self, in_channels: int, width: int, stride: int, eps: float):
        super().__init__()
        out_channels = width * RESNET_EXPANSION
        self.reduce = RetinaFaceConvNorm(in_channels, width, 1, slope=0, eps=eps)
        self.spatial = RetinaFaceConvNorm(width, width, 3, stride, slope=0, eps=eps)
        self.expand = RetinaFaceConvNorm(width, out_channels, 1, eps=eps)
        self.shortcut = None
        if stride != 1 or in_channels != out_channels:
            self.shortcut = RetinaFaceConvNorm(in_channels, out_channels, 1, stride, eps=eps)

    def forward(self, hidden_state: torch.Tensor) -> torch.Tensor:
        """Map (B, C_in, H, W) to (B, C_out, ., .)."""
        residual = hidden_state if self.shortcut is None else self.shortcut(hidden_state)
        return F.relu(self.expand(self.spatial(self.reduce(hidden_state))) + residual, inplace=True)


class RetinaFaceResNetBody(nn.Module):
    """ResNet without classifier: features at strides 8, 16 and 32."""

    def __init__(self, config: RetinaFaceConfig):
        super().__init__()
        eps = config.batch_norm_eps
        widths = [scale_channels(width, config.width_multiplier) for width in RESNET_WIDTHS]
        channels = widths[0]
        self.stem = RetinaFaceConvNorm(3, channels, 7, 2, slope=0, eps=eps)
        self.stages = nn.ModuleList()
        for index, (width, depth) in enumerate(zip(widths, config.resnet_depths, strict=True)):
            stage = nn.Sequential()
            for block in range(depth):
                stride = 2 if index > 0 and block == 0 else 1
                stage.append(RetinaFaceBottleneck(channels, width, stride, eps))
                channels = width * RESNET_EXPANSION
            self.stages.append(stage)
        self.channels = [width * RESNET_EXPANSION for width in widths[1:]]

    def forward(self, pixel_values: torch.Tensor) -> list[torch.Tensor]:
        """Map (B, 3, H, W) to the three maps, fine to coarse."""
        hidden_state = F.max_pool2d(self.stem(pixel_values), kernel_size=3, stride=2, padding=1)
        features = []
        for stage in self.stages:
            hidden_state = stage(hidden_state)
            features.append(hidden_state)
        return features[1:]


BODY_CLASSES: dict[str, type[RetinaFaceMobileNetV1Body] | type[RetinaFaceResNetBody]] = {
    "mobilenet_v1": RetinaFaceMobileNetV1Body,
    "resnet": RetinaFaceResNetBody,
}


class RetinaFaceFeaturePyramid(nn.Module):
    """Feature pyramid: 1x1 laterals, nearest upsampling, 3x3 merging on the two finer levels."""

    def __init__(self, in_channels: Sequence[int], channels: int, slope: float, eps: float):
        super().__init__()
        self.laterals = nn.ModuleList([RetinaFaceConvNorm(c, channels, 1, slope=slope, eps=eps) for c in in_channels])
        self.merges = nn.ModuleList([RetinaFaceConvNorm(channels, channels, slope=slope, eps=eps) for _ in range(2)])

    def forward(self, features: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Map three maps of the body to three of C channels, fine to coarse."""
        fine, middle, coarse = (lateral(x) for lateral, x in zip(self.laterals, features, strict=True))
        middle = self.merges[1](middle + F.interpolate(coarse, size=middle.shape[-2:], mode="nearest"))
        fine = self.merges[0](fine + F.interpolate(middle, size=fine.shape[-2:], mode="nearest"))
        return [fine, middle, coarse]


class RetinaFaceContextModule(nn.Module):
    """SSH context module: 3x3, 5x5 and 7x7 receptive fields, the larger ones as stacked 3x3 convolutions."""

    def __init__(self, channels: int, slope: float, eps: float):
        super().__init__()
        half, quarter = channels // 2, channels // 4
        self.context_3x3 = RetinaFaceConvNorm(channels, half, eps=eps)
        self.reduce = RetinaFaceConvNorm(channels, quarter, slope=slope, eps=eps)
        self.context_5x5 = RetinaFaceConvNorm(quarter, quarter, eps=eps)
        self.widen = RetinaFaceConvNorm(quarter, quarter, slope=slope, eps=eps)
        self.context_7x7 = RetinaFaceConvNorm(quarter, quarter, eps=eps)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map (B, C, H, W) to the same shape."""
        reduced = self.reduce(features)
        branches = [self.context_3x3(features), self.context_5x5(reduced), self.context_7x7(self.widen(reduced))]
        return F.relu(torch.cat(branches, dim=1), inplace=True)


class RetinaFaceAnchorHead(nn.Module):
    """One 1x1 convolution per pyramid level that predicts `values` numbers for each anchor."""

    def __init__(self, channels: int, anchors_per_cell: Sequence[int], values: int):
        super().__init__()
        self.values = values
        self.convolutions = nn.ModuleList([nn.Conv2d(channels, count * values, 1) for count in anchors_per_cell])

    def forward(self, feature_maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return (B, A, values), in the order of `make_anchors`."""
        levels = [
            convolution(features).permute(0, 2, 3, 1).reshape(features.shape[0], -1, self.values)
            for convolution, features in zip(self.convolutions, feature_maps, strict=True)
        ]
        return torch.cat(levels, dim=1)


# --- anchors


def make_anchors(
    size_hw: tuple[int, int],
    steps: Sequence[int],
    min_sizes: Sequence[Sequence[int]],
    device: torch.device | None = None,
) -> torch.Tensor:
    """
    The square anchors of all pyramid levels, ordered by level, row, column, size.

    Convention: continuous pixels of the network input (centre of the first pixel at 0.5, 0.5).

    Args:
        size_hw (`tuple[int, int]`): Height and width of the network input.
        steps (`Sequence[int]`): Pixels between neighbouring anchors on each level.
        min_sizes (`Sequence[Sequence[int]]`): Anchor sides of each level, pixels.
        device (`torch.device`, *optional*): Where to build them.

    Returns:
        `torch.Tensor` of shape (A, 4): centre x, centre y, width, height.
    """
    levels = []
    for step, sizes in zip(steps, min_sizes, strict=True):
        rows, columns = (-(-side // step) for side in size_hw)  # rounded up, in integers: exported graphs can store it
        anchors = torch.empty(rows, columns, len(sizes), 4, dtype=torch.float32, device=device)
        anchors[..., 0] = ((torch.arange(columns, device=device) + 0.5) * step)[None, :, None]
        anchors[..., 1] = ((torch.arange(rows, device=device) + 0.5) * step)[:, None, None]
        anchors[..., 2:] = torch.tensor(sizes, dtype=anchors.dtype, device=device)[:, None]
        levels.append(anchors.flatten(0, 2))
    return torch.cat(levels)


# Bounded, because photos of thousands of sizes would fill the memory.
@lru_cache(maxsize=16)
def _cached_anchors(size_hw, steps, min_sizes, device):
    # Outside inference mode, so that anchors first made there still serve training.
    with torch.inference_mode(False):
        return make_anchors(size_hw, steps, min_sizes, device)


def anchors_for(size_hw: tuple[int, int], config: RetinaFaceConfig, device: torch.device) -> torch.Tensor:
    """`make_anchors` of a configuration, cached per input size; do not write into the result."""
    min_sizes = tuple(tuple(sizes) for sizes in config.min_sizes)
    make = make_anchors if torch.compiler.is_compiling() else _cached_anchors
    return make(size_hw, tuple(config.steps), min_sizes, device)


# --- the MultiBox loss


def retinaface_loss(
    class_logits: torch.Tensor,
    box_offsets: torch.Tensor,
    keypoint_offsets: torch.Tensor,
    anchors: torch.Tensor,
    size_hw: tuple[int, int],
    labels: Sequence[Mapping[str, torch.Tensor]],
    config: RetinaFaceConfig,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """
    The weighted loss of a batch and its three parts.

    Boxes and classes are averaged over the positive anchors of the batch, points over those whose face has points.
    A picture without faces has no positives, hence (7 negatives per positive) takes no part, as in the original
    (`layers/modules/multibox_loss.py`, lines 108-117).

    Args:
        class_logits, box_offsets, keypoint_offsets (`torch.Tensor` of shape (B, A, 2 | 4 | 10)): Predictions.
        anchors (`torch.Tensor` of shape (A, 4)): Centre and size, input pixels.
        size_hw (`tuple[int, int]`): Size of the input.
        labels (`list[dict]`): As in `RetinaFaceForFaceDetection.forward`.
        config (`RetinaFaceConfig`): Thresholds, variances and weights.

    Returns:
        `tuple[torch.Tensor, dict[str, torch.Tensor]]`: the loss; `class_loss`, `box_loss`, `keypoint_loss`, detached.

    Raises:
        ValueError: `labels` have another form.
    """
    check_labels(labels, class_logits.shape[0])
    class_logits, box_offsets, keypoint_offsets = (x.float() for x in (class_logits, box_offsets, keypoint_offsets))
    positive, box_targets, keypoint_targets = make_targets(labels, anchors, size_hw, config)
    num_positive = positive.sum().clamp(min=1)

    box_loss = F.smooth_l1_loss(box_offsets[positive], box_targets, reduction="sum") / num_positive

    has_points = keypoint_targets.isfinite().all(dim=1)
    keypoint_loss = F.smooth_l1_loss(
        keypoint_offsets[positive][has_points], keypoint_targets[has_points], reduction="sum"
    ) / has_points.sum().clamp(min=1)

    class_losses = F.cross_entropy(class_logits.flatten(0, 1), positive.flatten().long(), reduction="none")
    class_losses = class_losses.view_as(positive)
    negative = select_hard_negatives(class_losses.detach(), positive, config.negative_ratio)
    class_loss = class_losses[positive | negative].sum() / num_positive

    loss = (
        config.class_loss_weight * class_loss
        + config.box_loss_weight * box_loss
        + config.keypoint_loss_weight * keypoint_loss
    )
    parts = {"class_loss": class_loss, "box_loss": box_loss, "keypoint_loss": keypoint_loss}
    return loss, {name: part.detach() for name, part in parts.items()}


def match_anchors(
    boxes_xyxy: torch.Tensor, anchors_cxcywh: torch.Tensor, match_threshold: float, claim_threshold: float
) -> torch.Tensor:
    """
    Assign a face or the background to every anchor of one picture.

    An anchor belongs to the face that it overlaps most, if by at least `match_threshold`. Beyond that, every face
    claims its best anchor if they overlap by at least `claim_threshold`; of two claims the later face wins.

    Args:
        boxes_xyxy (`torch.Tensor` of shape (n, 4)): Faces, in the frame of the anchors.
        anchors_cxcywh (`torch.Tensor` of shape (A, 4)): Anchors as centre and size.
        match_threshold, claim_threshold (`float`): Intersections over union.

    Returns:
        `torch.Tensor` of shape (A,): index of the face, -1 for background.
    """
    num_anchors = anchors_cxcywh.shape[0]
    if boxes_xyxy.shape[0] == 0:
        return torch.full((num_anchors,), -1, dtype=torch.int64, device=anchors_cxcywh.device)
    overlaps = box_iou(boxes_xyxy, box_convert(anchors_cxcywh, "cxcywh", "xyxy"))
    best_overlap, face_of_anchor = overlaps.max(dim=0)
    face_of_anchor = face_of_anchor.where(best_overlap >= match_threshold, -1)

    claim_overlap, claimed_anchor = overlaps.max(dim=1)
    claiming_face = (claim_overlap >= claim_threshold).nonzero().squeeze(1)
    claims = torch.full_like(face_of_anchor, -1)
    claims.scatter_reduce_(0, claimed_anchor[claiming_face], claiming_face, reduce="amax")
    return claims.where(claims >= 0, face_of_anchor)


def encode_boxes(boxes_xyxy: torch.Tensor, anchors_cxcywh: torch.Tensor, variances: Sequence[float]) -> torch.Tensor:
    """Offsets (P, 4) of boxes from their anchors: centre / (variance * size), log(size ratio) / variance."""
    centers_sizes = box_convert(boxes_xyxy, "xyxy", "cxcywh")
    centers = (centers_sizes[:, :2] - anchors_cxcywh[:, :2]) / (variances[0] * anchors_cxcywh[:, 2:])
    sizes = torch.log(centers_sizes[:, 2:] / anchors_cxcywh[:, 2:]) / variances[1]
    return torch.cat([centers, sizes], dim=1)


def encode_keypoints(
    keypoints_xy: torch.Tensor, anchors_cxcywh: torch.Tensor, variances: Sequence[float]
) -> torch.Tensor:
    """Offsets (P, 10) of five points from the centres of their anchors: distance / (variance * size)."""
    offsets = (keypoints_xy - anchors_cxcywh[:, None, :2]) / (variances[0] * anchors_cxcywh[:, None, 2:])
    return offsets.flatten(1)


def select_hard_negatives(background_loss: torch.Tensor, positive: torch.Tensor, ratio: int) -> torch.Tensor:
    """
    The background anchors with the highest loss, `ratio` per positive anchor of their picture.

    Args:
        background_loss (`torch.Tensor` of shape (B, A)): Classification loss of every anchor as background.
        positive (`torch.Tensor` of shape (B, A), bool): Anchors that belong to faces.
        ratio (`int`): Negatives per positive.

    Returns:
        `torch.Tensor` of shape (B, A), bool.
    """
    num_anchors = positive.shape[1]
    wanted = (ratio * positive.sum(dim=1)).clamp(max=num_anchors - 1)
    most = int(wanted.max())
    hardest = background_loss.masked_fill(positive, -1.0).topk(most, dim=1).indices
    taken = torch.arange(most, device=positive.device)[None] < wanted[:, None]
    return torch.zeros_like(positive).scatter_(1, hardest, taken) & ~positive


def check_labels(labels: Any, batch_size: int) -> None:
    """Raise a `ValueError` that says what is wrong, if `labels` is not what `retinaface_loss` takes."""
    if not isinstance(labels, list | tuple) or len(labels) != batch_size:
        found = f"{len(labels)} entries" if isinstance(labels, list | tuple) else type(labels).__name__
        raise ValueError(f"labels is {found}; expected a list with one dictionary for each of {batch_size} pictures.")
    for index, faces in enumerate(labels):
        missing = {"boxes_xyxy", "keypoints_xy"} - set(faces)
        if missing:
            raise ValueError(f"labels[{index}] lacks {sorted(missing)}; it has {sorted(faces)}.")
        boxes_shape, points_shape = tuple(faces["boxes_xyxy"].shape), tuple(faces["keypoints_xy"].shape)
        if boxes_shape[1:] != (4,) or points_shape != (boxes_shape[0], 5, 2):
            raise ValueError(
                f"labels[{index}] has boxes_xyxy of shape {boxes_shape} and keypoints_xy of shape {points_shape}; "
                "expected (n, 4) and (n, 5, 2), n may be 0."
            )


def make_targets(
    labels: Sequence[Mapping[str, torch.Tensor]],
    anchors: torch.Tensor,
    size_hw: tuple[int, int],
    config: RetinaFaceConfig,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """
    Match all pictures and code the faces of the positive anchors.

    Returns:
        positive (B, A) bool, box targets (P, 4), keypoint targets (P, 10) with NaN where a face has no points; the
        order of P is that of `positive` flattened.
    """
    scale_xy = anchors.new_tensor([size_hw[1], size_hw[0]])
    positive, box_targets, keypoint_targets = [], [], []
    for faces in labels:
        boxes = faces["boxes_xyxy"].to(anchors) * scale_xy.repeat(2)
        points = faces["keypoints_xy"].to(anchors) * scale_xy
        face_of_anchor = match_anchors(boxes, anchors, config.match_threshold, config.claim_threshold)
        chosen = face_of_anchor >= 0
        faces_chosen, anchors_chosen = face_of_anchor[chosen], anchors[chosen]
        positive.append(chosen)
        box_targets.append(encode_boxes(boxes[faces_chosen], anchors_chosen, config.variances))
        keypoint_targets.append(encode_keypoints(points[faces_chosen], anchors_chosen, config.variances))
    return torch.stack(positive), torch.cat(box_targets), torch.cat(keypoint_targets)


# --- models


class RetinaFacePreTrainedModel(FastInferenceMixin, ModelLoadedWhole, ModelPushedWithCode, PreTrainedModel):
    """Weight initialisation and loading, shared by the RetinaFace models."""

    config: RetinaFaceConfig
    config_class = RetinaFaceConfig
    base_model_prefix = "model"
    main_input_name = "pixel_values"
    input_modalities = ["image"]  # noqa: RUF012
    _no_split_modules = ["RetinaFaceSeparableConv", "RetinaFaceBottleneck"]  # noqa: RUF012
    # Trainer takes a forward with **kwargs for one that divides by num_items_in_batch, and scales gradients wrongly.
    accepts_loss_kwargs = False

    def get_input_embeddings(self) -> nn.Module:
        """Return the first convolution."""
        model: Any = self.base_model
        return model.body.stem.convolution

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the first convolution."""
        model: Any = self.base_model
        model.body.stem.convolution = value

    @torch.no_grad()
    def _init_weights(self, module):
        if not isinstance(module, nn.Conv2d):
            super()._init_weights(module)
        elif module.bias is None:
            # fan_in: in a depthwise convolution fan_out counts channels that it does not connect.
            init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
        else:  # the heads: at first, face and background are about equally likely
            init.normal_(module.weight, std=0.01)
            init.zeros_(module.bias)


class RetinaFaceModel(RetinaFacePreTrainedModel):
    """
    Body, feature pyramid and context modules, without heads.

    Args:
        config (`RetinaFaceConfig`): What to build.
    """

    def __init__(self, config: RetinaFaceConfig):
        super().__init__(config)
        channels, eps = config.pyramid_channels, config.batch_norm_eps
        slope = 0.1 if channels <= 64 else 0
        self.body = BODY_CLASSES[config.body](config)
        self.feature_pyramid = RetinaFaceFeaturePyramid(self.body.channels, channels, slope, eps)
        self.context_modules = nn.ModuleList([RetinaFaceContextModule(channels, slope, eps) for _ in range(3)])
        self.post_init()

    @can_return_tuple
    def forward(self, pixel_values: torch.Tensor, **kwargs) -> BackboneOutput:
        """
        Args:
            pixel_values (`torch.Tensor` of shape (B, 3, H, W)): Output of `RetinaFaceImageProcessor`.

        Returns:
            `BackboneOutput`: `feature_maps`, three of shape (B, C, ceil(H/s), ceil(W/s)) with s = 8, 16, 32.

        Raises:
            ValueError: `pixel_values` has another shape.
        """
        if pixel_values.ndim != 4 or pixel_values.shape[1] != 3:
            raise ValueError(
                f"pixel_values has shape {tuple(pixel_values.shape)}; expected (batch, 3, height, width)."
            )
        warn_unrecorded(self, kwargs)
        weight = self.get_input_embeddings().get_parameter("weight")
        pixel_values = pixel_values.to(weight.dtype, memory_format=torch.channels_last)
        pyramid = self.feature_pyramid(self.body(pixel_values))
        maps = tuple(module(features) for module, features in zip(self.context_modules, pyramid, strict=True))
        return BackboneOutput(feature_maps=maps)


class RetinaFaceForFaceDetection(RetinaFacePreTrainedModel):
    """
    RetinaFace with its three heads: face or not, box, five keypoints.

    Args:
        config (`RetinaFaceConfig`): What to build.
    """

    def __init__(self, config: RetinaFaceConfig):
        super().__init__(config)
        anchors_per_cell = [len(sizes) for sizes in config.min_sizes]
        self.model = RetinaFaceModel(config)
        self.class_head = RetinaFaceAnchorHead(config.pyramid_channels, anchors_per_cell, 2)
        self.box_head = RetinaFaceAnchorHead(config.pyramid_channels, anchors_per_cell, 4)
        self.keypoint_head = RetinaFaceAnchorHead(config.pyramid_channels, anchors_per_cell, 10)
        self.post_init()

    @can_return_tuple
    def forward(
        self, pixel_values: torch.Tensor, labels: list[dict[str, torch.Tensor]] | None = None, **kwargs
    ) -> RetinaFaceFaceDetectionOutput:
        """
        Args:
            pixel_values (`torch.Tensor` of shape (B, 3, H, W)): Output of `RetinaFaceImageProcessor`.
            labels (`list` of B dictionaries, *optional*): The faces of each picture, none allowed: `boxes_xyxy` of
                shape (n, 4) and `keypoints_xy` of shape (n, 5, 2), both divided by the width and the height of the
                input (so 0 to 1 inside the picture). NaN among the points of a face means that its points are not
                labelled: it teaches class and box only.

        Returns:
            `RetinaFaceFaceDetectionOutput`

        Raises:
            ValueError: `pixel_values` or `labels` have another form.
        """
        warn_unrecorded(self, kwargs)
        feature_maps = self.model(pixel_values, return_dict=True).feature_maps
        class_logits = self.class_head(feature_maps)
        box_offsets = self.box_head(feature_maps)
        keypoint_offsets = self.keypoint_head(feature_maps)
        height, width = pixel_values.shape[-2:]
        anchors = anchors_for((height, width), self.config, pixel_values.device)

        loss = loss_dict = None
        if labels is not None:
            loss, loss_dict = retinaface_loss(
                class_logits, box_offsets, keypoint_offsets, anchors, (height, width), labels, self.config
            )
        return RetinaFaceFaceDetectionOutput(
            loss=loss,
            class_logits=class_logits,
            box_offsets=box_offsets,
            keypoint_offsets=keypoint_offsets,
            anchors=anchors.expand(pixel_values.shape[0], -1, -1),
            loss_dict=loss_dict,
        )
