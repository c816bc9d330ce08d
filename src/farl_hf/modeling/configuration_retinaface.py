"""Configuration of the RetinaFace face detector (Deng et al., CVPR 2020), as built by biubug6/Pytorch_Retinaface."""

from collections.abc import Sequence
from typing import Any

from transformers import PretrainedConfig

from .configuration_checks import check_base_settings, check_numbers, check_settings

# Per body: default width multiplier and default channels of the feature pyramid, as in the published weights
# (Pytorch_Retinaface `models/net.py`, lines 105-124; `data/config.py`, lines 20 and 40).
BODY_DEFAULTS = {"mobilenet_v1": (0.25, 64), "resnet": (1.0, 256)}


class RetinaFaceConfig(PretrainedConfig):
    r"""
    Everything that defines a RetinaFace network, its anchors and its loss.

    The defaults describe the published MobileNetV1-0.25 detector (0.43 million parameters); `body="resnet"` alone
    describes the published ResNet-50 one.

    Args:
        body (`str`, defaults to `"mobilenet_v1"`): `"mobilenet_v1"` or `"resnet"` (bottleneck blocks).
        width_multiplier (`float`, *optional*): Factor on the channels of the full-width body (MobileNetV1: 32 in the
            stem, ResNet: 64). Channels are rounded to multiples of 8, at least 8. `None` is 0.25 for MobileNetV1 and
            1.0 for ResNet.
        resnet_depths (`tuple[int, int, int, int]`): Bottleneck blocks per stage; the default is ResNet-50.
        pyramid_channels (`int`, *optional*): Channels of feature pyramid and context modules, a multiple of 4. `None`
            is 64 for MobileNetV1 and 256 for ResNet. Up to 64 channels use LeakyReLU with slope 0.1, more use ReLU
            (Pytorch_Retinaface `models/net.py`, lines 44-46).
        steps (`tuple[int, int, int]`): Input pixels between neighbouring anchors on each pyramid level. The bodies
            have these strides, so only the default fits them.
        min_sizes (`tuple[tuple[int, ...], ...]`): Sides of the square anchors of every level, input pixels.
        variances (`tuple[float, float]`): Divisors of the coded offsets of centres and of log sizes.
        match_threshold (`float`): An anchor that overlaps a face by this intersection over union is positive.
        claim_threshold (`float`): A face whose best anchor overlaps at least this much claims that anchor.
        negative_ratio (`int`): Hardest background anchors used per positive anchor of a picture.
        box_loss_weight, class_loss_weight, keypoint_loss_weight (`float`): Weights of the three losses.
        batch_norm_eps (`float`): Epsilon of every batch normalisation. 0 is for norms that are folded into their
            convolutions: they only add a bias, and training leaves their statistics alone.

    Raises:
        ValueError: An unknown body, or numbers that do not describe a network.

    Example:
        ```python
        >>> from farl_hf.modeling.configuration_retinaface import RetinaFaceConfig

        >>> RetinaFaceConfig().pyramid_channels, RetinaFaceConfig(body="resnet").pyramid_channels
        (64, 256)

        ```
    """

    model_type = "retinaface"
    # A list, because Trainer adds one to it. Anchors are constants: gathering them would only cost memory.
    keys_to_ignore_at_inference = ["anchors", "loss_dict"]  # noqa: RUF012

    def __init__(
        self,
        body: str = "mobilenet_v1",
        width_multiplier: float | None = None,
        resnet_depths: Sequence[int] = (3, 4, 6, 3),
        pyramid_channels: int | None = None,
        steps: Sequence[int] = (8, 16, 32),
        min_sizes: Sequence[Sequence[int]] = ((16, 32), (64, 128), (256, 512)),
        variances: Sequence[float] = (0.1, 0.2),
        match_threshold: float = 0.35,
        claim_threshold: float = 0.2,
        negative_ratio: int = 7,
        box_loss_weight: float = 2.0,
        class_loss_weight: float = 1.0,
        keypoint_loss_weight: float = 1.0,
        batch_norm_eps: float = 1e-5,
        **kwargs: Any,
    ):
        if not isinstance(body, str) or body not in BODY_DEFAULTS:
            raise ValueError(f"body is {body!r}; expected one of {', '.join(map(repr, BODY_DEFAULTS))}.")
        default_width, default_channels = BODY_DEFAULTS[body]
        self.body = body
        self.width_multiplier = default_width if width_multiplier is None else width_multiplier
        self.resnet_depths = _as_list(resnet_depths)
        self.pyramid_channels = default_channels if pyramid_channels is None else pyramid_channels
        self.steps = _as_list(steps)
        self.min_sizes = [_as_list(sizes) for sizes in min_sizes] if isinstance(min_sizes, list | tuple) else min_sizes
        self.variances = _as_list(variances)
        self.match_threshold = match_threshold
        self.claim_threshold = claim_threshold
        self.negative_ratio = negative_ratio
        self.box_loss_weight = box_loss_weight
        self.class_loss_weight = class_loss_weight
        self.keypoint_loss_weight = keypoint_loss_weight
        self.batch_norm_eps = batch_norm_eps
        self._check_numbers()
        check_base_settings(kwargs)
        kwargs["id2label"] = kwargs.get("id2label") or {0: "background", 1: "face"}
        kwargs.setdefault("label2id", {name: index for index, name in kwargs["id2label"].items()})
        super().__init__(**kwargs)

    def _check_numbers(self):
        check_settings(self)
        if self.pyramid_channels % 4:
            raise ValueError(f"pyramid_channels is {self.pyramid_channels}; expected a positive multiple of 4.")
        if self.steps != [8, 16, 32]:
            raise ValueError(f"steps is {self.steps}; both bodies have strides [8, 16, 32].")
        if not isinstance(self.min_sizes, list | tuple) or len(self.min_sizes) != 3:
            raise ValueError(f"min_sizes is {self.min_sizes}; expected three non-empty groups of anchor sides.")
        for sizes in self.min_sizes:
            check_numbers("min_sizes", sizes, 1e-3, 2**16, count=0)
        check_numbers("resnet_depths", self.resnet_depths, 1, 256, whole=True, count=4)
        check_numbers("variances", self.variances, 1e-9, 1e3, count=2)


def _as_list(values):
    """JSON has no tuples."""
    return list(values) if isinstance(values, tuple) else values
