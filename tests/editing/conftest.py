import pytest
import torch
from torch import nn


class ToyGenerator(nn.Module):
    """Smooth pictures of 40 x 36 pixels, linear in 6 latents before a sigmoid; the face is slightly turned."""

    latent_shape = (6,)
    points5_xy = torch.tensor([[12.0, 16], [23, 14], [18, 21], [14, 27], [23, 25]])

    def __init__(self, seed=0):
        super().__init__()
        random = torch.Generator().manual_seed(seed)
        coarse = torch.randn(6, 3, 8, 8, generator=random)
        self.register_buffer("basis", nn.functional.interpolate(coarse, size=(40, 36), mode="bicubic"))

    def sample_latents(self, count, seed=0):
        return torch.randn(count, 6, generator=torch.Generator().manual_seed(seed)).to(self.basis)

    def images_from_latents(self, latents):
        return torch.einsum("nd,dchw->nchw", latents, self.basis).sigmoid()


@pytest.fixture
def generator():
    return ToyGenerator()
