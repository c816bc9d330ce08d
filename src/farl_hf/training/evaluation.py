"""Evaluation in the photo frame, on the original labels, exact over any number of processes.

Each face gives one row of sufficient statistics (confusion counts, an error, correct counts). The Trainer gathers
rows, drops the duplicates that padded the last batch, and the scores are computed from what remains.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch

from farl_hf.errors import UnknownNameError
from farl_hf.labels import DEFAULT_NORMALISER
from farl_hf.metrics.attributes import attribute_accuracy
from farl_hf.metrics.landmarks import landmark_scores, nme_per_face, normaliser_px
from farl_hf.metrics.parsing import confusion_matrix, parsing_f1

__all__ = [
    "AttributesEvaluation",
    "FaceEvaluation",
    "LandmarksEvaluation",
    "ParsingEvaluation",
    "make_evaluation",
]


class FaceEvaluation(Protocol):
    """What the Trainer asks of an evaluation.

    `main_score` names the score to choose checkpoints by, and `greater_is_better` its direction.
    """

    main_score: str
    greater_is_better: bool

    def statistics(self, outputs: Any, batch: dict[str, Any]) -> torch.Tensor:
        """Rows (B, S) of sufficient statistics of a batch."""

    def scores(self, statistics: np.ndarray) -> dict[str, float]:
        """Named scores from all rows (F, S)."""


class ParsingEvaluation:
    """F1 per class from one confusion matrix over the un-warped label maps of all faces."""

    main_score, greater_is_better = "f1_mean", True

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


class LandmarksEvaluation:
    """NME in photo pixels, its curve's area and the failure rate at `threshold`."""

    main_score, greater_is_better = "nme", False

    def __init__(self, processor: Any, num_landmarks: int, normaliser: str | None = None, threshold: float = 0.1):
        self.processor, self.threshold = processor, threshold
        self.normaliser = normaliser or DEFAULT_NORMALISER[num_landmarks]

    def statistics(self, outputs: Any, batch: dict[str, Any]) -> torch.Tensor:
        """Errors (B, 1) float64."""
        predictions = self.processor.post_process_landmarks(outputs, batch["crop_from_photo"]).cpu().numpy()
        truth = torch.stack(batch["photo_labels"]).cpu().numpy()
        boxes = batch["box_xyxy"].cpu().numpy() if "box_xyxy" in batch else None
        lengths = normaliser_px(truth, self.normaliser, boxes)
        return torch.from_numpy(nme_per_face(predictions, truth, lengths))[:, None]

    def scores(self, statistics: np.ndarray) -> dict[str, float]:
        """`nme`, `auc`, `failure_rate`, as fractions."""
        return landmark_scores(statistics[:, 0], self.threshold)


class AttributesEvaluation:
    """Accuracy per attribute and its mean."""

    main_score, greater_is_better = "mean_accuracy", True

    def __init__(self, processor: Any, attribute_names: Sequence[str]):
        self.processor, self.attribute_names = processor, attribute_names

    def statistics(self, outputs: Any, batch: dict[str, Any]) -> torch.Tensor:
        """Per face and attribute 1 right, 0 wrong, -100 not labelled: (B, L) int64."""
        truth = torch.stack(batch["photo_labels"]).cpu()
        present = self.processor.post_process_attributes(outputs).cpu() > 0.5
        right = (present == (truth > 0.5)).long()
        return torch.where(truth == -100, torch.full_like(right, -100), right)

    def scores(self, statistics: np.ndarray) -> dict[str, float]:
        """`mean_accuracy`, `accuracy_<attribute>`."""
        labelled = statistics != -100
        correct = (statistics == 1) & labelled
        return attribute_accuracy(correct.sum(axis=0), labelled.sum(axis=0), self.attribute_names)


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
    raise UnknownNameError(f"{task!r} is not a known task. Known: parsing, landmarks, attributes.")
