"""`farl-hf convert`: a released file of weights into a checkpoint folder that Transformers loads."""

from pathlib import Path
from typing import Annotated

import typer

from farl_hf.cli.plain_errors import plain_errors

__all__ = ["convert"]

NOT_EQUAL = 1  # exit status when the comparison with the original code fails


def convert(
    source: Annotated[
        Path,
        typer.Argument(
            help="A released .pth, .pt, .npz or .safetensors file, a states file of the official training code, a "
            "CLIP folder."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to make; it must be new or empty.")],
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            help="The released model that SOURCE is, farl-lapa-448 for example: checks the kind, and the model card "
            "says what is published about it.",
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Compare with the original code (needs pyfacer), stage by stage."),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a checkpoint that is there.")] = False,
) -> None:
    """Convert published weights: FaRL's backbones, facer's models, RetinaFace, OpenAI CLIP, and other encoders.

    Those are the ones that the paper compares: ViT (AugReg), DeiT, MoCo v3, BEiT, Face Transformer.

    What SOURCE is, its content tells. Nothing that is stored in it is run: tensors are read, anything else is refused.
    The folder holds [bold]config.json[/bold], [bold]model.safetensors[/bold], the processor, a model card, and
    [bold]conversion.json[/bold] with the checksum of SOURCE and the comparison. It appears complete or not at all.

    With [bold]--check[/bold] the exit status is 1 if a stage differs from the original by more than its limit.

    Examples:

    [dim]$[/dim] farl-hf convert face_parsing.farl.lapa.main_ema_136500_jit191.pt -o farl-lapa-448 --name farl-lapa-448

    [dim]$[/dim] farl-hf convert FaRL-Base-Patch16-LAIONFace20M-ep64.pth -o farl-ep64 --check
    """
    with plain_errors():
        report = _run(source, output, name, check, overwrite)
    _show(report)
    if report.parity is not None and not all(stage.is_equal for stage in report.parity):
        raise typer.Exit(NOT_EQUAL)


def _run(source, output, name, check, overwrite):
    from rich.console import Console
    from transformers.utils import logging

    from farl_hf.checkpoints.official_models import ALIASES
    from farl_hf.conversion import convert_checkpoint

    logging.disable_progress_bar()  # the status line says what is going on
    with Console(stderr=True).status("Starting …") as status:
        return convert_checkpoint(
            source,
            output,
            name=ALIASES.get(name, name),
            check=check,
            progress=lambda step: status.update(f"{step} …"),
            overwrite=overwrite,
        )


def _show(report):
    from rich.console import Console
    from rich.markup import escape

    console = Console(soft_wrap=True)
    console.print(
        f"[bold]{escape(str(report.output))}[/bold]: {report.model_class}, {report.num_parameters:,} values from "
        f"{escape(report.source.name)}."
    )
    if report.dropped:
        reasons = sorted(set(report.dropped.values()))
        console.print(f"{len(report.dropped)} tensors of the source have no place in it: {'; '.join(reasons)}.")
    if report.parity is not None:
        console.print(_parity_table(report.parity))


def _parity_table(parity):
    from rich.table import Table

    table = Table("stage", "largest difference", "limit", "", title="Compared with the original code")
    for stage in parity:
        mark = "[green]equal[/green]" if stage.is_equal else "[bold red]different[/bold red]"
        table.add_row(stage.stage, f"{stage.difference:.1e} {stage.unit}", f"{stage.limit:g}", mark)
    return table
