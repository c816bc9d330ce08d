"""The worst faces of an evaluation, drawn: as predicted beside as labelled."""

from typing import Any

import numpy as np
import torch
from PIL import Image

from farl_hf.cli.face_window import enlarged_window, face_window
from farl_hf.data.decoding import decode_photo
from farl_hf.drawing import contact_sheet, draw_face_landmarks, draw_face_parsing, text_panel
from farl_hf.results import FaceLandmarks, FaceParsing
from farl_hf.training.checkpoint_evaluation import CheckpointEvaluation, EvaluatedSplit

__all__ = ["draw_failures", "worst_faces"]

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
