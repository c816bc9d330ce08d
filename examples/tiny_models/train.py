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
command is given again; a finished one is left alone. `--pack` stores a finished run as the built-in model of its name.

Set OMP_NUM_THREADS to the number of cores. Options of a recipe are replaced by `--set`, for example
`--set max_steps=20 max_train_samples=64`; such a run is another model.
"""

import argparse
import sys
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
from farl_hf.training.finetuning import run_face_training
from farl_hf.training.pretraining.run import run_pretraining
from farl_hf.training.pretraining.trainer import (
    PretrainingArguments,
    PretrainingDataArguments,
    PretrainingModelArguments,
)

FOLDER = Path(__file__).resolve().parent
START = "farl-tiny"
NAMES = (START, "farl-tiny-parsing", "farl-tiny-landmarks", "farl-tiny-attributes")
PRETRAINING = "pretraining"  # the task of START's recipe
PRETRAINING_GROUPS = (PretrainingModelArguments, PretrainingDataArguments, PretrainingArguments)
FINISHED = "eval_results.json"  # written by the evaluation after the last step


def train(name: str, runs: Path, overrides: dict[str, Any]) -> Path:
    """Trains one model, or goes on with its training; returns the folder of the run."""
    run = runs / name
    finished = (run / FINISHED).is_file()
    for option in ("do_train", "do_eval"):
        if overrides.get(option) is False:
            raise InvalidArgumentError(f"{option}=false cannot be used: a run is finished once it is evaluated.")
    recipe_file = FOLDER / f"{name}.yaml"
    settings = {"cache_dir": str(runs / "data"), "output_dir": str(run), **overrides}
    if read_recipe(recipe_file).task == PRETRAINING:
        task, arguments = PRETRAINING, pretraining_arguments(recipe_file, settings)
    else:
        settings = {"model_name_or_path": START if finished else start_of_head(name, runs), **settings}
        task, *arguments = parse_recipe_arguments(str(recipe_file), settings)
    if finished:
        print(f"{run} is finished; its options are those of {RESOLVED_NAME} there.")
    elif task == PRETRAINING:
        run_pretraining(*arguments)
    else:
        run_face_training(task, *arguments)
    PartialState().wait_for_everyone()  # the first process writes the files from which the next model starts
    return run


def start_of_head(name: str, runs: Path) -> str:
    """The runs' own `farl-tiny`, or the built-in one where the runs have none."""
    start = runs / START
    if not start.exists():
        return START
    if not (start / FINISHED).is_file():
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
