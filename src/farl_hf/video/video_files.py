"""Video files: frames in, upright and with their times, and frames out to MP4 with the sound of their source.

Both need PyAV, an optional package. Frames are read and written one at a time.
"""

import contextlib
import io
import os
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from farl_hf.errors import MissingExtraError, UnreadableVideoError
from farl_hf.whole_files import remove_left_over, written_whole

_URL_SCHEMES = ("http://", "https://")
_USUAL_RATE = Fraction(25)  # of a file that states none
# What makes a frame upright, by the display matrix: where the stored x axis and the stored y axis point in the frame
# that is shown. Source of the matrix: FFmpeg, libavutil/display.h.
_UPRIGHT = {
    ((1, 0), (0, 1)): None,
    ((0, -1), (1, 0)): Image.Transpose.ROTATE_90,
    ((-1, 0), (0, -1)): Image.Transpose.ROTATE_180,
    ((0, 1), (-1, 0)): Image.Transpose.ROTATE_270,
    ((-1, 0), (0, 1)): Image.Transpose.FLIP_LEFT_RIGHT,
    ((1, 0), (0, -1)): Image.Transpose.FLIP_TOP_BOTTOM,
    ((0, 1), (1, 0)): Image.Transpose.TRANSPOSE,
    ((0, -1), (-1, 0)): Image.Transpose.TRANSVERSE,
}
# Playlists and scripts under a video's name would make FFmpeg open other files and addresses.
_READ_OPTIONS = {
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,asf,flv,ogg,gif,h264,hevc,m4v"
}
# Containers may count a few frames that no decoder shows, at the ends of cut clips.
_UNSHOWN_FRAMES = 2
_UNSHOWN_SHARE = 0.02
_UNSHOWN_S = 0.2


def load_av() -> ModuleType:
    """The module `av`.

    Raises:
        MissingExtraError: If it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise MissingExtraError('Videos need the `av` package: pip install "farl-hf[video]".') from error
    return av


class VideoFrame(NamedTuple):
    """One upright frame.

    Args:
        index (`int`): Its number, from 0.
        time_s (`float`): When it is shown, in seconds from the start of the file.
        image (`PIL.Image.Image`): RGB.
    """

    index: int  # type: ignore[assignment]  # hides the method of tuples
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
                    if count == 0 and stream.sample_aspect_ratio and _shown_axes(picture)[0][0] == 0:
                        self.sample_aspect_ratio = 1 / stream.sample_aspect_ratio  # a quarter turn swaps the sides
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
        # Both count and time must be short: AVI counts entries that only fill time, and cut clips hide some frames.
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
    if source.startswith(_URL_SCHEMES):
        address = source
    else:
        _require_file(Path(source))
        address = f"file:{source}"  # FFmpeg takes what stands before the first colon of a name for a protocol
    try:
        # Titles may be in any encoding; PyAV 19 reads all of them, and has no such argument.
        any_title = {} if int(av.__version__.partition(".")[0]) >= 19 else {"metadata_errors": "replace"}
        return av.open(address, options=_READ_OPTIONS, **any_title)
    except (av.error.FFmpegError, OSError) as error:
        reason = error.strerror or type(error).__name__
        raise UnreadableVideoError(f"{source} cannot be opened as a video: {reason}") from error


def _require_file(path: Path) -> None:
    if not os.path.isfile(path):
        raise UnreadableVideoError(f"There is no video at {path}; check the path.")
    if path.stat().st_size == 0:
        raise UnreadableVideoError(f"The file {path} is empty.")


def _upright(picture: Any) -> Image.Image:
    image = picture.to_image()
    turn = _UPRIGHT[_shown_axes(picture)]
    return image if turn is None else image.transpose(turn)


def _shown_axes(picture: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    """Where the stored axes of a frame point when it is shown; other angles go to the nearest quarter turn."""
    data = picture.side_data.get("DISPLAYMATRIX")
    if data is None:
        return (1, 0), (0, 1)
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()  # x' = ax + cy, y' = bx + dy
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return (1 if a >= 0 else -1, 0), (0, 1 if d >= 0 else -1)
    return (0, 1 if b >= 0 else -1), (1 if c >= 0 else -1, 0)


# The first encoder that this build of FFmpeg has is used; its options keep thin lines sharp.
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
        self._place = contextlib.ExitStack()  # of the unfinished file
        self.sound_note: str | None = None  # of sound that MP4 cannot hold
        self._container: Any = None
        self._stream: Any = None
        self._size_wh: tuple[int, int] | None = None
        self._sound_source: Any = None
        self._sound: Iterator[Any] = iter(())
        self._next_sound: Any = None
        self._last_sound_dts: int | None = None
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
        self._place.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._sound_source is not None:
            self._sound_source.close()
        if self._container is not None:  # not finished
            with contextlib.suppress(Exception):  # a full disk fails here again
                self._container.close()
            error = error or Exception("not finished")
        self._place.__exit__(type(error) if error else None, error, trace)

    def _open(self, size_wh: tuple[int, int]) -> None:
        av = load_av()
        name = next(name for name in _ENCODERS if name in av.codec.codecs_available)
        too_fine = name == "mpeg4" and self.source.time_base.denominator > _FINEST_MPEG4
        self._time_base = _MPEG4_TIME_BASE if too_fine else self.source.time_base
        self._size_wh = size_wh
        remove_left_over(self.path)
        unfinished = self._place.enter_context(written_whole(self.path))
        self._container = av.open(f"file:{unfinished}", "w", format="mp4", options={"movflags": "faststart"})
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
        stream = next(iter(self._sound_source.streams.audio), None)
        if stream is None:
            return
        self._sound = self._sound_source.demux(stream)
        self._next_sound = self._read_sound()
        if self._next_sound is None:
            return
        for layout in dict.fromkeys((None, _usual_layout(stream))):
            if _mp4_holds(stream, self._next_sound, layout):
                self._sound_stream = _add_copy_of(self._container, stream, layout)
                return
        self._sound, self._next_sound = iter(()), None
        codec = "unknown codec" if stream.codec_context is None else stream.codec_context.name
        self.sound_note = f"The sound of {self.source.source} ({codec}) was skipped: MP4 cannot hold it as it is."

    def _copy_sound(self, until_s: float) -> None:
        """Copy packets up to a time; a fault of the sound ends the sound, the frames report theirs."""
        while True:
            if self._next_sound is None:
                self._next_sound = self._read_sound()
            packet = self._next_sound
            if packet is None or float(packet.dts * packet.time_base) - self.source.start_s > until_s:
                return
            shift = round(self.source.start_s / packet.time_base)
            self._last_sound_dts = packet.dts
            packet.dts -= shift
            packet.pts = packet.dts if packet.pts is None else max(packet.pts - shift, packet.dts)
            packet.stream = self._sound_stream
            try:
                self._container.mux(packet)
            except load_av().error.FFmpegError as error:
                if isinstance(error, OSError):  # of the disk
                    raise
                self._sound = iter(())
                self.sound_note = f"The sound of {self.source.source} ends early: MP4 cannot hold what follows."
            self._next_sound = None

    def _read_sound(self) -> Any:
        """The next packet of the sound that can be written; None at its end."""
        try:
            return next((packet for packet in self._sound if self._is_later(packet)), None)
        except (load_av().error.FFmpegError, IndexError):  # the latter where damage invented a stream
            self._sound = iter(())
            return None

    def _is_later(self, packet: Any) -> bool:
        """Whether its time grows, by a tick of the written file at least.

        Times go back where files were joined. The muxer would refuse the packet, with an error that loses the video.
        """
        if packet.dts is None or self._last_sound_dts is None:
            return packet.dts is not None
        return (packet.dts - self._last_sound_dts) * packet.time_base >= self._sound_stream.time_base


def _mp4_holds(stream: Any, packet: Any, layout: str | None) -> bool:
    """Whether MP4 can contain a sound.

    It is tried with one packet, because some sound is refused only when the file is finished, too late to leave it
    out; and in memory, so that a full disk is not taken for bad sound.
    """
    av = load_av()
    try:
        with av.open(io.BytesIO(), "w", format="mp4") as trial:
            copy = av.Packet(bytes(packet))  # writing changes the times of a packet
            copy.dts, copy.pts, copy.time_base = 0, 0, packet.time_base
            copy.stream = _add_copy_of(trial, stream, layout)
            trial.mux(copy)
    except (ValueError, av.error.FFmpegError):
        return False
    return True


def _add_copy_of(container: Any, stream: Any, layout: str | None) -> Any:
    copy = container.add_stream_from_template(stream)
    if layout is not None:
        copy.codec_context.layout = layout
    return copy


def _usual_layout(stream: Any) -> str | None:
    """The usual order of the channels of PCM. AVI and Matroska tell their number alone; MP4 must name the order.

    The number comes from the bit rate: PyAV 18.1 crashes (a double free) when it is asked for a layout without order.
    """
    context = stream.codec_context
    bits = re.match(r"pcm_[a-z](\d+)", "" if context is None else context.name)
    if bits is None or not context.bit_rate or not context.sample_rate:
        return None
    return f"{context.bit_rate // (context.sample_rate * int(bits[1]))}c"


def _even_sides(pixels: np.ndarray) -> np.ndarray:
    """The picture (H, W, 3) with even sides, the last row or column repeated: colours come in 2 x 2 pixels."""
    height, width = pixels.shape[:2]
    return np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
