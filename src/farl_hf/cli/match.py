"""`farl-hf match`: which texts fit each face, and which faces fit each text."""

from pathlib import Path
from typing import Annotated, Any

import torch
import transformers
import typer
from transformers.utils.logging import disable_progress_bar

import farl_hf
from farl_hf.checkpoints import checkpoint
from farl_hf.cli.annotate import SOME_FAILED
from farl_hf.cli.face_annotator import require_device
from farl_hf.cli.options import (
    TWO_TOWER_MODEL,
    DetectorOption,
    DeviceOption,
    ThresholdOption,
    error_console,
    plain_errors,
    report_failures,
)
from farl_hf.errors import NotACheckpointError
from farl_hf.pipelines.face_detection import optimized_for_inference

__all__ = ["load_model_and_processor", "match"]


# The model of both towers that the commands about words use; how checkpoints of any kind are loaded for them.


def load_model_and_processor(name_or_folder: str | None, device: str | None) -> tuple[Any, Any]:
    """A model of the class that was saved, in evaluation mode, and its processor (with or without a tokenizer).

    Args:
        name_or_folder (`str`, *optional*): A checkpoint; `TWO_TOWER_MODEL` if not given.
        device (`str`, *optional*): Such as "cpu" or "cuda:1"; the first accelerator if there is one otherwise.

    Raises:
        UnknownNameError, NotDownloadedError, NotACheckpointError: If there is no such checkpoint or device.
    """
    if device is not None:
        require_device(device)
    folder = checkpoint(name_or_folder or TWO_TOWER_MODEL)
    disable_progress_bar()
    try:
        model = _model_class(folder).from_pretrained(folder)
        processor = transformers.AutoProcessor.from_pretrained(folder)
    except (OSError, ValueError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise NotACheckpointError(f"{folder} cannot be loaded: {first_line}") from error
    return optimized_for_inference(model.to(device or _first_device()).eval()), processor


def _model_class(folder: Path) -> Any:
    """The class that wrote the checkpoint: `AutoModel` alone would take a head's checkpoint for one of both towers."""
    config = transformers.AutoConfig.from_pretrained(folder)
    (name, *_) = config.architectures or ["AutoModel"]
    return getattr(farl_hf, name, None) or getattr(transformers, name, transformers.AutoModel)


def _first_device() -> torch.device:
    return torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")


def match(
    photos: Annotated[
        list[str] | None, typer.Argument(help="Photos, folders (with subfolders), 'glob patterns' or URLs.")
    ] = None,
    texts: Annotated[
        list[str] | None, typer.Option("--texts", "--text", "-t", help="A text; repeat the option for more.")
    ] = None,
    index: Annotated[
        Path | None, typer.Option("--index", "-i", help="Instead of photos: a file that farl-hf index wrote.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many faces per text, and texts per face, to show.")] = 5,
    plain: Annotated[
        bool, typer.Option("--plain", help="Compare the texts as they are, not as 'a photo of …' and the like.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Also write everything shown to this JSON file.")
    ] = None,
    model: Annotated[
        str, typer.Option("--model", "-m", help="Checkpoint of both towers, name or folder.")
    ] = TWO_TOWER_MODEL,
    aligned: Annotated[bool, typer.Option("--aligned", help="Take whole pictures; search no face.")] = False,
    threshold: ThresholdOption = None,
    detector: DetectorOption = None,
    device: DeviceOption = None,
) -> None:
    """Rank texts for every face, and faces for every text, by similarity (cosine, -1 to 1).

    Each text is put into several sentences ("a photo of …") whose vectors are averaged; write it as a caption would
    describe the person: "a man with a beard" rather than "beard". The probability compares the given texts with each
    other, for one face; with a single text it is always 100 %.

    Examples:

    [dim]$[/dim] farl-hf match photo.jpg -t "a smiling person" -t "a sad person"

    [dim]$[/dim] farl-hf match holiday/ --texts "a person wearing eyeglasses" --top 20 --output matches.json

    [dim]$[/dim] farl-hf match --index holiday.safetensors --texts "a woman with a hat"
    """
    failures: dict[str, Exception] = {}
    with plain_errors():
        matched = _match(photos or [], texts or [], index, top, plain, model, device, failures, {
            "aligned": aligned, "threshold": threshold, "detector": detector,
        })  # fmt: skip
        if output is not None:
            _write(output, matched)
    report_failures(failures)
    if not matched["num_faces"]:
        error_console().print("No face was found. --aligned takes the whole pictures, --threshold 0.1 finds more.")
        raise typer.Exit(SOME_FAILED)
    _show(matched)
    if failures:
        raise typer.Exit(SOME_FAILED)


def _match(photos, texts, index, top, plain, checkpoint, device, failures, options) -> dict[str, Any]:
    """Everything that is shown, fit for JSON."""
    from farl_hf.labels.attributes import PROMPT_WRAPPERS
    from farl_hf.retrieval import embed_texts
    from farl_hf.retrieval.text_embedding import PLAIN, checked_texts

    texts = checked_texts(texts)  # before anything is loaded
    _require_one_source(photos, index)
    faces = _load_index(index) if index is not None else None
    loaded = load_model_and_processor(checkpoint, device)
    text_embeds = embed_texts(*loaded, texts, PLAIN if plain else PROMPT_WRAPPERS)
    if faces is None:
        faces = _index_of(photos, loaded, failures, options)
    else:
        faces.require_model(loaded[0])
    matched = {"num_faces": len(faces), "faces_of_text": _faces_of_texts(faces, texts, text_embeds, top)}
    if index is None:
        temperature = float(loaded[0].logit_scale.detach().exp())
        matched["texts_of_face"] = _texts_of_faces(faces, texts, faces.similarities(text_embeds), temperature, top)
    return matched


def _require_one_source(photos: list[str], index: Path | None) -> None:
    from farl_hf.errors import UnknownNameError

    if bool(photos) == (index is not None):
        raise UnknownNameError("Give either photos or --index; one of them says which faces are compared.")


def _load_index(path: Path) -> Any:
    from farl_hf.retrieval import FaceIndex

    return FaceIndex.load(path)


def _index_of(photos: list[str], loaded: tuple, failures: dict[str, Exception], options: dict) -> Any:
    from farl_hf.cli.index import index_photos
    from farl_hf.cli.photo_files import find_photos

    found, missing = find_photos(photos)
    failures.update(missing)
    return index_photos(loaded, found, failures, options)


def _faces_of_texts(faces: Any, texts: tuple[str, ...], text_embeds: Any, top: int) -> list[dict[str, Any]]:
    rows, similarities = faces.search(text_embeds, top)
    return [
        {
            "text": text,
            "faces": [_face(faces, row) | {"similarity": value} for row, value in zip(*found, strict=True)],
        }
        for text, *found in zip(texts, rows.tolist(), similarities.tolist(), strict=True)
    ]


def _texts_of_faces(faces: Any, texts: tuple[str, ...], similarities: Any, scale: float, top: int) -> list[dict]:
    import numpy as np

    powers = np.exp(scale * (similarities - similarities.max(axis=1, keepdims=True)))
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    order = np.argsort(-similarities, axis=1, kind="stable")[:, :top]
    return [
        _face(faces, row)
        | {
            "texts": [
                {
                    "text": texts[column],
                    "similarity": float(similarities[row, column]),
                    "probability": float(probabilities[row, column]),
                }
                for column in order[row]
            ]
        }
        for row in range(len(faces))
    ]


def _face(faces: Any, row: int) -> dict[str, Any]:
    return {"photo": faces.photos[row], "box_xyxy": [round(float(side), 1) for side in faces.boxes_xyxy[row]]}


def _write(path: Path, matched: dict[str, Any]) -> None:
    from farl_hf.cli.face_annotator import write_json
    from farl_hf.errors import UnknownNameError

    try:
        write_json(path, matched)
    except OSError as error:
        raise UnknownNameError(f"The file {path} cannot be written: {error.strerror}.") from error


def _show(matched: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if "texts_of_face" in matched:
        table = Table("photo", "face at", "text", "similarity", "probability", title="Texts for each face")
        for face in matched["texts_of_face"]:
            for found in face["texts"]:
                table.add_row(
                    *_where(face), found["text"], f"{found['similarity']:.3f}", f"{found['probability']:.1%}"
                )
            table.add_section()
        console.print(table)
    table = Table("text", "photo", "face at", "similarity", title="Faces for each text")
    for text in matched["faces_of_text"]:
        for face in text["faces"]:
            table.add_row(text["text"], *_where(face), f"{face['similarity']:.3f}")
        table.add_section()
    console.print(table)


def _where(face: dict[str, Any]) -> tuple[str, str]:
    x_min, y_min, x_max, y_max = face["box_xyxy"]
    return face["photo"], f"{x_min:.0f}, {y_min:.0f}, {x_max:.0f}, {y_max:.0f}"
