"""`farl-hf annotate`: a picture per photo and task, and a JSON file of everything found."""

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from farl_hf.cli.face_outputs import EXPORTS, export_faces
from farl_hf.cli.options import (
    DETECTION,
    LANDMARKS,
    SOME_FAILED,
    TASKS,
    AlignedOption,
    DeviceOption,
    ThresholdOption,
    UserConsole,
    error_console,
    output_folder,
    parse_names,
    parse_tasks,
    plain_console,
    plain_errors,
    report_failures,
)
from farl_hf.cli.photo_files import find_photos, is_video, output_stems
from farl_hf.errors import FileWriteError, InvalidArgumentError, UnreadableVideoError, check_name
from farl_hf.photo_names import photo_uri, readable_name

if TYPE_CHECKING:  # loading them takes seconds, and `--help` needs none
    from farl_hf.cli.face_annotator import FaceAnnotator
    from farl_hf.cli.video_annotator import VideoAnnotator

RECORDS_FILE = "faces.json"
_RECORDS_EVERY_S = 10  # what a kill may cost of `faces.json`
_MODELS = "Models"
_VIDEOS = "Videos"


def annotate(
    photos: Annotated[
        list[str], typer.Argument(help="Photos, videos, folders (with subfolders), 'glob patterns' or URLs.")
    ],
    tasks: Annotated[
        list[str], typer.Option("--tasks", "-t", help=f"What to do, separated by commas: {', '.join(TASKS)}.")
    ] = list(TASKS),  # noqa: B006
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the pictures and faces.json.")] = Path(
        "farl_annotations"
    ),
    export: Annotated[
        list[str] | None,
        typer.Option(help=f"Also write the faces of the folder as {', '.join(EXPORTS)}; several with commas."),
    ] = None,
    threshold: ThresholdOption = None,
    aligned: AlignedOption = False,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Faces that share a forward pass, and photos that are held at a time.")
    ] = 8,
    device: DeviceOption = None,
    runtime: Annotated[
        str, typer.Option(help="torch, or onnx: every model is then a folder made by [bold]farl-hf export[/bold].")
    ] = "torch",
    detector: Annotated[
        str | None, typer.Option(help="Checkpoint, name or folder, of face-detection.", rich_help_panel=_MODELS)
    ] = None,
    parsing_model: Annotated[
        str | None, typer.Option(help="Checkpoint of face-parsing.", rich_help_panel=_MODELS)
    ] = None,
    landmarks_model: Annotated[
        str | None, typer.Option(help="Checkpoint of face-landmarks.", rich_help_panel=_MODELS)
    ] = None,
    attributes_model: Annotated[
        str | None, typer.Option(help="Checkpoint of face-attributes.", rich_help_panel=_MODELS)
    ] = None,
    detect_every: Annotated[
        int, typer.Option(min=1, help="Frames from one detection to the next.", rich_help_panel=_VIDEOS)
    ] = 10,
    smooth: Annotated[
        bool, typer.Option("--smooth", help="Steady boxes and points over time.", rich_help_panel=_VIDEOS)
    ] = False,
    label_maps: Annotated[
        bool, typer.Option("--label-maps", help="Write a label map per face and frame.", rich_help_panel=_VIDEOS)
    ] = False,
) -> None:
    """Find the faces of photos and videos, draw what is found, and write it to [bold]faces.json[/bold].

    For [bold]photo.jpg[/bold], the output folder gets [bold]photo.face-detection.jpg[/bold] and so on, one picture
    per task, and the label map of each face as [bold]photo.face-1.segmentation.png[/bold].
    [bold]faces.json[/bold] lists the photos with their faces: score, box, keypoints, and the answers of the tasks.

    For [bold]clip.mp4[/bold] there is a video per task, [bold]clip.face-detection.mp4[/bold] and so on, and
    [bold]clip.faces.jsonl[/bold], a line per frame. Faces are detected every few frames and followed by their
    landmarks in between; [bold]track[/bold] is the number of a face through the video. Needs the extra video.

    A photo that cannot be read is reported at the end and does not stop the others; the exit status is then 1.
    A run adds to the output folder of an earlier run: photos that are annotated again are replaced, others stay.

    Examples:

    [dim]$[/dim] farl-hf annotate photo.jpg

    [dim]$[/dim] farl-hf annotate holiday/ 'scans/*.png' --tasks parsing,landmarks --output faces

    [dim]$[/dim] farl-hf annotate clip.mp4 --tasks landmarks --smooth

    [dim]$[/dim] farl-hf annotate holiday/ --export csv,coco
    """
    with plain_errors():
        from farl_hf.cli.face_annotator import FaceAnnotator, load_pipelines

        chosen = parse_tasks(tasks, without=(DETECTION,) if aligned else ())
        forms = parse_names(export or [])
        for form in forms:
            check_name("export", form, EXPORTS)
        with output_folder(output) as folder:
            found, failures = find_photos(photos, videos=True)
            earlier = earlier_records(folder)
            require_former_tasks(found, chosen, earlier, folder)
            with_videos = not aligned and any(map(is_video, found))
            followed = (LANDMARKS,) if with_videos and detect_every > 1 else ()
            models = dict(zip(TASKS, (detector, parsing_model, landmarks_model, attributes_model), strict=True))
            heads = {task: models[task] for task in (*chosen, *followed) if task != DETECTION}
            # The analysis has a detector, which searches nothing in photos of one aligned face.
            pipelines = load_pipelines({DETECTION: None}, device) if aligned else {}
            needed = heads if aligned else {DETECTION: detector, **heads}
            pipelines |= load_pipelines(needed, device, runtime)
            annotator = FaceAnnotator(pipelines, chosen, folder, batch_size, threshold, aligned)
            video_annotator = None
            if with_videos:
                from farl_hf.cli.video_annotator import VideoAnnotator

                video_annotator = VideoAnnotator(
                    pipelines, chosen, folder, batch_size, threshold, detect_every, smooth, label_maps
                )
            failures |= annotate_photos(annotator, found, folder, video_annotator, earlier)
            for form in forms:
                path = export_faces(list(earlier_records(folder).values()), folder, form)
                plain_console().print(readable_name(f"Exported to {path}"))
        report_failures(failures)
    if failures:
        raise typer.Exit(SOME_FAILED)


def earlier_records(folder: Path) -> dict[str, dict[str, Any]]:
    """The entries of `faces.json` in an output folder, by the URI of their photo or video.

    Raises:
        InvalidArgumentError: The file is something else than what this command writes.
    """
    from farl_hf.whole_files import read_or_set_aside

    path = folder / RECORDS_FILE
    records = read_or_set_aside(path, object) or []
    try:
        known = {record["photo_uri"]: record for record in records}
        _ = [_stem_of(record) for record in records]
    except (TypeError, KeyError, ValueError) as error:
        raise InvalidArgumentError(
            f"{path} is not of this version of farl-hf annotate; choose another output folder."
        ) from error
    return known


def require_former_tasks(
    photos: Sequence[str], tasks: Sequence[str], earlier: Mapping[str, dict[str, Any]], folder: Path
) -> None:
    """Refuse to replace answers by fewer ones.

    Raises:
        InvalidArgumentError: An earlier run gave a photo a task that this one does not.
    """
    for photo in photos:
        missing = set(earlier.get(photo_uri(photo), {"files": ()})["files"]) - set(tasks)
        if missing:
            raise InvalidArgumentError(
                f"{readable_name(photo)} has {', '.join(sorted(missing))} in {folder}, which this run would lose; "
                "name these --tasks too, or choose another --output."
            )


def _stem_of(record: Mapping[str, Any]) -> str:
    """First part of the names of the files of an entry."""
    task, name = next(iter(record["files"].items()))
    return name.rpartition(f".{task}.")[0]


def annotate_photos(
    annotator: "FaceAnnotator",
    photos: Sequence[str],
    output: Path,
    video_annotator: "VideoAnnotator | None" = None,
    earlier: Mapping[str, dict[str, Any]] | None = None,
) -> dict[str, Exception]:
    """Annotate every photo and video, and add them to `faces.json`: every few seconds, and when the run ends.

    Args:
        annotator (`FaceAnnotator`): Writes the pictures.
        photos (`Sequence[str]`): Paths and URLs.
        output (`Path`): Where `faces.json` goes.
        video_annotator (`VideoAnnotator`, *optional*): Writes the videos, if there are any.
        earlier (`Mapping`, *optional*): From `earlier_records`. Entries of photos that are done again are replaced.

    Returns:
        `dict[str, Exception]`: The photos and videos that failed, with the reason.

    Raises:
        FileWriteError: The disk is full, or a file cannot be written.
    """
    from farl_hf.whole_files import write_json

    records = dict(earlier or {})
    done: list[dict] = []
    failures: dict[str, Exception] = {}
    console = UserConsole()
    stems = output_stems(photos, output, {uri: _stem_of(record) for uri, record in records.items()})
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    written_s = time.monotonic()
    try:
        with Progress(*columns, console=error_console()) as progress:
            annotated = _annotated(annotator, video_annotator, list(zip(photos, stems, strict=True)), progress)
            for photo, record, fault in progress.track(annotated, total=len(photos), description="Annotating"):
                if fault is not None:
                    failures[photo] = fault
                if record is not None:
                    records[record["photo_uri"]] = record
                    done.append(record)
                if time.monotonic() - written_s > _RECORDS_EVERY_S:
                    write_json(output / RECORDS_FILE, list(records.values()))
                    written_s = time.monotonic()
    except BaseException:
        with contextlib.suppress(FileWriteError):  # what stopped the run is said
            write_json(output / RECORDS_FILE, list(records.values()))
        raise
    write_json(output / RECORDS_FILE, list(records.values()))
    console.print(readable_name(f"{_summary(done)}: see {output / RECORDS_FILE}"))
    return failures


def _annotated(
    annotator: "FaceAnnotator",
    video_annotator: "VideoAnnotator | None",
    sources: Sequence[tuple[str, str]],
    progress: Progress,
) -> Iterator[tuple[str, dict[str, Any] | None, Exception | None]]:
    """Each photo or video with its record and what went wrong; photos between two videos share batches."""
    for of_video, group in itertools.groupby(sources, lambda source: is_video(source[0])):
        some = list(group)
        if not of_video:
            answers = annotator.annotate_all((photo, photo, stem) for photo, stem in some)
            for (photo, _), answer in zip(some, answers, strict=True):
                yield (photo, None, answer) if isinstance(answer, Exception) else (photo, answer[0], None)
            continue
        for video, stem in some:
            try:
                record, faults = _annotate_video(video_annotator, video, stem, progress)
            except FileWriteError:
                raise
            except Exception as error:  # one bad video must not stop the others
                yield video, None, error
                continue
            yield video, record, UnreadableVideoError(" ".join(map(str, faults))) if faults else None


def _annotate_video(
    video_annotator: "VideoAnnotator | None", video: str, stem: str, progress: Progress
) -> tuple[dict, list[Exception]]:
    if video_annotator is None:
        raise InvalidArgumentError("--aligned is for photos of one face; it cannot be used with videos.")
    bar = progress.add_task(stem, total=None)
    try:
        return video_annotator.annotate(video, stem, _frame_counter(progress, bar, stem))
    finally:
        progress.remove_task(bar)


def _frame_counter(progress: Progress, bar: TaskID, stem: str) -> Callable[[int, int | None], None]:
    """A function that moves the bar of a video and shows the speed."""
    start_s = time.monotonic()

    def count(done: int, total: int | None) -> None:
        frames_per_s = done / max(time.monotonic() - start_s, 1e-6)
        progress.update(
            bar, completed=done, total=max(total or done, done), description=f"{stem} {frames_per_s:.1f} frames/s"
        )

    return count


def _summary(records: Sequence[dict]) -> str:
    photos = [record for record in records if "photo" in record]
    videos = [record for record in records if "video" in record]
    num_faces = sum(len(record["faces"]) for record in photos)
    parts = [f"{_count(num_faces, 'face')} in {_count(len(photos), 'photo')}"] if photos or not videos else []
    if videos:
        num_tracks, num_frames = (sum(record[name] for record in videos) for name in ("tracks", "frames"))
        tracks, frames = _count(num_tracks, "tracked face"), _count(num_frames, "frame")
        parts.append(f"{tracks} in {frames} of {_count(len(videos), 'video')}")
    return ", ".join(parts)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
