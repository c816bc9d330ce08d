"""Measured scores in the `model-index` of a checkpoint's model card."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

__all__ = ["write_card_scores"]

# Task -> the Hub's name of it, and names of the metric types by the beginning of a score's name.
TASK_TYPES = {"parsing": "image-segmentation", "landmarks": "keypoint-detection", "attributes": "image-classification"}
METRIC_TYPES = {"f1": "f1", "nme": "nme", "auc": "auc", "failure": "failure_rate", "mean": "accuracy"}
SHOWN = ("f1_mean", "nme", "auc", "failure_rate", "mean_accuracy")


def write_card_scores(folder: str | Path, report: dict[str, Any]) -> list[str]:
    """Puts the main scores of a report into `README.md`; older ones of the same data set and split are replaced.

    Args:
        folder (`str` or `Path`): Checkpoint folder; a card is made if it has none.
        report (`dict[str, Any]`): What [`CheckpointEvaluation`] reports.

    Returns:
        `list[str]`: One line per score that was written.
    """
    path = Path(folder) / "README.md"
    card = ModelCard.load(path) if path.is_file() else new_card(Path(folder).name)
    measured = [result for split in report["splits"] for result in split_results(report, split)]
    card.data.eval_results = [*other_results(card.data.eval_results or [], measured), *measured]
    card.data.model_name = card.data.model_name or Path(folder).resolve().name
    unfinished = path.with_name(f".README.md.{os.getpid()}")
    unfinished.write_text(str(card))
    os.replace(unfinished, path)
    return [f"{one.metric_name} on {one.dataset_name} {one.dataset_split}: {one.metric_value}" for one in measured]


def new_card(name: str) -> ModelCard:
    """A card that says no more than the library."""
    data = ModelCardData(library_name="transformers", model_name=name)
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n# {name}\n")


def split_results(report: dict[str, Any], split: str) -> list[EvalResult]:
    """The main scores of one split, as percentages with two decimals."""
    scores = report["splits"][split]["scores"]
    return [
        EvalResult(
            task_type=TASK_TYPES[report["task"]],
            dataset_type=report["dataset"],
            dataset_name=report["dataset"],
            dataset_split=split,
            metric_type=METRIC_TYPES[name.split("_")[0]],
            metric_name=f"{name} (%)",
            metric_value=round(100 * scores[name], 2),
        )
        for name in SHOWN
        if name in scores
    ]


def other_results(present: Sequence[EvalResult], measured: Sequence[EvalResult]) -> list[EvalResult]:
    """Results in the card that the measured ones do not replace."""
    replaced = {(one.unique_identifier, one.metric_name) for one in measured}
    return [one for one in present if (one.unique_identifier, one.metric_name) not in replaced]
