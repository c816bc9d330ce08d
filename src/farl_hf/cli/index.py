"""`farl-hf index`: the faces of many photos in one file, to be found by texts with `farl-hf match`."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from farl_hf.cli.annotate import SOME_FAILED
from farl_hf.cli.options import TWO_TOWER_MODEL, DetectorOption, DeviceOption, ThresholdOption, plain_errors

__all__ = ["index", "index_photos"]


def index(
    photos: Annotated[
        list[str] | None, typer.Argument(help="Photos, folders (with subfolders), 'glob patterns' or URLs.")
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File to write: .safetensors, or .parquet for other tools.")
    ] = Path("faces.safetensors"),
    dataset: Annotated[
        str | None, typer.Option(help="Instead of photos: lapa, celeba, synthetic_faces …, with its known faces.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option("--data_dir", "--data-dir", help="Folder of the data set, as its owners give it.")
    ] = None,
    split: Annotated[str, typer.Option(help="Split of the data set.")] = "test",
    max_samples: Annotated[
        int | None, typer.Option("--max_samples", "--max-samples", min=1, help="At most so many photos of the split.")
    ] = None,
    model: Annotated[
        str, typer.Option("--model", "-m", help="Checkpoint of both towers, name or folder.")
    ] = TWO_TOWER_MODEL,
    aligned: Annotated[bool, typer.Option("--aligned", help="Each photo is one face; search nothing.")] = False,
    threshold: ThresholdOption = None,
    detector: DetectorOption = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Faces that share a forward pass.")] = 32,
    device: DeviceOption = None,
) -> None:
    """Find the faces of photos and store what a text can be compared with: one vector per face.

    The photos themselves are not stored, only their paths. A photo that cannot be read is reported at the end and does
    not stop the others; the exit status is then 1.

    Examples:

    [dim]$[/dim] farl-hf index holiday/ --output holiday.safetensors

    [dim]$[/dim] farl-hf match --index holiday.safetensors --texts "a man with a beard"

    [dim]$[/dim] farl-hf index --dataset synthetic_faces --split test --max_samples 500
    """
    with plain_errors():
        from farl_hf.cli.match import load_model_and_processor
        from farl_hf.retrieval.face_index import checked_index_path

        checked_index_path(output)
        sources, failures = _sources(photos or [], dataset, data_dir, split, max_samples)
        loaded = load_model_and_processor(model, device)
        options = {"aligned": aligned, "threshold": threshold, "detector": detector, "batch_size": batch_size}
        faces = index_photos(loaded, sources, failures, options)
        faces.save(output)
    _show(faces, output, failures)
    if failures:
        raise typer.Exit(SOME_FAILED)


def _sources(photos: list[str], dataset: str | None, data_dir: Path | None, split: str, max_samples: int | None):
    """What is to be indexed, and the arguments that lead nowhere."""
    from farl_hf.cli.photo_files import find_photos
    from farl_hf.errors import UnknownNameError

    if bool(photos) == (dataset is not None):
        raise UnknownNameError("Give either photos or --dataset; one of them says what is to be indexed.")
    if photos:
        return find_photos(photos)
    from farl_hf.data.loading import load_face_dataset

    limits = {} if max_samples is None else {"num_photos": {split: max_samples}}
    rows = load_face_dataset(dataset, data_dir=data_dir, split=split, **limits)
    return _dataset_photos(rows, f"{dataset}/{split}"), {}


def _dataset_photos(rows: Iterable[dict[str, Any]], name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Photos of a data set with the faces that it knows, named by data set, split and row."""
    import numpy as np

    from farl_hf.data.images import decode_photo, without_decoding

    for number, row in enumerate(without_decoding(rows, ("image", "boxes_xyxy", "points5_xy"))):
        points_xy = np.asarray(row.get("points5_xy") or [], np.float32).reshape(-1, 5, 2)
        complete = points_xy[np.isfinite(points_xy).all(axis=(1, 2))]
        boxes = {} if row.get("boxes_xyxy") is None else {"boxes": row["boxes_xyxy"]}
        known = {"keypoints": complete} if len(complete) else boxes
        yield f"{name}/{number}", {"image": decode_photo(row["image"]), **known}


def index_photos(
    loaded: tuple[Any, Any], sources: Iterable[Any], failures: dict[str, Exception], options: dict
) -> Any:
    """A [`FaceIndex`] of the sources, with progress on the screen; photos that fail are added to `failures`."""
    from rich.console import Console
    from rich.progress import track

    from farl_hf.retrieval import index_faces

    shown = track(sources, description="Looking at photos", console=Console(stderr=True))
    return index_faces(*loaded, shown, on_failure=failures.__setitem__, **options)


def _show(faces: Any, output: Path, failures: dict[str, Exception]) -> None:
    from rich.console import Console

    from farl_hf.cli.options import report_failures

    report_failures(failures)
    photos = len(set(faces.photos))
    Console().print(f"{len(faces)} faces of {photos} photos: see {output}", soft_wrap=True, highlight=False)
