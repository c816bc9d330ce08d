"""The tanh warp: values by hand, round trips where it inverts, and where it does not."""

import math

import pytest
import torch

from farl_hf.processing.face_geometry_farl import tanh_unwarp, tanh_warp

ALPHAS = (0.2, 0.8, 1.0)


def test_by_hand():
    values = torch.tensor([-2.0, -0.2, 0.1, 0.5])
    expected = torch.tensor([-0.2 - 0.8 * math.tanh(1.8 / 0.8), -0.2, 0.1, 0.2 + 0.8 * math.tanh(0.3 / 0.8)])
    torch.testing.assert_close(tanh_warp(values, 0.8), expected)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_inverse_undoes_the_warp_within_the_clamp(alpha):
    farthest = 1 - alpha + alpha * math.atanh(0.999)
    points = torch.linspace(-farthest, farthest, 401, dtype=torch.float64)
    torch.testing.assert_close(tanh_unwarp(tanh_warp(points, alpha), alpha), points)
    warped = torch.linspace(-1, 1, 401, dtype=torch.float64) * (1 - alpha + 0.999 * alpha)
    torch.testing.assert_close(tanh_warp(tanh_unwarp(warped, alpha), alpha), warped)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_the_rim_is_clamped(alpha):
    farthest = 1 - alpha + alpha * math.atanh(0.999)
    rim = torch.tensor([-1.0, 1.0, 1.5], dtype=torch.float64)
    expected = torch.tensor([-farthest, farthest, farthest], dtype=torch.float64)
    torch.testing.assert_close(tanh_unwarp(rim, alpha), expected)


def test_alpha_zero_is_the_identity():
    points = torch.randn(7)
    assert torch.equal(tanh_warp(points, 0), points)
    assert torch.equal(tanh_unwarp(points, 0), points)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_identity_in_the_middle_and_the_plane_fits_in(alpha):
    middle = torch.linspace(-1, 1, 51) * (1 - alpha)
    torch.testing.assert_close(tanh_warp(middle, alpha), middle)
    far = torch.linspace(-50, 50, 1001, dtype=torch.float64)
    warped = tanh_warp(far, alpha)
    assert warped.abs().max() <= 1
    assert (warped.diff() >= 0).all()


def test_small_alpha_approaches_a_crop():
    points = torch.linspace(-2, 2, 101, dtype=torch.float64)
    torch.testing.assert_close(tanh_warp(points, 1e-3), points.clamp(-1, 1), atol=1e-3, rtol=0)


@pytest.mark.parametrize("function", [tanh_warp, tanh_unwarp])
def test_gradients(function):
    points = torch.tensor([-0.97, -0.5, -0.1, 0.05, 0.6, 0.95], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda values: function(values, 0.8), (points,))


def test_the_clamp_can_be_moved():
    wide = tanh_unwarp(torch.tensor(1.0, dtype=torch.float64), 0.8, clamp=1 - 1e-9)
    assert wide.item() == pytest.approx(0.2 + 0.8 * math.atanh(1 - 1e-9))
