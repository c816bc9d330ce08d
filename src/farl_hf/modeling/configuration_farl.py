"""Configuration of FaRL: image and text encoder of CLIP's shape, and the settings of the three task heads.

Sizes follow FacePerceiver/FaRL `farl/network/farl/model.py`, lines 409-417 (vision), and openai/CLIP ViT-B/16 (text),
whose shape FaRL's text encoder has (FaRL's README, line 35). The
constructors are written out: annotated class fields break silently on older Transformers when the code is loaded from
a repository.
"""

import inspect
import math
from collections.abc import Sequence
from typing import Any

from transformers import AutoConfig, PreTrainedConfig
from transformers.backbone_utils import BackboneConfigMixin
from transformers.utils import logging

from .configuration_checks import (
    check_base_settings,
    check_heads,
    check_numbers,
    check_patches,
    check_settings,
    check_thresholds,
)
from .configuration_face_transformer import FaceTransformerConfig

logger = logging.get_logger(__name__)

# Block outputs used downstream, by depth (FaRL `farl/network/transformers.py`, lines 126-132).
_OFFICIAL_LEVELS = {12: (3, 5, 7, 11), 24: (7, 11, 15, 23), 32: (8, 14, 20, 31)}

# Fields of version 0.1, which saved configurations still have. Their values are constants of the code.
_CONSTANT_FIELDS = {
    "logit_scale_max": math.log(100),
    "itc_weight": 1.0,
    "head_pool_scales": [1, 2, 3, 6],
    "heatmap_loss_weight": 1.0,
    "attribute_dropout": 0.0,
}
# Likewise: weights of losses that pre-training no longer has.
_WORD_FIELDS = ("word_weight", "patch_word_weight", "patchwork_weight")


def _default_levels(num_layers):
    if num_layers in _OFFICIAL_LEVELS:
        return list(_OFFICIAL_LEVELS[num_layers])
    thirds = (num_layers // 3 - 1, num_layers // 2 - 1, 2 * num_layers // 3 - 1, num_layers - 1)
    return sorted({max(level, 0) for level in thirds})


class FaRLTextConfig(PreTrainedConfig):
    """Configuration of the text encoder (openai/CLIP ViT-B/16's by default).

    Args:
        vocab_size (`int`, *optional*, defaults to 49408): Entries of CLIP's byte-pair vocabulary.
        hidden_size (`int`, *optional*, defaults to 512): Width of the encoder.
        intermediate_size (`int`, *optional*, defaults to 2048): Width of the MLPs.
        num_hidden_layers (`int`, *optional*, defaults to 12): Number of blocks.
        num_attention_heads (`int`, *optional*, defaults to 8): Heads per block.
        max_position_embeddings (`int`, *optional*, defaults to 77): Longest text in tokens.
        hidden_act (`str`, *optional*, defaults to `"quick_gelu"`): Activation of the MLPs.
        layer_norm_eps (`float`, *optional*, defaults to 1e-5): Epsilon of the layer norms.
        attention_dropout (`float`, *optional*, defaults to 0.0): Dropout on attention weights.
        initializer_factor (`float`, *optional*, defaults to 1.0): Scales every initial standard deviation.
        pad_token_id (`int`, *optional*, defaults to 49407): Padding id; CLIP pads with the end token.
        bos_token_id (`int`, *optional*, defaults to 49406): Start token.
        eos_token_id (`int`, *optional*, defaults to 49407): End token, whose feature represents the text.
    """

    model_type = "farl_text_model"
    base_config_key = "text_config"

    def __init__(
        self,
        vocab_size: int = 49408,
        hidden_size: int = 512,
        intermediate_size: int = 2048,
        num_hidden_layers: int = 12,
        num_attention_heads: int = 8,
        max_position_embeddings: int = 77,
        hidden_act: str = "quick_gelu",
        layer_norm_eps: float = 1e-5,
        attention_dropout: float = 0.0,
        initializer_factor: float = 1.0,
        pad_token_id: int = 49407,
        bos_token_id: int = 49406,
        eos_token_id: int = 49407,
        **kwargs: Any,
    ):
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.intermediate_size = intermediate_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.max_position_embeddings = max_position_embeddings
        self.hidden_act = hidden_act
        self.layer_norm_eps = layer_norm_eps
        self.attention_dropout = attention_dropout
        self.initializer_factor = initializer_factor
        self.pad_token_id = pad_token_id
        self.bos_token_id = bos_token_id
        self.eos_token_id = eos_token_id
        check_settings(self)
        check_heads(hidden_size, num_attention_heads)
        check_base_settings(kwargs)
        super().__init__(**kwargs)


class FaRLVisionConfig(BackboneConfigMixin, PreTrainedConfig):
    """Configuration of the vision encoder, and of [`FaRLBackbone`].

    Args:
        hidden_size (`int`, *optional*, defaults to 768): Width of the encoder.
        intermediate_size (`int`, *optional*, defaults to 3072): Width of the MLPs.
        num_hidden_layers (`int`, *optional*, defaults to 12): Number of blocks.
        num_attention_heads (`int`, *optional*, defaults to 12): Heads per block.
        num_channels (`int`, *optional*, defaults to 3): Channels of the image.
        image_size (`int`, *optional*, defaults to 224): Side, in pixels, for which positions are stored; other sizes
            interpolate them.
        patch_size (`int`, *optional*, defaults to 16): Side of a patch in pixels.
        hidden_act (`str`, *optional*, defaults to `"quick_gelu"`): Activation of the MLPs.
        layer_norm_eps (`float`, *optional*, defaults to 1e-5): Epsilon of the layer norms.
        attention_dropout (`float`, *optional*, defaults to 0.0): Dropout on attention weights.
        drop_path_rate (`float`, *optional*, defaults to 0.0): Stochastic depth, growing linearly from 0.
        initializer_range (`float`, *optional*, defaults to 0.02): Truncated-normal deviation of linear and convolution
            weights.
        initializer_factor (`float`, *optional*, defaults to 1.0): Scales every initial standard deviation.
        out_indices (`list[int]`, *optional*): Blocks (0-based) whose outputs the backbone returns; the paper's levels
            by default, {3, 5, 7, 11} for 12 blocks.
        out_features (`list[str]`, *optional*): The same by name, `"block3"`.
        reshape_hidden_states (`bool`, *optional*, defaults to `True`): Whether the backbone returns maps; else it
            returns tokens, which DPT's neck reads.
    """

    model_type = "farl_vision_model"
    base_config_key = "vision_config"

    def __init__(
        self,
        hidden_size: int = 768,
        intermediate_size: int = 3072,
        num_hidden_layers: int = 12,
        num_attention_heads: int = 12,
        num_channels: int = 3,
        image_size: int = 224,
        patch_size: int = 16,
        hidden_act: str = "quick_gelu",
        layer_norm_eps: float = 1e-5,
        attention_dropout: float = 0.0,
        drop_path_rate: float = 0.0,
        initializer_range: float = 0.02,
        initializer_factor: float = 1.0,
        out_indices: list[int] | None = None,
        out_features: list[str] | None = None,
        reshape_hidden_states: bool = True,
        **kwargs: Any,
    ):
        self.hidden_size = hidden_size
        self.intermediate_size = intermediate_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.num_channels = num_channels
        self.image_size = image_size
        self.patch_size = patch_size
        self.hidden_act = hidden_act
        self.layer_norm_eps = layer_norm_eps
        self.attention_dropout = attention_dropout
        self.drop_path_rate = drop_path_rate
        self.initializer_range = initializer_range
        self.initializer_factor = initializer_factor
        self.reshape_hidden_states = reshape_hidden_states
        check_settings(self)
        check_heads(hidden_size, num_attention_heads)
        check_patches(image_size, patch_size)
        check_base_settings(kwargs)
        if out_indices is not None:
            check_numbers("out_indices", out_indices, -num_hidden_layers, num_hidden_layers - 1, whole=True, count=0)
        kwargs.pop("stage_names", None)
        super().__init__(**kwargs)
        self.stage_names = [f"block{index}" for index in range(num_hidden_layers)]
        if out_indices is None and out_features is None:
            out_indices = _default_levels(num_hidden_layers)
        try:
            self.set_output_features_output_indices(out_features=out_features, out_indices=out_indices)
        except (ValueError, TypeError) as error:
            raise ValueError(f"The levels of the backbone cannot be used: {error}") from error


_OF_LABELS = ("label_weights", "attribute_thresholds")  # settings that new labels make void


def _numbered_labels(count):
    """Return the labels of a configuration that names none."""
    return {index: f"LABEL_{index}" for index in range(count)}


def _ordered(id2label):
    """Return the labels in the order of their ids, which JSON turns into texts."""
    return [id2label[index] for index in sorted(id2label, key=int)]


def _of_known_labels(settings, labels):
    """Return loss weights and thresholds that fit the labels: a program may have renamed them before it saved."""
    weights, thresholds = settings.get("label_weights"), settings.get("attribute_thresholds")
    fitting: dict[str, Any] = {}
    if isinstance(weights, list | tuple) and len(weights) != len(labels):
        logger.warning(f"label_weights of {len(weights)} classes are left out: the model has {len(labels)} labels.")
        fitting["label_weights"] = None
    if isinstance(thresholds, dict) and not thresholds.keys() <= set(labels):
        unknown = ", ".join(map(repr, sorted(thresholds.keys() - set(labels), key=str)))
        logger.warning(f"attribute_thresholds of {unknown} are left out: the model has no such labels.")
        fitting["attribute_thresholds"] = {name: thresholds[name] for name in thresholds if name in labels} or None
    return fitting


class FaRLConfig(PreTrainedConfig):
    """Configuration of [`FaRLModel`], of [`FaRLForPreTraining`] and [`FaRLForMaskedImageModeling`], and of the heads
    [`FaRLForFaceParsing`], [`FaRLForLandmarks`] and [`FaRLForAttributes`], which use the vision encoder only.

    Args:
        text_config (`dict` or [`FaRLTextConfig`], *optional*): Text encoder.
        vision_config (`dict` or [`FaRLVisionConfig`], *optional*): Vision encoder.
        projection_dim (`int`, *optional*, defaults to 512): Size of the shared image-text space.
        logit_scale_init_value (`float`, *optional*, defaults to 2.6592): Initial logarithm of the logit scale,
            ln(1 / 0.07) as in openai/CLIP `clip/model.py`, line 295.
        mim_weight (`float`, *optional*, defaults to 1.0): Weight of the loss of masked image modelling; with 0 its
            branch is not built.
        mim_num_hidden_layers (`int`, *optional*, defaults to 1): Blocks of that branch after the shared encoder, 1
            in the released checkpoints; with 0 its classifier reads the encoder's last block.
        mim_vocab_size (`int`, *optional*, defaults to 8192): Visual tokens that the branch predicts, 8,192 in the
            released checkpoints.
        initializer_factor (`float`, *optional*, defaults to 1.0): Scales every initial standard deviation.
        feature_levels (`list[int]`, *optional*): Blocks (0-based) that feed a head; `vision_config.out_indices` by
            default; of a `backbone_config`, those after a third, a half, two thirds and all of its blocks. A block may
            be repeated (supplement section 3 repeats one level four times).
        head_channels (`int`, *optional*, defaults to 768): Width of the UperNet head.
        head_dropout (`float`, *optional*, defaults to 0.1): Channel dropout before its classifier.
        output_stride (`int`, *optional*, defaults to 4): Pixels between two cells of the dense heads' scores, 4 in the
            paper; 2 suits patches of 8 pixels and shows thinner regions.
        label_weights (`list[float]`, *optional*): Weight of each class in the parsing loss; equal by default, as in
            the official code (`farl/experiments/face_parsing/task.py`, lines 69-74).
        attribute_thresholds (`dict[str, float]`, *optional*): Probability above which an attribute is said to be
            present, by its label; 0.5 for labels that are not listed.
        heatmap_size (`int`, *optional*, defaults to 128): Side of the landmark target maps (supplement, section 6).
        heatmap_radius (`float`, *optional*, defaults to 5.0): Radius R of a target in that map; its sigma is R / 4
            (`trainers/ibug300w_farl.yaml`, line 80; `p2i_ops/p2i_max.h`, line 48).
        point_loss_weight (`float`, *optional*, defaults to 1.0): Weight of the point distance loss.
        backbone_config (`dict` or `PreTrainedConfig`, *optional*): Encoder under the heads instead of FaRL's vision
            encoder: `{"model_type": "timm_wrapper", "architecture": …, "model_args": {…}}` for a ViT, DeiT or BEiT of
            timm, `{"model_type": "face_transformer"}`, or the configuration of a plain ViT of Transformers.
    """

    model_type = "farl"
    # The name in version 0.1, and what `AutoBackbone` calls the levels.
    attribute_map = {"score_stride": "output_stride", "out_indices": "feature_levels"}  # noqa: RUF012
    sub_configs_defaults = {"text_config": FaRLTextConfig, "vision_config": FaRLVisionConfig}  # type: ignore[dict-item]  # noqa: RUF012 (Transformers wraps the classes)
    # A list, because Trainer adds one to it. Besides nested outputs: what has no row per image cannot be gathered.
    keys_to_ignore_at_inference = [  # noqa: RUF012
        *("text_model_output", "vision_model_output", "hidden_states", "attentions"),
        *("itc_loss", "mim_loss", "mim_logits", "logit_scale"),
    ]

    def __init__(
        self,
        text_config: dict[str, Any] | FaRLTextConfig | None = None,
        vision_config: dict[str, Any] | FaRLVisionConfig | None = None,
        projection_dim: int = 512,
        logit_scale_init_value: float = 2.6592,
        mim_weight: float = 1.0,
        mim_num_hidden_layers: int = 1,
        mim_vocab_size: int = 8192,
        initializer_factor: float = 1.0,
        feature_levels: Sequence[int] | None = None,
        head_channels: int = 768,
        head_dropout: float = 0.1,
        output_stride: int = 4,
        label_weights: Sequence[float] | None = None,
        attribute_thresholds: dict[str, float] | None = None,
        heatmap_size: int = 128,
        heatmap_radius: float = 5.0,
        point_loss_weight: float = 1.0,
        backbone_config: dict[str, Any] | PreTrainedConfig | None = None,
        **kwargs: Any,
    ):
        self.text_config = _as_config("text_config", text_config, FaRLTextConfig)
        self.vision_config = _as_config("vision_config", vision_config, FaRLVisionConfig)
        self.backbone_config = _as_backbone_config(backbone_config)
        self.projection_dim = projection_dim
        self.logit_scale_init_value = logit_scale_init_value
        self.mim_weight = mim_weight
        self.mim_num_hidden_layers = mim_num_hidden_layers
        self.mim_vocab_size = mim_vocab_size
        self.initializer_factor = initializer_factor
        self.feature_levels = self._checked_levels(feature_levels)
        self.head_channels = head_channels
        self.head_dropout = head_dropout
        self.output_stride = output_stride
        self.label_weights = label_weights
        self.attribute_thresholds = attribute_thresholds
        self.heatmap_size = heatmap_size
        self.heatmap_radius = heatmap_radius
        self.point_loss_weight = point_loss_weight
        check_settings(self)
        check_base_settings(kwargs)
        super().__init__(**_without_former_fields(kwargs))
        # A file whose keys were sorted as text has "10" before "2"; readers take the values for the order of outputs.
        names: Any = self.id2label
        self.id2label = dict(sorted(names.items())) if names else names
        self._check_what_belongs_to_labels()

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """As Transformers' own, without loss weights and thresholds of labels that the model does not have."""
        check_base_settings(config_dict)
        check_base_settings(
            {name: kwargs[name] for name in ("id2label", "num_labels") if kwargs.get(name) is not None}
        )
        own = _ordered(config_dict.get("id2label") or _numbered_labels(config_dict.get("num_labels") or 2))
        given, count = kwargs.get("id2label"), kwargs.get("num_labels")
        if (given is not None and _ordered(given) != own) or (given is None and count not in (None, len(own))):
            config_dict = config_dict | dict.fromkeys(_OF_LABELS)
        else:
            config_dict = config_dict | {name: None for name in _OF_LABELS if name in kwargs}
            config_dict = config_dict | _of_known_labels(config_dict, own)
        made = super().from_dict(config_dict, **kwargs)
        config = made[0] if isinstance(made, tuple) else made
        # Transformers sets `kwargs` after the construction, which checks this class's own settings and no others.
        check_settings(config, names=kwargs.keys() & inspect.signature(cls.__init__).parameters.keys())
        config._check_what_belongs_to_labels()
        return made

    def _check_what_belongs_to_labels(self):
        if self.id2label is None:
            return
        if self.label_weights is not None:
            check_numbers("label_weights", self.label_weights, 0, 1e6, count=self.num_labels)
        check_thresholds(self.attribute_thresholds, self.id2label.values())

    @property
    def input_side(self) -> int:
        """Side in pixels of the pictures that the encoder was trained on."""
        if self.backbone_config is None:
            return self.vision_config.image_size
        timm_settings = getattr(self.backbone_config, "model_args", None) or {}
        return getattr(self.backbone_config, "image_size", timm_settings.get("img_size", 224))

    @property
    def hidden_size(self) -> int:
        """Width of the vision encoder."""
        return self._encoder.hidden_size

    @property
    def patch_size(self) -> int:
        """Side of the vision encoder's patches in pixels."""
        return self._encoder.patch_size

    @property
    def reshape_hidden_states(self) -> bool:
        """See [`FaRLVisionConfig`]."""
        return self.vision_config.reshape_hidden_states

    @reshape_hidden_states.setter
    def reshape_hidden_states(self, value: bool) -> None:
        self.vision_config.reshape_hidden_states = value

    @property
    def _encoder(self):
        return self.vision_config if self.backbone_config is None else self.backbone_config

    def _checked_levels(self, levels):
        if self.backbone_config is None:
            depth = self.vision_config.num_hidden_layers
            levels = _four(_from_the_start(self.vision_config.out_indices, depth)) if levels is None else levels
            return _fitting_levels(levels, depth)
        depth = getattr(self.backbone_config, "num_hidden_layers", None)  # unknown for timm until its model is built
        return levels if depth is None else _fitting_levels(levels, depth)

    def settle_levels(self, depth: int) -> None:
        """Choose levels for a backbone of so many blocks, if none are given; a ValueError if it lacks one of them."""
        # `AutoBackbone.from_pretrained(…, out_indices=[-1])` sets them after the construction.
        levels = self.feature_levels and _from_the_start(self.feature_levels, depth)
        self.feature_levels = _fitting_levels(levels, depth)


def _without_former_fields(settings):
    """Return the settings without fields of version 0.1; a ValueError if a constant had another value."""
    settings = dict(settings)
    for name, only_value in _CONSTANT_FIELDS.items():
        value = settings.pop(name, only_value)
        if (list(value) if isinstance(value, tuple) else value) != only_value:
            raise ValueError(f"{name}={value} is not supported: the only value of {name} is {only_value}. Remove it.")
    word_fields = [name for name in _WORD_FIELDS if settings.pop(name, None) is not None]
    if word_fields:
        logger.info(f"{', '.join(word_fields)}: ignored. Pre-training has no loss of words; word_head is not loaded.")
    return settings


def _fitting_levels(levels, depth):
    levels = _four(_default_levels(depth)) if levels is None else levels
    check_numbers("feature_levels", levels, -(2**10), 2**10, whole=True, count=0)
    levels = list(levels)
    if any(not 0 <= level < depth for level in levels):
        raise ValueError(f"feature_levels={levels} must lie in 0..{depth - 1}, the blocks of the vision encoder.")
    return levels


def _from_the_start(indices, depth):
    """Indices of blocks; negative ones, which backbones allow, are counted from the last block."""
    return [index + depth if -depth <= index < 0 else index for index in indices]


def _four(levels):
    """The pyramid takes four maps; an encoder of fewer than four blocks repeats its last one."""
    return [*levels, *[levels[-1]] * (4 - len(levels))]


def _as_backbone_config(value):
    if value is None or isinstance(value, PreTrainedConfig):
        return value
    settings = dict(value) if isinstance(value, dict) else {}
    model_type = settings.pop("model_type", None)
    if not isinstance(model_type, str):
        raise ValueError(
            f"backbone_config={str(value)[:100]} lacks model_type, such as 'timm_wrapper' or 'face_transformer'."
        )
    if model_type == FaceTransformerConfig.model_type:  # not known to AutoConfig where this file is shipped alone
        return FaceTransformerConfig(**settings)
    try:
        return AutoConfig.for_model(model_type, **settings)
    except (TypeError, AttributeError, KeyError) as error:
        raise ValueError(f"backbone_config={str(value)[:100]} cannot be used: {error}") from error


def _as_config(name, value, config_class):
    if isinstance(value, dict | None):
        return config_class(**(value or {}))
    if not isinstance(value, PreTrainedConfig):
        raise ValueError(f"{name}={str(value)[:100]!r} must be the settings of a {config_class.__name__}.")
    return value
