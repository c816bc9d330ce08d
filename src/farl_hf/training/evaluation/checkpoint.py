"""A checkpoint measured on a split of a data set, by the data set's protocol, in the photo frame.

The statistics of each step are merged at once: memory grows by a few bytes per face, not with the pictures.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import PreTrainedModel

from farl_hf.checkpoints.checked_loading import load_image_processor, load_whole, read_config
from farl_hf.data.samples.face_samples import ALIGNMENT_COLUMNS, FaceSamples, collate_face_samples
from farl_hf.errors import InvalidArgumentError, NotACheckpointError, check_name
from farl_hf.labels import CELEBA_ATTRIBUTES
from farl_hf.modeling.configuration_farl import FaRLConfig
from farl_hf.processing.image_processing_farl import FaRLImageProcessor
from farl_hf.training.arguments import RESOLVED_NAME, FaRLTrainingArguments, read_yaml
from farl_hf.training.evaluation.photo_frame import make_evaluation
from farl_hf.training.evaluation.protocols import (
    BENCHMARK_PROTOCOLS,
    BenchmarkProtocol,
    check_classes,
    label_set_of,
    shared_protocol,
)
from farl_hf.training.evaluation.results import scores_in
from farl_hf.training.finetuning import FACE_TASK_SETTINGS, FaceTask, check_landmark_count, output_names
from farl_hf.training.trainer import FaRLTrainer


@dataclass(frozen=True)
class EvaluatedSplit:
    """Scores of one split, and of each of its faces.

    Args:
        split (`str`): Its name.
        scores (`dict[str, float]`): Named scores.
        face_scores (`numpy.ndarray` of shape `(F,)`): The main score of each face alone.
        samples ([`FaceSamples`]): The faces.
    """

    split: str
    scores: dict[str, float]
    face_scores: np.ndarray
    samples: FaceSamples


@dataclass(frozen=True)
class CheckpointEvaluation:
    """A loaded checkpoint that can be measured; see [`load_for_evaluation`]."""

    checkpoint: str
    task: FaceTask
    dataset_name: str
    label_names: list[str]
    model: PreTrainedModel
    processor: FaRLImageProcessor
    evaluation: Any
    arguments: FaRLTrainingArguments
    protocol: BenchmarkProtocol

    def measure(self, rows: Any, split: str) -> EvaluatedSplit:
        """Scores every face of the rows (a `datasets.Dataset` in the common row shape)."""
        attributes = self.task.name == "attributes"
        samples = FaceSamples(
            rows,
            self.processor,
            self.task.name,
            alignment=self.protocol.alignment,
            num_labels=len(self.label_names),
            min_face_px=self.protocol.min_face_px,
            attribute_columns=[CELEBA_ATTRIBUTES.index(name) for name in self.label_names] if attributes else None,
            with_photo_labels=True,
        )
        check_landmark_count(self.task, samples, self.label_names)
        trainer = FaRLTrainer(
            model=self.model, args=self.arguments, evaluation=self.evaluation, processing_class=self.processor
        )
        scores = scores_in(trainer.evaluate(samples), "eval_")
        assert trainer.running_statistics is not None, "evaluate collects the statistics"
        return EvaluatedSplit(split, scores, trainer.running_statistics.face_scores(), samples)

    def outputs_of(self, samples: FaceSamples, item: int) -> tuple[Any, dict[str, Any]]:
        """The model's outputs for one face, and its batch of one."""
        batch: dict[str, Any] = {**collate_face_samples([samples[item]])}
        model = self.model.eval()
        with torch.no_grad():
            return model(batch["pixel_values"].to(model.device)), batch

    def report(self, evaluated: Sequence[EvaluatedSplit]) -> dict[str, Any]:
        """The content of `results.json`: the scores, and everything that they depend on."""
        return {
            "checkpoint": self.checkpoint,
            "task": self.task.name,
            "dataset": self.dataset_name,
            "main_score": self.evaluation.main_score,
            "greater_is_better": self.evaluation.greater_is_better,
            "alignment": self.protocol.alignment,
            "box_scale": self.processor.box_scale,
            "min_face_px": self.protocol.min_face_px,
            "image_size": list(self.processor.size_hw),
            "splits": {
                one.split: {
                    "num_faces": len(one.samples),
                    "num_photos": len(one.samples.photos),
                    "scores": one.scores,
                }
                for one in evaluated
            },
            "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        }


def load_for_evaluation(
    folder: str | Path,
    dataset_name: str,
    output_dir: str | Path,
    *,
    config_name: str | None = None,
    alignment: str | None = None,
    min_face_px: float | None = None,
    batch_size: int = 8,
    num_workers: int = 2,
) -> CheckpointEvaluation:
    """Loads a checkpoint; faces are cropped as in its training if its folder says how, else by the protocol.

    Args:
        folder (`str` or `Path`): Checkpoint folder of a parsing, landmark or attribute model.
        dataset_name (`str`): Data set, see [`load_face_dataset`].
        output_dir (`str` or `Path`): Where the Trainer may write.
        config_name (`str`, *optional*): Configuration of the data set, which may stand for another order of classes.
        alignment (`str`, *optional*): What places the crop, see [`FaceSamples`]; replaces what the checkpoint says.
        min_face_px (`float`, *optional*): Smaller faces are skipped; replaces what the checkpoint says.
        batch_size (`int`, *optional*, defaults to 8): Faces per process and step.
        num_workers (`int`, *optional*, defaults to 2): Processes that prepare faces.

    Raises:
        NotACheckpointError: The folder holds no whole model of these tasks.
        InvalidArgumentError: The data set is for another task, or its classes are not the model's.
        UnknownNameError: There is no such alignment.
    """
    if alignment is not None:
        check_name("alignment", alignment, ALIGNMENT_COLUMNS)
    task = task_of(folder)
    protocol = shared_protocol([dataset_name])
    if protocol.task not in ("", task.name):
        raise InvalidArgumentError(
            f"{dataset_name} is a data set for {protocol.task}, but {folder} holds a model for {task.name}; choose "
            f"one of {', '.join(name for name, one in BENCHMARK_PROTOCOLS.items() if one.task == task.name)}."
        )
    model = load_whole(task.model_class, folder, dtype="float32")
    label_names = output_names(model.config)
    check_classes(task.name, label_names, label_set_of([dataset_name], config_name))
    trained = crop_protocol(folder, task.name, protocol)
    keeps_scale = alignment in (None, trained.alignment) or trained.box_scale is not None
    protocol = replace(
        protocol,
        alignment=alignment or trained.alignment,
        box_scale=trained.box_scale if keeps_scale else protocol.box_scale,
        min_face_px=trained.min_face_px if min_face_px is None else min_face_px,
    )
    box_scale: dict[str, Any] = {} if protocol.box_scale is None else {"box_scale": protocol.box_scale}
    processor = load_image_processor(FaRLImageProcessor, folder, **box_scale)
    arguments = FaRLTrainingArguments(
        output_dir=str(output_dir),
        per_device_eval_batch_size=batch_size,
        dataloader_num_workers=num_workers,
        ema_decay=0.0,
        report_to="none",
    )
    evaluation = make_evaluation(task.name, processor, label_names)
    return CheckpointEvaluation(
        str(folder), task, dataset_name, label_names, model, processor, evaluation, arguments, protocol
    )


def crop_protocol(folder: str | Path, task_name: str, protocol: BenchmarkProtocol) -> BenchmarkProtocol:
    """The protocol with the crop of the training that left its `recipe.yaml` with the checkpoint, if one did."""
    folder = Path(folder)
    run = folder.parent if folder.name.startswith("checkpoint-") else folder  # of the Trainer, inside the run
    recipes = [place / RESOLVED_NAME for place in (folder, run) if (place / RESOLVED_NAME).is_file()]
    recipe = read_yaml(recipes[0]) if recipes else {}
    if recipe.get("task") != task_name or "alignment" not in recipe:
        return protocol
    check_name("alignment", str(recipe["alignment"]), ALIGNMENT_COLUMNS, f"It is that of {recipes[0]}.")
    min_face_px = recipe.get("min_face_px", protocol.min_face_px)
    if not isinstance(min_face_px, int | float):
        raise InvalidArgumentError(f"{recipes[0]} has the min_face_px {min_face_px!r}; expected a number of pixels.")
    # Without a box scale it is the image processor's.
    return replace(protocol, alignment=recipe["alignment"], box_scale=recipe.get("box_scale"), min_face_px=min_face_px)


def task_of(folder: str | Path) -> FaceTask:
    """The task of the model in a folder."""
    architectures = read_config(folder, FaRLConfig).architectures or ()
    for task in FACE_TASK_SETTINGS.values():
        if task.model_class.__name__ in architectures:
            return task
    known = ", ".join(task.model_class.__name__ for task in FACE_TASK_SETTINGS.values())
    raise NotACheckpointError(f"{folder} holds {', '.join(architectures) or 'no model'}; expected one of {known}.")
