"""`farl-hf index` and `farl-hf match`: the faces of many photos in one file; which texts and faces fit each other."""

import base64
import contextlib
import glob
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Column, Table
from typer.core import TyperCommand

from farl_hf.cli.options import (
    DETECTION,
    IMAGE_TEXT_MODEL,
    SOME_FAILED,
    AlignedOption,
    DataDirOption,
    DetectorOption,
    DeviceOption,
    ImageTextModelOption,
    MaxSamplesOption,
    PhotosArgument,
    ThresholdOption,
    UserConsole,
    counted,
    error_console,
    photos_progress,
    plain_console,
    plain_errors,
    refuse_unused,
    report_failures,
)
from farl_hf.cli.photo_files import find_photos
from farl_hf.cli.photo_jobs import (
    AddressOption,
    DevicesOption,
    Done,
    EngineOption,
    GpusOption,
    Job,
    OverwriteOption,
    PartOption,
    PhotoFile,
    Places,
    WorkersOption,
    absolute_checkpoint,
    check_before_removal,
    decoded_photos,
    done_photos,
    in_jobs,
    parse_devices,
    parse_part,
    part_name,
    photos_of_part,
)
from farl_hf.errors import FaRLError, InvalidArgumentError
from farl_hf.photo_names import URL_SCHEMES, named_by, photo_uri, readable_name, same_uri

_TEXTS = ("--texts", "--text", "-t")


class ManyTextsCommand(TyperCommand):
    """A command whose `--texts` takes all words up to the next option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See [`click.Command.parse_args`]."""
        words: list[str] = []
        of_texts = False
        for place, word in enumerate(args):
            if word == "--":
                words += args[place:]
                break
            if of_texts and not word.startswith("-") and args[place - 1] not in _TEXTS:
                words.append(_TEXTS[0])
            of_texts = word in _TEXTS if word.startswith("-") else of_texts
            words.append(word)
        return super().parse_args(ctx, words)


def index(
    photos: PhotosArgument = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File to write: .safetensors, or .parquet for other tools.")
    ] = Path("faces.safetensors"),
    dataset: Annotated[
        str | None, typer.Option(help="Instead of photos: lapa, celeba, synthetic_faces …, with the annotated faces.")
    ] = None,
    data_dir: DataDirOption = None,
    split: Annotated[str | None, typer.Option(help="Split of the data set. Default: test.")] = None,
    max_samples: MaxSamplesOption = None,
    model: ImageTextModelOption = IMAGE_TEXT_MODEL,
    aligned: AlignedOption = False,
    threshold: ThresholdOption = None,
    detector: DetectorOption = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Faces that share a forward pass, and photos of a job.")] = 32,
    device: DeviceOption = None,
    workers: WorkersOption = 0,
    devices: DevicesOption = None,
    part: PartOption = None,
    overwrite: OverwriteOption = False,
    engine: EngineOption = "local",
    address: AddressOption = None,
    gpus_per_worker: GpusOption = 0.0,
) -> None:
    """Find the faces of photos and store one vector per face, which texts can be compared with.

    The photos themselves are not stored, only their paths. A photo that cannot be read is reported at the end and does
    not stop the others; the exit status is then 1.

    The same command goes on where it was stopped or killed, and others add to the index: photos that have not changed
    are kept, by a list beside it, [bold]faces.safetensors.done.jsonl[/bold]; those that are gone leave it. Another
    model or threshold is refused, and so is an index without such a list, that of a data set for example, unless with
    --overwrite. A part is a file of its own, [bold]faces.part-03-of-16.safetensors[/bold]; match takes all together.

    Examples:

    [dim]$[/dim] farl-hf index holiday/ --output holiday.safetensors

    [dim]$[/dim] farl-hf match --index holiday.safetensors --texts "a man with a beard"

    [dim]$[/dim] farl-hf index --dataset synthetic_faces --split test --max-samples 500

    [dim]$[/dim] farl-hf index photos/ --devices cuda:0,cuda:1 --workers 4 --part 3/16
    """
    with plain_errors():
        from farl_hf.cli.model_loading import load_model_and_processor
        from farl_hf.retrieval.face_index import checked_index_path

        mine = parse_part(part)
        places = Places(parse_devices(device, devices), engine, address, workers, gpus_per_worker)
        if mine != (1, 1):
            output = output.with_stem(f"{output.stem}.{part_name(mine)}")
        checked_index_path(output)
        refuse_unused(threshold, "--threshold", not aligned, "without --aligned")
        refuse_unused(detector, "--detector", not aligned, "without --aligned")
        done_list = output.with_name(f"{output.name}.done.jsonl")
        if output.exists() and not overwrite:
            _require_own_index(output, done_list, dataset)
        sources, failures = _sources(photos or [], dataset, data_dir, split, max_samples)
        if failures and not sources:
            _end(failures)
        if dataset is None:
            found = photos_of_part(sources, photos or [], mine)
            settings = {"model": model, "aligned": aligned, "threshold": threshold, "detector": detector}
            options = settings | {"batch_size": batch_size}
            if overwrite and done_list.exists():
                check_before_removal(IndexWorker, options, places, failures)
                _remove(done_list)
            faces, faults = _index_files(found, done_list, settings, batch_size, places)
            failures |= faults
        elif (places.num_workers, places.engine, len(places.devices), mine) != (0, "local", 1, (1, 1)):
            raise InvalidArgumentError("--workers, --engine, --devices and --part are for photos, not for --dataset.")
        else:
            loaded = load_model_and_processor(model, device)
            options = {"aligned": aligned, "threshold": threshold, "detector": detector, "batch_size": batch_size}
            faces = index_photos(loaded, sources, failures, options)
            _remove(done_list)  # it tells of the photos of the former index
        faces.save(output)
    report_failures(failures)
    plain_console().print(
        readable_name(f"{counted(len(faces), 'face')} of {counted(len(set(faces.photos)), 'photo')}: see {output}")
    )
    if failures:
        raise typer.Exit(SOME_FAILED)


def _end(failures: Mapping[str, Exception]) -> NoReturn:
    """Ends a command whose arguments name no photo."""
    report_failures(failures)
    raise typer.Exit(SOME_FAILED)


class IndexWorker:
    """Embeds the faces of the photos of jobs; see `photo_jobs`.

    Args:
        model, detector (`str`): Names or folders of checkpoints.
        aligned, threshold, batch_size: See [`index_faces`].
        num_decoders (`int`): Processes that decode photos; 0 is a thread.
        device (`str`, *optional*): Such as "cpu" or "cuda:1".
    """

    def __init__(
        self,
        model: str,
        detector: str | None,
        aligned: bool,
        threshold: float | None,
        batch_size: int,
        num_decoders: int,
        device: str | None,
    ) -> None:
        from farl_hf.cli.model_loading import load_model_and_processor
        from farl_hf.pipelines.detector_loading import load_detector
        from farl_hf.retrieval import index_faces

        self.loaded = load_model_and_processor(model, device)
        self.num_decoders = num_decoders
        found = None if aligned else load_detector(detector, self.loaded[0].device, self.loaded[0].config)
        self.options: dict[str, Any] = {
            "aligned": aligned,
            "threshold": threshold,
            "detector": found,
            "batch_size": batch_size,
        }
        index_faces(*self.loaded, (), **self.options)  # refuses a model that does not fit before any photo is read

    def stream(self, jobs: Iterable[Job]) -> Iterator[Done]:
        """Yields what became of each photo: boxes, vectors and the fingerprint of the model as the answer."""
        from farl_hf.cli.finished_work import content_of
        from farl_hf.pipelines.inputs import Prefetched
        from farl_hf.retrieval import index_faces

        jobs = list(jobs)
        contents: list[Any] = []

        def sources() -> Iterator[str]:
            for photo in (photo for job in jobs for photo in job):
                contents.append(content_of(photo.source))  # before it is read
                yield photo.source

        pictures = iter(Prefetched(decoded_photos(sources(), self.num_decoders), 2))
        for job in jobs:
            of_uri = {photo.uri: next(pictures) for photo in job}
            failures: dict[str, Any] = {uri: one for uri, one in of_uri.items() if isinstance(one, Exception)}
            sound = ((uri, picture) for uri, picture in of_uri.items() if uri not in failures)
            faces = index_faces(*self.loaded, sound, on_failure=failures.__setitem__, **self.options)
            rows: dict[str, list[int]] = {}
            for row, uri in enumerate(faces.photos):
                rows.setdefault(uri, []).append(row)
            for photo in job:
                of_photo = rows.get(photo.uri, [])
                vectors = base64.b64encode(faces.embeddings[of_photo].astype("<f4").tobytes()).decode()
                answer = {"boxes_xyxy": faces.boxes_xyxy[of_photo].tolist(), "vectors": vectors}
                answer |= {"size": faces.embeddings.shape[1], "fingerprint": faces.fingerprint}
                fault = failures.get(photo.uri)
                content = contents.pop(0)
                yield Done(photo, content, answer) if fault is None else Done(photo, content, fault=str(fault))


def _require_own_index(output: Path, done_list: Path, dataset: str | None) -> None:
    """Raises `InvalidArgumentError` where what is in the place of an index is something else, or other faces."""
    from farl_hf.cli.finished_work import lines_of_list

    try:
        former = _load_index(output)
    except FaRLError as error:
        raise InvalidArgumentError(
            f"{output} exists and is no face index; choose another name, or --overwrite."
        ) from error
    is_listed = dataset is None and done_list.exists()
    listed = (line.get("faces") for line in lines_of_list(done_list) if is_listed)
    made_by = (faces.get("fingerprint") for faces in listed if isinstance(faces, dict))
    # Of a damaged line the fingerprint may be no text: its photos are embedded again.
    same = (one == former.fingerprint or not isinstance(one, str) for one in made_by)  # read no further than needed
    if len(former) and not any(same):
        what = "is an index already" if dataset else "is an index of other faces, of a data set or another model"
        raise InvalidArgumentError(f"{output} {what}; choose another --output, or give --overwrite to replace it.")


def _remove(done_list: Path) -> None:
    from farl_hf.whole_files import held

    if done_list.exists():
        with held(done_list):
            done_list.unlink()


def _index_files(
    photos: Sequence[str],
    path: Path,
    settings: dict[str, Any],
    batch_size: int,
    places: Places,
) -> tuple[Any, dict[str, str]]:
    """The index of all photos of a list, to which these are added; and those of them that failed, with the reason."""
    import farl_hf
    from farl_hf.checkpoints import checkpoint
    from farl_hf.cli.finished_work import FinishedWork, checkpoint_digest
    from farl_hf.cli.model_loading import model_digests
    from farl_hf.pipelines.face_detection import DETECTOR_FOLDER

    model, detector, aligned = settings["model"], settings["detector"], settings["aligned"]
    folder = checkpoint(model)
    beside = str(folder / DETECTOR_FOLDER) if (folder / DETECTOR_FOLDER).is_dir() else None
    digests = {"images and texts": checkpoint_digest(folder)}
    digests |= {} if aligned else model_digests({DETECTION: detector or beside})
    told = {"version": farl_hf.__version__, "aligned": aligned, "threshold": settings["threshold"], "models": digests}
    with contextlib.closing(FinishedWork(path, told, _is_embedded)) as work:
        named = [PhotoFile(photo, photo, photo_uri(photo)) for photo in photos]
        waiting = [photo for photo in named if not work.is_finished(photo.uri, photo.name)]
        here = {name: absolute_checkpoint(settings[name]) for name in ("model", "detector")}
        failures: dict[str, str] = {}
        with photos_progress(len(named), len(named) - len(waiting)) as progress:
            jobs, lines = in_jobs(waiting, batch_size), []
            for done in done_photos(IndexWorker, settings | here | {"batch_size": batch_size}, jobs, places):
                progress.advance(progress.task_ids[0])
                if done.fault is not None:
                    failures[done.photo.name] = done.fault
                else:
                    lines.append(done.line(photo=done.photo.name, faces=done.answer))
                if len(lines) >= batch_size:
                    work.add(lines)
                    lines = []
            work.add(lines)
        work.forget([photo.uri for photo in named if photo.name in failures])
        names = {photo.uri: photo.name for photo in named}
        finished = (line for line in work.lines(work.uris(names)) if _is_embedded(line) and _is_there(line, names))
        return _joined(((_name_of(line, names), line["faces"]) for line in finished), model), failures


def _is_there(line: Mapping[str, Any], names: Mapping[str, str]) -> bool:
    """Whether a photo of the list was asked for in this run, is a URL, or is still a file."""
    uri = same_uri(line["uri"])
    return uri in names or uri.startswith(URL_SCHEMES) or os.path.exists(named_by(uri))


def _name_of(line: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """The photo of a line: as it is named in this run, else as in the former one if that still leads to it."""
    name, uri = str(line.get("photo") or ""), same_uri(line["uri"])
    if uri in names:
        return names[uri]
    return name if name and photo_uri(name) == uri else named_by(uri)


def _is_embedded(line: Mapping[str, Any]) -> bool:
    """Whether a line of the list holds as many vectors as boxes."""
    faces = line["faces"]
    num_bytes = 4 * faces["size"] * len(faces["boxes_xyxy"])
    four_sides = all(len(box_xyxy) == 4 for box_xyxy in faces["boxes_xyxy"])
    return four_sides and len(faces["vectors"]) == -(-num_bytes // 3) * 4 and isinstance(faces["fingerprint"], str)


def _joined(photos: Iterable[tuple[str, Mapping[str, Any]]], model: str) -> Any:
    """A [`FaceIndex`] of what workers answered for photos."""
    import numpy as np

    from farl_hf.cli.model_loading import load_model_and_processor
    from farl_hf.retrieval import FaceIndex, index_faces

    parts = []
    for name, faces in photos:
        vectors = np.frombuffer(base64.b64decode(faces["vectors"]), "<f4").reshape(-1, faces["size"])
        boxes_xyxy = np.array(faces["boxes_xyxy"], np.float32).reshape(-1, 4)
        parts.append(FaceIndex(vectors, (name,) * len(vectors), boxes_xyxy, faces["fingerprint"]))
    return FaceIndex.joined(parts) if parts else index_faces(*load_model_and_processor(model, None), ())


def _load_index(path: Path) -> Any:
    """An index, or those of a pattern as one."""
    from farl_hf.retrieval import FaceIndex

    parts = [] if path.exists() else sorted(glob.glob(str(path)))
    return FaceIndex.joined([FaceIndex.load(part) for part in parts]) if parts else FaceIndex.load(path)


def _sources(
    photos: list[str], dataset: str | None, data_dir: Path | None, split: str | None, max_samples: int | None
) -> tuple[Any, dict[str, Any]]:
    """The photos to index, and the arguments that name none, with the reason."""
    if bool(photos) == (dataset is not None):
        raise InvalidArgumentError("Give either photos or --dataset, not both and not neither.")
    if dataset is None:
        refuse_unused(data_dir, "--data-dir", False, "with --dataset")
        refuse_unused(max_samples, "--max-samples", False, "with --dataset")
        refuse_unused(split, "--split", False, "with --dataset")
        return find_photos(photos)
    split = split or "test"
    from farl_hf.data.loading import load_face_dataset

    num_photos = None if max_samples is None else {split: max_samples}
    rows = load_face_dataset(dataset, data_dir=data_dir, split=split, num_photos=num_photos)
    return _dataset_photos(rows, f"{dataset}/{split}"), {}


def _dataset_photos(rows: Sequence[dict[str, Any]], name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Photos of a data set with their annotated faces, named by data set, split and row."""
    import numpy as np

    from farl_hf.data.samples.face_samples import without_decoding

    for number, row in enumerate(without_decoding(rows, ("image", "boxes_xyxy", "points5_xy"))):
        points_xy = np.asarray(row.get("points5_xy") or [], np.float32).reshape(-1, 5, 2)
        is_complete = np.asarray(np.isfinite(points_xy).all(axis=(1, 2)))
        boxes = row.get("boxes_xyxy")
        known: list[dict[str, Any]] = [{"keypoints": points_xy[is_complete]}] if is_complete.any() else []
        if boxes is not None and (not known or len(boxes) == len(points_xy)):
            others = [box for face, box in enumerate(boxes) if not (known and is_complete[face])]
            known += [{"boxes": others}] if others or not known else []
        for faces in known or [{}]:
            yield f"{name}/{number}", {"image": row["image"], **faces}  # decoded where a bad one is caught


def index_photos(
    loaded: tuple[Any, Any], sources: Iterable[Any], failures: dict[str, Exception], options: dict
) -> Any:
    """A [`FaceIndex`] of the sources, with progress on the screen; photos that fail are added to `failures`."""
    from farl_hf.retrieval import index_faces

    shown = track(sources, description="Looking at photos", console=Console(stderr=True))
    return index_faces(*loaded, shown, on_failure=failures.__setitem__, **options)


def match(
    photos: PhotosArgument = None,
    texts: Annotated[list[str] | None, typer.Option(*_TEXTS, help="One or more texts; photos come before it.")] = None,
    index: Annotated[
        Path | None,
        typer.Option(
            "--index", "-i", help="Instead of photos: a file that farl-hf index wrote, or a 'pattern' of parts."
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many faces per text, and texts per face, to show.")] = 5,
    plain: Annotated[
        bool, typer.Option("--plain", help="Compare the texts as they are, without putting them into sentences.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Also write everything shown to this JSON file.")
    ] = None,
    model: ImageTextModelOption = IMAGE_TEXT_MODEL,
    aligned: AlignedOption = False,
    threshold: ThresholdOption = None,
    detector: DetectorOption = None,
    device: DeviceOption = None,
) -> None:
    """Rank texts for every face, and faces for every text, by similarity (cosine, -1 to 1).

    Each text is put into several sentences ("a photo of …") whose vectors are averaged; write it as a caption would
    describe the person: "a man with a beard" rather than "beard". The probability compares the given texts with each
    other, for one face; with a single text it is always 100 %.

    Examples:

    [dim]$[/dim] farl-hf match photo.jpg --texts "a smiling person" "a sad person"

    [dim]$[/dim] farl-hf match holiday/ --texts "a person wearing eyeglasses" --top 20 --output matches.json

    [dim]$[/dim] farl-hf match --index holiday.safetensors --texts "a woman with a hat"
    """
    with plain_errors():
        from farl_hf.cli.model_loading import load_model_and_processor
        from farl_hf.labels.attributes import PROMPT_WRAPPERS
        from farl_hf.retrieval import embed_texts
        from farl_hf.retrieval.text_embedding import PLAIN, checked_texts
        from farl_hf.whole_files import remove_left_over, write_json

        checked = checked_texts(texts or [])  # before anything is loaded
        if bool(photos) == (index is not None):
            raise InvalidArgumentError(
                "Give either photos or --index, not both and not neither. Photos come before --texts."
            )
        refuse_unused(aligned or None, "--aligned", index is None, "with photos")
        refuse_unused(threshold, "--threshold", index is None, "with photos")
        refuse_unused(detector, "--detector", index is None, "with photos")
        refuse_unused(threshold, "--threshold", not aligned, "without --aligned")
        refuse_unused(detector, "--detector", not aligned, "without --aligned")
        if output is not None and not output.parent.is_dir():
            raise InvalidArgumentError(f"{output} cannot be written: make the folder {output.parent} first.")
        if output is not None and output.exists() and not _is_of_match(output):
            raise InvalidArgumentError(f"{output} exists and is no output of `farl-hf match`; choose another name.")
        faces = None if index is None else _load_index(index)
        found, failures = find_photos(photos or [])
        if failures and not found:
            _end(failures)
        loaded = load_model_and_processor(model, device)
        text_embeds = embed_texts(*loaded, checked, PLAIN if plain else PROMPT_WRAPPERS)
        if faces is None:
            options = {"aligned": aligned, "threshold": threshold, "detector": detector}
            faces = index_photos(loaded, found, failures, options)
        else:
            faces.require_model(loaded[0])
        matched = {"num_faces": len(faces), "faces_of_text": _faces_of_texts(faces, checked, text_embeds, top)}
        if index is None:
            scale = float(loaded[0].logit_scale.detach().exp())
            matched["texts_of_face"] = _texts_of_faces(faces, checked, faces.similarities(text_embeds), scale, top)
        if output is not None:
            remove_left_over(output)
            write_json(output, matched)
    report_failures(failures)
    if not matched["num_faces"]:
        error_console().print("No face was found. --aligned takes the whole pictures, --threshold 0.1 finds more.")
        raise typer.Exit(SOME_FAILED)
    _show(matched)
    if failures:
        raise typer.Exit(SOME_FAILED)


def _is_of_match(path: Path) -> bool:
    """Whether a file is the output of an earlier run, which the next one replaces."""
    try:
        return "num_faces" in json.loads(path.read_bytes())
    except (OSError, ValueError, TypeError, RecursionError):
        return False


def _faces_of_texts(faces: Any, texts: tuple[str, ...], text_embeds: Any, top: int) -> list[dict[str, Any]]:
    rows, similarities = faces.search(text_embeds, top)
    return [
        {
            "text": text,
            "faces": [_face(faces, row) | {"similarity": value} for row, value in zip(*found, strict=True)],
        }
        for text, *found in zip(texts, rows.tolist(), similarities.tolist(), strict=True)
    ]


def _texts_of_faces(faces: Any, texts: tuple[str, ...], similarities: Any, scale: float, top: int) -> list[dict]:
    import numpy as np

    powers = np.exp(scale * (similarities - similarities.max(axis=1, keepdims=True)))
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    order = np.argsort(-similarities, axis=1, kind="stable")[:, :top]
    listed = [
        [
            {"text": texts[column], "similarity": float(found[column]), "probability": float(shares[column])}
            for column in best
        ]
        for best, found, shares in zip(order, similarities, probabilities, strict=True)
    ]
    return [_face(faces, row) | {"texts": of_face} for row, of_face in enumerate(listed)]


def _face(faces: Any, row: int) -> dict[str, Any]:
    name = faces.photos[row]
    found = {"photo": readable_name(name), "photo_uri": photo_uri(name), "face": _number_in_photo(faces, row)}
    return found | {"box_xyxy": [round(float(side), 1) for side in faces.boxes_xyxy[row]]}


def _number_in_photo(faces: Any, row: int) -> int:
    """Number of a face within its photo, from 1; the faces of a photo follow each other, best score first."""
    first = row
    while first and faces.photos[first - 1] == faces.photos[row]:
        first -= 1
    return row - first + 1


def _photo_column() -> Column:
    return Column("photo", overflow="fold")  # names that are cut look alike


def _show(matched: dict[str, Any]) -> None:
    console = UserConsole()
    if "texts_of_face" in matched:
        columns = (_photo_column(), "face", "text", "similarity", "among these texts")
        table = Table(*columns, title="Texts for each face")
        for face in matched["texts_of_face"]:
            where = _where(face)
            for found in face["texts"]:
                table.add_row(*where, found["text"], f"{found['similarity']:.3f}", f"{found['probability']:.1%}")
                where = ("", "")
            table.add_section()
        console.print(table)
    table = Table("text", _photo_column(), "face", "similarity", title="Faces for each text")
    for text in matched["faces_of_text"]:
        for face in text["faces"]:
            table.add_row(text["text"], *_where(face), f"{face['similarity']:.3f}")
        table.add_section()
    console.print(table)


def _where(face: dict[str, Any]) -> tuple[str, str]:
    return face["photo"], str(face["face"])
