"""The Trainer of pre-training: visual tokens as targets, contrast over accumulated batches, a log of both losses."""

import re
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import EvalPrediction

from farl_hf.modeling.contrastive_loss_farl import contrastive_loss
from farl_hf.training.averaged_weights_trainer import AveragedWeightsTrainer
from farl_hf.training.cached_contrast import CachedFeatures, RandomState
from farl_hf.training.pretraining_arguments import PretrainingArguments
from farl_hf.training.retrieval_evaluation import RetrievalEvaluation
from farl_hf.training.stream_training import StreamTrainerMixin

__all__ = ["PretrainingTrainer", "decays_in_pretraining"]

# Beside everything with one axis (norms, biases): not a direction in feature space that should be short.
_WITHOUT_DECAY = re.compile(r"class_embedding|position_embedding|mask_token|logit_scale")


def decays_in_pretraining(name: str, parameter: nn.Parameter) -> bool:
    """Whether weight decay applies: to matrices, not norms, biases, positions, class and mask token, temperature."""
    # ZeRO-3 keeps parameters flat; their true shape is in `ds_shape`.
    shape = getattr(parameter, "ds_shape", parameter.shape)
    return len(shape) > 1 and _WITHOUT_DECAY.search(name) is None


class PretrainingTrainer(StreamTrainerMixin, AveragedWeightsTrainer):
    """Pre-trains a [`FaRLForPreTraining`] on image-text pairs.

    Args:
        model ([`FaRLForPreTraining`]): Both towers and the masked-image branch.
        args ([`PretrainingArguments`]): Recipe.
        visual_tokenizer (`Callable`, *optional*): From `codebook_pixel_values` (B, 3, h, w) in [0, 1] to visual tokens
            (B, rows, columns); needed for the masked-image loss. It is no part of the model: not trained, averaged or
            saved with it.
        evaluation ([`RetrievalEvaluation`], *optional*): Scores of the evaluation pairs.
        **kwargs: As [`~transformers.Trainer`].
    """

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
        """The batches of one optimizer step; with `cached_contrast` their features are computed first."""
        if self.log_started is None:
            self.log_started = time.perf_counter()
        batches, num_items = super().get_batch_samples(epoch_iterator, num_batches, device)
        self.cached_features = None
        if self.args.cached_contrast and len(batches) > 1:
            self.cached_features = CachedFeatures()
            for batch in batches:
                state = RandomState.now(device)
                with torch.no_grad(), self.compute_loss_context_manager():
                    outputs = self.model_wrapped(**self.pairs_of(self._prepare_inputs(batch)), return_loss=False)
                self.cached_features.add(outputs.image_embeds, outputs.text_embeds, state)
        return batches, num_items

    @staticmethod
    def pairs_of(batch: dict[str, Any]) -> dict[str, Any]:
        """The inputs of the two towers."""
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
        """Loss of a batch, of which the log remembers the parts."""
        batch = self.inputs_of_model(inputs)
        if model.training and self.cached_features is not None:
            outputs = self.outputs_in_cached_contrast(model, batch)
        else:
            outputs = model(**batch)
        if model.training:
            self.remember(outputs)
        return (outputs.loss, outputs) if return_outputs else outputs.loss

    def outputs_in_cached_contrast(self, model: nn.Module, batch: dict[str, Any]) -> Any:
        """Outputs whose contrastive loss is that of all accumulated pairs."""
        cache = self.cached_features
        steps = len(cache)
        with cache.random_states[cache.place].restored(self.args.device):
            outputs = model(**batch, return_loss=False)
        images, texts = cache.joined_with(outputs.image_embeds, outputs.text_embeds)
        # Every pass sees the whole loss and each would give the temperature its whole gradient: a share of it is due.
        scale = outputs.logit_scale.detach() + (outputs.logit_scale - outputs.logit_scale.detach()) / steps
        outputs.itc_loss = contrastive_loss(images, texts, scale)
        # The Trainer will divide by the number of passes, which is right for the masked-image loss only.
        whole_model = self.accelerator.unwrap_model(model)
        outputs.loss = whole_model.joint_loss(outputs.itc_loss * steps, outputs.mim_loss)
        return outputs

    @torch.no_grad()
    def remember(self, outputs: Any) -> None:
        """Adds a batch to what the next log entry says."""
        values = {
            "inverse_temperature": outputs.logit_scale,
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
        """Adds both losses, the temperature, retrieval within a batch, speed and left-out data to a training entry."""
        if "loss" in logs and self.log_count:
            for name, total in self.log_sums.items():
                mean = self.accelerator.reduce(total / self.log_count, reduction="mean")
                logs[name] = round(float(mean), 5)
            # From the first batch after the last entry, so that evaluation and saving are no part of it.
            logs["samples_per_second"] = round(self.log_samples / (time.perf_counter() - self.log_started), 1)
            self.log_sums, self.log_count, self.log_samples, self.log_started = {}, 0, 0, None
        super().log(logs, start_time)

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """The Trainer's loop, after the sentences' features were computed with the weights that it will use."""
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
    ) -> tuple[None, tuple[torch.Tensor, torch.Tensor], torch.Tensor]:
        """Features of a batch of pairs; a loss would depend on the size of the batch."""
        batch = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            outputs = model(**self.pairs_of(batch), return_loss=False)
        embeds = outputs.image_embeds.float(), outputs.text_embeds.float()
        # The loop scores only when there are labels; data without attributes gets a column that says nothing.
        unknown = torch.full((len(embeds[0]), 1), -100, device=embeds[0].device)
        return None, embeds, batch.get("attributes", unknown)

    def scores_of_predictions(self, predictions: EvalPrediction) -> dict[str, float]:
        """`compute_metrics` of the Trainer."""
        image_embeds, text_embeds = predictions.predictions
        return self.evaluation.scores(image_embeds, text_embeds, predictions.label_ids, self.prompt_embeds)
