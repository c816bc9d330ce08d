"""Where pictures of two are put together."""

import torch

from farl_hf.training.patchwork import draw_patchwork


def parts(count, grid_hw):
    return draw_patchwork(count, grid_hw).view(count, *grid_hw)


def test_every_picture_has_one_straight_cut_and_two_large_parts():
    masks = parts(400, (10, 20))
    rows_alike = (masks == masks[:, :1]).all(dim=(1, 2))
    columns_alike = (masks == masks[:, :, :1]).all(dim=(1, 2))
    assert (rows_alike ^ columns_alike).all()
    across = masks[columns_alike][:, :, 0].int()
    assert (across.diff(dim=1).abs().sum(dim=1) == 1).all()
    share = masks.float().mean(dim=(1, 2))
    assert share.min() >= 0.25
    assert share.max() <= 0.75
    assert 0.5 < columns_alike.float().mean() < 0.7  # faces are cut across more often


def test_either_part_may_be_the_others():
    first = parts(400, (10, 20))[:, 0, 0]
    assert 0.4 < first.float().mean() < 0.6


def test_one_seed_gives_the_same_cuts():
    torch.manual_seed(3)
    once = draw_patchwork(8, (14, 14))
    torch.manual_seed(3)
    assert torch.equal(draw_patchwork(8, (14, 14)), once)
