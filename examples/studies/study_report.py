"""What a study leaves: `table.md`, `results.json` and `plot.png`."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from study_runs import StudyRun, StudyVariant

from farl_hf.errors import MissingExtraError
from farl_hf.whole_files import write_json, write_whole, written_whole

__all__ = ["TASK_SCORES", "StudyReport", "StudyScore", "write_study_report"]


@dataclass(frozen=True)
class StudyScore:
    """A column of a study.

    Args:
        title (`str`): What it says.
        names (`tuple[str, ...]`): Scores of the evaluation whose mean it is; classes that the data lacks have none.
        greater_is_better (`bool`, *optional*, defaults to `True`): Its direction.
    """

    title: str
    names: tuple[str, ...]
    greater_is_better: bool = True

    @property
    def heading(self) -> str:
        """Title, unit and direction."""
        return f"{self.title} (%) {'↑' if self.greater_is_better else '↓'}"

    def percent(self, scores: dict[str, float]) -> float | None:
        """Its value among the scores of an evaluation, which are fractions; None if nothing of it was measured."""
        found = [scores[name] for name in self.names if name in scores]
        return 100 * statistics.fmean(found) if found else None


TASK_SCORES = {
    "parsing": (StudyScore("Parsing F1 mean", ("f1_mean",)),),
    "landmarks": (StudyScore("Landmarks NME", ("nme",), greater_is_better=False),),
    "attributes": (StudyScore("Attributes mean accuracy", ("mean_accuracy",)),),
}


@dataclass(frozen=True)
class StudyReport:
    """How a study is presented.

    Args:
        title (`str`): First line of the table.
        source (`str`): Which result of the paper it repeats.
        axis (`str`): What varies: the axis of the plot, and the first column.
        variants (`Sequence[StudyVariant]`): Its rows.
        scores (`dict[str, tuple[StudyScore, ...]]`): Columns of each task.
        real_command (`str`): The command for the paper's data.
        log_axis (`bool`, *optional*, defaults to `False`): Places differ by factors.
        row_heading (`str`, *optional*): Heading of the first column where it is not the axis.
    """

    title: str
    source: str
    axis: str
    variants: Sequence[StudyVariant]
    scores: dict[str, tuple[StudyScore, ...]]
    real_command: str
    log_axis: bool = False
    row_heading: str | None = None


def write_study_report(report: StudyReport, runs: Sequence[StudyRun], output_dir: str | Path) -> str:
    """Writes table, numbers and plot into the folder.

    Args:
        report ([`StudyReport`]): Its presentation.
        runs (`Sequence[StudyRun]`): What was measured; a run of the table without any stays empty.
        output_dir (`str`): Folder.

    Returns:
        `str`: The text of `table.md`.
    """
    folder = Path(output_dir)
    text = markdown_report(report, runs)
    write_whole(folder / "table.md", text.encode())
    contents = {"title": report.title, "source": report.source, "runs": [asdict(run) for run in runs]}
    write_json(folder / "results.json", contents)
    figure = study_figure(report, runs)
    with written_whole(folder / "plot.png") as unfinished:
        figure.savefig(unfinished, dpi=150)
    return text


def columns(report: StudyReport, runs: Sequence[StudyRun]) -> list[tuple[str, StudyScore]]:
    """Task and score of each column, for the tasks that were measured."""
    tasks = dict.fromkeys(run.task for run in runs)
    return [(task, score) for task in tasks for score in report.scores[task]]


def measured(runs: Sequence[StudyRun], variant: str, task: str, score: StudyScore, which: str) -> list[float]:
    """Values of one place of the table, one per seed; `which` is `"best"` or `"last"`."""
    chosen = [run.results[which] for run in runs if (run.variant, run.task) == (variant, task)]
    values = [score.percent(evaluation["scores"]) for evaluation in chosen]
    return [value for value in values if value is not None]


def markdown_report(report: StudyReport, runs: Sequence[StudyRun]) -> str:
    """All of `table.md`."""
    parts = [f"# {report.title}", report.source]
    if any(run.results["best"]["step"] != run.results["last"]["step"] for run in runs):
        parts += ["Best evaluation of each training, chosen on the split itself, as in the paper:"]
        parts += [markdown_table(report, runs, "best")]
    parts += ["Last evaluation of each training:", markdown_table(report, runs, "last")]
    parts += ["Measured on:\n\n" + "\n".join(measurements(runs))]
    parts += [f"On the paper's data:\n\n```\n{report.real_command}\n```"]
    return "\n\n".join(parts) + "\n"


def markdown_table(report: StudyReport, runs: Sequence[StudyRun], which: str) -> str:
    """A row per variant; mean and standard deviation where there are several seeds."""
    shown = columns(report, runs)
    lines = [[report.row_heading or report.axis, *(score.heading for _, score in shown)], ["---"] * (len(shown) + 1)]
    for variant in report.variants:
        values = [measured(runs, variant.name, task, score, which) for task, score in shown]
        lines.append([variant.name, *map(mean_and_deviation, values)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def mean_and_deviation(values: Sequence[float]) -> str:
    """A number of the table; empty if nothing was measured."""
    if not values:
        return ""
    deviation = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.2f}{deviation}"


def measurements(runs: Sequence[StudyRun]) -> list[str]:
    """What each column was measured on, a line per task."""
    lines = []
    for task in dict.fromkeys(run.task for run in runs):
        mine = [run for run in runs if run.task == task]
        results, seeds = mine[0].results, sorted({run.seed for run in mine})
        steps = sorted({run.results["last"]["step"] for run in mine})
        lines.append(
            f"- {task}: {', '.join(results['dataset'])}, split {results['split']}; {mine[0].recipe}, "
            f"{' or '.join(map(str, steps))} steps; seeds {', '.join(map(str, seeds))}; "
            f"{sum(run.seconds for run in mine) / 60:.1f} minutes"
        )
    return lines


def study_figure(report: StudyReport, runs: Sequence[StudyRun]) -> Any:
    """One panel per column: lines over an axis where the variants have places on it, else points.

    Raises:
        MissingExtraError: Matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError('Plots need the `matplotlib` package: pip install "farl-hf[studies]".') from error
    shown = columns(report, runs)
    figure = Figure(figsize=(4.2 * len(shown), 3.6), layout="constrained")
    figure.suptitle(f"{report.title} (last evaluation)", fontsize="medium")
    draw = draw_points if all(variant.place is None for variant in report.variants) else draw_lines
    for axes, (task, score) in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        axes.set_ylabel(score.heading)
        axes.grid(axis="y", alpha=0.3)
        values = {variant.name: measured(runs, variant.name, task, score, "last") for variant in report.variants}
        if any(values.values()):
            draw(axes, report, {name: numbers for name, numbers in values.items() if numbers})
    return figure


def draw_lines(axes: Any, report: StudyReport, values: dict[str, list[float]]) -> None:
    """One line per series through the means, with every seed as a dot; dashed lines for variants without a place."""
    placed = [variant for variant in report.variants if variant.place is not None and variant.name in values]
    for series in dict.fromkeys(variant.series for variant in placed):
        line = [variant for variant in placed if variant.series == series]
        means = [statistics.fmean(values[variant.name]) for variant in line]
        (drawn,) = axes.plot([variant.place for variant in line], means, label=series or None)
        for variant in line:
            axes.scatter(
                [variant.place] * len(values[variant.name]), values[variant.name], s=14, color=drawn.get_color()
            )
    for variant in report.variants:
        if variant.place is None and variant.name in values:
            axes.axhline(statistics.fmean(values[variant.name]), linestyle="--", color="black", label=variant.name)
    axes.set_xlabel(report.axis)
    if report.log_axis:
        axes.set_xscale("log")
    axes.set_xticks(sorted({variant.place for variant in placed}), minor=False)
    axes.set_xticklabels([f"{place:g}" for place in sorted({variant.place for variant in placed})])
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize="small")


def draw_points(axes: Any, report: StudyReport, values: dict[str, list[float]]) -> None:
    """A dash at the mean of each variant and a dot per seed. Not bars, which would have to begin at zero."""
    for place, numbers in enumerate(values.values()):
        axes.scatter([place] * len(numbers), numbers, s=20, color="tab:blue")
        axes.scatter([place], [statistics.fmean(numbers)], s=200, marker="_", color="black")
    axes.margins(x=0.2, y=0.25)
    axes.set_xticks(range(len(values)), list(values), rotation=20, ha="right", fontsize="small")
