"""Evaluation in the photo frame, on the original labels, exact over any number of processes.

Each face gives one row of sufficient statistics (confusion counts, errors, correct counts). The Trainer gathers the
rows of a step from all processes and drops duplicates that padded the last batch. [`RunningStatistics`] merges them.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch

from farl_hf.errors import unknown_name
from farl_hf.labels import BOX_NORMALISERS, DEFAULT_NORMALISER, ERROR_CURVES
from farl_hf.metrics.attributes import attribute_accuracy
from farl_hf.metrics.landmarks import (
    applicable_normalisers,
    area_under_curve_and_failure_rate,
    nme_per_face,
    normaliser_px,
)
from farl_hf.metrics.parsing import confusion_matrix, f1_per_class, parsing_f1


class FaceEvaluation(Protocol):
    """What the Trainer needs from an evaluation.

    `main_score` names the score to choose checkpoints by, and `greater_is_better` its direction. `rows_add_up` says
    that the sum of all rows gives the same scores as the rows.
    """

    main_score: str
    greater_is_better: bool
    rows_add_up: bool

    def statistics(self, outputs: Any, batch: dict[str, Any]) -> torch.Tensor:
        """Rows (B, S) of sufficient statistics of a batch."""

    def scores(self, statistics: np.ndarray) -> dict[str, float]:
        """Named scores from all rows (F, S), or from their sum (1, S) where rows add up."""

    def face_scores(self, statistics: np.ndarray) -> np.ndarray:
        """The main score of each face alone (F,), to find the worst; NaN where a face has no label."""


class RunningStatistics:
    """The merged statistics of the faces evaluated so far.

    They are the sum of all rows and the main score of each face (8 bytes), by which failures are found. Where rows do
    not add up, all rows are kept in float64: the curve of landmark errors needs the error of every face.
    """

    def __init__(self, evaluation: FaceEvaluation):
        self.evaluation = evaluation
        self.rows: list[np.ndarray] = []
        self.score_parts: list[np.ndarray] = []

    def add(self, rows: np.ndarray) -> None:
        """Merges the rows (B, S) of a step."""
        self.score_parts.append(self.evaluation.face_scores(rows))
        self.rows.append(rows)
        if self.evaluation.rows_add_up:
            self.rows = [np.concatenate(self.rows).sum(axis=0, keepdims=True)]

    def scores(self) -> dict[str, float]:
        """Named scores of all faces so far."""
        return self.evaluation.scores(np.concatenate(self.rows))

    def face_scores(self) -> np.ndarray:
        """The main score of each face (F,), in the order in which they came."""
        return np.concatenate(self.score_parts)


class ParsingEvaluation:
    """F1 per class from one confusion matrix over the un-warped label maps of all faces."""

    main_score, greater_is_better, rows_add_up = "f1_mean", True, True

    def __init__(self, processor: Any, class_names: Sequence[str]):
        self.processor, self.class_names = processor, class_names

    def statistics(self, outputs: Any, batch: dict[str, Any]) -> torch.Tensor:
        """Confusion matrices (B, K * K) int64."""
        sizes_hw = torch.tensor([list(labels.shape) for labels in batch["photo_labels"]])
        predictions = self.processor.post_process_face_parsing(outputs, batch["crop_from_photo"], sizes_hw)
        pairs = zip(predictions, batch["photo_labels"], strict=True)
        num_classes = len(self.class_names)
        matrices = [confusion_matrix(ours.cpu().numpy(), true.cpu().numpy(), num_classes) for ours, true in pairs]
        return torch.from_numpy(np.stack(matrices)).flatten(1)

    def scores(self, statistics: np.ndarray) -> dict[str, float]:
        """`f1_mean`, `pixel_accuracy`, `f1_<class>`."""
        num_classes = len(self.class_names)
        return parsing_f1(statistics.sum(axis=0).reshape(num_classes, num_classes), self.class_names)

    def face_scores(self, statistics: np.ndarray) -> np.ndarray:
        """Mean F1 over the classes of each face, without background."""
        num_classes = len(self.class_names)
        per_class = np.array([f1_per_class(row.reshape(num_classes, num_classes))[1:] for row in statistics])
        occurs = np.isfinite(per_class)
        sums, counts = np.where(occurs, per_class, 0.0).sum(axis=1), occurs.sum(axis=1)
        return np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)


class LandmarksEvaluation:
    """NME in photo pixels by every normaliser, area under the error curve and failure rate.

    Args:
        processor ([`FaRLImageProcessor`]): Takes points back to the photo.
        num_landmarks (`int`): Points of a face. They choose the normalisers, and normaliser and largest error of the
            curve, as the benchmarks do.
    """

    main_score, greater_is_better, rows_add_up = "nme", False, False

    def __init__(self, processor: Any, num_landmarks: int):
        self.processor = processor
        self.normalisers = applicable_normalisers(num_landmarks)
        self.normaliser = DEFAULT_NORMALISER.get(num_landmarks, "diag")
        self.curve_normaliser, self.threshold = ERROR_CURVES.get(num_landmarks, (self.normaliser, 0.1))

    def statistics(self, outputs: Any, batch: dict[str, Any]) -> torch.Tensor:
        """Errors (B, M) float64, one column per normaliser; NaN where it needs a box that is not annotated."""
        predictions = self.processor.post_process_landmarks(outputs, batch["crop_from_photo"]).cpu().numpy()
        truth = torch.stack(batch["photo_labels"]).cpu().numpy()
        boxes = batch["box_xyxy"].cpu().numpy() if "box_xyxy" in batch else None
        normaliser_px(truth, self.normaliser, boxes)  # raises if the main one cannot be computed
        columns = [
            nme_per_face(predictions, truth, normaliser_px(truth, name, boxes))
            if boxes is not None or name not in BOX_NORMALISERS
            else np.full(len(truth), np.nan)
            for name in self.normalisers
        ]
        return torch.from_numpy(np.stack(columns, axis=1))

    def scores(self, statistics: np.ndarray) -> dict[str, float]:
        """`nme`, `auc`, `failure_rate`, and `nme_<normaliser>`, as fractions."""
        columns = {
            name: errors[np.isfinite(errors)] for name, errors in zip(self.normalisers, statistics.T, strict=True)
        }
        means = {f"nme_{name}": float(errors.mean()) for name, errors in columns.items() if len(errors)}
        scores = {"nme": means.get(f"nme_{self.normaliser}", float("nan"))}
        if len(columns[self.curve_normaliser]):
            area, failures = area_under_curve_and_failure_rate(columns[self.curve_normaliser], self.threshold)
            scores |= {"auc": area, "failure_rate": failures}
        return scores | means

    def face_scores(self, statistics: np.ndarray) -> np.ndarray:
        """Error of each face by the main normaliser."""
        return statistics[:, self.normalisers.index(self.normaliser)]


class AttributesEvaluation:
    """Accuracy per attribute and its mean."""

    main_score, greater_is_better, rows_add_up = "mean_accuracy", True, True

    def __init__(self, processor: Any, attribute_names: Sequence[str]):
        self.processor, self.attribute_names = processor, attribute_names

    def statistics(self, outputs: Any, batch: dict[str, Any]) -> torch.Tensor:
        """1 or 0 whether each attribute is right, then whether it is labelled: (B, 2 * L) int64."""
        truth = torch.stack(batch["photo_labels"]).cpu()
        present = self.processor.post_process_attributes(outputs).cpu() > 0.5
        labelled = truth != -100
        right = (present == (truth > 0.5)) & labelled
        return torch.cat([right, labelled], dim=1).long()

    def scores(self, statistics: np.ndarray) -> dict[str, float]:
        """`mean_accuracy`, `accuracy_<attribute>`."""
        correct, labelled = np.split(statistics.sum(axis=0), 2)
        return attribute_accuracy(correct, labelled, self.attribute_names)

    def face_scores(self, statistics: np.ndarray) -> np.ndarray:
        """Share of the labelled attributes of each face that are right."""
        correct, labelled = (part.sum(axis=1) for part in np.split(statistics, 2, axis=1))
        return np.divide(correct, labelled, out=np.full(len(correct), np.nan), where=labelled > 0)


def make_evaluation(task: str, processor: Any, label_names: Sequence[str]) -> FaceEvaluation:
    """The evaluation of a task.

    Args:
        task (`str`): `"parsing"`, `"landmarks"` or `"attributes"`.
        processor ([`FaRLImageProcessor`]): Takes outputs back to the photo frame.
        label_names (`Sequence[str]`): Names of the model's outputs in order.
    """
    if task == "parsing":
        return ParsingEvaluation(processor, label_names)
    if task == "landmarks":
        return LandmarksEvaluation(processor, len(label_names))
    if task == "attributes":
        return AttributesEvaluation(processor, label_names)
    raise unknown_name("task", task, ("parsing", "landmarks", "attributes"))
