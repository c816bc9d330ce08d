"""Trains the built-in models from nothing, each by one command, on rendered faces.

    python examples/tiny_models/train.py farl-tiny --runs runs/tiny
    python examples/tiny_models/train.py farl-tiny-parsing --runs runs/tiny
    python examples/tiny_models/train.py farl-tiny-landmarks --runs runs/tiny
    python examples/tiny_models/train.py farl-tiny-attributes --runs runs/tiny
    python examples/tiny_models/train.py all --runs runs/tiny

`farl-tiny` is pre-trained by image-text contrast and masked image modelling; the other models start from its vision
encoder: that of the runs, or the built-in one where the runs have none. The recipe of a model is the YAML file of its
name beside this script. All models share one data set, which the first command renders into the folder `data` of the
runs.

The last weights of a run, averaged over its steps, are the model. A run that was stopped goes on where it was when the
command is given again. A finished one is left alone, and refused if it was made with other options. `--pack` stores it
as the built-in model of its name.

Set OMP_NUM_THREADS to the number of cores. Options of a recipe are replaced by `--set`, for example
`--set max_steps=20 max_train_samples=64`; such a run is another model.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from accelerate import PartialState

from farl_hf.checkpoints import checkpoint
from farl_hf.checkpoints.packing import pack_checkpoint, store_commits
from farl_hf.errors import FaRLError, InvalidArgumentError, NotACheckpointError
from farl_hf.training.arguments import (
    RESOLVED_NAME,
    ScriptParser,
    as_flags,
    parse_overrides,
    parse_recipe_arguments,
    read_recipe,
)
from farl_hf.training.finetuning import run_face_training, with_backbone, with_protocol
from farl_hf.training.pretraining.run import run_pretraining
from farl_hf.training.pretraining.trainer import (
    PretrainingArguments,
    PretrainingDataArguments,
    PretrainingModelArguments,
)
from farl_hf.training.runs import KEPT_ARGUMENTS, changed_arguments, former_arguments

FOLDER = Path(__file__).resolve().parent
START = "farl-tiny"
NAMES = (START, "farl-tiny-parsing", "farl-tiny-landmarks", "farl-tiny-attributes")
PRETRAINING = "pretraining"  # the task of START's recipe
PRETRAINING_GROUPS = (PretrainingModelArguments, PretrainingDataArguments, PretrainingArguments)
# Files of a finished run; the evaluation after the last step writes the first.
FINISHED = ("eval_results.json", "model.safetensors")
# What tells one model from another; the start of a head may have moved.
TOLD_APART_BY = (
    *(name for name in KEPT_ARGUMENTS if name != "model_name_or_path"),
    *("num_train_epochs", "max_steps", "max_eval_samples"),
    *("load_best_model_at_end", "metric_for_best_model", "eval_strategy"),
)


def train(name: str, runs: Path, overrides: dict[str, Any]) -> Path:
    """Trains one model, or goes on with its training; returns the folder of the run."""
    run = runs / name
    finished = is_finished_run(run)
    for option in ("do_train", "do_eval"):
        if overrides.get(option) is False:
            raise InvalidArgumentError(f"{option}=false cannot be used: a run is finished once it is evaluated.")
    if "output_dir" in overrides:
        raise InvalidArgumentError("output_dir cannot be set: a run lies in the folder of its name in --runs.")
    recipe_file = FOLDER / f"{name}.yaml"
    settings = {"cache_dir": str(runs / "data"), "output_dir": str(run), **overrides}
    if read_recipe(recipe_file).task == PRETRAINING:
        task, arguments = PRETRAINING, pretraining_arguments(recipe_file, settings)
    else:
        settings = {"model_name_or_path": START if finished else start_of_head(name, runs), **settings}
        task, *arguments = parse_recipe_arguments(str(recipe_file), settings)
    if finished:
        check_same_model(run, task, arguments, names=dict.fromkeys((*TOLD_APART_BY, *overrides)))
        print(f"{run} is finished; its options are those of {RESOLVED_NAME} there.")
    elif task == PRETRAINING:
        run_pretraining(*arguments)
    else:
        run_face_training(task, *arguments)
    PartialState().wait_for_everyone()  # the first process writes the files from which the next model starts
    return run


def is_finished_run(run: Path) -> bool:
    return all((run / name).is_file() for name in FINISHED)


def check_same_model(run: Path, task: str, arguments: Sequence[Any], names: Iterable[str]) -> None:
    """Refuses a finished run that was made with other options of these names: it is another model."""
    if not (run / RESOLVED_NAME).is_file():
        raise NotACheckpointError(f"{run} lacks {RESOLVED_NAME}, which tells how it was made; choose another --runs.")
    model_args, data_args, training_args = arguments
    if task != PRETRAINING:
        model_args, data_args = with_protocol(with_backbone(model_args), data_args)  # as the run wrote them
    changes = changed_arguments(former_arguments(run), (model_args, data_args, training_args), names)
    if changes:
        raise InvalidArgumentError(
            f"{run} is finished, and was made with other options ({'; '.join(changes)}); give the same --set, or "
            "choose another folder for --runs."
        )


def start_of_head(name: str, runs: Path) -> str:
    """The runs' own `farl-tiny`, or the built-in one where the runs have none."""
    start = runs / START
    if not any(
        (start / name).is_file() for name in (RESOLVED_NAME, *FINISHED)
    ):  # none, or one whose model was refused
        return START
    if not is_finished_run(start):
        raise NotACheckpointError(f"{name} starts from {start}, which is not finished; train {START} first.")
    return str(start)


def pretraining_arguments(recipe_file: Path, overrides: dict[str, Any]) -> tuple[Any, ...]:
    """Arguments of a pre-training recipe."""
    known = [field.name for group in PRETRAINING_GROUPS for field in fields(group) if field.init]
    words = as_flags(read_recipe(recipe_file).arguments | overrides, known)
    return ScriptParser(PRETRAINING_GROUPS).parse_args_into_dataclasses(words)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=(*NAMES, "all"), help="built-in model to train")
    parser.add_argument("--runs", type=Path, required=True, help="folder of the runs, outside the repository")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="values that replace the recipe's")
    parser.add_argument("--pack", action="store_true", help="store finished runs as the built-in models")
    given = parser.parse_args(arguments)
    try:
        for name in NAMES if given.name == "all" else (given.name,):
            run = train(name, given.runs, parse_overrides(given.set))
            if given.pack and PartialState().is_main_process:
                pack_checkpoint(run, checkpoint(name))
                store_commits()
                print(
                    f"{run} is now the built-in {name}; its card is written by hand: renew what it says, then run "
                    "`python -m farl_hf.checkpoints.packing`."
                )
    except FaRLError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
