"""`farl-hf annotate`: a picture per photo and task, and a JSON file of everything found."""

from pathlib import Path
from typing import Annotated

import typer

from farl_hf.cli.face_options import DeviceOption, ThresholdOption
from farl_hf.cli.plain_errors import plain_errors, report_failures
from farl_hf.cli.task_names import DETECTION, TASKS, parse_tasks

__all__ = ["annotate"]

SOME_FAILED = 1  # exit status when photos were left out

_MODELS = "Models"


def annotate(
    photos: Annotated[list[str], typer.Argument(help="Photos, folders (with subfolders), 'glob patterns' or URLs.")],
    tasks: Annotated[
        list[str], typer.Option("--tasks", "-t", help=f"What to do, separated by commas: {', '.join(TASKS)}.")
    ] = list(TASKS),  # noqa: B006
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the pictures and faces.json.")] = Path(
        "farl_annotations"
    ),
    threshold: ThresholdOption = None,
    aligned: Annotated[bool, typer.Option("--aligned", help="Each photo is one face; search nothing.")] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Faces that share a forward pass.")] = 8,
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
) -> None:
    """Find the faces of photos, draw what is found, and write it to [bold]faces.json[/bold].

    For [bold]photo.jpg[/bold], the output folder gets [bold]photo.face-detection.jpg[/bold] and so on, one picture
    per task, and the label map of each face as [bold]photo.face-1.segmentation.png[/bold].
    [bold]faces.json[/bold] lists the photos with their faces: score, box, keypoints, and the answers of the tasks.

    A photo that cannot be read is reported at the end and does not stop the others; the exit status is then 1.

    Examples:

    [dim]$[/dim] farl-hf annotate photo.jpg

    [dim]$[/dim] farl-hf annotate holiday/ 'scans/*.png' --tasks parsing,landmarks --output faces
    """
    with plain_errors():
        chosen = parse_tasks(tasks, without=(DETECTION,) if aligned else ())
        models = dict(zip(TASKS, (detector, parsing_model, landmarks_model, attributes_model), strict=True))
        wanted = list(chosen) if aligned else list(dict.fromkeys([DETECTION, *chosen]))
        checkpoints = {task: models[task] for task in wanted}
        failures = _run(photos, checkpoints, chosen, output, device, batch_size, threshold, runtime)
    if failures:
        raise typer.Exit(SOME_FAILED)


def _run(
    arguments, checkpoints, tasks, output: Path, device, batch_size: int, threshold, runtime: str
) -> dict[str, Exception]:
    """Annotate what the arguments name; the photos that failed, with the reason."""
    from farl_hf.cli.annotation_run import annotate_photos
    from farl_hf.cli.face_annotator import FaceAnnotator, load_pipelines
    from farl_hf.cli.photo_files import find_photos

    photos, failures = find_photos(arguments)
    output = make_folder(output)
    annotator = FaceAnnotator(load_pipelines(checkpoints, device, runtime), tasks, output, batch_size, threshold)
    failures |= annotate_photos(annotator, photos, output)
    report_failures(failures)
    return failures


def make_folder(folder: Path) -> Path:
    """The folder, made if it does not exist.

    Raises:
        UnknownNameError: If there is a file in its place or it cannot be made.
    """
    from farl_hf.errors import UnknownNameError

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnknownNameError(f"The output folder {folder} cannot be made: {error.strerror}.") from error
    return folder
