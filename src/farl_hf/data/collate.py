"""Batches of face samples."""

from collections.abc import Sequence

import torch

__all__ = ["collate_face_samples"]

# Photos differ in size, so these stay lists.
LISTED_KEYS = ("photo_labels",)


def collate_face_samples(samples: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor | list[torch.Tensor]]:
    """Stacks samples of [`FaceSamples`]; `photo_labels`, whose sizes differ, stays a list."""
    return {
        key: [sample[key] for sample in samples]
        if key in LISTED_KEYS
        else torch.stack([sample[key] for sample in samples])
        for key in samples[0]
    }
