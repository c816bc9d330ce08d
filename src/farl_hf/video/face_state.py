"""Where a face is in one frame, how landmarks carry it to the next, and how its coordinates are smoothed.

Source of [`OneEuroFilter`]: Casiez, Roussel and Vogel, 1 Euro Filter (CHI 2012). It smooths slow values
strongly and follows fast ones closely.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from farl_hf.labels import FIVE_FROM_LANDMARKS
from farl_hf.pipelines import FaceLandmarksPipeline
from farl_hf.processing.face_geometry_farl import similarity_matrix, transform_points

_LEAST_INSIDE = 0.5  # share of the landmarks that are in the frame while the face counts as there
_LEAST_SURE = 0.6  # of the confidence at the detection
_MOST_BENT = 0.2  # mean distance from the aligned landmarks of the detection, in units of the face's size
_SCALE_RANGE = (0.4, 2.5)  # growth since the detection


@dataclass(frozen=True)
class OneEuroSettings:
    """The balance between jitter at rest and lag in motion.

    Args:
        min_cutoff_hz (`float`): Cutoff frequency at rest; lower is steadier.
        beta (`float`): Hertz added to the cutoff per unit of speed; higher lags less. For tracked faces the unit of
            length is the side of the face's first box, so that one value serves large and small faces.
        d_cutoff_hz (`float`): Cutoff frequency of the speed itself.
    """

    min_cutoff_hz: float = 1.0
    beta: float = 10.0
    d_cutoff_hz: float = 1.0


class OneEuroFilter:
    """Smooths an array of signals, each on its own.

    Args:
        settings (`OneEuroSettings`): See there.
        unit (`float`): Length of the unit in which speed is measured.
    """

    def __init__(self, settings: OneEuroSettings, unit: float = 1.0) -> None:
        self.settings = settings
        self.unit = unit
        self._time_s: float | None = None

    def __call__(self, values: np.ndarray, time_s: float) -> np.ndarray:
        """The smoothed values at a time, in seconds, later than that of the last call."""
        values = np.asarray(values, dtype=np.float64)
        if self._time_s is None:
            self._values, self._speeds, self._time_s = values, np.zeros_like(values), time_s
            return values
        step_s = time_s - self._time_s
        speeds = (values - self._values) / step_s
        self._speeds = _mix(speeds, self._speeds, _share(self.settings.d_cutoff_hz, step_s))
        cutoff_hz = self.settings.min_cutoff_hz + self.settings.beta / self.unit * np.abs(self._speeds)
        self._values, self._time_s = _mix(values, self._values, _share(cutoff_hz, step_s)), time_s
        return self._values


def _share(cutoff_hz: float | np.ndarray, step_s: float) -> float | np.ndarray:
    """Weight of the new value in a low-pass filter of first order."""
    return 1 / (1 + 1 / (2 * math.pi * cutoff_hz * step_s))


def _mix(new: np.ndarray, old: np.ndarray, share: float | np.ndarray) -> np.ndarray:
    return old + share * (new - old)  # exact where nothing changes


class ConfidentLandmarksPipeline(FaceLandmarksPipeline):
    """A landmark pipeline that adds `confidence` to each face: the mean of its heat maps' peaks, in [0, 1]."""

    kept_outputs = ("landmarks", "logits")

    @classmethod
    def of(cls, pipeline: FaceLandmarksPipeline) -> "ConfidentLandmarksPipeline":
        """The same model and image processor."""
        return cls(
            model=pipeline.model, image_processor=pipeline.image_processor, task=pipeline.task, device=pipeline.device
        )

    def describe_faces(self, faces: dict[str, torch.Tensor]) -> list[dict[str, Any]]:
        """`landmarks` and `confidence` of each face."""
        peaks = faces["logits"].amax(dim=(-2, -1)).sigmoid().mean(dim=-1)
        described = super().describe_faces(faces)
        return [face | {"confidence": float(peak)} for face, peak in zip(described, peaks, strict=True)]


@dataclass(frozen=True)
class FaceState:
    """One face in one frame; points and box in photo pixels.

    Args:
        score (`float`): Of the last detection.
        box_xyxy (`np.ndarray` of shape `(4,)`): Its box.
        keypoints_xy (`np.ndarray` of shape `(5, 2)`, *optional*): Five points.
        landmarks_xy (`np.ndarray` of shape `(N, 2)`, *optional*): Landmarks.
        confidence (`float`): Of the landmarks.
    """

    score: float
    box_xyxy: np.ndarray
    keypoints_xy: np.ndarray | None = None
    landmarks_xy: np.ndarray | None = None
    confidence: float = 0.0

    @property
    def size_px(self) -> float:
        """Side of a square of the box's area."""
        width, height = self.box_xyxy[2:] - self.box_xyxy[:2]
        return float(np.sqrt(max(width * height, 1e-6)))


def carry(detected: FaceState, landmarks_xy: np.ndarray, confidence: float) -> FaceState:
    """The face at its new landmarks.

    The box moves by the similarity transform from the landmarks at the detection to the new ones. The five points are
    read from the new landmarks; where the detector put them elsewhere than the landmarks, they keep that offset, so
    that nothing jumps between detections.
    """
    assert detected.landmarks_xy is not None  # only faces with landmarks are followed
    now_from_detection = _similarity(detected.landmarks_xy, landmarks_xy)
    carried = replace(detected, landmarks_xy=landmarks_xy, confidence=confidence)
    keypoints_xy = detected.keypoints_xy
    if keypoints_xy is not None:
        five_then, five_now = _five_points(detected.landmarks_xy), _five_points(landmarks_xy)
        if five_then is None or five_now is None:
            keypoints_xy = _moved(keypoints_xy, now_from_detection)
        else:
            keypoints_xy = five_now + (keypoints_xy - five_then) @ now_from_detection[:2, :2].T
    low, high = detected.box_xyxy[:2], detected.box_xyxy[2:]
    centre = _moved(((low + high) / 2)[None], now_from_detection)[0]
    half = (high - low) / 2 * _scale(now_from_detection)
    return replace(carried, box_xyxy=np.concatenate([centre - half, centre + half]), keypoints_xy=keypoints_xy)


def still_a_face(detected: FaceState, now: FaceState, size_hw: tuple[int, int]) -> str:
    """`"yes"`, or why not: `"outside"` the frame, or `"unsure"` (weak heat maps, or landmarks of another shape)."""
    assert detected.landmarks_xy is not None  # only faces with landmarks are followed
    assert now.landmarks_xy is not None
    if not np.isfinite(now.landmarks_xy).all() or not np.isfinite(now.box_xyxy).all():
        return "unsure"
    height, width = size_hw
    inside = ((now.landmarks_xy >= 0) & (now.landmarks_xy <= (width, height))).all(axis=1)
    if inside.mean() < _LEAST_INSIDE:
        return "outside"
    now_from_detection = _similarity(detected.landmarks_xy, now.landmarks_xy)
    bent = np.linalg.norm(_moved(detected.landmarks_xy, now_from_detection) - now.landmarks_xy, axis=1).mean()
    low, high = _SCALE_RANGE
    plausible = low < _scale(now_from_detection) < high and bent < _MOST_BENT * now.size_px
    return "yes" if plausible and now.confidence >= _LEAST_SURE * detected.confidence else "unsure"


def _five_points(landmarks_xy: np.ndarray) -> np.ndarray | None:
    groups = FIVE_FROM_LANDMARKS.get(len(landmarks_xy))
    return None if groups is None else np.stack([landmarks_xy[list(group)].mean(axis=0) for group in groups])


def _similarity(from_xy: np.ndarray, to_xy: np.ndarray) -> np.ndarray:
    """The matrix (3, 3) that maps points onto others, by least squares."""
    from_FN2, to_FN2 = (torch.from_numpy(np.asarray(points, np.float64))[None] for points in (from_xy, to_xy))
    return similarity_matrix(from_FN2, to_FN2)[0].numpy()


def _moved(points_xy: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    points_FN2 = torch.from_numpy(np.asarray(points_xy, np.float64))[None]
    return transform_points(points_FN2, torch.from_numpy(matrix)[None])[0].numpy()


def _scale(matrix: np.ndarray) -> float:
    return float(np.sqrt(abs(np.linalg.det(matrix[:2, :2]))))
