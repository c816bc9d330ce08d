"""Training arguments of the FaRL task heads."""

import os
from dataclasses import dataclass, field

import torch
from transformers import TrainingArguments

from farl_hf.errors import InvalidFaceInputError

__all__ = ["FaRLTrainingArguments", "use_processors_if_alone"]


def use_processors_if_alone(args: TrainingArguments) -> None:
    """Settles the device where there is no accelerator; before `TrainingArguments.__post_init__`, which checks it."""
    if not torch.accelerator.is_available():
        args.use_cpu = True  # without it, `bf16` is refused although processors have it
        args.dataloader_pin_memory = False  # there is nothing to pin for; PyTorch warns at every loader


@dataclass
class FaRLTrainingArguments(TrainingArguments):
    """[`~transformers.TrainingArguments`] with the official FaRL recipe as defaults.

    Changed defaults (FacePerceiver/FaRL, `farl/experiments/face_parsing`):

    | argument | here | there |
    |---|---|---|
    | `weight_decay` | 1e-5, on all parameters | 0.0, not on norms and biases |
    | `lr_scheduler_type` | `"constant"` (use `milestone_epochs` for the official steps) | `"linear"` |
    | `max_grad_norm` | 0.0 (no clipping) | 1.0 |
    | `per_device_train_batch_size` | 5 (officially on 8 devices) | 8 |
    | `num_train_epochs` | 300 | 3 |
    | `remove_unused_columns` | `False` (samples are built by our own dataset) | `True` |
    | `label_names` | `["labels"]` | found from the model |
    | `dataloader_num_workers` | 2 | 0 |
    | `logging_steps` | 50 | 500 |
    | `use_cpu` | `True` where there is no accelerator | `False` |
    | `dataloader_pin_memory` | `False` where there is no accelerator | `True` |

    Args:
        backbone_learning_rate (`float`, *optional*, defaults to 1e-4): Rate of the vision tower.
        head_learning_rate (`float`, *optional*, defaults to 1e-3): Rate of pyramid and head (official alignment
            recipe: 1e-2). `learning_rate` itself is not used.
        pyramid_learning_rate (`float`, *optional*): Rate of the pyramid when it differs from the head's.
        decay_norm_and_bias (`bool`, *optional*, defaults to `True`): Weight decay on norms and biases too, as
            officially.
        milestone_epochs (`list[float]`, *optional*): Epochs at which every rate is multiplied by `milestone_factor`
            (officially 200).
        milestone_factor (`float`, *optional*, defaults to 0.1): See above.
        ema_decay (`float`, *optional*, defaults to 0.999): Decay per step of the averaged weights that are evaluated
            and saved; 0 turns averaging off.
        ema_warmup (`bool`, *optional*, defaults to `False`): Decay `min(ema_decay, (1 + n) / (10 + n))` at step n,
            for short runs.
        freeze_backbone (`bool`, *optional*, defaults to `False`): The vision tower does not learn.
        sync_batch_norm (`bool`, *optional*, defaults to `False`): Batch norms share their statistics over all
            processes, as officially. PyTorch does this on accelerators only.
        total_train_batch_size (`int`, *optional*): Faces per optimizer step over all processes (officially 40); sets
            `gradient_accumulation_steps`.
    """

    weight_decay: float = field(default=1e-5, metadata={"help": "AdamW weight decay."})
    lr_scheduler_type: str = field(default="constant", metadata={"help": "Schedule of all learning rates."})
    max_grad_norm: float = field(default=0.0, metadata={"help": "Gradient clipping; 0 is off."})
    per_device_train_batch_size: int = field(default=5, metadata={"help": "Faces per device and step."})
    num_train_epochs: float = field(default=300, metadata={"help": "Epochs."})
    remove_unused_columns: bool = field(default=False, metadata={"help": "Leave False: samples are made on the fly."})
    label_names: list[str] | None = field(
        default_factory=lambda: ["labels"], metadata={"help": "Names of label inputs."}
    )
    dataloader_num_workers: int = field(default=2, metadata={"help": "Processes that prepare samples."})
    logging_steps: float = field(default=50, metadata={"help": "Steps between two log entries."})

    backbone_learning_rate: float = field(default=1e-4, metadata={"help": "Learning rate of the vision tower."})
    head_learning_rate: float = field(default=1e-3, metadata={"help": "Learning rate of pyramid and head."})
    pyramid_learning_rate: float | None = field(
        default=None, metadata={"help": "Learning rate of the pyramid when it differs from the head's."}
    )
    decay_norm_and_bias: bool = field(default=True, metadata={"help": "Weight decay on norms and biases too."})
    milestone_epochs: list[float] | None = field(
        default=None, metadata={"help": "Epochs at which the learning rates drop by milestone_factor."}
    )
    milestone_factor: float = field(default=0.1, metadata={"help": "Factor at each milestone."})
    ema_decay: float = field(default=0.999, metadata={"help": "Decay of the averaged weights; 0 is off."})
    ema_warmup: bool = field(default=False, metadata={"help": "Start averaging with a smaller decay."})
    freeze_backbone: bool = field(default=False, metadata={"help": "Do not train the vision tower."})

    sync_batch_norm: bool = field(
        default=False, metadata={"help": "Batch norms share their statistics over all processes."}
    )
    total_train_batch_size: int | None = field(
        default=None,
        metadata={"help": "Faces per optimizer step over all processes; sets gradient_accumulation_steps."},
    )

    def __post_init__(self):
        use_processors_if_alone(self)
        if self.total_train_batch_size is not None:  # before the parent, which tells DeepSpeed the steps
            self.gradient_accumulation_steps = self.accumulation_steps()
        super().__post_init__()

    def accumulation_steps(self) -> int:
        """Batches per optimizer step, such that all processes together take `total_train_batch_size` faces."""
        one_process = "WORLD_SIZE" not in os.environ
        num_devices = torch.cuda.device_count() if one_process and not self.use_cpu else 1
        num_devices = max(num_devices, int(os.environ.get("WORLD_SIZE", 1)))
        together = self.per_device_train_batch_size * num_devices
        if self.total_train_batch_size % together:
            raise InvalidFaceInputError(
                f"total_train_batch_size {self.total_train_batch_size} is not a multiple of {together} "
                f"({self.per_device_train_batch_size} faces on each of {num_devices} devices); choose another "
                "per_device_train_batch_size."
            )
        return self.total_train_batch_size // together

    def part_learning_rates(self) -> dict[str, float]:
        """Learning rate of each part of the model."""
        pyramid = self.head_learning_rate if self.pyramid_learning_rate is None else self.pyramid_learning_rate
        return {"backbone": self.backbone_learning_rate, "pyramid": pyramid, "head": self.head_learning_rate}
