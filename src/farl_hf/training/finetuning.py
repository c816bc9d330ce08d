"""The training of a task model, from parsed arguments to a checkpoint folder that loads as a pipeline.

[`FACE_TASK_SETTINGS`] holds what differs between the tasks. [`run_face_training`] loads the data, makes image
processor, model and samples, trains and evaluates; the scripts in `examples/` and `farl-hf train` call it.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import transformers
from transformers import ImageProcessingMixin, PreTrainedConfig, PreTrainedModel, set_seed
from transformers.utils import logging

from farl_hf.checkpoints.checked_loading import load_image_processor, load_with_new_parts, read_config
from farl_hf.data.augmentation import get_augmentation_recipe
from farl_hf.data.loading import is_synthetic
from farl_hf.data.samples.face_samples import FaceSamples
from farl_hf.errors import InvalidArgumentError, UnknownNameError, check_name
from farl_hf.labels import CELEBA_ATTRIBUTES
from farl_hf.labels.backbones import BACKBONES
from farl_hf.modeling.configuration_checks import check_patches
from farl_hf.modeling.configuration_farl import FaRLConfig
from farl_hf.modeling.modeling_farl_heads import (
    FaRLDenseModel,
    FaRLForAttributes,
    FaRLForFaceParsing,
    FaRLForLandmarks,
    cells_per_patch,
)
from farl_hf.processing.face_geometry_farl import ATTRIBUTE_TEMPLATE, LAPA_TEMPLATE
from farl_hf.processing.image_processing_farl import FaRLImageProcessor
from farl_hf.training.arguments import (
    DataArguments,
    FaRLTrainingArguments,
    ModelArguments,
    label_settings,
    make_scratch_config,
    output_folder,
    save_resolved_recipe,
    settings_refused,
)
from farl_hf.training.evaluation.photo_frame import FaceEvaluation, make_evaluation
from farl_hf.training.evaluation.protocols import (
    BENCHMARK_PROTOCOLS,
    LABEL_SETS,
    MIRROR_PAIRS,
    OWN_PROTOCOL,
    check_classes,
    check_joined,
    label_set_of,
    shared_protocol,
)
from farl_hf.training.evaluation.results import training_results
from farl_hf.training.runs import (
    SCRATCH_IMAGE_SIZE,
    attention_of,
    check_same_run,
    check_weights_to_evaluate,
    evaluate_and_save,
    held_output_folder,
    load_splits,
    model_from_scratch,
    start_deepspeed,
    train_to_end,
    with_checked_start,
)
from farl_hf.training.trainer import PART_PREFIXES, FaRLTrainer
from farl_hf.whole_files import write_json

logger = logging.get_logger(__name__)

NEW_PARTS = (PART_PREFIXES["pyramid"], PART_PREFIXES["head"])  # a checkpoint of another task lacks them


@dataclass(frozen=True)
class FaceTask:
    """Defaults of one task.

    Args:
        name (`str`): Name in [`FaceSamples`] and [`make_evaluation`].
        model_class (`type`): Model.
        official_augmentation, synthetic_augmentation (`str`): Recipes for photographs and for rendered faces.
        warp_factor (`float`): Alpha of the tanh warp.
        face_template (`tuple` of points): Where the five points lie in the crop.
        face_scale (`float`): Scale of the template.
    """

    name: str
    model_class: type[PreTrainedModel]
    official_augmentation: str
    synthetic_augmentation: str
    warp_factor: float
    face_template: tuple
    face_scale: float


FACE_TASK_SETTINGS = {
    "parsing": FaceTask(
        name="parsing",
        model_class=FaRLForFaceParsing,
        official_augmentation="lapa_parsing",
        synthetic_augmentation="synthetic_parsing",
        warp_factor=0.8,
        face_template=LAPA_TEMPLATE,
        face_scale=1.0,
    ),
    "landmarks": FaceTask(
        name="landmarks",
        model_class=FaRLForLandmarks,
        official_augmentation="w300_landmarks",
        synthetic_augmentation="synthetic_landmarks",
        warp_factor=0.0,
        face_template=LAPA_TEMPLATE,
        face_scale=0.8,  # the jaw stays inside under rotation; the same in facer/face_alignment/farl.py, line 19
    ),
    "attributes": FaceTask(
        name="attributes",
        model_class=FaRLForAttributes,
        official_augmentation="celeba_attributes",
        synthetic_augmentation="synthetic_attributes",
        warp_factor=0.0,
        face_template=ATTRIBUTE_TEMPLATE,
        face_scale=1.0,
    ),
}


def run_face_training(
    task_name: str, model_args: ModelArguments, data_args: DataArguments, training_args: FaRLTrainingArguments
) -> dict[str, float]:
    """Trains and evaluates. An unfinished run in the output folder is resumed.

    Args:
        task_name (`str`): `"parsing"`, `"landmarks"` or `"attributes"`.
        model_args ([`ModelArguments`]): Model and image processor.
        data_args ([`DataArguments`]): Data and samples.
        training_args ([`FaRLTrainingArguments`]): Recipe.

    Returns:
        `dict[str, float]`: Scores of the last evaluation; empty without `do_eval`.

    Raises:
        InvalidArgumentError: Settings that contradict each other, the model or the data; or another training is
            writing to the output folder.
        UnknownNameError: There is no such backbone, data set, split, label set or augmentation.
    """
    with held_output_folder(training_args):
        return _run_face_training(task_name, model_args, data_args, training_args)


def _run_face_training(
    task_name: str, model_args: ModelArguments, data_args: DataArguments, training_args: FaRLTrainingArguments
) -> dict[str, float]:
    transformers.utils.logging.set_verbosity(training_args.get_process_log_level())
    set_seed(training_args.seed)
    start_deepspeed(training_args)
    task = FACE_TASK_SETTINGS[task_name]
    check_joined(task_name, listed(data_args.dataset_name), data_args.dataset_config_name)
    known_labels = data_args.label_set or label_set_of(listed(data_args.dataset_name), data_args.dataset_config_name)
    model_args, data_args = with_protocol(with_backbone(model_args), data_args)
    if training_args.do_train:
        check_same_run(training_args, model_args, data_args, training_args, task=task_name)
    check_weights_to_evaluate(training_args, model_args.model_name_or_path)
    given_model_args, model_args = model_args, with_checked_start(model_args)
    processor = make_processor(task, model_args)
    if training_args.do_train:
        check_before_data(task, model_args, data_args, processor)
    if training_args.do_train and training_args.should_save:
        save_resolved_recipe(output_folder(training_args), task_name, given_model_args, data_args, training_args)
    with training_args.main_process_first(desc="preparing the data set"):
        splits = load_splits(
            listed(data_args.dataset_name), data_args, do_train=training_args.do_train, do_eval=training_args.do_eval
        )
    label_names = names_of_labels(task, model_args, data_args, training_args, splits)
    if not training_args.do_train:
        check_classes(task.name, label_names, known_labels)
    model = make_model(task, model_args, training_args, processor, label_names)
    train_samples, eval_samples = make_samples(task, processor, data_args, training_args, splits, label_names)
    if eval_samples is not None:
        check_landmark_count(task, eval_samples, label_names)
    evaluation = make_evaluation(task.name, processor, label_names)
    choose_best_checkpoint_by(training_args, evaluation)
    trainer = FaRLTrainer(
        model=model,
        args=training_args,
        evaluation=evaluation,
        train_dataset=train_samples,
        eval_dataset=eval_samples,
        processing_class=processor,
    )
    if training_args.do_train:
        train_to_end(trainer)
    history = list(trainer.state.log_history)
    scores = evaluate_and_save(trainer) if training_args.do_eval else {}
    if training_args.do_train and training_args.do_eval and training_args.should_save:
        write_results(trainer, evaluation, task_name, data_args, history)
    return scores


def with_backbone(model_args: ModelArguments) -> ModelArguments:
    """The arguments, with the folder of a converted encoder as the checkpoint to start from.

    Raises:
        UnknownNameError: `backbone` is neither a folder, nor, for random weights, a name of the table.
    """
    name = model_args.backbone
    if name is None:
        return model_args
    if os.path.isfile(os.path.join(name, "config.json")):  # False for names that no file can have
        return replace(model_args, model_name_or_path=name, backbone=None)
    check_name("backbone", name, BACKBONES, "Or give the folder of a converted encoder.")
    if model_args.config_name is None:
        raise UnknownNameError(
            f"There is no folder {name} with the weights of {BACKBONES[name].described}. Make it from the published "
            f"file: farl-hf convert FILE -o {name}. Or start from random weights: --config-name base."
        )
    return replace(model_args, model_name_or_path=None)


def with_protocol(model_args: ModelArguments, data_args: DataArguments) -> tuple[ModelArguments, DataArguments]:
    """The arguments; settings that were not given come from the data set's protocol."""
    names = listed(data_args.dataset_name)
    protocol, label_set = shared_protocol(names), label_set_of(names, data_args.dataset_config_name)
    box_scale = protocol.box_scale if model_args.box_scale is None else model_args.box_scale
    if len({BENCHMARK_PROTOCOLS.get(name, OWN_PROTOCOL) for name in names}) > 1:
        logger.warning(
            f"{', '.join(names)} have different protocols. What is not given is that of data without one: alignment "
            f"{protocol.alignment}, min_face_px {protocol.min_face_px:g}."
        )
    return replace(model_args, box_scale=box_scale), replace(
        data_args,
        alignment=data_args.alignment or protocol.alignment,
        label_set=data_args.label_set or label_set or "lapa",
        min_face_px=protocol.min_face_px if data_args.min_face_px is None else data_args.min_face_px,
    )


def listed(names: str | list[str]) -> list[str]:
    """Names of data sets as a list; a JSON file may hold a single name."""
    return [names] if isinstance(names, str) else names


def names_of_labels(
    task: FaceTask,
    model_args: ModelArguments,
    data_args: DataArguments,
    training_args: FaRLTrainingArguments,
    splits: dict[str, Any],
) -> list[str]:
    """Names of the model's outputs, in order."""
    if model_args.model_name_or_path and not training_args.do_train:
        return output_names(read_config(model_args.model_name_or_path, FaRLConfig))
    if task.name == "attributes":
        return names_of_labelled_attributes(splits["train"])
    if task.name == "landmarks":
        return [f"point_{index}" for index in range(count_landmarks(splits["train"]))]
    return names_of_classes(data_args)


def names_of_classes(data_args: DataArguments) -> list[str]:
    """Names of the classes of a parsing."""
    check_name("label set", data_args.label_set, LABEL_SETS)
    return list(LABEL_SETS[str(data_args.label_set)])


def output_names(config: PreTrainedConfig) -> list[str]:
    """Names of a configuration's outputs, in order."""
    names: Any = config.id2label
    return [names[index] for index in range(len(names))]


def count_landmarks(rows: Any) -> int:
    """Number of landmarks of a face; it is the same for all faces of a data set."""
    for faces in rows["landmarks_xy"] if "landmarks_xy" in rows.column_names else ():
        if faces:
            return len(faces[0])
    raise InvalidArgumentError("No photo of the training split has landmarks_xy; choose a data set with landmarks.")


def names_of_labelled_attributes(rows: Any) -> list[str]:
    """Attributes that some face has a label for; the model gets no output that could not learn."""
    width = len(CELEBA_ATTRIBUTES)
    labels = [
        face for faces in (rows["attributes"] if "attributes" in rows.column_names else ()) for face in faces or ()
    ]
    if not labels or any(len(face) != width for face in labels):
        raise InvalidArgumentError(
            f"The training split has no attributes of {width} numbers per face, CelebA's; choose a data set with them."
        )
    labelled = (np.asarray(labels) != -100).any(axis=0)
    if not labelled.any():
        raise InvalidArgumentError("All attributes of the training split are -100, unknown; choose other data.")
    return [name for name, used in zip(CELEBA_ATTRIBUTES, labelled, strict=True) if used]


def make_processor(task: FaceTask, model_args: ModelArguments) -> FaRLImageProcessor:
    """The image processor: of a checkpoint of the same task, else with the task's settings. Options replace settings.

    A checkpoint of another task gives only its weights, because its crops are framed for that task.
    """
    settings: dict[str, Any] = {
        "warp_factor": model_args.warp_factor,
        "face_scale": model_args.face_scale,
        "box_scale": model_args.box_scale,
        "pixel_grid": model_args.pixel_grid,
        "canvas_size": model_args.canvas_size,
        "score_size": model_args.score_size,
        "size": model_args.image_size,
    }
    given = {name: value for name, value in settings.items() if value is not None}
    image_size = SCRATCH_IMAGE_SIZE
    if model_args.model_name_or_path:
        config = read_config(model_args.model_name_or_path, FaRLConfig)
        if task.model_class.__name__ in (config.architectures or ()):
            with settings_refused():
                return load_image_processor(FaRLImageProcessor, model_args.model_name_or_path, **given)
        image_size = config.input_side
    defaults = {
        "size": image_size,
        "warp_factor": task.warp_factor,
        "face_scale": task.face_scale,
        "face_template": [list(point) for point in task.face_template],
        **pixel_normalisation(model_args),
    }
    with settings_refused():
        return FaRLImageProcessor(**(defaults | given))


def pixel_normalisation(model_args: ModelArguments) -> dict[str, Any]:
    """`image_mean` and `image_std` of the encoder: the checkpoint's, or the table's for random weights."""
    if model_args.model_name_or_path:
        try:
            settings, _ = ImageProcessingMixin.get_image_processor_dict(model_args.model_name_or_path)
        except OSError:  # weights without a processor: FaRL's own
            return {}
        return {name: settings[name] for name in ("image_mean", "image_std") if settings.get(name) is not None}
    if model_args.backbone is None:
        return {}
    row = BACKBONES[model_args.backbone]
    return {"image_mean": list(row.image_mean), "image_std": list(row.image_std)}


def make_model(
    task: FaceTask,
    model_args: ModelArguments,
    training_args: FaRLTrainingArguments,
    processor: FaRLImageProcessor,
    label_names: list[str],
) -> PreTrainedModel:
    """A model with a head for these labels, from a checkpoint or from random weights."""
    attention = attention_of(model_args, training_args)
    if model_args.model_name_or_path:
        settings = settings_of_start(task, model_args, processor, label_names)
        return model_from_checkpoint(task, model_args.model_name_or_path, attention, settings)
    config = config_from_scratch(task, model_args, processor, label_names)
    return model_from_scratch(task.model_class, config, attention, training_args)


def check_before_data(
    task: FaceTask, model_args: ModelArguments, data_args: DataArguments, processor: FaRLImageProcessor
) -> None:
    """Refuses what needs no data to be refused.

    Raises:
        InvalidArgumentError: Settings that do not fit one another, or the start.
        UnknownNameError: There is no such augmentation or label set.
    """
    if data_args.augmentation is not None:
        get_augmentation_recipe(data_args.augmentation)
    if task.name == "parsing":
        label_names = names_of_classes(data_args)
    else:  # the data tell
        label_names, model_args = ["unknown"], replace(model_args, label_weights=None)
    if model_args.model_name_or_path:
        settings_of_start(task, model_args, processor, label_names)
    else:
        config_from_scratch(task, model_args, processor, label_names)


def config_from_scratch(
    task: FaceTask, model_args: ModelArguments, processor: FaRLImageProcessor, label_names: list[str]
) -> FaRLConfig:
    """Configuration of a model with random weights."""
    if not model_args.config_name:
        raise InvalidArgumentError("Pass --model-name-or-path to start from a checkpoint, or --config-name tiny.")
    config = make_scratch_config(
        model_args.config_name, processor.size_hw[0], label_names, scratch_settings(model_args)
    )
    check_head_settings(task, config, {"feature_levels": config.feature_levels})
    return config


def settings_of_start(
    task: FaceTask, model_args: ModelArguments, processor: FaRLImageProcessor, label_names: list[str]
) -> dict[str, Any]:
    """Settings that give the checkpoint of the start a head for these labels.

    Raises:
        InvalidArgumentError: Settings that do not fit the checkpoint.
    """
    start = read_config(str(model_args.model_name_or_path), FaRLConfig)
    check_encoder_stays(start, model_args)
    if start.backbone_config is None:
        with settings_refused():
            check_patches(processor.size_hw[0], start.vision_config.patch_size)
    settings = relabelled(start, label_names) | model_args.head_overrides()
    check_head_settings(task, start, settings)
    return settings


def model_from_checkpoint(task: FaceTask, folder: str, attention: str, settings: dict[str, Any]) -> PreTrainedModel:
    """A pretrained model with a head of these settings; weights of another head are replaced by random ones.

    Raises:
        NotACheckpointError: The encoder is not whole.
    """
    model, new = load_with_new_parts(
        task.model_class, folder, NEW_PARTS, dtype="float32", attn_implementation=attention, **settings
    )
    if new:
        counted = ", ".join(f"{part} ({count} tensors)" for part, count in new.items())
        logger.warning(f"{folder} has no weights for {counted} of {task.model_class.__name__}; they start at random.")
    return model


def scratch_settings(model_args: ModelArguments) -> dict[str, Any]:
    """Settings that replace a model recipe's where a model starts from random weights."""
    given = model_args.encoder_overrides() | model_args.head_overrides()
    row = None if model_args.backbone is None else BACKBONES[model_args.backbone]
    if row is None or row.config is None:
        return given
    return {"backbone_config": dict(row.config), "feature_levels": list(row.levels)} | given


def check_encoder_stays(start: FaRLConfig, model_args: ModelArguments) -> None:
    """Refuses sizes of the encoder that differ from the checkpoint's; its weights would not fit."""
    encoder = start.vision_config if start.backbone_config is None else start.backbone_config
    for name, value in model_args.encoder_overrides().items():
        if value != getattr(encoder, name, None):
            option = f"--{name.replace('_', '-')}"
            raise InvalidArgumentError(
                f"{option} {value} is for random weights, but {model_args.model_name_or_path} has trained ones; "
                f"leave {option} out, or start from --config-name."
            )


def check_head_settings(task: FaceTask, start: FaRLConfig, settings: dict[str, Any]) -> None:
    """Refuses settings that do not fit the backbone; loading would not check them."""
    levels = settings.get("feature_levels")
    if levels is not None and len(levels) != 4:
        raise InvalidArgumentError(
            f"feature_levels names {len(levels)} blocks, but a head reads four; a block may be repeated."
        )
    try:
        config = FaRLConfig(**(start.to_dict() | settings))  # `from_dict` leaves out loss weights that do not fit
        if issubclass(task.model_class, FaRLDenseModel) and config.backbone_config is None:
            cells_per_patch(config.vision_config.patch_size, config.output_stride)
    except ValueError as error:
        raise InvalidArgumentError(str(error)) from error


def relabelled(config: FaRLConfig, label_names: list[str]) -> dict[str, Any]:
    """Settings that give a checkpoint new labels.

    The loss weights of its old labels are dropped, and the thresholds, which belong to its old weights.
    """
    same = label_names == output_names(config)
    return label_settings(label_names) | {"attribute_thresholds": None} | ({} if same else {"label_weights": None})


def make_samples(
    task: FaceTask,
    processor: FaRLImageProcessor,
    data_args: DataArguments,
    training_args: FaRLTrainingArguments,
    splits: dict[str, Any],
    label_names: list[str],
) -> tuple[FaceSamples | None, FaceSamples | None]:
    """Training samples with `do_train` and evaluation samples with `do_eval`, else None."""
    attributes, label_set = task.name == "attributes", data_args.label_set or ""
    settings: dict[str, Any] = {
        "alignment": data_args.alignment,
        "num_labels": len(LABEL_SETS.get(label_set, ())),
        "label_mirror_pairs": MIRROR_PAIRS.get(label_set),
        "min_face_px": data_args.min_face_px,
        "attribute_columns": [CELEBA_ATTRIBUTES.index(name) for name in label_names] if attributes else None,
        "seed": training_args.seed,
    }
    train_samples = eval_samples = None
    if training_args.do_train:
        synthetic = is_synthetic(splits["train"])
        recipe = data_args.augmentation or (task.synthetic_augmentation if synthetic else task.official_augmentation)
        logger.warning(f"Augmentation recipe: {recipe}.")
        changes = get_augmentation_recipe(recipe)
        if data_args.mirror_probability is not None:
            changes = replace(changes, mirror_probability=data_args.mirror_probability)
        if data_args.train_data_ratio is not None and data_args.max_train_samples is not None:
            logger.warning(
                "--max-train-samples cuts the data set's list before --train-data-ratio draws from it: the few-shot "
                "subset is not the one of the whole list."
            )
        train_samples = FaceSamples(
            splits["train"], processor, task.name, changes, data_ratio=data_args.train_data_ratio, **settings
        )
    if training_args.do_eval:
        rows = splits[data_args.eval_split]
        eval_samples = FaceSamples(rows, processor, task.name, with_photo_labels=True, **settings)
    return train_samples, eval_samples


def check_landmark_count(task: FaceTask, samples: FaceSamples, label_names: list[str]) -> None:
    """Raises [`InvalidArgumentError`] when data and model have different numbers of landmarks."""
    if task.name != "landmarks":
        return
    annotated = len(samples.records[0].annotations["landmarks_xy"])
    if annotated != len(label_names):
        raise InvalidArgumentError(
            f"The faces have {annotated} landmarks, but the model predicts {len(label_names)}; choose other data."
        )


def choose_best_checkpoint_by(training_args: FaRLTrainingArguments, evaluation: FaceEvaluation) -> None:
    """Sets the score that `load_best_model_at_end` compares, unless the user has chosen one."""
    main = evaluation.main_score
    replaced = (None, "loss", main, f"eval_{main}")
    if training_args.load_best_model_at_end and training_args.metric_for_best_model in replaced:
        training_args.metric_for_best_model = main
        training_args.greater_is_better = evaluation.greater_is_better


def write_results(
    trainer: FaRLTrainer,
    evaluation: FaceEvaluation,
    task_name: str,
    data_args: DataArguments,
    history: Sequence[dict[str, float]],
) -> None:
    """Writes `results.json` with the best and the last evaluation, and the card.

    `history` is the log before the final evaluation. With `load_best_model_at_end` the final evaluation measures the
    best weights again, so it is no evaluation of the last step.
    """
    args = trainer.args
    saved = "best" if args.load_best_model_at_end else "last"
    history = history if saved == "best" else trainer.state.log_history
    names, split = listed(data_args.dataset_name), data_args.eval_split
    chosen_by, greater_is_better = evaluation.main_score, evaluation.greater_is_better
    if saved == "best":  # the user may have chosen another score
        chosen_by, greater_is_better = str(args.metric_for_best_model), bool(args.greater_is_better)
    chosen_by = chosen_by.removeprefix("eval_")
    results = training_results(task_name, names, split, chosen_by, greater_is_better, history, saved)
    folder = output_folder(args)
    for measured in filter(None, (results["best"], results["last"])):
        checkpoint = f"checkpoint-{measured['step']}"
        measured["checkpoint"] = checkpoint if (folder / checkpoint).is_dir() else None
    write_json(folder / "results.json", results)
    trainer.create_model_card()
