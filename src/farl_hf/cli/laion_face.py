"""`farl-hf laion-face prepare` and `farl-hf laion-face detect`: the jobs before a training on LAION-Face."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from farl_hf.cli.options import error_console, plain_console, plain_errors, printable, progress_bar, refuse_unused

NOT_ALL_DONE = 1  # exit status when a part or shard failed; the others are finished

laion_face_app = typer.Typer(
    help="LAION-Face: filter LAION-400M's metadata, detect faces in shards.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
EngineName = Annotated[
    str,
    typer.Option(
        "--engine", help="local: one after the other, here. ray: on a Ray cluster, or on all cores of this machine."
    ),
]
Address = Annotated[
    str | None,
    typer.Option("--address", help="Address of a running Ray cluster, or auto. Its machines must see the same files."),
]
Workers = Annotated[int | None, typer.Option("--workers", min=1, help="Workers on Ray. Default: as many as fit.")]


@laion_face_app.command("prepare")
def prepare(
    metadata_dir: Annotated[
        Path,
        typer.Argument(
            metavar="LAION_400M_PARQUET_DIR", help="Folder with part-00000-….parquet: LAION-400M's metadata."
        ),
    ],
    ids: Annotated[Path, typer.Option("--ids", help="LAION-Face's list of numbers, laion_face_ids.pth.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the filtered metadata.")],
    parts: Annotated[
        str, typer.Option("--parts", help="20m: the subset of the paper. all. Or numbers: 0,2,5-8.")
    ] = "20m",
    engine: EngineName = "local",
    address: Address = None,
    workers: Workers = None,
) -> None:
    """Filter the metadata of LAION-400M by the numbers of LAION-Face, and print the download command.

    One file per part. Each appears complete or not at all; a second run keeps finished parts. Sources and counts are
    in [bold]manifest.json[/bold].

    Rows without a number or a URL are skipped, rows without a text are kept; both are counted.

    The exit status is 1 if a part failed, 2 if nothing could be done.

    Examples:

    [dim]$[/dim] farl-hf laion-face prepare laion400m-meta --ids laion_face_ids.pth -o laion_face_meta

    [dim]$[/dim] farl-hf laion-face prepare laion400m-meta --ids laion_face_ids.pth -o meta --parts all --engine ray
    """
    with plain_errors():
        from farl_hf.laion_face import metadata_preparation as preparation
        from farl_hf.laion_face.id_lists import parse_parts
        from farl_hf.laion_face.job_engines import Engine, run_jobs
        from farl_hf.laion_face.metadata_filtering import PartFilter

        refuse_unused(workers, "--workers", engine != "local", "with --engine ray")
        where = Engine(engine, address, workers)
        with error_console().status("Reading the list of numbers …"):
            jobs = preparation.part_jobs(metadata_dir, ids, output, parse_parts(parts))
        rows = {job["part"]: preparation.num_rows(job) for job in jobs}
        with progress_bar("Filtering", "rows", sum(rows.values())) as advance:
            outcomes = []
            for outcome in run_jobs(PartFilter, {}, jobs, where):
                outcomes.append(outcome)
                advance(advance=rows[outcome.job["part"]])
        total = preparation.write_manifest(output)
        show_parts(outcomes, total, output)
        done = [outcome.job for outcome in outcomes if outcome.error is None]
        for command in preparation.download_commands(sorted(done, key=lambda job: job["part"])):
            print(printable(command))
    show_failures(outcomes, "source")


@laion_face_app.command("detect")
def detect(
    shards: Annotated[
        list[Path], typer.Argument(metavar="SHARDS…", help="Webdataset tar files, or folders with them.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the detections, laion_face/detections.")],
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Name or folder of a RetinaFace checkpoint.")
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", "-b", min=1, help="Photos at a time.")] = 16,
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", min=0.0, max=1.0, help="Lowest score of a face. Default: the checkpoint's."),
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="cpu, cuda, cuda:1 … Default: a GPU if there is one.")
    ] = None,
    engine: EngineName = "local",
    address: Address = None,
    workers: Workers = None,
    gpus_per_worker: Annotated[float, typer.Option(min=0.0, help="GPUs of each worker on Ray, 0.5 for example.")] = 0,
) -> None:
    """Detect the faces in webdataset shards: one Parquet file per shard, which the training reads.

    Written to [bold]OUTPUT/FOLDER_OF_SHARD/detections-SHARD.parquet[/bold]: sample_id, box_xyxy, points5_xy, scores,
    in pixels of the upright picture in the shard. Each file appears complete or not at all; a second run keeps
    files that the same detector made of the same shard.

    Pictures and shards that are damaged are counted; nothing of a shard is unpacked.

    The exit status is 1 if a shard failed, 2 if nothing could be done.

    Examples:

    [dim]$[/dim] farl-hf laion-face detect laion_face -o laion_face/detections --model retinaface-mobilenet

    [dim]$[/dim] farl-hf laion-face detect laion_face/split_00000 -o laion_face/detections --engine ray
    """
    with plain_errors():
        from farl_hf.laion_face.job_engines import Engine
        from farl_hf.laion_face.shard_detection import detect_faces, shard_jobs

        refuse_unused(workers, "--workers", engine != "local", "with --engine ray")
        where = Engine(engine, address, workers, gpus_per_worker)
        if model is not None and Path(model).is_dir():
            model = str(Path(model).absolute())  # workers have working folders of their own
        settings = {"model": model, "batch_size": batch_size, "threshold": threshold, "device": device}
        jobs = shard_jobs(shards, output)
        outcomes = []
        with progress_bar("Detecting", "shards", len(jobs)) as advance:
            for outcome in detect_faces(jobs, where, settings):
                outcomes.append(outcome)
                advance(advance=1)
    show_shards(outcomes, output)
    show_failures(outcomes, "shard")


def show_parts(outcomes: Sequence[Any], total: dict[str, int], output: Path) -> None:
    """Print the counts of every part of this run as a table, then those of the folder."""
    table = Table("part", *(name.replace("_", " ") for name in total), "")
    for outcome in sorted(outcomes, key=lambda outcome: outcome.job["part"]):
        if outcome.error is None:
            counts = (f"{outcome.result['counts'][name]:,}" for name in total)
            table.add_row(str(outcome.job["part"]), *counts, "kept" if outcome.result["kept"] else "")
    console = plain_console()
    console.print(table)
    console.print(f"{output}: {total['written']:,} of {total['rows']:,} rows.", markup=False)


def show_shards(outcomes: Sequence[Any], output: Path) -> None:
    """Print sums over all shards, and what was skipped in them."""
    from farl_hf.data.laion_face.shards import counts_in_words

    done = [outcome.result for outcome in outcomes if outcome.error is None]
    kept = sum(result["kept"] for result in done)
    counts, skipped = (sum((Counter(result[name]) for result in done), Counter()) for name in ("counts", "skipped"))
    console = plain_console()
    console.print(f"{len(done):,} shards in {output}, {kept:,} of them finished before.", markup=False)
    console.print(f"{counts['samples']:,} photos, {counts['with_faces']:,} with faces, {counts['faces']:,} faces.")
    console.print(f"Skipped: {counts_in_words(skipped)}.", markup=False)


def show_failures(outcomes: Sequence[Any], name: str) -> None:
    """Print what failed; ends the command with status 1 if anything did."""
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    for outcome in failed:
        error_console().print(f"{outcome.job[name]} failed: {outcome.error}", markup=False)
    if failed:
        raise typer.Exit(NOT_ALL_DONE)
