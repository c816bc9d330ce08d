"""Contrast between all accumulated batches at the memory of one, with exact gradients.

A first pass without gradients computes the features of all batches. Then each is run again with gradients, in the
loss of all features; only its own carry gradients (Gao et al. 2021, "Scaling deep contrastive learning
batch size under memory limited setup").
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

__all__ = ["CachedFeatures", "RandomState"]


@dataclass(frozen=True)
class RandomState:
    """State of the random generators, so that the second pass drops out the same units as the first."""

    cpu: torch.Tensor
    device: torch.Tensor | None

    @classmethod
    def now(cls, device: torch.device) -> "RandomState":
        """Present state of the processor's and the device's generator."""
        on_device = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        return cls(torch.get_rng_state(), on_device)

    @contextmanager
    def restored(self, device: torch.device) -> Iterator[None]:
        """Inside, the generators go on from this state."""
        devices = [device] if self.device is not None else []
        with torch.random.fork_rng(devices=devices):
            torch.set_rng_state(self.cpu)
            if self.device is not None:
                torch.cuda.set_rng_state(self.device, device)
            yield


@dataclass
class CachedFeatures:
    """Features of all accumulated batches of one step, in order; `place` is the batch that is due."""

    image_embeds: list[torch.Tensor] = field(default_factory=list)
    text_embeds: list[torch.Tensor] = field(default_factory=list)
    random_states: list[RandomState] = field(default_factory=list)
    place: int = 0

    def add(self, image_embeds: torch.Tensor, text_embeds: torch.Tensor, random_state: RandomState) -> None:
        """Appends a batch's features (B, P), and the random state before they were computed."""
        self.image_embeds.append(image_embeds.detach())
        self.text_embeds.append(text_embeds.detach())
        self.random_states.append(random_state)

    def __len__(self) -> int:
        return len(self.image_embeds)

    def joined_with(self, image_embeds: torch.Tensor, text_embeds: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """All features (n · B, P) with those of the batch that is due replaced by the given ones; goes to the next."""
        images, texts = list(self.image_embeds), list(self.text_embeds)
        images[self.place], texts[self.place] = image_embeds, text_embeds
        self.place += 1
        return torch.cat(images), torch.cat(texts)
