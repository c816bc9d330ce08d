"""A decoder's latents re-based on those of real faces, so that the standard normal distribution draws faces.

An autoencoder's latents follow the standard normal distribution only as far as its loss made them. Their mean and
covariance are measured over training faces and folded into the decoder's weights, which read latents by linear layers
alone: the new decoder draws of `u` what the old one draws of `mean + root @ u`.
"""

import copy
from collections.abc import Iterable

import torch
from face_autoencoder import FaceAutoencoder
from torch import nn

from farl_hf.modeling.modeling_face_decoder import FaceDecoderModel

__all__ = ["latent_moments", "rebased_decoder"]


@torch.no_grad()
def latent_moments(model: FaceAutoencoder, batches: Iterable[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean (D,) and covariance (D, D), float64, of the latents that the encoder gives faces (N, 3, H, W) in [0, 1]."""
    means, variances = zip(*(model.encoder(images.to(model.device)) for images in batches), strict=True)
    means_ND = torch.cat(means).cpu().double()  # not every accelerator has float64
    noise_D = torch.cat(variances).cpu().double().exp().mean(dim=0)
    return means_ND.mean(dim=0), torch.cov(means_ND.t(), correction=0) + noise_D.diag()


@torch.no_grad()
def rebased_decoder(decoder: FaceDecoderModel, mean_D: torch.Tensor, covariance_DD: torch.Tensor) -> FaceDecoderModel:
    """A decoder for standard normal latents that equals this one for latents of that mean and covariance."""
    values_D, vectors_DD = torch.linalg.eigh(covariance_DD.double())
    root_DD = vectors_DD @ values_D.clamp(min=0).sqrt().diag() @ vectors_DD.t()
    rebased = copy.deepcopy(decoder)
    for layer in (rebased.grid, *(stage.style for stage in rebased.stages)):
        _fold(layer, mean_D.double(), root_DD)
    return rebased


def _fold(layer: nn.Linear, mean_D: torch.Tensor, root_DD: torch.Tensor) -> None:
    weight = layer.weight.cpu().double()
    layer.bias += (weight @ mean_D).to(layer.bias)
    layer.weight.copy_(weight @ root_DD)
