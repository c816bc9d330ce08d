"""Accuracy of face attributes as an `evaluate` module."""

from collections.abc import Sequence

import evaluate
import numpy as np

from farl_hf.metrics.attributes import attribute_accuracy, count_correct_attributes
from farl_hf.metrics.evaluate_modules.metric_description import describe_metric


class FaceAttributeAccuracy(evaluate.Metric):
    """[`attribute_accuracy`] of probabilities (L,); references are 0, 1 or -100."""

    def _info(self) -> evaluate.MetricInfo:
        return describe_metric("Accuracy per attribute at 0.5, and its mean.", "float64", 1)

    def _compute(self, predictions: list, references: list, label_names: Sequence[str]) -> dict[str, float]:
        return attribute_accuracy(*count_correct_attributes(np.array(predictions), np.array(references)), label_names)
