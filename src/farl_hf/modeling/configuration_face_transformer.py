"""Configuration of Face Transformer, a ViT for face recognition (Zhong and Deng, arXiv 2103.14803)."""

from typing import Any

from transformers import PreTrainedConfig

from .configuration_checks import check_base_settings, check_patches, check_settings


class FaceTransformerConfig(PreTrainedConfig):
    """Configuration of [`FaceTransformerModel`]; the defaults are ViT-P8S8.

    Source: zhongyy/Face-Transformer `train.py`, lines 138-150; `copy-to-vit_pytorch-path/vit_face.py`, line 339.

    Args:
        hidden_size (`int`, *optional*, defaults to 512): Width.
        intermediate_size (`int`, *optional*, defaults to 2048): Width of the MLPs.
        num_hidden_layers (`int`, *optional*, defaults to 20): Number of blocks.
        num_attention_heads (`int`, *optional*, defaults to 8): Heads per block.
        head_dim (`int`, *optional*, defaults to 64): Channels of a head.
        num_channels (`int`, *optional*, defaults to 3): Channels of the image.
        image_size (`int`, *optional*, defaults to 112): Side, in pixels, for which positions are stored.
        patch_size (`int`, *optional*, defaults to 8): Side of a patch in pixels.
        hidden_dropout (`float`, *optional*, defaults to 0.1): Dropout after attention and in the MLPs.
        embedding_dropout (`float`, *optional*, defaults to 0.1): Dropout of the tokens that enter the first block.
        layer_norm_eps (`float`, *optional*, defaults to 1e-5): Epsilon of the layer norms.
        initializer_range (`float`, *optional*, defaults to 0.02): Deviation of linear and convolution weights.
        initializer_factor (`float`, *optional*, defaults to 1.0): Scales every initial standard deviation.
    """

    model_type = "face_transformer"

    def __init__(
        self,
        hidden_size: int = 512,
        intermediate_size: int = 2048,
        num_hidden_layers: int = 20,
        num_attention_heads: int = 8,
        head_dim: int = 64,
        num_channels: int = 3,
        image_size: int = 112,
        patch_size: int = 8,
        hidden_dropout: float = 0.1,
        embedding_dropout: float = 0.1,
        layer_norm_eps: float = 1e-5,
        initializer_range: float = 0.02,
        initializer_factor: float = 1.0,
        **kwargs: Any,
    ):
        self.hidden_size = hidden_size
        self.intermediate_size = intermediate_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.head_dim = head_dim
        self.num_channels = num_channels
        self.image_size = image_size
        self.patch_size = patch_size
        self.hidden_dropout = hidden_dropout
        self.embedding_dropout = embedding_dropout
        self.layer_norm_eps = layer_norm_eps
        self.initializer_range = initializer_range
        self.initializer_factor = initializer_factor
        check_settings(self)
        check_patches(image_size, patch_size)
        check_base_settings(kwargs)
        super().__init__(**kwargs)
