"""Face parsing: vision tower, feature pyramid, UperNet head (FaRL `farl/experiments/face_parsing`)."""

from transformers.modeling_outputs import SemanticSegmenterOutput
from transformers.utils.generic import can_return_tuple

from .configuration_farl import FaRLConfig
from .fast_inference_farl import FastDenseHead, fast_as, layout_of
from .feature_pyramid_farl import FaRLFeaturePyramid
from .losses_farl import parsing_loss
from .modeling_farl import JOINT_PARTS, PRETRAINING_PARTS, TEXT_PARTS, FaRLPreTrainedModel
from .uper_head_farl import FaRLUperHead
from .vision_backbones_farl import make_vision_backbone

__all__ = ["FaRLDenseModel", "FaRLForFaceParsing"]


class FaRLDenseModel(FaRLPreTrainedModel):
    """What parsing and landmarks share: tower, pyramid and head, from pixels to maps of a quarter of the input's side.

    A quarter is the paper's; with `config.output_stride` 2 it is a half.

    Loads a two-tower checkpoint as well: the text tower and everything else that is not needed is left out.
    """

    config_class = FaRLConfig
    input_modalities = ("image",)
    _keys_to_ignore_on_load_unexpected = (*TEXT_PARTS, *JOINT_PARTS, *PRETRAINING_PARTS, r"post_layernorm\.")

    def __init__(self, config):
        super().__init__(config)
        self.vision_model = make_vision_backbone(config)
        width = self.vision_model.width
        self.pyramid = FaRLFeaturePyramid(width, self.vision_model.patch_size, config.output_stride)
        self.head = FaRLUperHead(width, config.head_channels, config.num_labels, config.head_dropout)
        self.dense_layout = layout_of(self.pyramid, self.head)  # as built, for `optimize_for_inference`
        self.post_init()

    def get_input_embeddings(self):
        """Return the patch convolution."""
        return self.vision_model.get_input_embeddings()

    def dense_logits(self, pixel_values):
        """Map (B, 3, H, W) to (B, num_labels, H / s, W / s), s being `config.output_stride`."""
        return self.decode(self.vision_model.feature_maps(pixel_values, self.config.feature_levels))

    @fast_as(FastDenseHead)
    def decode(self, maps):
        """Map four maps (B, C, h, w) of the tower to logits (B, num_labels, H / s, W / s)."""
        return self.head(self.pyramid(maps))


class FaRLForFaceParsing(FaRLDenseModel):
    """Labels every pixel of a face crop; the classes stand in `config.id2label`."""

    @can_return_tuple
    def forward(self, pixel_values, labels=None, **kwargs):
        """Score every class at every pixel.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(B, 3, H, W)`): Warped, normalised face crops from
                [`FaRLImageProcessor`]; sides are multiples of the patch size.
            labels (`torch.LongTensor` of shape `(B, H, W)`, *optional*): Class ids; 255 and -100 are ignored.

        Returns:
            `SemanticSegmenterOutput`: `logits` (B, num_labels, H / s, W / s) in the crop frame, s being
            `config.output_stride`, and `loss` if labels are given: mean cross-entropy at the labels' resolution.
        """
        logits = self.dense_logits(pixel_values)
        loss = None if labels is None else parsing_loss(logits, labels, self.config.label_weights)
        return SemanticSegmenterOutput(loss=loss, logits=logits)
