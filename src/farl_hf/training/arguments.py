"""Arguments of the training scripts, and the way from a command line, a recipe or a JSON file to them.

Three dataclasses describe the training of a task model: [`ModelArguments`], [`DataArguments`] and
[`FaRLTrainingArguments`]. Other trainings build on [`DatasetArguments`] and [`SharedTrainingArguments`]. Options may
be written with dashes or underscores: `--output-dir` or `--output_dir`.
"""

import dataclasses
import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from enum import Enum
from pathlib import Path
from typing import Any, NoReturn

import torch
import yaml
from transformers import HfArgumentParser, TrainingArguments, hf_argparser

from farl_hf.errors import FaRLError, InvalidArgumentError, check_name, in_short, unknown_name, without_controls
from farl_hf.modeling.configuration_farl import FaRLConfig
from farl_hf.whole_files import write_whole

HfArg: Any = hf_argparser.HfArg  # declared as a Field, which type checkers take for the value of the argument


@dataclass
class ModelArguments:
    """Which model is trained, which weights it starts from, and how its image processor crops faces."""

    model_name_or_path: str | None = HfArg(
        default=None,
        help="Checkpoint to start from: a folder or a name. Any FaRL checkpoint can lend its vision encoder.",
    )
    config_name: str | None = HfArg(
        default=None, help="Start from random weights: tiny, toy, base, or a JSON file with FaRLConfig arguments."
    )
    backbone: str | None = HfArg(
        default=None,
        help="Encoder under the head: the folder that farl-hf convert made of its weights; or, with "
        "--config-name base, one of farl, clip, vit, deit, mocov3, beit, face_transformer, with random weights.",
    )
    image_size: int | None = HfArg(
        default=None, help="Side of the crop in pixels. Default: the checkpoint's, or 224 from scratch."
    )
    warp_factor: float | None = HfArg(default=None, help="Alpha of the tanh warp. Default: 0.8 for parsing, else 0.")
    face_scale: float | None = HfArg(
        default=None, help="Scale of the alignment template; smaller shows more around the face."
    )
    box_scale: float | None = HfArg(
        default=None, help="Share of the crop that a box fills, with --alignment box. Default: the data set's rule."
    )
    pixel_grid: str | None = HfArg(
        default=None, help="half_pixel, or integer: the warp of the official training code."
    )
    canvas_size: int | None = HfArg(
        default=None,
        help="Side of the canvas whose pixels the grid counts; 512 in the official code. Default: image_size.",
    )
    score_size: int | None = HfArg(
        default=None, help="Parsing: side to which class scores are upsampled before labels are read."
    )
    hidden_size: int | None = HfArg(default=None, help="From scratch: width of the vision encoder.")
    num_hidden_layers: int | None = HfArg(default=None, help="From scratch: blocks of the vision encoder.")
    num_attention_heads: int | None = HfArg(default=None, help="From scratch: heads per block.")
    patch_size: int | None = HfArg(default=None, help="From scratch: side of a patch in pixels.")
    feature_levels: list[int] | None = HfArg(
        default=None, help="Four blocks, from 0 on, that feed the head; one may be repeated. Default: the model's."
    )
    head_channels: int | None = HfArg(default=None, help="Channels of the dense head.")
    output_stride: int | None = HfArg(
        default=None,
        aliases=["--score_stride", "--score-stride"],
        help="Pixels between two cells of the dense head's scores. Default: 4, as in the paper; 2 draws thin "
        "regions better with patches of 8 pixels.",
    )
    label_weights: list[float] | None = HfArg(
        default=None, help="Parsing: weight of each class in the loss, one number per class."
    )
    point_loss_weight: float | None = HfArg(
        default=None, help="Landmarks: weight of the point distance beside the heat-map loss."
    )
    attn_implementation: str | None = HfArg(
        default=None, help="eager or sdpa. Default: eager on a CPU, where it trains faster, else sdpa."
    )

    def head_overrides(self) -> dict[str, Any]:
        """Settings of the head that replace a checkpoint's or a recipe's."""
        head = ("feature_levels", "head_channels", "output_stride", "label_weights", "point_loss_weight")
        return given_settings(self, head)

    def encoder_overrides(self) -> dict[str, Any]:
        """Sizes of the vision encoder that replace a recipe's."""
        return given_settings(self, ("hidden_size", "num_hidden_layers", "num_attention_heads", "patch_size"))


@dataclass
class DatasetArguments:
    """Where the rows of a training come from."""

    dataset_config_name: str | None = HfArg(
        default=None, help="Configuration of the data set; portraits or scenes for synthetic_faces."
    )
    data_dir: str | None = HfArg(default=None, help="Folder of a published data set, as its owners distribute it.")
    cache_dir: str | None = HfArg(default=None, help="Where prepared data is kept.")
    preprocessing_num_workers: int | None = HfArg(default=None, help="Processes that prepare data.")
    max_train_samples: int | None = HfArg(default=None, help="At most so many training photos.")
    max_eval_samples: int | None = HfArg(default=None, help="At most so many evaluation photos.")
    eval_split: str = HfArg(default="validation", help="Split evaluated during and after training.")


@dataclass
class DataArguments(DatasetArguments):
    """Which photos are used, and how samples are made of them."""

    dataset_name: list[str] = HfArg(
        default_factory=lambda: ["synthetic_faces"],
        help="synthetic_faces, folders written by save_to_disk, or names for datasets.load_dataset; joined.",
    )
    alignment: str | None = HfArg(
        default=None, help="What places the crop: points, box or whole. Default: the data set's rule, else points."
    )
    augmentation: str | None = HfArg(
        default=None, help="Recipe of farl_hf.data.augmentation. Default: the task's official or synthetic one."
    )
    mirror_probability: float | None = HfArg(
        default=None, help="Chance of a left-right mirror, which swaps labels and points. Default: the augmentation's."
    )
    train_data_ratio: float | None = HfArg(
        default=None, help="Part of the training faces to use, by the official few-shot rule; docs/training.md."
    )
    label_set: str | None = HfArg(
        default=None,
        help="Parsing classes: lapa (11), celebamask or celebamask_dataset (19). Default: the data set's.",
    )
    min_face_px: float | None = HfArg(
        default=None,
        help="Smallest distance of the eyes in pixels; other faces are skipped. Default: 0 for a published "
        "data set, else 12.",
    )


@dataclass
class SharedTrainingArguments(TrainingArguments):
    """[`~transformers.TrainingArguments`] with the defaults that all trainings share.

    Where there is no accelerator, `use_cpu` is on and `dataloader_pin_memory` off.

    Raises:
        InvalidArgumentError: `fp16` on a CPU.
    """

    remove_unused_columns: bool = HfArg(default=False, help="Leave False: samples are made on the fly.")
    dataloader_num_workers: int = HfArg(default=2, help="Processes that prepare samples.")
    logging_steps: float = HfArg(default=50, help="Steps between two log entries.")
    allow_changed: bool = HfArg(
        default=False, help="Go on with a run of the output folder although arguments of it have changed."
    )

    def __post_init__(self):
        if not torch.accelerator.is_available():
            self.use_cpu = True  # otherwise `bf16` is refused, although CPUs have it
            self.dataloader_pin_memory = False  # PyTorch warns at every loader where memory cannot be pinned
        if self.label_smoothing_factor:  # Transformers' loss would take the place of the model's
            raise InvalidArgumentError("--label-smoothing-factor does not fit the losses of faces; leave it out.")
        if self.dataloader_persistent_workers and not self.dataloader_num_workers:
            raise InvalidArgumentError("--dataloader-persistent-workers needs --dataloader-num-workers of 1 or more.")
        refuse_fp16_on_cpus(self)
        super().__post_init__()


def refuse_fp16_on_cpus(args: TrainingArguments) -> None:
    """On CPUs Transformers would train in float32 and say nothing.

    Raises:
        InvalidArgumentError: `fp16` without an accelerator.
    """
    if args.fp16 and (args.use_cpu or not torch.accelerator.is_available()):
        raise InvalidArgumentError(
            "--fp16 needs an accelerator, but the training runs on CPUs; use --bf16, or leave it out for float32."
        )


@dataclass
class FaRLTrainingArguments(SharedTrainingArguments):
    """[`~transformers.TrainingArguments`] with the official FaRL recipe as defaults.

    Changed defaults. Those of rates, decay, schedule, batch and epochs are FaRL's (`farl/experiments/face_parsing`:
    `optimizers/refine_backbone.yaml`, lines 4-20; `trainers/lapa_farl.yaml`, line 78;
    `train_lapa_farl-b-ep16_448_refinebb.yaml`, line 11; no clipping: `blueprint/ml/trainer.py`, lines 124-137).

    | argument | here | Transformers |
    |---|---|---|
    | `weight_decay` | 1e-5, on all parameters | 0.0, not on norms and biases |
    | `lr_scheduler_type` | `"constant"` (use `milestone_epochs` for the official steps) | `"linear"` |
    | `max_grad_norm` | 0.0 (no clipping) | 1.0 |
    | `per_device_train_batch_size` | 5 (officially on 8 devices) | 8 |
    | `num_train_epochs` | 300 | 3 |
    | `remove_unused_columns` | `False` (samples are built by our own dataset) | `True` |
    | `label_names` | `["labels"]` | found from the model |
    | `dataloader_num_workers` | 2 | 0 |
    | `logging_steps` | 50 | 500 |
    | `use_cpu` | `True` where there is no accelerator | `False` |
    | `dataloader_pin_memory` | `False` where there is no accelerator | `True` |

    Args:
        backbone_learning_rate (`float`, *optional*, defaults to 1e-4): Learning rate of the vision encoder.
        head_learning_rate (`float`, *optional*, defaults to 1e-3): Rate of pyramid and head (official alignment
            recipe: 1e-2, `face_alignment/optimizers/refine_backbone.yaml`, lines 19-22). `learning_rate` itself is not
            used.
        pyramid_learning_rate (`float`, *optional*): Rate of the pyramid when it differs from the head's.
        decay_norm_and_bias (`bool`, *optional*, defaults to `True`): Weight decay on norms and biases too, as
            officially.
        milestone_epochs (`list[float]`, *optional*): Epochs at which every rate is multiplied by `milestone_factor`
            (officially 200: line 13 of that file).
        milestone_factor (`float`, *optional*, defaults to 0.1): See above.
        ema_decay (`float`, *optional*, defaults to 0.999): Decay per step of the averaged weights that are evaluated
            and saved; 0 turns averaging off.
        ema_warmup (`bool`, *optional*, defaults to `False`): Decay `min(ema_decay, (1 + n) / (10 + n))` at step n,
            for short runs.
        freeze_backbone (`bool`, *optional*, defaults to `False`): The vision encoder does not learn.
        sync_batch_norm (`bool`, *optional*, defaults to `False`): Batch norms share their statistics over all
            processes, as officially (`farl/network/mmseg.py`, line 23). PyTorch does this on accelerators only.
        total_train_batch_size (`int`, *optional*): Faces per optimizer step over all processes (officially 40: 5 on
            each of 8 GPUs, FaRL's README, line 62); sets
            `gradient_accumulation_steps`.
    """

    weight_decay: float = HfArg(default=1e-5, help="AdamW weight decay.")
    lr_scheduler_type: str = HfArg(default="constant", help="Schedule of all learning rates.")
    max_grad_norm: float = HfArg(default=0.0, help="Gradient clipping; 0 is off.")
    per_device_train_batch_size: int = HfArg(default=5, help="Faces per device and step.")
    num_train_epochs: float = HfArg(default=300, help="Epochs.")
    label_names: list[str] | None = HfArg(default_factory=lambda: ["labels"], help="Names of label inputs.")

    backbone_learning_rate: float = HfArg(default=1e-4, help="Learning rate of the vision encoder.")
    head_learning_rate: float = HfArg(default=1e-3, help="Learning rate of pyramid and head.")
    pyramid_learning_rate: float | None = HfArg(
        default=None, help="Learning rate of the pyramid when it differs from the head's."
    )
    decay_norm_and_bias: bool = HfArg(default=True, help="Weight decay on norms and biases too.")
    milestone_epochs: list[float] | None = HfArg(
        default=None, help="Epochs at which the learning rates drop by milestone_factor."
    )
    milestone_factor: float = HfArg(default=0.1, help="Factor at each milestone.")
    ema_decay: float = HfArg(default=0.999, help="Decay of the averaged weights; 0 is off.")
    ema_warmup: bool = HfArg(default=False, help="Start averaging with a smaller decay.")
    freeze_backbone: bool = HfArg(default=False, help="Do not train the vision encoder.")

    sync_batch_norm: bool = HfArg(default=False, help="Batch norms share their statistics over all processes.")
    total_train_batch_size: int | None = HfArg(
        default=None, help="Faces per optimizer step over all processes; sets gradient_accumulation_steps."
    )

    def __post_init__(self):
        if self.learning_rate != TrainingArguments.learning_rate:
            raise InvalidArgumentError(
                f"--learning-rate {self.learning_rate} would change nothing: the model's parts have their own "
                "rates. Set --backbone-learning-rate and --head-learning-rate."
            )
        if self.total_train_batch_size is not None:  # before the parent, which tells DeepSpeed the steps
            self.gradient_accumulation_steps = self.accumulation_steps(self.total_train_batch_size)
        super().__post_init__()

    def accumulation_steps(self, total_train_batch_size: int) -> int:
        """Batches per optimizer step, such that all processes together take this many faces.

        Raises:
            InvalidArgumentError: The batches of all processes do not divide the number.
        """
        one_process = "WORLD_SIZE" not in os.environ
        num_devices = torch.cuda.device_count() if one_process and not self.use_cpu else 1
        num_devices = max(num_devices, int(os.environ.get("WORLD_SIZE", 1)))
        together = self.per_device_train_batch_size * num_devices
        if total_train_batch_size % together:
            raise InvalidArgumentError(
                f"total_train_batch_size {total_train_batch_size} is not a multiple of {together} "
                f"({self.per_device_train_batch_size} faces on each of {num_devices} devices); choose another "
                "per_device_train_batch_size."
            )
        return total_train_batch_size // together


# From words to arguments

ParsedArguments = tuple[ModelArguments, DataArguments, FaRLTrainingArguments]
ARGUMENT_GROUPS: tuple[Any, ...] = (ModelArguments, DataArguments, FaRLTrainingArguments)
KNOWN_ARGUMENTS = tuple(argument.name for group in ARGUMENT_GROUPS for argument in fields(group) if argument.init)


def parse_script_arguments(arguments: list[str] | None = None, task: str | None = None) -> ParsedArguments:
    """Reads a command line, or a JSON file if that is its only word.

    `--recipe NAME_OR_FILE` takes the arguments of that recipe; other options replace them, wherever they stand.

    Args:
        arguments (`list[str]`, *optional*): Words of the command line; the process's by default.
        task (`str`, *optional*): What the script trains; a recipe for another task is refused.

    Raises:
        InvalidArgumentError: `--recipe` has no value, or its recipe is for another task.
        UnknownNameError: There is no such recipe.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if len(arguments) == 1 and arguments[0].endswith(".json"):
        arguments = as_flags(with_present_names(read_json_object(arguments[0])), KNOWN_ARGUMENTS)
    if "--recipe" in arguments:
        place = arguments.index("--recipe")
        if place + 1 == len(arguments):
            raise InvalidArgumentError("--recipe takes the name or the file of a recipe.")
        flags = arguments[:place] + arguments[place + 2 :]
        return parse_recipe_arguments(arguments[place + 1], flags=flags, task=task)[1:]
    return make_parser().parse_args_into_dataclasses(arguments)


def read_json_object(path: str | Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        InvalidArgumentError: The file cannot be read, or holds something else.
    """
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidArgumentError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(values, dict):
        raise InvalidArgumentError(f"{path} holds {type(values).__name__}, no object of names and values.")
    return values


STARTS = ("model_name_or_path", "config_name")  # a checkpoint, or random weights


def has_flag(words: Sequence[str], name: str) -> bool:
    """Whether an argument is among the words of a command line."""
    flags = {f"--{name}", f"--{name.replace('_', '-')}"}
    return any(word.partition("=")[0] in flags for word in words)


def parse_recipe_arguments(
    name_or_file: str, overrides: dict[str, Any] | None = None, flags: Sequence[str] = (), task: str | None = None
) -> tuple[str, ModelArguments, DataArguments, FaRLTrainingArguments]:
    """Arguments of a recipe.

    Args:
        name_or_file (`str`): Recipe, see [`read_recipe`].
        overrides (`dict[str, Any]`, *optional*): Values that replace the recipe's; None returns to the default.
        flags (`Sequence[str]`, *optional*): Words of a command line that win over both.
        task (`str`, *optional*): The task that the recipe must be for.

    Returns:
        `tuple`: Task, model, data and training arguments.

    Raises:
        InvalidArgumentError: The recipe is for another task.
        UnknownNameError: There is no such recipe, or no such argument.
    """
    recipe = read_recipe(name_or_file)
    if task not in (None, recipe.task):
        raise InvalidArgumentError(f"The recipe {name_or_file} is for {recipe.task}; this script trains {task}.")
    given = with_present_names(overrides or {})
    named = {name for name in STARTS if given.get(name) is not None or has_flag(flags, name)}
    # What a training starts from replaces the other way to start that the recipe names.
    dropped = dict.fromkeys(set(STARTS) - named - given.keys()) if named else {}
    words = as_flags(recipe.arguments | dropped | given, KNOWN_ARGUMENTS)
    return recipe.task, *make_parser().parse_args_into_dataclasses([*words, *flags])


class ScriptParser(HfArgumentParser):
    """[`~transformers.HfArgumentParser`] that refuses words with the errors of this library, of one sentence each.

    `--help` begins with the options of this library, in groups; those of Transformers follow.
    """

    def __init__(self, dataclass_types: Any, **kwargs: Any) -> None:
        super().__init__(dataclass_types, usage="%(prog)s [options]", **kwargs)
        theirs = self._optionals
        groups = []
        for group in self.dataclass_types:
            ours = {
                name
                for one in group.__mro__
                if not one.__module__.startswith("transformers.")
                for name in vars(one).get("__annotations__", {})
            }
            title = (group.__doc__ or group.__name__).strip().partition("\n")[0].rstrip(".")
            groups.append(self.add_argument_group(re.sub(r"\[`~?(?:\w+\.)*(\w+)`\]", r"\1", title)))
            groups[-1]._group_actions += [action for action in theirs._group_actions if action.dest in ours]
            theirs._group_actions = [action for action in theirs._group_actions if action.dest not in ours]
        if len(theirs._group_actions) > 1:
            theirs.title = "options of Transformers' TrainingArguments, and --help"
        self._action_groups = [*groups, *(one for one in self._action_groups if one not in groups)]

    def error(self, message: str) -> NoReturn:
        """Called for a value that cannot be read."""
        raise InvalidArgumentError(f"{message[:1].upper()}{message[1:]}; --help lists all options.")

    def parse_args_into_dataclasses(self, args: Any = None, **kwargs: Any) -> Any:  # type: ignore[override]  # takes the same
        """See [`~transformers.HfArgumentParser.parse_args_into_dataclasses`]."""
        with settings_refused():
            *parsed, rest = super().parse_args_into_dataclasses(args, **(kwargs | {"return_remaining_strings": True}))
        for word in rest:
            if word.startswith("-"):
                raise unknown_name("option", word.partition("=")[0], self._option_string_actions)
            raise InvalidArgumentError(f"{word!r} belongs to no option; --help lists all options.")
        check_numbers(parsed)
        return tuple(parsed)


# Numbers that can be used, where Transformers, PyTorch and lightly have no sentence: what is expected, and of what.
END_OF_SEEDS = 2**32  # NumPy's
AT_LEAST_1 = (
    *("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps", "image_size"),
    *("gallery_size", "num_prototypes", "visual_tokenizer_samples", "visual_vocab_size"),
)
AT_LEAST_0 = (
    *("learning_rate", "backbone_learning_rate", "head_learning_rate", "pyramid_learning_rate", "weight_decay"),
    *("num_train_epochs", "warmup_steps", "dataloader_num_workers", "max_grad_norm", "milestone_factor"),
    *("min_face_px", "min_face_score", "mim_weight", "neftune_noise_alpha", "preprocessing_num_workers"),
)
USABLE: tuple[tuple[str, Callable[[float], bool], tuple[str, ...]], ...] = (
    ("1 or more", lambda value: value >= 1, AT_LEAST_1),
    ("0 or more", lambda value: value >= 0, AT_LEAST_0),
    ("3 or more, two of which are start and end", lambda value: value >= 3, ("max_text_tokens",)),
    ("a number from 0 to 1", lambda value: 0 <= value <= 1, ("mirror_probability", "face_ratio")),
    ("0 or more, less than 1", lambda value: 0 <= value < 1, ("ema_decay",)),
    ("1 or more, or -1 for no limit", lambda value: value >= 1 or value == -1, ("max_steps",)),
    ("more than 0", lambda value: value > 0, ("simclr_temperature", "sinkhorn_epsilon")),
    (f"0 or more, less than {END_OF_SEEDS}", lambda value: 0 <= value < END_OF_SEEDS, ("seed", "data_seed")),
)


def check_numbers(arguments: Sequence[Any]) -> None:
    """Refuses numbers that cannot be used: too small, not finite, or seeds that NumPy cannot take.

    Raises:
        InvalidArgumentError: With the option and what is expected.
    """
    for expected, usable, names in USABLE:
        for name in names:
            for value in (getattr(group, name, None) for group in arguments):
                if value is not None and not (math.isfinite(value) and usable(value)):
                    raise InvalidArgumentError(f"--{name.replace('_', '-')} is {value}; expected {expected}.")


_NOT_INSTALLED = "to be installed"  # in the errors of loggers that `report_to` names


@contextmanager
def settings_refused() -> Iterator[None]:
    """Turns what Transformers refuses while it builds what arguments ask for into [`InvalidArgumentError`]."""
    try:
        yield
    except FaRLError:
        raise
    except (ValueError, TypeError, ArithmeticError, ImportError, OSError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and _NOT_INSTALLED not in str(error):  # of a device, for example
            raise
        raise InvalidArgumentError(f"A training argument cannot be used: {in_short(error, 500)}") from error


@contextmanager
def errors_as_sentences() -> Iterator[None]:
    """Around a script: an error that its user can mend is printed as one sentence, without a traceback."""
    try:
        yield
    except FaRLError as error:
        raise SystemExit(f"Error: {without_controls(str(error))}") from error


def make_parser() -> Any:
    """The parser of all training arguments."""
    return ScriptParser(ARGUMENT_GROUPS)


def output_folder(args: TrainingArguments) -> Path:
    """The folder that a run writes to; Transformers fills in a name if none was given."""
    return Path(str(args.output_dir))


def given_settings(arguments: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """The named settings that are not None."""
    return {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}


# --- recipes: training arguments as YAML files, one per published experiment; and configurations of new models
#
# A recipe names its `task` and has a `title`. Its other values are arguments of the training scripts. `base` names one
# recipe or several whose values it starts from; the last base wins, and the recipe's own values win over all bases.
# Files whose names begin with an underscore are only bases.

RECIPES_FOLDER = Path(__file__).resolve().parent / "recipes"
RECIPE_NAMES = tuple(sorted(path.stem for path in RECIPES_FOLDER.glob("[!_]*.yaml")))
RESOLVED_NAME = "recipe.yaml"  # in the output folder
# Tasks that `farl-hf train` does not know.
SCRIPTS_OF_TASKS = {
    "pretraining": "examples/pretrain_farl.py",
    "detection": "examples/train_face_detection.py",
    "generation": "examples/face_generator/train_face_generator.py",
}
DESCRIPTIONS = ("task", "title", "base")
_MOST_BRACKETS = 1000
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
    if not isinstance(merged.get("task"), str):
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
    if not isinstance(bases, str | list) or not all(isinstance(name, str) for name in (*values, *bases)):
        raise InvalidArgumentError(f"The recipe {path} has names or a base that are no text; see docs/training.md.")
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


def yaml_value(text: str) -> Any:
    """The value of a YAML text.

    Raises:
        yaml.YAMLError: It has none, or is nested so deeply that reading it would take minutes.
    """
    if text.count("[") + text.count("{") > _MOST_BRACKETS:
        raise yaml.YAMLError(f"it has more than {_MOST_BRACKETS} opening brackets")
    return yaml.safe_load(text)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file."""
    try:
        values = yaml_value(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise InvalidArgumentError(f"The recipe {path} cannot be read as YAML: {in_short(error, 300)}") from error
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
            overrides[name.strip().replace("-", "_")] = yaml_value(value)
        except yaml.YAMLError as error:
            raise InvalidArgumentError(
                f"The value of --set {in_short(repr(pair))} cannot be read: {in_short(error, 300)}"
            ) from error
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
    command = SCRIPTS_OF_TASKS.get(task, f"farl-hf train {path}")
    text = f"# {command}\n# All arguments as they were resolved.\n{yaml.safe_dump(values)}"
    return write_whole(path, text.encode())


def plain_enum(value: Any) -> Any:
    """The value of a member of an enumeration; others stay."""
    return value.value if isinstance(value, Enum) else value


def plain_values(arguments: Any) -> dict[str, Any]:
    """Values of an arguments dataclass that YAML can hold, without empty values, secrets and nested settings."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(arguments):
        value = getattr(arguments, field.name)
        value = [plain_enum(one) for one in value] if isinstance(value, list) else plain_enum(value)
        empty = value is None or value in ("", [], {})
        # Of dictionaries only this one decides a result; others tell how a machine computes it.
        plain = isinstance(value, (bool, int, float, str, list)) or field.name == "lr_scheduler_kwargs"
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
    with settings_refused():
        return FaRLConfig(
            **(settings | given | {"vision_config": vision | {"image_size": image_size}}),
            **label_settings(label_names),
        )


def read_settings(name: str) -> dict[str, Any]:
    """Arguments of a recipe or of a JSON file."""
    if name in MODEL_RECIPES:
        return MODEL_RECIPES[name]
    if Path(name).is_file():
        try:
            settings = json.loads(Path(name).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise InvalidArgumentError(f"{name} cannot be read as JSON: {error}") from error
        if not isinstance(settings, dict):
            raise InvalidArgumentError(f"{name} holds {type(settings).__name__}, no object of names and values.")
        return {FaRLConfig.attribute_map.get(key) or key: value for key, value in settings.items()}
    raise unknown_name("model recipe or JSON file", name, MODEL_RECIPES)


def label_settings(label_names: list[str]) -> dict[str, Any]:
    """`id2label` and `label2id` of a configuration."""
    return {"id2label": dict(enumerate(label_names)), "label2id": {name: i for i, name in enumerate(label_names)}}
