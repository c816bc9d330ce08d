"""Arguments of the script that trains a face generator."""

from dataclasses import dataclass, field

from transformers import TrainingArguments

from farl_hf.training.arguments import use_processors_if_alone

__all__ = ["GeneratorDataArguments", "GeneratorModelArguments", "GeneratorTrainingArguments"]


@dataclass
class GeneratorModelArguments:
    """The decoder, and the crop that its pictures show."""

    model_name_or_path: str | None = field(
        default=None,
        metadata={"help": "Autoencoder to start from: a folder that this script wrote. Default: random weights."},
    )
    latent_size: int = field(default=64, metadata={"help": "From scratch: size of a latent."})
    grid_size: int = field(default=7, metadata={"help": "From scratch: rows and columns of the first stage."})
    stage_channels: list[int] = field(
        default_factory=lambda: [160, 128, 64, 32],
        metadata={"help": "From scratch: channels of the stages. The picture's side is grid_size * 2 ** stages."},
    )
    face_template: str = field(
        default="lapa",
        metadata={"help": "From scratch: where the face lies in the picture, attribute (looser) or lapa."},
    )


@dataclass
class GeneratorDataArguments:
    """The data set of faces."""

    dataset_name: str = field(
        default="synthetic_faces",
        metadata={"help": "synthetic_faces, a folder written by save_to_disk, or a data set with five points."},
    )
    dataset_config_name: str | None = field(default=None, metadata={"help": "Configuration of the data set."})
    data_dir: str | None = field(default=None, metadata={"help": "Folder of a published data set."})
    cache_dir: str | None = field(default=None, metadata={"help": "Where prepared data is kept."})
    preprocessing_num_workers: int | None = field(default=None, metadata={"help": "Processes that prepare data."})
    max_train_samples: int | None = field(default=None, metadata={"help": "At most so many training photos."})
    max_eval_samples: int | None = field(default=None, metadata={"help": "At most so many evaluation photos."})
    eval_split: str = field(default="validation", metadata={"help": "Split of evaluation and of the pictures."})


@dataclass
class GeneratorTrainingArguments(TrainingArguments):
    """[`~transformers.TrainingArguments`] with defaults for a small decoder trained from random weights.

    Args:
        kl_weight, gradient_weight, attribute_weight, centre_weight (`float`): See [`AutoencoderLosses`].
        picture_steps (`int`, *optional*, defaults to 250): Steps between two pictures of reconstructions and samples;
            0 draws none.
        ema_decay (`float`, *optional*, defaults to 0.999): Decay per step of averaged weights, which are evaluated,
            drawn with and saved; 0 is off.
        ema_warmup (`bool`, *optional*, defaults to `True`): Decay `min(ema_decay, (1 + n) / (10 + n))` at step n.
    """

    learning_rate: float = field(default=2e-3, metadata={"help": "Highest learning rate."})
    weight_decay: float = field(default=0.0, metadata={"help": "AdamW weight decay."})
    adam_beta2: float = field(default=0.99, metadata={"help": "AdamW's second beta."})
    max_grad_norm: float = field(default=1.0, metadata={"help": "Gradient clipping."})
    lr_scheduler_type: str = field(default="cosine", metadata={"help": "Schedule of the learning rate."})
    warmup_steps: float = field(default=100, metadata={"help": "Steps of warm-up."})
    num_train_epochs: float = field(default=3, metadata={"help": "Epochs."})
    per_device_train_batch_size: int = field(default=32, metadata={"help": "Faces per device and step."})
    per_device_eval_batch_size: int = field(default=64, metadata={"help": "Faces per device in evaluation."})
    prediction_loss_only: bool = field(default=True, metadata={"help": "Leave True: pictures fill the memory."})
    remove_unused_columns: bool = field(default=False, metadata={"help": "Leave False: samples are made on the fly."})
    label_names: list[str] | None = field(
        default_factory=lambda: ["attributes"], metadata={"help": "Leave the default."}
    )
    logging_steps: float = field(default=50, metadata={"help": "Steps between two log entries."})
    dataloader_num_workers: int = field(default=2, metadata={"help": "Processes that prepare samples."})

    kl_weight: float = field(default=1e-4, metadata={"help": "Weight of a nat of information per picture."})
    gradient_weight: float = field(default=1.0, metadata={"help": "Weight of errors between neighbouring pixels."})
    attribute_weight: float = field(default=0.1, metadata={"help": "Weight of the attribute classifier's loss."})
    centre_weight: float = field(default=2.0, metadata={"help": "How much more the centre counts than the rim."})
    picture_steps: int = field(default=250, metadata={"help": "Steps between two pictures; 0 draws none."})
    ema_decay: float = field(default=0.999, metadata={"help": "Decay of the averaged weights; 0 is off."})
    ema_warmup: bool = field(default=True, metadata={"help": "Start averaging with a smaller decay."})

    def __post_init__(self):
        use_processors_if_alone(self)
        super().__post_init__()
