"""Face landmarks: the dense model of parsing with one heat-map per point (FaRL `farl/experiments/face_alignment`)."""

from dataclasses import dataclass

import torch
from transformers.utils import ModelOutput
from transformers.utils.generic import can_return_tuple

from .heatmap_farl import decode_heatmaps
from .losses_farl import landmark_losses
from .modeling_farl_parsing import FaRLDenseModel

__all__ = ["FaRLForLandmarks", "FaRLLandmarksOutput"]


@dataclass
class FaRLLandmarksOutput(ModelOutput):
    """Output of [`FaRLForLandmarks`].

    Args:
        loss (`torch.FloatTensor` of shape `()`, *optional*): Weighted sum of the point and heat-map losses.
        logits (`torch.FloatTensor` of shape `(B, N, H / s, W / s)`): Heat-map scores before the sigmoid, s being
            `config.output_stride`.
        landmarks (`torch.FloatTensor` of shape `(B, N, 2)`): (x, y) in [0, 1] of the crop, continuous pixels / size.
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    landmarks: torch.FloatTensor | None = None


class FaRLForLandmarks(FaRLDenseModel):
    """Finds `config.num_labels` points in a face crop."""

    @can_return_tuple
    def forward(self, pixel_values, labels=None, **kwargs):
        """Find the points.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(B, 3, H, W)`): Normalised face crops.
            labels (`torch.FloatTensor` of shape `(B, N, 2)`, *optional*): True (x, y) in [0, 1] of the crop; NaN where
                a point is not labelled.

        Returns:
            [`FaRLLandmarksOutput`]: Maps, points decoded in the crop as the original training code does, and the loss.
        """
        logits = self.dense_logits(pixel_values)
        landmarks = decode_heatmaps(logits.float().sigmoid())
        loss = None if labels is None else self._loss(logits, landmarks, labels)
        return FaRLLandmarksOutput(loss=loss, logits=logits, landmarks=landmarks)

    def _loss(self, logits, landmarks, labels):
        config = self.config
        point, heatmap = landmark_losses(logits, landmarks, labels, config.heatmap_size, config.heatmap_radius)
        return config.point_loss_weight * point + heatmap
