import numpy as np
import pytest
import sklearn.metrics
import torch
import torchmetrics

from farl_hf.errors import InvalidFaceInputError
from farl_hf.metrics.parsing import confusion_matrix, f1_per_class, parsing_f1

NAMES = ["background", "skin", "nose", "hair", "hat"]


def make_maps(seed=0, num_classes=5, shape=(3, 17, 13)):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_classes, shape)
    predictions = np.where(rng.random(shape) < 0.6, labels, rng.integers(0, num_classes, shape))
    return predictions, labels


def test_confusion_equals_scikit_learn():
    predictions, labels = make_maps()
    expected = sklearn.metrics.confusion_matrix(labels.ravel(), predictions.ravel(), labels=range(5))
    np.testing.assert_array_equal(confusion_matrix(predictions, labels, 5), expected)
    as_bytes = confusion_matrix(predictions.astype(np.uint8), labels.astype(np.uint8), 5)
    np.testing.assert_array_equal(as_bytes, expected)
    more = confusion_matrix(predictions.astype(np.uint8), labels.astype(np.uint8), 300)  # than bytes can name
    np.testing.assert_array_equal(more[:5, :5], expected)
    assert more.shape == (300, 300)


def test_ignored_labels_are_not_counted():
    predictions, labels = make_maps()
    labels[0, 0], labels[1, 1] = 255, -100
    assert confusion_matrix(predictions, labels, 5).sum() == labels.size - 2 * 13
    labels[1, 1] = 255
    as_bytes = confusion_matrix(predictions.astype(np.uint8), labels.astype(np.uint8), 5)
    np.testing.assert_array_equal(as_bytes, confusion_matrix(predictions, labels, 5))


def test_f1_equals_scikit_learn_and_torchmetrics():
    predictions, labels = make_maps()
    ours = f1_per_class(confusion_matrix(predictions, labels, 5))
    expected = sklearn.metrics.f1_score(labels.ravel(), predictions.ravel(), average=None)
    np.testing.assert_allclose(ours, expected, atol=1e-6)
    metric = torchmetrics.classification.MulticlassF1Score(num_classes=5, average="none")
    np.testing.assert_allclose(ours, metric(torch.tensor(predictions), torch.tensor(labels)).numpy(), atol=1e-6)


def test_merging_confusions_differs_from_averaging_pictures():
    # One picture with 8 of 10 right, another with 0 of 1: together 2 * 8 / (8 + 11), not the mean of two scores.
    first = confusion_matrix(np.array([1] * 8 + [0] * 2), np.array([1] * 10), 2)
    second = confusion_matrix(np.array([0]), np.array([1]), 2)
    assert f1_per_class(first + second)[1] == pytest.approx(16 / 19)


def test_mean_is_over_foreground_classes_that_occur():
    predictions, labels = make_maps(num_classes=4)
    scores = parsing_f1(confusion_matrix(predictions, labels, 5), NAMES)
    expected = sklearn.metrics.f1_score(labels.ravel(), predictions.ravel(), labels=[1, 2, 3], average="macro")
    assert scores["f1_mean"] == pytest.approx(expected, abs=1e-6)
    assert scores["pixel_accuracy"] == pytest.approx((predictions == labels).mean())
    assert "f1_hat" not in scores


def test_bad_input_is_named():
    with pytest.raises(InvalidFaceInputError, match=r"\(2,\) and \(3,\)"):
        confusion_matrix(np.zeros(2), np.zeros(3), 2)
    for dtype in (np.int64, np.uint8):
        with pytest.raises(InvalidFaceInputError, match="labels in"):
            confusion_matrix(np.zeros(2, dtype), np.array([0, 7], dtype), 2)
        with pytest.raises(InvalidFaceInputError, match=r"predictions in .* to 255"):
            confusion_matrix(np.array([0, 255], dtype), np.zeros(2, dtype), 2)
    for odd in (0.5, np.nan, "a"):
        with pytest.raises(InvalidFaceInputError, match="whole class ids"):
            confusion_matrix(np.array([odd]), np.array([1]), 2)
    assert confusion_matrix(np.array([1.0]), np.array([True]), 2)[1, 1] == 1
    with pytest.raises(InvalidFaceInputError, match="of 2 classes"):
        parsing_f1(np.eye(3), ["background", "skin"])
