"""Pipelines and models of commands are loaded here; [`FaceAnnotator`] runs pipelines on photos and writes files."""

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from farl_hf.cli.finished_work import checkpoint_digest, content_of
from farl_hf.cli.options import DETECTION, IMAGE_TEXT_MODEL
from farl_hf.cli.photo_files import is_video
from farl_hf.cli.photo_jobs import Done, Job, PhotoFile, decoded_photos
from farl_hf.errors import (
    FileWriteError,
    InvalidArgumentError,
    InvalidFaceInputError,
    NotACheckpointError,
    UnknownNameError,
    check_name,
)
from farl_hf.outputs import draw
from farl_hf.outputs.face_tables import class_masks
from farl_hf.photo_names import photo_uri, readable_name
from farl_hf.pipelines import FaceAnalysisPipeline
from farl_hf.pipelines.face_detection import optimized_for_inference
from farl_hf.pipelines.inputs import Prefetched
from farl_hf.whole_files import written_whole

_MOST_PIXELS = 25_000_000  # of the photos that are decoded at a time

Annotated = tuple[dict[str, Any], dict[str, Path]]


class FaceAnnotator:
    """Analyses photos in batches, and writes a picture per photo and task.

    Args:
        pipelines (`Mapping[str, Pipeline]`): By task; face-detection is among them.
        tasks (`Sequence[str]`): The tasks that a picture is written for.
        output_folder (`Path`): Where files are written; it must exist.
        batch_size (`int`): Photos that are held at a time, and faces that share a forward pass.
        threshold (`float`, *optional*): Lowest score of a face.
        aligned (`bool`): Each photo is one face; nothing is searched.
        pictures (`bool`): Write pictures; without them, label maps are masks in the record.
        num_decoders (`int`): Processes that decode photos; 0 is a thread.
    """

    def __init__(
        self,
        pipelines: Mapping[str, Any],
        tasks: Sequence[str],
        output_folder: Path,
        batch_size: int = 8,
        threshold: float | None = None,
        aligned: bool = False,
        pictures: bool = True,
        num_decoders: int = 0,
    ) -> None:
        needed = {DETECTION: pipelines[DETECTION]} | {task: pipelines[task] for task in tasks}
        self.analyze = analysis_of(needed, batch_size)
        self.tasks = tasks
        self.output_folder = output_folder
        self.batch_size = batch_size
        self.pictures = pictures
        self.num_decoders = num_decoders
        self.settings: dict[str, Any] = {"aligned": aligned} | ({} if threshold is None else {"threshold": threshold})

    def annotate(self, photo_source: Any, name: str, stem: str) -> Annotated:
        """Annotate one photo; see `annotate_all`.

        Raises:
            UnreadablePhotoError: If the photo cannot be read.
            FileWriteError: If a file cannot be written.
        """
        (done,) = self.annotate_all([(photo_source, name, stem)])
        if isinstance(done, Exception):
            raise done
        return done

    def annotate_all(self, photos: Iterable[tuple[Any, str, str]]) -> Iterator[Annotated | Exception]:
        """Annotate photos, one after the other; the next ones are decoded meanwhile.

        Args:
            photos (`Iterable[tuple]`): Of each photo anything that `load_photo` reads, its name in the record, and the
                first part of the names of the written files.

        Yields:
            `tuple`: The record `{"photo", "photo_uri", "size_hw", "files", "faces"}`, fit for JSON, and the picture of
            each task; or why the photo cannot be used.

        Raises:
            FileWriteError: If a file cannot be written.
        """
        for name, stem, photo, faces in analyzed_photos(
            self.analyze, photos, self.batch_size, self.num_decoders, **self.settings
        ):
            try:
                yield faces if isinstance(faces, Exception) else self._write(photo, faces, name, stem)
            except FileWriteError:
                raise
            except Exception as error:  # one bad photo must not stop the others
                yield error

    def _write(self, photo: Image.Image, faces: list[dict[str, Any]], name: str, stem: str) -> Annotated:
        pictures = {task: self._draw(task, photo, faces, stem) for task in self.tasks if self.pictures}
        record = [self._for_json(face, f"{stem}.face-{row + 1}") for row, face in enumerate(faces)]
        files = {task: path.name for task, path in pictures.items()}
        named = {"photo": readable_name(name), "photo_uri": photo_uri(name), "size_hw": [photo.height, photo.width]}
        return named | {"files": files, "faces": record}, pictures

    def _draw(self, task: str, photo: Image.Image, faces: list[dict[str, Any]], stem: str) -> Path:
        picture = draw(photo, faces, task.removeprefix("face-"))
        return write_picture(self.output_folder / f"{stem}.{task}.jpg", picture, quality=92, subsampling=0)

    def _for_json(self, face: dict[str, Any], stem: str) -> dict[str, Any]:
        """The face; its label map is written to a file and replaced by the file's name, or replaced by masks."""
        if "segmentation" not in face:
            return face
        if not self.pictures:
            return face | {"segmentation": class_masks(face)}
        path = self.output_folder / f"{stem}.segmentation.png"
        write_picture(path, face["segmentation"])
        return face | {"segmentation": path.name}


def analysis_of(pipelines: Mapping[str, Any], batch_size: int) -> FaceAnalysisPipeline:
    """The analysis that runs given pipelines, by task; face-detection is among them."""
    detector = pipelines[DETECTION]
    heads = {task.removeprefix("face-"): pipelines[task] for task in pipelines if task != DETECTION}
    return FaceAnalysisPipeline(
        model=detector.model,
        image_processor=detector.image_processor,
        task="face-analysis",
        device=detector.device,
        detector=detector,
        tasks=list(heads),
        models=heads,
        batch_size=batch_size,
    )


def analyzed_photos(
    analyze: FaceAnalysisPipeline,
    photos: Iterable[tuple[Any, str, str]],
    batch_size: int,
    num_decoders: int = 0,
    **settings: Any,
) -> Iterator[tuple[str, str, Any, Any]]:
    """Name and stem of each photo, the photo, and its faces, or the error in their place.

    Args:
        analyze ([`FaceAnalysisPipeline`]): What is said of each face.
        photos (`Iterable[tuple]`): Photo, name and stem of each, see [`FaceAnnotator.annotate_all`].
        batch_size (`int`): Photos that are held at a time; the next ones are decoded meanwhile.
        num_decoders (`int`): Processes that decode them; 0 is a thread.
        settings: Of the call of the pipeline.
    """
    for batch in Prefetched(_decoded_batches(photos, batch_size, num_decoders), 1):
        sound = [photo for photo, _, _ in batch if not isinstance(photo, Exception)]
        answers = iter(analyze((photo for photo in sound), on_error="record", **settings))
        for photo, name, stem in batch:
            faces = photo if isinstance(photo, Exception) else next(answers)
            yield name, stem, photo, InvalidFaceInputError(faces["error"]) if isinstance(faces, dict) else faces


def _decoded_batches(
    photos: Iterable[tuple[Any, str, str]], size: int, num_decoders: int = 0
) -> Iterator[list[tuple[Any, str, str]]]:
    """The photos in lists: decoded, or why they cannot be.

    A list ends after every so many photos, and when it holds many pixels.
    """
    names: list[tuple[str, str]] = []

    def sources() -> Iterator[Any]:
        for source, *name in photos:
            names.append((name[0], name[1]))
            yield source

    batch: list[tuple[Any, str, str]] = []
    num_pixels = 0
    for number, photo in enumerate(decoded_photos(sources(), num_decoders), start=1):
        batch.append((photo, *names.pop(0)))
        num_pixels += 0 if isinstance(photo, Exception) else photo.width * photo.height
        if number % size == 0 or num_pixels > _MOST_PIXELS:
            yield batch
            batch, num_pixels = [], 0
    if batch:
        yield batch


class AnnotationWorker:
    """Annotates the photos and videos of jobs; see `photo_jobs`.

    Args:
        folder (`str`): Where files are written; it must exist.
        tasks (`Sequence[str]`): That are said of each face.
        models (`dict`): Task -> checkpoint, or `None` for the default; also of the detector.
        runtime (`str`): One of `RUNTIMES`.
        batch_size, threshold, aligned, pictures, num_decoders: See [`FaceAnnotator`].
        video (`dict`, *optional*): Options of [`VideoAnnotator`]; without them, videos are refused.
        device (`str`, *optional*): Such as "cpu" or "cuda:1".
        report_frame (`Callable`, *optional*): Gives, for the stem of a video, what is called with the number of frames
            done, and of all if it is known.

    Raises:
        FaRLError: See [`load_pipelines`].
    """

    def __init__(
        self,
        folder: str,
        tasks: Sequence[str],
        models: dict[str, str | None],
        runtime: str,
        batch_size: int,
        threshold: float | None,
        aligned: bool,
        pictures: bool,
        num_decoders: int,
        video: dict[str, Any] | None,
        device: str | None,
        report_frame: Callable[[str], Callable[[int, int | None], None]] = lambda stem: lambda done, total: None,
    ) -> None:
        # The analysis has a detector, which searches nothing in photos of one aligned face.
        pipelines = load_pipelines({DETECTION: None}, device) if aligned else {}
        pipelines |= load_pipelines(models, device, runtime)
        options = (Path(folder), batch_size, threshold)
        self.annotator = FaceAnnotator(pipelines, tasks, *options, aligned, pictures, num_decoders)
        self.report_frame = report_frame
        self.video_annotator: Any = None
        if video is not None:
            from farl_hf.cli.video_annotator import VideoAnnotator

            self.video_annotator = VideoAnnotator(pipelines, tasks, *options, **video)

    def stream(self, jobs: Iterable[Job]) -> Iterator[Done]:
        """Yields what became of each photo: its record as the answer. Videos come last."""
        jobs = list(jobs)
        photos = [photo for job in jobs for photo in job if not is_video(photo.source)]
        contents: list[dict[str, Any] | None] = []

        def inputs() -> Iterator[tuple[str, str, str]]:
            for photo in photos:
                contents.append(content_of(photo.source))  # before it is read
                yield photo.source, photo.name, photo.stem

        for photo, answer in zip(photos, self.annotator.annotate_all(inputs()), strict=True):
            yield _done(photo, contents.pop(0), answer)
        for video in (photo for job in jobs for photo in job if is_video(photo.source)):
            content = content_of(video.source)
            try:
                if self.video_annotator is None:
                    raise InvalidArgumentError("--aligned is for photos of one face; it cannot be used with videos.")
                record, faults = self.video_annotator.annotate(video.source, video.stem, self.report_frame(video.stem))
            except FileWriteError:
                raise
            except Exception as error:  # one bad video must not stop the others
                yield _done(video, content, error)
                continue
            yield _done(video, content, (record, {}), " ".join(map(str, faults)) or None)


def _done(
    photo: PhotoFile, content: dict[str, Any] | None, answer: Annotated | Exception, fault: str | None = None
) -> Done:
    if isinstance(answer, Exception):
        return Done(photo, content, fault=str(answer) or type(answer).__name__)
    name = "video" if "video" in answer[0] else "photo"
    record = answer[0] | {name: readable_name(photo.name), "photo_uri": photo.uri}
    return Done(photo, content, record, fault)


def model_digests(checkpoints: Mapping[str, str | None]) -> dict[str, str]:
    """What tells whether the checkpoints of tasks are the same as in another run.

    Raises:
        UnknownNameError, NotDownloadedError: There is no such checkpoint.
    """
    return {
        task: checkpoint_digest(checkpoint(name or DEFAULT_CHECKPOINTS[task])) for task, name in checkpoints.items()
    }


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
    # Of damaged settings of processors.
    except (OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise NotACheckpointError(f"{what}: {reason}") from error


def _model_class(folder: Path) -> Any:
    """The class that wrote the checkpoint; `AutoModel` would load a task model as a model of both encoders."""
    (name, *_) = read_config(folder).architectures or ["AutoModel"]
    return getattr(farl_hf, name, None) or getattr(transformers, name, transformers.AutoModel)


def require_device(device: str) -> None:
    """Raise `UnknownNameError` if torch cannot use a device."""
    try:
        if torch.empty(0, device=device).is_meta:
            raise RuntimeError("it holds no values")
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
        processor = load_image_processor(AutoImageProcessor, folder)
        return load(task, model=model, image_processor=processor, device=device)


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
        # Pillow takes a write that the disk cut short for a whole one; Python does not.
        content = io.BytesIO()
        picture.save(content, Image.registered_extensions()[path.suffix.lower()], **options)
        unfinished.write_bytes(content.getbuffer())
    return path
