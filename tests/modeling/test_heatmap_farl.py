"""Heat-maps: decoding and drawing by hand-computed cases and against pyfacer's decoder."""

import importlib
import math

import torch

from farl_hf.modeling.losses_farl import decode_heatmaps, draw_heatmaps


def test_decoding_by_hand():
    maps = torch.zeros(1, 2, 2, 4)
    maps[0, 0, 1, 3] = 0.5  # one cell: its centre, at (3.5 / 4, 1.5 / 2)
    maps[0, 1, 0, 0], maps[0, 1, 0, 2] = 1.0, 3.0  # columns 0 and 2 in the ratio 1 : 3
    expected = torch.tensor([[[0.875, 0.75], [(0.5 * 1 + 2.5 * 3) / 4 / 4, 0.25]]])
    torch.testing.assert_close(decode_heatmaps(maps), expected)


def test_decoding_equals_the_original():
    original = importlib.import_module("facer.face_alignment.network.geometry").heatmap2points
    maps = torch.rand(2, 5, 12, 9)
    torch.testing.assert_close(decode_heatmaps(maps), original(maps))


def test_an_empty_map_gives_numbers():
    assert torch.equal(decode_heatmaps(torch.zeros(1, 1, 4, 4)), torch.zeros(1, 1, 2))


def test_drawing_by_hand():
    # A point on the centre of cell (column 3, row 2) of an 8 x 8 map, radius 2: exp(-2 r^2), nothing beyond r = 2.
    drawn = draw_heatmaps(torch.tensor([[[3.5 / 8, 2.5 / 8]]]), size=8, radius=2.0)[0, 0]
    expected = torch.zeros(8, 8)
    for row in range(8):
        for column in range(8):
            squared = (column - 3) ** 2 + (row - 2) ** 2
            if squared <= 4:
                expected[row, column] = math.exp(-16 * squared / (2 * 2.0**2))
    torch.testing.assert_close(drawn, expected)


def test_drawing_is_continuous_in_the_point():
    drawn = draw_heatmaps(torch.tensor([[[4.0 / 8, 4.0 / 8]]]), size=8, radius=3.0)[0, 0]
    torch.testing.assert_close(drawn[3:5, 3:5], torch.full((2, 2), math.exp(-8 * 0.5 / 9)))


def test_decoding_returns_the_drawn_points():
    points = 0.1 + 0.8 * torch.rand(3, 7, 2)
    torch.testing.assert_close(decode_heatmaps(draw_heatmaps(points, 128, 5.0)), points, atol=1e-4, rtol=0)


def test_points_outside_draw_only_what_reaches_in_and_unlabelled_ones_nothing():
    points = torch.tensor([[[-1.0, 0.5], [-0.01, 0.5], [float("nan"), 0.5]]])
    far, near, unlabelled = draw_heatmaps(points, 32, 5.0)[0]
    assert far.max() == 0
    assert 0 < near.max() < 1
    assert near[:, 6:].max() == 0
    assert torch.equal(unlabelled, torch.zeros(32, 32))


def test_decoding_is_differentiable():
    maps = (torch.rand(1, 2, 4, 5, dtype=torch.float64) + 0.1).requires_grad_()
    assert torch.autograd.gradcheck(decode_heatmaps, (maps,))
