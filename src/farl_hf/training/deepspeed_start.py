"""What must happen before a model is built under DeepSpeed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transformers import PreTrainedConfig, PreTrainedModel, TrainingArguments
from transformers.integrations import is_deepspeed_zero3_enabled

__all__ = ["model_from_scratch", "start_deepspeed", "without_partitioning"]

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
