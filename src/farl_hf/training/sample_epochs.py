"""Tells a data set of samples which epoch it is."""

from typing import Any

from torch.utils.data import DataLoader
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

__all__ = ["SampleEpochCallback"]


class SampleEpochCallback(TrainerCallback):
    """Calls the data set's `set_epoch` at the start of every epoch.

    accelerate's loaders do so only where batches come straight from a sampler: not with several processes, and not in
    the epoch in which a run goes on. There every epoch would repeat the random changes of the first.
    """

    def on_epoch_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        train_dataloader: DataLoader,
        **kwargs: Any,
    ) -> None:
        """The number of whole epochs so far; a run that goes on starts within one."""
        if hasattr(train_dataloader.dataset, "set_epoch"):
            train_dataloader.dataset.set_epoch(int(state.epoch or 0))
