"""Runs the tasks on one photo after the other, and writes what they say."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from transformers import AutoImageProcessor, Pipeline, pipeline
from transformers.utils.logging import disable_progress_bar

from farl_hf.checkpoints import DEFAULT_CHECKPOINTS, checkpoint
from farl_hf.cli.options import DETECTION
from farl_hf.drawing import draw_face_attributes, draw_face_landmarks, draw_face_parsing, draw_faces
from farl_hf.errors import NotACheckpointError, UnknownNameError
from farl_hf.photos import load_photo
from farl_hf.results import FaceAttributes, FaceLandmarks, FaceParsing, Faces

__all__ = [
    "FaceAnnotator",
    "enlarged_window",
    "face_window",
    "load_pipelines",
    "require_device",
    "write_json",
    "write_whole",
]


# The part of a photo around one face, enlarged for a picture.


def face_window(
    crop_from_photo: torch.Tensor, crop_hw: tuple[int, int], photo_hw: tuple[int, int]
) -> tuple[int, int, int, int]:
    """The part of the photo that the crop shows (with a warp: before it), x_min, y_min, x_max, y_max."""
    height, width = crop_hw
    corners = torch.tensor([[0, width, width, 0], [0, 0, height, height], [1, 1, 1, 1]], dtype=torch.float64)
    x, y = (torch.linalg.inv(crop_from_photo.double()) @ corners)[:2].numpy()
    x_min, x_max = np.clip([x.min(), x.max()], 0, photo_hw[1]).round().astype(int)
    y_min, y_max = np.clip([y.min(), y.max()], 0, photo_hw[0]).round().astype(int)
    if x_max - x_min < 2 or y_max - y_min < 2:
        return 0, 0, photo_hw[1], photo_hw[0]
    return int(x_min), int(y_min), int(x_max), int(y_max)


def enlarged_window(
    picture: np.ndarray, window: tuple[int, int, int, int], longer_side_px: int, nearest: bool = False
) -> Any:
    """The window of a photo (a PIL image) or, `nearest`, of a label map (an array), at that size."""
    x_min, y_min, x_max, y_max = window
    part = picture[y_min:y_max, x_min:x_max]
    scale = longer_side_px / max(part.shape[:2])
    size_wh = (max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale)))
    shrinks = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    resized = cv2.resize(part, size_wh, interpolation=cv2.INTER_NEAREST if nearest else shrinks)
    return resized if nearest else Image.fromarray(resized)


_JPEG = {"quality": 92, "subsampling": 0}


class FaceAnnotator:
    """Finds the faces of a photo once, runs every task on them, and writes pictures.

    Args:
        pipelines (`Mapping[str, Pipeline]`): By task; without face-detection, each photo is one face as it is.
        tasks (`Sequence[str]`): The tasks that get a picture.
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
            name (`str`): What the photo is called in the record.
            stem (`str`): What the names of the written files begin with.

        Returns:
            `tuple`: The record `{"photo", "faces"}`, fit for JSON, and the picture of each task.

        Raises:
            UnreadablePhotoError: If the photo cannot be read.
        """
        photo = load_photo(photo_source)
        faces = self._find_faces(photo)
        pictures = {task: self._draw(task, photo, faces, stem) for task in self.tasks}
        record = [self._for_json(face, f"{stem}.face-{row + 1}") for row, face in enumerate(faces)]
        return {"photo": name, "faces": record}, pictures

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
        path = self.output_folder / f"{stem}.{task}.jpg"
        _PICTURES[task](photo, faces).save(path, **_JPEG)
        return path

    def _for_json(self, face: dict[str, Any], stem: str) -> dict[str, Any]:
        """The face with its label map written to a file and named by it."""
        if "segmentation" not in face:
            return face
        path = self.output_folder / f"{stem}.segmentation.png"
        face["segmentation"].save(path)
        return face | {"segmentation": path.name}


def load_pipelines(
    checkpoints: Mapping[str, str | None], device: str | None, runtime: str = "torch"
) -> dict[str, Pipeline]:
    """A pipeline for every task.

    Args:
        checkpoints (`Mapping`): Task -> name or folder of a checkpoint, or `None` for the default.
        device (`str`, *optional*): Such as "cpu" or "cuda:1"; the first accelerator if there is one otherwise.
        runtime (`str`): One of `RUNTIMES`.

    Raises:
        UnknownNameError, NotACheckpointError: If a checkpoint does not exist or is not one of its task, or if there is
            no such device or runtime.
    """
    if runtime not in RUNTIMES:
        raise UnknownNameError(f"There is no runtime {runtime!r}; known: {', '.join(RUNTIMES)}.")
    if device is not None:
        require_device(device)
    disable_progress_bar()  # of Transformers, whose bars for loading weights would bury ours
    load = RUNTIMES[runtime]
    return {task: load(task, name_or_folder, device) for task, name_or_folder in checkpoints.items()}


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
    folder = checkpoint(name_or_folder or DEFAULT_CHECKPOINTS[task])
    try:
        return pipeline(task, model=str(folder), device=device)
    except (OSError, ValueError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise NotACheckpointError(f"{folder} cannot be loaded as a {task} checkpoint: {first_line}") from error


def _load_onnx_pipeline(task: str, name_or_folder: str | None, device: str | None) -> Pipeline:
    from farl_hf.export import load_onnx_model
    from farl_hf.pipelines import PIPELINES

    if name_or_folder is None:
        raise NotACheckpointError(
            f"The runtime onnx needs an exported {task} model; make one with farl-hf export "
            f"{DEFAULT_CHECKPOINTS[task]} --output FOLDER, and give the folder."
        )
    folder = Path(name_or_folder)
    model = load_onnx_model(folder)
    processor = AutoImageProcessor.from_pretrained(folder)
    return PIPELINES[task].pipeline_class(model=model, image_processor=processor, task=task, device="cpu")


RUNTIMES = {"torch": _load_pipeline, "onnx": _load_onnx_pipeline}


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file so that readers see either the old one or the whole new one."""
    write_whole(path, (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode())


def write_whole(path: Path, content: bytes) -> Path:
    """Write a file beside its place and move it there when it is complete; returns the path."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        draft.write_bytes(content)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    return path


def _attributes_picture(photo: Image.Image, faces: list[dict[str, Any]]) -> Image.Image:
    return draw_face_attributes(photo, Faces.from_pipeline(faces), FaceAttributes.from_pipeline(faces))


_PICTURES = {
    DETECTION: lambda photo, faces: draw_faces(photo, Faces.from_pipeline(faces)),
    "face-parsing": lambda photo, faces: draw_face_parsing(photo, FaceParsing.from_pipeline(faces)),
    "face-landmarks": lambda photo, faces: draw_face_landmarks(photo, FaceLandmarks.from_pipeline(faces)),
    "face-attributes": _attributes_picture,
}
