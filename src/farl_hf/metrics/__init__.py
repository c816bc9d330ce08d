"""Scores of detection, parsing, landmarks and attributes: pure functions over arrays.

Each metric has a function that makes sufficient statistics of a part of the data, which add up over batches and
processes, and one that makes scores of them. `farl_hf.metrics.evaluate_modules` wraps them for the `evaluate` package,
which loads them by the path that [`metric`] gives.
"""

from farl_hf.metrics.attributes import attribute_accuracy, count_correct_attributes
from farl_hf.metrics.detection_ap import average_precision
from farl_hf.metrics.landmarks import (
    applicable_normalisers,
    area_under_curve_and_failure_rate,
    landmark_scores,
    nme_per_face,
    normaliser_px,
)
from farl_hf.metrics.metric_paths import metric
from farl_hf.metrics.parsing import confusion_matrix, f1_per_class, parsing_f1

__all__ = [
    "applicable_normalisers",
    "area_under_curve_and_failure_rate",
    "attribute_accuracy",
    "average_precision",
    "confusion_matrix",
    "count_correct_attributes",
    "f1_per_class",
    "landmark_scores",
    "metric",
    "nme_per_face",
    "normaliser_px",
    "parsing_f1",
]
