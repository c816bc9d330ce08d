"""The Transformers Trainer with FaRL's parameter groups, averaged weights, and evaluation in the photo frame."""

from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import EvalPrediction
from transformers.trainer_utils import EvalLoopOutput

from farl_hf.data.collate import collate_face_samples
from farl_hf.errors import InvalidFaceInputError
from farl_hf.training.arguments import FaRLTrainingArguments
from farl_hf.training.averaged_weights_trainer import AveragedWeightsTrainer
from farl_hf.training.evaluation import FaceEvaluation, RunningStatistics
from farl_hf.training.parameter_groups import freeze_backbone, make_parameter_groups

__all__ = ["FaRLTrainer"]

# Entries of a batch that only evaluation uses.
PHOTO_KEYS = ("crop_from_photo", "photo_labels", "box_xyxy")


class FaRLTrainer(AveragedWeightsTrainer):
    """Trains a FaRL task model on [`FaceSamples`].

    Args:
        model (`PreTrainedModel`): [`FaRLForFaceParsing`], [`FaRLForLandmarks`] or [`FaRLForAttributes`].
        args ([`FaRLTrainingArguments`]): Recipe.
        evaluation ([`FaceEvaluation`], *optional*): Scores of the evaluation samples, which must be made
            `with_photo_labels`.
        **kwargs: As [`~transformers.Trainer`]. Pass the image processor as `processing_class`, so that every
            checkpoint folder holds it and loads as a pipeline.

    While training, `trainer.model` holds the weights that learn. `evaluate`, `predict` and everything that is saved
    use their moving average.
    """

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
            args, model = self.args, self.model if model is None else model
            rates = args.part_learning_rates()
            groups = make_parameter_groups(model, rates, args.weight_decay, args.decay_norm_and_bias)
            optimizer_class, settings = self.get_optimizer_cls_and_kwargs(args, model)
            self.optimizer = optimizer_class(groups, **settings)
        return self.optimizer

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """The schedule of the arguments, or the official steps when milestones are given."""
        if self.lr_scheduler is None and self.args.milestone_epochs:
            steps_per_epoch = num_training_steps / self.args.num_train_epochs
            milestones = [round(epoch * steps_per_epoch) for epoch in self.args.milestone_epochs]
            optimizer = self.optimizer if optimizer is None else optimizer
            self.lr_scheduler = torch.optim.lr_scheduler.MultiStepLR(
                optimizer, milestones, gamma=self.args.milestone_factor
            )
            self._created_lr_scheduler = True
        return super().create_scheduler(num_training_steps, optimizer)

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
        # The loop scores only when there are labels; the statistics already hold what is needed of them.
        return loss, statistics, torch.zeros(len(statistics), dtype=torch.int64, device=loss.device)

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> EvalLoopOutput:
        """As [`~transformers.Trainer`]; afterwards `running_statistics` holds those of all faces."""
        self.running_statistics = None if self.evaluation is None else RunningStatistics(self.evaluation)
        return super().evaluation_loop(*args, **kwargs)

    def scores_of_step(self, predictions: EvalPrediction, compute_result: bool) -> dict[str, float]:
        """`compute_metrics` of the Trainer: merges a step's statistics, and scores them all after the last one."""
        self.running_statistics.add(np.asarray(predictions.predictions.cpu()))
        return self.running_statistics.scores() if compute_result else {}


def with_shared_batch_norms(model: nn.Module, args: FaRLTrainingArguments) -> nn.Module:
    """The model with batch norms whose statistics are those of all processes' faces; weights keep their names."""
    if args.device.type == "cpu":
        raise InvalidFaceInputError(
            "sync_batch_norm works on accelerators only, but the training runs on processors; leave it off "
            "(--sync_batch_norm false, or --set sync_batch_norm=false)."
        )
    return nn.SyncBatchNorm.convert_sync_batchnorm(model)


def without_photo_keys(batch: dict[str, Any]) -> dict[str, Any]:
    """The part of a batch that the model takes."""
    return {key: values for key, values in batch.items() if key not in PHOTO_KEYS}
