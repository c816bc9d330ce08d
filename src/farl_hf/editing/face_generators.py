"""Generators of the faces that are edited: the protocol, and StyleGAN2."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch

from farl_hf.errors import InvalidArgumentError, NotACheckpointError

_LATENTS_OF_THE_MEAN = 4096  # as in rosinality/stylegan2-pytorch and StyleCLIP


class FaceGenerator(Protocol):
    """Anything that draws faces from latents, differentiably; [`FaceDecoderModel`] is one as it is.

    Args:
        latent_shape (`tuple[int, ...]`): Shape of one latent.
        points5_xy (`torch.Tensor` of shape `(5, 2)`, *optional*): The five points of the face in every picture,
            continuous pixels; `None` if each picture has to be searched.
    """

    latent_shape: tuple[int, ...]
    points5_xy: torch.Tensor | None

    def sample_latents(self, count: int, seed: int = 0) -> torch.Tensor:
        """Latents (count, *latent_shape) to start from, on the generator's device."""

    def images_from_latents(self, latents: torch.Tensor) -> torch.Tensor:
        """Pictures (N, 3, H, W), RGB in [0, 1], of latents (N, *latent_shape)."""


class StyleGAN2Generator:
    """A StyleGAN2 whose w latents are edited, one per layer (w+) or one for all.

    Args:
        synthesis (`Callable`): Latents (N, *latent_shape) to pictures (N, 3, H, W) in [-1, 1], or a tuple that begins
            with them: a function around NVlabs' `G.synthesis` or rosinality's `Generator`, or a TorchScript module.
            It must draw the same picture of the same latent, so with constant noise.
        latent_shape (`tuple[int, ...]`): Of one w latent, such as `(18, 512)`; `(512,)` for z, without `mapping`.
        mapping (`Callable`, *optional*): z (N, D) to w, (N, D) or (N, layers, D). Without it `sample_latents` gives
            standard normal values, which is right for networks that take z.
        truncation (`float`, *optional*, defaults to 0.7): How far from the mean w sampled ones are, as in StyleCLIP.
        points5_xy (`torch.Tensor` of shape `(5, 2)`, *optional*): See [`FaceGenerator`].
        device (`str` or `torch.device`, *optional*, defaults to `"cpu"`): Where the network is.

    StyleGAN2 gives a few values outside [-1, 1]; they are clamped.
    """

    def __init__(
        self,
        synthesis: Callable[[torch.Tensor], Any],
        latent_shape: tuple[int, ...],
        mapping: Callable[[torch.Tensor], torch.Tensor] | None = None,
        truncation: float = 0.7,
        points5_xy: torch.Tensor | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        self.synthesis, self.mapping, self.truncation = synthesis, mapping, truncation
        self.latent_shape, self.points5_xy, self.device = tuple(latent_shape), points5_xy, torch.device(device)

    @classmethod
    def from_torchscript(
        cls,
        synthesis_file: str | Path,
        latent_shape: tuple[int, ...],
        mapping_file: str | Path | None = None,
        device: str | torch.device = "cpu",
        **settings: Any,
    ) -> "StyleGAN2Generator":
        """Load networks that were saved as TorchScript. **That runs the code in the files**: only trusted ones.

        Raises:
            NotACheckpointError: If a file is missing or no TorchScript.
        """
        networks = [_load_torchscript(file, device) for file in (synthesis_file, mapping_file) if file is not None]
        return cls(networks[0], latent_shape, networks[1] if len(networks) > 1 else None, device=device, **settings)

    @torch.no_grad()
    def sample_latents(self, count: int, seed: int = 0) -> torch.Tensor:
        """Latents (count, *latent_shape): truncated w, or z without a mapping."""
        random = torch.Generator().manual_seed(seed)
        if self.mapping is None:
            return torch.randn(count, *self.latent_shape, generator=random).to(self.device)
        z = torch.randn(count + _LATENTS_OF_THE_MEAN, self.latent_shape[-1], generator=random).to(self.device)
        w = torch.cat([self.mapping(some) for some in z.split(256)])
        mean = w[count:].mean(dim=0)
        return self._per_layer(mean + self.truncation * (w[:count] - mean))

    def images_from_latents(self, latents: torch.Tensor) -> torch.Tensor:
        """Pictures (N, 3, H, W), RGB in [0, 1]."""
        drawn = self.synthesis(latents)
        images = drawn[0] if isinstance(drawn, tuple) else drawn
        return (images / 2 + 0.5).clamp(0, 1)

    def _per_layer(self, w: torch.Tensor) -> torch.Tensor:
        if w.shape[1:] == self.latent_shape:
            return w
        if w.ndim == 2 and len(self.latent_shape) == 2:
            return w[:, None].repeat(1, self.latent_shape[0], 1)
        raise InvalidArgumentError(
            f"The mapping gives latents of shape {tuple(w.shape[1:])}, but latent_shape is {self.latent_shape}; pass "
            "the shape that the synthesis network takes."
        )


def _load_torchscript(file: str | Path, device: str | torch.device) -> Any:
    if not Path(file).is_file():
        raise NotACheckpointError(f"There is no file {file}; give a generator saved by torch.jit.save.")
    try:
        return torch.jit.load(str(file), map_location=device).eval()
    except RuntimeError as error:
        raise NotACheckpointError(
            f"{file} is no TorchScript archive; save the generator by torch.jit.save."
        ) from error
