"""What the scripts of this folder share: their arguments, and the way from arguments to table, numbers and plot."""

import sys
import textwrap
from argparse import ArgumentDefaultsHelpFormatter, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import transformers
from study_report import StudyReport, write_study_report
from study_runs import StudyRecipe, measure_runs, study_recipes

from farl_hf.errors import FaRLError
from farl_hf.training.arguments import ScriptParser, parse_overrides

RESUMING = "Finished trainings are kept: the same command goes on where it was stopped."


class HelpFormatter(ArgumentDefaultsHelpFormatter, RawDescriptionHelpFormatter):
    """Keeps the line breaks of the description, and names defaults."""


def tiny_recipe(task: str) -> str:
    """The recipe of a task at the size of a laptop, on rendered faces."""
    return str(Path(__file__).parent / "tiny" / f"{task}.yaml")


@dataclass
class StudyArguments:
    """What every study takes."""

    output_dir: str = field(metadata={"help": "Folder of table.md, results.json, plot.png, and of all trainings."})
    recipes: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Names (`farl-hf train --list`) or files of recipes, one per task; each is a column. Default: "
            "small trainings on rendered faces."
        },
    )
    data_dirs: list[str] = field(
        default_factory=list, metadata={"help": "Folder of each recipe's data set, in the order of the recipes."}
    )
    set: list[str] = field(
        default_factory=list, metadata={"help": "KEY=VALUE ...: training arguments replaced in every training."}
    )
    seeds: list[int] = field(
        default_factory=lambda: [0], metadata={"help": "Every training is done with each; the table shows mean ± sd."}
    )


def run_study_script(
    arguments_class: type[StudyArguments],
    make_report: Callable[[Any, list[StudyRecipe]], StudyReport],
    description: str,
    real_command: str,
    tasks: Sequence[str],
    words: Sequence[str] | None = None,
) -> int:
    """Reads the command line, trains what is missing, writes the report and prints its table.

    Args:
        arguments_class (`type`): Arguments of the script.
        make_report (`Callable`): From arguments and recipes to rows, columns and title.
        description (`str`): First part of `--help`.
        real_command (`str`): The command for the paper's data, which `--help` shows too.
        tasks (`Sequence[str]`): What is studied when no recipes are given.
        words (`Sequence[str]`, *optional*): Command line; the process's by default.

    Returns:
        `int`: Exit status.
    """
    real = f"On the paper's data:\n\n{textwrap.indent(real_command, '    ')}"
    parser = ScriptParser(
        arguments_class, description=f"{description}\n{real}\n\n{RESUMING}", formatter_class=HelpFormatter
    )
    transformers.utils.logging.set_verbosity_error()
    try:
        (arguments,) = parser.parse_args_into_dataclasses(words)
        names = arguments.recipes or [tiny_recipe(task) for task in tasks]
        recipes = study_recipes(names, arguments.data_dirs, parse_overrides(arguments.set))
        report = make_report(arguments, recipes)
        runs = measure_runs(report.variants, recipes, arguments.seeds, arguments.output_dir)
        if runs:
            print(write_study_report(report, runs, arguments.output_dir))
    except FaRLError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def backbone_overrides(name: str, random_config: str) -> dict[str, Any]:
    """Training arguments that start from a backbone: a checkpoint's name or folder, or `random`."""
    if name == "random":
        return {"model_name_or_path": None, "config_name": random_config}
    return {"model_name_or_path": name, "config_name": None}
