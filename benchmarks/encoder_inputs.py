"""Pictures and texts for the vision and the text encoder."""

import torch

CONTEXT_LENGTH, START, END = 77, 49406, 49407


def make_pixel_values(count: int) -> torch.Tensor:
    """Normalised pictures (B, 3, 224, 224)."""
    return torch.randn(count, 3, 224, 224, generator=torch.Generator().manual_seed(0))


def make_input_ids(count: int) -> torch.Tensor:
    """Texts (B, 77) of various lengths, padded with zeros as CLIP pads."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1, START, (count, CONTEXT_LENGTH), generator=generator)
    lengths = torch.randint(5, 40, (count, 1), generator=generator)
    places = torch.arange(CONTEXT_LENGTH)
    ids = torch.where(places < lengths, ids, 0)
    ids[:, 0] = START
    return ids.scatter(1, lengths, END)
