import numpy as np
import pytest
import sklearn.metrics
import torch
from face_rows import make_face_dataset
from transformers.modeling_outputs import ImageClassifierOutput, SemanticSegmenterOutput

from farl_hf import FaRLImageProcessor
from farl_hf.data.samples.face_samples import FaceSamples, collate_face_samples
from farl_hf.errors import UnknownNameError
from farl_hf.labels import LAPA_LABELS
from farl_hf.training.evaluation.photo_frame import LandmarksEvaluation, RunningStatistics, make_evaluation


def make_batch(task, size=96, **settings):
    processor = FaRLImageProcessor(size={"height": size, "width": size})
    samples = FaceSamples(make_face_dataset(3), processor, task, with_photo_labels=True, min_face_px=1, **settings)
    return processor, collate_face_samples([samples[item] for item in range(3)])


def test_true_label_maps_score_near_one_and_rows_add_up():
    processor, batch = make_batch("parsing", size=256)
    evaluation = make_evaluation("parsing", processor, LAPA_LABELS)
    logits = 10 * torch.nn.functional.one_hot(batch["labels"], 11).permute(0, 3, 1, 2).float()
    statistics = evaluation.statistics(SemanticSegmenterOutput(logits=logits), batch)
    assert statistics.shape == (3, 121)
    assert statistics.sum() == 3 * 96 * 96
    assert evaluation.scores(statistics.numpy())["f1_mean"] > 0.98


def test_parsing_counts_are_those_of_the_photo_frame():
    processor, batch = make_batch("parsing")
    evaluation = make_evaluation("parsing", processor, LAPA_LABELS)
    logits = torch.randn(3, 11, 24, 24, generator=torch.Generator().manual_seed(0))
    statistics = evaluation.statistics(SemanticSegmenterOutput(logits=logits), batch)
    maps = processor.post_process_face_parsing(logits, batch["crop_from_photo"], [(96, 96)] * 3)
    truth = torch.cat([labels.flatten() for labels in batch["photo_labels"]])
    ours = torch.cat([labels.flatten() for labels in maps])
    expected = sklearn.metrics.f1_score(truth, ours, labels=[1, 4, 5, 6], average="macro")
    scores = evaluation.scores(statistics.numpy())
    assert np.mean([scores[f"f1_{LAPA_LABELS[label]}"] for label in (1, 4, 5, 6)]) == pytest.approx(expected)


def test_true_landmarks_have_no_error_and_a_shift_has_its_own():
    processor, batch = make_batch("landmarks")
    evaluation = make_evaluation("landmarks", processor, [str(index) for index in range(68)])
    assert evaluation.statistics(batch["labels"], batch).abs().max() < 1e-4
    scale = batch["crop_from_photo"][:, 0, 0].mean()
    shifted = batch["labels"] + torch.tensor([5.0, 0.0]) * scale / 96
    eye_distance = 0.8 * 0.35 * 96
    errors = evaluation.statistics(shifted, batch).numpy()
    np.testing.assert_allclose(errors[:, 0], 5 / eye_distance, rtol=1e-3)
    np.testing.assert_array_equal(evaluation.face_scores(errors), errors[:, 0])
    scores = evaluation.scores(errors)
    diagonal = 2 * 0.35 * 96 * np.hypot(1.0, 1.2)
    assert scores["nme_diag"] == pytest.approx(5 / diagonal, rel=1e-3)
    assert scores["nme_inter_ocular"] == scores["nme"]
    assert scores["nme"] == pytest.approx(5 / eye_distance, rel=1e-3)
    assert scores["failure_rate"] == 1.0


def test_the_curve_of_nineteen_points_is_that_of_the_box():
    evaluation = LandmarksEvaluation(None, 19)
    assert evaluation.normalisers == ("inter_ocular", "inter_pupil", "box", "diag")
    statistics = np.array([[0.5, 0.5, 0.06, 0.02], [0.5, 0.5, 0.08, 0.04]])
    scores = evaluation.scores(statistics)
    assert scores["nme"] == scores["nme_diag"] == pytest.approx(0.03)
    assert scores["failure_rate"] == 0.5
    without_boxes = evaluation.scores(np.array([[0.5, 0.5, np.nan, np.nan]]))
    assert set(without_boxes) == {"nme", "nme_inter_ocular", "nme_inter_pupil"}


@pytest.mark.filterwarnings("error")
def test_scores_that_need_boxes_skip_faces_without_them():
    processor, batch = make_batch("landmarks")
    evaluation = make_evaluation("landmarks", processor, [str(index) for index in range(68)])
    whole = evaluation.statistics(batch["labels"], batch).numpy()
    batch["box_xyxy"][1] = float("nan")
    errors = evaluation.statistics(batch["labels"], batch).numpy()
    assert np.isnan(errors[1, 2:]).all()
    np.testing.assert_array_equal(np.delete(errors, 1, axis=0), np.delete(whole, 1, axis=0))
    assert np.isfinite(evaluation.scores(errors)["nme_diag"])


def test_faces_alone_are_scored_by_the_classes_that_they_have():
    evaluation = make_evaluation("parsing", None, ["background", "skin", "hair"])
    perfect, half = np.diag([5, 4, 0]), np.array([[0, 0, 0], [0, 1, 1], [0, 0, 1]])
    scores = evaluation.face_scores(np.stack([perfect.ravel(), half.ravel(), 0 * half.ravel()]))
    np.testing.assert_allclose(scores, [1.0, 2 / 3, np.nan])


def test_attribute_statistics_leave_out_the_unlabelled():
    processor, batch = make_batch("attributes")
    names = [f"attribute_{index}" for index in range(40)]
    evaluation = make_evaluation("attributes", processor, names)
    truth = torch.stack(batch["photo_labels"])
    logits = torch.where(truth > 0.5, 3.0, -3.0)
    logits[0] = -logits[0]
    statistics = evaluation.statistics(ImageClassifierOutput(logits=logits), batch)
    assert statistics.shape == (3, 80)
    assert not statistics[:, [0, 40]].any()
    scores = evaluation.scores(statistics.numpy())
    assert scores["accuracy_attribute_3"] == pytest.approx(2 / 3)
    assert len(scores) == 1 + 3
    np.testing.assert_array_equal(evaluation.face_scores(statistics.numpy()), [0, 1, 1])


def random_rows(task):
    rng = np.random.default_rng(0)
    if task == "parsing":
        return rng.integers(0, 10**6, (7, 121)), LAPA_LABELS
    if task == "landmarks":
        rows = rng.random((7, 4)) / 10
        rows[2, 2:] = np.nan
        return rows, [str(index) for index in range(68)]
    labelled = rng.integers(0, 2, (7, 5))
    return np.hstack([labelled * rng.integers(0, 2, (7, 5)), labelled]), list("abcde")


@pytest.mark.parametrize("task", ["parsing", "landmarks", "attributes"])
def test_merging_step_by_step_changes_no_score(task):
    rows, names = random_rows(task)
    evaluation = make_evaluation(task, None, names)
    merged = RunningStatistics(evaluation)
    for part in np.split(rows, [2, 3, 6]):
        merged.add(part)
    assert merged.scores() == evaluation.scores(rows)
    np.testing.assert_array_equal(merged.face_scores(), evaluation.face_scores(rows))
    kept = sum(len(part) for part in merged.rows)
    assert kept == (7 if task == "landmarks" else 1)


def test_unknown_task_is_named():
    with pytest.raises(UnknownNameError, match="pose"):
        make_evaluation("pose", None, [])
