"""Steps that all training scripts share: from names to folders, a model under DeepSpeed, training, evaluation.

A run that was interrupted goes on from the newest checkpoint that was written completely.
"""

import json
import os
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

from accelerate.utils import DistributedType, parse_flag_from_env
from transformers import PreTrainedConfig, PreTrainedModel, TrainingArguments
from transformers.integrations import is_deepspeed_zero3_enabled
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import get_last_checkpoint, sort_checkpoints
from transformers.utils import logging

from farl_hf.checkpoints import KNOWN_NAMES, checkpoint
from farl_hf.checkpoints.checked_loading import read_config
from farl_hf.data.datasets.catalogue import PUBLISHED_DATASETS
from farl_hf.data.loading import SPLITS, check_limit, load_face_datasets
from farl_hf.errors import InvalidArgumentError, NotACheckpointError, check_name
from farl_hf.training.arguments import (
    RESOLVED_NAME,
    DatasetArguments,
    output_folder,
    plain_values,
    read_yaml,
    refuse_fp16_on_cpus,
    with_present_names,
)
from farl_hf.training.ema import TRAINING_WEIGHTS_NAME
from farl_hf.training.trainer import AveragedWeightsTrainer
from farl_hf.whole_files import check_utf8, held_folder, writable_folder

logger = logging.get_logger(__name__)

INITIAL_MODEL_FOLDER = "initial_model"
SCRATCH_IMAGE_SIZE = 224

Model = TypeVar("Model", bound=PreTrainedModel)


@contextmanager
def held_output_folder(args: TrainingArguments) -> Iterator[None]:
    """Keeps other trainings out of `output_dir`, from the first file of a run to the last.

    Raises:
        InvalidArgumentError: Another training is writing to it, or nothing can be written there.
    """
    if args.do_train:
        check_utf8(output_folder(args))
    if args.do_train and args.process_index == 0:
        with held_folder(output_folder(args)):
            yield
    else:
        yield


def train_to_end(trainer: AveragedWeightsTrainer) -> None:
    """Trains, from the newest complete checkpoint if there is one, and saves the model in `output_dir`."""
    args = trainer.args
    resume_from = args.resume_from_checkpoint
    if resume_from is None:
        resume_from = last_finished_checkpoint(args.output_dir, args.ema_decay)
        if resume_from:
            logger.warning(f"Going on from {resume_from}; choose another --output-dir to start anew.")
    require_finished(resume_from)
    result = trainer.train(resume_from_checkpoint=resume_from)
    trainer.save_model()
    trainer.save_state()
    trainer.log_metrics("train", result.metrics)
    trainer.save_metrics("train", result.metrics)
    trainer.write_card(new_weights=True)


def check_weights_to_evaluate(args: TrainingArguments, model_name_or_path: str | None) -> None:
    """Refuses to evaluate random weights.

    Raises:
        InvalidArgumentError: `do_train` is off, and no checkpoint is given.
    """
    if not args.do_train and not model_name_or_path:
        raise InvalidArgumentError("An evaluation without a training needs --model-name-or-path.")


def evaluate_and_save(trainer: AveragedWeightsTrainer) -> dict[str, float]:
    """Scores of the evaluation split, also written to `eval_results.json`."""
    scores = trainer.evaluate()
    trainer.log_metrics("eval", scores)
    trainer.save_metrics("eval", scores)
    if trainer.args.do_train:
        trainer.create_model_card()
    return scores


# Arguments that a resumed run must keep: with others, its result would be that of neither run.
KEPT_ARGUMENTS = (
    *("seed", "data_seed", "dataset_name", "dataset_config_name", "max_train_samples", "train_data_ratio"),
    *("augmentation", "mirror_probability", "alignment", "label_set", "min_face_px"),
    *("model_name_or_path", "config_name", "backbone", "hidden_size", "num_hidden_layers", "num_attention_heads"),
    *("patch_size", "feature_levels", "head_channels", "output_stride", "label_weights", "point_loss_weight"),
    *("image_size", "warp_factor", "face_scale", "box_scale", "pixel_grid", "canvas_size", "score_size"),
    *("optim", "optim_args", "weight_decay", "decay_norm_and_bias", "adam_beta1", "adam_beta2", "adam_epsilon"),
    *("max_grad_norm", "ema_decay", "ema_warmup", "freeze_backbone", "sync_batch_norm", "bf16", "fp16"),
    *("backbone_learning_rate", "head_learning_rate", "pyramid_learning_rate", "learning_rate"),
    *("lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "milestone_epochs", "milestone_factor"),
    *("per_device_train_batch_size", "gradient_accumulation_steps", "dataloader_drop_last", "train_sampling_strategy"),
    # Of pre-training alone.
    *("objective", "simclr_temperature", "num_prototypes", "sinkhorn_epsilon", "mim_weight", "mim_num_hidden_layers"),
    *("tokenizer_name", "tokenizer_vocab_size", "max_text_tokens", "visual_tokenizer", "visual_vocab_size"),
    *("visual_tokenizer_samples", "face_template", "face_ratio", "min_face_score", "shuffle_window_size"),
    "grad_cache",
    # Of the face detector alone.
    *("recipe", "body", "width", "pyramid_channels", "dataset_config", "num_train_samples", "crop_scales"),
    "max_long_side",
    # Of the face generator alone.
    *("latent_size", "grid_size", "stage_channels", "gradient_weight", "kl_weight", "attribute_weight"),
    "centre_weight",
)


# Written by every earlier pre-training, where nothing was chosen.
FORMER_CROP_OF_PRETRAINING = {"face_template": "attribute", "face_scale": 1.0}


def one_value(value: Any) -> Any:
    """The value; of a list of one, the only item: a recipe may write either."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def check_same_run(args: Any, *argument_groups: Any, task: str | None = None) -> None:
    """Refuses to go on with a run whose arguments have changed, unless `allow_changed`; it names the changes.

    Args:
        args ([`FaRLTrainingArguments`]): Their `output_dir` holds the run, if there is one.
        *argument_groups: All dataclasses of arguments, as [`save_resolved_recipe`] writes them.
        task (`str`, *optional*): What the run trains.

    Raises:
        InvalidArgumentError: An argument of `KEPT_ARGUMENTS`, or the number of processes, is another.
    """
    folder = output_folder(args)
    finished = last_finished_checkpoint(folder)  # with averaged weights or without: that may have changed too
    if finished is None or not (folder / RESOLVED_NAME).is_file():
        return
    former = former_arguments(folder)
    if task is not None and former.get("task", task) != task:
        raise InvalidArgumentError(
            f"{folder} holds a run of {former['task']}, and this one is of {task}; choose another --output-dir."
        )
    # Transformers writes the random state of every process.
    count = len(list(Path(finished).glob("rng_state*.pth")))
    changes = changed_arguments(former, argument_groups, KEPT_ARGUMENTS)
    changes += [f"number of processes: {count} -> {args.world_size}"] if count != args.world_size else []
    if args.ema_decay and former.get("ema_decay") == 0:  # none of its checkpoints would count as finished
        raise InvalidArgumentError(
            f"{folder} holds a run without averaged weights; one with --ema-decay {args.ema_decay} cannot go on from "
            "it. Choose another --output-dir."
        )
    if changes and not args.allow_changed:
        raise InvalidArgumentError(
            f"{folder} holds a run with other arguments ({'; '.join(changes)}). Going on would give the result of "
            "neither; choose another folder (--output-dir), or go on all the same (--allow-changed; in a recipe "
            "allow_changed: true)."
        )
    if changes:
        logger.warning(f"Going on with changed arguments: {'; '.join(changes)}.")


def former_arguments(folder: Path) -> dict[str, Any]:
    """The arguments that the run in a folder was given last."""
    return with_present_names(read_yaml(folder / RESOLVED_NAME))


def changed_arguments(former: dict[str, Any], argument_groups: Sequence[Any], names: Iterable[str]) -> list[str]:
    """Those of the named arguments that are not the former ones, each as `name: former -> present`."""
    present = {name: value for group in argument_groups for name, value in plain_values(group).items()}
    usual = {one.name: one.default for group in argument_groups for one in fields(group)}
    if former.get("task") == "pretraining":
        unset = {name for name, value in FORMER_CROP_OF_PRETRAINING.items() if former.get(name) == value}
        former = {name: value for name, value in former.items() if name not in unset or present.get(name) is not None}
    return [
        f"{name}: {former.get(name)} -> {present.get(name)}"
        for name in names
        # Unset values are not written, nor are arguments that did not exist.
        if (name in former or present.get(name) != usual.get(name))
        and one_value(former.get(name)) != one_value(present.get(name))
    ]


def last_finished_checkpoint(output_dir: str | Path, ema_decay: float = 0.0) -> str | None:
    """The complete checkpoint folder with the most steps, or None.

    Transformers takes the folder with the highest number. If a run was killed while it wrote that folder, every new
    start fails. Incomplete folders are skipped with a warning; the run will write them again.

    Args:
        output_dir (`str` or `Path`): Where the run leaves its checkpoints; it need not exist.
        ema_decay (`float`, *optional*, defaults to 0.0): As of the run; unless it is 0, a complete checkpoint
            has averaged weights.
    """
    if not Path(output_dir).is_dir() or get_last_checkpoint(str(output_dir)) is None:
        return None
    for folder in reversed(sort_checkpoints(str(output_dir))):
        if is_finished(Path(folder), ema_decay):
            return folder
        logger.warning(f"{folder} is incomplete and is skipped.")
    return None


def is_finished(folder: Path, ema_decay: float = 0.0) -> bool:
    """Whether all files of a checkpoint are there and complete.

    The Trainer writes its state last, after weights, optimizer, random numbers and the averaged weights.
    """
    try:
        json.loads((folder / TRAINER_STATE_NAME).read_text())
    except (OSError, ValueError):
        return False
    # PyTorch's files are zip archives; their directory is written last.
    whole = all(zipfile.is_zipfile(path) for path in folder.glob("rng_state*.pth"))
    return whole and (not ema_decay or (folder / TRAINING_WEIGHTS_NAME).is_file())


def require_finished(resume_from: str | bool | None) -> None:
    """Refuses a `--resume-from-checkpoint` that no training can go on from.

    Raises:
        NotACheckpointError: The folder does not exist, or is no complete checkpoint of a run.
    """
    if isinstance(resume_from, str) and not is_finished(Path(resume_from)):
        raise NotACheckpointError(
            f"There is no complete checkpoint of a run in {resume_from} to go on from; give the path of a folder"
            " checkpoint-N."
        )


def folder_of_name(name: str | None) -> str | None:
    """The folder of a name that `farl-hf list` shows; anything else is returned unchanged.

    Transformers itself would ask a server for such a name. A folder of that name in the working directory wins, as in
    Transformers.

    Raises:
        NotDownloadedError: The name is known, but its weights are not on this machine.
    """
    if name is None or name not in KNOWN_NAMES or Path(name).exists():
        return name
    return str(checkpoint(name))


def with_checked_start(model_args: Any, *fields: str) -> Any:
    """A copy of the arguments of a model; in the given fields and `model_name_or_path`, names are folders.

    Raises:
        NotDownloadedError: A name is known, but its weights are not on this machine.
        NotACheckpointError: The start has no configuration. Weights are not read.
    """
    names = ("model_name_or_path", *fields)
    model_args = replace(model_args, **{name: folder_of_name(getattr(model_args, name)) for name in names})
    if model_args.model_name_or_path:
        read_config(model_args.model_name_or_path)
    return model_args


def load_splits(names: Sequence[str], data_args: DatasetArguments, *, do_train: bool, do_eval: bool) -> dict[str, Any]:
    """The splits of joined data sets that a training needs, shortened to `max_train_samples` and `max_eval_samples`.

    Raises:
        UnknownNameError: There is no such data set or split.
        InvalidArgumentError: A split is empty, or cut to nothing.
    """
    limits: dict[str, int | None] = {}
    if do_train:
        limits["train"] = data_args.max_train_samples
    if do_eval:
        both = do_train and data_args.eval_split == "train"
        if both and data_args.max_eval_samples != data_args.max_train_samples:
            raise InvalidArgumentError(
                f"--eval-split train evaluates the training photos: --max-eval-samples {data_args.max_eval_samples} "
                f"and --max-train-samples {data_args.max_train_samples} must be equal."
            )
        limits[data_args.eval_split] = data_args.max_eval_samples
    for split, count in limits.items():
        check_limit(split, count)
    # Other splits need not be rendered, nor exist.
    published = [split for name in names if name in PUBLISHED_DATASETS for split in PUBLISHED_DATASETS[name].counts]
    skipped = dict.fromkeys((*SPLITS, *published), 0)
    splits = load_face_datasets(
        names,
        data_args.dataset_config_name,
        data_dir=data_args.data_dir,
        num_photos={split: count for split, count in (skipped | limits).items() if count is not None},
        cache_dir=data_args.cache_dir,
        num_proc=data_args.preprocessing_num_workers,
    )
    for split in limits:
        check_name("split", split, splits, f"The data: {', '.join(names)}.")
        if hasattr(splits[split], "__len__") and not len(splits[split]):
            raise InvalidArgumentError(f"The split {split!r} of {', '.join(names)} is empty; choose another one.")
    return splits


def attention_of(model_args: Any, training_args: TrainingArguments) -> str:
    """The attention implementation: eager on a CPU, where the backward pass of PyTorch's fused one is slow."""
    if model_args.attn_implementation:
        known = sorted({"eager", *ALL_ATTENTION_FUNCTIONS.valid_keys()})
        check_name("attention implementation", model_args.attn_implementation, known)
    return model_args.attn_implementation or ("eager" if training_args.device.type == "cpu" else "sdpa")


def start_stock_training(args: TrainingArguments) -> None:
    """What a script with the Trainer of Transformers does before it loads anything.

    It refuses what would fail late or in silence, makes the output folder, and joins the processes of a DeepSpeed run.

    Raises:
        InvalidArgumentError: `fp16` on CPUs, an output folder that cannot be written, or see [`check_launcher`].
        NotACheckpointError: `resume_from_checkpoint` is no complete checkpoint of a run.
    """
    refuse_fp16_on_cpus(args)
    require_finished(args.resume_from_checkpoint)
    if args.process_index == 0:
        writable_folder(output_folder(args))
    start_deepspeed(args)


# Several processes

# How to start a script so that DeepSpeed or FSDP has processes to work with.
LAUNCHERS = (
    "start the script with `torchrun --nproc_per_node N SCRIPT …`, `deepspeed --num_gpus N SCRIPT …`, or `accelerate"
    " launch --config_file examples/accelerate/{config}.yaml SCRIPT …` without --cpu, or leave the option out"
)


def check_launcher(args: TrainingArguments) -> None:
    """Refuses `--deepspeed` and `--fsdp` where the process was not started for them.

    The Trainer would train with neither, and say nothing: Accelerate leaves DeepSpeed out under `accelerate launch
    --cpu`, and FSDP on CPUs.

    Raises:
        InvalidArgumentError: DeepSpeed or FSDP is asked for, but will not be active.
    """
    launched, on_cpu = "LOCAL_RANK" in os.environ, parse_flag_from_env("ACCELERATE_USE_CPU")
    if args.deepspeed and (on_cpu or not launched):
        how = "by `accelerate launch --cpu`, which leaves DeepSpeed out" if on_cpu else "without a launcher"
        raise InvalidArgumentError(
            f"--deepspeed {args.deepspeed} is given, but this process was started {how};"
            f" {LAUNCHERS.format(config='zero2')}."
        )
    kind = args.distributed_state.distributed_type if args.distributed_state else DistributedType.NO
    if args.fsdp and kind in (DistributedType.NO, DistributedType.MULTI_CPU):
        raise InvalidArgumentError(
            f"--fsdp is given, but it needs several processes with an accelerator each, and this is one of"
            f" {args.world_size} on {args.device}; {LAUNCHERS.format(config='fsdp')}."
        )


def start_deepspeed(args: TrainingArguments) -> None:
    """Joins the processes of a DeepSpeed run; call it before a model is built.

    The Trainer joins them only when it wraps the model. ZeRO-3 divides weights earlier, while the model is built. On
    CPUs only PyTorch knows the other processes at that time, so DeepSpeed would not find them.

    Raises:
        InvalidArgumentError: See [`check_launcher`].
    """
    check_launcher(args)
    if args.deepspeed is None or int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return
    import deepspeed

    deepspeed.init_distributed(dist_backend=args.ddp_backend or ("gloo" if args.device.type == "cpu" else None))


def model_from_scratch(
    model_class: type[Model], config: PreTrainedConfig, attention: str, args: TrainingArguments
) -> Model:
    """A model with random weights, the same under every way of distributing it.

    ZeRO-3 divides a parameter before its values are drawn. The values would differ, and be wrong where they depend on
    the parameter's shape. Under ZeRO-3 the first process therefore draws all weights and saves them; all load them.
    """
    if not is_deepspeed_zero3_enabled():
        return model_class._from_config(config, attn_implementation=attention)
    folder = output_folder(args) / INITIAL_MODEL_FOLDER
    with args.main_process_first(desc="drawing the initial weights"):
        # What a start without a checkpoint left may be of other arguments, or half written.
        stale = last_finished_checkpoint(output_folder(args)) is None or not (folder / "config.json").is_file()
        if args.should_save and stale:
            with without_partitioning():
                model_class._from_config(config).save_pretrained(folder)
    return model_class.from_pretrained(folder, dtype="float32", attn_implementation=attention)


@contextmanager
def without_partitioning() -> Iterator[None]:
    """Inside, `from_pretrained` gives every process the whole weights, also under ZeRO-3.

    A model outside DeepSpeed's engine needs it: nothing would gather its divided weights.
    """
    from transformers.integrations import deepspeed

    active = deepspeed._hf_deepspeed_config_weak_ref
    deepspeed.unset_hf_deepspeed_config()
    try:
        yield
    finally:
        deepspeed._hf_deepspeed_config_weak_ref = active
