"""`farl-hf crop` and `farl-hf anonymize`, and the tables that `farl-hf annotate --export` writes."""

import csv
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import track

from farl_hf.cli.options import (
    DETECTION,
    LANDMARKS,
    SOME_FAILED,
    DetectorOption,
    DeviceOption,
    ThresholdOption,
    counted,
    error_console,
    output_folder,
    parse_names,
    plain_console,
    plain_errors,
    refuse_unused,
    report_failures,
    report_notes,
)
from farl_hf.cli.photo_files import find_photos, is_video, output_stems, outputs_in
from farl_hf.errors import FileWriteError, InvalidArgumentError, MissingExtraError, check_name
from farl_hf.photo_names import readable_name

if TYPE_CHECKING:
    from farl_hf.cli.finished_work import FinishedWork

PARSING = "face-parsing"
_CROP_SIZE = 256
_HIDDEN_S = 0.5  # for which a face that is lost in a video stays hidden at its last place
_PHOTOS_PER_SHARD = 1000
_ROWS_AT_A_TIME = 1000
_PARQUET = "faces.parquet"
_SHARD = "shard-*.parquet"
_INTEGERS = ("face", "frame", "track", "area_")  # beginnings of the names of columns
PhotosAndVideos = Annotated[
    list[str], typer.Argument(help="Photos, videos, folders (with subfolders), 'glob patterns' or URLs.")
]
ParsingModelOption = Annotated[str | None, typer.Option(help="Checkpoint of face-parsing.")]


def crop(
    photos: Annotated[list[str], typer.Argument(help="Photos, folders (with subfolders), 'glob patterns' or URLs.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the crops.")] = Path("farl_crops"),
    size: Annotated[int, typer.Option(min=2, max=8192, help="Side of a crop in pixels.")] = _CROP_SIZE,
    scale: Annotated[float, typer.Option(help="Size of the face in it; below 1, more of the photo is seen.")] = 1.0,
    upright: Annotated[
        bool, typer.Option("--upright", help="Do not turn and place faces by their five points.")
    ] = False,
    cut_out: Annotated[
        list[str] | None,
        typer.Option(help="Instead: these classes of face-parsing on a transparent ground, or all."),
    ] = None,
    threshold: ThresholdOption = None,
    detector: DetectorOption = None,
    parsing_model: ParsingModelOption = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Photos that are held at a time.")] = 8,
    device: DeviceOption = None,
) -> None:
    """Write a picture of every face: aligned, upright, or cut out.

    For [bold]photo.jpg[/bold], the output folder gets [bold]photo.face-1.png[/bold] and so on, best score first. Files
    that are there already stay; names are then numbered.

    Examples:

    [dim]$[/dim] farl-hf crop holiday/ --size 112 --output faces

    [dim]$[/dim] farl-hf crop portrait.jpg --cut-out hair,skin
    """
    with plain_errors(), output_folder(output) as folder:
        from farl_hf import outputs
        from farl_hf.whole_files import write_picture

        classes = parse_names(cut_out or [])
        if cut_out and not classes:
            raise InvalidArgumentError("--cut-out names no class; give names of classes of face-parsing, or all.")
        if classes and (upright, size, scale) != (False, _CROP_SIZE, 1.0):
            raise InvalidArgumentError(
                "--upright, --size and --scale are for crops; --cut-out keeps the photo's frame."
            )
        refuse_unused(parsing_model, "--parsing-model", bool(classes), "with --cut-out")
        found, failures = find_photos(photos, output_folder=folder)
        models = {DETECTION: detector} | ({PARSING: parsing_model} if classes else {})
        analyze = _analysis(models, device, batch_size) if found else None
        if analyze is not None and classes and classes != ("all",):
            for name in classes:
                check_name("class", name, analyze.heads["parsing"].model.config.id2label.values())
        stems = dict(zip(found, output_stems(found, folder, others=outputs_in(folder)), strict=True))
        num_faces = 0
        for photo, stem, picture, faces in _analyzed(analyze, stems, batch_size, threshold, failures):
            for row, face in enumerate(faces, start=1):
                try:
                    if classes:
                        cropped = outputs.cutout(picture, face, None if classes == ("all",) else classes)
                    else:
                        cropped = outputs.crop(picture, face, not upright, size, scale)
                except ValueError as error:
                    failures[f"{photo}, face {row}"] = error
                else:
                    write_picture(folder / f"{stem}.face-{row}.png", cropped)
                    num_faces += 1
        _finish(f"{counted(num_faces, 'face')} of {counted(len(found), 'photo')}: see {folder}", failures)


def anonymize(
    photos: PhotosAndVideos,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the pictures and videos.")] = Path(
        "farl_anonymized"
    ),
    method: Annotated[str, typer.Option(help="blur, pixelate, or fill with black.")] = "blur",
    region: Annotated[
        str,
        typer.Option(help="box; face: skin and parts, by face-parsing; or landmarks: their hull, without forehead."),
    ] = "box",
    strength: Annotated[float, typer.Option(help="Multiplies blur and blocks; from 0.25 to below 100.")] = 1.0,
    threshold: ThresholdOption = None,
    detector: DetectorOption = None,
    parsing_model: ParsingModelOption = None,
    landmarks_model: Annotated[str | None, typer.Option(help="Checkpoint of face-landmarks.")] = None,
    detect_every: Annotated[
        int | None, typer.Option(min=1, help="Frames of a video from one detection to the next. Default: 1.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Photos that are held at a time.")] = 8,
    device: DeviceOption = None,
) -> None:
    """Make the faces of photos and videos unrecognisable.

    The output folder gets [bold]photo.anonymized.jpg[/bold], without the metadata of the photo, and
    [bold]clip.anonymized.mp4[/bold], with its sound. Files that are there already stay; names are then numbered. In a
    video, a face that is lost stays hidden at its last place for half a second. Needs the extra video.

    [bold]Faces that are not found stay visible: look at the results.[/bold] A lower --threshold finds more.

    Examples:

    [dim]$[/dim] farl-hf anonymize street.jpg --method pixelate

    [dim]$[/dim] farl-hf anonymize clip.mp4 --region face --threshold 0.3
    """
    with plain_errors(), output_folder(output) as folder:
        from farl_hf import outputs
        from farl_hf.cli.model_loading import load_pipelines
        from farl_hf.whole_files import write_picture

        check_name("method", method, outputs.METHODS)
        check_name("region", region, outputs.REGIONS)
        found, failures = find_photos(photos, videos=True, output_folder=folder)
        refuse_unused(parsing_model, "--parsing-model", region == "face", "with --region face")
        with_points = region == "landmarks" or any(map(is_video, found))
        refuse_unused(landmarks_model, "--landmarks-model", with_points, "with --region landmarks and for videos")
        refuse_unused(detect_every, "--detect-every", not found or any(map(is_video, found)), "for videos")
        settings: dict[str, Any] = {"method": method, "region": region, "strength": strength}
        models = {DETECTION: detector}
        models |= {PARSING: parsing_model} if region == "face" else {}
        models |= {LANDMARKS: landmarks_model} if region == "landmarks" else {}
        analyze = _analysis(models, device, batch_size) if found else None
        stems = dict(zip(found, output_stems(found, folder, others=outputs_in(folder)), strict=True))
        videos = [photo for photo in found if is_video(photo)]
        notes: list[str] = []
        pictures = {photo: stem for photo, stem in stems.items() if photo not in videos}
        num_faces = 0
        for photo, stem, picture, faces in _analyzed(analyze, pictures, batch_size, threshold, failures):
            try:
                hidden = outputs.anonymize(picture, faces, **settings)
                write_picture(folder / f"{stem}.anonymized.jpg", hidden, quality=92, subsampling=0)
                num_faces += len(faces)
            except FileWriteError:
                raise
            except ValueError as error:
                failures[photo] = error
        landmarks = load_pipelines({LANDMARKS: landmarks_model}, device)[LANDMARKS] if videos else None
        for video in videos:
            try:
                path = folder / f"{stems[video]}.anonymized.mp4"
                followed, note = _anonymize_video(
                    video, path, analyze, landmarks, detect_every or 1, threshold, settings
                )
                num_faces += followed
                notes += [note] if note else []
            except FileWriteError:
                raise
            except (OSError, ValueError, ImportError) as error:
                failures[video] = error
        report_notes(notes)
        sources = [counted(len(some), noun) for some, noun in ((pictures, "photo"), (videos, "video")) if some]
        _finish(
            f"{counted(num_faces, 'face')} of {' and '.join(sources) or '0 photos'} hidden: see {folder}", failures
        )


def _analysis(models: Mapping[str, str | None], device: str | None, batch_size: int) -> Any:
    """A face-analysis pipeline of the named tasks."""
    from farl_hf.cli.face_annotator import analysis_of
    from farl_hf.cli.model_loading import load_pipelines

    return analysis_of(load_pipelines(models, device), batch_size)


def _analyzed(
    analyze: Any,
    stems: Mapping[str, str],
    batch_size: int,
    threshold: float | None,
    failures: dict[str, Exception],
) -> Iterator[tuple[str, str, Any, list[dict[str, Any]]]]:
    """Photos (with the stems of their outputs) that can be used, with picture and faces; others become failures."""
    from farl_hf.cli.face_annotator import analyzed_photos

    detection: dict[str, Any] = {} if threshold is None else {"threshold": threshold}
    inputs = ((photo, photo, stem) for photo, stem in stems.items())
    answers = analyzed_photos(analyze, inputs, batch_size, **detection)
    for photo, stem, picture, faces in track(
        answers, description="Looking at photos", total=len(stems), console=error_console(), disable=not stems
    ):
        if isinstance(faces, Exception):
            failures[photo] = faces
        else:
            yield photo, stem, picture, faces


def _anonymize_video(
    video: str,
    path: Path,
    analyze: Any,
    landmarks: Any,
    detect_every: int,
    threshold: float | None,
    settings: Mapping[str, Any],
) -> tuple[int, str | None]:
    """Write a video without recognisable faces; the number of faces that were followed, and a note on its sound."""
    from farl_hf import outputs
    from farl_hf.video import VideoFile
    from farl_hf.video.face_following import follow_faces
    from farl_hf.video.face_state import ConfidentLandmarksPipeline
    from farl_hf.video.face_tracker import FaceTracker
    from farl_hf.video.video_files import VideoWriter

    source = VideoFile(video)
    detection: dict[str, Any] = {} if threshold is None else {"threshold": threshold}
    read_landmarks = ConfidentLandmarksPipeline.of(landmarks)
    tracker = FaceTracker(analyze.find_faces.detector, read_landmarks, detect_every, **detection)
    last: dict[int, tuple[float, dict[str, Any]]] = {}  # label maps are as large as frames: soon forgotten
    followed: set[int] = set()
    with VideoWriter(path, source) as writer:
        frames = follow_faces(source.frames(), tracker)
        for frame in track(frames, description=path.stem, total=source.num_frames, console=error_console()):
            parsed = (
                analyze({"image": frame.image, "faces": frame.faces})
                if "parsing" in analyze.heads
                else [{}] * len(frame.faces)
            )
            for face, more in zip(frame.faces, parsed, strict=True):
                last[face["track"]] = (frame.time_s, more | face)
            followed |= {face["track"] for face in frame.faces}
            last = {track: seen for track, seen in last.items() if frame.time_s - seen[0] <= _HIDDEN_S}
            hidden = [face for _, face in last.values()]
            writer.write(outputs.anonymize(frame.image, hidden, **settings), frame.time_s)
        writer.close()
    return len(followed), writer.sound_note


def _finish(summary: str, failures: Mapping[str, Exception]) -> None:
    report_failures(failures)
    plain_console().print(readable_name(summary))
    if failures:
        raise typer.Exit(SOME_FAILED)


# Exports of `farl-hf annotate`


def export_faces(
    records: Sequence[dict[str, Any]],
    folder: Path,
    form: str,
    note: Callable[[str, dict[str, Any] | None], None] = lambda name, content: None,
) -> Path:
    """Write all that is in an output folder of `farl-hf annotate` in the form of another tool; shards are there.

    Args:
        records (`Sequence[dict]`): What `faces.json` holds.
        folder (`Path`): The output folder, with the label maps.
        form (`str`): One of `EXPORTS`.
        note (`Callable`, *optional*): Called with the name and the content of the file before it is in place.

    Returns:
        `Path`: The file.

    Raises:
        FileWriteError: The file cannot be written.
    """
    from farl_hf.cli.finished_work import content_of
    from farl_hf.whole_files import written_whole

    write, name = EXPORTS[form]
    if write is None:
        return folder / name
    with written_whole(folder / name) as unfinished:
        write(records, folder, unfinished)
        note(name, content_of(str(unfinished)))
    return folder / name


def _write_lines(records: Sequence[dict[str, Any]], folder: Path, path: Path) -> None:
    """A line per photo, with masks in it; videos have such files already."""
    from farl_hf.outputs.face_tables import plain_answer

    with path.open("w", encoding="utf-8") as file:
        for record in (record for record in records if "photo" in record):
            faces = plain_answer([_with_label_map(face, folder, record["size_hw"]) for face in record["faces"]])
            file.write(json.dumps(record | {"faces": faces}, ensure_ascii=False) + "\n")


def _write_coco(records: Sequence[dict[str, Any]], folder: Path, path: Path) -> None:
    from farl_hf.outputs import to_coco

    photos = (
        (
            record["photo"],
            record["size_hw"],
            [_with_label_map(face, folder, record["size_hw"]) for face in record["faces"]],
        )
        for record in records
        if "photo" in record
    )
    path.write_text(json.dumps(to_coco(photos), ensure_ascii=False), encoding="utf-8")


def _write_csv(records: Sequence[dict[str, Any]], folder: Path, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, _columns(records, folder))
        writer.writeheader()
        writer.writerows(_rows(records, folder))


def _arrow_type(column: str) -> str:
    if column == "photo":
        return "string"
    if column.startswith("present_"):
        return "bool"
    return "int64" if column.startswith(_INTEGERS) else "float64"


EXPORTS: dict[str, tuple[Any, str]] = {
    "jsonl": (_write_lines, "faces.jsonl"),
    "parquet": (None, _PARQUET),  # a folder, see `ParquetShards`
    "csv": (_write_csv, "faces.csv"),
    "coco": (_write_coco, "faces.coco.json"),
}


def exports_of_others(folder: Path, done_file: str) -> list[str]:
    """Names of exports that are there and that this command did not write, by its list, or that were changed since."""
    from farl_hf.cli.finished_work import earlier_exports, has_content, lines_of_list

    noted = earlier_exports(folder / done_file)
    first = next(lines_of_list(folder / done_file), {})

    def is_ours(name: str) -> bool:
        if name == _PARQUET:  # shards tell themselves whose they are
            return (folder / name).is_dir()
        if first and not noted:  # of a version that noted no exports, but what was there before the first run
            return name not in first.get("others", ())
        return any(content and has_content(str(folder / name), content) for content in noted.get(name, ()))

    return [name for _, name in EXPORTS.values() if (folder / name).exists() and not is_ours(name)]


def _columns(records: Iterable[dict[str, Any]], folder: Path) -> list[str]:
    """Of all rows; those of photos and frames differ in `track`."""
    columns: dict[str, None] = dict.fromkeys(("photo", "frame", "time", "face", "track", "score"))
    for row in _rows(records, folder, with_label_maps=False):
        columns |= dict.fromkeys(row)
    return list(columns)


def _rows(records: Iterable[dict[str, Any]], folder: Path, with_label_maps: bool = True) -> Iterator[dict[str, Any]]:
    from farl_hf.outputs import to_rows

    for leading, size_hw, faces in _answers(records, folder):
        shown = [_with_label_map(face, folder, size_hw) for face in faces] if with_label_maps else faces
        yield from to_rows(shown, **leading)


def _answers(
    records: Iterable[dict[str, Any]], folder: Path
) -> Iterator[tuple[dict[str, Any], Sequence[int], list[Any]]]:
    """The faces of each photo and each frame of a video; before them which it is, and its height and width."""
    for record in records:
        if "photo" in record:
            yield {"photo": record["photo"], "frame": None, "time": None}, record["size_hw"], record["faces"]
            continue
        with (folder / record["faces_file"]).open(encoding="utf-8") as lines:
            for frame in map(json.loads, lines):
                leading = {"photo": record["video"], "frame": frame["frame"], "time": frame["time"]}
                yield leading, (), frame["faces"]


def _with_label_map(face: dict[str, Any], folder: Path, size_hw: Sequence[int]) -> dict[str, Any]:
    """The face with its label map instead of the name of its file, or of its masks."""
    from farl_hf.outputs.face_tables import label_map_of
    from farl_hf.photos import open_picture

    if "segmentation" not in face:
        return face
    labels = {int(label): name for label, name in face["labels"].items()}
    face = face | {"labels": labels}
    if isinstance(face["segmentation"], Mapping):
        return face | {"segmentation": label_map_of(face["segmentation"], labels, size_hw)}
    with open_picture(folder / face["segmentation"]) as picture:
        return face | {"segmentation": picture.copy()}


class ParquetShards:
    """The faces of an output folder as Parquet files of about a thousand photos each, written as these are finished.

    Each appears complete or not at all, and its footer tells its photos. Shards with photos that have changed since
    are removed, and their other photos are written again.

    Args:
        work ([`FinishedWork`]): What `farl-hf annotate` has finished.
        folder (`Path`): The output folder.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """

    def __init__(self, work: "FinishedWork", folder: Path) -> None:
        self.require_pyarrow()
        from farl_hf.data.recorded_files import read_record

        self.work = work
        self.output = folder
        self.folder = folder / _PARQUET
        self.shard_of: dict[str, Path] = {}
        for path in sorted(self.folder.glob(_SHARD)):
            photos = (read_record(path) or {}).get("photos")
            written = photos if isinstance(photos, dict) else {}  # of another command
            same = all(uri in work and work.version(uri) == version for uri, version in written.items())
            if same and not self.shard_of.keys() & written.keys():
                self.shard_of |= dict.fromkeys(written, path)
            else:
                path.unlink()
        self.waiting = {uri: None for uri in work.uris() if uri not in self.shard_of}

    @staticmethod
    def require_pyarrow() -> None:
        """See the class: before the work begins, and before anything is removed."""
        try:
            import pyarrow  # noqa: F401
        except ImportError as error:
            raise MissingExtraError('Parquet needs pyarrow: pip install "farl-hf[search]".') from error

    @staticmethod
    def remove(folder: Path) -> None:
        """Remove the shards of an output folder."""
        for path in (folder / _PARQUET).glob(_SHARD):
            path.unlink()

    def add(self, uris: Sequence[str], forgotten: Sequence[str] = ()) -> None:
        """Take photos that were finished, leave out others, and write the shards that are full."""
        for path in {self.shard_of[uri] for uri in (*uris, *forgotten) if uri in self.shard_of}:
            path.unlink()
            self.waiting |= dict.fromkeys(uri for uri, shard in self.shard_of.items() if shard == path)
            self.shard_of = {uri: shard for uri, shard in self.shard_of.items() if shard != path}
        self.waiting |= dict.fromkeys(uris)
        for uri in forgotten:
            self.waiting.pop(uri, None)
        while len(self.waiting) >= _PHOTOS_PER_SHARD:
            self._write(list(self.waiting)[:_PHOTOS_PER_SHARD])

    def close(self) -> None:
        """Write what is left. Photos without a face alone give no file."""
        self.folder.mkdir(exist_ok=True)
        self._write(list(self.waiting))

    def _write(self, uris: list[str]) -> None:
        import pyarrow

        from farl_hf.data.recorded_files import recorded_parquet

        for uri in uris:
            self.waiting.pop(uri)
        columns = _columns((line["record"] for line in self.work.lines(uris)), self.output)
        rows = _rows((line["record"] for line in self.work.lines(uris)), self.output)
        some = list(itertools.islice(rows, _ROWS_AT_A_TIME))
        if not some:  # without a face, the columns are not known
            return
        numbers = [int(path.stem.rpartition("-")[2]) for path in self.folder.glob(_SHARD)]
        path = self.folder / f"shard-{max(numbers, default=-1) + 1:05}.parquet"
        schema = pyarrow.schema([(name, _arrow_type(name)) for name in columns])
        with recorded_parquet(path, schema, {"photos": {uri: self.work.version(uri) for uri in uris}}) as writer:
            while some:
                writer.write_table(pyarrow.Table.from_pylist(some, schema=schema))
                some = list(itertools.islice(rows, _ROWS_AT_A_TIME))
        self.shard_of |= dict.fromkeys(uris, path)
