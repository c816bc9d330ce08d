"""Scores in files: `results.json` of a training, and the `model-index` of a checkpoint's model card.

The paper reports its best epoch, chosen on the test set itself; the last epoch is up to 0.8 points worse
(FaRL:logs/paper/face_parsing.train_celebm_farl-b-ep16-448_refinebb/eval.celebm_test_0.tsv: 89.56 at epoch 25, 88.74
at epoch 300).
`results.json` therefore holds the best and the last evaluation, with the data that they were measured on.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from farl_hf.whole_files import write_whole

RUNTIME_PARTS = ("runtime", "samples_per_second", "steps_per_second", "model_preparation_time")

# The card: the Hub's names of tasks and, by the first word of a score, of metrics; the scores that it shows.
TASK_TYPES = {"parsing": "image-segmentation", "landmarks": "keypoint-detection", "attributes": "image-classification"}
METRIC_TYPES = {"f1": "f1", "nme": "nme", "auc": "auc", "failure": "failure_rate", "mean": "accuracy"}
SHOWN = ("f1_mean", "nme", "auc", "failure_rate", "mean_accuracy")


def training_results(
    task: str,
    dataset_names: Sequence[str],
    split: str,
    main_score: str,
    greater_is_better: bool,
    log_history: Sequence[dict[str, Any]],
    saved: str,
) -> dict[str, Any]:
    """The content of `results.json`.

    Args:
        task (`str`): `"parsing"`, `"landmarks"` or `"attributes"`.
        dataset_names (`Sequence[str]`), split (`str`): What was evaluated.
        main_score (`str`): Name of the score by which the best evaluation is chosen.
        greater_is_better (`bool`): Its direction.
        log_history (`Sequence[dict]`): The Trainer's log, before the best weights replaced the last ones.
        saved (`str`): `"best"` or `"last"`: which weights `model.safetensors` in the output folder holds.
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
    """The best and the last evaluation: `epoch`, `step`, `scores`; None without any. Of equals the earliest."""
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
    """The scores among the Trainer's metrics, without the prefix; running times are skipped."""
    named = {name.removeprefix(prefix): value for name, value in metrics.items() if name.startswith(prefix)}
    return {name: value for name, value in named.items() if name not in RUNTIME_PARTS}


def write_card_scores(folder: str | Path, report: dict[str, Any]) -> list[str]:
    """Writes the main scores of a report into `README.md`; they replace older ones of the same data set and split.

    Args:
        folder (`str` or `Path`): Checkpoint folder; a card is made if it has none.
        report (`dict[str, Any]`): From [`CheckpointEvaluation.report`].

    Returns:
        `list[str]`: One line per score that was written.
    """
    path = Path(folder) / "README.md"
    card = ModelCard.load(path) if path.is_file() else new_card(Path(folder).name)
    measured = [result for split in report["splits"] for result in split_results(report, split)]
    data: Any = card.data  # of a model card
    data.eval_results = [*other_results(data.eval_results or [], measured), *measured]
    data.model_name = data.model_name or Path(folder).resolve().name
    write_whole(path, str(card).encode())
    return [f"{one.metric_name} on {one.dataset_name} {one.dataset_split}: {one.metric_value}" for one in measured]


def new_card(name: str) -> ModelCard:
    """A card with the library and the name only."""
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
