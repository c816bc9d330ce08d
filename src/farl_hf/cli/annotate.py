"""`farl-hf annotate`: a picture per photo and task, and a JSON file of everything found."""

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress

from farl_hf.cli.face_outputs import EXPORTS, ParquetShards, export_faces, exports_of_others
from farl_hf.cli.options import (
    DETECTION,
    LANDMARKS,
    SOME_FAILED,
    TASKS,
    AlignedOption,
    DeviceOption,
    ThresholdOption,
    counted,
    output_folder,
    parse_names,
    parse_tasks,
    photos_progress,
    plain_console,
    plain_errors,
    refuse_unused,
    report_failures,
    report_notes,
)
from farl_hf.cli.photo_files import find_photos, is_video, output_stems, outputs_in
from farl_hf.cli.photo_jobs import (
    AddressOption,
    DevicesOption,
    Done,
    EngineOption,
    GpusOption,
    OverwriteOption,
    PartOption,
    PhotoFile,
    Places,
    WorkersOption,
    absolute_checkpoint,
    check_before_removal,
    done_photos,
    in_jobs,
    parse_devices,
    parse_part,
    part_folder,
    photos_of_part,
)
from farl_hf.errors import FileWriteError, InvalidArgumentError, check_name
from farl_hf.photo_names import photo_uri, readable_name

if TYPE_CHECKING:
    from farl_hf.cli.finished_work import FinishedWork

RECORDS_FILE = "faces.json"
DONE_FILE = "faces.done.jsonl"
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
    pictures: Annotated[
        bool, typer.Option("--pictures/--no-pictures", help="Pictures and label maps; without, masks in faces.json.")
    ] = True,
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
    workers: WorkersOption = 0,
    devices: DevicesOption = None,
    part: PartOption = None,
    overwrite: OverwriteOption = False,
    engine: EngineOption = "local",
    address: AddressOption = None,
    gpus_per_worker: GpusOption = 0.0,
) -> None:
    """Find the faces of photos and videos, draw what is found, and write it to [bold]faces.json[/bold].

    For [bold]photo.jpg[/bold], the output folder gets [bold]photo.face-detection.jpg[/bold] and so on, one picture
    per task, and the label map of each face as [bold]photo.face-1.segmentation.png[/bold].
    [bold]faces.json[/bold] lists the photos with their faces: score, box, keypoints, and the answers of the tasks.

    For [bold]clip.mp4[/bold] there is a video per task, [bold]clip.face-detection.mp4[/bold] and so on, and
    [bold]clip.faces.jsonl[/bold], a line per frame. Faces are detected every few frames and followed by their
    landmarks in between; [bold]track[/bold] is the number of a face through the video. Needs the extra video.

    The same command goes on where it was stopped or killed: photos that are finished in the output folder and have not
    changed are kept, others are added. Other models, tasks or thresholds are refused there, unless with --overwrite.
    Files that were there before the first run stay: names of pictures are then numbered. A photo that has changed and
    cannot be used any more leaves the folder with its files.

    The exit status is 0 if all photos are done, 1 if some cannot be used, which are listed at the end and do not stop
    the others, and 2 if the command could not start or go on.

    Examples:

    [dim]$[/dim] farl-hf annotate photo.jpg

    [dim]$[/dim] farl-hf annotate holiday/ 'scans/*.png' --tasks parsing,landmarks --output faces

    [dim]$[/dim] farl-hf annotate clip.mp4 --tasks landmarks --smooth

    [dim]$[/dim] farl-hf annotate holiday/ --export csv,coco

    [dim]$[/dim] farl-hf annotate photos/ --no-pictures --export parquet --devices cuda:0,cuda:1 --part 3/16
    """
    with plain_errors():
        chosen = parse_tasks(tasks, without=(DETECTION,) if aligned else ())
        forms = parse_names(export or [])
        if export and not forms:
            raise InvalidArgumentError(f"--export names no form; expected {', '.join(EXPORTS)}.")
        for form in forms:
            check_name("export", form, EXPORTS)
        mine = parse_part(part)
        places = Places(parse_devices(device, devices), engine, address, workers, gpus_per_worker)
        with output_folder(part_folder(output, mine)) as folder:
            from farl_hf.cli.face_annotator import AnnotationWorker

            found, failures = find_photos(photos, videos=True)
            may_have_videos = not found or any(map(is_video, found)) or (folder / DONE_FILE).exists()
            found = photos_of_part(found, photos, mine)
            models = dict(zip(TASKS, (detector, parsing_model, landmarks_model, attributes_model), strict=True))
            needed = {task: models[task] for task in chosen} | ({} if aligned else {DETECTION: detector})
            video: dict[str, Any] = {"detect_every": detect_every, "smooth": smooth, "label_maps": label_maps}
            if label_maps and not pictures:
                raise InvalidArgumentError("--label-maps writes pictures; it cannot be used with --no-pictures.")
            refuse_unused(smooth or None, "--smooth", may_have_videos, "for videos")
            refuse_unused(label_maps or None, "--label-maps", may_have_videos, "for videos")
            refuse_unused(threshold, "--threshold", not aligned, "without --aligned")
            refuse_unused(detector, "--detector", not aligned, "without --aligned")
            for task in TASKS[1:]:
                follows = task == LANDMARKS and may_have_videos and detect_every > 1
                option = f"--{task.removeprefix('face-')}-model"
                refuse_unused(models[task], option, task in chosen or follows, f"with the task {task}")
            looks: dict[str, Any] = {
                "aligned": aligned,
                "threshold": threshold,
                "pictures": pictures,
                "runtime": runtime,
            }
            of_list = ({"tasks": chosen, **looks, "videos": video}, dict(needed))
            has_videos = not aligned and any(map(is_video, found))
            if has_videos and detect_every > 1:
                needed |= {LANDMARKS: landmarks_model}
            settings: dict[str, Any] = {
                "folder": str(folder.absolute()),
                "tasks": chosen,
                "models": {task: absolute_checkpoint(name) for task, name in needed.items()},
                **looks,
            }
            settings |= {"batch_size": batch_size, "video": video if has_videos else None}
            _check_exports(folder, forms)
            if overwrite and (folder / DONE_FILE).exists():
                check_before_removal(AnnotationWorker, settings, places, failures)
            with contextlib.closing(open_work(folder, *of_list, overwrite)) as work:
                faults = _annotate(AnnotationWorker, settings, found, work, places, "parquet" in forms)
                for form in forms:
                    path = export_faces(_Records(work, found), folder, form, work.note_export)
                    plain_console().print(readable_name(f"Exported to {path}"))
        report_failures({**failures, **faults})
    if failures or faults:
        raise typer.Exit(SOME_FAILED)


def _check_exports(folder: Path, forms: Sequence[str]) -> None:
    """Whether exports can be written.

    Raises:
        InvalidArgumentError: There is a file of others in the place of one.
        MissingExtraError: pyarrow is not installed.
    """
    others = exports_of_others(folder, DONE_FILE)
    for name in (EXPORTS[form][1] for form in forms):
        if name in others:
            raise InvalidArgumentError(
                f"{folder / name} is not of this command, or was changed since; move it, or choose another output "
                "folder."
            )
    if "parquet" in forms:
        ParquetShards.require_pyarrow()


def open_work(
    folder: Path, settings: dict[str, Any], models: Mapping[str, str | None], overwrite: bool
) -> "FinishedWork":
    """What earlier runs have finished in an output folder.

    Args:
        folder (`Path`): The folder.
        settings (`dict`): That the answers depend on, beside the models and the version.
        models (`Mapping`): Task -> checkpoint.
        overwrite (`bool`): Remove what earlier runs wrote.

    Raises:
        InvalidArgumentError: The settings were others, or the folder is of another command or version.
    """
    import farl_hf
    from farl_hf.cli.finished_work import FinishedWork
    from farl_hf.cli.model_loading import model_digests
    from farl_hf.whole_files import read_or_set_aside

    path = folder / DONE_FILE
    settings = {"version": farl_hf.__version__, **settings, "models": model_digests(models)}
    records = None if path.exists() else read_or_set_aside(folder / RECORDS_FILE, object)
    if records and not (overwrite and _are_records(records)):
        way = "give --overwrite to replace it" if _are_records(records) else "move it"
        raise InvalidArgumentError(
            f"{folder / RECORDS_FILE} is of another command or version; choose another output folder, or {way}."
        )
    others = _remove_outputs(folder) if overwrite else None
    return FinishedWork(
        path,
        settings,
        lambda line: all((folder / name).exists() for name in _files_of(line)),
        outputs_in(folder) if others is None else others,
    )


def _files_of(line: Mapping[str, Any]) -> list[str]:
    """Names of the files that were written for a photo or video, but the label maps of a video."""
    record = line["record"]
    label_maps = (face.get("segmentation") for face in record.get("faces", ()))
    named = [*record["files"].values(), record.get("faces_file"), *label_maps]
    return [Path(name).name for name in named if isinstance(name, str)]


def _are_records(content: Any) -> bool:
    """Whether the content of a JSON file is what this command writes, in this version or an earlier one."""
    return isinstance(content, list) and all(isinstance(one, dict) and {"photo", "video"} & {*one} for one in content)


def _remove_files(folder: Path, line: Mapping[str, Any]) -> None:
    """Remove what was written for a photo or video."""
    for name in _files_of(line):
        (folder / name).unlink(missing_ok=True)
    if "video" in line["record"]:
        from farl_hf.cli.video_annotator import remove_label_maps

        remove_label_maps(folder, Path(line["stem"]).name)


def _remove_outputs(folder: Path) -> list[str] | None:
    """Remove what earlier runs wrote, by their own list, which goes last.

    Returns:
        `list[str]`: Names of files that are not theirs, and stay; None if there was no list.
    """
    from farl_hf.cli.finished_work import lines_of_list

    path, others = folder / DONE_FILE, None
    if path.exists():
        others = exports_of_others(folder, DONE_FILE)
        for line in lines_of_list(path):
            with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):  # of a broken line
                others += line.get("others", ())
                _remove_files(folder, line)
        for name in {name for _, name in EXPORTS.values()}.difference(others):
            if name == EXPORTS["parquet"][1]:
                ParquetShards.remove(folder)
            else:
                (folder / name).unlink(missing_ok=True)
    (folder / RECORDS_FILE).unlink(missing_ok=True)
    path.unlink(missing_ok=True)
    return others


class _Records(Sequence[dict[str, Any]]):
    """The finished records, read anew at each iteration; those of this run's photos come last, in their order."""

    def __init__(self, work: "FinishedWork", photos: Sequence[str]) -> None:
        self.work, self.uris = work, work.uris(map(photo_uri, photos))

    def __len__(self) -> int:
        return len(self.uris)

    def __getitem__(self, place: Any) -> Any:
        (line,) = self.work.lines([self.uris[place]])
        return line["record"]

    def __iter__(self) -> Any:
        return (line["record"] for line in self.work.lines(self.uris))


def _annotate(
    worker: Callable[..., Any],
    settings: dict[str, Any],
    photos: Sequence[str],
    work: "FinishedWork",
    places: Places,
    with_shards: bool,
) -> dict[str, str]:
    """Annotate the photos and videos that are not finished, and write `faces.json`, also when the run is stopped.

    Returns:
        `dict`: The photos and videos that failed, with the reason.

    Raises:
        FileWriteError: The disk is full, or a file cannot be written.
    """
    folder = work.path.parent
    stems = output_stems(photos, folder, work.stems, work.others)
    named = [PhotoFile(name, name, photo_uri(name), stem) for name, stem in zip(photos, stems, strict=True)]
    waiting = [photo for photo in named if not work.is_finished(photo.uri, photo.name)]
    apart = [[photo for photo in waiting if is_video(photo.name) is videos] for videos in (False, True)]
    jobs = [job for some, size in zip(apart, (settings["batch_size"], 1), strict=True) for job in in_jobs(some, size)]
    job_of = {photo.uri: number for number, job in enumerate(jobs) for photo in job}
    missing = [len(job) for job in jobs]  # photos of each job that are not done
    shards = ParquetShards(work, folder) if with_shards else None
    lines: list[dict[str, Any]] = []
    forgotten: list[str] = []  # photos that have changed and fail: what was found in them before is not in them now
    failures: dict[str, str] = {}
    notes: list[str] = []
    counts = dict.fromkeys(("faces", "photos", "tracks", "frames", "videos"), 0)

    def note() -> None:
        work.add(lines)
        for former in work.forget(forgotten):
            _remove_files(folder, former)
        if shards is not None:
            shards.add([line["uri"] for line in lines], forgotten)
        lines.clear()
        forgotten.clear()

    try:
        with photos_progress(len(named), len(named) - len(waiting)) as progress:
            bar = progress.task_ids[0]
            if len(places.devices) == 1 and places.engine == "local":
                settings = settings | {"report_frame": lambda stem: _frame_counter(progress, stem)}
            for done in done_photos(worker, settings, jobs, places):
                progress.advance(bar)
                if done.fault is not None:
                    failures[done.photo.name] = done.fault
                    forgotten += [done.photo.uri] if done.answer is None else []
                if done.note is not None:
                    notes.append(done.note)
                if done.answer is not None:
                    _count_in(counts, done.answer)
                    lines.append(_finished(done))
                number = job_of[done.photo.uri]
                missing[number] -= 1
                if not missing[number]:
                    note()
        note()
        if shards is not None:
            shards.close()
    except BaseException:
        with contextlib.suppress(FileWriteError):  # what stopped the run is said
            note()
            _write_records(work, photos)
        raise
    _write_records(work, photos)
    kept = f", {counted(len(named) - len(waiting), 'photo')} finished before" if len(waiting) < len(named) else ""
    report_notes(notes)
    plain_console().print(readable_name(f"{_summary(counts)}{kept}: see {folder / RECORDS_FILE}"))
    return failures


def _finished(done: Done) -> dict[str, Any]:
    """The line of a photo. One with a fault is done again by the next run, which reports it again."""
    from farl_hf.cli.finished_work import NO_CONTENT

    return done.line(record=done.answer) | ({} if done.fault is None else {"content": NO_CONTENT})


def _write_records(work: "FinishedWork", photos: Sequence[str]) -> None:
    """Write `faces.json`: a list with a line per photo."""
    from farl_hf.whole_files import written_whole

    path = work.path.with_name(RECORDS_FILE)
    with written_whole(path) as unfinished, unfinished.open("w", encoding="utf-8", errors="backslashreplace") as file:
        file.write("[")
        for number, record in enumerate(_Records(work, photos)):
            file.write(("," if number else "") + "\n" + json.dumps(record, ensure_ascii=False))
        file.write("\n]\n")


def _frame_counter(progress: Progress, stem: str) -> Callable[[int, int | None], None]:
    """A function that moves the bar of a video and shows the speed."""
    for former in progress.task_ids[1:]:
        progress.remove_task(former)
    bar = progress.add_task(stem, total=None, unit="frames")

    def count(done: int, total: int | None) -> None:
        progress.update(bar, completed=done, total=max(total or done, done))

    return count


def _count_in(counts: dict[str, int], record: Mapping[str, Any]) -> None:
    if "video" in record:
        counts["videos"] += 1
        counts["tracks"] += record["tracks"]
        counts["frames"] += record["frames"]
    else:
        counts["photos"] += 1
        counts["faces"] += len(record["faces"])


def _summary(counts: Mapping[str, int]) -> str:
    faces, photos = counted(counts["faces"], "face"), counted(counts["photos"], "photo")
    parts = [f"{faces} in {photos}"] if counts["photos"] or not counts["videos"] else []
    if counts["videos"]:
        tracks, frames = counted(counts["tracks"], "tracked face"), counted(counts["frames"], "frame")
        parts.append(f"{tracks} in {frames} of {counted(counts['videos'], 'video')}")
    return ", ".join(parts)
