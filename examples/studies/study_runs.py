"""Studies: the same trainings under several variants, run by run, each run kept once it is finished.

A study has one row per [`StudyVariant`] and one group of columns per recipe. A run is a training by
[`run_face_training`] in a folder of its own.
"""

import contextlib
import hashlib
import itertools
import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from farl_hf.errors import InvalidArgumentError
from farl_hf.training.arguments import parse_recipe_arguments, read_recipe
from farl_hf.training.finetuning import run_face_training
from farl_hf.whole_files import write_json

__all__ = ["StudyRecipe", "StudyRun", "StudyVariant", "measure_runs", "study_recipes"]

RUNS_FOLDER = "runs"
FINISHED_NAME = "run.json"  # written last: a folder that has it is finished


@dataclass(frozen=True)
class StudyVariant:
    """One row of a study.

    Args:
        name (`str`): What the first column of the table says.
        overrides (`dict[str, Any]`): Training arguments that replace the recipe's; None returns to the default.
        place (`float`, *optional*): Where it lies on the plot's axis. In a study with such an axis, a variant without
            a place is a dashed line over the whole width.
        series (`str`, *optional*): Variants of one series are joined by a line.
    """

    name: str
    overrides: dict[str, Any] = field(default_factory=dict)
    place: float | None = None
    series: str = ""


@dataclass(frozen=True)
class StudyRecipe:
    """A training that every variant goes through.

    Args:
        name (`str`): Recipe, see [`read_recipe`].
        task (`str`): `"parsing"`, `"landmarks"` or `"attributes"`.
        title (`str`): What it is.
        overrides (`dict[str, Any]`): Training arguments that replace the recipe's in all variants.
    """

    name: str
    task: str
    title: str
    overrides: dict[str, Any]


@dataclass(frozen=True)
class StudyRun:
    """A finished training.

    Args:
        variant (`str`), task (`str`), recipe (`str`), seed (`int`): Which one; the recipe by title and name.
        results (`dict[str, Any]`): Its `results.json`, see [`training_results`].
        seconds (`float`): How long it took, with all of its interruptions left out but the last part.
    """

    variant: str
    task: str
    recipe: str
    seed: int
    results: dict[str, Any]
    seconds: float


def study_recipes(
    names: Sequence[str], data_dirs: Sequence[str] = (), overrides: dict[str, Any] | None = None
) -> list[StudyRecipe]:
    """The recipes of a study.

    Args:
        names (`Sequence[str]`): Names or files of recipes, at most one per task.
        data_dirs (`Sequence[str]`, *optional*): Folder of each recipe's data set, in the same order.
        overrides (`dict[str, Any]`, *optional*): Training arguments that replace those of all recipes.

    Raises:
        InvalidArgumentError: Another number of folders than recipes, or two recipes of one task.
        UnknownNameError: No such recipe.
    """
    if data_dirs and len(data_dirs) != len(names):
        raise InvalidArgumentError(
            f"--data-dirs names {len(data_dirs)} folders for {len(names)} recipes ({', '.join(names)}); give one for "
            "each, in the same order."
        )
    folders = [{"data_dir": folder} for folder in data_dirs] or [{}] * len(names)
    recipes = []
    for name, folder in zip(names, folders, strict=True):
        recipe = read_recipe(name)
        recipes.append(StudyRecipe(name, recipe.task, recipe.title, (overrides or {}) | folder))
    tasks = [recipe.task for recipe in recipes]
    if len(set(tasks)) < len(tasks):
        raise InvalidArgumentError(f"A study takes one recipe per task, but got {', '.join(names)} ({tasks}).")
    return recipes


def measure_runs(
    variants: Sequence[StudyVariant], recipes: Sequence[StudyRecipe], seeds: Sequence[int], output_dir: str | Path
) -> list[StudyRun]:
    """Trains what is not finished yet.

    Runs are told apart by all of their arguments: after a change of them, they are trained anew in another folder.

    Args:
        variants (`Sequence[StudyVariant]`), recipes (`Sequence[StudyRecipe]`), seeds (`Sequence[int]`): All
            combinations are trained, in this order.
        output_dir (`str`): Runs are kept below it.

    Returns:
        `list[StudyRun]`: In the same order; empty on all processes but the first.

    Raises:
        InvalidArgumentError: The arguments of a recipe would replace what a variant stands for.
    """
    for variant, recipe in itertools.product(variants, recipes):
        for key, value in recipe.overrides.items():
            if variant.overrides.get(key, value) != value:
                raise InvalidArgumentError(
                    f"--set {key}={value} would replace {key}={variant.overrides[key]} of the row {variant.name!r}; "
                    "leave it out."
                )
    plan = [(variant, recipe, seed) for variant in variants for recipe in recipes for seed in seeds]
    first_process = os.environ.get("RANK", "0") == "0"
    runs = []
    for variant, recipe, seed in (progress := tqdm(plan, desc="study", unit="training", disable=not first_process)):
        progress.set_description(f"{variant.name}, {recipe.task}")
        folder = run_folder(Path(output_dir), variant, recipe, seed)
        if not (folder / FINISHED_NAME).is_file():
            train_run(folder, variant, recipe, seed)
        if first_process:
            runs.append(StudyRun(**json.loads((folder / FINISHED_NAME).read_text())))
    return runs


def run_folder(output_dir: Path, variant: StudyVariant, recipe: StudyRecipe, seed: int) -> Path:
    """The folder of a run, named by what it is and by a hash of its arguments."""
    arguments = read_recipe(recipe.name).arguments | run_overrides(variant, recipe, seed)
    digest = hashlib.sha256(json.dumps(arguments, sort_keys=True, default=str).encode()).hexdigest()[:8]
    words = re.sub(r"[^a-z0-9.]+", "_", f"{variant.name} {recipe.task}".lower()).strip("_")
    return output_dir / RUNS_FOLDER / f"{words}-seed{seed}-{digest}"


def run_overrides(variant: StudyVariant, recipe: StudyRecipe, seed: int) -> dict[str, Any]:
    """Arguments that replace those of the recipe."""
    return variant.overrides | recipe.overrides | {"seed": seed}


def train_run(folder: Path, variant: StudyVariant, recipe: StudyRecipe, seed: int) -> None:
    """Trains a run, or goes on with it, and marks it as finished."""
    started = time.perf_counter()
    overrides = run_overrides(variant, recipe, seed) | {"output_dir": str(folder)}
    task, model_args, data_args, training_args = parse_recipe_arguments(recipe.name, overrides)
    if not (training_args.do_train and training_args.do_eval):
        raise InvalidArgumentError(f"A study trains and evaluates; the recipe {recipe.name} must leave both on.")
    with output_kept_in(folder / "output.txt", training_args.should_save):
        run_face_training(task, model_args, data_args, training_args)
    if training_args.should_save:
        results = json.loads((folder / "results.json").read_text())
        seconds = round(time.perf_counter() - started, 1)
        run = StudyRun(variant.name, task, f"{recipe.title} ({Path(recipe.name).stem})", seed, results, seconds)
        write_json(folder / FINISHED_NAME, asdict(run))


@contextlib.contextmanager
def output_kept_in(path: Path, wanted: bool) -> Iterator[None]:
    """Sends what is printed to a file: dozens of tables would bury the study's own."""
    if not wanted:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file, contextlib.redirect_stdout(file):
        yield
