"""Frames to an MP4 file, with the sound of the video that they were made from."""

import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from PIL import Image

from farl_hf.errors import UnreadableVideoError
from farl_hf.video.frame_reading import VideoFile, open_container
from farl_hf.video.pyav_loading import load_av

__all__ = ["VideoWriter"]

# The first that this build of FFmpeg has; options for pictures in which thin lines stay sharp.
_ENCODERS = {
    "libx264": {"crf": "20", "preset": "veryfast"},
    "mpeg4": {"flags": "+qscale", "global_quality": str(3 * 118)},
}
_FINEST_MPEG4 = 65535  # ticks per second
_MPEG4_TIME_BASE = Fraction(1, 60000)  # exact for 24, 25, 30 and 29.97 frames per second
_BT709 = 1  # matrix, in FFmpeg's numbering; players assume it where nothing is said of large pictures
_LIMITED_RANGE = 1


class VideoWriter:
    """Writes beside the target and moves the file there when it is complete; an exception leaves nothing.

    Args:
        path (`Path`): The MP4 file.
        source (`VideoFile`): Gives times, frame rate, shape of pixels, and the sound, which is copied as it is.
    """

    def __init__(self, path: Path, source: VideoFile) -> None:
        self.path = path
        self.source = source
        self.draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        self.left_out_sound: str | None = None  # name of a codec that MP4 cannot hold
        self._container: Any = None
        self._stream: Any = None
        self._size_wh: tuple[int, int] | None = None
        self._sound_source: Any = None
        self._sound: Iterator[Any] = iter(())
        self._next_sound: Any = None
        self._last_pts = -1

    def __enter__(self) -> "VideoWriter":
        return self

    def write(self, image: Image.Image, time_s: float) -> None:
        """Add a frame.

        Raises:
            UnreadableVideoError: If its size is not that of the first frame.
        """
        if self._container is None:
            self._open(image.size)
        if image.size != self._size_wh:
            raise UnreadableVideoError(
                f"The frames of {self.source.source} change from {self._size_wh} to {image.size} pixels at "
                f"{time_s:.2f} s; cut the video there."
            )
        frame = load_av().VideoFrame.from_ndarray(_even_sides(np.asarray(image)), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=_BT709, dst_color_range=_LIMITED_RANGE)
        self._last_pts = max(round(time_s / self._time_base), self._last_pts + 1)
        frame.pts, frame.time_base = self._last_pts, self._time_base
        self._container.mux(self._stream.encode(frame))
        self._copy_sound(until_s=time_s)

    def close(self, whole: bool = True) -> None:
        """Finish the file; the rest of the sound follows if the frames are the whole video."""
        if self._container is None:
            return
        self._container.mux(self._stream.encode(None))
        if whole:
            self._copy_sound(until_s=float("inf"))
        self._container.close()
        self._container = None
        os.replace(self.draft, self.path)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._sound_source is not None:
            self._sound_source.close()
        try:
            if self._container is not None:
                self._container.close()
        finally:
            self.draft.unlink(missing_ok=True)

    def _open(self, size_wh: tuple[int, int]) -> None:
        av = load_av()
        name = next(name for name in _ENCODERS if name in av.codec.codecs_available)
        too_fine = name == "mpeg4" and self.source.time_base.denominator > _FINEST_MPEG4
        self._time_base = _MPEG4_TIME_BASE if too_fine else self.source.time_base
        self._size_wh = size_wh
        self._container = av.open(str(self.draft), "w", format="mp4", options={"movflags": "faststart"})
        self._stream = self._container.add_stream(name, rate=self.source.frame_rate, options=_ENCODERS[name])
        context = self._stream.codec_context
        context.width, context.height = (side + side % 2 for side in size_wh)
        context.pix_fmt, context.time_base = "yuv420p", self._time_base
        context.colorspace, context.color_range = _BT709, _LIMITED_RANGE
        if self.source.sample_aspect_ratio:
            context.sample_aspect_ratio = self.source.sample_aspect_ratio
        self._add_sound()

    def _add_sound(self) -> None:
        self._sound_source = open_container(self.source.source)
        streams = self._sound_source.streams.audio
        if not streams:
            return
        try:
            self._sound_stream = self._container.add_stream_from_template(streams[0])
        except ValueError:
            self.left_out_sound = streams[0].codec_context.name
            return
        self._sound = self._sound_source.demux(streams[0])

    def _copy_sound(self, until_s: float) -> None:
        """Copy packets up to a time; a fault of the sound ends the sound, the frames report theirs."""
        while True:
            if self._next_sound is None:
                self._next_sound = self._read_sound()
            packet = self._next_sound
            if packet is None or float(packet.dts * packet.time_base) - self.source.start_s > until_s:
                return
            shift = round(self.source.start_s / packet.time_base)
            packet.dts -= shift
            packet.pts = packet.dts if packet.pts is None else packet.pts - shift
            packet.stream = self._sound_stream
            self._container.mux(packet)
            self._next_sound = None

    def _read_sound(self) -> Any:
        try:
            return next((packet for packet in self._sound if packet.dts is not None), None)
        except load_av().error.FFmpegError:
            self._sound = iter(())
            return None


def _even_sides(pixels: np.ndarray) -> np.ndarray:
    """The picture (H, W, 3) with even sides, the last row or column repeated: colours come in 2 x 2 pixels."""
    height, width = pixels.shape[:2]
    return np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
