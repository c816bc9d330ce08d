"""Normalised mean error of landmarks as an `evaluate` module."""

from collections.abc import Sequence

import evaluate
import numpy as np

from farl_hf.metrics.evaluate_modules.metric_description import describe_metric
from farl_hf.metrics.landmarks import landmark_scores, nme_per_face, normaliser_px


class FaceLandmarksNME(evaluate.Metric):
    """[`landmark_scores`] of landmarks (N, 2); see there for the scores.

    `compute` also takes `normaliser`, a name of [`normaliser_px`], `threshold` and `exact` of [`landmark_scores`],
    and, for the normalisers `"box"` and `"diag"`, `boxes_xyxy` (F, 4) of all faces in the order in which they were
    added.
    """

    def _info(self) -> evaluate.MetricInfo:
        return describe_metric("Normalised mean error, area under its curve, failure rate.", "float64", 2)

    def _compute(
        self,
        predictions: list,
        references: list,
        normaliser: str = "inter_ocular",
        threshold: float = 0.1,
        exact: bool = False,
        boxes_xyxy: Sequence | None = None,
    ) -> dict[str, float]:
        truth = np.array(references)
        boxes = None if boxes_xyxy is None else np.array(boxes_xyxy)
        errors = nme_per_face(np.array(predictions), truth, normaliser_px(truth, normaliser, boxes))
        return landmark_scores(errors, threshold, exact)
