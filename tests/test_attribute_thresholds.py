"""Thresholds that a benchmark chooses from scores: equal, very close and extreme ones."""

import math
import runpy
from pathlib import Path

import pytest

from farl_hf import FaRLConfig

BENCHMARK = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "attribute_thresholds.py"))
best_threshold, rates = BENCHMARK["best_threshold"], BENCHMARK["rates"]
SCORES = {
    "apart": [(0.9, True), (0.6, True), (0.4, False), (0.1, False)],
    "equal": [(0.9, True), (0.5, False), (0.5, True), (0.1, False)],
    "small": [(3e-5, True), (2e-5, True), (1e-5, False), (5e-6, False)],
    "close": [(0.97135, True), (0.97125, False), (0.5, False), (0.4, False), (0.3, False)],
    "large": [(0.99996, True), (0.99994, False), (0.9999, False)],
    "wrong way": [(0.9, False), (0.1, True)],
}


@pytest.mark.parametrize("is_built_in", [True, False])
def test_thresholds_are_stored_and_a_built_in_model_gets_its_new_commit(is_built_in, tmp_path, monkeypatch):
    write, stored = BENCHMARK["write_thresholds"], []
    monkeypatch.setitem(write.__globals__, "store_commits", lambda: stored.append("commits"))
    monkeypatch.setitem(write.__globals__, "embedded_folder", lambda _: tmp_path / ("a" if is_built_in else "b"))
    FaRLConfig(id2label={0: "smiling", 1: "beard"}).save_pretrained(tmp_path / "a")
    write(tmp_path / "a", {"beard": 0.25})
    assert FaRLConfig.from_pretrained(tmp_path / "a").attribute_thresholds == {"beard": 0.25}
    assert stored == ["commits"] * is_built_in


@pytest.mark.parametrize(
    ("name", "recall"),
    [("apart", 1), ("equal", 0.5), ("small", 1), ("close", 1), ("large", 1), ("wrong way", 0)],
)
def test_the_largest_recall_without_false_alarms(name, recall):
    threshold = best_threshold(SCORES[name], 0.0)
    found, alarms, precision = rates(SCORES[name], threshold)
    assert (found, alarms) == (recall, 0)
    assert precision == 1 or (recall == 0 and math.isnan(precision))


def test_false_alarms_that_are_allowed_raise_the_recall():
    pairs = [(0.9, False), (0.8, True), (0.3, True), (0.2, False), (0.1, False), (0.05, False)]
    assert rates(pairs, best_threshold(pairs, 0.25))[:2] == (1.0, 0.25)
    assert best_threshold(SCORES["apart"], 0.15) == 0.5


def test_a_threshold_has_few_digits():
    assert len(str(best_threshold(SCORES["close"], 0.0))) <= len("0.9713")
