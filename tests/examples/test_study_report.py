import json
import sys

import pytest
from PIL import Image
from study_report import TASK_SCORES, StudyReport, StudyScore, study_figure, write_study_report
from study_runs import StudyRun, StudyVariant
from study_tables import table_rows

from farl_hf.errors import MissingExtraError

VARIANTS = [StudyVariant("1", place=1), StudyVariant("3", place=3), StudyVariant("several")]


def make_cell(variant, task, last, best=None, seed=0):
    evaluations = {"best": (5, best or last), "last": (5 if best is None else 10, last)}
    results = {which: {"step": step, "scores": scores} for which, (step, scores) in evaluations.items()}
    return StudyRun(variant, task, "A recipe (name)", seed, results | {"dataset": ["lapa"], "split": "test"}, 30.0)


def make_report(variants=VARIANTS, scores=TASK_SCORES, **settings):
    return StudyReport("Levels", "Figure 3.", "Level", variants, scores, "run this", **settings)


def panels(report, runs):
    return study_figure(report, runs).axes


def test_a_row_per_variant_and_a_column_per_score(tmp_path):
    runs = [make_cell("1", "parsing", {"f1_mean": 0.5}), make_cell("1", "landmarks", {"nme": 0.0345})]
    runs += [make_cell("several", "parsing", {"f1_mean": 0.75})]
    text = write_study_report(make_report(), runs, tmp_path)
    assert table_rows(text) == [
        ["Level", "Parsing F1 mean (%) ↑", "Landmarks NME (%) ↓"],
        ["---", "---", "---"],
        ["1", "50.00", "3.45"],
        ["3", "", ""],  # not measured
        ["several", "75.00", ""],
    ]
    assert text == (tmp_path / "table.md").read_text()
    assert "parsing: lapa, split test; A recipe (name), 5 steps; seeds 0; 1.0 minutes" in text
    assert "run this" in text
    assert json.loads((tmp_path / "results.json").read_text())["runs"][1]["task"] == "landmarks"
    Image.open(tmp_path / "plot.png").verify()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plot.png", "results.json", "table.md"]


def test_best_and_last_evaluations_have_a_table_each(tmp_path):
    runs = [make_cell("1", "parsing", {"f1_mean": 0.5}, best={"f1_mean": 0.6})]
    best, last = write_study_report(make_report(VARIANTS[:1]), runs, tmp_path).split("Last evaluation of each")
    assert "Best evaluation of each training, chosen on the split itself" in best
    assert [table_rows(best)[2], table_rows(last)[2]] == [["1", "60.00"], ["1", "50.00"]]


def test_seeds_become_mean_and_standard_deviation(tmp_path):
    runs = [make_cell("1", "parsing", {"f1_mean": score}, seed=seed) for seed, score in enumerate((0.5, 0.6, 0.7))]
    text = write_study_report(make_report(VARIANTS[:1]), runs, tmp_path)
    assert table_rows(text)[2] == ["1", "60.00 ± 10.00"]
    assert "seeds 0, 1, 2" in text


def test_a_column_is_the_mean_of_the_classes_that_were_measured(tmp_path):
    scores = {"parsing": (StudyScore("Both", ("f1_nose", "f1_hair")), StudyScore("Hat", ("f1_hat",)))}
    runs = [make_cell("1", "parsing", {"f1_nose": 0.2, "f1_hair": 0.4})]
    text = write_study_report(make_report(VARIANTS[:1], scores), runs, tmp_path)
    assert table_rows(text)[2] == ["1", "30.00", ""]


def test_the_plot_joins_series_and_dashes_what_has_no_place():
    runs = [make_cell(variant.name, "parsing", {"f1_mean": 0.1 * row}) for row, variant in enumerate(VARIANTS)]
    (panel,) = panels(make_report(), runs)
    line, dashed = panel.get_lines()
    assert line.get_xydata().tolist() == [[1, 0], [3, pytest.approx(10)]]
    assert dashed.get_linestyle() == "--"
    assert dashed.get_ydata()[0] == pytest.approx(20)
    assert panel.get_ylabel() == "Parsing F1 mean (%) ↑"
    series = [StudyVariant(f"{name}, {place}", place=place, series=name) for name in "ab" for place in (1, 100)]
    runs = [make_cell(variant.name, "parsing", {"f1_mean": 0.5}) for variant in series]
    (panel,) = panels(make_report(series, log_axis=True), runs)
    assert [line.get_label() for line in panel.get_lines()] == ["a", "b"]
    assert panel.get_xscale() == "log"


def test_the_plot_has_points_when_nothing_has_a_place():
    variants = [StudyVariant("farl"), StudyVariant("random"), StudyVariant("not yet")]
    runs = [make_cell("farl", "parsing", {"f1_mean": 0.9}), make_cell("random", "parsing", {"f1_mean": 0.3})]
    (panel,) = panels(make_report(variants), runs)
    points = [tuple(points.get_offsets()[0]) for points in panel.collections]
    assert points == [(0, pytest.approx(90))] * 2 + [(1, pytest.approx(30))] * 2  # the only seed, and the mean
    assert [label.get_text() for label in panel.get_xticklabels()] == ["farl", "random"]


def test_the_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match="studies"):
        study_figure(make_report(), [])
