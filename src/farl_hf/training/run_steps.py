"""The steps that every training script takes with its Trainer."""

from typing import Any

from transformers import TrainingArguments
from transformers.utils import logging

from farl_hf.training.averaged_weights_trainer import AveragedWeightsTrainer
from farl_hf.training.finished_checkpoints import last_finished_checkpoint

__all__ = ["attention_of", "evaluate_and_save", "train_to_end"]

logger = logging.get_logger(__name__)


def attention_of(model_args: Any, training_args: TrainingArguments) -> str:
    """The attention to use: on a CPU, PyTorch's fused one takes half of a training step for its backward pass."""
    return model_args.attn_implementation or ("eager" if training_args.device.type == "cpu" else "sdpa")


def train_to_end(trainer: AveragedWeightsTrainer) -> None:
    """Trains, from the newest finished checkpoint if there is one; the result is left in `output_dir`."""
    args = trainer.args
    resume_from = args.resume_from_checkpoint
    if resume_from is None:
        resume_from = last_finished_checkpoint(args.output_dir, args.ema_decay)
        if resume_from:
            logger.warning(f"Going on from {resume_from}; choose another --output_dir to start anew.")
    result = trainer.train(resume_from_checkpoint=resume_from)
    trainer.save_model()
    trainer.save_state()
    trainer.log_metrics("train", result.metrics)
    trainer.save_metrics("train", result.metrics)


def evaluate_and_save(trainer: AveragedWeightsTrainer) -> dict[str, float]:
    """Scores of the evaluation split, also written to `eval_results.json`."""
    scores = trainer.evaluate()
    trainer.log_metrics("eval", scores)
    trainer.save_metrics("eval", scores)
    return scores
