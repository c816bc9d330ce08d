"""`farl-hf explain`: where in each face of a photo a text is seen, as pictures and arrays."""

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from PIL import Image

from farl_hf.cli.annotate import make_folder
from farl_hf.cli.face_annotator import enlarged_window, face_window, write_whole
from farl_hf.cli.options import (
    TWO_TOWER_MODEL,
    DetectorOption,
    DeviceOption,
    ThresholdOption,
    error_console,
    plain_errors,
)
from farl_hf.drawing import contact_sheet, draw_heat_map
from farl_hf.explanation import FaceExplanation

__all__ = ["NO_FACE", "explain", "write_arrays", "write_sheet"]


# Explanations of faces as a sheet of pictures and as arrays.


_FACE_PX = 288  # longer side of a drawn face
_CAPTION_CHARACTERS = 26  # what fits over it, with the score


def write_sheet(photo: Image.Image, explanations: Sequence[FaceExplanation], path: Path) -> Path:
    """Write one row per face: the face, then the face under each of its heat maps (supplement figure 2)."""
    pictures = []
    for row, explanation in enumerate(explanations, start=1):
        window = _window(explanation)
        pictures.append((f"face {row}", enlarged_window(np.asarray(photo), window, _FACE_PX)))
        pictures += [_drawn(photo, explanation, column, window) for column in range(len(explanation.names))]
    sheet = contact_sheet(pictures, 1 + len(explanations[0].names), (_FACE_PX, _FACE_PX))
    file = io.BytesIO()
    sheet.save(file, "png")
    return write_whole(path, file.getvalue())


def write_arrays(explanation: FaceExplanation, path: Path) -> Path:
    """Write everything known of one face as `.npz`; maps of the photo over the window around the face, float16."""
    x_min, y_min, x_max, y_max = window = _window(explanation)
    photo_maps = [
        explanation.photo_map(name)[y_min:y_max, x_min:x_max].astype(np.float16) for name in explanation.names
    ]
    arrays = {name: getattr(explanation, name) for name in ("scores", "patch_maps", "crop_maps", "crop_from_photo")}
    file = io.BytesIO()
    np.savez_compressed(
        file,
        names=np.array(explanation.names),
        box_xyxy=explanation.box_xyxy,
        window_xyxy=np.array(window),
        photo_maps=np.stack(photo_maps),
        **arrays,
    )
    return write_whole(path, file.getvalue())


def _window(explanation: FaceExplanation) -> tuple[int, int, int, int]:
    crop_from_photo = torch.from_numpy(explanation.crop_from_photo)
    return face_window(crop_from_photo, explanation.image_processor.size_hw, explanation.photo_size_hw)


def _drawn(photo: Image.Image, explanation: FaceExplanation, column: int, window: tuple) -> tuple[str, Image.Image]:
    name, score = explanation.names[column], explanation.scores[column]
    x_min, y_min, x_max, y_max = window
    heat_map = explanation.photo_map(name)[y_min:y_max, x_min:x_max]
    picture = draw_heat_map(photo.crop(window), heat_map)
    caption = textwrap.shorten(name, _CAPTION_CHARACTERS, placeholder=" …")
    caption = caption if np.isnan(score) else f"{caption}: {score:.2f}"
    return caption, enlarged_window(np.asarray(picture), (0, 0, *picture.size), _FACE_PX)


NO_FACE = 1  # exit status when there was nothing to look at

_METHODS = {"grad-cam": "grad_cam", "attention-rollout": "attention_rollout"}


def explain(
    photo: Annotated[str, typer.Argument(help="A photo or URL.")],
    texts: Annotated[
        list[str] | None, typer.Argument(help="'a smile' eyeglasses …; for a model with a head, its labels.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the picture and the arrays.")] = Path(
        "farl_explanations"
    ),
    model: Annotated[
        str, typer.Option("--model", "-m", help="Checkpoint, name or folder: both towers, attributes or parsing.")
    ] = TWO_TOWER_MODEL,
    method: Annotated[str, typer.Option(help=f"{' or '.join(_METHODS)}; the latter takes no texts.")] = "grad-cam",
    layer: Annotated[
        str | None,
        typer.Option(help="Such as layers.5.layer_norm1, blocks from 0; the last block's first LayerNorm by default."),
    ] = None,
    aligned: Annotated[bool, typer.Option("--aligned", help="Take the whole picture; search no face.")] = False,
    threshold: ThresholdOption = None,
    detector: DetectorOption = None,
    device: DeviceOption = None,
) -> None:
    """Show where in each face of a photo a text is seen: Grad-CAM of the similarity of face and text.

    For [bold]photo.jpg[/bold], the output folder gets [bold]photo.face-explanation.png[/bold], one row per face: the
    face, then for each text the face under its heat map, with the similarity (cosine, -1 to 1). Heat maps are scaled
    to their own warmest place: compare places within a map, and similarities between texts.

    [bold]photo.face-1.explanation.npz[/bold] and so on hold the arrays: names, scores, patch_maps (as computed),
    crop_maps (over the crop, 0 to 1), crop_from_photo, box_xyxy, and photo_maps over window_xyxy of the photo.

    Examples:

    [dim]$[/dim] farl-hf explain photo.jpg "a smile" "eyeglasses" "black hair"

    [dim]$[/dim] farl-hf explain photo.jpg smiling eyeglasses --model farl-tiny-attributes

    [dim]$[/dim] farl-hf explain photo.jpg nose hair --model farl-tiny-parsing

    [dim]$[/dim] farl-hf explain photo.jpg --method attention-rollout
    """
    with plain_errors():
        options = {"method": _method_name(method), "layer": layer, "aligned": aligned, "threshold": threshold}
        written = _run(photo, texts or [], output, model, device, options | {"detector": detector})
    if not written:
        error_console().print(f"No face was found in {photo}. --aligned takes the whole picture, --threshold 0.1 …")
        raise typer.Exit(NO_FACE)
    _show(written)


def _method_name(method: str) -> str:
    from farl_hf.errors import UnknownNameError

    if method not in _METHODS:
        raise UnknownNameError(f"There is no method {method!r}. Known methods: {', '.join(_METHODS)}.")
    return _METHODS[method]


def _run(photo: str, texts: list[str], output: Path, checkpoint: str, device: str | None, options: dict) -> list[Any]:
    """Explain and write; the faces' explanations with the file of each, and the picture."""
    from farl_hf.cli.match import load_model_and_processor
    from farl_hf.cli.photo_files import output_stems
    from farl_hf.explanation import explain as explain_faces
    from farl_hf.photos import load_photo

    make_folder(output)
    (stem,) = output_stems([photo], output)
    picture = load_photo(photo)
    explanations = explain_faces(*load_model_and_processor(checkpoint, device), picture, texts, **options)
    if not explanations:
        return []
    sheet = write_sheet(picture, explanations, output / f"{stem}.face-explanation.png")
    arrays = [
        (one, write_arrays(one, output / f"{stem}.face-{row}.explanation.npz"))
        for row, one in enumerate(explanations, start=1)
    ]
    return [*arrays, (None, sheet)]


def _show(written: list[Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    *arrays, (_, sheet) = written
    table = Table("face", "text", "score", "file", title=f"Written to {sheet.parent}")
    for row, (explanation, path) in enumerate(arrays, start=1):
        for name, score in zip(explanation.names, explanation.scores, strict=True):
            table.add_row(str(row), name, "" if score != score else f"{score:.3f}", path.name)
        table.add_section()
    table.add_row("all", "", "", sheet.name)
    Console().print(table)
