"""The known kinds of source: signature, renaming of tensors, and model class.

Configurations follow from the shapes of the converted weights. Where shapes do not decide, CLIP's values are used:
heads of 64 channels, QuickGELU, the last two entries of the vocabulary as start and end token. The `config.json` of a
CLIP folder overrides these.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from farl_hf.conversion.backbone_keys import (
    BEIT_KEYS,
    CLIP_KEYS,
    FACE_TRANSFORMER_KEYS,
    HEAD_CHANNELS,
    HF_CLIP_KEYS,
    MOCO_KEYS,
    TIMM_KEYS,
    beit_config,
    count_numbered,
    deit_config,
    face_transformer_config,
    has_fixed_positions,
    required_tensor,
    square_side,
    vit_config,
)
from farl_hf.conversion.head_keys import (
    ATTRIBUTE_KEYS,
    DENSE_KEYS,
    DETECTOR_BODY_KEYS,
    RETINAFACE_KEYS,
    place_folded_convolutions,
)
from farl_hf.conversion.key_rules import KeyMap, apply_key_rules, name_some
from farl_hf.errors import ConversionError
from farl_hf.modeling import FaRLConfig, RetinaFaceConfig

_MOBILENET_STEM = 32  # channels at full width
CLIP_OF_TRANSFORMERS = (
    "vision_model.embeddings.patch_embedding.weight",
    "text_model.embeddings.token_embedding.weight",
)
_FROM_CLIP_FOLDER = ("num_attention_heads", "hidden_act", "layer_norm_eps", "attention_dropout")

Tensors = Mapping[str, torch.Tensor]


def _shape(tensors: Tensors, name: str) -> tuple[int, ...]:
    return tuple(required_tensor(tensors, name).shape)


def _num_blocks(tensors: Tensors, prefix: str) -> int:
    return count_numbered(tensors, rf"{re.escape(prefix)}\.(\d+)\.")


def _encoder_sizes(tensors: Tensors, encoder: str, width: int) -> dict[str, int]:
    if width % HEAD_CHANNELS:
        raise ConversionError(f"The {encoder} is {width} wide; CLIP's widths are multiples of {HEAD_CHANNELS}.")
    return {
        "hidden_size": width,
        "intermediate_size": _shape(tensors, f"{encoder}.encoder.layers.0.mlp.fc1.weight")[0],
        "num_hidden_layers": _num_blocks(tensors, f"{encoder}.encoder.layers"),
        "num_attention_heads": width // HEAD_CHANNELS,
    }


def _vision_sizes(tensors: Tensors) -> dict[str, int]:
    width, channels, patch, _ = _shape(tensors, "vision_model.embeddings.patch_embedding.weight")
    tokens = _shape(tensors, "vision_model.embeddings.position_embedding.weight")[0]
    side = square_side(tokens - 1, "positions of patches")
    sizes = _encoder_sizes(tensors, "vision_model", width)
    return {**sizes, "num_channels": channels, "patch_size": patch, "image_size": side * patch}


def _text_sizes(tensors: Tensors) -> dict[str, int]:
    vocabulary, width = _shape(tensors, "text_model.embeddings.token_embedding.weight")
    return {
        **_encoder_sizes(tensors, "text_model", width),
        "vocab_size": vocabulary,
        "max_position_embeddings": _shape(tensors, "text_model.embeddings.position_embedding.weight")[0],
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
        "pad_token_id": vocabulary - 1,
    }


def _mim_sizes(tensors: Tensors) -> dict[str, Any]:
    """Sizes of the branch of masked image modelling; empty without one, so that the defaults hold."""
    if "mim_head.weight" not in tensors:
        return {}
    return {
        "mim_num_hidden_layers": _num_blocks(tensors, "mim_encoder.layers"),
        "mim_vocab_size": _shape(tensors, "mim_head.weight")[0],
    }


def _of_folder(settings: Mapping[str, Any], name: str) -> dict[str, Any]:
    given = settings.get(name) or {}
    return {key: given[key] for key in _FROM_CLIP_FOLDER if key in given}


def image_text_config(tensors: Tensors, settings: Mapping[str, Any]):
    """`FaRLConfig` of the vision and the text encoder; `settings` is the `config.json` of a CLIP folder, or empty."""
    return FaRLConfig(
        vision_config=_vision_sizes(tensors) | _of_folder(settings, "vision_config"),
        text_config=_text_sizes(tensors) | _of_folder(settings, "text_config"),
        projection_dim=_shape(tensors, "visual_projection.weight")[0],
        **_mim_sizes(tensors),
    )


def face_task_config(tensors: Tensors, settings: Mapping[str, Any]):
    """`FaRLConfig` of a model with a head; class names are numbers until labels are known."""
    vision = _vision_sizes(tensors)
    config: dict[str, Any] = {"vision_config": vision, "num_labels": _shape(tensors, "head.classifier.weight")[0]}
    if "head.mixture" in tensors:
        config["feature_levels"] = _attribute_levels(_shape(tensors, "head.mixture")[0], vision["num_hidden_layers"])
    else:
        config["head_channels"] = _shape(tensors, "head.classifier.weight")[1]
    return FaRLConfig(**config)


def _attribute_levels(vectors: int, depth: int) -> list[int] | None:
    """The blocks, 3 vectors each: the last one, all of them, or the four of the dense heads.

    The released model reads the last (facer/face_attribute/farl.py, line 36); all are the default of its code
    (facer/farl/classification.py, line 131).
    """
    known = {1: [depth - 1], depth: list(range(depth)), 4: None}
    levels, rest = divmod(vectors, 3)
    if rest or levels not in known:
        raise ConversionError(
            f"The attribute head mixes {vectors} vectors; expected three per level, for 1, 4 or {depth} levels."
        )
    return known[levels]


def detection_config(tensors: Tensors, settings: Mapping[str, Any]):
    """`RetinaFaceConfig` of one of the two published bodies."""
    is_resnet = any(".shortcut." in name for name in tensors)
    return RetinaFaceConfig(body="resnet" if is_resnet else "mobilenet_v1")


def graph_detection_config(tensors: Tensors, settings: Mapping[str, Any]):
    """`RetinaFaceConfig` of a MobileNetV1 body whose batch norms are folded: an epsilon of 0 lets them pass."""
    return RetinaFaceConfig(
        width_multiplier=_shape(tensors, "model.body.stem.convolution.weight")[0] / _MOBILENET_STEM,
        pyramid_channels=_shape(tensors, "model.feature_pyramid.laterals.0.convolution.weight")[0],
        batch_norm_eps=0.0,
    )


@dataclass(frozen=True)
class ModelKind:
    """One kind of source.

    Args:
        name (`str`): Key of the tables of labels, processors and cards.
        described (`str`): What messages call it.
        signature (`tuple[str, ...]`): Names of source tensors; a source that has all of them is of this kind.
        model_class (`str`): Name in `farl_hf.modeling`.
        make_config (`Callable`): Converted tensors, `config.json` of a CLIP folder -> configuration.
        keys (`KeyMap`, *optional*): New names of its tensors; `None` for a graph, whose tensors have no names.
        backbone (`str`): Row of `farl_hf.labels.backbones`, which holds the mean and standard deviation of its input.
        part (`str`): How the names of the model's tensors begin that it has; all, by default.
    """

    name: str
    described: str
    signature: tuple[str, ...]
    model_class: str
    make_config: Callable[[Tensors, Mapping[str, Any]], Any]
    keys: KeyMap | None
    backbone: str = "farl"
    part: str = ""

    def convert(self, tensors: Tensors) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
        """Rename the source tensors. Return them, and the reason for each dropped tensor.

        Raises:
            ConversionError: A tensor has no place in the model.
        """
        if self.keys is None:
            return place_folded_convolutions(tensors, self.described), {}
        return apply_key_rules(tensors, self.keys, self.described)


def _encoder(backbone, described, signature, make_config, keys):
    return ModelKind("encoder", described, signature, "FaRLFeatureMaps", make_config, keys, backbone)


MODEL_KINDS = (
    ModelKind(
        "two_towers",
        "a FaRL backbone (or an OpenAI CLIP model)",
        ("visual.conv1.weight", "token_embedding.weight"),
        "FaRLModel",
        image_text_config,
        CLIP_KEYS,
    ),
    ModelKind(
        "two_towers",
        "a CLIP model of Transformers",
        CLIP_OF_TRANSFORMERS,
        "FaRLModel",
        image_text_config,
        HF_CLIP_KEYS,
    ),
    ModelKind(
        "parsing",
        "a face parsing model",
        ("backbone.visual.conv1.weight", "head.head.conv_seg.weight"),
        "FaRLForFaceParsing",
        face_task_config,
        DENSE_KEYS,
    ),
    ModelKind(
        "landmarks",
        "a landmark model",
        ("backbone.visual.conv1.weight", "heatmap_head.head.conv_seg.weight"),
        "FaRLForLandmarks",
        face_task_config,
        DENSE_KEYS,
    ),
    ModelKind(
        "attributes",
        "an attribute model",
        ("backbone.conv1.weight", "head.final_fc.weight"),
        "FaRLForAttributes",
        face_task_config,
        ATTRIBUTE_KEYS,
    ),
    ModelKind(
        "detection",
        "a RetinaFace detector",
        ("BboxHead.0.conv1x1.weight", "ClassHead.0.conv1x1.weight"),
        "RetinaFaceForFaceDetection",
        detection_config,
        RETINAFACE_KEYS,
    ),
    ModelKind(
        "detection",
        "a RetinaFace graph in ONNX with a MobileNetV1 body",
        ("convolutions.0.weight", "convolutions.0.bias"),
        "RetinaFaceForFaceDetection",
        graph_detection_config,
        None,
    ),
    ModelKind(
        "detector_body",
        "the body of a RetinaFace detector, trained on ImageNet",
        ("stage1.0.0.weight", "stage3.1.4.weight", "fc.weight"),
        "RetinaFaceModel",
        detection_config,
        DETECTOR_BODY_KEYS,
        part="body.",
    ),
    _encoder(
        "face_transformer",
        "a Face Transformer",
        ("patch_to_embedding.weight", "transformer.layers.0.0.fn.fn.to_qkv.weight"),
        face_transformer_config,
        FACE_TRANSFORMER_KEYS,
    ),
    _encoder(
        "mocov3",
        "a MoCo v3 checkpoint",
        ("module.base_encoder.cls_token", "module.base_encoder.pos_embed"),
        vit_config,
        MOCO_KEYS,
    ),
    _encoder(
        "beit",
        "a BEiT",
        ("cls_token", "patch_embed.proj.weight", "rel_pos_bias.relative_position_bias_table"),
        beit_config,
        BEIT_KEYS,
    ),
    _encoder(
        "beit",
        "a fine-tuned BEiT",
        ("cls_token", "patch_embed.proj.weight", "blocks.0.attn.relative_position_bias_table"),
        beit_config,
        BEIT_KEYS,
    ),
    _encoder(
        "deit",
        "a distilled DeiT",
        ("dist_token", "pos_embed", "patch_embed.proj.weight"),
        deit_config,
        TIMM_KEYS,
    ),
    _encoder(
        "vit",
        "a ViT of timm or AugReg",
        ("cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight"),
        vit_config,
        TIMM_KEYS,
    ),
)


def recognise_kind(names: Iterable[str]) -> tuple[ModelKind, str]:
    """
    Find the kind of source that has these tensors, and the prefix of its names.

    Wrappers prefix all names: `module.` for data-parallel training, `net.` for an exported model.

    Raises:
        ConversionError: No kind matches; the message lists the first few tensors and the known kinds.
    """
    names, prefix = set(names), ""
    while prefix is not None:
        for kind in MODEL_KINDS:
            if names.issuperset(prefix + name for name in kind.signature):
                return kind, prefix
        prefix = _longer_prefix(names, prefix)
    known = ", ".join(dict.fromkeys(kind.described for kind in MODEL_KINDS))
    raise ConversionError(f"No known model has the tensors {name_some(sorted(names))}. Known are: {known}.")


def with_trained_kind(kind: ModelKind, tensors: Mapping[str, torch.Tensor]) -> ModelKind:
    """The kind with the right backbone: MoCo v3 without its prefix differs from a ViT by its position values only."""
    is_moco = kind.backbone == "vit" and has_fixed_positions(tensors)
    return replace(kind, backbone="mocov3", described="a converted MoCo v3") if is_moco else kind


def _longer_prefix(names, prefix):
    """The prefix with one more part, up to the next dot, if all names share it; else `None`."""
    parts = {name[len(prefix) :].partition(".")[:2] for name in names}
    if len(parts) != 1:
        return None
    part, dot = parts.pop()
    return f"{prefix}{part}." if dot else None
