"""A Trainer that reads a [`PretrainingStream`]: not divided twice, resumed exactly, its left-out data in the log."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate.data_loader import prepare_data_loader
from torch.utils.data import DataLoader
from transformers.trainer_utils import get_last_checkpoint
from transformers.utils import logging

from farl_hf.data.laion_face import LEFT_OUT_REASONS
from farl_hf.data.pretraining_stream import PretrainingStream, StreamProgress
from farl_hf.data.shard_members import DAMAGED_SHARD, UNSAFE_MEMBER
from farl_hf.errors import NotACheckpointError

__all__ = ["StreamTrainerMixin"]

logger = logging.get_logger(__name__)


class StreamTrainerMixin:
    """For a [`~transformers.Trainer`]: what changes when `train_dataset` is a [`PretrainingStream`].

    The stream is of this process already, so its loader is not divided between processes again. Each checkpoint holds
    `stream_state_{process}.json`; a run that goes on from there reads on at the next sample, without a look at those
    before. Other data sets are treated as ever.
    """

    progress: StreamProgress | None = None

    def get_train_dataloader(self) -> DataLoader:
        """Batches of the stream, moved to the device."""
        stream, args = self.train_dataset, self.args
        if not isinstance(stream, PretrainingStream):
            return super().get_train_dataloader()
        self.progress = StreamProgress(stream)
        loader = DataLoader(
            stream,
            batch_size=self._train_batch_size,
            collate_fn=self.data_collator,
            num_workers=args.dataloader_num_workers,
            pin_memory=args.dataloader_pin_memory,
            persistent_workers=args.dataloader_persistent_workers,
            prefetch_factor=args.dataloader_prefetch_factor,
            drop_last=True,
        )
        return prepare_data_loader(loader, self.accelerator.device, num_processes=1, process_index=0)

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Any]:
        """The batches of one optimizer step, which the progress remembers."""
        batches, num_items = super().get_batch_samples(epoch_iterator, num_batches, device)
        if self.progress is not None:
            for batch in batches:
                self.progress.take(batch)
        return batches, num_items

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs: Any) -> Any:
        """Trains; see [`~transformers.Trainer.train`].

        Raises:
            NotACheckpointError: The checkpoint to go on from has no state of the stream.
            InvalidFaceInputError: Its state is of other shards, or of another number of processes or loader workers.
        """
        stream = self.train_dataset
        if not isinstance(stream, PretrainingStream):
            return super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)
        folder = (
            get_last_checkpoint(self.args.output_dir) if resume_from_checkpoint is True else resume_from_checkpoint
        )
        if folder:
            stream.load_state_dict(read_stream_state(self.state_path(folder)), self.args.dataloader_num_workers)
        skipping, self.args.ignore_data_skip = self.args.ignore_data_skip, True  # the stream starts where it should
        try:
            return super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)
        finally:
            self.args.ignore_data_skip = skipping

    def state_path(self, folder: str) -> Path:
        """Where a checkpoint keeps the place of this process in the stream."""
        return Path(folder, f"stream_state_{self.args.process_index}.json")

    def _save_rng_state(self, output_dir: str) -> None:
        """The state of this process: its random numbers, its place in the stream."""
        super()._save_rng_state(output_dir)
        if self.progress is not None:
            path = self.state_path(output_dir)
            unfinished = path.with_suffix(".unfinished")
            unfinished.write_text(json.dumps(self.progress.state_dict()))
            os.replace(unfinished, path)
        # Next the first process writes the Trainer's state, by which a finished checkpoint is known.
        self.accelerator.wait_for_everyone()

    def left_out_of_all(self) -> dict[str, int]:
        """What all processes have left out since the start, by reason; all processes must ask for it together."""
        counts = torch.tensor(list(self.progress.left_out.values()), device=self.accelerator.device)
        return dict(zip(LEFT_OUT_REASONS, self.accelerator.reduce(counts, "sum").tolist(), strict=True))

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Adds what was left out since the start to the entries of a training: samples in all, and by reason."""
        if "loss" in logs and self.progress is not None:
            counts = self.left_out_of_all()
            samples = sum(count for reason, count in counts.items() if reason not in (DAMAGED_SHARD, UNSAFE_MEMBER))
            logs |= {"left_out": samples} | {f"left_out/{reason}": count for reason, count in counts.items() if count}
        super().log(logs, *args, **kwargs)


def read_stream_state(path: Path) -> dict[str, Any]:
    """The state that a checkpoint holds."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise NotACheckpointError(
            f"The checkpoint {path.parent} has no readable {path.name}, so where its data went on is not known; go on"
            " from another checkpoint, or with --model_name_or_path start a new run from its weights."
        ) from error
