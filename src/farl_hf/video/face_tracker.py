"""Faces followed through a video: detected every few frames, carried on by their landmarks in between.

[`SceneCuts`] tells where a shot ends, [`match_boxes`] which new box continues which old one, and [`FaceTracker`] keeps
the tracks.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torchvision.ops import box_iou

from farl_hf.results import Faces
from farl_hf.video.face_state import FaceState, carry, still_a_face
from farl_hf.video.video_files import VideoFrame

_THUMBNAIL_WH = (16, 16)
_CUT = 0.5  # 0 for frames that differ in light alone, 1 for frames that have nothing to do with each other
_NOISE = 4.0  # variance of grey levels below which a frame counts as one colour
_LEAST_OVERLAP = 0.3  # IoU; a face of the same size moved by about half its width
_REMEMBERED_S = 1.0  # how long a track that was lost can be found again
_SAME_TIME_S = 1e-3  # less than the time between two frames


class SceneCuts:
    """Compares each frame with the one before it that shows something."""

    def __init__(self) -> None:
        self._before: np.ndarray | None = None

    def __call__(self, image: Image.Image) -> Literal["same", "cut", "blank"]:
        """Whether this frame goes on with the shot, begins another one, or is nearly of one colour, as a black one is.

        The measure is 1 minus the correlation of two thumbnails without their mean colour. Fades, light that goes on
        or off and motion give small values, a cut gives a large one. After a frame of one colour either shot may
        follow, so it is compared with neither.
        """
        thumbnail = np.asarray(image.resize(_THUMBNAIL_WH, Image.Resampling.BOX, reducing_gap=1.0), np.float32)
        thumbnail -= thumbnail.mean(axis=(0, 1))
        variance = np.mean(thumbnail**2)
        if variance < _NOISE:
            return "blank"
        before, self._before = self._before, thumbnail
        if before is None:
            return "same"
        correlation = np.mean(before * thumbnail) / np.sqrt(np.mean(before**2) * variance)
        return "cut" if 1 - float(correlation) > _CUT else "same"


def match_boxes(old_xyxy: np.ndarray, new_xyxy: np.ndarray) -> dict[int, int]:
    """Pairs of boxes, the best overlap first, each box once.

    Args:
        old_xyxy (`np.ndarray` of shape `(n, 4)`): x_min, y_min, x_max, y_max.
        new_xyxy (`np.ndarray` of shape `(m, 4)`): The same of another frame.

    Returns:
        `dict[int, int]`: Index of the new box -> index of the old one.
    """
    if not len(old_xyxy) or not len(new_xyxy):
        return {}
    overlaps = box_iou(torch.from_numpy(old_xyxy), torch.from_numpy(new_xyxy)).numpy()
    pairs: dict[int, int] = {}
    for flat in np.argsort(-overlaps, axis=None, kind="stable"):
        old, new = divmod(int(flat), len(new_xyxy))
        if overlaps[old, new] < _LEAST_OVERLAP:
            break
        if new not in pairs and old not in pairs.values():
            pairs[new] = old
    return pairs


@dataclass(frozen=True)
class Track:
    """One person's face through the frames.

    Args:
        number (`int`): From 1, never given twice.
        detected (`FaceState`): At the last detection.
        now (`FaceState`): In this frame.
        began_s (`float`): Time of the first frame in which it was there.
        seen_s (`float`): Of the last one.
    """

    number: int
    detected: FaceState
    now: FaceState
    began_s: float
    seen_s: float


class FaceTracker:
    """Gives the tracks of frame after frame.

    The detector looks at the whole frame every `detect_every` frames, at a cut, where the landmarks of a face are in
    doubt, in a frame of nearly one colour or after one, and after a track was lost, for a second or for as long as the
    face was there, whichever is less. Faces that overlap a track continue it, others begin one, and a track without a
    face is lost. In between, the landmark model looks where each face was in the frame before.

    Args:
        find_faces (`Callable`): A face-detection pipeline, or anything that takes a PIL photo and answers like one.
        read_landmarks (`Callable`, *optional*): A `ConfidentLandmarksPipeline`, or anything that answers like one;
            without it every frame is searched.
        detect_every (`int`): Frames from one detection to the next.
        batch_size (`int`): Faces that share a forward pass.
        detection: `threshold`, `nms_threshold` of the detector.
    """

    def __init__(
        self,
        find_faces: Callable[..., list[dict[str, Any]]],
        read_landmarks: Callable[..., list[dict[str, Any]]] | None,
        detect_every: int = 10,
        batch_size: int = 8,
        **detection: float,
    ) -> None:
        self.find_faces = find_faces
        self.read_landmarks = read_landmarks
        self.detect_every = detect_every if read_landmarks else 1
        self.batch_size = batch_size
        self.detection = detection
        self._scene_cuts = SceneCuts()
        self._tracks: list[Track] = []
        self._lost: list[Track] = []
        self._frames_since = self.detect_every  # the first frame is searched
        self._num_tracks = 0

    def __call__(self, frame: VideoFrame) -> list[Track]:
        """The tracks that are in this frame, which comes after that of the last call."""
        shows = self._scene_cuts(frame.image)
        if shows == "cut":
            self._tracks, self._lost = [], []
        is_searched = shows != "same" or self._frames_since >= self.detect_every
        if is_searched or not self._follow(frame):
            self._detect(frame)
            self._frames_since = 0
        # A face that was lost, in the dark for example, may be back at once; a false one, which was seen once, not.
        may_be_back = shows == "blank" or any(
            frame.time_s - track.seen_s <= track.seen_s - track.began_s + _SAME_TIME_S for track in self._lost
        )
        self._frames_since = self.detect_every if may_be_back else self._frames_since + 1
        return self._tracks

    def _follow(self, frame: VideoFrame) -> bool:
        """Carry the tracks on; whether all that are in the frame are certain."""
        if not self._tracks:
            return True
        landmarks = self._landmarks(frame.image, [track.now for track in self._tracks])
        moved = [
            replace(track, now=carry(track.detected, *points), seen_s=frame.time_s)
            for track, points in zip(self._tracks, landmarks, strict=True)
        ]
        size_hw = (frame.image.height, frame.image.width)
        verdicts = [still_a_face(track.detected, track.now, size_hw) for track in moved]
        # The detector's answer is matched with the last certain position of a face, not with a doubtful one.
        self._tracks = [
            new if verdict == "yes" else old
            for old, new, verdict in zip(self._tracks, moved, verdicts, strict=True)
            if verdict != "outside"
        ]
        return "unsure" not in verdicts

    def _detect(self, frame: VideoFrame) -> None:
        faces = Faces.from_pipeline(self.find_faces(frame.image, **self.detection))
        states = [
            FaceState(
                float(face.scores[0]),
                face.boxes_xyxy[0].astype(np.float64),
                None if face.keypoints_xy is None else face.keypoints_xy[0].astype(np.float64),
            )
            for face in faces
        ]
        if self.read_landmarks and states:
            landmarks = self._landmarks(frame.image, states)
            states = [
                replace(state, landmarks_xy=points_xy, confidence=confidence)
                for state, (points_xy, confidence) in zip(states, landmarks, strict=True)
            ]
        self._lost = [track for track in self._lost if frame.time_s - track.seen_s <= _REMEMBERED_S]
        before = self._tracks + self._lost
        pairs = match_boxes(_boxes(before), faces.boxes_xyxy.astype(np.float64))
        numbers = [before[pairs[row]].number if row in pairs else self._new_number() for row in range(len(states))]
        self._lost = [track for index, track in enumerate(before) if index not in pairs.values()]
        began_s = [before[pairs[row]].began_s if row in pairs else frame.time_s for row in range(len(states))]
        tracks = [
            Track(number, state, state, began, frame.time_s)
            for number, state, began in zip(numbers, states, began_s, strict=True)
        ]
        self._tracks = sorted(tracks, key=lambda track: track.number)

    def _landmarks(self, image: Image.Image, states: list[FaceState]) -> list[tuple[np.ndarray, float]]:
        assert self.read_landmarks is not None  # without it, every frame is searched and nothing is followed
        given: dict[str, Any] = {"image": image}
        if all(state.keypoints_xy is not None for state in states):
            given["keypoints"] = [state.keypoints_xy for state in states]
        else:
            given["boxes"] = [state.box_xyxy for state in states]
        answers = self.read_landmarks(given, batch_size=self.batch_size)
        return [(np.asarray(face["landmarks"], np.float64), face["confidence"]) for face in answers]

    def _new_number(self) -> int:
        self._num_tracks += 1
        return self._num_tracks


def _boxes(tracks: list[Track]) -> np.ndarray:
    return np.array([track.now.box_xyxy for track in tracks], np.float64).reshape(-1, 4)
