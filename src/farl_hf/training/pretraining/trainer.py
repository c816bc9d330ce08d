"""Arguments and Trainer of pre-training: both losses, GradCache, and exact resuming of a stream.

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
from farl_hf.errors import InvalidArgumentError, NotACheckpointError
from farl_hf.modeling.modeling_farl import contrastive_loss
from farl_hf.training.arguments import DatasetArguments, HfArg, SharedTrainingArguments
from farl_hf.training.evaluation.retrieval import RetrievalEvaluation
from farl_hf.training.trainer import AveragedWeightsTrainer, resume_folder
from farl_hf.whole_files import write_whole


@dataclass
class PretrainingModelArguments:
    """Which encoders are pre-trained, by which objective, and how faces are cropped."""

    model_name_or_path: str | None = HfArg(
        default=None, help="Checkpoint with both encoders to start from: a folder or a name. Default: from scratch."
    )
    config_name: str = HfArg(
        default="base", help="From scratch: base (ViT-B/16), tiny, toy, or a JSON file with FaRLConfig arguments."
    )
    tokenizer_name: str | None = HfArg(
        default=None,
        help="Folder or name of a tokenizer; `captions` learns one from the captions. Default: the checkpoint's, or "
        "CLIP's from scratch.",
    )
    tokenizer_vocab_size: int = HfArg(default=1280, help="Entries of a tokenizer that is learned from the captions.")
    max_text_tokens: int | None = HfArg(
        default=None, help="Longest text of a tokenizer that is learned from the captions. Default: 77."
    )
    image_size: int | None = HfArg(
        default=None, help="Side of the crop in pixels. Default: the checkpoint's, or 224 from scratch."
    )
    face_template: str | None = HfArg(
        default=None,
        help="Where the face lies in the crop: lapa, or attribute, which is looser and which the supplement "
        "links to pre-training. Default: the checkpoint's, or attribute from scratch.",
    )
    face_scale: float | None = HfArg(
        default=None,
        help="Scale of the template; smaller shows more around. Default: the checkpoint's, or 1 from scratch.",
    )
    objective: str = HfArg(
        default="itc_mim",
        help="itc_mim: image-text contrast and masked image modelling. itc: the contrast alone. simclr, swav: "
        "the vision encoder learns from two views of each face, without texts (supplement Table 2).",
    )
    # Defaults of both papers on ImageNet (SimCLR: appendix B.7, long training).
    simclr_temperature: float = HfArg(default=0.1, help="simclr: temperature of its contrast.")
    num_prototypes: int = HfArg(
        default=3000, help="swav: prototypes; at most about the number of views of a step over all processes."
    )
    sinkhorn_epsilon: float = HfArg(
        default=0.05,
        help="swav: softness of assignments; choose less if the loss stays at the logarithm of num_prototypes.",
    )
    mim_num_hidden_layers: int | None = HfArg(
        default=None, help="Blocks of the masked-image branch. Default: the configuration's, 1."
    )
    mim_weight: float | None = HfArg(
        default=None, help="Weight of the masked-image loss. Default: the configuration's, 1."
    )
    visual_tokenizer: str = HfArg(
        default="facebook/flava-image-codebook",
        help="Gives the targets of masked patches: a name or folder of DALL-E's dVAE encoder, the folder of an "
        "earlier run, or `kmeans`, which is learned from the data at the start.",
    )
    visual_vocab_size: int | None = HfArg(
        default=None, help="Visual tokens of a tokenizer that is learned at the start."
    )
    attn_implementation: str | None = HfArg(
        default=None, help="eager or sdpa. Default: eager on a CPU, where it trains faster, else sdpa."
    )


@dataclass
class PretrainingDataArguments(DatasetArguments):
    """Which pairs of images and texts are used."""

    dataset_name: str = HfArg(
        default="laion_face",
        help="laion_face, synthetic_faces, a folder written by save_to_disk, or a name on the Hub.",
    )
    data_dir: str | None = HfArg(default=None, help="Folder of LAION-Face: img2dataset's shards and the detections.")
    eval_dataset_name: str | None = HfArg(
        default=None, help="Data set of the evaluation, in the common row shape. Default: dataset_name."
    )
    gallery_size: int = HfArg(default=256, help="Pairs among which retrieval searches for one.")
    face_ratio: float | None = HfArg(
        default=None, help="Share of face images at a fixed total (supplement Table 1). Default: only faces."
    )
    other_data_dir: str | None = HfArg(
        default=None, help="Folder of shards whose photos need not show a face, for --face-ratio."
    )
    min_face_score: float = HfArg(default=0.9, help="LAION-Face: smallest score of a detected face.")
    min_face_px: float = HfArg(default=32, help="LAION-Face: smallest side of a detected face, in pixels.")
    shuffle_window_size: int = HfArg(default=100_000, help="Samples of a stream that are shuffled together.")
    augmentation: str = HfArg(default="pretraining", help="Changes to the crop: pretraining, or none.")


@dataclass
class PretrainingArguments(SharedTrainingArguments):
    """[`~transformers.TrainingArguments`] with FaRL's pre-training recipe as defaults.

    The supplement, section 6, gives mixed precision, gradient checkpointing, ZeRO and clipping at 1.0. The other
    defaults have no source that could be read: AdamW with betas 0.9 and 0.98 and weight decay 0.05, learning rate 1e-3
    with warm-up over the first epoch and a cosine to zero, 5,120 pairs per step (32 devices, 160 pairs each). 16
    epochs are FaRL's (README, line 30).

    Args:
        grad_cache (`bool`, *optional*, defaults to `False`): GradCache (Gao et al. 2021): the pairs of all
            `gradient_accumulation_steps` batches are contrasted with each other, exactly, at the memory of one batch
            and the cost of one more forward pass. Without it, accumulation does not add negatives.
        ema_decay (`float`, *optional*, defaults to 0.0): Decay per step of averaged weights, which are evaluated and
            saved; 0 is off.
        ema_warmup (`bool`, *optional*, defaults to `False`): Decay `min(ema_decay, (1 + n) / (10 + n))` at step n.
        visual_tokenizer_samples (`int`, *optional*, defaults to 2000): Images from which a visual tokenizer is
            learned.
    """

    learning_rate: float = HfArg(default=1e-3, help="Highest learning rate.")
    weight_decay: float = HfArg(default=0.05, help="AdamW weight decay.")
    adam_beta2: float = HfArg(default=0.98, help="AdamW's second beta.")
    max_grad_norm: float = HfArg(default=1.0, help="Gradient clipping.")
    lr_scheduler_type: str = HfArg(default="cosine", help="Schedule of the learning rate.")
    warmup_steps: float = HfArg(default=1 / 16, help="Steps of warm-up; a share of all steps if below 1.")
    num_train_epochs: float = HfArg(default=16, help="Epochs.")
    per_device_train_batch_size: int = HfArg(default=160, help="Pairs per device and step.")
    per_device_eval_batch_size: int = HfArg(default=64, help="Pairs per device in evaluation.")
    label_names: list[str] | None = HfArg(default_factory=lambda: ["attributes"], help="Leave the default.")
    dataloader_drop_last: bool = HfArg(default=True, help="Leave True: all processes need batches of one size.")
    save_total_limit: int | None = HfArg(
        default=3, help="Checkpoints that are kept, the newest; one of ViT-B/16 takes 2 GB."
    )

    grad_cache: bool = HfArg(
        default=False,
        aliases=["--cached_contrast", "--cached-contrast"],
        help="GradCache: contrast the pairs of all accumulated batches, exactly, for one more forward pass.",
    )
    ema_decay: float = HfArg(default=0.0, help="Decay of averaged weights; 0 is off.")
    ema_warmup: bool = HfArg(default=False, help="Start averaging with a smaller decay.")
    visual_tokenizer_samples: int = HfArg(default=2000, help="Images from which a visual tokenizer is learned.")

    def __post_init__(self):
        if self.accelerator_config is None:
            # By default the main process would read a stream for all processes.
            self.accelerator_config = {"dispatch_batches": False, "split_batches": False}
        super().__post_init__()
        if self.grad_cache and self.gradient_accumulation_steps < 2:
            raise InvalidArgumentError(
                f"grad_cache joins accumulated batches, but gradient_accumulation_steps is "
                f"{self.gradient_accumulation_steps}; set it to 2 or more, or leave grad_cache out."
            )


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
    resumed_from: str | None = None

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
            if self.resumed_from:  # only now, because the loader draws a seed when it starts
                self._load_rng_state(self.resumed_from)
                self.resumed_from = None
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
        self.resumed_from = folder = resume_folder(resume_from_checkpoint, self.args)
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
            self.model_wrapped.train()  # the Trainer does so only in the second pass; an evaluation came before
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
            # Timed from the first batch after the last entry, without evaluation and saving in between.
            logs["samples_per_second"] = round(self.log_samples / (time.perf_counter() - self.log_started), 1)
            self.log_sums, self.log_count, self.log_samples, self.log_started = {}, 0, 0, None
        super().log(logs, start_time)

    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        started = time.perf_counter()
        super()._maybe_log_save_evaluate(*args, **kwargs)
        if self.log_started is not None:  # nothing was logged
            self.log_started += time.perf_counter() - started

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
