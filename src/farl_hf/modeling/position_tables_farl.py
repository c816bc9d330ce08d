"""Token grids, and tables of positions for grids other than the stored one.

Sources: FacePerceiver/FaRL `farl/network/transformers.py` (bicubic, corners not aligned, prefix rows untouched);
microsoft/unilm `beit/modeling_finetune.py` for the order of rows in a table of relative positions.

Shapes: B batch, T tokens, C width, h and w a token grid, A attention heads.
"""

import torch
from torch import nn
from transformers import initialization as init

__all__ = ["PatchMaps", "RelativePositionBias", "resize_position_table", "token_grid"]

_CLASS_ROWS = 3  # class to patch, patch to class, class to class


def token_grid(pixel_values_BCHW, patch_size):
    """Return rows and columns of patches.

    Raises:
        ValueError: The patch does not divide the input's sides.
    """
    height, width = pixel_values_BCHW.shape[-2:]
    if height % patch_size or width % patch_size:
        fitting = tuple(max(patch_size, round(side / patch_size) * patch_size) for side in (height, width))
        raise ValueError(
            f"pixel_values are {height} x {width}, but both sides must be multiples of the patch size {patch_size}; "
            f"resize to {fitting[0]} x {fitting[1]}, for example."
        )
    return height // patch_size, width // patch_size


class PatchMaps:
    """What every backbone of a head can do, given `patch_size`, `num_prefix_tokens` and `block_outputs`."""

    num_prefix_tokens = 1

    def feature_maps(self, pixel_values, block_indices):
        """Return the patch tokens of chosen blocks as maps (B, C, H / patch, W / patch); see `block_outputs`."""
        grid_hw = token_grid(pixel_values, self.patch_size)
        outputs = self.block_outputs(pixel_values, block_indices)
        return [output[:, self.num_prefix_tokens :].transpose(1, 2).unflatten(2, grid_hw) for output in outputs]


def _resized(rows_NC, stored_hw, wanted_hw):
    grid_1ChW = rows_NC.reshape(1, *stored_hw, -1).permute(0, 3, 1, 2)
    resized = nn.functional.interpolate(grid_1ChW.float(), size=wanted_hw, mode="bicubic", align_corners=False)
    return resized.flatten(2)[0].t().to(rows_NC.dtype)


def resize_position_table(table_TC, num_prefix_rows, stored_hw, wanted_hw):
    """Return positions (num_prefix_rows + h * w, C) for a token grid; the rows of prefix tokens are untouched."""
    if tuple(stored_hw) == tuple(wanted_hw):
        return table_TC
    resized_NC = _resized(table_TC[num_prefix_rows:], stored_hw, wanted_hw)
    return torch.cat([table_TC[:num_prefix_rows], resized_NC])


def _relative_rows(grid_hw, device):
    """Return which row of the table belongs to each pair of tokens, (1 + h * w, 1 + h * w)."""
    height, width = grid_hw
    y, x = torch.meshgrid(torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij")
    dy, dx = (axis.flatten()[:, None] - axis.flatten()[None] for axis in (y, x))
    num_offsets = (2 * height - 1) * (2 * width - 1)
    patches = (dy + height - 1) * (2 * width - 1) + dx + width - 1
    rows = nn.functional.pad(patches, (1, 0, 1, 0), value=num_offsets)
    rows[:, 0] = num_offsets + 1
    rows[0, 0] = num_offsets + 2
    return rows


class RelativePositionBias(nn.Module):
    """BEiT's bias of attention by the offset of two tokens, resized to the input's grid.

    The table has a row per offset, (2h - 1)(2w - 1) of them, and three for the class token, which are untouched.
    """

    def __init__(self, grid_hw, num_heads):
        super().__init__()
        self.stored_hw = tuple(2 * side - 1 for side in grid_hw)
        self.table = nn.Parameter(torch.zeros(self.stored_hw[0] * self.stored_hw[1] + _CLASS_ROWS, num_heads))

    def init_farl_weights(self, factor):
        """Zero, as officially."""
        init.zeros_(self.table)

    def forward(self, grid_hw):
        """Return (1, A, 1 + h * w, 1 + h * w), to be added to attention scores."""
        table_NA, wanted_hw = self.table, tuple(2 * side - 1 for side in grid_hw)
        if wanted_hw != self.stored_hw:
            offsets_NA = _resized(table_NA[:-_CLASS_ROWS], self.stored_hw, wanted_hw)
            table_NA = torch.cat([offsets_NA, table_NA[-_CLASS_ROWS:]])
        return table_NA[_relative_rows(grid_hw, table_NA.device)].permute(2, 0, 1)[None]
