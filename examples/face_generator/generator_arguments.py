"""Arguments of the script that trains a face generator."""

from dataclasses import dataclass

from transformers.hf_argparser import HfArg

from farl_hf.training.arguments import DatasetArguments, SharedTrainingArguments

__all__ = ["GeneratorDataArguments", "GeneratorModelArguments", "GeneratorTrainingArguments"]


@dataclass
class GeneratorModelArguments:
    """The decoder, and the crop that its pictures show."""

    model_name_or_path: str | None = HfArg(
        default=None, help="Autoencoder to start from: a folder that this script wrote. Default: random weights."
    )
    latent_size: int = HfArg(default=64, help="From scratch: size of a latent.")
    grid_size: int = HfArg(default=7, help="From scratch: rows and columns of the first stage.")
    stage_channels: list[int] = HfArg(
        default_factory=lambda: [160, 128, 64, 32],
        help="From scratch: channels of the stages. The picture's side is grid_size * 2 ** stages.",
    )
    face_template: str = HfArg(
        default="lapa", help="From scratch: where the face lies in the picture, attribute (looser) or lapa."
    )


@dataclass
class GeneratorDataArguments(DatasetArguments):
    """The data set of faces."""

    dataset_name: str = HfArg(
        default="synthetic_faces",
        help="synthetic_faces, a folder written by save_to_disk, or a data set with five points.",
    )


@dataclass
class GeneratorTrainingArguments(SharedTrainingArguments):
    """[`~transformers.TrainingArguments`] with defaults for a small decoder trained from random weights.

    Args:
        kl_weight, gradient_weight, attribute_weight, centre_weight (`float`): See [`AutoencoderLosses`].
        picture_steps (`int`, *optional*, defaults to 250): Steps between two pictures of reconstructions and samples;
            0 draws none.
        ema_decay (`float`, *optional*, defaults to 0.999): Decay per step of averaged weights, which are evaluated,
            drawn with and saved; 0 is off.
        ema_warmup (`bool`, *optional*, defaults to `True`): Decay `min(ema_decay, (1 + n) / (10 + n))` at step n.
    """

    learning_rate: float = HfArg(default=2e-3, help="Highest learning rate.")
    weight_decay: float = HfArg(default=0.0, help="AdamW weight decay.")
    adam_beta2: float = HfArg(default=0.99, help="AdamW's second beta.")
    max_grad_norm: float = HfArg(default=1.0, help="Gradient clipping.")
    lr_scheduler_type: str = HfArg(default="cosine", help="Schedule of the learning rate.")
    warmup_steps: float = HfArg(default=100, help="Steps of warm-up.")
    num_train_epochs: float = HfArg(default=3, help="Epochs.")
    per_device_train_batch_size: int = HfArg(default=32, help="Faces per device and step.")
    per_device_eval_batch_size: int = HfArg(default=64, help="Faces per device in evaluation.")
    prediction_loss_only: bool = HfArg(default=True, help="Leave True: pictures fill the memory.")
    label_names: list[str] | None = HfArg(default_factory=lambda: ["inside"], help="Leave the default.")

    kl_weight: float = HfArg(default=1e-4, help="Weight of a nat of information per picture.")
    gradient_weight: float = HfArg(default=1.0, help="Weight of errors between neighbouring pixels.")
    attribute_weight: float = HfArg(default=0.1, help="Weight of the attribute classifier's loss.")
    centre_weight: float = HfArg(default=2.0, help="How much more the centre counts than the rim.")
    picture_steps: int = HfArg(default=250, help="Steps between two pictures; 0 draws none.")
    ema_decay: float = HfArg(default=0.999, help="Decay of the averaged weights; 0 is off.")
    ema_warmup: bool = HfArg(default=True, help="Start averaging with a smaller decay.")
