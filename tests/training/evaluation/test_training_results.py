from farl_hf.training.evaluation.results import best_and_last, training_results

HISTORY = [
    {"loss": 1.0, "step": 1},
    {"eval_nme": 0.05, "eval_auc": 0.4, "eval_runtime": 3.0, "epoch": 1.0, "step": 10},
    {"eval_nme": 0.03, "eval_auc": 0.6, "epoch": 2.0, "step": 20},
    {"eval_nme": 0.03, "eval_auc": 0.7, "epoch": 3.0, "step": 30},
    {"eval_nme": 0.04, "eval_auc": 0.5, "epoch": 4.0, "step": 40},
    {"train_runtime": 9.0, "step": 40},
]


def test_best_is_the_earliest_of_the_best_and_last_is_last():
    best, last = best_and_last(HISTORY, "nme", greater_is_better=False)
    assert best == {"epoch": 2.0, "step": 20, "scores": {"nme": 0.03, "auc": 0.6}}
    assert (last["step"], last["scores"]["nme"]) == (40, 0.04)
    best, _ = best_and_last(HISTORY, "auc", greater_is_better=True)
    assert best["step"] == 30
    assert best_and_last(HISTORY[:1], "nme", greater_is_better=False) == (None, None)


def test_a_score_that_was_no_number_is_never_the_best():
    """The log has None for it."""
    history = [{"eval_nme": None, "step": 5}, *HISTORY]
    assert best_and_last(history, "nme", greater_is_better=False)[0]["step"] == 20
    assert best_and_last(history[:1], "nme", greater_is_better=False)[0]["step"] == 5


def test_results_say_what_was_measured_and_which_weights_are_saved():
    results = training_results("landmarks", ["w300"], "test", "nme", False, HISTORY, saved="best")
    assert (results["dataset"], results["split"], results["saved_weights"]) == (["w300"], "test", "best")
    assert "split test itself" in results["best_is"]
