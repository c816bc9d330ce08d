"""A variational autoencoder that trains a face decoder. Its encoder is dropped after the training.

Pixels outside the photo, black in every crop, are not compared: the decoder fills them as it likes. A linear
classifier of attributes reads the latent means, so that what a face wears and whether it smiles, few pixels that they
are, get their place in the latents.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from transformers.utils import ModelOutput

from farl_hf.modeling.configuration_face_decoder import FaceDecoderConfig
from farl_hf.modeling.modeling_face_decoder import FaceDecoderModel, FaceDecoderPreTrainedModel, ResidualStage
from farl_hf.modeling.modeling_farl_heads import attribute_loss

__all__ = ["AutoencoderLosses", "FaceAutoencoder", "kl_from_standard_normal", "reconstruction_errors"]

_PATCH_PX = 4  # the encoder's first step
_LARGEST_LOG_VARIANCE = 10.0


@dataclass(frozen=True)
class AutoencoderLosses:
    """Weights of the losses beside the mean absolute error of the pixels.

    Args:
        gradient_weight (`float`): Of the mean absolute error of differences between neighbouring pixels, over scales.
        kl_weight (`float`): Of a nat of information per picture.
        attribute_weight (`float`): Of the mean binary cross-entropy of the attributes.
        centre_weight (`float`): How much more the centre of the crop counts than its rim.
    """

    gradient_weight: float = 1.0
    kl_weight: float = 1e-4
    attribute_weight: float = 0.1
    centre_weight: float = 2.0


@dataclass
class FaceAutoencoderOutput(ModelOutput):
    """Weighted sum of the losses, its parts, and the reconstructions (N, 3, H, W) in [0, 1]."""

    loss: torch.Tensor | None = None
    parts: dict[str, torch.Tensor] | None = None
    images: torch.Tensor | None = None


class FaceEncoder(nn.Module):
    """Pictures (N, 3, H, W) in [0, 1] to means and log variances, each (N, D)."""

    def __init__(self, config: FaceDecoderConfig):
        super().__init__()
        widths = tuple(reversed(config.stage_channels))[1:] or tuple(config.stage_channels)
        self.patches = nn.Conv2d(3, widths[0], _PATCH_PX, stride=_PATCH_PX)
        self.stages = nn.ModuleList(
            ResidualStage(before, after) for before, after in zip((widths[0], *widths), widths, strict=False)
        )
        cells = config.image_size // _PATCH_PX // 2 ** (len(widths) - 1)
        self.to_latents = nn.Linear(widths[-1] * cells**2, 2 * config.latent_size)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode."""
        hidden_NCHW = self.patches((images * 2 - 1).contiguous(memory_format=torch.channels_last))
        for index, stage in enumerate(self.stages):
            hidden_NCHW = stage(F.avg_pool2d(hidden_NCHW, 2) if index else hidden_NCHW)
        mean_ND, log_variance_ND = self.to_latents(F.silu(hidden_NCHW).flatten(1)).float().chunk(2, dim=1)
        return mean_ND, log_variance_ND.clamp(-_LARGEST_LOG_VARIANCE, _LARGEST_LOG_VARIANCE)


class FaceAutoencoder(FaceDecoderPreTrainedModel):
    """Encoder, decoder and attribute classifier; [`FaceDecoderModel`] loads from its checkpoints.

    Args:
        config ([`FaceDecoderConfig`]): Of the decoder; the encoder mirrors it.
        num_attributes (`int`, *optional*, defaults to 40): Outputs of the classifier.
        losses ([`AutoencoderLosses`], *optional*): Weights.
    """

    main_input_name = "pixel_values"
    input_modalities = ("image",)

    def __init__(
        self, config: FaceDecoderConfig, num_attributes: int = 40, losses: AutoencoderLosses | None = None
    ) -> None:
        super().__init__(config)
        self.losses = losses or AutoencoderLosses()
        self.encoder = FaceEncoder(config)
        self.decoder = FaceDecoderModel(config)
        self.attributes = nn.Linear(config.latent_size, num_attributes)
        self.post_init()

    def forward(
        self, pixel_values: torch.Tensor, inside: torch.Tensor, attributes: torch.Tensor | None = None
    ) -> FaceAutoencoderOutput:
        """Reconstruct.

        Args:
            pixel_values (`torch.Tensor` of shape `(N, 3, H, W)`): RGB in [0, 1].
            inside (`torch.BoolTensor` of shape `(N, 1, H, W)`): Where the photo is.
            attributes (`torch.Tensor` of shape `(N, num_attributes)`, *optional*): 0, 1 or -100.
        """
        mean_ND, log_variance_ND = self.encoder(pixel_values)
        latents_ND = mean_ND
        if self.training:
            latents_ND = mean_ND + torch.randn_like(mean_ND) * (log_variance_ND / 2).exp()
        images = self.decoder(latents_ND).images.float()
        pixel, gradient = reconstruction_errors(images, pixel_values, inside, self.losses.centre_weight)
        parts = {"pixel": pixel, "gradient": gradient, "kl": kl_from_standard_normal(mean_ND, log_variance_ND).mean()}
        loss = pixel + self.losses.gradient_weight * gradient + self.losses.kl_weight * parts["kl"]
        if attributes is not None and self.losses.attribute_weight:
            parts["attribute"] = attribute_loss(self.attributes(mean_ND), attributes)
            loss = loss + self.losses.attribute_weight * parts["attribute"]
        return FaceAutoencoderOutput(loss=loss, parts=parts, images=images)


def kl_from_standard_normal(mean_ND: torch.Tensor, log_variance_ND: torch.Tensor) -> torch.Tensor:
    """Kullback-Leibler divergence (N,) of diagonal normal distributions from the standard one, in nats."""
    return (mean_ND.square() + log_variance_ND.exp() - 1 - log_variance_ND).sum(dim=1) / 2


def reconstruction_errors(
    images: torch.Tensor, targets: torch.Tensor, inside: torch.Tensor, centre_weight: float, num_scales: int = 3
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weighted mean absolute errors: of pixels, and of differences between neighbours at halved and halved sizes.

    Args:
        images (`torch.Tensor` of shape `(N, 3, H, W)`): RGB in [0, 1].
        targets (`torch.Tensor` of shape `(N, 3, H, W)`): The truth.
        inside (`torch.BoolTensor` of shape `(N, 1, H, W)`): What counts.
        centre_weight (`float`): How much more the centre counts than the rim.
        num_scales (`int`, *optional*, defaults to 3): Sizes at which differences are compared.
    """
    error = images - targets
    weights = inside * centre_weights(error.shape[-1], centre_weight, error.device)
    pixel = weighted_mean(error.abs(), weights)
    gradients = []
    for _ in range(num_scales):
        for axis in (-2, -1):
            rest = weights.shape[axis] - 1
            both_inside = torch.minimum(weights.narrow(axis, 1, rest), weights.narrow(axis, 0, rest))
            gradients.append(weighted_mean(error.diff(dim=axis).abs(), both_inside))
        error, weights = F.avg_pool2d(error * (weights > 0), 2), -F.max_pool2d(-weights, 2)
    return pixel, torch.stack(gradients).mean()


def weighted_mean(values_NCHW: torch.Tensor, weights_N1HW: torch.Tensor) -> torch.Tensor:
    """Mean over pictures, channels and pixels."""
    return (values_NCHW * weights_N1HW).sum() / (weights_N1HW.sum() * values_NCHW.shape[1]).clamp(min=1)


def centre_weights(side: int, centre_weight: float, device: torch.device) -> torch.Tensor:
    """(side, side): A Gaussian bump: `1 + centre_weight` in the middle, 1 at the rim."""
    fractions = (torch.arange(side, device=device) + 0.5) / side * 2 - 1
    squared = fractions[:, None].square() + fractions.square()
    return 1 + centre_weight * torch.exp(-squared / 0.5)
