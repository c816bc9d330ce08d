"""One run over many photos: progress on the screen, records on the disk, whatever happens in between."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from farl_hf.cli.face_annotator import FaceAnnotator, write_json
from farl_hf.cli.photo_files import output_stems

__all__ = ["annotate_photos"]


def annotate_photos(annotator: FaceAnnotator, photos: Sequence[str], output: Path) -> dict[str, Exception]:
    """Annotate every photo and write `faces.json`, also when the run is interrupted.

    Args:
        annotator (`FaceAnnotator`): Writes the pictures.
        photos (`Sequence[str]`): Paths and URLs.
        output (`Path`): Where `faces.json` goes.

    Returns:
        `dict[str, Exception]`: The photos that failed, with the reason.
    """
    records: list[dict] = []
    failures: dict[str, Exception] = {}
    console = Console()
    try:
        with _progress(console) as progress:
            for photo, stem in progress.track(
                list(zip(photos, output_stems(photos, output), strict=True)), description="Annotating"
            ):
                try:
                    records.append(annotator.annotate(photo, photo, stem)[0])
                except Exception as error:  # one bad photo must not cost the others, whatever is wrong with it
                    failures[photo] = error
    finally:
        write_json(output / "faces.json", records)
    num_faces = sum(len(record["faces"]) for record in records)
    console.print(f"{_count(num_faces, 'face')} in {_count(len(records), 'photo')}: see {output / 'faces.json'}")
    return failures


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
