"""[`FaceAnnotator`] runs pipelines on photos and writes files; [`AnnotationWorker`] is one in a process of its own."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from farl_hf.cli.finished_work import content_of
from farl_hf.cli.model_loading import load_pipelines
from farl_hf.cli.options import DETECTION
from farl_hf.cli.photo_files import is_video
from farl_hf.cli.photo_jobs import Done, Job, PhotoFile, decoded_photos
from farl_hf.errors import FileWriteError, InvalidArgumentError, InvalidFaceInputError
from farl_hf.outputs import draw
from farl_hf.outputs.face_tables import class_masks
from farl_hf.photo_names import photo_uri, readable_name
from farl_hf.pipelines import FaceAnalysisPipeline
from farl_hf.pipelines.inputs import Prefetched
from farl_hf.whole_files import write_picture

_MOST_PIXELS = 25_000_000  # of the photos that are decoded at a time

AnnotatedPhoto = tuple[dict[str, Any], dict[str, Path]]


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

    def annotate(self, photo_source: Any, name: str, stem: str) -> AnnotatedPhoto:
        """Annotate one photo; see `annotate_all`.

        Raises:
            UnreadablePhotoError: If the photo cannot be read.
            FileWriteError: If a file cannot be written.
        """
        (done,) = self.annotate_all([(photo_source, name, stem)])
        if isinstance(done, Exception):
            raise done
        return done

    def annotate_all(self, photos: Iterable[tuple[Any, str, str]]) -> Iterator[AnnotatedPhoto | Exception]:
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

    def _write(self, photo: Image.Image, faces: list[dict[str, Any]], name: str, stem: str) -> AnnotatedPhoto:
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
        beside = "cpu" if runtime == "onnx" else device
        pipelines = load_pipelines({DETECTION: None}, beside) if aligned else {}
        pipelines |= load_pipelines(models, device, runtime)
        options = (Path(folder), batch_size, threshold)
        self.annotator = FaceAnnotator(pipelines, tasks, *options, aligned, pictures, num_decoders)
        self.report_frame = report_frame
        self.video_annotator: Any = None
        if video is not None:
            from farl_hf.cli.video_annotator import VideoAnnotator

            self.video_annotator = VideoAnnotator(pipelines, tasks, *options, **video, pictures=pictures)

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
                report_frame = self.report_frame(video.stem)
                record, fault, note = self.video_annotator.annotate(video.source, video.stem, report_frame)
            except FileWriteError:
                raise
            except Exception as error:  # one bad video must not stop the others
                yield _done(video, content, error)
                continue
            yield _done(video, content, (record, {}), fault, note)


def _done(
    photo: PhotoFile,
    content: dict[str, Any] | None,
    answer: AnnotatedPhoto | Exception,
    fault: str | None = None,
    note: str | None = None,
) -> Done:
    if isinstance(answer, Exception):
        return Done(photo, content, fault=str(answer) or type(answer).__name__)
    name = "video" if "video" in answer[0] else "photo"
    record = answer[0] | {name: readable_name(photo.name), "photo_uri": photo.uri}
    return Done(photo, content, record, fault, note)
