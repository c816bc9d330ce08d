import numpy as np
import pytest
import sklearn.metrics

from farl_hf.metrics.evaluate_modules import FaceAttributeAccuracy, FaceLandmarksNME, FaceParsingF1


def test_parsing_of_maps_of_different_sizes_over_batches():
    rng = np.random.default_rng(0)
    maps = [(rng.integers(0, 3, shape), rng.integers(0, 3, shape)) for shape in ((4, 5), (6, 3), (2, 2))]
    metric = FaceParsingF1()
    for ours, true in maps:
        metric.add_batch(predictions=[ours], references=[true])
    scores = metric.compute(label_names=["background", "skin", "hair"])
    truth, found = (np.concatenate([pair[side].ravel() for pair in maps]) for side in (1, 0))
    expected = sklearn.metrics.f1_score(truth, found, labels=[1, 2], average="macro")
    assert scores["f1_mean"] == pytest.approx(expected)


def test_landmarks():
    truth = np.random.default_rng(1).random((2, 68, 2))
    truth[:, 36], truth[:, 45] = (0, 0), (2, 0)
    scores = FaceLandmarksNME().compute(predictions=truth + np.array([0.1, 0.0]), references=truth)
    assert scores["nme"] == pytest.approx(0.05)


def test_attributes():
    scores = FaceAttributeAccuracy().compute(
        predictions=[[0.9, 0.1], [0.2, 0.7]], references=[[1, -100], [1, 1]], label_names=["hat", "beard"]
    )
    assert scores == {"mean_accuracy": 0.75, "accuracy_hat": 0.5, "accuracy_beard": 1.0}
