"""Where pictures of two are put together, so that patches learn to name only what lies at them.

Like CutMix (Yun et al., ICCV 2019), with one straight cut each. Aligned faces are cut across more often than along:
above and below show different things, left and right mostly the same.
"""

import torch

__all__ = ["PATCHWORK_SHARE", "draw_patchwork"]

# Of a batch. They cost another pass of the vision tower.
PATCHWORK_SHARE = 0.5
CUTS_ACROSS = 0.6
# Of the height or width, on either side of a cut.
SMALLEST_PART = 0.28


def draw_patchwork(count: int, grid_hw: tuple[int, int]) -> torch.Tensor:
    """Which patches are the other picture's. Chance is PyTorch's, which a resumed run restores.

    Args:
        count (`int`): Pictures.
        grid_hw (`tuple[int, int]`): Rows and columns of patches.

    Returns:
        `torch.Tensor` of shape `(count, patches)`: Bool, row by row.
    """
    across = torch.rand(count) < CUTS_ACROSS
    rows, columns = (_beyond_a_cut(count, size) for size in grid_hw)
    return torch.where(across[:, None, None], rows[:, :, None], columns[:, None, :]).flatten(1)


def _beyond_a_cut(count: int, size: int) -> torch.Tensor:
    """Which of `size` places lie on one side of a cut, either, (count, size)."""
    cuts = ((SMALLEST_PART + torch.rand(count) * (1 - 2 * SMALLEST_PART)) * size).round()
    beyond = torch.arange(size) >= cuts[:, None]
    return beyond ^ (torch.rand(count) < 0.5)[:, None]
