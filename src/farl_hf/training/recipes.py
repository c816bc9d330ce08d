"""Recipes: training arguments as YAML files, one per published experiment; and configurations of new models.

A recipe names its `task` and has a `title`. Its other values are arguments of the training scripts. `base` names one
recipe or several whose values it starts from; the last base wins, and the recipe's own values win over all bases.
Files whose names begin with an underscore are only bases.
"""

import dataclasses
import json
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import yaml

from farl_hf.errors import InvalidArgumentError, check_name, unknown_name
from farl_hf.modeling.configuration_farl import FaRLConfig
from farl_hf.whole_files import write_whole

RECIPES_FOLDER = Path(__file__).resolve().parent / "recipes"
RECIPE_NAMES = tuple(sorted(path.stem for path in RECIPES_FOLDER.glob("[!_]*.yaml")))
RESOLVED_NAME = "recipe.yaml"  # in the output folder
DESCRIPTIONS = ("task", "title", "base")
# Chosen by the machine, not by the user; in a recipe they would tie the next run to the same kind of machine.
MACHINE_FIELDS = ("dataloader_pin_memory", "local_rank", "use_cpu")
# Arguments of version 0.1: renamed ones, and one that is gone. Every recipe.yaml of that version holds it, turned off.
RENAMED_ARGUMENTS = {"score_stride": "output_stride"}
DROPPED_ARGUMENTS = {"data_dependent_start": False}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A recipe with its bases merged in.

    Args:
        name (`str`): Its name, or the path of its file.
        task (`str`): `"parsing"`, `"landmarks"` or `"attributes"`.
        title (`str`): What it is.
        arguments (`dict[str, Any]`): Values of training arguments.
    """

    name: str
    task: str
    title: str
    arguments: dict[str, Any]


def read_recipe(name_or_file: str | Path) -> Recipe:
    """Reads a recipe by its name or from a file.

    Args:
        name_or_file (`str` or `Path`): One of `RECIPE_NAMES`, or a YAML file; bases of a file are looked for beside
            it, then among the names.

    Raises:
        UnknownNameError: There is no such recipe.
        InvalidArgumentError: It cannot be read, it names no task, or it is a base of itself.
    """
    merged = merge_bases(find_recipe(str(name_or_file), None), ())
    if "task" not in merged:
        raise InvalidArgumentError(
            f"The recipe {name_or_file} names no task; add `task: parsing`, landmarks or attributes."
        )
    arguments = {key: value for key, value in merged.items() if key not in DESCRIPTIONS}
    return Recipe(str(name_or_file), merged["task"], merged.get("title", ""), arguments)


def find_recipe(name: str, folder: Path | None) -> Path:
    """The file of a recipe; names without suffix are looked for in `folder`, then in the package."""
    beside = [folder / f"{name}.yaml", folder / name] if folder else [Path(name)]
    for path in (*beside, RECIPES_FOLDER / f"{name}.yaml"):
        if path.is_file():
            return path
    raise unknown_name("recipe or YAML file", name, RECIPE_NAMES, "`farl-hf train --list` describes them.")


def merge_bases(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    """Values of a file over those of its bases."""
    if path in above:
        raise InvalidArgumentError(
            f"The recipe {path} is a base of itself ({' -> '.join(p.name for p in (*above, path))})."
        )
    values = read_yaml(path)
    bases = values.get("base", [])
    merged: dict[str, Any] = {}
    for base in [bases] if isinstance(bases, str) else bases:
        merged |= merge_bases(find_recipe(base, path.parent), (*above, path))
    return merged | with_present_names(values)


def with_present_names(arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments of version 0.1 under their present names, without the dropped ones that were off."""
    return {
        RENAMED_ARGUMENTS.get(name, name): value
        for name, value in arguments.items()
        if name not in DROPPED_ARGUMENTS or value != DROPPED_ARGUMENTS[name]
    }


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file."""
    try:
        values = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise InvalidArgumentError(f"The recipe {path} cannot be read as YAML: {error}") from error
    if not isinstance(values, dict):
        raise InvalidArgumentError(f"The recipe {path} holds no `name: value` lines.")
    return values


def parse_overrides(pairs: Sequence[str]) -> dict[str, Any]:
    """Values of `key=value` words. A value is read as YAML: `[1, 2]` is a list, and `null` returns to the default.

    Keys may be written with dashes, as options are: `train-data-ratio=0.1`.

    Raises:
        InvalidArgumentError: A word without `=`, or a value that is not YAML.
    """
    overrides = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise InvalidArgumentError(f"--set takes key=value, but got {pair!r}.")
        try:
            overrides[name.strip().replace("-", "_")] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise InvalidArgumentError(f"The value of --set {pair!r} cannot be read: {error}") from error
    return overrides


def as_flags(arguments: dict[str, Any], known: Sequence[str]) -> list[str]:
    """Arguments as words of a command line. The parser converts them: to YAML `1e-3` is text, to the parser a number.

    Args:
        arguments (`dict[str, Any]`): Values by name; None is skipped.
        known (`Sequence[str]`): Names that exist.

    Raises:
        UnknownNameError: A name that does not exist.
    """
    for name in arguments:
        check_name("training argument", name, known)
    return [
        word
        for name, value in arguments.items()
        if value is not None
        for word in (f"--{name}", *(map(str, value) if isinstance(value, list) else [as_word(value)]))
    ]


def as_word(value: Any) -> str:
    """A value as `HfArgumentParser` reads it."""
    return json.dumps(value) if isinstance(value, dict) else str(value)


def save_resolved_recipe(folder: str | Path, task: str, *argument_groups: Any) -> Path:
    """Writes every argument of a run to `recipe.yaml` in the folder, a recipe that starts the same run again."""
    folder = Path(folder)
    values = {"task": task} | {name: value for group in argument_groups for name, value in plain_values(group).items()}
    path = folder / RESOLVED_NAME
    command = "# examples/pretrain_farl.py" if task == "pretraining" else f"# farl-hf train {path}"
    text = f"{command}\n# All arguments as they were resolved.\n{yaml.safe_dump(values)}"
    return write_whole(path, text.encode())


def plain_values(arguments: Any) -> dict[str, Any]:
    """Values of an arguments dataclass that YAML can hold, without empty values, secrets and nested settings."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(arguments):
        value = getattr(arguments, field.name)
        value = value.value if isinstance(value, Enum) else value
        empty = value is None or value == "" or value == []
        plain = isinstance(value, (bool, int, float, str, list))
        if field.init and plain and not empty and not field.name.endswith(("token", *MACHINE_FIELDS)):
            values[field.name] = value
    return values


# Configurations of models that start from random weights

# Task models do not build the text encoder. A small one keeps the configuration from naming CLIP's sizes.
TINY_TEXT = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4}

MODEL_RECIPES: dict[str, dict[str, Any]] = {
    # 1.2 million parameters: learns on a laptop's CPU. Patches of 8 pixels, because brows and lips are a
    # few pixels thick.
    "tiny": {
        "vision_config": {
            "hidden_size": 128,
            "intermediate_size": 512,
            "num_hidden_layers": 4,
            "num_attention_heads": 2,
            "patch_size": 8,
        },
        "text_config": TINY_TEXT,
        "projection_dim": 128,
        "head_channels": 40,
        "head_dropout": 0.0,
        "heatmap_size": 64,
        "heatmap_radius": 5.0,
    },
    # For tests: too small to learn, and quick.
    "toy": {
        "vision_config": {
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "patch_size": 8,
        },
        "text_config": {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
        "projection_dim": 16,
        "head_channels": 8,
        "head_dropout": 0.0,
        "heatmap_size": 16,
    },
    # ViT-B/16 with the official head.
    "base": {},
}
VISION_SETTINGS = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "patch_size")


def make_scratch_config(name: str, image_size: int, label_names: list[str], overrides: dict[str, Any]) -> FaRLConfig:
    """Configuration of a model that starts from random weights.

    Args:
        name (`str`): A key of `MODEL_RECIPES`, or a JSON file with the arguments of [`FaRLConfig`].
        image_size (`int`): Side of the crop in pixels.
        label_names (`list[str]`): Names of the model's outputs.
        overrides (`dict[str, Any]`): Settings that replace the recipe's. Those of the vision encoder (`hidden_size`,
            `num_hidden_layers`, …) go there.
    """
    settings = read_settings(name)
    given = dict(overrides)
    vision = settings.get("vision_config", {}) | {key: given.pop(key) for key in VISION_SETTINGS if key in given}
    if "hidden_size" in overrides:
        vision["intermediate_size"] = 4 * vision["hidden_size"]
    return FaRLConfig(
        **(settings | given | {"vision_config": vision | {"image_size": image_size}}), **label_settings(label_names)
    )


def read_settings(name: str) -> dict[str, Any]:
    """Arguments of a recipe or of a JSON file."""
    if name in MODEL_RECIPES:
        return MODEL_RECIPES[name]
    if Path(name).is_file():
        try:
            settings: Any = json.loads(Path(name).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise InvalidArgumentError(f"{name} cannot be read as JSON: {error}") from error
        if not isinstance(settings, dict):
            raise InvalidArgumentError(f"{name} holds {type(settings).__name__}, no object of names and values.")
        return {str(FaRLConfig.attribute_map.get(key, key)): value for key, value in settings.items()}
    raise unknown_name("model recipe or JSON file", name, MODEL_RECIPES)


def label_settings(label_names: list[str]) -> dict[str, Any]:
    """`id2label` and `label2id` of a configuration."""
    return {"id2label": dict(enumerate(label_names)), "label2id": {name: i for i, name in enumerate(label_names)}}
