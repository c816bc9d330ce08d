"""The steps that every training script takes with its Trainer."""

import json
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig, PreTrainedModel, TrainingArguments
from transformers.integrations import is_deepspeed_zero3_enabled
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import get_last_checkpoint, sort_checkpoints
from transformers.utils import logging

from farl_hf.checkpoints import KNOWN_NAMES, checkpoint
from farl_hf.training.ema import TRAINING_WEIGHTS_NAME
from farl_hf.training.trainer import AveragedWeightsTrainer

__all__ = [
    "attention_of",
    "evaluate_and_save",
    "folder_of_name",
    "is_finished",
    "last_finished_checkpoint",
    "model_from_scratch",
    "start_deepspeed",
    "train_to_end",
    "with_folders_of_names",
    "without_partitioning",
]


# What must happen before a model is built under DeepSpeed.


INITIAL_MODEL_FOLDER = "initial_model"


def start_deepspeed(args: TrainingArguments) -> None:
    """Joins the processes of a DeepSpeed run.

    The Trainer does it when it wraps the model. ZeRO-3 divides weights while the model is built, and on processors,
    where only PyTorch knows of the other processes by then, would find itself alone.
    """
    if args.deepspeed is None or int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return
    import deepspeed

    deepspeed.init_distributed(dist_backend=args.ddp_backend or ("gloo" if args.device.type == "cpu" else None))


def model_from_scratch(
    model_class: type[PreTrainedModel], config: PreTrainedConfig, attention: str, args: TrainingArguments
) -> PreTrainedModel:
    """A model with random weights, the same under every way of distributing it.

    ZeRO-3 divides a parameter before its values are drawn, which gives other values, and wrong ones where they depend
    on the parameter's shape. So there the first process draws them whole and writes them down, and all read them.
    """
    if not is_deepspeed_zero3_enabled():
        return model_class._from_config(config, attn_implementation=attention)
    folder = Path(args.output_dir) / INITIAL_MODEL_FOLDER
    with args.main_process_first(desc="drawing the initial weights"):
        if args.should_save and not (folder / "config.json").is_file():
            with without_partitioning():
                model_class._from_config(config).save_pretrained(folder)
    return model_class.from_pretrained(folder, dtype="float32", attn_implementation=attention)


@contextmanager
def without_partitioning() -> Iterator[None]:
    """Inside, `from_pretrained` does not split weights over processes as ZeRO-3 does for the trained model.

    Nothing would put them together again where a model is not part of DeepSpeed's engine.
    """
    from transformers.integrations import deepspeed

    active = deepspeed._hf_deepspeed_config_weak_ref
    deepspeed.unset_hf_deepspeed_config()
    try:
        yield
    finally:
        deepspeed._hf_deepspeed_config_weak_ref = active


# Which checkpoint an interrupted run goes on from: the newest one that was written to its end.


logger = logging.get_logger(__name__)


def last_finished_checkpoint(output_dir: str | Path, ema_decay: float = 0.0) -> str | None:
    """The checkpoint folder with the most steps that is whole, or None.

    Transformers takes the folder with the highest number, and a run that was killed while it wrote that one fails at
    every new start. Such folders are left out with a warning; the run will write them again.

    Args:
        output_dir (`str` or `Path`): Where the run leaves its checkpoints; it need not exist.
        ema_decay (`float`, *optional*, defaults to 0.0): As of the run; other than 0, averaged weights belong to a
            whole checkpoint.
    """
    if not Path(output_dir).is_dir() or get_last_checkpoint(str(output_dir)) is None:
        return None
    for folder in reversed(sort_checkpoints(str(output_dir))):
        if is_finished(Path(folder), ema_decay):
            return folder
        logger.warning(f"{folder} was not written to its end and is passed over.")
    return None


def is_finished(folder: Path, ema_decay: float = 0.0) -> bool:
    """Whether all files of a checkpoint are there and whole.

    The Trainer writes its state after weights, optimizer and random numbers; the averaged weights come last.
    """
    try:
        json.loads((folder / TRAINER_STATE_NAME).read_text())
    except (OSError, ValueError):
        return False
    # PyTorch's files are zip archives, whose directory is at the end.
    whole = all(zipfile.is_zipfile(path) for path in folder.glob("rng_state*.pth"))
    return whole and (not ema_decay or (folder / TRAINING_WEIGHTS_NAME).is_file())


# Checkpoints by the names of `farl-hf list`, without network.


def folder_of_name(name: str | None) -> str | None:
    """The folder of a known name; everything else as it is.

    Transformers asks a server for a name that is no folder, and offline its own cache, which does not have the
    built-in models. A folder of that name in the working directory is taken, as Transformers takes it.

    Raises:
        NotDownloadedError: The name is known, but its weights are not on this machine.
    """
    known = name in KNOWN_NAMES and not Path(name).exists()
    return str(checkpoint(name)) if known else name


def with_folders_of_names(arguments: Any, *fields: str) -> Any:
    """A dataclass with known names replaced by their folders in some fields."""
    return replace(arguments, **{name: folder_of_name(getattr(arguments, name)) for name in fields})


def attention_of(model_args: Any, training_args: TrainingArguments) -> str:
    """The attention to use: on a CPU, PyTorch's fused one takes half of a training step for its backward pass."""
    return model_args.attn_implementation or ("eager" if training_args.device.type == "cpu" else "sdpa")


def train_to_end(trainer: AveragedWeightsTrainer) -> None:
    """Trains, from the newest finished checkpoint if there is one; the result is left in `output_dir`."""
    args = trainer.args
    resume_from = args.resume_from_checkpoint
    if resume_from is None:
        resume_from = last_finished_checkpoint(args.output_dir, args.ema_decay)
        if resume_from:
            logger.warning(f"Going on from {resume_from}; choose another --output_dir to start anew.")
    result = trainer.train(resume_from_checkpoint=resume_from)
    trainer.save_model()
    trainer.save_state()
    trainer.log_metrics("train", result.metrics)
    trainer.save_metrics("train", result.metrics)


def evaluate_and_save(trainer: AveragedWeightsTrainer) -> dict[str, float]:
    """Scores of the evaluation split, also written to `eval_results.json`."""
    scores = trainer.evaluate()
    trainer.log_metrics("eval", scores)
    trainer.save_metrics("eval", scores)
    return scores
