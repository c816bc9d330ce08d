"""`farl-hf evaluate`: a checkpoint measured on a data set, with its worst faces drawn."""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from PIL import Image

from farl_hf.cli.annotate import make_folder
from farl_hf.cli.face_annotator import enlarged_window, face_window
from farl_hf.cli.options import plain_errors
from farl_hf.data.images import decode_photo
from farl_hf.drawing import contact_sheet, draw_face_landmarks, draw_face_parsing, text_panel
from farl_hf.results import FaceLandmarks, FaceParsing
from farl_hf.training.evaluation.checkpoint import CheckpointEvaluation, EvaluatedSplit

__all__ = ["draw_failures", "evaluate", "worst_faces"]


# The worst faces of an evaluation, drawn: as predicted beside as labelled.


_FACE_PX = 288  # longer side of a drawn face
_COLUMNS = 4
_MOST_NAMES = 10  # wrong attributes beside a face


def worst_faces(face_scores: np.ndarray, greater_is_better: bool, count: int) -> list[int]:
    """Numbers of the worst faces, worst first; faces without a label (NaN) are none of them."""
    badness = -face_scores if greater_is_better else face_scores
    order = np.argsort(-badness, kind="stable")  # NaN last
    return [int(item) for item in order[:count] if np.isfinite(face_scores[item])]


def draw_failures(measuring: CheckpointEvaluation, evaluated: EvaluatedSplit, count: int = 16) -> Image.Image:
    """A sheet of the worst faces of a split.

    Args:
        measuring ([`CheckpointEvaluation`]): The model.
        evaluated ([`EvaluatedSplit`]): What it was measured on.
        count (`int`, *optional*, defaults to 16): At most so many faces.

    Returns:
        `PIL.Image.Image`: Left of each pair the prediction, right the label (for attributes: those that are wrong).
        The caption begins with the numbers of photo and face, from 0, and the face's own main score in per cent.
    """
    evaluation = measuring.evaluation
    worst = worst_faces(evaluated.face_scores, evaluation.greater_is_better, count)
    drawn = [_draw_face(measuring, evaluated, item) for item in worst]
    if not drawn:
        drawn = [("no face with a label", Image.new("RGB", (_FACE_PX, _FACE_PX)))]
    return contact_sheet(drawn, columns=_COLUMNS, cell_size_wh=(2 * _FACE_PX, _FACE_PX))


def _draw_face(measuring: CheckpointEvaluation, evaluated: EvaluatedSplit, item: int) -> tuple[str, Image.Image]:
    samples = evaluated.samples
    outputs, batch = measuring.outputs_of(samples, item)
    photo = decode_photo(samples.photos[samples.records[item].row]["image"])
    window = face_window(batch["crop_from_photo"][0], measuring.processor.size_hw, photo.shape[:2])
    record, score = samples.records[item], evaluated.face_scores[item]
    caption = f"photo {record.row}, face {record.face}: {100 * score:.1f} %"
    if measuring.task.name == "parsing":
        return f"{caption} (predicted, labelled)", _parsing_pair(measuring, outputs, batch, photo, window)
    if measuring.task.name == "landmarks":
        return f"{caption} (predicted, labelled)", _landmarks_pair(measuring, outputs, batch, photo, window)
    face = enlarged_window(photo, window, _FACE_PX)
    wrong = _wrong_attributes(measuring, outputs, batch)
    return caption, _side_by_side(face, text_panel(["wrong (probability):", *wrong], (_FACE_PX, face.height)))


def _parsing_pair(measuring: CheckpointEvaluation, outputs: Any, batch: dict[str, Any], photo, window) -> Image.Image:
    sizes_hw = torch.tensor([photo.shape[:2]])
    predicted = measuring.processor.post_process_face_parsing(outputs, batch["crop_from_photo"], sizes_hw)[0]
    maps = [predicted.cpu().numpy().astype(np.uint8), batch["photo_labels"][0].numpy()]
    names, picture = tuple(measuring.label_names), enlarged_window(photo, window, _FACE_PX)
    shown = [
        enlarged_window(np.where(labels < len(names), labels, 0), window, _FACE_PX, nearest=True) for labels in maps
    ]
    return _side_by_side(*(draw_face_parsing(picture, FaceParsing([one], names), legend=False) for one in shown))


def _landmarks_pair(
    measuring: CheckpointEvaluation, outputs: Any, batch: dict[str, Any], photo, window
) -> Image.Image:
    predicted = measuring.processor.post_process_landmarks(outputs, batch["crop_from_photo"])[0].cpu().numpy()
    picture = enlarged_window(photo, window, _FACE_PX)
    scale = picture.width / (window[2] - window[0])
    shown = [(points - window[:2]) * scale for points in (predicted, batch["photo_labels"][0].numpy())]
    labelled = [points[np.isfinite(points).all(axis=1)] for points in shown]
    return _side_by_side(*(draw_face_landmarks(picture, FaceLandmarks([points])) for points in labelled))


def _wrong_attributes(measuring: CheckpointEvaluation, outputs: Any, batch: dict[str, Any]) -> list[str]:
    """The attributes that are furthest from their labels, as said by the model, with their probabilities."""
    probabilities = measuring.processor.post_process_attributes(outputs)[0].cpu().numpy()
    truth = batch["photo_labels"][0].numpy()
    distance = np.where(truth == -100, 0.0, np.abs(probabilities - truth))
    wrong = [index for index in np.argsort(-distance) if distance[index] > 0.5][:_MOST_NAMES]
    names = measuring.label_names
    return [
        f"{names[index] if truth[index] == 0 else f'not {names[index]}'} ({probabilities[index]:.2f})"
        for index in wrong
    ]


def _side_by_side(left: Image.Image, right: Image.Image) -> Image.Image:
    pair = Image.new("RGB", (left.width + right.width, left.height))
    pair.paste(left, (0, 0))
    pair.paste(right, (left.width, 0))
    return pair


_NUM_FAILURES = 16


def evaluate(
    checkpoint: Annotated[str, typer.Argument(help="Parser, landmark or attribute model: a folder or a name.")],
    dataset: Annotated[str, typer.Argument(help="lapa, celebamask_hq, w300 …, synthetic_faces, or a folder.")],
    data_dir: Annotated[
        Path | None,
        typer.Option("--data_dir", "--data-dir", help="Folder of the data set, as its owners distribute it."),
    ] = None,
    split: Annotated[
        list[str] | None, typer.Option("--split", help="Default: test. Can be repeated: test_common, test_frontal …")
    ] = None,
    config: Annotated[
        str | None, typer.Option("--config", help="Configuration of the data set; scenes of synthetic_faces.")
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for results.json and the pictures of failures.")
    ] = Path("farl_evaluation"),
    max_samples: Annotated[
        int | None, typer.Option("--max_samples", "--max-samples", min=1, help="At most so many photos of a split.")
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch_size", "--batch-size", min=1, help="Faces per step.")] = 8,
    write_card: Annotated[
        bool, typer.Option("--write-card", help="Put the scores into the model card of the checkpoint folder.")
    ] = False,
) -> None:
    """Measure a checkpoint by the protocol of a data set: in the photo, on the original labels.

    Writes [bold]results.json[/bold] (the scores and all that they depend on) and, for each split,
    [bold]failures.SPLIT.jpg[/bold]: the worst 16 faces, as predicted and as labelled.

    Examples:

    [dim]$[/dim] farl-hf evaluate runs/lapa_448_finetuned lapa --data_dir data/LaPa --write-card

    [dim]$[/dim] farl-hf evaluate farl-ibug300w-448 w300 --data_dir data/300W --split test --split test_challenge

    [dim]$[/dim] farl-hf evaluate farl-tiny-parsing synthetic_faces --max_samples 100
    """
    with plain_errors():
        report = _run(checkpoint, dataset, data_dir, split or ["test"], config, output, max_samples, batch_size)
        _show(report, output)
        if write_card:
            _write_card(checkpoint, report)


def _run(checkpoint, dataset, data_dir, splits, config, output, max_samples, batch_size) -> dict[str, Any]:
    from farl_hf.checkpoints import checkpoint as folder_of
    from farl_hf.data.loading import load_face_dataset
    from farl_hf.pipelines.face_detection import optimized_for_inference
    from farl_hf.training.evaluation.checkpoint import load_for_evaluation
    from farl_hf.training.evaluation.results import write_json

    make_folder(output)
    measuring = load_for_evaluation(folder_of(checkpoint), dataset, output, config_name=config, batch_size=batch_size)
    optimized_for_inference(measuring.model)
    evaluated = []
    for split in splits:
        limits = {} if max_samples is None else {"num_photos": {split: max_samples}}
        rows = load_face_dataset(dataset, config, data_dir=data_dir, split=split, **limits)
        evaluated.append(measuring.measure(rows, split))
        draw_failures(measuring, evaluated[-1], _NUM_FAILURES).save(output / f"failures.{split}.jpg", quality=92)
    report = measuring.report(evaluated) | {"checkpoint": checkpoint}
    write_json(output / "results.json", report)
    return report


def _show(report: dict[str, Any], output: Path) -> None:
    from rich.console import Console

    console = Console()
    console.print(_scores_table(report))
    console.print(f"Written to {output}: results.json, failures.*.jpg", soft_wrap=True, highlight=False)


def _scores_table(report: dict[str, Any]):
    """One row per score (per class, per attribute), one column per split; all are percentages."""
    from rich import box
    from rich.table import Table

    splits = report["splits"]
    table = Table(title=f"{report['checkpoint']} on {report['dataset']}, in %", box=box.SIMPLE_HEAD)
    table.add_column("score")
    for split, measured in splits.items():
        table.add_column(f"{split} ({measured['num_faces']:,} faces)", justify="right")
    names = dict.fromkeys(name for measured in splits.values() for name in measured["scores"] if name != "loss")
    for name in names:
        values = [measured["scores"].get(name) for measured in splits.values()]
        style = "bold" if name == report["main_score"] else None
        table.add_row(name, *("" if value is None else f"{100 * value:.2f}" for value in values), style=style)
    return table


def _write_card(checkpoint: str, report: dict[str, Any]) -> None:
    from rich.console import Console

    from farl_hf.checkpoints import KNOWN_NAMES
    from farl_hf.errors import NotACheckpointError
    from farl_hf.training.evaluation.results import write_card_scores

    if checkpoint in KNOWN_NAMES:
        raise NotACheckpointError(
            f"{checkpoint} is a name; its card belongs to whoever made it. Copy the checkpoint to a folder of yours."
        )
    for line in write_card_scores(checkpoint, report):
        Console().print(f"In the model card: {line}", soft_wrap=True, highlight=False)
