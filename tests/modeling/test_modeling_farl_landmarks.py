"""The landmark model: decoding and the weighted sum of its two losses."""

import pytest
import torch

from farl_hf import FaRLForLandmarks
from farl_hf.modeling.modeling_farl_heads import landmark_losses


def test_points_are_the_centres_of_mass_of_the_sigmoid_maps(toy_model):
    model = toy_model(FaRLForLandmarks)
    outputs = model(torch.randn(2, 3, 32, 48))
    assert outputs.logits.shape == (2, 5, 8, 12)
    maps = outputs.logits.sigmoid()
    x = sum((column + 0.5) / 12 * maps[..., column].sum(-1) for column in range(12)) / maps.sum((-2, -1))
    y = sum((row + 0.5) / 8 * maps[..., row, :].sum(-1) for row in range(8)) / maps.sum((-2, -1))
    torch.testing.assert_close(outputs.landmarks, torch.stack([x, y], dim=-1))
    assert outputs.loss is None


def test_loss_is_the_weighted_sum(toy_model):
    weights = {"point_loss_weight": 3.0, "heatmap_size": 16, "heatmap_radius": 2.0}
    model = toy_model(FaRLForLandmarks, **weights)
    labels = torch.rand(2, 5, 2)
    labels[0, 3] = float("nan")
    outputs = model(torch.randn(2, 3, 32, 32), labels=labels)
    point, heatmap = landmark_losses(outputs.logits, outputs.landmarks, labels, 16, 2.0)
    assert outputs.loss.item() == pytest.approx(3 * point.item() + heatmap.item(), rel=1e-5)
    outputs.loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.grad is not None)


def test_landmarks_stay_float32_in_half_precision(toy_model):
    model = toy_model(FaRLForLandmarks).to(torch.bfloat16)
    assert model(torch.randn(1, 3, 32, 32)).landmarks.dtype == torch.float32
