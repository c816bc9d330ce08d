"""Block masks have the distribution of Transformers' generator, which is BEiT's."""

import random

import numpy as np
import pytest
from transformers.models.flava.image_processing_flava import FlavaMaskingGenerator

from farl_hf.data.samples.pretraining_samples import block_mask


def test_masks_are_distributed_as_those_of_flava():
    generator, count = np.random.default_rng(0), 1200
    ours = np.stack([block_mask((14, 14), generator) for _ in range(count)])
    random.seed(0)
    reference = FlavaMaskingGenerator(14, total_mask_patches=75, mask_group_min_patches=16)
    theirs = np.stack([reference().numpy().astype(bool) for _ in range(count)])
    sizes = [masks.sum(axis=(1, 2)) for masks in (ours, theirs)]
    assert sizes[0].max() == sizes[1].max() == 75
    assert sizes[0].mean() == pytest.approx(sizes[1].mean(), abs=0.3)  # about four standard errors
    assert np.percentile(sizes[0], 5) == pytest.approx(np.percentile(sizes[1], 5), abs=1)
    # Where: a mask that prefers a corner, or never reaches the rim, differs by more.
    assert np.abs(ours.mean(axis=0) - theirs.mean(axis=0)).max() < 0.09
    # In blocks: as many masked pairs of neighbours, across and down.
    for axis in (1, 2):
        pairs = [(np.diff(masks.astype(int), axis=axis) != 0).sum() / count for masks in (ours, theirs)]
        assert pairs[0] == pytest.approx(pairs[1], rel=0.05)


@pytest.mark.parametrize("grid_hw", [(2, 2), (4, 4), (7, 7), (28, 28), (16, 8)])
def test_other_grids_keep_the_share(grid_hw):
    generator = np.random.default_rng(1)
    masks = np.stack([block_mask(grid_hw, generator) for _ in range(100)])
    assert masks.shape == (100, *grid_hw)
    sizes, target = masks.sum(axis=(1, 2)), round(75 / 196 * masks[0].size)
    assert sizes.max() <= target
    assert sizes.mean() >= 0.9 * target


def test_the_same_generator_gives_the_same_masks():
    first, second = (block_mask((14, 14), np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, block_mask((14, 14), np.random.default_rng(6)))


def test_the_share_can_be_chosen():
    assert block_mask((14, 14), np.random.default_rng(0), masked_share=0.0).sum() == 0
    assert 110 <= block_mask((14, 14), np.random.default_rng(0), masked_share=0.6).sum() <= 118
