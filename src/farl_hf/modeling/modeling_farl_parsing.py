"""Face parsing: vision tower, feature pyramid, UperNet head (FaRL `farl/experiments/face_parsing`)."""

import torch
from transformers.modeling_outputs import SemanticSegmenterOutput
from transformers.utils.generic import can_return_tuple

from .configuration_farl import FaRLConfig
from .feature_pyramid_farl import FaRLFeaturePyramid
from .inference_head_farl import InferenceHead, can_be_rearranged
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
    # Set to False, on the class or on a model, to compute inference exactly as training does.
    rearrange_for_inference = True
    _keys_to_ignore_on_load_unexpected = (*TEXT_PARTS, *JOINT_PARTS, *PRETRAINING_PARTS, r"post_layernorm\.")

    def __init__(self, config):
        super().__init__(config)
        self.vision_model = make_vision_backbone(config)
        width = self.vision_model.width
        self.pyramid = FaRLFeaturePyramid(width, self.vision_model.patch_size, config.output_stride)
        self.head = FaRLUperHead(width, config.head_channels, config.num_labels, config.head_dropout)
        self._rearranged = None  # made of the weights at the first inference
        self.post_init()

    def get_input_embeddings(self):
        """Return the patch convolution."""
        return self.vision_model.get_input_embeddings()

    def train(self, mode=True):
        """Set the mode; training forgets what inference made of the weights."""
        if mode:
            self._rearranged = None
        return super().train(mode)

    def dense_logits(self, pixel_values):
        """Map (B, 3, H, W) to (B, num_labels, H / s, W / s), s being `config.output_stride`."""
        maps = self.vision_model.feature_maps(pixel_values, self.config.feature_levels)
        inference_head = self._inference_head(maps)
        return self.head(self.pyramid(maps)) if inference_head is None else inference_head(maps)

    def _inference_head(self, maps):
        """Return pyramid and head rearranged, or None where the modules themselves must, or had better, compute."""
        if torch.compiler.is_compiling():
            return None
        if self.training or torch.is_grad_enabled():
            self._rearranged = None  # a step may follow, and fused optimizers write weights without a trace
            return None
        if not self.rearrange_for_inference or torch.is_autocast_enabled(maps[0].device.type):
            return None
        if not can_be_rearranged(self.pyramid, self.head):
            return None
        if self._rearranged is None or not self._rearranged.is_current(self.pyramid, self.head):
            self._rearranged = InferenceHead(self.pyramid, self.head)
        return self._rearranged


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
