"""Which patches are hidden in masked image modelling: rectangles of random size and shape, as in BEiT.

Source: BEiT (microsoft/unilm `beit/masking_generator.py`): on 14 x 14 patches at most 75 in blocks of 16 or more,
aspect ratio log-uniform in [0.3, 1 / 0.3], ten tries per block. That FaRL masks the same way follows from its code,
which calls the mask by BEiT's name; the number 75 is a recollection. Other grids keep the shares of patches.
"""

import math

import numpy as np

__all__ = ["MASKED_SHARE", "block_mask"]

MASKED_SHARE = 75 / 196
SMALLEST_BLOCK_SHARE = 16 / 196
WIDEST_LOG_ASPECT = -math.log(0.3)
TRIES_PER_BLOCK = 10


def block_mask(
    grid_hw: tuple[int, int], generator: np.random.Generator, masked_share: float = MASKED_SHARE
) -> np.ndarray:
    """Random mask of a grid of patches.

    Args:
        grid_hw (`tuple[int, int]`): Rows and columns of patches.
        generator (`np.random.Generator`): Source of chance.
        masked_share (`float`, *optional*, defaults to 75 / 196): Largest share of masked patches. Blocks are added
            until it is reached or ten tries in a row do not fit, so there may be a few patches less.

    Returns:
        `np.ndarray`: Bool (rows, columns), True where a patch is masked.
    """
    mask = np.zeros(grid_hw, dtype=bool)
    target = round(masked_share * mask.size)
    smallest = max(1, round(SMALLEST_BLOCK_SHARE * mask.size))
    while (missing := target - int(mask.sum())) > 0:
        if not _add_block(mask, smallest, missing, generator):
            break
    return mask


def _add_block(mask: np.ndarray, smallest: int, missing: int, generator: np.random.Generator) -> bool:
    """Masks one more block of at most `missing` new patches; says whether one was found."""
    for _ in range(TRIES_PER_BLOCK):
        rows, columns = _block_size(smallest, missing, generator)
        if rows >= mask.shape[0] or columns >= mask.shape[1]:
            continue
        top = generator.integers(mask.shape[0] - rows, endpoint=True)
        left = generator.integers(mask.shape[1] - columns, endpoint=True)
        block = mask[top : top + rows, left : left + columns]
        if 0 < block.size - block.sum() <= missing:
            block[:] = True
            return True
    return False


def _block_size(smallest: int, missing: int, generator: np.random.Generator) -> tuple[int, int]:
    """Rows and columns of a block of random area and aspect."""
    # Near the end fewer patches are missing than the smallest block has: then the range is the other way round.
    area = smallest + (missing - smallest) * generator.random()
    aspect = math.exp(generator.uniform(-WIDEST_LOG_ASPECT, WIDEST_LOG_ASPECT))
    return round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
