"""Train RetinaFace on photos with face boxes and five points.

A tiny detector on synthetic scenes, from nothing, on a CPU (the result loads with `pipeline("face-detection")`):

    python examples/train_face_detection.py --dataset-name synthetic_faces --dataset-config scenes \
        --num-train-samples 4000 --num-validation-samples 400 --image-size 256 --num-train-epochs 10 \
        --do-train --do-eval --output-dir runs/detector

The recipe of the original detector (SGD, 640 pixels, 250 epochs): `--recipe sgd_steps --image-size 640
--num-train-epochs 250`. It starts from a body that was trained on ImageNet (Pytorch_Retinaface `models/retinaface.py`,
lines 58-67): `farl-hf convert mobilenetV1X0.25_pretrain.tar -o body`, then `--model-name-or-path body`.

Evaluation is average precision at overlap 0.5, in the frame of the photos. A run that was stopped goes on from its
newest checkpoint when the command is given again.
"""

import json
import math
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from transformers import set_seed
from transformers.hf_argparser import HfArg

from farl_hf.checkpoints.checked_loading import load_image_processor, load_whole, load_with_new_parts, read_config
from farl_hf.data.loading import load_face_dataset
from farl_hf.data.samples.detection_samples import (
    ORIGINAL_CROP_SCALES,
    WIDE_CROP_SCALES,
    FaceDetectionSamples,
    collate_face_detection_samples,
)
from farl_hf.errors import InvalidArgumentError, check_name
from farl_hf.modeling import RetinaFaceConfig, RetinaFaceForFaceDetection
from farl_hf.processing.image_processing_retinaface import RetinaFaceImageProcessor
from farl_hf.training.arguments import (
    ScriptParser,
    SharedTrainingArguments,
    errors_as_sentences,
    output_folder,
    save_resolved_recipe,
)
from farl_hf.training.evaluation.detection import evaluate_face_detection
from farl_hf.training.model_card import TrainingFacts, command_without_paths
from farl_hf.training.runs import (
    check_launcher,
    check_same_run,
    check_weights_to_evaluate,
    folder_of_name,
    held_output_folder,
    train_to_end,
)
from farl_hf.training.trainer import AveragedWeightsTrainer, leave_group_at_exit
from farl_hf.whole_files import write_json

TASK = "detection"
CROP_SCALES = {"original": ORIGINAL_CROP_SCALES, "wide": WIDE_CROP_SCALES}
# Parts of the training after which the original divides the learning rate by ten: epochs 190 and 220 of 250.
SGD_MILESTONES = (190 / 250, 220 / 250)
# What a body that was trained on ImageNet lacks.
AFTER_THE_BODY = ("model.feature_pyramid.", "model.context_modules.", "class_head.", "box_head.", "keypoint_head.")


@dataclass
class ModelArguments:
    """Which network to train."""

    model_name_or_path: str | None = HfArg(
        default=None, help="Detector, or body of one, to start from: folder or Hub name; otherwise random weights."
    )
    body: str | None = HfArg(
        default=None, help="Without a checkpoint: mobilenet_v1 or resnet; mobilenet_v1 by default."
    )
    width: float | None = HfArg(
        default=None,
        help="Without a checkpoint: width multiplier of the body; 0.25 (mobilenet_v1) or 1.0 (resnet) by default.",
    )
    pyramid_channels: int | None = HfArg(
        default=None,
        help="Without a checkpoint: channels of the pyramid; 64 (mobilenet_v1) or 256 (resnet) by default.",
    )


@dataclass
class DataArguments:
    """Which photos to train on."""

    dataset_name: str = HfArg(
        default="synthetic_faces",
        help="synthetic_faces, widerface, a folder written by save_to_disk, or a data set on the Hub.",
    )
    data_dir: str | None = HfArg(default=None, help="Folder of widerface, as its owners distribute it.")
    dataset_config: str | None = HfArg(
        default=None, help="Configuration: scenes (default) or portraits, retinaface (default) or original."
    )
    num_train_samples: int | None = HfArg(default=None, help="Photos to train on; all by default.")
    num_validation_samples: int | None = HfArg(default=None, help="Photos to evaluate on; all by default.")
    cache_dir: str | None = HfArg(default=None, help="Where prepared data is kept.")
    num_proc: int | None = HfArg(default=None, help="Processes that prepare the data.")
    image_size: int = HfArg(default=320, help="Side of the square training samples, pixels.")
    crop_scales: str = HfArg(
        default="original",
        help="original (0.3 to 1 of the short side), or wide: also beyond the photo, for smaller faces.",
    )
    min_face_px: float = HfArg(default=7.2, help="Smaller faces of a sample are left out.")
    max_long_side: int | None = HfArg(
        default=None,
        help="Photos with a longer side are shrunk to it at inference; 0 keeps every size. Default: the checkpoint's, "
        "or 1080.",
    )


@dataclass
class FaceDetectionTrainingArguments(SharedTrainingArguments):
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
    | `dataloader_num_workers` | 2 | 4 |
    | `remove_unused_columns` | `False` (samples are built by our own dataset) | |
    | `label_names` | `["labels"]` | |
    | `report_to` | `"none"` | |

    Args:
        recipe (`str`, *optional*, defaults to `"adamw_cosine"`): `"adamw_cosine"` leaves optimiser and schedule to the
            other arguments; `"sgd_steps"` is the original's SGD with momentum 0.9, without warm-up and clipping of
            gradients (Pytorch_Retinaface `train.py`, function `train`).
    """

    recipe: str = HfArg(
        default="adamw_cosine",
        help="adamw_cosine (suits small networks from random weights), or sgd_steps, the original's: SGD with "
        "momentum 0.9 whose rate is divided by ten after 0.76 and 0.88 of the training.",
    )
    learning_rate: float = HfArg(default=1e-3, help="Initial learning rate.")
    lr_scheduler_type: str = HfArg(default="cosine", help="Schedule with recipe adamw_cosine.")
    weight_decay: float = HfArg(default=5e-4, help="Weight decay.")
    warmup_steps: float = HfArg(default=100, help="Warm-up steps with recipe adamw_cosine.")
    max_grad_norm: float | None = HfArg(  # type: ignore[assignment]  # a number once the recipe is known
        default=None, help="Longest gradient; 1 with recipe adamw_cosine, 0 (any length) with sgd_steps."
    )
    per_device_train_batch_size: int = HfArg(default=32, help="Photos per device and step.")
    num_train_epochs: float = HfArg(default=100.0, help="Epochs.")
    report_to: str = HfArg(default="none", help="Where to report; none by default.")
    label_names: list[str] | None = HfArg(default_factory=lambda: ["labels"], help="Label inputs.")
    ema_decay: float = HfArg(default=0.0, help="Decay of the averaged weights; 0 is off, as in the original.")
    ema_warmup: bool = HfArg(default=False, help="Start averaging with a smaller decay.")

    def __post_init__(self):
        if self.max_grad_norm is None:
            self.max_grad_norm = 0.0 if self.recipe == "sgd_steps" else 1.0
        super().__post_init__()


def make_model(args: ModelArguments, data_args: DataArguments):
    """The network and its image processor, from a checkpoint or from a configuration."""
    long_side = {} if data_args.max_long_side is None else {"max_long_side": data_args.max_long_side}
    if args.model_name_or_path:
        refuse_beside_checkpoint(args)
        folder = folder_of_name(args.model_name_or_path)
        architectures = read_config(folder, RetinaFaceConfig).architectures or ()
        processor = load_image_processor(RetinaFaceImageProcessor, folder, **long_side)
        if "RetinaFaceModel" in architectures:
            return load_with_new_parts(RetinaFaceForFaceDetection, folder, AFTER_THE_BODY, dtype="float32")[
                0
            ], processor
        return load_whole(RetinaFaceForFaceDetection, folder, dtype="float32"), processor
    config = RetinaFaceConfig(
        body=args.body or "mobilenet_v1", width_multiplier=args.width, pyramid_channels=args.pyramid_channels
    )
    processor = RetinaFaceImageProcessor(**({"max_long_side": 1080} | long_side), variances=tuple(config.variances))
    return RetinaFaceForFaceDetection(config), processor


def refuse_beside_checkpoint(args: ModelArguments) -> None:
    """Refuse options that shape a new network, where a trained one is given."""
    for name in ("body", "width", "pyramid_channels"):
        if getattr(args, name) is not None:
            raise InvalidArgumentError(
                f"--{name.replace('_', '-')} {getattr(args, name)} is for random weights, but --model-name-or-path "
                f"{args.model_name_or_path} has trained ones; leave one of the two out."
            )


def make_sgd(model, args: FaceDetectionTrainingArguments, num_samples: int):
    """Optimiser and schedule of the original."""
    per_step = args.train_batch_size * args.world_size * args.gradient_accumulation_steps
    num_steps = args.max_steps if args.max_steps > 0 else math.ceil(num_samples / per_step) * args.num_train_epochs
    optimizer = torch.optim.SGD(
        model.parameters(), lr=args.learning_rate, momentum=0.9, weight_decay=args.weight_decay
    )
    milestones = [int(part * num_steps) for part in SGD_MILESTONES]
    return optimizer, torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, gamma=0.1)


def make_trainer(
    model, processor, splits, data_args: DataArguments, args: FaceDetectionTrainingArguments
) -> AveragedWeightsTrainer:
    """A Trainer over random squares of the photos; its evaluation loss is that of whole photos."""
    samples = {"processor": processor, "image_size": data_args.image_size, "min_face_px": data_args.min_face_px}
    train = FaceDetectionSamples(
        splits["train"], crop_scales=CROP_SCALES[data_args.crop_scales], seed=args.seed, **samples
    )
    validation = FaceDetectionSamples(splits["validation"], augment=False, **samples) if args.do_eval else None
    optimizers = make_sgd(model, args, len(train)) if args.recipe == "sgd_steps" else (None, None)
    return AveragedWeightsTrainer(
        model=model,
        args=args,
        train_dataset=train,
        eval_dataset=validation,
        data_collator=collate_face_detection_samples,
        processing_class=processor,
        optimizers=optimizers,
    )


def check_choices(data_args: DataArguments, args: FaceDetectionTrainingArguments) -> None:
    """Refuse unknown values of options before anything is loaded."""
    check_name("--crop-scales", data_args.crop_scales, CROP_SCALES)
    check_name("--recipe", args.recipe, ("adamw_cosine", "sgd_steps"))


def main(arguments: list[str] | None = None) -> dict[str, float]:
    parser = ScriptParser((ModelArguments, DataArguments, FaceDetectionTrainingArguments), description=__doc__)
    model_args, data_args, args = parser.parse_args_into_dataclasses(args=arguments)
    check_choices(data_args, args)
    check_launcher(args)
    leave_group_at_exit()
    with held_output_folder(args):
        return run(model_args, data_args, args)


def run(
    model_args: ModelArguments, data_args: DataArguments, args: FaceDetectionTrainingArguments
) -> dict[str, float]:
    """Trains and evaluates. An unfinished run in the output folder is resumed."""
    if args.resume_from_checkpoint in ("last", "true", "True"):  # the newest one, which is taken anyway
        args.resume_from_checkpoint = None
    if args.do_train:
        check_same_run(args, model_args, data_args, args, task=TASK)
    check_weights_to_evaluate(args, model_args.model_name_or_path)
    set_seed(args.seed)
    model, processor = make_model(model_args, data_args)
    if args.do_train and args.should_save:
        save_resolved_recipe(output_folder(args), TASK, model_args, data_args, args)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters")
    wanted = {"train": args.do_train, "validation": args.do_eval}
    num_photos = {"train": data_args.num_train_samples, "validation": data_args.num_validation_samples}
    skipped = {split: 0 for split in ("train", "validation", "test") if not wanted.get(split)}
    splits = load_face_dataset(
        data_args.dataset_name,
        data_args.dataset_config or ("scenes" if data_args.dataset_name == "synthetic_faces" else None),
        data_dir=data_args.data_dir,
        num_photos={split: count for split, count in num_photos.items() if count is not None} | skipped,
        cache_dir=data_args.cache_dir,
        num_proc=data_args.num_proc,
    )
    for split in (split for split in wanted if wanted[split]):
        check_name("split", split, splits, f"The data set: {data_args.dataset_name}.")

    if args.do_train:
        trainer = make_trainer(model, processor, splits, data_args, args)
        start = model_args.model_name_or_path
        trainer.card_facts = TrainingFacts(TASK, (data_args.dataset_name,), start, command_without_paths())
        train_to_end(trainer)
    scores = {}
    if args.do_eval and args.process_index == 0:
        model = model.to(args.device)
        average = trainer.ema.average if args.do_train and trainer.ema is not None else None
        with nullcontext() if average is None else average.applied_to(model):  # the weights that were saved
            scores = evaluate_face_detection(model, processor, splits["validation"], args.per_device_eval_batch_size)
        print(json.dumps(scores, indent=2))
        Path(args.output_dir).mkdir(parents=True, exist_ok=True)
        write_json(Path(args.output_dir, "eval_results.json"), scores)
        if args.do_train:
            trainer.card_facts = replace(trainer.card_facts, scores={"validation": {"scores": scores}})
            trainer.create_model_card()
    return scores


if __name__ == "__main__":
    with errors_as_sentences():
        main()
