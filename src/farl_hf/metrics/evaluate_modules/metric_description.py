"""How a metric presents itself to `evaluate`."""

import datasets
import evaluate

CITATION = "Zheng et al., General Facial Representation Learning in a Visual-Linguistic Manner, CVPR 2022."


def nested_numbers(kind: str, depth: int) -> object:
    """Feature of numbers in lists of that depth."""
    feature: object = datasets.Value(kind)
    for _ in range(depth):
        feature = datasets.Sequence(feature)
    return feature


def describe_metric(description: str, features: dict[str, object]) -> evaluate.MetricInfo:
    """Description, citation and input features of a metric."""
    return evaluate.MetricInfo(description=description, citation=CITATION, features=datasets.Features(features))
