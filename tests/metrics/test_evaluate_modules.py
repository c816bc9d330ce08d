import sys
from pathlib import Path

import evaluate
import numpy as np
import pytest
import sklearn.metrics

import farl_hf
from farl_hf.metrics.evaluate_modules import FaceAttributeAccuracy, FaceLandmarksNME, FaceParsingF1


@pytest.fixture(scope="module")
def copies_folder(tmp_path_factory):
    """Where `evaluate` copies modules to before it imports them; once, because it imports them as one package.

    The package of earlier tests of the process lies elsewhere, and is not looked at.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate.config, "HF_MODULES_CACHE", str(tmp_path_factory.mktemp("modules")))
        patch.setattr(sys, "path", [place for place in sys.path if not Path(place, "evaluate_modules").is_dir()])
        forget_the_package()
        yield
    forget_the_package()


def forget_the_package():
    for name in [name for name in sys.modules if name.partition(".")[0] == "evaluate_modules"]:
        del sys.modules[name]


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


def test_box_normalisers_take_boxes():
    truth = np.random.default_rng(1).random((2, 19, 2))
    boxes = [[0, 0, 3, 4], [10, 10, 13, 14]]
    scores = FaceLandmarksNME().compute(
        predictions=truth + np.array([0.1, 0.0]), references=truth, normaliser="diag", boxes_xyxy=boxes, threshold=0.07
    )
    assert scores["nme"] == pytest.approx(0.1 / 5)


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        (
            "face_parsing_f1",
            {"predictions": [[[0, 1]]], "references": [[[0, 1]]], "label_names": ["background", "skin"]},
            {"f1_mean": 1.0, "pixel_accuracy": 1.0, "f1_background": 1.0, "f1_skin": 1.0},
        ),
        (
            "face_attribute_accuracy",
            {"predictions": [[0.9]], "references": [[0]], "label_names": ["hat"]},
            {"mean_accuracy": 0.0, "accuracy_hat": 0.0},
        ),
        (
            "face_landmarks_nme",
            {"predictions": np.eye(68, 2)[None], "references": np.eye(68, 2)[None], "normaliser": "diag"}
            | {"boxes_xyxy": [[0, 0, 1, 1]]},
            {"nme": 0.0, "auc": 1.0, "failure_rate": 0.0},
        ),
    ],
)
def test_metrics_load_by_path(name, values, expected, copies_folder, tmp_path):
    loaded = evaluate.load(farl_hf.metric(name), cache_dir=str(tmp_path))
    assert loaded.compute(**values) == pytest.approx(expected)


def test_unknown_metrics_are_named():
    with pytest.raises(farl_hf.UnknownNameError, match="face_landmarks_nme"):
        farl_hf.metric("iou")
