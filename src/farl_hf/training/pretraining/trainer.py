"""The Trainer of pre-training: both losses, GradCache, and exact resuming of a stream.

[`PretrainingTrainer`] computes the losses and logs them. [`StreamTrainer`] reads a [`PretrainingStream`].

GradCache (Gao et al. 2021, "Scaling deep contrastive learning batch size under memory limited setup") contrasts all
accumulated batches at the memory of one, with exact gradients. A first pass without gradients computes the features of
all batches ([`CachedFeatures`]). A second pass runs each batch again in the loss of all features, with gradients for
its own features only.
"""

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.data_loader import prepare_data_loader
from torch import nn
from torch.utils.data import DataLoader
from transformers import EvalPrediction, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import TrainOutput

from farl_hf.data.laion_face.shards import DAMAGED_SHARD, SKIP_REASONS, UNSAFE_MEMBER
from farl_hf.data.laion_face.stream import PretrainingStream, StreamProgress
from farl_hf.errors import NotACheckpointError
from farl_hf.modeling.modeling_farl import contrastive_loss
from farl_hf.training.evaluation.retrieval import RetrievalEvaluation
from farl_hf.training.pretraining.arguments import PretrainingArguments
from farl_hf.training.trainer import AveragedWeightsTrainer, resume_folder
from farl_hf.whole_files import write_whole

# Parameters without weight decay, besides those with one axis (norms, biases).
_WITHOUT_DECAY = re.compile(r"class_embedding|position_embedding|mask_token|logit_scale")


class StreamTrainer(Trainer):
    """A [`~transformers.Trainer`] whose `train_dataset` may be a [`PretrainingStream`].

    Every process has its own stream, so the loader is not divided between processes again. Each checkpoint holds
    `stream_state_{process}.json`; a resumed run reads on at the next sample without reading the earlier ones, also
    with another number of processes or loader workers. Skipped samples are counted in the log, whose `epoch` is that
    of the stream. With any other data set it is a plain Trainer.
    """

    progress: StreamProgress | None = None

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if isinstance(self.train_dataset, PretrainingStream):
            self.add_callback(StreamEpoch(self))

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
        """The batches of one optimizer step; the progress notes their place in the stream."""
        batches, num_items = super().get_batch_samples(epoch_iterator, num_batches, device)
        if self.progress is not None:
            for batch in batches:
                self.progress.take(batch)
        return batches, num_items

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> TrainOutput:
        """Trains; see [`~transformers.Trainer.train`].

        Raises:
            NotACheckpointError: The checkpoint has no state of the stream.
            InvalidArgumentError: Its state is of other shards, another seed or window, or of another version.
        """
        stream = self.train_dataset
        if not isinstance(stream, PretrainingStream):
            return super().train(resume_from_checkpoint, *args, **kwargs)
        folder = resume_folder(resume_from_checkpoint, self.args)
        if folder:
            stream.load_state_dict(self.stream_states(folder), self.args.dataloader_num_workers)
        skipping, self.args.ignore_data_skip = self.args.ignore_data_skip, True  # the stream skips
        try:
            return super().train(resume_from_checkpoint, *args, **kwargs)
        finally:
            self.args.ignore_data_skip = skipping

    def state_path(self, folder: str) -> Path:
        """The file of a checkpoint that holds the place of this process in the stream."""
        return Path(folder, f"stream_state_{self.args.process_index}.json")

    def stream_states(self, folder: str) -> list[dict[str, Any]]:
        """The states in a checkpoint: that of this process, and of all where there were more or fewer processes."""
        paths = sorted(Path(folder).glob("stream_state_*.json"))
        if len(paths) == self.args.world_size and self.state_path(folder) not in paths:
            paths.append(self.state_path(folder))
        return [read_stream_state(path) for path in paths or [self.state_path(folder)]]

    def _save_rng_state(self, output_dir: str) -> None:
        """Saves the state of this process: its random numbers and its place in the stream."""
        super()._save_rng_state(output_dir)
        if self.progress is not None:
            write_whole(self.state_path(output_dir), json.dumps(self.progress.state_dict()).encode())
        # After this the first process writes the Trainer's state, which marks a checkpoint as complete.
        self.accelerator.wait_for_everyone()

    def skipped_by_all(self, progress: StreamProgress) -> dict[str, int]:
        """Samples that all processes have skipped since the start, by reason. All processes must call it together."""
        counts = torch.tensor(list(progress.skipped.values()), device=self.accelerator.device)
        return dict(zip(SKIP_REASONS, self.accelerator.reduce(counts, "sum").tolist(), strict=True))

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Adds to a training entry the number of samples skipped since the start, in all and by reason."""
        if "loss" in logs and self.progress is not None:
            counts = self.skipped_by_all(self.progress)
            samples = sum(count for reason, count in counts.items() if reason not in (DAMAGED_SHARD, UNSAFE_MEMBER))
            logs |= {"skipped": samples} | {f"skipped/{reason}": count for reason, count in counts.items() if count}
        super().log(logs, *args, **kwargs)


class StreamEpoch(TrainerCallback):
    """Sets the log's `epoch` to the passes that the stream has made; the Trainer would count its steps."""

    def __init__(self, trainer: StreamTrainer):
        self.trainer = trainer

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Called after each optimizer step."""
        if self.trainer.progress is not None:
            state.epoch = self.trainer.progress.epoch


def read_stream_state(path: Path) -> dict[str, Any]:
    """The state of a stream that a checkpoint holds."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise NotACheckpointError(
            f"The checkpoint {path.parent} has no readable {path.name}, so the place in its data is unknown; resume "
            "from another checkpoint, or start a new run from its weights with --model-name-or-path."
        ) from error


@dataclass(frozen=True)
class RandomState:
    """State of the random generators, so that the second pass applies the same dropout as the first."""

    cpu: torch.Tensor
    device: torch.Tensor | None

    @classmethod
    def now(cls, device: torch.device) -> "RandomState":
        """State of the generators of CPU and device."""
        on_device = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        return cls(torch.get_rng_state(), on_device)

    @contextmanager
    def restored(self, device: torch.device) -> Iterator[None]:
        """Inside, the generators start from this state."""
        devices = [device] if self.device is not None else []
        with torch.random.fork_rng(devices=devices):
            torch.set_rng_state(self.cpu)
            if self.device is not None:
                torch.cuda.set_rng_state(self.device, device)
            yield


@dataclass
class CachedFeatures:
    """Features of all accumulated batches of one step, in order; `place` is the next batch of the second pass."""

    image_embeds: list[torch.Tensor] = field(default_factory=list)
    text_embeds: list[torch.Tensor] = field(default_factory=list)
    random_states: list[RandomState] = field(default_factory=list)
    place: int = 0

    def add(self, image_embeds: torch.Tensor, text_embeds: torch.Tensor, random_state: RandomState) -> None:
        """Appends a batch's features (B, P), and the random state before they were computed."""
        self.image_embeds.append(image_embeds.detach())
        self.text_embeds.append(text_embeds.detach())
        self.random_states.append(random_state)

    def __len__(self) -> int:
        return len(self.image_embeds)

    def joined_with(self, image_embeds: torch.Tensor, text_embeds: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """All features (n · B, P), those at `place` replaced by the given ones; moves to the next batch."""
        images, texts = list(self.image_embeds), list(self.text_embeds)
        images[self.place], texts[self.place] = image_embeds, text_embeds
        self.place += 1
        return torch.cat(images), torch.cat(texts)


class PretrainingTrainer(StreamTrainer, AveragedWeightsTrainer):
    """Pre-trains a [`FaRLForPreTraining`] on image-text pairs.

    Args:
        model ([`FaRLForPreTraining`]): Both encoders and the masked-image branch.
        args ([`PretrainingArguments`]): Recipe.
        visual_tokenizer (`Callable`, *optional*): From `codebook_pixel_values` (B, 3, h, w) in [0, 1] to visual tokens
            (B, rows, columns); needed for the masked-image loss. It is not part of the model: not trained, averaged or
            saved with it.
        evaluation ([`RetrievalEvaluation`], *optional*): Scores of the evaluation pairs.
        **kwargs: As [`~transformers.Trainer`].
    """

    args: PretrainingArguments

    def __init__(
        self,
        model: nn.Module,
        args: PretrainingArguments,
        visual_tokenizer: Any = None,
        evaluation: RetrievalEvaluation | None = None,
        **kwargs: Any,
    ):
        self.visual_tokenizer, self.evaluation = visual_tokenizer, evaluation
        self.prompt_embeds: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.cached_features: CachedFeatures | None = None
        self.log_sums: dict[str, torch.Tensor] = {}
        self.log_count = self.log_samples = 0
        self.log_started: float | None = None
        if evaluation is not None:
            kwargs.setdefault("compute_metrics", self.scores_of_predictions)
        super().__init__(model=model, args=args, **kwargs)

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """Names of the parameters that decay."""
        return [name for name, parameter in model.named_parameters() if decays_in_pretraining(name, parameter)]

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Any]:
        """The batches of one optimizer step; with `grad_cache` their features are computed first."""
        if self.log_started is None:
            self.log_started = time.perf_counter()
        batches, num_items = super().get_batch_samples(epoch_iterator, num_batches, device)
        self.cached_features = None
        if self.args.grad_cache and len(batches) > 1:
            self.cached_features = CachedFeatures()
            for batch in batches:
                state = RandomState.now(device)
                with torch.no_grad(), self.compute_loss_context_manager():
                    outputs = self.model_wrapped(**self.pairs_of(self._prepare_inputs(batch)), return_loss=False)
                self.cached_features.add(outputs.image_embeds, outputs.text_embeds, state)
        return batches, num_items

    @staticmethod
    def pairs_of(batch: dict[str, Any]) -> dict[str, Any]:
        """The inputs of the two encoders."""
        return {key: batch[key] for key in ("pixel_values", "input_ids", "attention_mask") if key in batch}

    def inputs_of_model(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The batch with visual tokens for the tokenizer's pixels, without attributes."""
        inputs = {key: values for key, values in batch.items() if key not in ("codebook_pixel_values", "attributes")}
        if self.visual_tokenizer is not None and "codebook_pixel_values" in batch:
            with torch.no_grad():
                inputs["mim_labels"] = self.visual_tokenizer(batch["codebook_pixel_values"]).flatten(1)
        return inputs

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Loss of a batch; its parts go into the log."""
        batch = self.inputs_of_model(inputs)
        if model.training and self.cached_features is not None:
            outputs = self.outputs_with_cache(model, batch, self.cached_features)
        else:
            outputs = model(**batch)
        if model.training:
            self.remember(outputs)
        return (outputs.loss, outputs) if return_outputs else outputs.loss

    def outputs_with_cache(self, model: nn.Module, batch: dict[str, Any], cache: CachedFeatures) -> Any:
        """Outputs whose contrastive loss is that of all accumulated pairs."""
        steps = len(cache)
        with cache.random_states[cache.place].restored(self.args.device):
            outputs = model(**batch, return_loss=False)
        images, texts = cache.joined_with(outputs.image_embeds, outputs.text_embeds)
        # Every pass computes the loss of all pairs, but must give the logit scale only its share of the gradient.
        scale = outputs.logit_scale.detach() + (outputs.logit_scale - outputs.logit_scale.detach()) / steps
        outputs.itc_loss = contrastive_loss(images, texts, scale)
        # The Trainer divides by the number of passes, which only suits the masked-image loss.
        whole_model = self.accelerator.unwrap_model(model)
        outputs.loss = whole_model.joint_loss(outputs.itc_loss * steps, outputs.mim_loss)
        return outputs

    @torch.no_grad()
    def remember(self, outputs: Any) -> None:
        """Adds a batch to the sums of the next log entry."""
        values = {
            "logit_scale": outputs.logit_scale,
            "itc_loss": outputs.itc_loss,
            "mim_loss": outputs.mim_loss,
        }
        similarities = outputs.image_embeds.float() @ outputs.text_embeds.float().T
        own = torch.arange(len(similarities), device=similarities.device)
        values["image_to_text_accuracy"] = (similarities.argmax(1) == own).float().mean()
        values["text_to_image_accuracy"] = (similarities.argmax(0) == own).float().mean()
        for name, value in values.items():
            if value is not None:
                self.log_sums[name] = self.log_sums.get(name, 0.0) + value.detach().float().mean()
        self.log_count += 1
        self.log_samples += len(similarities) * self.args.world_size

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds to a training entry both losses, the logit scale, retrieval within a batch, and the speed."""
        if "loss" in logs and self.log_count and self.log_started is not None:
            for name, total in self.log_sums.items():
                mean = self.accelerator.reduce(total / self.log_count, reduction="mean")
                logs[name] = round(float(mean), 5)
            # Timed from the first batch after the last entry, so that evaluation and saving do not count.
            logs["samples_per_second"] = round(self.log_samples / (time.perf_counter() - self.log_started), 1)
            self.log_sums, self.log_count, self.log_samples, self.log_started = {}, 0, 0, None
        super().log(logs, start_time)

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """The Trainer's loop; before it, the features of the attributes' sentences are computed."""
        if self.evaluation is not None:
            model = self.accelerator.unwrap_model(self.model)
            model.eval()
            self.prompt_embeds = self.evaluation.prompt_embeds(model)
        return super().evaluation_loop(*args, **kwargs)

    def prediction_step(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[None, Any, torch.Tensor]:
        """Features of a batch of pairs, images and texts; no loss, which would depend on the size of the batch."""
        batch = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            outputs = model(**self.pairs_of(batch), return_loss=False)
        embeds = outputs.image_embeds.float(), outputs.text_embeds.float()
        # The loop computes scores only where there are labels; without attributes, a column of -100 stands for them.
        unknown = torch.full((len(embeds[0]), 1), -100, device=embeds[0].device)
        return None, embeds, batch.get("attributes", unknown)

    def scores_of_predictions(self, predictions: EvalPrediction) -> dict[str, float]:
        """`compute_metrics` of the Trainer."""
        assert self.evaluation is not None, "without an evaluation this is not the Trainer's compute_metrics"
        embeds: Any = predictions.predictions
        image_embeds, text_embeds = embeds
        attributes: Any = predictions.label_ids
        return self.evaluation.scores(image_embeds, text_embeds, attributes, self.prompt_embeds)


def decays_in_pretraining(name: str, parameter: nn.Parameter) -> bool:
    """Whether weight decay applies: to matrices, not norms, biases, positions, class and mask token, temperature."""
    # ZeRO-3 keeps parameters flat; their true shape is in `ds_shape`.
    shape = getattr(parameter, "ds_shape", parameter.shape)
    return len(shape) > 1 and _WITHOUT_DECAY.search(name) is None
