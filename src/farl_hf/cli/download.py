"""`farl-hf download`: official weights onto this machine, loadable by their name from then on."""

from pathlib import Path
from typing import Annotated

import typer

from farl_hf.cli.plain_errors import error_console, plain_errors

__all__ = ["download"]


def download(
    name: Annotated[str, typer.Argument(help="A name that [bold]farl-hf list[/bold] shows, such as farl.")],
    source: Annotated[
        Path | None, typer.Option("--from", help="The published file, if you have it already.", metavar="FILE")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Do it again, and accept a file that differs from the earlier one.")
    ] = False,
    keep_source: Annotated[
        bool, typer.Option("--keep-source", help="Keep the downloaded file after its conversion.")
    ] = False,
) -> None:
    """Fetch published weights, convert them, and make them loadable by name.

    Afterwards [bold]AutoModel.from_pretrained("farl")[/bold] works from any folder, without network too. An
    interrupted download goes on where it stopped. Behind a firewall, fetch the file in another way and use --from.
    """
    from farl_hf.checkpoints.checkpoint_names import is_shadowed, local_folder, resolve_name
    from farl_hf.checkpoints.official_models import OFFICIAL_MODELS

    with plain_errors():
        was_here = resolve_name(name) in OFFICIAL_MODELS and local_folder(name) is not None and not force
        folder = _download_with_progress(name, source, force, keep_source)
    verb = "was here already (--force makes it anew)" if was_here else "is here"
    error_console().print(f"[bold]{name}[/bold] {verb}: from_pretrained({name!r}) loads it.", highlight=False)
    if is_shadowed(name):
        error_console().print(
            f"[yellow]But not in this directory:[/yellow] Transformers takes ./{name}, which is here, for the model.",
            highlight=False,
        )
    typer.echo(folder)


def _download_with_progress(name: str, source: Path | None, force: bool, keep_source: bool) -> Path:
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    from farl_hf.checkpoints.checkpoint_download import download_checkpoint

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=error_console(), transient=True) as bars:
        bar = bars.add_task(name, total=None)
        return download_checkpoint(
            name,
            source,
            force=force,
            keep_source=keep_source,
            progress=lambda done, total: bars.update(bar, completed=done, total=total),
            tell=lambda stage: bars.update(bar, description=f"{name}: {stage}"),
        )
