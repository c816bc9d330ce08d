"""Face parsing F1 as an `evaluate` module."""

from collections.abc import Sequence

import evaluate
import numpy as np

from farl_hf.metrics.evaluate_modules.metric_description import describe_metric
from farl_hf.metrics.parsing import confusion_matrix, parsing_f1


class FaceParsingF1(evaluate.Metric):
    """[`parsing_f1`] of label maps (H, W), which may differ in size; see there for the scores."""

    def _info(self) -> evaluate.MetricInfo:
        return describe_metric("F1 per class from one confusion matrix over all pixels.", "int64", 2)

    def _compute(self, predictions: list, references: list, label_names: Sequence[str]) -> dict[str, float]:
        pairs = zip(predictions, references, strict=True)
        counts = [confusion_matrix(np.array(ours), np.array(true), len(label_names)) for ours, true in pairs]
        return parsing_f1(np.sum(counts, axis=0), label_names)
