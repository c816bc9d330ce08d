"""What editing gives."""

from dataclasses import dataclass

import numpy as np
import torch

__all__ = ["EditedFaces"]


@dataclass(frozen=True, eq=False)
class EditedFaces:
    """Several faces edited by the same text. N is the number of faces, S that of steps; everything on the CPU.

    Args:
        text (`str`): What the faces should show.
        start_latents, latents (`torch.Tensor` of shape `(N, *latent_shape)`): Before and after.
        start_images, images (`torch.Tensor` of shape `(N, 3, H, W)`): The generator's pictures, RGB in [0, 1].
        start_similarities, similarities (`np.ndarray` of shape `(N,)`): Cosine similarity of face and text.
        losses (`dict[str, np.ndarray]`): What was made smaller, (S, N) each: `text` (1 - similarity), `l2` (squared
            distance to the start), with an identity term `identity` (1 - similarity to the start), and `total`, their
            weighted sum.
        crop_from_photo (`torch.Tensor` of shape `(N, 3, 3)`): Where the model looked, see docs/conventions.md.
    """

    text: str
    start_latents: torch.Tensor
    latents: torch.Tensor
    start_images: torch.Tensor
    images: torch.Tensor
    start_similarities: np.ndarray
    similarities: np.ndarray
    losses: dict[str, np.ndarray]
    crop_from_photo: torch.Tensor

    def __len__(self) -> int:
        return len(self.latents)
