"""`farl-hf demo`: all tasks on two photographs, without network."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from farl_hf.cli.annotate import DONE_FILE, RECORDS_FILE
from farl_hf.cli.options import TASKS, DeviceOption, UserConsole, output_folder, plain_errors
from farl_hf.errors import InvalidArgumentError

GROUP_PHOTO = Path(__file__).parent / "demo_photographs" / "group.jpg"  # README.md beside it tells its origin


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the pictures and faces.json.")] = Path(
        "farl_demo"
    ),
    device: DeviceOption = None,
) -> None:
    """Show all four tasks on two photographs: of an astronaut, and of a group of people who take an oath.

    Writes a picture per task, an overview of each photo, the label maps and [bold]faces.json[/bold], and lists them.
    Files that are there already stay; names are then numbered.
    """
    with plain_errors(), output_folder(output):
        _show(_run(output, device), output)


def _run(output: Path, device: str | None) -> list[tuple[dict[str, Any], dict[str, Path]]]:
    """Annotate the demo photos; per photo its record and its pictures."""
    from farl_hf.cli.face_annotator import FaceAnnotator, load_pipelines, write_picture
    from farl_hf.drawing import contact_sheet
    from farl_hf.photos import load_photo
    from farl_hf.whole_files import write_json

    records = _earlier_records(output)
    with Console().status("Loading the models …"):
        annotator = FaceAnnotator(load_pipelines(dict.fromkeys(TASKS), device), TASKS, output)
    done = []
    for name, photo in _demo_photos():
        names = (name if number == 1 else f"{name}-{number}" for number in itertools.count(1))
        stem = next(one for one in names if not any(output.glob(f"{one}.*")))
        photo_path = output / f"{stem}.png"
        write_picture(photo_path, photo)
        with Console().status(f"Looking at {stem} …"):
            record, pictures = annotator.annotate(photo, str(photo_path), stem)
        captioned = [(task.replace("-", " "), load_photo(path)) for task, path in pictures.items()]
        pictures = {"overview": output / f"{stem}.overview.jpg", **pictures}
        write_picture(pictures["overview"], contact_sheet(captioned), quality=92)
        record |= {"photo": photo_path.name}
        records[record["photo_uri"]] = record
        done.append((record, pictures))
    write_json(output / RECORDS_FILE, list(records.values()))
    return done


def _earlier_records(folder: Path) -> dict[str, dict[str, Any]]:
    """The entries of the `faces.json` of earlier demos, by the URI of their photo."""
    from farl_hf.whole_files import read_or_set_aside

    records = read_or_set_aside(folder / RECORDS_FILE, object) or []
    ours = isinstance(records, list) and all(isinstance(one, dict) and "photo_uri" in one for one in records)
    if not ours or (folder / DONE_FILE).exists():
        raise InvalidArgumentError(f"{folder / RECORDS_FILE} is not of farl-hf demo; choose another --output.")
    return {record["photo_uri"]: record for record in records}


def _demo_photos() -> Iterator[tuple[str, Any]]:
    """Name and PIL image of scikit-image's photograph of an astronaut and of the group photograph of this package."""
    from PIL import Image
    from skimage import data

    from farl_hf.photos import load_photo

    yield "astronaut", Image.fromarray(data.astronaut())
    yield "group", load_photo(GROUP_PHOTO)


def _show(done: list[tuple[dict[str, Any], dict[str, Path]]], output: Path) -> None:
    table = Table("photo", "faces", "shows", "file", title=f"Written to {output}")
    for record, pictures in done:
        for task, path in pictures.items():
            table.add_row(record["photo"], str(len(record["faces"])), task, path.name)
        table.add_section()
    maps = sum("segmentation" in face for record, _ in done for face in record["faces"])
    table.add_row("all", "", f"{maps} label maps", "*.segmentation.png")
    table.add_row("all", "", "everything found", "faces.json")
    UserConsole().print(table)
