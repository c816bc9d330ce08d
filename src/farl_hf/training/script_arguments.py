"""Command-line arguments shared by the training scripts."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from transformers import HfArgumentParser

from farl_hf.errors import InvalidFaceInputError, UnknownNameError
from farl_hf.training.arguments import FaRLTrainingArguments
from farl_hf.training.recipe_files import as_flags, read_recipe, with_present_names

__all__ = ["DataArguments", "ModelArguments", "parse_recipe_arguments", "parse_script_arguments"]


@dataclass
class ModelArguments:
    """Which model is trained, from where, and what its image processor does."""

    model_name_or_path: str | None = field(
        default=None,
        metadata={"help": "Checkpoint to start from: a folder or a name. Any FaRL checkpoint gives its vision tower."},
    )
    config_name: str | None = field(
        default=None,
        metadata={"help": "Start from random weights: tiny, toy, base, or a JSON file with FaRLConfig arguments."},
    )
    backbone: str | None = field(
        default=None,
        metadata={
            "help": "Encoder under the head: the folder that farl-hf convert made of its weights; or, with "
            "--config_name base, one of farl, clip, vit, deit, mocov3, beit, face_transformer, with random weights."
        },
    )
    image_size: int | None = field(
        default=None, metadata={"help": "Side of the crop in pixels. Default: the checkpoint's, or 224 from scratch."}
    )
    warp_factor: float | None = field(
        default=None, metadata={"help": "Alpha of the tanh warp. Default: 0.8 for parsing, else 0."}
    )
    face_scale: float | None = field(
        default=None, metadata={"help": "Scale of the alignment template; smaller shows more around the face."}
    )
    box_scale: float | None = field(
        default=None,
        metadata={"help": "Share of the crop that a box fills, with --alignment box. Default: the data set's rule."},
    )
    pixel_grid: str | None = field(
        default=None, metadata={"help": "half_pixel, or integer: the warp of the official training code."}
    )
    score_size: int | None = field(
        default=None, metadata={"help": "Parsing: side to which class scores are upsampled before labels are read."}
    )
    hidden_size: int | None = field(default=None, metadata={"help": "From scratch: width of the vision tower."})
    num_hidden_layers: int | None = field(default=None, metadata={"help": "From scratch: blocks of the vision tower."})
    num_attention_heads: int | None = field(default=None, metadata={"help": "From scratch: heads per block."})
    patch_size: int | None = field(default=None, metadata={"help": "From scratch: side of a patch in pixels."})
    feature_levels: list[int] | None = field(
        default=None,
        metadata={"help": "Four blocks, from 0 on, that feed the head; one may be repeated. Default: the model's."},
    )
    head_channels: int | None = field(default=None, metadata={"help": "Channels of the dense head."})
    output_stride: int | None = field(
        default=None,
        metadata={
            "aliases": ["--score_stride", "--score-stride"],
            "help": "Pixels between two cells of the dense head's scores. Default: 4, as in the paper; 2 draws thin "
            "regions better with patches of 8 pixels.",
        },
    )
    label_weights: list[float] | None = field(
        default=None, metadata={"help": "Parsing: weight of each class in the loss, one number per class."}
    )
    point_loss_weight: float | None = field(
        default=None, metadata={"help": "Landmarks: weight of the point distance beside the heat-map loss."}
    )
    attn_implementation: str | None = field(
        default=None, metadata={"help": "eager or sdpa. Default: eager on a CPU, where it trains faster, else sdpa."}
    )

    def head_overrides(self) -> dict[str, float]:
        """Settings of the head that replace a checkpoint's or a recipe's."""
        head = ("feature_levels", "head_channels", "output_stride", "label_weights", "point_loss_weight")
        return given_settings(self, head)

    def tower_overrides(self) -> dict[str, float]:
        """Sizes of the vision tower that replace a recipe's."""
        return given_settings(self, ("hidden_size", "num_hidden_layers", "num_attention_heads", "patch_size"))

    def scratch_overrides(self) -> dict[str, float]:
        """Settings that replace a recipe's when the model starts from random weights."""
        return self.tower_overrides() | self.head_overrides()


@dataclass
class DataArguments:
    """Which photos are used, and how samples are made of them."""

    dataset_name: list[str] = field(
        default_factory=lambda: ["synthetic_faces"],
        metadata={
            "help": "synthetic_faces, folders written by save_to_disk, or names for datasets.load_dataset; joined."
        },
    )
    dataset_config_name: str | None = field(
        default=None, metadata={"help": "Configuration of the data set; portraits or scenes for synthetic_faces."}
    )
    data_dir: str | None = field(
        default=None, metadata={"help": "Folder of a published data set, as its owners distribute it."}
    )
    cache_dir: str | None = field(default=None, metadata={"help": "Where prepared data is kept."})
    preprocessing_num_workers: int | None = field(default=None, metadata={"help": "Processes that prepare data."})
    max_train_samples: int | None = field(default=None, metadata={"help": "At most so many training photos."})
    max_eval_samples: int | None = field(default=None, metadata={"help": "At most so many evaluation photos."})
    eval_split: str = field(default="validation", metadata={"help": "Split evaluated during and after training."})
    alignment: str | None = field(
        default=None,
        metadata={"help": "What places the crop: points, box or whole. Default: the data set's rule, else points."},
    )
    augmentation: str | None = field(
        default=None,
        metadata={"help": "Recipe of farl_hf.data.augmentation. Default: the task's official or synthetic one."},
    )
    mirror_probability: float | None = field(
        default=None,
        metadata={
            "help": "Chance of a left-right mirror, which swaps labels and points. Default: the augmentation's."
        },
    )
    train_data_ratio: float | None = field(
        default=None, metadata={"help": "Part of the training faces to use, by the official few-shot rule."}
    )
    label_set: str | None = field(
        default=None,
        metadata={
            "help": "Parsing classes: lapa (11), celebamask or celebamask_dataset (19). Default: the data set's."
        },
    )
    min_face_px: float | None = field(
        default=None,
        metadata={
            "help": "Faces with nearer eyes (pixels) are left out. Default: none of a published data set's, else 12."
        },
    )


def given_settings(arguments: ModelArguments, names: tuple[str, ...]) -> dict[str, float]:
    """Those of the named settings that were given."""
    return {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}


def parse_script_arguments(
    arguments: list[str] | None = None, task: str | None = None
) -> tuple[ModelArguments, DataArguments, FaRLTrainingArguments]:
    """Reads flags, or one JSON file when that is the only argument.

    `--recipe NAME_OR_FILE` stands for the arguments of that recipe; flags after or before it win over it.

    Args:
        arguments (`list[str]`, *optional*): Words of the command line; the process's by default.
        task (`str`, *optional*): What the script trains; a recipe for something else is refused.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if len(arguments) == 1 and arguments[0].endswith(".json"):
        values = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
        return make_parser().parse_dict(with_present_names(values))
    if "--recipe" in arguments:
        place = arguments.index("--recipe")
        if place + 1 == len(arguments):
            raise InvalidFaceInputError("--recipe takes the name or the file of a recipe.")
        flags = arguments[:place] + arguments[place + 2 :]
        return parse_recipe_arguments(arguments[place + 1], flags=flags, task=task)[1:]
    return make_parser().parse_args_into_dataclasses(arguments)


def parse_recipe_arguments(
    name_or_file: str, overrides: dict[str, Any] | None = None, flags: Sequence[str] = (), task: str | None = None
) -> tuple[str, ModelArguments, DataArguments, FaRLTrainingArguments]:
    """Arguments of a recipe.

    Args:
        name_or_file (`str`): Recipe, see [`read_recipe`].
        overrides (`dict[str, Any]`, *optional*): Values that replace the recipe's; None returns to the default.
        flags (`Sequence[str]`, *optional*): Words of a command line that win over both.
        task (`str`, *optional*): The only task that is welcome.

    Returns:
        `tuple`: Task, model, data and training arguments.
    """
    recipe = read_recipe(name_or_file)
    if task not in (None, recipe.task):
        raise UnknownNameError(f"The recipe {name_or_file} is for {recipe.task}; this script trains {task}.")
    words = as_flags(recipe.arguments | with_present_names(overrides or {}), argument_names())
    return recipe.task, *make_parser().parse_args_into_dataclasses([*words, *flags])


def make_parser() -> HfArgumentParser:
    """The parser of all training arguments."""
    return HfArgumentParser(ARGUMENT_GROUPS)


def argument_names() -> list[str]:
    """Names of all training arguments."""
    return [argument.name for group in ARGUMENT_GROUPS for argument in fields(group) if argument.init]


ARGUMENT_GROUPS = (ModelArguments, DataArguments, FaRLTrainingArguments)
