"""Pictures and arrays of faces that `farl-hf explain` and `farl-hf evaluate` write."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from PIL import Image

from farl_hf.drawing import (
    PAPER,
    colour_bar,
    contact_sheet,
    draw_face_landmarks,
    draw_face_parsing,
    draw_heat_map,
    text_panel,
)
from farl_hf.explanation import FaceExplanation
from farl_hf.photos import decode_photo
from farl_hf.results import FaceLandmarks, FaceParsing
from farl_hf.whole_files import written_whole

if TYPE_CHECKING:  # it needs the extra `train`, which `farl-hf explain` does not
    from farl_hf.training.evaluation.checkpoint import CheckpointEvaluation, EvaluatedSplit

Bounds = tuple[int, int, int, int]

_FACE_PX = 288  # longer side of a drawn face
_GAP_PX = 12  # between the two pictures of a pair, and around the scale of heat maps
_FADED_SHARE = 0.06  # of the side of a crop, over which drawn heat maps fade
_BAR_PX = 30  # height of that scale
_COLUMNS = 4  # of the worst faces
_MOST_NAMES = 10  # wrong attributes beside a face


def crop_bounds_xyxy(crop_from_photo: torch.Tensor, crop_hw: tuple[int, int], photo_hw: tuple[int, int]) -> Bounds:
    """Bounds of the crop in the photo, in whole pixels: x_min, y_min, x_max, y_max.

    They are the bounds of the aligned square; with a tanh warp the crop shows more. They end at the border of the
    photo; if less than two pixels remain, they are the whole photo.

    Args:
        crop_from_photo (`torch.Tensor` of shape `(3, 3)`): Alignment matrix.
        crop_hw, photo_hw (`tuple[int, int]`): Sizes in pixels.
    """
    height, width = crop_hw
    corners = torch.tensor([[0, width, width, 0], [0, 0, height, height], [1, 1, 1, 1]], dtype=torch.float64)
    x, y = (torch.linalg.inv(crop_from_photo.double()) @ corners)[:2].numpy()
    x_min, x_max = np.clip([x.min(), x.max()], 0, photo_hw[1]).round().astype(int)
    y_min, y_max = np.clip([y.min(), y.max()], 0, photo_hw[0]).round().astype(int)
    if x_max - x_min < 2 or y_max - y_min < 2:
        return 0, 0, photo_hw[1], photo_hw[0]
    return int(x_min), int(y_min), int(x_max), int(y_max)


def enlarged_part(picture: np.ndarray, bounds_xyxy: Bounds, longer_side_px: int, nearest: bool = False) -> Any:
    """Part of a picture at another size: a PIL image of a photo or, with `nearest`, an array of a label map."""
    x_min, y_min, x_max, y_max = bounds_xyxy
    part = picture[y_min:y_max, x_min:x_max]
    scale = longer_side_px / max(part.shape[:2])
    size_wh = (max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale)))
    smooth = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    resized = cv2.resize(part, size_wh, interpolation=cv2.INTER_NEAREST if nearest else smooth)
    return resized if nearest else Image.fromarray(resized)


# Explanations


def explanation_sheet(photo: Image.Image, explanations: Sequence[FaceExplanation]) -> Image.Image:
    """One row per face: the face, then the face under each of its heat maps (supplement figure 2).

    All maps share one scale, which a bar under them shows: the warmest place of a map has the colour of its score. A
    text whose score is 0 or less stays cold.
    """
    explanations = [_fading_at_the_border(explanation) for explanation in explanations]
    scores = np.concatenate([explanation.scores for explanation in explanations])
    highest = max(0.0, float(scores.max())) if np.isfinite(scores).all() else np.nan
    pictures = []
    for row, explanation in enumerate(explanations, start=1):
        bounds_xyxy = _bounds_xyxy(explanation)
        pictures.append((f"face {row}", enlarged_part(np.asarray(photo), bounds_xyxy, _FACE_PX)))
        for column in range(len(explanation.names)):
            pictures.append(_drawn(photo, explanation, column, bounds_xyxy, highest))
    sheet = contact_sheet(pictures, 1 + len(explanations[0].names), (_FACE_PX, _FACE_PX))
    unscored = np.isnan(highest)
    title, end = ("share of attention", "1") if unscored else ("score", f"{highest:.2f}")
    return _with_strip(sheet, colour_bar("0", end, title, _BAR_PX))


def _fading_at_the_border(explanation: FaceExplanation) -> FaceExplanation:
    """The maps going to 0 at the border of the crop, whose edge would look like a part of the map."""
    away = [np.minimum(np.arange(side) + 1, np.arange(side, 0, -1)) / side for side in explanation.crop_maps.shape[1:]]
    weight_y, weight_x = (np.clip(distance / _FADED_SHARE, 0, 1).astype(np.float32) for distance in away)
    return replace(explanation, crop_maps=explanation.crop_maps * weight_y[:, None] * weight_x)


def _with_strip(sheet: Image.Image, strip: Image.Image) -> Image.Image:
    width, margin = max(sheet.width, strip.width + 2 * _GAP_PX), _GAP_PX
    result = Image.new("RGB", (width, sheet.height + strip.height + margin), PAPER)
    result.paste(sheet, (0, 0))
    result.paste(strip, (margin, sheet.height))
    return result


def write_arrays(explanation: FaceExplanation, path: Path) -> Path:
    """Write the explanation of one face as `.npz`; maps of the photo within the bounds of the crop, float16."""
    x_min, y_min, x_max, y_max = bounds_xyxy = _bounds_xyxy(explanation)
    photo_maps = [
        explanation.photo_map(name)[y_min:y_max, x_min:x_max].astype(np.float16) for name in explanation.names
    ]
    arrays = {name: getattr(explanation, name) for name in ("scores", "patch_maps", "crop_maps", "crop_from_photo")}
    with written_whole(path) as unfinished:
        np.savez_compressed(
            unfinished,
            names=np.array(explanation.names),
            box_xyxy=explanation.box_xyxy,
            window_xyxy=np.array(bounds_xyxy),
            photo_maps=np.stack(photo_maps),
            **arrays,
        )
    return path


def _bounds_xyxy(explanation: FaceExplanation) -> Bounds:
    crop_from_photo = torch.from_numpy(explanation.crop_from_photo)
    return crop_bounds_xyxy(crop_from_photo, explanation.image_processor.size_hw, explanation.photo_size_hw)


def _drawn(
    photo: Image.Image, explanation: FaceExplanation, column: int, bounds_xyxy: Bounds, highest: float
) -> tuple[str, Image.Image]:
    name, score = explanation.names[column], explanation.scores[column]
    share = 1.0 if np.isnan(score) else max(0.0, score) / max(highest, 1e-6)
    x_min, y_min, x_max, y_max = bounds_xyxy
    heat_map = explanation.photo_map(name)[y_min:y_max, x_min:x_max]
    picture = draw_heat_map(photo.crop(bounds_xyxy), share * heat_map)
    return name if np.isnan(score) else f"{name}: {score:.2f}", enlarged_part(
        np.asarray(picture), (0, 0, *picture.size), _FACE_PX
    )


# Worst faces of an evaluation


def worst_faces(face_scores: np.ndarray, greater_is_better: bool, count: int) -> list[int]:
    """Indices of the worst faces, worst first, without faces that have no label (NaN)."""
    badness = -face_scores if greater_is_better else face_scores
    order = np.argsort(-badness, kind="stable")  # NaN last
    return [int(item) for item in order[:count] if np.isfinite(face_scores[item])]


def draw_failures(measuring: "CheckpointEvaluation", evaluated: "EvaluatedSplit", count: int = 16) -> Image.Image:
    """A sheet of the worst faces of a split.

    Args:
        measuring ([`CheckpointEvaluation`]): The model.
        evaluated ([`EvaluatedSplit`]): What it was measured on.
        count (`int`, *optional*, defaults to 16): At most so many faces.

    Returns:
        `PIL.Image.Image`: Left of each pair the prediction, right the label (for attributes: those that are wrong).
        The caption begins with the row of the photo in the data set, from 0, the number of the face in the photo,
        from 1, and the face's own main score in per cent.
    """
    evaluation = measuring.evaluation
    worst = worst_faces(evaluated.face_scores, evaluation.greater_is_better, count)
    drawn = [_draw_face(measuring, evaluated, item) for item in worst]
    if not drawn:
        drawn = [("no face with a label", Image.new("RGB", (_FACE_PX, _FACE_PX)))]
    return contact_sheet(drawn, columns=_COLUMNS, cell_size_wh=(2 * _FACE_PX + _GAP_PX, _FACE_PX))


def _draw_face(measuring: "CheckpointEvaluation", evaluated: "EvaluatedSplit", item: int) -> tuple[str, Image.Image]:
    samples = evaluated.samples
    outputs, batch = measuring.outputs_of(samples, item)
    record, score = samples.records[item], evaluated.face_scores[item]
    photo = decode_photo(samples.photos[record.row]["image"], f"row {record.row}")
    bounds_xyxy = crop_bounds_xyxy(batch["crop_from_photo"][0], measuring.processor.size_hw, photo.shape[:2])
    metric = measuring.evaluation.main_score.replace("_", " ")
    caption = f"photo {record.row}, face {record.face + 1}: {metric} {100 * score:.1f} %"
    if measuring.task.name == "parsing":
        return f"{caption} (predicted, labelled)", _parsing_pair(measuring, outputs, batch, photo, bounds_xyxy)
    if measuring.task.name == "landmarks":
        return f"{caption} (predicted, labelled)", _landmarks_pair(measuring, outputs, batch, photo, bounds_xyxy)
    face = enlarged_part(photo, bounds_xyxy, _FACE_PX)
    wrong = _wrong_attributes(measuring, outputs, batch)
    return caption, _side_by_side(face, text_panel(["wrong (probability):", *wrong], (_FACE_PX, face.height)))


def _parsing_pair(
    measuring: "CheckpointEvaluation", outputs: Any, batch: dict[str, Any], photo: np.ndarray, bounds_xyxy: Bounds
) -> Image.Image:
    sizes_hw = torch.tensor([photo.shape[:2]])
    predicted = measuring.processor.post_process_face_parsing(outputs, batch["crop_from_photo"], sizes_hw)[0]
    maps = [predicted.cpu().numpy().astype(np.uint8), batch["photo_labels"][0].numpy()]
    names, picture = tuple(measuring.label_names), enlarged_part(photo, bounds_xyxy, _FACE_PX)
    shown = [
        enlarged_part(np.where(labels < len(names), labels, 0), bounds_xyxy, _FACE_PX, nearest=True) for labels in maps
    ]
    return _side_by_side(*(draw_face_parsing(picture, FaceParsing(one[None], names), legend=False) for one in shown))


def _landmarks_pair(
    measuring: "CheckpointEvaluation", outputs: Any, batch: dict[str, Any], photo: np.ndarray, bounds_xyxy: Bounds
) -> Image.Image:
    predicted = measuring.processor.post_process_landmarks(outputs, batch["crop_from_photo"])[0].cpu().numpy()
    picture = enlarged_part(photo, bounds_xyxy, _FACE_PX)
    scale = picture.width / (bounds_xyxy[2] - bounds_xyxy[0])
    shown = [(points - bounds_xyxy[:2]) * scale for points in (predicted, batch["photo_labels"][0].numpy())]
    labelled = [points[np.isfinite(points).all(axis=1)] for points in shown]
    return _side_by_side(*(draw_face_landmarks(picture, FaceLandmarks(points[None])) for points in labelled))


def _wrong_attributes(measuring: "CheckpointEvaluation", outputs: Any, batch: dict[str, Any]) -> list[str]:
    """The predictions that are furthest from their labels, with their probabilities."""
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
    pair = Image.new("RGB", (left.width + _GAP_PX + right.width, left.height), PAPER)
    pair.paste(left, (0, 0))
    pair.paste(right, (left.width + _GAP_PX, 0))
    return pair
