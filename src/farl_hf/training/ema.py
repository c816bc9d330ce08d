"""Exponential moving average of the weights, for evaluation and saving.

FaRL evaluates and publishes the average over steps of parameters and float buffers with decay 0.999
(FacePerceiver/FaRL, `farl/experiments/face_parsing/trainers/lapa_farl.yaml`, lines 51-54; py-blueprint,
`blueprint/ml/util.py`, lines 214-236). Checkpoint folders hold the average in `model.safetensors`,
and, for exact resuming, the trained weights beside it in `training_weights.safetensors`.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations import is_deepspeed_zero3_enabled

from farl_hf.whole_files import written_whole

TRAINING_WEIGHTS_NAME = "training_weights.safetensors"
RAW_PREFIX, AVERAGE_PREFIX, COUNT_KEY = "raw.", "average.", "num_updates"


def float_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and persistent float buffers by name, sharing memory with the model."""
    return {name: tensor for name, tensor in model.state_dict().items() if tensor.is_floating_point()}


def whole_parameters(model: nn.Module, modify: bool = False) -> Any:
    """Context in which every process has the whole parameters; ZeRO-3 divides them between processes."""
    if not is_deepspeed_zero3_enabled():
        return nullcontext()
    import deepspeed

    return deepspeed.zero.GatheredParameters(list(model.parameters()), modifier_rank=0 if modify else None)


def averaged_dtype(tensor: torch.Tensor) -> torch.dtype:
    """Dtype of a tensor's average: float32 at least, because steps of 0.001 get lost in lower precision."""
    return torch.promote_types(tensor.dtype, torch.float32)


class WeightAverage:
    """Moving average of a model's parameters and float buffers, in float32 at least.

    Args:
        model (`nn.Module`): Its present weights are the first average.
        decay (`float`): Share of the old average that stays, per update.
        warmup (`bool`, *optional*, defaults to `False`): Use `min(decay, (1 + n) / (10 + n))` at update n.
    """

    def __init__(self, model: nn.Module, decay: float, warmup: bool = False):
        self.decay, self.warmup, self.num_updates = decay, warmup, 0
        self.averages: dict[str, torch.Tensor] = {}
        self.reset(model)

    @torch.no_grad()
    def reset(self, model: nn.Module) -> None:
        """Makes the model's present weights the average."""
        with whole_parameters(model):
            self.averages = {
                name: tensor.detach().to(averaged_dtype(tensor), copy=True)
                for name, tensor in float_tensors(model).items()
            }

    def present_decay(self) -> float:
        """Decay of the next update."""
        if not self.warmup:
            return self.decay
        return min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Moves the average towards the model's weights."""
        with whole_parameters(model):
            present = float_tensors(model)
            targets = [present[name].to(average.dtype) for name, average in self.averages.items()]
            torch._foreach_lerp_(list(self.averages.values()), targets, 1.0 - self.present_decay())
        self.num_updates += 1

    def merged_into(self, state_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The state dict with averaged values, in its own dtypes and devices."""
        return {
            name: self.averages[name].to(device=tensor.device, dtype=tensor.dtype) if name in self.averages else tensor
            for name, tensor in state_dict.items()
        }

    @contextmanager
    def applied_to(self, model: nn.Module) -> Iterator[None]:
        """Lends the average to the model; its own weights return on leaving, whatever happens."""
        with whole_parameters(model):
            own = {name: tensor.detach().clone() for name, tensor in float_tensors(model).items()}
        self.copy_into(model, self.averages)
        try:
            yield
        finally:
            self.copy_into(model, own)

    @staticmethod
    @torch.no_grad()
    def copy_into(model: nn.Module, values: dict[str, torch.Tensor]) -> None:
        """Overwrites the model's float tensors in place."""
        with whole_parameters(model, modify=True):
            for name, tensor in float_tensors(model).items():
                tensor.copy_(values[name])


class EMACallback(TrainerCallback):
    """Keeps a [`WeightAverage`] during training; its trainer stores what resuming needs in each checkpoint folder.

    Args:
        decay (`float`): See [`WeightAverage`].
        warmup (`bool`, *optional*, defaults to `False`): See [`WeightAverage`].
    """

    def __init__(self, decay: float, warmup: bool = False):
        self.decay, self.warmup = decay, warmup
        self.average: WeightAverage | None = None
        self.resume_folder: str | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Starts from the model's weights, or from a checkpoint's average."""
        self.average = WeightAverage(kwargs["model"], self.decay, self.warmup)
        if self.resume_folder is not None:
            restore_average(self.average, Path(self.resume_folder))

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Updates the average, once per optimizer step."""
        if self.average is not None:
            self.average.update(kwargs["model"])


def save_training_weights(model: nn.Module, average: WeightAverage, folder: Path) -> None:
    """Writes the raw weights and the average in its own dtype (`model.safetensors` holds it in the model's)."""
    tensors = {COUNT_KEY: torch.tensor(average.num_updates)}
    tensors |= {AVERAGE_PREFIX + name: values.cpu().contiguous() for name, values in average.averages.items()}
    if not is_deepspeed_zero3_enabled():  # ZeRO-3 restores parameters from its own files
        own = float_tensors(model).items()
        tensors |= {RAW_PREFIX + name: tensor.detach().cpu().clone().contiguous() for name, tensor in own}
    with written_whole(folder / TRAINING_WEIGHTS_NAME) as unfinished:
        save_file(tensors, unfinished, metadata={"format": "pt"})


def restore_training_weights(model: nn.Module, folder: Path) -> None:
    """Puts the raw weights of a checkpoint back into the model, which holds the average it was loaded with."""
    stored = load_prefixed(folder, RAW_PREFIX)
    if stored:
        WeightAverage.copy_into(model, stored)


def restore_average(average: WeightAverage, folder: Path) -> None:
    """Puts the average of a checkpoint back; does nothing if the folder has no training weights."""
    stored = load_prefixed(folder, AVERAGE_PREFIX)
    if not stored:
        return
    for name, values in average.averages.items():
        values.copy_(stored[name])
    average.num_updates = int(load_file(folder / TRAINING_WEIGHTS_NAME)[COUNT_KEY])


def load_prefixed(folder: Path, prefix: str) -> dict[str, torch.Tensor]:
    """Stored tensors whose names start with the prefix, which is taken off; empty when there is no file."""
    saved_file = folder / TRAINING_WEIGHTS_NAME
    if not saved_file.is_file():
        return {}
    return {
        name.removeprefix(prefix): values for name, values in load_file(saved_file).items() if name.startswith(prefix)
    }
