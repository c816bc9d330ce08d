"""`results.json` of a training.

The paper reports its best epoch, chosen on the test set itself; the last epoch is up to 0.8 points worse
(FaRL:logs/paper/face_parsing.train_celebm_farl-b-ep16-448_refinebb/eval.celebm_test_0.tsv: 89.56 at epoch 25, 88.74
at epoch 300).
`results.json` therefore holds the best and the last evaluation, with the data that they were measured on.
"""

from collections.abc import Sequence
from typing import Any

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
    finite = [entry for entry in evaluations if entry[f"eval_{main_score}"] is not None]
    best = max(finite, key=lambda entry: sign * entry[f"eval_{main_score}"]) if finite else evaluations[-1]
    return as_evaluation(best), as_evaluation(evaluations[-1])


def as_evaluation(entry: dict[str, Any]) -> dict[str, Any]:
    """One entry of the Trainer's log."""
    return {"epoch": entry.get("epoch"), "step": entry.get("step"), "scores": scores_in(entry, "eval_")}


def scores_in(metrics: dict[str, Any], prefix: str) -> dict[str, float]:
    """The scores among the Trainer's metrics, without the prefix; running times are skipped."""
    named = {name.removeprefix(prefix): value for name, value in metrics.items() if name.startswith(prefix)}
    return {name: value for name, value in named.items() if name not in RUNTIME_PARTS}
