import numpy as np
import pytest
from scipy.integrate import simpson, trapezoid

from farl_hf.errors import InvalidArgumentError, UnknownNameError
from farl_hf.metrics.evaluate_modules import FaceLandmarksNME
from farl_hf.metrics.landmarks import (
    applicable_normalisers,
    area_under_curve_and_failure_rate,
    landmark_scores,
    nme_per_face,
    normaliser_px,
)


def test_error_of_a_constant_shift_is_its_length_over_the_eye_distance():
    landmarks = np.random.default_rng(0).random((3, 68, 2)) * 100
    landmarks[:, 36], landmarks[:, 45] = (10, 20), (70, 100)  # 100 px apart
    lengths = normaliser_px(landmarks)
    np.testing.assert_allclose(lengths, 100)
    np.testing.assert_allclose(nme_per_face(landmarks + np.array([3, 4]), landmarks, lengths), 0.05)


def test_error_equals_a_plain_loop():
    rng = np.random.default_rng(1)
    predictions, landmarks = rng.random((4, 98, 2)), rng.random((4, 98, 2))
    expected = []
    for ours, true in zip(predictions, landmarks, strict=True):
        length = np.hypot(*(true[60] - true[72]))
        expected.append(np.mean([np.hypot(*(a - b)) for a, b in zip(ours, true, strict=True)]) / length)
    np.testing.assert_allclose(nme_per_face(predictions, landmarks, normaliser_px(landmarks)), expected, atol=1e-6)


def test_unlabelled_points_are_left_out():
    landmarks = np.zeros((2, 68, 2))
    predictions = landmarks + np.array([0, 1])
    landmarks[0, 1:] = np.nan
    landmarks[1] = np.nan
    errors = nme_per_face(predictions, landmarks, np.array([2.0, 2.0]))
    assert errors[0] == 0.5
    assert np.isnan(errors[1])


# FaRL's scorers, counting from 0: the ends of the length for each benchmark (300W, WFLW, AFLW-19).
OFFICIAL_ENDS = {
    (68, "inter_ocular"): ([36], [45]),
    (68, "inter_pupil"): ([36, 37, 38, 39, 40, 41], [42, 43, 44, 45, 46, 47]),
    (98, "inter_ocular"): ([60], [72]),
    (98, "inter_pupil"): ([96], [97]),
    (19, "inter_ocular"): ([6], [11]),
    (19, "inter_pupil"): ([7], [10]),
}


@pytest.mark.parametrize(("num_landmarks", "name"), OFFICIAL_ENDS)
def test_normalisers_are_the_official_lengths(num_landmarks, name):
    landmarks = np.random.default_rng(3).random((5, num_landmarks, 2)) * 50
    one, other = OFFICIAL_ENDS[num_landmarks, name]
    expected = [np.hypot(*(face[one].mean(axis=0) - face[other].mean(axis=0))) for face in landmarks]
    np.testing.assert_allclose(normaliser_px(landmarks, name), expected, atol=1e-6)
    assert name in applicable_normalisers(num_landmarks)


def test_box_normalisers():
    boxes = np.array([[10.0, 10.0, 13.0, 14.0]])
    landmarks = np.zeros((1, 19, 2))
    assert normaliser_px(landmarks, "diag", boxes)[0] == 5
    assert normaliser_px(landmarks, "box", boxes)[0] == pytest.approx(12**0.5)
    with pytest.raises(UnknownNameError, match="need boxes"):
        normaliser_px(landmarks, "diag")


def official_area_and_failures(errors, threshold, step=0.0001):
    """The official scorer's steps, with an even number of samples integrated as SciPy's `simps(even="avg")` did."""
    samples = np.arange(0.0, threshold + step, step)
    curve = np.array([np.count_nonzero(errors <= sample) / len(errors) for sample in samples])
    if len(samples) % 2:
        return simpson(curve, x=samples) / threshold, 1 - curve[-1]
    first = simpson(curve[:-1], x=samples[:-1]) + trapezoid(curve[-2:], x=samples[-2:])
    last = simpson(curve[1:], x=samples[1:]) + trapezoid(curve[:2], x=samples[:2])
    return (first + last) / 2 / threshold, 1 - curve[-1]


@pytest.mark.parametrize(("threshold", "num_samples"), [(0.07, 702), (0.1, 1001), (0.05, 502), (0.08, 801)])
def test_area_and_failures_are_the_official_scorers(threshold, num_samples):
    assert len(np.arange(0, threshold + 1e-4, 1e-4)) == num_samples
    rng = np.random.default_rng(2)
    # Some faces between the threshold and the last sample, which only one of the two counts as failures.
    errors = np.concatenate([rng.gamma(2.0, 0.02, 297), np.full(3, threshold + 5e-5)])
    expected = official_area_and_failures(errors, threshold)
    assert area_under_curve_and_failure_rate(errors, threshold) == pytest.approx(expected, abs=1e-9)


def test_exact_area_and_failures_end_at_the_threshold():
    errors = np.concatenate([np.random.default_rng(2).gamma(2.0, 0.02, 297), np.full(3, 0.07005)])
    area, failure_rate = area_under_curve_and_failure_rate(errors, 0.07, exact=True)
    fine = np.linspace(0, 0.07, 100_001)
    curve = np.searchsorted(np.sort(errors), fine, side="right") / len(errors)
    assert area == pytest.approx(trapezoid(curve, x=fine) / 0.07, abs=1e-5)
    assert failure_rate == pytest.approx((errors > 0.07).mean(), abs=1e-9)
    official_area, official_failures = area_under_curve_and_failure_rate(errors, 0.07)
    assert official_area - area > 5e-4
    assert failure_rate - official_failures == pytest.approx(0.01)


def test_perfect_and_hopeless():
    assert area_under_curve_and_failure_rate(np.zeros(3), 0.1) == pytest.approx((1.0, 0.0))
    assert area_under_curve_and_failure_rate(np.zeros(3), 0.07) == pytest.approx((0.0701 / 0.07, 0.0))
    assert area_under_curve_and_failure_rate(np.zeros(3), 0.07, exact=True) == (1.0, 0.0)
    assert area_under_curve_and_failure_rate(np.ones(3), 0.1) == pytest.approx((0.0, 1.0))
    for threshold in (0.0, 1e9, float("inf"), float("nan")):
        with pytest.raises(InvalidArgumentError, match="threshold"):
            area_under_curve_and_failure_rate(np.ones(3), threshold)


@pytest.mark.parametrize("exact", [False, True])
def test_scores_and_the_evaluate_module_agree(exact):
    truth = np.random.default_rng(4).random((9, 19, 2)) * 100
    predictions = truth + np.random.default_rng(5).normal(0, 3, truth.shape)
    errors = nme_per_face(predictions, truth, normaliser_px(truth))
    settings = {"threshold": 0.07, "exact": exact}
    module = FaceLandmarksNME().compute(predictions=predictions, references=truth, **settings)
    assert module == pytest.approx(landmark_scores(errors, **settings))
    assert module["auc"] == area_under_curve_and_failure_rate(errors, 0.07, exact)[0]


def test_scores_leave_out_faces_without_labels():
    assert landmark_scores(np.array([0.02, np.nan, 0.04]))["nme"] == pytest.approx(0.03)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("nme", [[], [np.nan]])
@pytest.mark.filterwarnings("error")
def test_scores_of_no_faces_are_nan_without_a_warning(nme, exact):
    assert np.isnan(list(landmark_scores(np.array(nme), 0.07, exact).values())).all()
