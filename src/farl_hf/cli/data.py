"""`farl-hf data check` and `farl-hf data convert`: folders of published data sets, checked and converted."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from farl_hf.cli.options import NewFolderOption, PublicOption, counted, plain_console, plain_errors, progress_bar
from farl_hf.data.datasets.catalogue import PUBLISHED_DATASETS

NOT_AS_PUBLISHED = 1  # exit status when a folder can be read but is not what was published
SHOWN_PROBLEMS = 20

data_app = typer.Typer(
    help="Published data sets: check a folder, convert it to Parquet.", no_args_is_help=True, rich_markup_mode="rich"
)
Name = Annotated[str, typer.Argument(metavar="NAME", help=f"One of {', '.join(PUBLISHED_DATASETS)}.")]
Folder = Annotated[
    Path,
    typer.Argument(
        metavar="DIR", help="Folder with the data set as its owners distribute it, or the folder around it."
    ),
]
Config = Annotated[
    str | None,
    typer.Option("--config", help="Configuration, where there are several, such as farl or dataset of celebamask_hq."),
]
Processes = Annotated[int, typer.Option("--num-proc", "-j", min=1, help="Processes.")]


@data_app.command("check")
def check(
    name: Name,
    folder: Folder,
    config: Config = None,
    quick: Annotated[bool, typer.Option("--quick", help="Read annotations only; do not decode pictures.")] = False,
    num_proc: Processes = 1,
) -> None:
    """Check whether a folder is complete and undamaged.

    Every split is counted and compared with the published size; every picture is decoded; label maps must have the
    size of their photo and ids that are classes; landmarks must be as many as there should be.

    The exit status is 0 when the folder is what was published, 1 when counts differ or photos are bad, 2 when it
    cannot be read: then the message says where the data set comes from, its licence, and what the folder must hold.

    Examples:

    [dim]$[/dim] farl-hf data check lapa ~/data/LaPa -j 8

    [dim]$[/dim] farl-hf data check wflw ~/data/WFLW --config original --quick
    """
    with plain_errors():
        from farl_hf.data.datasets.check import check_face_dataset

        with progress_bar("Checking", "photos") as advance:
            report = check_face_dataset(
                name,
                str(folder),
                config,
                decode=not quick,
                num_proc=num_proc,
                progress=lambda done, total: advance(completed=done, total=total),
            )
    show_report(name, report)
    if not report.is_clean:
        raise typer.Exit(NOT_AS_PUBLISHED)


@data_app.command("convert")
def convert(
    name: Name,
    folder: Folder,
    output: NewFolderOption,
    config: Config = None,
    bad_photos: Annotated[
        str, typer.Option("--bad-photos", help="raise: stop at the first one. skip: skip, name and count them.")
    ] = "raise",
    num_proc: Processes = 1,
    push: Annotated[
        str | None, typer.Option("--push", metavar="REPO", help="Then upload it: user/name or organisation/name.")
    ] = None,
    public: PublicOption = False,
) -> None:
    """Write a data set as Parquet files that contain the pictures.

    The folder needs no other files and loads with [bold]farl_hf.load_face_dataset("OUTPUT")[/bold] or
    [bold]datasets.load_dataset("OUTPUT")[/bold]. It appears complete or not at all.

    Most of these data sets must not be redistributed: a new repository is private unless --public is given.

    Examples:

    [dim]$[/dim] farl-hf data convert lapa ~/data/LaPa -o lapa-parquet -j 8

    [dim]$[/dim] farl-hf data convert celebamask_hq ~/data/CelebAMask-HQ -o celebamask --push me/celebamask
    """
    with plain_errors():
        from farl_hf.data.convert import convert_face_dataset

        converted = convert_face_dataset(name, folder, output, config, bad_photos=bad_photos, num_proc=num_proc)
        console = plain_console()
        for split, count in converted.num_photos.items():
            skipped = converted.num_skipped[split]
            console.print(f"{split}: {counted(count, 'photo')}" + (f", {skipped:,} skipped" if skipped else ""))
        console.print(f"Done: {converted.folder}", markup=False)
        if push is not None:
            from farl_hf.hub.pushing import push_dataset

            console.print(f"Uploaded: {push_dataset(converted.folder, push, public=public)}", markup=False)


def show_report(name: str, report: Any) -> None:
    """Print the counts as a table, then the problems."""
    published = PUBLISHED_DATASETS[name]
    table = Table("split", "photos", "faces", f"published ({published.unit})", title=published.title)
    for split, expected in report.expected.items():
        found = (report.num_photos.get(split), report.num_faces.get(split))
        table.add_row(split, *("-" if count is None else f"{count:,}" for count in found), f"{expected:,}")
    console = plain_console()
    console.print(table)
    for sentence in (*report.mismatches, *report.problems[:SHOWN_PROBLEMS]):
        console.print(sentence, markup=False)
    if len(report.problems) > SHOWN_PROBLEMS:
        console.print(f"… and {len(report.problems) - SHOWN_PROBLEMS:,} more.")
    console.print(f"{counted(report.num_checked, 'photo')} checked, {len(report.problems):,} bad.")
