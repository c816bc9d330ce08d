"""From a video to its faces, frame by frame."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from transformers import pipeline

from farl_hf.checkpoints.checkpoint_names import checkpoint_for
from farl_hf.errors import InvalidArgumentError
from farl_hf.photos import load_photo
from farl_hf.pipelines.face_tasks import FaceLandmarksPipeline
from farl_hf.pipelines.inputs import Prefetched, check_batch_size
from farl_hf.results import Faces, plain_faces, plain_points
from farl_hf.video.face_state import ConfidentLandmarksPipeline, OneEuroFilter, OneEuroSettings
from farl_hf.video.face_tracker import FaceTracker, Track
from farl_hf.video.video_files import VideoFile, VideoFrame

_FRAMES_AHEAD = 3  # decoded ahead of the networks


@dataclass(frozen=True)
class TrackedFrame:
    """A frame and its faces.

    Args:
        index (`int`): Number of the frame, from 0.
        time_s (`float`): When it is shown, in seconds.
        image (`PIL.Image.Image`): The upright frame.
        faces (`list[dict]`): As a pipeline answers, with `track`: the number of the face through the video.
    """

    index: int
    time_s: float
    image: Image.Image
    faces: list[dict[str, Any]]


def track_faces(
    video: str | Path | Iterable[Any],
    *,
    detector: Any = None,
    landmarks: Any = None,
    detect_every: int = 10,
    smooth: bool | OneEuroSettings = False,
    threshold: float | None = None,
    frame_rate: float = 25.0,
    batch_size: int = 8,
    device: Any = None,
) -> Iterator[TrackedFrame]:
    """Follow the faces of a video; frames are read one by one.

    Args:
        video (`str`, `Path` or iterable): A file or URL, or pictures, anything that a pipeline takes for a photo.
        detector (`FaceDetectionPipeline`, `str` or `Path`, *optional*): What finds faces, or its checkpoint.
        landmarks (`FaceLandmarksPipeline`, `str` or `Path`, *optional*): What follows them, or its checkpoint.
        detect_every (`int`, *optional*, defaults to 10): Frames from one detection to the next.
        smooth (`bool` or `OneEuroSettings`, *optional*, defaults to `False`): Smooth boxes and points over time.
        threshold (`float`, *optional*): Lowest score of a face.
        frame_rate (`float`, *optional*, defaults to 25): Pictures per second, where pictures are given.
        batch_size (`int`, *optional*, defaults to 8): Faces that share a forward pass.
        device (*optional*): Where models that are loaded here run.

    Returns:
        `Iterator[TrackedFrame]`: One after the other.

    Raises:
        UnreadableVideoError: If the video cannot be read; at the frame where that shows.
        InvalidArgumentError: If `detect_every`, `batch_size` or `frame_rate` cannot be used, or something else than a
            video or pictures is given, or something that finds no faces.

    Example:
        >>> import farl_hf
        >>> for frame in farl_hf.track_faces("clip.mp4", smooth=True):  # doctest: +SKIP
        ...     print(frame.time_s, [face["track"] for face in frame.faces])
    """
    check_batch_size(detect_every, "detect_every")
    check_batch_size(batch_size)
    if not isinstance(frame_rate, Real) or not 0 < frame_rate < float("inf"):
        raise InvalidArgumentError(f"frame_rate={frame_rate!r}; expected pictures per second, above 0.")
    if not isinstance(video, (str, Path, Iterable)):
        raise InvalidArgumentError(f"video is {video!r}; expected a file, a URL or pictures.")
    if not isinstance(smooth, (bool, OneEuroSettings)):
        raise InvalidArgumentError(f"smooth={smooth!r}; expected True, False or OneEuroSettings.")
    frames = VideoFile(video).frames() if isinstance(video, (str, Path)) else _frames_of(video, frame_rate)
    tracker = FaceTracker(
        _loaded("face-detection", detector, device),
        ConfidentLandmarksPipeline.of(_loaded("face-landmarks", landmarks, device)),
        detect_every,
        batch_size,
        **({} if threshold is None else {"threshold": threshold}),
    )
    return follow_faces(frames, tracker, smooth)


def follow_faces(
    frames: Iterable[VideoFrame], tracker: FaceTracker, smooth: bool | OneEuroSettings = False
) -> Iterator[TrackedFrame]:
    """The faces that a tracker finds in frames; see `track_faces`."""
    settings = OneEuroSettings() if smooth is True else smooth
    filters: dict[int, OneEuroFilter] = {}
    for frame in Prefetched(frames, _FRAMES_AHEAD):
        tracks = tracker(frame)
        faces = [plain_face(track) for track in tracks]
        if settings:
            filters = {
                track.number: filters.get(track.number) or OneEuroFilter(settings, track.now.size_px)
                for track in tracks
            }
            faces = [_smoothed(face, filters[face["track"]], frame.time_s) for face in faces]
        yield TrackedFrame(frame.index, frame.time_s, frame.image, faces)


def plain_face(track: Track) -> dict[str, Any]:
    """A track in one frame the way pipelines answer."""
    now = track.now
    keypoints_xy = None if now.keypoints_xy is None else now.keypoints_xy[None]
    (face,) = plain_faces(Faces(now.box_xyxy[None], np.array([now.score]), keypoints_xy))
    landmarks = {} if now.landmarks_xy is None else {"landmarks": plain_points(now.landmarks_xy)}
    return {"track": track.number} | face | landmarks


def _smoothed(face: dict[str, Any], smooth: OneEuroFilter, time_s: float) -> dict[str, Any]:
    """The face with its box and all its points smoothed by one filter."""
    named = {name: face[name] for name in ("keypoints", "landmarks") if face.get(name) is not None}
    box = np.array(list(face["box"].values())).reshape(2, 2)
    together = smooth(np.concatenate([box, *(np.array(points) for points in named.values())]), time_s)
    result = face | {"box": dict(zip(face["box"], together[:2].ravel().tolist(), strict=True))}
    start = 2
    for name, points in named.items():
        result[name] = plain_points(together[start : start + len(points)])
        start += len(points)
    return result


def _frames_of(pictures: Iterable[Any], frame_rate: float) -> Iterator[VideoFrame]:
    for index, picture in enumerate(pictures):
        yield VideoFrame(index, index / frame_rate, load_photo(picture))


def _loaded(task: str, given: Any, device: Any) -> Any:
    if given is not None and not isinstance(given, (str, Path)):
        if not (isinstance(given, FaceLandmarksPipeline) if task == "face-landmarks" else callable(given)):
            raise InvalidArgumentError(
                f"{task} takes a pipeline or a checkpoint as detector or landmarks, but {given!r} came."
            )
        return given
    folder = str(checkpoint_for(task, given))
    return pipeline(task, model=folder, device=device)  # type: ignore[call-overload]  # knows its own tasks alone
