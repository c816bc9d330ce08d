"""Command-line arguments shared by the training scripts."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

from transformers import HfArgumentParser

from farl_hf.training.arguments import FaRLTrainingArguments

__all__ = ["DataArguments", "ModelArguments", "parse_script_arguments"]


@dataclass
class ModelArguments:
    """Which model is trained, from where, and what its image processor does."""

    model_name_or_path: str | None = field(
        default=None,
        metadata={"help": "Checkpoint to start from: a folder or a name. Any FaRL checkpoint gives its vision tower."},
    )
    config_name: str | None = field(
        default=None,
        metadata={"help": "Start from random weights: tiny, toy, base, or a JSON file with FaRLConfig arguments."},
    )
    image_size: int | None = field(
        default=None, metadata={"help": "Side of the crop in pixels. Default: the checkpoint's, or 224 from scratch."}
    )
    warp_factor: float | None = field(
        default=None, metadata={"help": "Alpha of the tanh warp. Default: 0.8 for parsing, else 0."}
    )
    face_scale: float | None = field(
        default=None, metadata={"help": "Scale of the alignment template; smaller shows more around the face."}
    )
    hidden_size: int | None = field(default=None, metadata={"help": "From scratch: width of the vision tower."})
    num_hidden_layers: int | None = field(default=None, metadata={"help": "From scratch: blocks of the vision tower."})
    num_attention_heads: int | None = field(default=None, metadata={"help": "From scratch: heads per block."})
    patch_size: int | None = field(default=None, metadata={"help": "From scratch: side of a patch in pixels."})
    head_channels: int | None = field(default=None, metadata={"help": "Channels of the dense head."})
    label_weights: list[float] | None = field(
        default=None, metadata={"help": "Parsing: weight of each class in the loss, one number per class."}
    )
    point_loss_weight: float | None = field(
        default=None, metadata={"help": "Landmarks: weight of the point distance beside the heat-map loss."}
    )
    attn_implementation: str | None = field(
        default=None, metadata={"help": "eager or sdpa. Default: eager on a CPU, where it trains faster, else sdpa."}
    )

    def head_overrides(self) -> dict[str, float]:
        """Settings of the head that replace a checkpoint's or a recipe's."""
        return given_settings(self, ("head_channels", "label_weights", "point_loss_weight"))

    def scratch_overrides(self) -> dict[str, float]:
        """Settings that replace a recipe's when the model starts from random weights."""
        tower = ("hidden_size", "num_hidden_layers", "num_attention_heads", "patch_size")
        return given_settings(self, tower) | self.head_overrides()


@dataclass
class DataArguments:
    """Which photos are used, and how samples are made of them."""

    dataset_name: list[str] = field(
        default_factory=lambda: ["synthetic_faces"],
        metadata={
            "help": "synthetic_faces, folders written by save_to_disk, or names for datasets.load_dataset; joined."
        },
    )
    dataset_config_name: str | None = field(
        default=None, metadata={"help": "Configuration of the data set; portraits or scenes for synthetic_faces."}
    )
    cache_dir: str | None = field(default=None, metadata={"help": "Where prepared data is kept."})
    preprocessing_num_workers: int | None = field(default=None, metadata={"help": "Processes that prepare data."})
    max_train_samples: int | None = field(default=None, metadata={"help": "At most so many training photos."})
    max_eval_samples: int | None = field(default=None, metadata={"help": "At most so many evaluation photos."})
    eval_split: str = field(default="validation", metadata={"help": "Split evaluated during and after training."})
    alignment: str = field(
        default="points", metadata={"help": "What places the crop: the five points, the box, or the whole photo."}
    )
    augmentation: str | None = field(
        default=None,
        metadata={"help": "Recipe of farl_hf.data.augmentation. Default: the task's official or synthetic one."},
    )
    label_set: str = field(default="lapa", metadata={"help": "Parsing classes: lapa (11) or celebamask (19)."})
    min_face_px: float = field(default=12.0, metadata={"help": "Faces with nearer eyes (pixels) are left out."})


def given_settings(arguments: ModelArguments, names: tuple[str, ...]) -> dict[str, float]:
    """Those of the named settings that were given."""
    return {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}


def parse_script_arguments(
    arguments: list[str] | None = None,
) -> tuple[ModelArguments, DataArguments, FaRLTrainingArguments]:
    """Reads flags, or one JSON file when that is the only argument."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = HfArgumentParser((ModelArguments, DataArguments, FaRLTrainingArguments))
    if len(arguments) == 1 and arguments[0].endswith(".json"):
        return parser.parse_json_file(str(Path(arguments[0]).resolve()))
    return parser.parse_args_into_dataclasses(arguments)
