"""The metrics as modules of the `evaluate` package (needs the extra `train`).

Instantiate the classes: `FaceParsingF1().compute(predictions=..., references=..., label_names=...)`.
"""

from collections.abc import Sequence

import datasets
import evaluate
import numpy as np

from farl_hf.metrics.attributes import attribute_accuracy, count_correct_attributes
from farl_hf.metrics.landmarks import landmark_scores, nme_per_face, normaliser_px
from farl_hf.metrics.parsing import confusion_matrix, parsing_f1

__all__ = ["FaceAttributeAccuracy", "FaceLandmarksNME", "FaceParsingF1"]

CITATION = "Zheng et al., General Facial Representation Learning in a Visual-Linguistic Manner, CVPR 2022."


def nested(feature: str, depth: int) -> datasets.Features:
    """Features of predictions and references: numbers in lists of that depth."""
    kind: object = datasets.Value(feature)
    for _ in range(depth):
        kind = datasets.Sequence(kind)
    return datasets.Features(predictions=kind, references=kind)


def info(description: str, features: datasets.Features) -> evaluate.MetricInfo:
    """Description of a metric as `evaluate` wants it."""
    return evaluate.MetricInfo(description=description, citation=CITATION, features=features)


class FaceParsingF1(evaluate.Metric):
    """[`parsing_f1`] of label maps (H, W), which may differ in size; see there for the scores."""

    def _info(self) -> evaluate.MetricInfo:
        return info("F1 per class from one confusion matrix over all pixels.", nested("int64", 2))

    def _compute(self, predictions: list, references: list, label_names: Sequence[str]) -> dict[str, float]:
        pairs = zip(predictions, references, strict=True)
        counts = [confusion_matrix(np.array(ours), np.array(true), len(label_names)) for ours, true in pairs]
        return parsing_f1(np.sum(counts, axis=0), label_names)


class FaceLandmarksNME(evaluate.Metric):
    """[`landmark_scores`] of landmarks (N, 2); see there for the scores."""

    def _info(self) -> evaluate.MetricInfo:
        return info("Normalised mean error, area under its curve, failure rate.", nested("float64", 2))

    def _compute(
        self, predictions: list, references: list, normaliser: str = "inter_ocular", threshold: float = 0.1
    ) -> dict[str, float]:
        truth = np.array(references)
        errors = nme_per_face(np.array(predictions), truth, normaliser_px(truth, normaliser))
        return landmark_scores(errors, threshold)


class FaceAttributeAccuracy(evaluate.Metric):
    """[`attribute_accuracy`] of probabilities (L,); references are 0, 1 or -100."""

    def _info(self) -> evaluate.MetricInfo:
        return info("Accuracy per attribute at 0.5, and its mean.", nested("float64", 1))

    def _compute(self, predictions: list, references: list, label_names: Sequence[str]) -> dict[str, float]:
        return attribute_accuracy(*count_correct_attributes(np.array(predictions), np.array(references)), label_names)
