"""A Trainer that evaluates and saves a moving average of the weights."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import distributed, nn
from torch.utils.data import DataLoader, Dataset
from transformers import Trainer
from transformers.trainer_utils import get_last_checkpoint

from farl_hf.training.ema import EMACallback, restore_training_weights
from farl_hf.training.process_groups import leave_group_at_exit
from farl_hf.training.sample_epochs import SampleEpochCallback

__all__ = ["AveragedWeightsTrainer"]


class AveragedWeightsTrainer(Trainer):
    """The Transformers Trainer with averaged weights.

    Args:
        model (`nn.Module`): Model.
        args (`TrainingArguments`): With the fields `ema_decay` (0 averages nothing) and `ema_warmup`.
        **kwargs: As [`~transformers.Trainer`].

    While training, `trainer.model` holds the weights that learn. `evaluate`, `predict` and everything that is saved
    use their moving average.
    """

    def __init__(self, model: nn.Module, args: Any, **kwargs: Any):
        super().__init__(model=model, args=args, **kwargs)
        leave_group_at_exit()
        self.add_callback(SampleEpochCallback())
        self.ema = EMACallback(args.ema_decay, args.ema_warmup) if args.ema_decay else None
        if self.ema is not None:
            self.add_callback(self.ema)

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs: Any) -> Any:
        """Trains; see [`~transformers.Trainer.train`]. Resuming restores weights, average and optimizer exactly."""
        folder = resume_from_checkpoint
        if folder is True:
            folder = get_last_checkpoint(self.args.output_dir)
        if self.ema is not None:
            self.ema.resume_folder = folder or None
        return super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)

    def get_eval_dataloader(self, eval_dataset: str | Dataset | None = None) -> DataLoader:
        """Batches of the evaluation, the last one too, whatever becomes of the training's last one."""
        with last_batch_kept(self.args):
            return super().get_eval_dataloader(eval_dataset)

    def get_test_dataloader(self, test_dataset: Dataset) -> DataLoader:
        """As `get_eval_dataloader`."""
        with last_batch_kept(self.args):
            return super().get_test_dataloader(test_dataset)

    def evaluate(
        self,
        eval_dataset: Dataset | dict[str, Dataset] | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Evaluates the averaged weights."""
        return self.with_averaged_weights(super().evaluate, eval_dataset, ignore_keys, metric_key_prefix)

    def predict(
        self, test_dataset: Dataset, ignore_keys: list[str] | None = None, metric_key_prefix: str = "test"
    ) -> Any:
        """Predicts with the averaged weights."""
        return self.with_averaged_weights(super().predict, test_dataset, ignore_keys, metric_key_prefix)

    def with_averaged_weights(self, function: Any, *arguments: Any) -> Any:
        """Calls the function while the model holds the averaged weights."""
        model = self.accelerator.unwrap_model(self.model)
        averaged = self.ema is not None and self.ema.average is not None
        with self.ema.average.applied_to(model) if averaged else nullcontext():
            if self.args.world_size > 1:
                share_buffers(model)
            return function(*arguments)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, torch.Tensor] | None = None) -> None:
        if self.ema is not None and self.ema.average is not None:
            if state_dict is None:
                state_dict = self.accelerator.unwrap_model(self.model).state_dict()
            state_dict = self.ema.average.merged_into(state_dict)
        super()._save(output_dir, state_dict=state_dict)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        if self.ema is not None:
            restore_training_weights(self.model if model is None else model, Path(resume_from_checkpoint))

    def _load_best_model(self) -> None:
        super()._load_best_model()
        if self.ema is not None and self.ema.average is not None:
            self.ema.average.reset(self.accelerator.unwrap_model(self.model))


def share_buffers(model: nn.Module) -> None:
    """Gives every process the first one's float buffers, which are those that are saved.

    The batch norms of each process have seen its own faces, and would score what it evaluates in their own way.
    """
    for buffer in model.buffers():
        if buffer.is_floating_point():
            distributed.broadcast(buffer, src=0)


@contextmanager
def last_batch_kept(args: Any) -> Iterator[None]:
    """Inside, `dataloader_drop_last` is off: Transformers follows it in evaluation too, and would not score all."""
    wanted, args.dataloader_drop_last = args.dataloader_drop_last, False
    try:
        yield
    finally:
        args.dataloader_drop_last = wanted
