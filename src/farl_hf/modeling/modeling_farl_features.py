"""The backbone of the heads by itself: what a converted encoder is stored as, and what features are read from."""

from transformers.modeling_outputs import BackboneOutput
from transformers.utils.generic import can_return_tuple

from .configuration_farl import FaRLConfig
from .modeling_farl import HEAD_PARTS, JOINT_PARTS, PRETRAINING_PARTS, TEXT_PARTS, FaRLPreTrainedModel
from .vision_backbones_farl import make_vision_backbone

__all__ = ["FaRLFeatureMaps"]


class FaRLFeatureMaps(FaRLPreTrainedModel):
    """Any encoder that the heads accept (`config.backbone_config`), without a head.

    The heads load its checkpoints, and it loads theirs, as well as those of both towers.
    """

    config_class = FaRLConfig
    input_modalities = ("image",)
    _keys_to_ignore_on_load_unexpected = (
        *(*TEXT_PARTS, *JOINT_PARTS, *PRETRAINING_PARTS, *HEAD_PARTS),
        r"post_layernorm\.",
    )

    def __init__(self, config):
        super().__init__(config)
        self.vision_model = make_vision_backbone(config)
        self.post_init()

    def get_input_embeddings(self):
        """Return the patch convolution."""
        return self.vision_model.get_input_embeddings()

    @can_return_tuple
    def forward(self, pixel_values, **kwargs):
        """Return a `BackboneOutput` whose `feature_maps` are (B, C, H / patch, W / patch), one per feature level.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(B, 3, H, W)`): Normalised images; the patch divides the sides.
        """
        maps = self.vision_model.feature_maps(pixel_values, self.config.feature_levels)
        return BackboneOutput(feature_maps=tuple(maps))
