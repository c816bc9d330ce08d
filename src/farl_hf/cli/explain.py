"""`farl-hf explain`: heat maps of where a text is seen in each face of a photo, as pictures and arrays."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from farl_hf.cli.options import (
    IMAGE_TEXT_MODEL,
    SOME_FAILED,
    DetectorOption,
    DeviceOption,
    ThresholdOption,
    UserConsole,
    output_folder,
    plain_errors,
    refuse_unused,
)
from farl_hf.errors import check_name
from farl_hf.photo_names import readable_name

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
        str,
        typer.Option("--model", "-m", help="Name or folder of a checkpoint of both encoders, attributes or parsing."),
    ] = IMAGE_TEXT_MODEL,
    method: Annotated[str, typer.Option(help="grad-cam, or attention-rollout, which takes no texts.")] = "grad-cam",
    layer: Annotated[
        str | None,
        typer.Option(
            help="Such as layers.5.layer_norm1; blocks count from 0. Default: first LayerNorm of the last block."
        ),
    ] = None,
    aligned: Annotated[
        bool, typer.Option("--aligned", help="Take the whole picture as a face; do not detect.")
    ] = False,
    threshold: ThresholdOption = None,
    detector: DetectorOption = None,
    device: DeviceOption = None,
) -> None:
    """Show where in each face of a photo a text is seen: Grad-CAM of the similarity of face and text.

    For [bold]photo.jpg[/bold], the output folder gets [bold]photo.face-explanation.png[/bold], one row per face: the
    face, then for each text the face under its heat map, with the similarity (cosine, -1 to 1). All maps share one
    scale: the warmest place has the colour of the similarity. A text that is not similar at all stays cold.

    [bold]photo.face-1.explanation.npz[/bold] and so on hold the arrays: names, scores, patch_maps (as computed),
    crop_maps (over the crop, 0 to 1), crop_from_photo, box_xyxy, and photo_maps over window_xyxy of the photo.

    Files that are there already stay; names are then numbered.

    Examples:

    [dim]$[/dim] farl-hf explain photo.jpg "a smile" "eyeglasses" "black hair"

    [dim]$[/dim] farl-hf explain photo.jpg smiling eyeglasses --model farl-tiny-attributes

    [dim]$[/dim] farl-hf explain photo.jpg nose hair --model farl-tiny-parsing

    [dim]$[/dim] farl-hf explain photo.jpg --method attention-rollout
    """
    with plain_errors():
        from farl_hf.cli.model_loading import load_model_and_processor
        from farl_hf.cli.photo_files import output_stems, outputs_in
        from farl_hf.cli.pictures import explanation_sheet, write_arrays
        from farl_hf.explanation import explain as explain_faces
        from farl_hf.photos import load_photo
        from farl_hf.whole_files import write_picture

        check_name("method", method, _METHODS)
        refuse_unused(threshold, "--threshold", not aligned, "without --aligned")
        refuse_unused(detector, "--detector", not aligned, "without --aligned")
        with output_folder(output):
            (stem,) = output_stems([photo], output, others=outputs_in(output))
            picture = load_photo(photo)
            explanations = explain_faces(
                *load_model_and_processor(model, device),
                picture,
                texts or [],
                method=_METHODS[method],
                layer=layer,
                aligned=aligned,
                threshold=threshold,
                detector=detector,
            )
            if not explanations:
                console = UserConsole(stderr=True, soft_wrap=True)
                console.print(
                    f"No face was found in {readable_name(photo)}. Try --threshold 0.1, or --aligned for a face crop."
                )
                raise typer.Exit(SOME_FAILED)
            sheet_path = output / f"{stem}.face-explanation.png"
            write_picture(sheet_path, explanation_sheet(picture, explanations))
            table = Table("face", "text", "score", "file", title=f"Written to {output}")
            for row, explanation in enumerate(explanations, start=1):
                arrays = write_arrays(explanation, output / f"{stem}.face-{row}.explanation.npz")
                for name, score in zip(explanation.names, explanation.scores, strict=True):
                    table.add_row(str(row), name, "" if score != score else f"{score:.3f}", arrays.name)
                table.add_section()
            table.add_row("all", "", "", sheet_path.name)
        UserConsole().print(table)
