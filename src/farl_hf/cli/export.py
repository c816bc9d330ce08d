"""`farl-hf export`: a checkpoint as a graph for ONNX Runtime or `torch.export`."""

from pathlib import Path
from typing import Annotated

import typer

from farl_hf.cli.plain_errors import plain_errors

__all__ = ["export"]


def export(
    checkpoint_name: Annotated[
        str,
        typer.Argument(metavar="CHECKPOINT", help="Name or folder of a checkpoint; see [bold]farl-hf list[/bold]."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to make; it must be new or empty.")],
    export_format: Annotated[str, typer.Option("--format", "-f", help="onnx or torch-export.")] = "onnx",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an export that is there.")] = False,
) -> None:
    """Write the network of a checkpoint as one graph, for any number of faces, and check that it answers the same.

    The folder holds [bold]model.onnx[/bold] (its weights in model.onnx.data) or [bold]model.pt2[/bold], config.json
    and the processor, which keeps the geometry. It appears complete or not at all.

    Examples:

    [dim]$[/dim] farl-hf export farl-tiny-parsing -o parsing-onnx

    [dim]$[/dim] farl-hf annotate face.jpg --aligned -t parsing --runtime onnx --parsing-model parsing-onnx
    """
    with plain_errors():
        report = _run(checkpoint_name, output, export_format, overwrite)
    largest = max(report.differences.values())
    typer.echo(
        f"{report.graph}: {report.architecture}, outputs {', '.join(report.differences)}; "
        f"largest difference from the checkpoint {largest:.1e} relative."
    )


def _run(name, output, export_format, overwrite):
    from rich.console import Console

    from farl_hf.checkpoints import checkpoint
    from farl_hf.export import export_checkpoint

    with Console(stderr=True).status("Tracing the network …"):
        return export_checkpoint(checkpoint(name), output, export_format, overwrite)
