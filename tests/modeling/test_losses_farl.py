"""Losses against plain loops over the entries, heat maps by hand-computed cases and against pyfacer's decoder."""

import importlib
import math

import pytest
import torch
from torch.nn import functional

from farl_hf.modeling.modeling_farl_heads import (
    attribute_loss,
    decode_heatmaps,
    draw_heatmaps,
    landmark_losses,
    parsing_loss,
)


def test_parsing_loss_is_the_mean_over_labelled_pixels():
    logits, labels = torch.randn(2, 4, 3, 3), torch.randint(0, 4, (2, 6, 6))
    labels[0, :2], labels[1, 3] = 255, -100
    resized = functional.interpolate(logits, size=(6, 6), mode="bilinear", align_corners=False)
    terms = []
    for image in range(2):
        for row in range(6):
            for column in range(6):
                label = int(labels[image, row, column])
                if label not in (255, -100):
                    terms.append(-float(resized[image, :, row, column].log_softmax(0)[label]))
    assert parsing_loss(logits, labels).item() == pytest.approx(sum(terms) / len(terms), rel=1e-5)
    assert len(terms) == 2 * 36 - 12 - 6


def test_parsing_loss_equals_cross_entropy_when_all_is_labelled():
    logits, labels = torch.randn(2, 4, 8, 8), torch.randint(0, 4, (2, 8, 8))
    torch.testing.assert_close(parsing_loss(logits, labels), functional.cross_entropy(logits, labels))


def test_parsing_loss_accepts_small_integer_labels():
    logits, labels = torch.randn(1, 4, 8, 8), torch.randint(0, 4, (1, 8, 8))
    labels[0, 0] = 255
    torch.testing.assert_close(parsing_loss(logits, labels.to(torch.int32)), parsing_loss(logits, labels))


def test_parsing_loss_weighs_the_classes_as_torch_does():
    logits, labels, weights = torch.randn(2, 4, 8, 8), torch.randint(0, 4, (2, 8, 8)), [1.0, 0.5, 3.0, 0.0]
    labels[1, 2:4] = 255
    expected = functional.cross_entropy(logits, labels, weight=torch.tensor(weights), ignore_index=255)
    torch.testing.assert_close(parsing_loss(logits, labels, weights), expected)


def test_landmark_losses_by_loops():
    logits, points, labels = torch.randn(2, 3, 4, 4), torch.rand(2, 3, 2), torch.rand(2, 3, 2)
    labels[0, 1], labels[1, 2, 0] = float("nan"), float("nan")
    maps = functional.interpolate(logits, size=(16, 16), mode="bilinear", align_corners=False)
    distances, entropies = [], []
    for image, index in ((0, 0), (0, 2), (1, 0), (1, 1)):
        x, y = labels[image, index].tolist()
        distances.append(math.dist(points[image, index].tolist(), (x, y)))
        terms = []
        for row in range(16):
            for column in range(16):
                squared = (column + 0.5 - 16 * x) ** 2 + (row + 0.5 - 16 * y) ** 2
                target = math.exp(-8 * squared / 3**2) if squared <= 9 else 0.0
                score = float(maps[image, index, row, column])
                terms.append(math.log1p(math.exp(-abs(score))) + max(score, 0) - score * target)
        entropies.append(sum(terms) / 256)
    point, heatmap = landmark_losses(logits, points, labels, 16, 3.0)
    assert point.item() == pytest.approx(sum(distances) / 4, rel=1e-4)
    assert heatmap.item() == pytest.approx(sum(entropies) / 4, rel=1e-4)


def test_the_distance_is_euclidean():
    labels = torch.tensor([[[0.2, 0.2]]])
    point, _ = landmark_losses(torch.zeros(1, 1, 4, 4), labels + torch.tensor([0.3, 0.4]), labels, 8, 2.0)
    assert point.item() == pytest.approx(0.5)


def test_attribute_loss_is_the_mean_over_labelled_entries():
    logits, labels = torch.randn(3, 4), torch.randint(0, 2, (3, 4))
    labels[0, 1], labels[2] = -100, -100
    terms = [
        -math.log(torch.sigmoid(score if label else -score).item())
        for score, label in zip(logits.flatten(), labels.flatten().tolist(), strict=True)
        if label != -100
    ]
    assert len(terms) == 7
    assert attribute_loss(logits, labels).item() == pytest.approx(sum(terms) / 7, rel=1e-4)
    assert attribute_loss(logits, labels.float()).item() == pytest.approx(sum(terms) / 7, rel=1e-4)


def test_nothing_labelled_gives_zero_and_finite_gradients():
    maps = torch.randn(1, 2, 4, 4, requires_grad=True)
    points = torch.rand(1, 2, 2, requires_grad=True)
    scores = torch.randn(1, 4, requires_grad=True)
    total = parsing_loss(maps, torch.full((1, 8, 8), 255))
    total = total + sum(landmark_losses(maps, points, torch.full((1, 2, 2), float("nan")), 8, 2.0))
    total = total + attribute_loss(scores, torch.full((1, 4), -100))
    assert total.item() == 0
    total.backward()
    for leaf in (maps, points, scores):
        assert torch.equal(leaf.grad, torch.zeros_like(leaf))


def test_a_perfect_point_has_a_finite_gradient():
    points = torch.full((1, 1, 2), 0.5, requires_grad=True)
    landmark_losses(torch.zeros(1, 1, 4, 4), points, torch.full((1, 1, 2), 0.5), 8, 2.0)[0].backward()
    assert points.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_losses_are_computed_in_float32(dtype):
    logits = torch.randn(1, 4, 8, 8).to(dtype)
    assert parsing_loss(logits, torch.zeros(1, 8, 8, dtype=torch.long)).dtype == torch.float32
    assert attribute_loss(logits[0, 0], torch.ones(8, 8)).dtype == torch.float32


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


@pytest.mark.parametrize("value", [0.0, 1e-9, 1e-7])
def test_nearly_empty_maps_are_decoded_as_by_the_original(value):
    original = importlib.import_module("facer.face_alignment.network.geometry").heatmap2points
    maps = value * torch.rand(2, 5, 4, 8)
    torch.testing.assert_close(decode_heatmaps(maps), original(maps))


def test_an_empty_map_gives_the_centre_of_the_first_cell():
    assert torch.equal(decode_heatmaps(torch.zeros(1, 1, 4, 8)), torch.tensor([[[0.5 / 8, 0.5 / 4]]]))


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
