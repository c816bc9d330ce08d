"""`farl-hf evaluate`: a checkpoint measured on a data set, with its worst faces drawn."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from farl_hf.cli.options import (
    DataDirOption,
    MaxSamplesOption,
    UserConsole,
    counted,
    output_folder,
    plain_console,
    plain_errors,
)
from farl_hf.errors import InvalidArgumentError


def evaluate(
    checkpoint: Annotated[str, typer.Argument(help="Parsing, landmark or attribute model: a folder or a name.")],
    dataset: Annotated[str, typer.Argument(help="lapa, celebamask_hq, w300 …, synthetic_faces, or a folder.")],
    data_dir: DataDirOption = None,
    split: Annotated[
        list[str] | None, typer.Option("--split", help="Default: test. Can be repeated: test_common, test_frontal …")
    ] = None,
    config: Annotated[
        str | None, typer.Option("--config", help="Configuration of the data set; scenes of synthetic_faces.")
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for results.json and the pictures of failures.")
    ] = Path("farl_evaluation"),
    max_samples: MaxSamplesOption = None,
    alignment: Annotated[
        str | None,
        typer.Option("--alignment", help="points, box or whole. Default: as trained, else the data set's protocol."),
    ] = None,
    min_face_px: Annotated[
        float | None,
        typer.Option("--min-face-px", min=0.0, help="Skip smaller faces. Default: as trained, else the protocol's."),
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Faces per step.")] = 8,
    write_card: Annotated[
        bool, typer.Option("--write-card", help="Put the scores into the model card of the checkpoint folder.")
    ] = False,
) -> None:
    """Measure a checkpoint by the protocol of a data set: in the photo, on the original labels.

    Writes [bold]results.json[/bold] (the scores and everything they depend on) and, for each split,
    [bold]failures.SPLIT.jpg[/bold]: the worst 16 faces, as predicted and as labelled. A run adds its splits to the
    results of an earlier one of the same weights and data set. Faces are cropped as in the training, if
    [bold]recipe.yaml[/bold] in the checkpoint folder says how.

    Examples:

    [dim]$[/dim] farl-hf evaluate runs/lapa_448_finetuned lapa --data-dir data/LaPa --write-card

    [dim]$[/dim] farl-hf evaluate farl-ibug300w-448 w300 --data-dir data/300W --split test --split test_challenge

    [dim]$[/dim] farl-hf evaluate farl-tiny-parsing synthetic_faces --max-samples 100
    """
    with plain_errors():
        from farl_hf.checkpoints import checkpoint as folder_of
        from farl_hf.cli.finished_work import checkpoint_digest
        from farl_hf.cli.pictures import draw_failures
        from farl_hf.data.datasets.catalogue import PUBLISHED_DATASETS
        from farl_hf.data.datasets.raw_folders import resolve_root
        from farl_hf.data.loading import load_face_dataset
        from farl_hf.pipelines.face_detection import optimized_for_inference
        from farl_hf.training.evaluation.checkpoint import load_for_evaluation
        from farl_hf.whole_files import write_json, write_picture

        if write_card:
            _check_card(checkpoint, max_samples)
        if data_dir is not None and dataset in PUBLISHED_DATASETS:
            resolve_root(dataset, data_dir)  # before the model is loaded
        with output_folder(output):
            folder = folder_of(checkpoint)
            measuring = load_for_evaluation(
                folder,
                dataset,
                output,
                config_name=config,
                alignment=alignment,
                min_face_px=min_face_px,
                batch_size=batch_size,
            )
            facts = {
                "checkpoint": checkpoint,
                "checkpoint_digest": checkpoint_digest(Path(folder)),
                "config": config,
                "data_dir": None if data_dir is None else str(data_dir.expanduser().absolute()),
            }
            measured_before = _splits_of_earlier_run(output / "results.json", measuring.report([]) | facts)
            rows_of_splits = {}  # all of them before the first is measured, so that a wrong name loses nothing
            for name in split or ["test"]:
                num_photos = None if max_samples is None else {name: max_samples}
                rows_of_splits[name] = load_face_dataset(
                    dataset, config, data_dir=data_dir, split=name, num_photos=num_photos
                )
            optimized_for_inference(measuring.model)
            evaluated = []
            for name, rows in rows_of_splits.items():
                evaluated.append(measuring.measure(rows, name))
                report = measuring.report(evaluated) | facts
                write_json(output / "results.json", report | {"splits": measured_before | report["splits"]})
                sheet = draw_failures(measuring, evaluated[-1])
                write_picture(output / f"failures.{name}.jpg", sheet, quality=92)
        UserConsole().print(_scores_table(report))
        plain_console().print(f"Written to {output}: results.json, failures.*.jpg")
        if write_card:
            _write_card(checkpoint, report)


def _splits_of_earlier_run(path: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """The splits in a results file, to which this run adds.

    Raises:
        InvalidArgumentError: The file is of another checkpoint, other weights of it, another data set or protocol.
    """
    from farl_hf.whole_files import read_or_set_aside

    earlier = read_or_set_aside(path, dict)
    if earlier is None:
        return {}
    compared = [name for name in facts if name not in ("splits", "versions")]
    if "checkpoint_digest" not in earlier:
        raise InvalidArgumentError(
            f"{path} was written by an earlier version, which did not note the weights; choose another --output."
        )
    apart = [name for name in compared if facts[name] != earlier.get(name)]
    if apart:
        name = apart[0]
        raise InvalidArgumentError(
            f"{path} is of another evaluation ({name}: {earlier.get(name)}, here {facts[name]}); choose another "
            "--output."
        )
    return earlier["splits"]


def _scores_table(report: dict[str, Any]) -> Any:
    """One row per score (per class, per attribute), one column per split; all are percentages."""
    splits = report["splits"]
    table = Table(title=f"{report['checkpoint']} on {report['dataset']}, in %", box=box.SIMPLE_HEAD)
    table.add_column("score")
    for split, measured in splits.items():
        table.add_column(f"{split} ({counted(measured['num_faces'], 'face')})", justify="right")
    names = dict.fromkeys(name for measured in splits.values() for name in measured["scores"] if name != "loss")
    for name in names:
        values = [measured["scores"].get(name) for measured in splits.values()]
        style = "bold" if name == report["main_score"] else None
        table.add_row(name, *("" if value is None else f"{100 * value:.2f}" for value in values), style=style)
    return table


def _check_card(checkpoint: str, max_samples: int | None) -> None:
    from farl_hf.checkpoints import KNOWN_NAMES

    if checkpoint in KNOWN_NAMES:
        raise InvalidArgumentError(
            f"--write-card changes a folder, but {checkpoint} is a name. Copy the checkpoint to a folder of yours."
        )
    if max_samples is not None:
        raise InvalidArgumentError(
            f"--max-samples {max_samples} measures a part of a split, but --write-card enters the score of the whole "
            "one; leave one of them out."
        )


def _write_card(checkpoint: str, report: dict[str, Any]) -> None:
    from farl_hf.training.model_card import write_card_scores

    for line in write_card_scores(checkpoint, report):
        plain_console().print(f"In the model card: {line}")
