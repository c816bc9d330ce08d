"""`results.json` of a training: the best and the last evaluation, each named as what it is.

The paper reports its best epoch, chosen on the test set itself; the last epoch is up to 0.8 points worse. A number
without that word is of no use, so both are written, with what they were measured on.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

__all__ = ["best_and_last", "scores_in", "training_results", "write_card_scores", "write_json"]


RUNTIME_PARTS = ("runtime", "samples_per_second", "steps_per_second", "model_preparation_time")


def training_results(
    task: str,
    dataset_names: Sequence[str],
    split: str,
    main_score: str,
    greater_is_better: bool,
    log_history: Sequence[dict[str, Any]],
    saved: str,
) -> dict[str, Any]:
    """What `results.json` holds.

    Args:
        task (`str`): `"parsing"`, `"landmarks"` or `"attributes"`.
        dataset_names (`Sequence[str]`), split (`str`): What was evaluated.
        main_score (`str`): Name of the score by which the best evaluation is chosen.
        greater_is_better (`bool`): Its direction.
        log_history (`Sequence[dict]`): The Trainer's, from before the final weights were replaced by the best.
        saved (`str`): `"best"` or `"last"`: which of them `model.safetensors` in the output folder is.
    """
    best, last = best_and_last(log_history, main_score, greater_is_better)
    return {
        "task": task,
        "dataset": list(dataset_names),
        "split": split,
        "main_score": main_score,
        "greater_is_better": greater_is_better,
        "best_is": f"the best of all evaluations by {main_score} on the split {split} itself, as in the paper",
        "saved_weights": saved,
        "best": best,
        "last": last,
    }


def best_and_last(
    log_history: Sequence[dict[str, Any]], main_score: str, greater_is_better: bool
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """The best (the earliest of equals) and the last evaluation: `epoch`, `step`, `scores`; None without any."""
    evaluations = [entry for entry in log_history if f"eval_{main_score}" in entry]
    if not evaluations:
        return None, None
    sign = 1 if greater_is_better else -1
    best = max(evaluations, key=lambda entry: sign * entry[f"eval_{main_score}"])
    return as_evaluation(best), as_evaluation(evaluations[-1])


def as_evaluation(entry: dict[str, Any]) -> dict[str, Any]:
    """One entry of the Trainer's log."""
    return {"epoch": entry.get("epoch"), "step": entry.get("step"), "scores": scores_in(entry, "eval_")}


def scores_in(metrics: dict[str, Any], prefix: str) -> dict[str, float]:
    """The scores among the Trainer's metrics, without prefix and without running times."""
    named = {name.removeprefix(prefix): value for name, value in metrics.items() if name.startswith(prefix)}
    return {name: value for name, value in named.items() if name not in RUNTIME_PARTS}


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes beside, then puts in place, so that no half of a file is ever read."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_text(json.dumps(content, indent=2) + "\n")
    os.replace(unfinished, path)


# Measured scores in the `model-index` of a checkpoint's model card.


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
