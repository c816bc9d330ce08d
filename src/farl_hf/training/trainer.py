"""The Transformers Trainer with averaged weights, FaRL's parameter groups and evaluation in the photo frame.

[`AveragedWeightsTrainer`] averages the weights and serves every training. [`FaRLTrainer`] adds what the task models
need: a learning rate per part of the model, the official schedule, and scores in the photo frame.
"""

import atexit
import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import distributed, nn
from torch.utils.data import DataLoader, Dataset
from transformers import (
    EvalPrediction,
    PreTrainedModel,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import EvalLoopOutput, TrainOutput, get_last_checkpoint

from farl_hf.data.augmentation import errors_of_workers
from farl_hf.data.samples.face_samples import collate_face_samples
from farl_hf.errors import (
    DivergedTrainingError,
    FaRLError,
    FileWriteError,
    InvalidArgumentError,
    NotACheckpointError,
    in_short,
)
from farl_hf.training.arguments import FaRLTrainingArguments, output_folder, settings_refused
from farl_hf.training.ema import EMACallback, restore_average, restore_training_weights, save_training_weights
from farl_hf.training.evaluation.photo_frame import FaceEvaluation, RunningStatistics
from farl_hf.whole_files import files_written_whole, finite_or_none, read_or_set_aside, write_json, written_whole

# Parameters of the parts of a task model, by the beginning of their names.
PART_PREFIXES = {"backbone": "vision_model.", "pyramid": "pyramid.", "head": "head."}
# Entries of a batch that only evaluation uses.
PHOTO_KEYS = ("crop_from_photo", "photo_labels", "box_xyxy")
_OF_PYTORCHS_WRITER = ("inline_container", "iostream error")  # in its errors, on a disk that is full


class AveragedWeightsTrainer(Trainer):
    """The Transformers Trainer with averaged weights.

    Args:
        model (`nn.Module`): Model.
        args (`TrainingArguments`): With the fields `ema_decay` (0 turns averaging off) and `ema_warmup`.
        **kwargs: As [`~transformers.Trainer`].

    During training, `trainer.model` holds the trained weights. `evaluate`, `predict` and everything that is saved use
    their moving average.
    """

    args: Any

    def __init__(self, model: nn.Module, args: Any, **kwargs: Any):
        with settings_refused():
            super().__init__(model=model, args=args, **kwargs)
        leave_group_at_exit()
        # The filter would log a loss that is not finite as 0, and reads every loss: the device would wait.
        self.args.logging_nan_inf_filter = False
        self._diverged_at = torch.zeros(2)  # first step whose loss is not finite, and that loss
        self.add_callback(SampleEpochCallback())
        self.card_facts: Any = None  # [`TrainingFacts`]; by default those in its folder
        self.ema = EMACallback(args.ema_decay, args.ema_warmup) if args.ema_decay else None
        if self.ema is not None:
            self.add_callback(self.ema)

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> TrainOutput:
        """Trains; see [`~transformers.Trainer.train`]. Resuming restores weights, average and optimizer exactly.

        Raises:
            DivergedTrainingError: A loss is not finite; found when the training logs, evaluates, saves or ends.
        """
        if self.ema is not None:
            self.ema.resume_folder = resume_folder(resume_from_checkpoint, self.args)
        self._diverged_at = torch.zeros(2)
        with errors_of_training(self.args):
            result = super().train(resume_from_checkpoint, *args, **kwargs)
        self.require_finite_losses()
        return result

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Loss and gradients of a batch; see [`~transformers.Trainer.training_step`].

        A loss that is not finite is noted where it is, on the device; `require_finite_losses` reads the note.
        """
        loss = super().training_step(*args, **kwargs)
        self._diverged_at = self._diverged_at.to(loss.device)
        value = loss.detach().float().reshape(())
        note = torch.stack([torch.full_like(value, self.state.global_step + 1), value])
        self._diverged_at = torch.where((self._diverged_at[0] == 0) & ~value.isfinite(), note, self._diverged_at)
        return loss

    def require_finite_losses(self) -> None:
        """Stops a training that has met a loss that is not finite; called before anything is logged or saved.

        Raises:
            DivergedTrainingError: With the first such step.
        """
        step, loss = self._diverged_at.tolist()
        if step:
            raise diverged(f"The loss is {loss}", int(step))

    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        if self.control.should_log or self.control.should_save or self.control.should_evaluate:
            self.require_finite_losses()
        try:
            super()._maybe_log_save_evaluate(*args, **kwargs)
        except KeyError as error:
            if "metric_for_best_model" not in str(error):
                raise
            raise InvalidArgumentError(in_short(error.args[0], 500)) from error

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """See [`~transformers.Trainer.create_optimizer`]; settings that cannot be are one sentence."""
        with settings_refused():
            return super().create_optimizer(model)

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """See [`~transformers.Trainer.create_scheduler`]; settings that cannot be are one sentence."""
        with settings_refused():
            return super().create_scheduler(num_training_steps, optimizer)

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Logs values; one that is not finite is logged as None, because JSON has no word for it."""
        written = finite_or_none(logs)
        super().log(written, *args, **kwargs)
        if "epoch" in written:
            logs["epoch"] = written["epoch"]  # Transformers adds it to what it was given, for the scores too

    def get_eval_dataloader(self, eval_dataset: str | Dataset | None = None) -> DataLoader:
        """Batches of the evaluation, with the last one, also where `dataloader_drop_last` drops it in training."""
        with last_batch_kept(self.args):
            return super().get_eval_dataloader(eval_dataset)

    def get_test_dataloader(self, test_dataset: Dataset) -> DataLoader:
        """As `get_eval_dataloader`."""
        with last_batch_kept(self.args):
            return super().get_test_dataloader(test_dataset)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Evaluates the averaged weights; see [`~transformers.Trainer.evaluate`]."""
        with errors_of_workers():
            return self.with_averaged_weights(super().evaluate, *args, **kwargs)

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """Predicts with the averaged weights; see [`~transformers.Trainer.predict`]."""
        with errors_of_workers():
            return self.with_averaged_weights(super().predict, *args, **kwargs)

    def save_metrics(self, split: str, metrics: dict[str, float], combined: bool = True) -> None:
        """Writes `{split}_results.json` and adds to `all_results.json`, each whole or not at all.

        Transformers' own method would leave half a file after a kill, and fail at every later start.
        """
        if not self.is_world_process_zero():
            return
        folder = output_folder(self.args)
        write_json(folder / f"{split}_results.json", metrics)
        if combined:
            all_results = folder / "all_results.json"
            write_json(all_results, (read_or_set_aside(all_results, dict) or {}) | metrics)

    def save_state(self) -> None:
        """Writes `trainer_state.json`, whole or not at all."""
        if self.is_world_process_zero():
            with written_whole(output_folder(self.args) / TRAINER_STATE_NAME) as unfinished:
                self.state.save_to_json(str(unfinished))

    def create_model_card(self, **given: Any) -> None:  # type: ignore[override]  # the same, by name
        """Writes the whole card of the run, `README.md`; see [`~transformers.Trainer.create_model_card`].

        A card whose text people have changed keeps it, and every card keeps the scores of other measurements.
        """
        self.write_card(new_weights=False, **given)

    def write_card(self, new_weights: bool, **given: Any) -> None:
        """As `create_model_card`; with `new_weights`, earlier scores leave the card."""
        from farl_hf.training.model_card import facts_in, write_training_card  # a step of a training needs no cards

        model = self.accelerator.unwrap_model(self.model)
        if not isinstance(model, PreTrainedModel):  # adapters have cards of their own library
            super().create_model_card(**given)
        elif self.is_world_process_zero():
            folder = output_folder(self.args)
            facts = facts_in(folder) if self.card_facts is None else self.card_facts
            write_training_card(model, folder, facts, new_weights=new_weights, **given)

    def with_averaged_weights(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        """Calls the function while the model holds the averaged weights."""
        model = self.accelerator.unwrap_model(self.model)
        average = None if self.ema is None else self.ema.average
        with nullcontext() if average is None else average.applied_to(model):
            if self.args.world_size > 1:
                share_buffers(model)
            return function(*args, **kwargs)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, torch.Tensor] | None = None) -> None:
        if self.ema is not None and self.ema.average is not None:
            if state_dict is None:
                state_dict = self.accelerator.unwrap_model(self.model).state_dict()
            state_dict = self.ema.average.merged_into(state_dict)
        saved = self.accelerator.unwrap_model(self.model).state_dict() if state_dict is None else state_dict
        for name, tensor in saved.items():
            if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
                raise diverged(f"{name} is not finite", self.state.global_step)
        if not self.args.should_save:
            super()._save(output_dir, state_dict=state_dict)
            return
        with files_written_whole(Path(output_dir or output_folder(self.args))) as unfinished:
            super()._save(str(unfinished), state_dict=state_dict)

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        with writing_to(output_folder(self.args)):
            super()._save_checkpoint(*args, **kwargs)
            if self.args.save_only_model:
                self._save_training_weights(output_folder(self.args) / f"checkpoint-{self.state.global_step}")

    def _save_rng_state(self, output_dir: str) -> None:
        """Adds the trained weights and the average; older checkpoints are removed only when these are written."""
        super()._save_rng_state(output_dir)
        self._save_training_weights(Path(output_dir))

    def _save_training_weights(self, folder: Path) -> None:
        if self.ema is not None and self.ema.average is not None and self.args.should_save:
            save_training_weights(self.accelerator.unwrap_model(self.model), self.ema.average, folder)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        with going_on_from(resume_from_checkpoint):
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            model = self.model if model is None else model
            if self.ema is not None and model is not None:
                restore_training_weights(model, Path(resume_from_checkpoint))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        with going_on_from(checkpoint):
            super()._load_optimizer_and_scheduler(checkpoint)
            optimizer: Any = self.optimizer if checkpoint else None
            for group in getattr(optimizer, "param_groups", ()):  # PyTorch takes over those of any optimizer
                missing = [name for name in getattr(optimizer, "defaults", ()) if name not in group]
                if missing:
                    raise ValueError(f"its optimizer has no {', '.join(missing)}")

    def _load_rng_state(self, checkpoint: str | None) -> None:
        with going_on_from(checkpoint):
            super()._load_rng_state(checkpoint)

    def _load_best_model(self) -> None:
        super()._load_best_model()
        if self.ema is None or self.ema.average is None:
            return
        best = self.state.best_model_checkpoint
        own_files = self.is_deepspeed_enabled or self.is_fsdp_enabled
        if own_files and best is not None:  # they hold the trained weights
            restore_average(self.ema.average, Path(best))
        else:
            self.ema.average.reset(self.accelerator.unwrap_model(self.model))


def diverged(what: str, step: int) -> DivergedTrainingError:
    """The error of a training that cannot give a model any more."""
    return DivergedTrainingError(
        f"{what} at step {step}; nothing was saved since. Lower the rates, or look for pictures and labels that "
        "are not finite."
    )


class FiniteWeightsCallback(TrainerCallback):
    """Stops a stock Trainer before it saves weights that are not finite, and where a loss of evaluation is not.

    Transformers saves them, and logs the last finite loss in place of each that is not.

    Raises:
        DivergedTrainingError: With the first such tensor, or the loss.
    """

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Before a checkpoint or an evaluation; Transformers decides on them earlier."""
        if control.should_save or control.should_evaluate:
            self.on_train_end(args, state, control, **kwargs)

    on_epoch_end = on_step_end

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Before the last weights are saved."""
        for name, parameter in kwargs["model"].named_parameters():
            values = getattr(parameter, "ds_tensor", parameter)  # this process's part, where ZeRO-3 divides it
            if not bool(values.isfinite().all()):
                raise diverged(f"{name} is not finite", state.global_step)

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """After an evaluation."""
        loss = kwargs["metrics"].get("eval_loss", 0.0)
        if not np.isfinite(loss):
            raise DivergedTrainingError(
                f"The loss of the evaluation is {loss} at step {state.global_step}: these weights are of no use. Lower"
                " --learning-rate, or look for pictures and labels that are not finite."
            )


@contextmanager
def errors_of_training(args: TrainingArguments) -> Iterator[None]:
    """Around the `train` of any Trainer: what its user can mend becomes a sentence.

    Raises:
        InvalidArgumentError: A batch of one face, of which a batch norm cannot compute statistics; an option whose
            package is not installed; or unknown keywords of gradient checkpointing.
        FileWriteError: The output folder was deleted during the training, or the shared memory is full.
    """
    try:
        with errors_of_workers():
            yield
    except FileNotFoundError as error:
        if isinstance(error, FaRLError) or not Path(str(error.filename)).is_relative_to(output_folder(args)):
            raise
        raise FileWriteError(
            f"{error.filename} was deleted while the training ran; give the same command again."
        ) from error
    except ImportError as error:
        if isinstance(error, FaRLError):
            raise
        raise InvalidArgumentError(f"A training argument cannot be used: {in_short(error, 500)}") from error
    except ValueError as error:
        if args.gradient_checkpointing_kwargs and "Unexpected keyword arguments" in str(error):
            raise InvalidArgumentError(
                f"--gradient-checkpointing-kwargs is {args.gradient_checkpointing_kwargs}; PyTorch's checkpoint says:"
                f" {error}."
            ) from error
        if "more than 1 value per channel" not in str(error):
            raise
        raise InvalidArgumentError(
            "A batch has one sample, too few for batch norms; choose another --per-device-train-batch-size, or drop"
            " the last batch of an epoch: --dataloader-drop-last."
        ) from error


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Turns what fails for the disk into a sentence.

    Raises:
        FileWriteError: The disk is full, or the place cannot be written.
    """
    try:
        yield
    except FaRLError:
        raise
    except (OSError, SafetensorError, RuntimeError) as error:
        # PyTorch's writer says no more than which of its checks failed, or that its stream did.
        if isinstance(error, RuntimeError) and not any(word in str(error) for word in _OF_PYTORCHS_WRITER):
            raise
        raise FileWriteError(
            f"The checkpoint in {folder} could not be written: {in_short(error, 200)}. Make room, and "
            "give the same command again: the run goes on from its last complete checkpoint."
        ) from error


@contextmanager
def going_on_from(checkpoint: str | None) -> Iterator[None]:
    """Turns what fails inside into a sentence: a checkpoint of another model or optimizer, or a damaged one.

    Raises:
        NotACheckpointError: With the folder and the reason.
    """
    try:
        yield
    except FaRLError:
        raise
    except Exception as error:  # damaged and foreign files make PyTorch and safetensors raise almost anything
        raise NotACheckpointError(
            f"The run cannot go on from {checkpoint}: it is damaged, or of another model or optimizer "
            f"({in_short(error, 300)}). Choose another --output-dir, or delete that folder."
        ) from error


class FaRLTrainer(AveragedWeightsTrainer):
    """Trains a FaRL task model on [`FaceSamples`].

    Args:
        model (`PreTrainedModel`): [`FaRLForFaceParsing`], [`FaRLForLandmarks`] or [`FaRLForAttributes`].
        args ([`FaRLTrainingArguments`]): Recipe.
        evaluation ([`FaceEvaluation`], *optional*): Scores of the evaluation samples, which must be made
            `with_photo_labels`.
        **kwargs: As [`~transformers.Trainer`]. Pass the image processor as `processing_class`, so that every
            checkpoint folder holds it and loads as a pipeline.

    Raises:
        InvalidArgumentError: `sync_batch_norm` on CPUs.
    """

    args: FaRLTrainingArguments

    def __init__(
        self, model: nn.Module, args: FaRLTrainingArguments, evaluation: FaceEvaluation | None = None, **kwargs: Any
    ):
        if args.freeze_backbone:
            freeze_backbone(model)
        if args.sync_batch_norm and args.world_size > 1:
            model = with_shared_batch_norms(model, args)
        self.evaluation = evaluation
        self.running_statistics: RunningStatistics | None = None
        if evaluation is not None and "compute_metrics" not in kwargs:
            kwargs["compute_metrics"] = self.scores_of_step
            args.batch_eval_metrics = True
        kwargs.setdefault("data_collator", collate_face_samples)
        super().__init__(model=model, args=args, **kwargs)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """The optimizer that `optim` names, with one group per part of the model."""
        if self.optimizer is None:
            args = self.args
            trained: Any = self.model if model is None else model
            head_rate, pyramid_rate = args.head_learning_rate, args.pyramid_learning_rate
            rates = {
                "backbone": args.backbone_learning_rate,
                "pyramid": head_rate if pyramid_rate is None else pyramid_rate,
                "head": head_rate,
            }
            groups = make_parameter_groups(trained, rates, args.weight_decay, args.decay_norm_and_bias)
            with settings_refused():
                optimizer_class, settings = self.get_optimizer_cls_and_kwargs(args, trained)
                self.optimizer = optimizer_class(groups, **settings)
        return self.optimizer

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """The schedule of the arguments, or the official steps when milestones are given."""
        if self.lr_scheduler is None and self.args.milestone_epochs:
            steps_per_epoch = self._steps_per_epoch(num_training_steps)
            with settings_refused():  # NaN and infinity
                milestones = [round(epoch * steps_per_epoch) for epoch in self.args.milestone_epochs]
            stepped: Any = self.optimizer if optimizer is None else optimizer
            schedule: Any = torch.optim.lr_scheduler.MultiStepLR(stepped, milestones, gamma=self.args.milestone_factor)
            self.lr_scheduler = schedule
            self._created_lr_scheduler = True
        return super().create_scheduler(num_training_steps, optimizer)

    def _steps_per_epoch(self, num_training_steps: int) -> float:
        args = self.args
        dataset: Any = self.train_dataset
        if args.max_steps <= 0 or not hasattr(dataset, "__len__"):
            return num_training_steps / (args.num_train_epochs or 1)  # no epoch has no steps
        batch_size = args.train_batch_size * args.world_size
        num_batches = len(dataset) // batch_size if args.dataloader_drop_last else math.ceil(len(dataset) / batch_size)
        return max(1, math.ceil(num_batches / args.gradient_accumulation_steps))

    def prediction_step(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
        """Loss in the crop frame, and one row of statistics per face from the photo frame."""
        if self.evaluation is None:
            return super().prediction_step(model, without_photo_keys(inputs), prediction_loss_only, ignore_keys)
        batch = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            loss, outputs = self.compute_loss(model, without_photo_keys(batch), return_outputs=True)
        loss = loss.detach().mean()
        if prediction_loss_only:
            return loss, None, None
        statistics = self.evaluation.statistics(outputs, batch).to(loss.device)
        # The loop computes scores only where there are labels; the statistics already hold their information.
        return loss, statistics, torch.zeros(len(statistics), dtype=torch.int64, device=loss.device)

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> EvalLoopOutput:
        """As [`~transformers.Trainer`]; afterwards `running_statistics` holds those of all faces."""
        self.running_statistics = None if self.evaluation is None else RunningStatistics(self.evaluation)
        return super().evaluation_loop(*args, **kwargs)

    def scores_of_step(self, predictions: EvalPrediction, compute_result: bool) -> dict[str, float]:
        """`compute_metrics` of the Trainer: merges the statistics of a step; after the last, scores of all faces."""
        assert self.running_statistics is not None, "evaluation_loop prepares the statistics"
        statistics: Any = predictions.predictions  # a tensor: `batch_eval_metrics` passes on what a step returned
        self.running_statistics.add(np.asarray(statistics.cpu()))
        return self.running_statistics.scores() if compute_result else {}


def resume_folder(resume_from_checkpoint: str | bool | None, args: TrainingArguments) -> str | None:
    """The checkpoint folder to resume from; True stands for the last one in the output folder."""
    if isinstance(resume_from_checkpoint, str):
        return resume_from_checkpoint or None
    return get_last_checkpoint(str(args.output_dir)) if resume_from_checkpoint else None


def with_shared_batch_norms(model: nn.Module, args: TrainingArguments) -> nn.Module:
    """The model with batch norms that compute their statistics over all processes; weights keep their names.

    Raises:
        InvalidArgumentError: The training runs on CPUs, where PyTorch cannot share the statistics.
    """
    if args.device.type == "cpu":
        raise InvalidArgumentError(
            "sync_batch_norm works on accelerators only, but the training runs on CPUs; turn it off "
            "(--sync-batch-norm false, or --set sync_batch_norm=false)."
        )
    return nn.SyncBatchNorm.convert_sync_batchnorm(model)


def without_photo_keys(batch: dict[str, Any]) -> dict[str, Any]:
    """The part of a batch that the model takes."""
    return {key: values for key, values in batch.items() if key not in PHOTO_KEYS}


# Parameter groups


def part_of(parameter_name: str) -> str:
    """`"backbone"`, `"pyramid"` or `"head"`; a parameter without a known prefix belongs to the head."""
    name = parameter_name.removeprefix("base_model.model.")  # of models that PEFT wraps
    for part, prefix in PART_PREFIXES.items():
        if name.startswith(prefix):
            return part
    return "head"


def make_parameter_groups(
    model: nn.Module, learning_rates: dict[str, float], weight_decay: float, decay_norm_and_bias: bool = True
) -> list[dict[str, Any]]:
    """Optimizer groups, one per part and decay.

    Args:
        model (`nn.Module`): A FaRL task model.
        learning_rates (`dict[str, float]`): Rate of `"backbone"`, `"pyramid"` and `"head"`.
        weight_decay (`float`): AdamW weight decay.
        decay_norm_and_bias (`bool`, *optional*, defaults to `True`): Whether parameters with one axis decay too, as in
            the official code (`farl/experiments/face_parsing/optimizers/refine_backbone.yaml`, lines 5-8 and 14-20).

    Returns:
        `list[dict]`: Non-empty groups with `params`, `lr`, `weight_decay` and `name`, trainable parameters only.
    """
    groups: dict[tuple[str, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        # Biases and weights of norms are the parameters with one axis.
        num_axes = len(getattr(parameter, "ds_shape", parameter.shape))  # ZeRO-3 leaves one axis of a divided one
        part, decay = part_of(name), decay_norm_and_bias or num_axes > 1
        settings = {
            "params": [],
            "lr": learning_rates[part],
            "weight_decay": weight_decay if decay else 0.0,
            "name": part if decay else f"{part}_without_decay",
        }
        groups.setdefault((part, decay), settings)["params"].append(parameter)
    return list(groups.values())


def freeze_backbone(model: nn.Module) -> None:
    """Turns off the gradients of the vision encoder."""
    for name, parameter in model.named_parameters():
        if part_of(name) == "backbone":
            parameter.requires_grad_(False)


# What a training on several processes needs


class SampleEpochCallback(TrainerCallback):
    """Calls the data set's `set_epoch` at the start of every epoch.

    accelerate's loaders call it only where batches come straight from a sampler: not with several processes, and not
    in the epoch in which a run is resumed. There every epoch would repeat the random changes of the first.
    """

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Passes on the number of complete epochs; a resumed run may start within one."""
        dataset = kwargs["train_dataloader"].dataset
        if hasattr(dataset, "set_epoch"):
            dataset.set_epoch(int(state.epoch or 0))


def share_buffers(model: nn.Module) -> None:
    """Gives every process the float buffers of the first process, which are the saved ones.

    The batch norms of each process have seen other faces, so scores would depend on the process that evaluates a face.
    """
    for buffer in model.buffers():
        if buffer.is_floating_point():
            distributed.broadcast(buffer, src=0)


@contextmanager
def last_batch_kept(args: Any) -> Iterator[None]:
    """Inside, `dataloader_drop_last` is off; Transformers would follow it in evaluation too and skip some samples."""
    wanted, args.dataloader_drop_last = args.dataloader_drop_last, False
    try:
        yield
    finally:
        args.dataloader_drop_last = wanted


def leave_group_at_exit() -> None:
    """Leaves the process group when the interpreter ends.

    Otherwise gloo's threads still run while the process ends. Some processes then abort after their work is done, with
    "terminate called without an active exception".
    """

    @atexit.register
    def leave_group() -> None:
        if distributed.is_available() and distributed.is_initialized():
            distributed.destroy_process_group()
