"""How a metric presents itself to `evaluate`."""

import datasets
import evaluate

CITATION = "Zheng et al., General Facial Representation Learning in a Visual-Linguistic Manner, CVPR 2022."


def describe_metric(description: str, kind: str, depth: int) -> evaluate.MetricInfo:
    """Description, citation and inputs of a metric: predictions and references are numbers in lists of that depth."""
    numbers: object = datasets.Value(kind)
    for _ in range(depth):
        numbers = datasets.Sequence(numbers)
    features = datasets.Features({"predictions": numbers, "references": numbers})
    return evaluate.MetricInfo(description=description, citation=CITATION, features=features)
