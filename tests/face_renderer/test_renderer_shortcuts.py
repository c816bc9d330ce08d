"""The renderer's fast paths give what the plain ones give."""

import numpy as np
import pytest

from farl_hf.face_renderer.mesh_splatting import splat_grid
from farl_hf.face_renderer.random_choice import at_least_zero, between, pick, pick_any


@pytest.mark.parametrize("weights", [(0.5, 0.5), (0.1, 0.2, 0.3, 0.4), (0.0, 1.0)])
def test_pick_draws_what_choice_draws(weights):
    ours, theirs = np.random.default_rng(5), np.random.default_rng(5)
    options = list(range(len(weights)))
    for _ in range(50):
        assert pick(ours, options, weights) == theirs.choice(options, p=weights)
        assert pick_any(ours, options) == theirs.choice(options)
    assert ours.random() == theirs.random()


@pytest.mark.parametrize("shape", [(7,), (5, 6), (3, 200, 150), (6, 0)])
@pytest.mark.parametrize(("low", "high"), [(0, 1.3), (-8, 8), (0.45, 1)])
def test_clamping_is_clip(shape, low, high):
    values = np.random.default_rng(0).normal(0, 5, shape).astype(np.float32)
    expected = np.clip(values, np.float32(low), np.float32(high))
    np.testing.assert_array_equal(between(values.copy(), low, high), expected)
    np.testing.assert_array_equal(at_least_zero(values.copy()), np.maximum(values, 0))


def _slope(rows: int) -> np.ndarray:
    """A flat grid, 4 pixels from row to row and 3 from column to column, that leans away."""
    row, column = np.mgrid[0:rows, 0:40].astype(np.float32)
    return np.stack([3 * column + 2, 4 * row + 1, -row])


def test_flat_grid_is_solved_exactly():
    patch = splat_grid(_slope(12), (64, 160))
    x0, y0 = patch.top_left_xy
    rows, columns = np.nonzero(patch.mask[2:-2, 2:-2])
    rows, columns = rows + 2, columns + 2
    np.testing.assert_allclose(patch.column[rows, columns], (columns + x0 + 0.5 - 2) / 3, atol=0.02)
    np.testing.assert_allclose(patch.row[rows, columns], (rows + y0 + 0.5 - 1) / 4, atol=0.02)
    assert patch.mask[2:-2, 2:-2].all()


def test_a_cut_below_the_window_changes_nothing():
    whole = _slope(60)
    first = splat_grid(whole, (40, 130), closing=7)
    second = splat_grid(whole[:, :20], (40, 130), closing=7, whole=whole)
    np.testing.assert_array_equal(first.mask, second.mask)
    np.testing.assert_allclose(first.row[first.mask], second.row[first.mask], atol=1e-4)
