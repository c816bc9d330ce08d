"""The original networks, built from pyfacer's and open_clip's code and filled with a source's own weights.

They are what conversions are compared with. mmsegmentation cannot be installed beside a current PyTorch, so its
UperNet head is Transformers' independent port, its parts under mmsegmentation's names.
"""

import importlib
import re
from collections import OrderedDict
from collections.abc import Mapping
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import nn
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from farl_hf.conversion.backbone_keys import HEAD_CHANNELS
from farl_hf.errors import MissingExtraError

# The branch of masked image modelling; OpenAI's sizes and masks, which the constructor makes itself.
_NOT_IN_CLIP = r"visual\.(mask_token|lm_|ln_lm)|(input_resolution|context_length|vocab_size)$|(.*\.)?attn_mask$"

Tensors = Mapping[str, torch.Tensor]


def import_original(module: str) -> ModuleType:
    """A module of facer or open_clip.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"Comparing with the original code needs {module.split('.')[0]}, which cannot be imported ({error}); "
            'install it with pip install "farl-hf[bench,convert]" timm.'
        ) from error


def make_visual_transformer(
    resolution: int,
    width: int = 768,
    depth: int = 12,
    projection: int = 512,
    patch_size: int = 16,
    mim_layers: int = 0,
    vocabulary: int = 8192,
) -> Any:
    """FaRL's vision encoder; with the branch of masked image modelling if `mim_layers` is not 0."""
    mim = SimpleNamespace(ENABLE=True, LAYERS=mim_layers, VOCAB_SIZE=vocabulary)
    visual = import_original("facer.farl.model").VisualTransformer(
        input_resolution=resolution,
        patch_size=patch_size,
        width=width,
        layers=depth,
        heads=width // HEAD_CHANNELS,
        output_dim=projection,
        config=SimpleNamespace(MIM=mim) if mim_layers else None,
    )
    visual.transformer.use_checkpoint = False
    return visual


def make_visual_features(visual: Any, levels: tuple[int, ...] = (3, 5, 7, 11)) -> nn.Module:
    """FaRL's feature extractor with pyramid; its own constructor knows the released sizes only."""
    network = import_original("facer.face_alignment.network.transformers")
    features = network.FaRLVisualFeatures.__new__(network.FaRLVisualFeatures)
    nn.Module.__init__(features)
    features.visual = visual
    features.input_resolution = visual.input_resolution
    features.output_channels = visual.transformer.width
    features.output_indices, features.num_outputs = list(levels), len(levels)
    for name, values in (("image_mean", OPENAI_CLIP_MEAN), ("image_std", OPENAI_CLIP_STD)):
        features.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1))
    features.fpns = network._make_fpns(visual.conv1.weight.shape[-1], features.output_channels)
    return features


class _ConvModule(nn.Module):
    """mmcv's convolution, norm, ReLU, from the port's."""

    def __init__(self, port):
        super().__init__()
        self.conv, self.bn, self.activate = port.conv, nn.SyncBatchNorm(port.conv.out_channels), nn.ReLU()

    def forward(self, x):
        return self.activate(self.bn(self.conv(x)))


def make_upernet_head(num_outputs: int, in_channels: int, channels: int) -> nn.Module:
    """Transformers' UperNet head with mmsegmentation's names: `conv_seg`, `bn`, `psp_modules.0.1.conv` …"""
    from transformers import UperNetConfig
    from transformers.models.upernet.modeling_upernet import UperNetHead

    class UPerHead(UperNetHead):
        @property
        def classifier(self):  # type: ignore[override]  # it is the parent's module, under mmsegmentation's name
            return self.conv_seg  # after a dropout, which does nothing in evaluation

    config = UperNetConfig(hidden_size=channels, pool_scales=[1, 2, 3, 6])
    config.num_labels = num_outputs
    head: Any = UPerHead(config, [in_channels] * 4)
    head.conv_seg = head._modules.pop("classifier")
    head.bottleneck, head.fpn_bottleneck = _ConvModule(head.bottleneck), _ConvModule(head.fpn_bottleneck)
    head.lateral_convs = nn.ModuleList(map(_ConvModule, head.lateral_convs))
    head.fpn_convs = nn.ModuleList(map(_ConvModule, head.fpn_convs))
    for block in head.psp_modules.blocks:
        block.layers[1] = _ConvModule(block.layers[1])
        block.add_module("1", block.layers[1])
    return head


class DenseNetwork(nn.Module):
    """FaRL's network of parsing (`head`) or landmarks (`heatmap_head`).

    From images in [0, 1] to maps of a quarter of their side.
    """

    def __init__(self, backbone: nn.Module, head: nn.Module, head_name: str):
        super().__init__()
        self.backbone = backbone
        self.add_module(head_name, nn.Sequential(OrderedDict(head=head)))  # FaRL's wrapper around mmsegmentation's
        self.head_name = head_name

    def forward(self, image):
        """Return the maps (B, N, H / 4, W / 4)."""
        features, _ = self.backbone(image)
        return getattr(self, self.head_name)(features)


class AttributeNetwork(nn.Module):
    """The attribute network of facer, whose own class moves itself to a GPU when it is made."""

    def __init__(self, backbone: nn.Module, head: nn.Module):
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, image):
        """Return logits (B, L) for normalised images."""
        return self.head(*self.backbone(image))


def make_attribute_network(visual: Any, levels: list[int], num_labels: int) -> AttributeNetwork:
    """The attribute network of facer around a vision encoder."""
    module = import_original("facer.farl.classification")
    del visual.proj, visual.ln_post
    module.add_method(visual, "forward", module.get_clip_encode_func(list(levels)))
    head = module.VITClassificationHeadV0(len(levels), visual.transformer.width, num_labels, norm=True)
    return AttributeNetwork(visual, head)


def _encoder_sizes(tensors: Tensors, prefix: str) -> dict[str, int]:
    width, _, patch_size, _ = tensors[f"{prefix}conv1.weight"].shape
    tokens = tensors[f"{prefix}positional_embedding"].shape[0]
    blocks = {match[1] for name in tensors if (match := re.match(rf"{prefix}transformer\.resblocks\.(\d+)\.", name))}
    sizes = {
        "width": width,
        "patch_size": patch_size,
        "depth": len(blocks),
        "resolution": round((tokens - 1) ** 0.5) * patch_size,
    }
    if f"{prefix}proj" in tensors:
        sizes["projection"] = tensors[f"{prefix}proj"].shape[1]
    return sizes


def _filled(network: nn.Module, tensors: Tensors) -> Any:
    network.load_state_dict({name: value.float() if value.is_floating_point() else value for name, value in
                             tensors.items()}, strict=True, assign=True)  # fmt: skip
    return network.eval()


def build_dense_network(tensors: Tensors, head_name: str, levels: list[int]) -> DenseNetwork:
    """The original network of parsing or landmarks with the weights of a source."""
    visual = make_visual_transformer(**_encoder_sizes(tensors, "backbone.visual."))
    outputs, channels = tensors[f"{head_name}.head.conv_seg.weight"].shape[:2]
    head = make_upernet_head(outputs, visual.transformer.width, channels)
    return _filled(DenseNetwork(make_visual_features(visual, tuple(levels)), head, head_name), tensors)


def build_attribute_network(tensors: Tensors, levels: list[int]) -> AttributeNetwork:
    """The original attribute network with the weights of a source."""
    visual = make_visual_transformer(**_encoder_sizes(tensors, "backbone."))
    return _filled(make_attribute_network(visual, levels, tensors["head.final_fc.weight"].shape[0]), tensors)


def build_detector(tensors: Tensors, body: str) -> Any:
    """The original RetinaFace, as facer uses it, with the weights of a source."""
    module = import_original("facer.face_detection.retinaface")
    settings = {"mobilenet_v1": module.cfg_mnet, "resnet": module.cfg_re50}[body]
    network = module.RetinaFace({**settings, "pretrain": False}, phase="test")
    return _filled(
        network, {name: value for name, value in tensors.items() if not name.startswith(("fc.", "body.fc."))}
    )


def build_two_towers(tensors: Tensors) -> tuple[Any, Any]:
    """FaRL's vision encoder and open_clip's model of images and texts with the weights of a source."""
    visual = make_visual_transformer(**_encoder_sizes(tensors, "visual."))
    plain = {name: value for name, value in tensors.items() if not re.match(_NOT_IN_CLIP, name)}
    vision = {name.removeprefix("visual."): value for name, value in plain.items() if name.startswith("visual.")}
    return _filled(visual, vision), _filled(_make_clip(plain), plain)


def _make_clip(tensors):
    sizes = _encoder_sizes(tensors, "visual.")
    vocabulary, width = tensors["token_embedding.weight"].shape
    blocks = {name.split(".")[2] for name in tensors if name.startswith("transformer.resblocks.")}
    return import_original("open_clip.model").CLIP(
        embed_dim=sizes["projection"],
        vision_cfg={
            "layers": sizes["depth"],
            "width": sizes["width"],
            "patch_size": sizes["patch_size"],
            "image_size": sizes["resolution"],
        },
        text_cfg={
            "context_length": tensors["positional_embedding"].shape[0],
            "vocab_size": vocabulary,
            "width": width,
            "heads": width // HEAD_CHANNELS,
            "layers": len(blocks),
        },
        quick_gelu=True,
    )


def decode_as_in_training(logits: torch.Tensor) -> torch.Tensor:
    """Points (B, N, 2) in [0, 1] of the crop, decoded from maps as the official training code does."""
    return import_original("facer.face_alignment.network.geometry").heatmap2points(logits.sigmoid())


def detect(network: nn.Module, photos: torch.Tensor, threshold: float) -> dict[str, torch.Tensor]:
    """The detections of facer in a batch of uint8 photos."""
    return import_original("facer.face_detection.retinaface").batch_detect(network, photos.clone(), threshold)
