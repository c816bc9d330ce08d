"""`pipeline("face-analysis")`: everything about the faces of a photo, from one detection."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import NoneType
from typing import Any

import torch
import transformers
from torch.nn.functional import normalize
from transformers import AutoImageProcessor, Pipeline

from farl_hf.checkpoints.checked_loading import load_image_processor, load_whole, read_config
from farl_hf.checkpoints.checkpoint_names import checkpoint_for
from farl_hf.errors import InvalidArgumentError, UnsuitableModelError, check_name, in_short
from farl_hf.pipelines.face_detection import FaceDetectionPipeline
from farl_hf.pipelines.face_tasks import (
    Detector,
    FaceAttributesPipeline,
    FaceFinder,
    FaceLandmarksPipeline,
    FaceParsingPipeline,
    FaceTaskPipeline,
    is_compiled,
)
from farl_hf.pipelines.inputs import check_batch_size
from farl_hf.processing import FaRLImageProcessor
from farl_hf.results import Faces

_FACES_PER_BATCH = 8
_CLIP_SETTINGS = ("image_mean", "image_std", "rescale_factor", "do_rescale", "do_normalize")


def unit_image_features(model: Any, pixel_values: torch.Tensor) -> torch.Tensor:
    """Vectors (F, P) of length 1, at least float32, of normalised crops (F, 3, h, w). Differentiable."""
    features_FP = model.get_image_features(pixel_values=pixel_values, interpolate_pos_encoding=True).pooler_output
    return normalize(features_FP.to(torch.promote_types(features_FP.dtype, torch.float32)), dim=-1)


def face_image_processor(processor: Any) -> FaRLImageProcessor:
    """What makes face crops for a model of images and texts.

    Args:
        processor: Its processor or image processor. [`FaRLImageProcessor`] is returned as it is. Of another one, such
            as CLIP's, size and normalisation are used; faces are aligned with FaRL's default settings.

    Raises:
        UnsuitableModelError: It prepares no images.
    """
    image_processor = getattr(processor, "image_processor", processor)
    if hasattr(image_processor, "post_process_heat_maps"):
        return image_processor
    if not hasattr(image_processor, "image_mean"):
        raise UnsuitableModelError(
            f"{type(processor).__name__} prepares no images; pass the checkpoint's processor, loaded with "
            "AutoProcessor, or its image processor."
        )
    settings = {name: getattr(image_processor, name) for name in _CLIP_SETTINGS}
    size = getattr(image_processor, "crop_size", None) or image_processor.size
    side = size.get("shortest_edge")
    size = {"height": side or size["height"], "width": side or size["width"]}
    return FaRLImageProcessor(size=size, **settings)


class _FaceEmbeddingPipeline(FaceTaskPipeline):
    """`embedding` of each face, by a model of images and texts."""

    model_name = "FaRLModel"

    def run_networks(self, crops: dict[str, torch.Tensor], num_rows: int) -> dict[str, torch.Tensor]:
        """`embedding` of shape (num_faces, projection_dim)."""
        return {"embedding": unit_image_features(self.model, crops["pixel_values"].to(self.dtype)).float()}

    def describe_faces(self, faces: dict[str, torch.Tensor]) -> list[dict[str, Any]]:
        """`embedding` of each face."""
        return [{"embedding": values} for values in faces["embedding"].tolist()]


# Task -> pipeline and auto class of its models.
_HEADS: dict[str, tuple[type[FaceTaskPipeline], str]] = {
    "parsing": (FaceParsingPipeline, "AutoModelForSemanticSegmentation"),
    "landmarks": (FaceLandmarksPipeline, "AutoModelForKeypointDetection"),
    "attributes": (FaceAttributesPipeline, "AutoModelForImageClassification"),
    "embedding": (_FaceEmbeddingPipeline, "AutoModelForZeroShotImageClassification"),
}


class FaceAnalysisPipeline(FaceTaskPipeline):
    """Finds the faces of a photo once, and gives for each all that the other pipelines say of it.

    Inputs and call arguments are those of `FaceParsingPipeline`. Each photo gives a list with one dict per face, best
    score first: `score`, `box` and `keypoints`; `segmentation` and `labels` of parsing; `landmarks`; `attributes`; and
    `embedding`, a vector of length 1 that texts and other faces can be compared with. The model of the pipeline is the
    face detector; `save_pretrained` writes it alone.

    Args:
        tasks (`Sequence[str]` or `str`, *optional*): Of `"parsing"`, `"landmarks"` and `"attributes"`; all three if
            not given. An empty list leaves the detection.
        models (`Mapping`, *optional*): Task -> name or folder of its checkpoint, or a pipeline of that task. Tasks
            without one get the built-in model. `"embedding"` names a model of images and texts, FaRL's or CLIP's, and
            adds the embeddings. What is loaded here has the device and dtype of the detector.
        detector (*optional*): What finds the faces instead of the model.
        batch_size (`int`, *optional*, defaults to 8): Faces that share a forward pass; they may be of several photos.

    Raises:
        UnknownNameError, NotDownloadedError: There is no such task or checkpoint.
        NotACheckpointError: A model, or its checkpoint, is of another task or not whole.
        InvalidArgumentError: A model for a task that is not among `tasks`, or an argument of another type.

    Example:
        >>> from transformers import pipeline
        >>> import farl_hf
        >>> analyze = pipeline("face-analysis", models={"embedding": "farl-tiny"})  # doctest: +SKIP
        >>> faces = analyze("photo.jpg")  # doctest: +SKIP
        >>> faces[0]["landmarks"], faces[0]["attributes"][:3]  # doctest: +SKIP
    """

    model_name = "RetinaFaceForFaceDetection"

    def __init__(
        self,
        *args: Any,
        tasks: Sequence[str] | str | None = None,
        models: Mapping[str, Any] | None = None,
        detector: Detector | str | Path | None = None,
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> None:
        batch_size = _FACES_PER_BATCH if batch_size is None else batch_size
        check_batch_size(batch_size)
        super().__init__(*args, batch_size=batch_size, **kwargs)
        if detector is None:
            detector = FaceDetectionPipeline(
                model=self.model, image_processor=self.image_processor, task="face-detection", device=self.device
            )
        self.find_faces = FaceFinder(detector, self.device, self.model.config)
        if not isinstance(models, Mapping | NoneType):
            raise InvalidArgumentError(
                f"models={in_short(repr(models))} cannot be used; expected a dict of tasks and their checkpoints."
            )
        models = dict(models or {})
        chosen = _chosen_tasks(tasks, models)
        self.heads = {task: self._head(task, models.get(task)) for task in chosen}

    def _head(self, task: str, given: Any) -> FaceTaskPipeline:
        head_class, auto_name = _HEADS[task]
        if isinstance(given, Pipeline):
            if not isinstance(given, head_class):
                raise InvalidArgumentError(
                    f"The pipeline for {task} is a {type(given).__name__}; its task is another."
                )
            if given.model.device != self.model.device:  # those of pipelines may lack the number of the GPU
                raise InvalidArgumentError(
                    f"The pipeline for {task} is on {given.model.device}, the analysis on {self.model.device}; put "
                    "both on one device."
                )
            return given
        if not isinstance(given, str | Path | NoneType):
            raise InvalidArgumentError(
                f"The model for {task} is {in_short(repr(given))}; expected the name or folder of a checkpoint, or a "
                "pipeline."
            )
        folder = checkpoint_for(f"face-{task}", given)
        processor = load_image_processor(AutoImageProcessor, folder)
        written_by = head_class.model_name
        if task == "embedding" and "FaRLForPreTraining" in (read_config(folder).architectures or ()):
            auto_name, written_by = "AutoModelForPreTraining", "FaRLForPreTraining"  # with its masked-image branch
        model = load_whole(getattr(transformers, auto_name), folder, written_by)
        return head_class(
            model=model.to(self.dtype).eval(),
            image_processor=face_image_processor(processor) if task == "embedding" else processor,
            task=f"face-{task}",
            device=self.device,
        )

    def warp_faces(self, photo_chw: torch.Tensor, faces: Faces, aligned: bool) -> dict[str, torch.Tensor]:
        """What the networks of all tasks take, as `task.name`."""
        return self._of_all(lambda task, head: head.warp_faces(photo_chw, faces, aligned))

    def warped_nothing(self) -> dict[str, torch.Tensor]:
        """One row of the shapes that `warp_faces` gives."""
        return self._of_all(lambda task, head: head.warped_nothing())

    def run_networks(self, crops: dict[str, torch.Tensor], num_rows: int) -> dict[str, torch.Tensor]:
        """The outputs of all tasks, as `task.name`. On a CPU the networks run side by side, to keep all cores busy."""

        def run(task: str) -> dict[str, torch.Tensor]:
            with torch.inference_mode():  # a mode belongs to a thread
                return self.heads[task].run_networks(_of_task(task, crops), num_rows)

        num_threads = torch.get_num_threads()
        num_workers = min(num_threads, len(self.heads))
        in_turn = (
            num_workers < 2 or self.device.type != "cpu" or any(is_compiled(one.model) for one in self.heads.values())
        )
        if in_turn:
            outputs = {task: run(task) for task in self.heads}
        else:
            try:
                share = (num_threads // num_workers,)
                with ThreadPoolExecutor(num_workers, initializer=torch.set_num_threads, initargs=share) as workers:
                    outputs = dict(zip(self.heads, workers.map(run, self.heads), strict=True))
            finally:
                torch.set_num_threads(num_threads)  # for threads that begin later
        return self._of_all(lambda task, head: outputs[task])

    def _of_all(
        self, tensors_of: Callable[[str, FaceTaskPipeline], dict[str, torch.Tensor]]
    ) -> dict[str, torch.Tensor]:
        return {
            f"{task}.{name}": values
            for task, head in self.heads.items()
            for name, values in tensors_of(task, head).items()
        }

    def describe_faces(self, faces: dict[str, torch.Tensor]) -> list[dict[str, Any]]:
        """What every task says of each face."""
        descriptions: list[dict[str, Any]] = [{} for _ in faces["score"]]
        for task, head in self.heads.items():
            described = head.describe_faces(_of_task(task, faces) | {"size_hw": faces["size_hw"]})
            for face, more in zip(descriptions, described, strict=True):
                face.update(more)
        return descriptions


def _chosen_tasks(tasks: Sequence[str] | str | None, models: Mapping[str, Any]) -> tuple[str, ...]:
    heads = [task for task in _HEADS if task != "embedding"]
    given = [tasks] if isinstance(tasks, str) else tasks
    if given is not None and not (isinstance(given, Iterable) and all(isinstance(task, str) for task in given)):
        raise InvalidArgumentError(
            f"tasks={in_short(repr(given))} cannot be used; expected names of {', '.join(heads)}."
        )
    wanted = heads if given is None else [task.removeprefix("face-") for task in given]
    for task in wanted:
        check_name("task", task, heads, "The detection is always done; models={'embedding': …} adds embeddings.")
    for task in models:
        check_name("task", task, _HEADS, "The detector is the model of the pipeline itself.")
        if task not in (*wanted, "embedding"):
            raise InvalidArgumentError(f"models has one for {task}, but tasks are {', '.join(wanted) or 'none'}.")
    return tuple(task for task in _HEADS if task in wanted or (task == "embedding" and task in models))


def _of_task(task: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(f"{task}."): values for name, values in tensors.items() if name.startswith(f"{task}.")}
