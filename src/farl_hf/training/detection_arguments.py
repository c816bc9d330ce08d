"""Training arguments of the face detector."""

from dataclasses import dataclass, field

from transformers import TrainingArguments

__all__ = ["FaceDetectionTrainingArguments"]


@dataclass
class FaceDetectionTrainingArguments(TrainingArguments):
    """
    [`~transformers.TrainingArguments`] with defaults for a small detector trained from random weights.

    Changed defaults (there: biubug6/Pytorch_Retinaface, MobileNet0.25; its recipe is `recipe="sgd_steps"`):

    | argument | here | there |
    |---|---|---|
    | `learning_rate` | 1e-3 | 1e-3 |
    | `lr_scheduler_type` | `"cosine"` | divided by ten at epochs 190 and 220 of 250 |
    | `weight_decay` | 5e-4 | 5e-4 |
    | `warmup_steps` | 100 | 0 |
    | `per_device_train_batch_size` | 32 | 32 |
    | `num_train_epochs` | 100 | 250 |
    | `logging_steps` | 50 | |
    | `dataloader_num_workers` | 2 | 1 |
    | `remove_unused_columns` | `False` (samples are built by our own dataset) | |
    | `label_names` | `["labels"]` | |
    | `report_to` | `"none"` | |

    Args:
        recipe (`str`, *optional*, defaults to `"adamw_cosine"`): `"adamw_cosine"` leaves optimiser and schedule to the
            other arguments; `"sgd_steps"` is the original's SGD with momentum 0.9, without warm-up.
    """

    recipe: str = field(
        default="adamw_cosine",
        metadata={
            "help": "adamw_cosine (suits small networks from random weights), or sgd_steps, the original's: SGD with "
            "momentum 0.9 whose rate is divided by ten after 76 % and 88 % of the training."
        },
    )
    learning_rate: float = field(default=1e-3, metadata={"help": "Initial learning rate."})
    lr_scheduler_type: str = field(default="cosine", metadata={"help": "Schedule with recipe adamw_cosine."})
    weight_decay: float = field(default=5e-4, metadata={"help": "Weight decay."})
    warmup_steps: float = field(default=100, metadata={"help": "Warm-up steps with recipe adamw_cosine."})
    per_device_train_batch_size: int = field(default=32, metadata={"help": "Photos per device and step."})
    num_train_epochs: float = field(default=100.0, metadata={"help": "Epochs."})
    logging_steps: float = field(default=50, metadata={"help": "Steps between two log entries."})
    dataloader_num_workers: int = field(default=2, metadata={"help": "Processes that prepare samples."})
    report_to: str = field(default="none", metadata={"help": "Where to report; none by default."})
    label_names: list[str] | None = field(default_factory=lambda: ["labels"], metadata={"help": "Label inputs."})
    remove_unused_columns: bool = field(default=False, metadata={"help": "Leave False: samples are made on the fly."})
