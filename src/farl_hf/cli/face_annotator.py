"""Pipelines and models of commands are loaded here; [`FaceAnnotator`] runs pipelines on photos and writes files."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from PIL import Image
from transformers import AutoImageProcessor, Pipeline, pipeline
from transformers.utils.logging import disable_progress_bar

import farl_hf
from farl_hf.checkpoints import DEFAULT_CHECKPOINTS, checkpoint
from farl_hf.checkpoints.checked_loading import load_image_processor, load_whole, read_config
from farl_hf.checkpoints.embedded_models import log_if_small
from farl_hf.cli.options import DETECTION, IMAGE_TEXT_MODEL, LANDMARKS
from farl_hf.drawing import draw_face_attributes, draw_face_landmarks, draw_face_parsing, draw_faces
from farl_hf.errors import InvalidArgumentError, NotACheckpointError, UnknownNameError, check_name
from farl_hf.photo_names import photo_uri, readable_name
from farl_hf.photos import load_photo
from farl_hf.pipelines.face_detection import optimized_for_inference
from farl_hf.results import FaceAttributes, FaceLandmarks, FaceParsing, Faces
from farl_hf.whole_files import written_whole


class FaceAnnotator:
    """Finds the faces of a photo once, runs every task on them, and writes pictures.

    Args:
        pipelines (`Mapping[str, Pipeline]`): By task. Without face-detection, each photo is one aligned face.
        tasks (`Sequence[str]`): The tasks that a picture is written for.
        output_folder (`Path`): Where files are written; it must exist.
        batch_size (`int`): Faces that share a forward pass.
        threshold (`float`, *optional*): Lowest score of a face.
    """

    def __init__(
        self,
        pipelines: Mapping[str, Pipeline],
        tasks: Sequence[str],
        output_folder: Path,
        batch_size: int = 8,
        threshold: float | None = None,
    ) -> None:
        self.pipelines = pipelines
        self.tasks = tasks
        self.output_folder = output_folder
        self.batch_size = batch_size
        self.detection = {} if threshold is None else {"threshold": threshold}

    def annotate(self, photo_source: Any, name: str, stem: str) -> tuple[dict[str, Any], dict[str, Path]]:
        """Annotate one photo.

        Args:
            photo_source: Anything that `load_photo` reads.
            name (`str`): Name of the photo in the record.
            stem (`str`): First part of the names of the written files.

        Returns:
            `tuple`: The record `{"photo", "photo_uri", "files", "faces"}`, fit for JSON, and the picture of each task.

        Raises:
            UnreadablePhotoError: If the photo cannot be read.
            FileWriteError: If a file cannot be written.
        """
        photo = load_photo(photo_source)
        faces = self._find_faces(photo)
        pictures = {task: self._draw(task, photo, faces, stem) for task in self.tasks}
        record = [self._for_json(face, f"{stem}.face-{row + 1}") for row, face in enumerate(faces)]
        files = {task: path.name for task, path in pictures.items()}
        return {"photo": readable_name(name), "photo_uri": photo_uri(name), "files": files, "faces": record}, pictures

    def _find_faces(self, photo: Image.Image) -> list[dict[str, Any]]:
        """One dict per face with the answers of all tasks."""
        aligned = DETECTION not in self.pipelines
        found = [] if aligned else self.pipelines[DETECTION](photo, **self.detection)
        faces = found
        for task, run_task in self.pipelines.items():
            if task != DETECTION and (aligned or found):
                answers = run_task(photo, aligned=aligned, detector=lambda _: found, batch_size=self.batch_size)
                faces = [face | answer for face, answer in zip(faces or answers, answers, strict=True)]
        return faces

    def _draw(self, task: str, photo: Image.Image, faces: list[dict[str, Any]], stem: str) -> Path:
        picture = draw_answers(task, photo, faces)
        return write_picture(self.output_folder / f"{stem}.{task}.jpg", picture, quality=92, subsampling=0)

    def _for_json(self, face: dict[str, Any], stem: str) -> dict[str, Any]:
        """The face; its label map is written to a file and replaced by the file's name."""
        if "segmentation" not in face:
            return face
        path = self.output_folder / f"{stem}.segmentation.png"
        write_picture(path, face["segmentation"])
        return face | {"segmentation": path.name}


def load_pipelines(
    checkpoints: Mapping[str, str | None], device: str | None, runtime: str = "torch"
) -> dict[str, Pipeline]:
    """A pipeline for every task.

    Args:
        checkpoints (`Mapping`): Task -> name or folder of a checkpoint, or `None` for the default.
        device (`str`, *optional*): Such as "cpu" or "cuda:1"; by default the first accelerator, else the CPU.
        runtime (`str`): One of `RUNTIMES`.

    Raises:
        UnknownNameError: There is no such checkpoint, device or runtime.
        NotACheckpointError: A folder holds no checkpoint of its task.
        InvalidArgumentError: The runtime onnx without the folder of an exported model.
    """
    check_name("runtime", runtime, RUNTIMES)
    if device is not None:
        require_device(device)
    disable_progress_bar()  # the bars of Transformers for loading weights would hide ours
    load = RUNTIMES[runtime]
    return {task: load(task, name_or_folder, device) for task, name_or_folder in checkpoints.items()}


def load_model_and_processor(name_or_folder: str | None, device: str | None) -> tuple[Any, Any]:
    """A model of the class that was saved, in evaluation mode, and its processor (with or without a tokenizer).

    Args:
        name_or_folder (`str`, *optional*): A checkpoint; `IMAGE_TEXT_MODEL` if not given.
        device (`str`, *optional*): Such as "cpu" or "cuda:1"; by default the first accelerator, else the CPU.

    Raises:
        UnknownNameError: There is no such checkpoint or device.
        NotDownloadedError: The checkpoint is not on this machine.
        NotACheckpointError: The folder holds no checkpoint.
    """
    if device is not None:
        require_device(device)
    folder = checkpoint(name_or_folder or IMAGE_TEXT_MODEL)
    disable_progress_bar()
    with _errors_of_loading(f"{folder} cannot be loaded"):
        model = load_whole(_model_class(folder), folder)
        processor = transformers.AutoProcessor.from_pretrained(folder)
    log_if_small(folder)
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return optimized_for_inference(model.to(device or accelerator or "cpu").eval()), processor


@contextmanager
def _errors_of_loading(what: str) -> Iterator[None]:
    """Turns errors of Transformers into a sentence that names the checkpoint."""
    try:
        yield
    except NotACheckpointError:
        raise
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:  # of damaged settings of processors
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise NotACheckpointError(f"{what}: {reason}") from error


def _model_class(folder: Path) -> Any:
    """The class that wrote the checkpoint; `AutoModel` would load a task model as a model of both encoders."""
    (name, *_) = read_config(folder).architectures or ["AutoModel"]
    return getattr(farl_hf, name, None) or getattr(transformers, name, transformers.AutoModel)


def require_device(device: str) -> None:
    """Raise `UnknownNameError` if torch cannot use a device."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built for the device
        reason = str(error).splitlines()[0]
        raise UnknownNameError(
            f"The device {device!r} cannot be used: {reason}; `farl-hf env` lists those here."
        ) from error


def _load_pipeline(task: str, name_or_folder: str | None, device: str | None) -> Pipeline:
    from farl_hf.pipelines import PIPELINES

    folder = checkpoint(name_or_folder or DEFAULT_CHECKPOINTS[task])
    entry: Any = PIPELINES[task]
    load: Any = pipeline  # its overloads know the tasks of Transformers only
    with _errors_of_loading(f"{folder} cannot be loaded as a {task} checkpoint"):
        auto_class = getattr(transformers, entry.auto_model_name)
        model = load_whole(auto_class, folder, entry.pipeline_class.model_name)
        return load(task, model=model, image_processor=str(folder), device=device)


def _load_onnx_pipeline(task: str, name_or_folder: str | None, device: str | None) -> Pipeline:
    from farl_hf.export import load_onnx_model
    from farl_hf.pipelines import PIPELINES

    if name_or_folder is None:
        raise InvalidArgumentError(
            f"The runtime onnx needs an exported {task} model; make one with farl-hf export "
            f"{DEFAULT_CHECKPOINTS[task]} --output FOLDER, and give the folder."
        )
    folder = Path(name_or_folder)
    model = load_onnx_model(folder)
    processor = load_image_processor(AutoImageProcessor, folder)
    return PIPELINES[task].pipeline_class(
        model=model, image_processor=processor, task=task, device=torch.device("cpu")
    )


RUNTIMES = {"torch": _load_pipeline, "onnx": _load_onnx_pipeline}


def write_picture(path: Path, picture: Image.Image, **options: Any) -> Path:
    """Writes a picture, see [`written_whole`]; the ending of the name chooses the format. Returns the path."""
    with written_whole(path) as unfinished:
        picture.save(unfinished, **options)
    return path


def draw_answers(task: str, photo: Image.Image, faces: list[dict[str, Any]], in_video: bool = False) -> Image.Image:
    """The picture of one task. In a video, a face keeps its colour, and no legend changes the size of a frame."""
    numbers = [face["track"] for face in faces] if in_video else None
    if task == DETECTION:
        return draw_faces(photo, Faces.from_pipeline(faces), numbers=numbers)
    if task == "face-parsing":
        return draw_face_parsing(photo, FaceParsing.from_pipeline(faces), legend=not in_video)
    if task == LANDMARKS:
        return draw_face_landmarks(photo, FaceLandmarks.from_pipeline(faces))
    return draw_face_attributes(
        photo, Faces.from_pipeline(faces), FaceAttributes.from_pipeline(faces), numbers=numbers
    )
