"""A checkpoint measured on a split of a data set, by the data set's protocol, in the photo frame.

The statistics of each step are merged at once: memory grows by a few bytes per face, not with the pictures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import PreTrainedModel

from farl_hf.checkpoints.checked_loading import load_image_processor, load_whole, read_config
from farl_hf.data.samples.face_samples import FaceSamples, collate_face_samples
from farl_hf.errors import InvalidArgumentError, NotACheckpointError
from farl_hf.labels import CELEBA_ATTRIBUTES
from farl_hf.modeling.configuration_farl import FaRLConfig
from farl_hf.processing.image_processing_farl import FaRLImageProcessor
from farl_hf.training.arguments import FaRLTrainingArguments
from farl_hf.training.evaluation.photo_frame import make_evaluation
from farl_hf.training.evaluation.protocols import BENCHMARK_PROTOCOLS, check_classes, label_set_of, shared_protocol
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

    def measure(self, rows: Any, split: str) -> EvaluatedSplit:
        """Scores every face of the rows (a `datasets.Dataset` in the common row shape)."""
        protocol = shared_protocol([self.dataset_name])
        attributes = self.task.name == "attributes"
        samples = FaceSamples(
            rows,
            self.processor,
            self.task.name,
            alignment=protocol.alignment,
            num_labels=len(self.label_names),
            min_face_px=protocol.min_face_px,
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
        protocol = shared_protocol([self.dataset_name])
        return {
            "checkpoint": self.checkpoint,
            "task": self.task.name,
            "dataset": self.dataset_name,
            "main_score": self.evaluation.main_score,
            "greater_is_better": self.evaluation.greater_is_better,
            "alignment": protocol.alignment,
            "min_face_px": protocol.min_face_px,
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
    batch_size: int = 8,
    num_workers: int = 2,
) -> CheckpointEvaluation:
    """Loads a checkpoint; its image processor crops by the data set's protocol.

    Args:
        folder (`str` or `Path`): Checkpoint folder of a parsing, landmark or attribute model.
        dataset_name (`str`): Data set, see [`load_face_dataset`].
        output_dir (`str` or `Path`): Where the Trainer may write.
        config_name (`str`, *optional*): Configuration of the data set, which may stand for another order of classes.
        batch_size (`int`, *optional*, defaults to 8): Faces per process and step.
        num_workers (`int`, *optional*, defaults to 2): Processes that prepare faces.

    Raises:
        NotACheckpointError: The folder holds no whole model of these tasks.
        InvalidArgumentError: The data set is for another task, or its classes are not the model's.
    """
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
    return CheckpointEvaluation(str(folder), task, dataset_name, label_names, model, processor, evaluation, arguments)


def task_of(folder: str | Path) -> FaceTask:
    """The task of the model in a folder."""
    architectures = read_config(folder, FaRLConfig).architectures or ()
    for task in FACE_TASK_SETTINGS.values():
        if task.model_class.__name__ in architectures:
            return task
    known = ", ".join(task.model_class.__name__ for task in FACE_TASK_SETTINGS.values())
    raise NotACheckpointError(f"{folder} holds {', '.join(architectures) or 'no model'}; expected one of {known}.")
