"""The frames of a video file: upright, with their times, one after the other."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from farl_hf.errors import UnreadableVideoError
from farl_hf.video.pyav_loading import load_av

__all__ = ["VideoFile", "VideoFrame"]

_URL_SCHEMES = ("http://", "https://")
_USUAL_RATE = Fraction(25)  # of a file that states none
# Counter-clockwise quarter turns that make a frame upright.
_TURNS = {1: Image.Transpose.ROTATE_90, 2: Image.Transpose.ROTATE_180, 3: Image.Transpose.ROTATE_270}
# Containers may count a few frames that no decoder shows, at the ends of cut clips.
_UNSHOWN_FRAMES = 2
_UNSHOWN_SHARE = 0.02
_UNSHOWN_S = 0.2


class VideoFrame(NamedTuple):
    """One upright frame.

    Args:
        index (`int`): Its number, from 0.
        time_s (`float`): When it is shown, in seconds from the start of the file.
        image (`PIL.Image.Image`): RGB.
    """

    index: int
    time_s: float
    image: Image.Image


class VideoFile:
    """A video that is decoded while it is read.

    Args:
        source (`str` or `Path`): File or URL.

    Raises:
        UnreadableVideoError: If it is missing, no video, or has no video stream.
        MissingExtraError: If PyAV is not installed.
    """

    def __init__(self, source: str | Path) -> None:
        self.source = str(source)
        container = open_container(self.source)
        with container:
            if not container.streams.video:
                raise UnreadableVideoError(f"{self.source} has no video stream; give a file with moving pictures.")
            stream = container.streams.video[0]
            self.time_base: Fraction = stream.time_base or Fraction(1, 1000)
            self.frame_rate: Fraction = stream.average_rate or stream.guessed_rate or _USUAL_RATE
            self.sample_aspect_ratio: Fraction | None = stream.sample_aspect_ratio
            self.start_s = (container.start_time or 0) / 1_000_000
            self.declared_frames: int = stream.frames
            seconds = (container.duration or 0) / 1_000_000
            self.num_frames: int | None = stream.frames or round(seconds * self.frame_rate) or None

    def frames(self) -> Iterator[VideoFrame]:
        """The frames; times grow strictly, whatever the file says.

        Raises:
            UnreadableVideoError: At the first frame that cannot be decoded, at the end of a file that lacks a part of
                the frames it declares, or if there is no frame at all.
        """
        count, time_s = 0, -1.0
        try:
            with open_container(self.source) as container:
                stream = container.streams.video[0]
                stream.thread_type = "AUTO"
                for picture in container.decode(stream):
                    time_s = self._time_of(picture, count, time_s)
                    yield VideoFrame(count, time_s, _upright(picture))
                    count += 1
        except load_av().error.FFmpegError as error:
            reason = error.strerror or type(error).__name__
            raise UnreadableVideoError(f"{self._beyond(count, time_s)} cannot be decoded: {reason}") from error
        self._require_all(count, time_s)

    def _time_of(self, picture: Any, count: int, last_s: float) -> float:
        time_s = count / float(self.frame_rate) if picture.pts is None else picture.time - self.start_s
        return time_s if time_s > last_s else last_s + float(self.time_base)

    def _require_all(self, count: int, time_s: float) -> None:
        if count == 0:
            raise UnreadableVideoError(f"{self.source} holds no frame that can be decoded.")
        # Both must tell: AVI counts entries that only fill time, and those of a cut clip may stay unshown.
        missing = self.declared_frames - count
        missing_s = self.declared_frames / float(self.frame_rate) - time_s
        if missing > max(_UNSHOWN_FRAMES, _UNSHOWN_SHARE * self.declared_frames) and missing_s > _UNSHOWN_S:
            raise UnreadableVideoError(
                f"{self._beyond(count, time_s)} is missing: the file declares {self.declared_frames} frames."
            )

    def _beyond(self, count: int, time_s: float) -> str:
        return (
            f"{self.source} after frame {count} ({max(time_s, 0):.2f} s)" if count else f"The start of {self.source}"
        )


def open_container(source: str) -> Any:
    """The opened file.

    Raises:
        UnreadableVideoError: If it is missing or no container that FFmpeg knows.
    """
    av = load_av()
    if not source.startswith(_URL_SCHEMES):
        _require_file(Path(source))
    try:
        return av.open(source)
    except (av.error.FFmpegError, OSError) as error:
        reason = error.strerror or type(error).__name__
        raise UnreadableVideoError(f"{source} cannot be opened as a video: {reason}") from error


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise UnreadableVideoError(f"There is no video at {path}; check the path.")
    if path.stat().st_size == 0:
        raise UnreadableVideoError(f"The file {path} is empty.")


def _upright(picture: Any) -> Image.Image:
    image = picture.to_image()
    turn = _TURNS.get(round(picture.rotation / 90) % 4)
    return image if turn is None else image.transpose(turn)
