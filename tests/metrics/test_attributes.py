import numpy as np
import pytest
import torch
import torchmetrics

from farl_hf.errors import InvalidArgumentError
from farl_hf.metrics.attributes import attribute_accuracy, count_correct_attributes


def test_accuracy_equals_torchmetrics_with_ignored_entries():
    rng = np.random.default_rng(0)
    probabilities, labels = rng.random((50, 6)), rng.integers(0, 2, (50, 6))
    labels[rng.random((50, 6)) < 0.3] = -100
    metric = torchmetrics.classification.MultilabelAccuracy(num_labels=6, average="none", ignore_index=-100)
    expected = metric(torch.tensor(probabilities), torch.tensor(labels)).numpy()
    scores = attribute_accuracy(*count_correct_attributes(probabilities, labels), list("abcdef"))
    np.testing.assert_allclose([scores[f"accuracy_{name}"] for name in "abcdef"], expected, atol=1e-6)
    assert scores["mean_accuracy"] == pytest.approx(expected.mean(), abs=1e-6)


def test_attributes_that_are_never_labelled_do_not_count():
    labels = np.array([[1, -100], [0, -100]])
    scores = attribute_accuracy(
        *count_correct_attributes(np.array([[0.9, 0.9], [0.9, 0.9]]), labels), ["hat", "beard"]
    )
    assert scores == {"mean_accuracy": 0.5, "accuracy_hat": 0.5}


def test_bad_shapes_are_named():
    with pytest.raises(InvalidArgumentError, match=r"\(2, 3\) and \(2, 4\)"):
        count_correct_attributes(np.zeros((2, 3)), np.zeros((2, 4)))
    for probability, label in ((np.nan, 1), (0.5, 7), (0.5, -1)):
        with pytest.raises(InvalidArgumentError, match="labels 0, 1 or -100"):
            count_correct_attributes(np.array([[probability]]), np.array([[label]]))
