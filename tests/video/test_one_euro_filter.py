import math

import numpy as np
import pytest

from farl_hf.video import OneEuroFilter, OneEuroSettings

SETTINGS = OneEuroSettings(min_cutoff_hz=1.0, beta=0.5, d_cutoff_hz=1.0)


def by_hand(values, times, settings):
    """The paper's algorithm, one scalar signal."""

    def alpha(cutoff, te):
        tau = 1 / (2 * math.pi * cutoff)
        return 1 / (1 + tau / te)

    smooth, speed, results = values[0], 0.0, [values[0]]
    for index in range(1, len(values)):
        te = times[index] - times[index - 1]
        a = alpha(settings.d_cutoff_hz, te)
        speed = a * (values[index] - smooth) / te + (1 - a) * speed
        a = alpha(settings.min_cutoff_hz + settings.beta * abs(speed), te)
        smooth = a * values[index] + (1 - a) * smooth
        results.append(smooth)
    return results


def run(values, times, settings=SETTINGS, unit=1.0):
    smooth = OneEuroFilter(settings, unit)
    return np.array([smooth(np.array(value), time) for value, time in zip(values, times, strict=True)])


def test_it_is_the_published_filter_at_uneven_times():
    rng = np.random.default_rng(0)
    values, times = rng.normal(size=(30, 3)), np.cumsum(rng.uniform(0.01, 0.2, 30))
    expected = np.stack([by_hand(values[:, column], times, SETTINGS) for column in range(3)], axis=1)
    np.testing.assert_allclose(run(values, times), expected, rtol=1e-12)


def test_constant_values_stay():
    assert (run(np.full((20, 2), 7.5), np.arange(20) / 25) == 7.5).all()


def test_a_step_is_approached_without_overshoot():
    values = run([0.0] * 5 + [1.0] * 100, np.arange(105) / 25)
    assert (np.diff(values[4:]) >= 0).all()
    assert 0.99 < values[-1] <= 1


def test_still_points_shake_less_and_fast_ones_lag_little():
    times, settings = np.arange(200) / 25, OneEuroSettings()
    still = np.random.default_rng(0).normal(0, 0.01, 200)
    assert run(still, times, settings)[25:].std() < 0.6 * still.std()
    fast = 2.0 * times  # face sizes
    slow_filter = OneEuroSettings(beta=0.0)
    assert abs(run(fast, times, settings)[-1] - fast[-1]) < 0.03 < abs(run(fast, times, slow_filter)[-1] - fast[-1])


@pytest.mark.parametrize("scale", [0.1, 50.0])
def test_the_unit_makes_it_independent_of_the_scale(scale):
    values, times = np.random.default_rng(1).normal(size=30), np.arange(30) / 25
    np.testing.assert_allclose(run(scale * values, times, unit=scale), scale * run(values, times), rtol=1e-9)
