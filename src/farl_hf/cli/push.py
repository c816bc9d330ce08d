"""`farl-hf push`: a checkpoint onto the Hugging Face Hub, for people who have not installed farl_hf."""

from typing import Annotated, Any

import typer

from farl_hf.cli.plain_errors import plain_errors

__all__ = ["push"]


def push(
    folder: Annotated[str, typer.Argument(help="Checkpoint, folder or name.", metavar="DIR")],
    repository: Annotated[str, typer.Argument(help="Where to: user/name or organisation/name.", metavar="REPO")],
    public: Annotated[bool, typer.Option("--public", help="Let everybody see a repository that is made now.")] = False,
    revision: Annotated[str | None, typer.Option(help="Branch, made if it does not exist.")] = None,
    detector: Annotated[
        str | None, typer.Option(help="Detector, name or folder, that goes beside a model that looks into faces.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be uploaded, and stop.")] = False,
) -> None:
    """Upload a checkpoint, private unless told otherwise, with all the code that it needs.

    What is uploaded works where farl_hf is not installed:
    [bold]pipeline("face-parsing", model="me/my-parser", trust_remote_code=True)[/bold].

    Log in first with [bold]hf auth login[/bold].

    Examples:

    [dim]$[/dim] farl-hf push runs/parsing me/my-parser --dry-run

    [dim]$[/dim] farl-hf push runs/parsing me/my-parser --public
    """
    from rich.console import Console

    with plain_errors():
        from farl_hf.hub import plan_repository, push_repository

        plan = plan_repository(folder, detector)
        _show(plan, repository, "public" if public else "private, unless it exists already")
        if not dry_run:
            address = push_repository(plan, repository, public=public, revision=revision)
            Console().print(f"Done: {address}", soft_wrap=True, highlight=False)


def _show(plan: Any, repository: str, visibility: str) -> None:
    from rich.console import Console
    from rich.filesize import decimal
    from rich.table import Table

    table = Table("file", "size", title=f"{repository} ({visibility})")
    code = [file for file in plan.files if file.path.endswith(".py")]
    for file in plan.files:
        if file not in code:
            table.add_row(file.path, decimal(file.num_bytes))
    table.add_row(f"code, {len(code)} files", decimal(sum(file.num_bytes for file in code)))
    table.add_section()
    table.add_row("all", decimal(plan.num_bytes))
    console = Console()
    console.print(table)
    if not any(file.path == "README.md" for file in plan.files):
        console.print("There is no README.md: people will not learn what the model is for.", highlight=False)
    if plan.left_out:
        console.print(f"Left out: {', '.join(plan.left_out)}", soft_wrap=True, highlight=False)
