"""Which faces of a photo a pipeline works on: those given, the whole photo, or those a detector finds."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import PreTrainedConfig

from farl_hf.errors import InvalidFaceInputError
from farl_hf.labels import FIVE_FROM_LANDMARKS
from farl_hf.pipelines.detector_loading import load_detector
from farl_hf.results import Faces

# A face-detection pipeline, or anything that takes a PIL photo and answers like one.
Detector = Callable[..., list[dict[str, Any]]]

_GIVEN_SCORE = 1.0  # of faces that the caller gives
_SMALLEST_SPREAD_PX = 1e-3  # five points nearer to each other than this have no direction to align by
_LARGEST_COORDINATE_PX = 1e6
_BOX_MARGIN = 0.6  # from the outermost points to the outline of a face, in units of the points' longer side


def given_faces(photo_input: Mapping[str, Any], size_hw: tuple[int, int]) -> Faces | None:
    """The faces that an input brings with its `image`: `faces`, `boxes` or `keypoints`; `None` if it brings none.

    Args:
        photo_input (`Mapping`): The input of a pipeline. `faces` is what a pipeline answered, or one face of it.
            `keypoints` win over `boxes` for the alignment; when both are there, each face keeps its own box.
        size_hw (`tuple[int, int]`): Height and width of the photo.

    Raises:
        InvalidFaceInputError: If shapes or values cannot be used, see `faces_from_boxes` and `faces_from_keypoints`.
    """
    if photo_input.get("faces") is not None:
        return _answered_faces(photo_input["faces"], size_hw)
    boxes, keypoints = photo_input.get("boxes"), photo_input.get("keypoints")
    if keypoints is None:
        return None if boxes is None else faces_from_boxes(boxes, size_hw)
    faces = faces_from_keypoints(keypoints, size_hw)
    if boxes is None:
        return faces
    boxed = faces_from_boxes(boxes, size_hw)
    if len(boxed) != len(faces):
        raise InvalidFaceInputError(f"{len(boxed)} boxes came with keypoints of {len(faces)} faces; give one each.")
    return Faces(boxed.boxes_xyxy, boxed.scores, faces.keypoints_xy)


def _answered_faces(answer: Any, size_hw: tuple[int, int]) -> Faces:
    answers = [answer] if isinstance(answer, Mapping) else answer
    if not isinstance(answers, Sequence) or not all(isinstance(face, Mapping) and "box" in face for face in answers):
        raise InvalidFaceInputError(
            f"faces is {str(answer)[:100]}; expected what a pipeline answered for the photo: a dict per face."
        )
    placed: dict[str, Any] = {"boxes": [face["box"] for face in answers]}
    keypoints = [face.get("keypoints") for face in answers]
    if all(points is not None for points in keypoints):
        placed["keypoints"] = keypoints
    faces = given_faces(placed, size_hw)
    assert faces is not None  # there are boxes
    scores = np.array([face.get("score", _GIVEN_SCORE) for face in answers], np.float32)
    return Faces(faces.boxes_xyxy, scores, faces.keypoints_xy)


def faces_from_boxes(boxes: Any, size_hw: tuple[int, int]) -> Faces:
    """Faces known by their boxes alone.

    Args:
        boxes: (num_faces, 4) numbers x_min, y_min, x_max, y_max in photo pixels, or the `box` dicts of a pipeline;
            those of a single face are of shape (4,), or one dict.
        size_hw (`tuple[int, int]`): Height and width of the photo.

    Raises:
        InvalidFaceInputError: If the shape is wrong, a value is not finite, or a box has no area or lies outside.
    """
    try:
        values = [_box_values(box) for box in ([boxes] if isinstance(boxes, Mapping) else boxes)]
    except TypeError:
        raise InvalidFaceInputError(
            f"boxes is {' '.join(str(boxes).split())[:100]}; expected a list with a box per face."
        ) from None
    boxes_xyxy = _as_numbers("boxes", values, (4,), "(num_faces, 4)")
    faces = Faces(boxes_xyxy, np.full(len(boxes_xyxy), _GIVEN_SCORE))
    for row, box_xyxy in enumerate(faces.boxes_xyxy):
        _require_overlap(f"Box {row}", box_xyxy, size_hw)
    return faces


def faces_from_keypoints(keypoints: Any, size_hw: tuple[int, int]) -> Faces:
    """Faces known by their points; their boxes are the points' extent with a margin.

    Args:
        keypoints: (num_faces, num_points, 2) numbers (x, y) in photo pixels, with 5 points in the order of
            `labels.FIVE_POINTS`, or 19, 68, 98 or 106 landmarks of which the five are read; those of a single face
            are of shape (num_points, 2).
        size_hw (`tuple[int, int]`): Height and width of the photo.

    Raises:
        InvalidFaceInputError: If the shape is wrong, a value is not finite, all points coincide or lie outside.
    """
    five_points_xy = _five_points(keypoints)
    if not np.isfinite(five_points_xy).all():
        raise InvalidFaceInputError("keypoints hold NaN or infinite values; give finite photo pixels.")
    lowest, highest = five_points_xy.min(axis=1), five_points_xy.max(axis=1)
    for row in range(len(five_points_xy)):
        _require_spread(row, highest[row] - lowest[row])
        _require_overlap(f"The extent of keypoints {row}", (*lowest[row], *highest[row]), size_hw)
    margin = _BOX_MARGIN * (highest - lowest).max(axis=1, keepdims=True)
    height, width = size_hw
    boxes_xyxy = np.concatenate([lowest - margin, highest + margin], axis=1).clip(0, [width, height, width, height])
    return Faces(boxes_xyxy, np.full(len(boxes_xyxy), _GIVEN_SCORE), five_points_xy)


def _box_values(box: Any) -> Any:
    if not isinstance(box, Mapping):
        return box
    sides = ("xmin", "ymin", "xmax", "ymax")
    missing = [side for side in sides if side not in box]
    if missing:
        raise InvalidFaceInputError(f"A box lacks {', '.join(missing)}; expected {', '.join(sides)}.")
    return [box[side] for side in sides]


def _five_points(keypoints: Any) -> np.ndarray:
    points_xy = _as_numbers("keypoints", keypoints, (None, 2), "(num_faces, 5, 2)")
    num_points = points_xy.shape[1]
    if num_points == 5 or len(points_xy) == 0:
        return points_xy.reshape(-1, 5, 2)
    if num_points not in FIVE_FROM_LANDMARKS:
        raise InvalidFaceInputError(
            f"keypoints have {num_points} points per face; expected 5, or {', '.join(map(str, FIVE_FROM_LANDMARKS))}."
        )
    five_groups = FIVE_FROM_LANDMARKS[num_points]
    return np.stack([points_xy[:, list(group)].mean(axis=1) for group in five_groups], axis=1)


def _as_numbers(name: str, values: Any, row_shape: tuple[int | None, ...], wanted: str) -> np.ndarray:
    try:
        array = np.asarray(_without_tensors(values), dtype=np.float32)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise InvalidFaceInputError(f"{name} are not numbers of shape {wanted}: {error}") from error
    if array.size == 0:
        return np.zeros((0, *(size or 0 for size in row_shape)), np.float32)
    if array.ndim == len(row_shape):
        array = array[None]  # of one face
    fits = array.ndim == 1 + len(row_shape) and all(
        size in (None, given) for size, given in zip(row_shape, array.shape[1:], strict=True)
    )
    if not fits:
        raise InvalidFaceInputError(f"{name} have shape {array.shape}; expected {wanted} in photo pixels.")
    if (np.abs(array[np.isfinite(array)]) > _LARGEST_COORDINATE_PX).any():
        raise InvalidFaceInputError(f"{name} reach beyond {_LARGEST_COORDINATE_PX:,.0f} pixels; no photo does.")
    return array


def _without_tensors(values: Any) -> Any:
    """NumPy takes neither gradients nor bfloat16."""
    if isinstance(values, torch.Tensor):
        return values.detach().float().cpu().numpy()
    return [_without_tensors(value) for value in values] if isinstance(values, list | tuple) else values


def _require_spread(row: int, extent_xy: np.ndarray) -> None:
    if extent_xy.max() < _SMALLEST_SPREAD_PX:
        raise InvalidFaceInputError(
            f"The keypoints of face {row} are all the same point, which gives no direction or size to align by; "
            "give five distinct points, or a box."
        )


def _require_overlap(what: str, box_xyxy: Any, size_hw: tuple[int, int]) -> None:
    x_min, y_min, x_max, y_max = (float(value) for value in box_xyxy)
    height, width = size_hw
    if x_max <= 0 or y_max <= 0 or x_min >= width or y_min >= height:
        raise InvalidFaceInputError(
            f"{what} ({x_min:.1f}, {y_min:.1f}, {x_max:.1f}, {y_max:.1f}) lies outside the photo of {width} x "
            f"{height} pixels."
        )


class FaceFinder:
    """Finds the faces of photos, and loads its detector at the first photo that needs one.

    Args:
        detector (`FaceDetectionPipeline`, callable, `str` or `Path`, *optional*):
            What finds the faces, or the name or folder of its checkpoint; see `load_detector` if not given.
        device (`torch.device`): Where a detector that is loaded here runs.
        served (`PreTrainedConfig`): Configuration of the model whose faces it finds.
    """

    def __init__(self, detector: Detector | str | Path | None, device: torch.device, served: PreTrainedConfig) -> None:
        self._detector = detector
        self._device = device
        self._served = served

    def __call__(self, photo: Image.Image, photo_input: Any, aligned: bool, **detection: float) -> Faces:
        """The faces of one photo, best score first.

        Args:
            photo (`PIL.Image.Image`): The upright photo.
            photo_input: What the caller gave; a mapping may bring faces, see `given_faces`.
            aligned (`bool`): The photo is one face; nothing is searched.
            detection: `threshold`, `nms_threshold` of the detector.
        """
        size_hw = (photo.height, photo.width)
        if aligned:
            return Faces(np.array([[0, 0, photo.width, photo.height]]), np.array([_GIVEN_SCORE]))
        if isinstance(photo_input, Mapping):
            faces = given_faces(photo_input, size_hw)
            if faces is not None:
                return faces
        with torch.inference_mode():
            faces = Faces.from_pipeline(self.detector(photo, **detection))
        return faces[np.argsort(-faces.scores, kind="stable")]

    @property
    def detector(self) -> Detector:
        """The detector, loaded at the first use."""
        if self._detector is None or isinstance(self._detector, (str, Path)):
            self._detector = load_detector(self._detector, self._device, self._served)
        return self._detector
