"""Face attributes: pooled features of several levels, normalised, mixed by learned weights, classified.

Source: FacePerceiver/facer `facer/farl/classification.py` (MIT); supplement section 6. The original keeps its learned
mixture as `weight` over 3 x levels vectors in the order mean, max, class token per level.
"""

import torch
from torch import nn
from transformers import initialization as init
from transformers.modeling_outputs import ImageClassifierOutput
from transformers.utils.generic import can_return_tuple

from .configuration_farl import FaRLConfig
from .losses_farl import attribute_loss
from .modeling_farl import JOINT_PARTS, PRETRAINING_PARTS, TEXT_PARTS, FaRLPreTrainedModel
from .vision_backbones_farl import make_vision_backbone

__all__ = ["FaRLForAttributes"]


class FaRLAttributeHead(nn.Module):
    """Mean, max and class token of each level, LayerNorm each, softmax-weighted sum, linear classifier.

    A backbone without class token gives mean and max only. Of several prefix tokens the first is the class token; the
    others (DeiT's distillation token, registers) are not read.
    """

    def __init__(self, num_levels, channels, num_labels, num_prefix_tokens=1):
        super().__init__()
        self.num_prefix_tokens = num_prefix_tokens
        num_vectors = (3 if num_prefix_tokens else 2) * num_levels
        self.norms = nn.ModuleList([nn.LayerNorm(channels) for _ in range(num_vectors)])
        self.mixture = nn.Parameter(torch.ones(num_vectors))
        self.classifier = nn.Linear(channels, num_labels)

    def init_farl_weights(self, factor):
        """Every pooled vector starts with the same weight."""
        init.ones_(self.mixture)

    def forward(self, levels):
        """Return logits (B, L) for block outputs (B, prefix + patches, C), class token first."""
        pooled = []
        for tokens_BTC in levels:
            patches_BTC = tokens_BTC[:, self.num_prefix_tokens :]
            pooled += [patches_BTC.mean(dim=1), patches_BTC.amax(dim=1)]
            if self.num_prefix_tokens:
                pooled.append(tokens_BTC[:, 0])
        normed_BVC = torch.stack([norm(vector) for norm, vector in zip(self.norms, pooled, strict=True)], dim=1)
        mixed_BC = (normed_BVC * self.mixture.softmax(dim=0)[:, None]).sum(dim=1)
        return self.classifier(mixed_BC)


class FaRLForAttributes(FaRLPreTrainedModel):
    """Scores the attributes of a face crop, each on its own; their names stand in `config.id2label`.

    Loads a two-tower checkpoint as well: everything but the vision tower is left out.
    """

    config_class = FaRLConfig
    input_modalities = ("image",)
    _keys_to_ignore_on_load_unexpected = (
        *TEXT_PARTS,
        *JOINT_PARTS,
        *PRETRAINING_PARTS,
        r"post_layernorm\.",
        r"^pyramid\.",
    )

    def __init__(self, config):
        super().__init__(config)
        self.vision_model = backbone = make_vision_backbone(config)
        self.head = FaRLAttributeHead(
            len(config.feature_levels), backbone.width, config.num_labels, backbone.num_prefix_tokens
        )
        self.post_init()

    def get_input_embeddings(self):
        """Return the patch convolution."""
        return self.vision_model.get_input_embeddings()

    @can_return_tuple
    def forward(self, pixel_values, labels=None, **kwargs):
        """Score the attributes.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(B, 3, H, W)`): Aligned, normalised face crops.
            labels (`torch.Tensor` of shape `(B, num_labels)`, *optional*): 0 or 1; -100 is ignored.

        Returns:
            `ImageClassifierOutput`: `logits` (B, num_labels) before the sigmoid, and `loss` if labels are given.
        """
        logits = self.head(self.vision_model.block_outputs(pixel_values, self.config.feature_levels))
        return ImageClassifierOutput(loss=None if labels is None else attribute_loss(logits, labels), logits=logits)
