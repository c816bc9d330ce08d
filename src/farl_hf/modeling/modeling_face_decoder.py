"""Face decoder: latents from a standard normal distribution to face pictures.

The decoder of a variational autoencoder (Kingma and Welling, ICLR 2014) of convolutions; every stage is scaled and
shifted by the latent (Perez et al., FiLM, AAAI 2018), so that one number can change a property of the whole picture,
such as the colour of the hair. The last stage works at half resolution; its channels are rearranged into pixels (Shi
et al., CVPR 2016). There are no normalisation layers: a picture does not depend on its batch, and colours are kept.

Letters in shapes: N pictures, D numbers of a latent, C channels, H W height and width.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput, can_return_tuple

from .configuration_face_decoder import FaceDecoderConfig
from .pretrained_model_farl import ModelPushedWithCode, warn_unrecorded

_PIXELS_PER_CELL = 2  # along a side, of the last stage


@dataclass
class FaceDecoderOutput(ModelOutput):
    """Pictures.

    Args:
        images (`torch.Tensor` of shape (N, 3, H, W)): RGB in [0, 1].
    """

    images: torch.Tensor | None = None


class _ZeroConv2d(nn.Conv2d):
    """A convolution whose weights start at zero."""

    starts_at_zero = True


class _ZeroLinear(nn.Linear):
    """A linear layer whose weights start at zero."""

    starts_at_zero = True


class ResidualStage(nn.Module):
    """Two convolutions beside a shortcut; with a latent, it scales and shifts the map between them.

    A stage starts as its shortcut, so that many of them learn without normalisation.
    """

    def __init__(self, in_channels: int, out_channels: int, latent_size: int = 0):
        super().__init__()
        self.first = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.second = _ZeroConv2d(out_channels, out_channels, 3, padding=1)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()
        self.style = _ZeroLinear(latent_size, 2 * out_channels) if latent_size else None

    def forward(self, hidden_NCHW: torch.Tensor, latents_ND: torch.Tensor | None = None) -> torch.Tensor:
        """Map (N, C_in, H, W) to (N, C_out, H, W)."""
        changed = self.first(F.silu(hidden_NCHW))
        if self.style is not None:
            scale, shift = self.style(latents_ND)[..., None, None].chunk(2, dim=1)
            changed = changed * (1 + scale) + shift
        return self.shortcut(hidden_NCHW) + self.second(F.silu(changed))


class FaceDecoderPreTrainedModel(ModelPushedWithCode, PreTrainedModel):
    """Initialisation shared by the decoder and what trains it; a decoder loads from the autoencoder's folder too."""

    config_class = FaceDecoderConfig
    base_model_prefix = "decoder"
    main_input_name = "latents"
    input_modalities: list[str] = []  # noqa: RUF012
    accepts_loss_kwargs = False
    _keys_to_ignore_on_load_unexpected = [r"^encoder\.", r"^attributes\."]  # noqa: RUF012

    @torch.no_grad()
    def _init_weights(self, module):
        if not isinstance(module, (nn.Conv2d, nn.Linear)):
            return
        init.zeros_(module.get_parameter("bias"))
        if getattr(module, "starts_at_zero", False):
            init.zeros_(module.weight)
        else:
            inputs_per_output = module.weight[0].numel()
            init.normal_(module.weight, std=self.config.initializer_range * (1 / inputs_per_output) ** 0.5)


class FaceDecoderModel(FaceDecoderPreTrainedModel):
    """Draws faces; a face generator for `farl_hf.editing`.

    Args:
        config ([`FaceDecoderConfig`]): Its sizes.

    Example:

    ```python
    >>> from farl_hf.modeling import FaceDecoderConfig, FaceDecoderModel

    >>> model = FaceDecoderModel(FaceDecoderConfig(latent_size=8, grid_size=2, stage_channels=[8, 4]))
    >>> model.images_from_latents(model.sample_latents(3)).shape
    torch.Size([3, 3, 8, 8])

    ```
    """

    _input_embed_layer = "grid"

    def __init__(self, config: FaceDecoderConfig):
        super().__init__(config)
        channels = config.stage_channels
        self.grid = nn.Linear(config.latent_size, channels[0] * config.grid_size**2)
        self.stages = nn.ModuleList(
            ResidualStage(before, after, config.latent_size)
            for before, after in zip((channels[0], *channels), channels, strict=False)
        )
        self.to_pixels = nn.Conv2d(channels[-1], 3 * _PIXELS_PER_CELL**2, 3, padding=1)
        self.post_init()

    @can_return_tuple
    def forward(self, latents: torch.Tensor, **kwargs: Any) -> FaceDecoderOutput:
        """Draw faces.

        Args:
            latents (`torch.Tensor` of shape `(N, D)`): Numbers such as the standard normal distribution gives.

        Returns:
            `FaceDecoderOutput`: `images` (N, 3, H, W), RGB in [0, 1].
        """
        warn_unrecorded(self, kwargs)
        size = self.config.grid_size
        hidden_NCHW = self.grid(latents).unflatten(1, (-1, size, size)).contiguous(memory_format=torch.channels_last)
        for index, stage in enumerate(self.stages):
            if index > 0:
                hidden_NCHW = F.interpolate(hidden_NCHW, scale_factor=2, mode="nearest")
            hidden_NCHW = stage(hidden_NCHW, latents)
        pixels = F.pixel_shuffle(self.to_pixels(F.silu(hidden_NCHW)), _PIXELS_PER_CELL)
        return FaceDecoderOutput(images=pixels.sigmoid())

    # ---------------------------------------------------------------- as a face generator

    @property
    def latent_shape(self) -> tuple[int]:
        """Shape of one latent."""
        return (self.config.latent_size,)

    @property
    def points5_xy(self) -> torch.Tensor | None:
        """The five points (5, 2) of the face in every picture, continuous pixels; `None` where that is not known."""
        if self.config.face_template is None:
            return None
        return (torch.tensor(self.config.face_template, dtype=torch.float32) + 1) * self.config.image_size / 2

    def sample_latents(self, count: int, seed: int = 0, truncation: float = 0.7) -> torch.Tensor:
        """Draw latents (count, D), the same for the same seed everywhere.

        `truncation` is their deviation: with 1 faces are as different as those of the training, and some fail.
        """
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randn(count, self.config.latent_size, generator=generator, dtype=torch.float32)
        return (truncation * drawn).to(self.device, self.dtype)

    def images_from_latents(self, latents: torch.Tensor) -> torch.Tensor:
        """Draw faces (N, 3, H, W), RGB in [0, 1], of latents (N, D); differentiable."""
        return self(latents, return_dict=True).images
