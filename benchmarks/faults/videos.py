"""Videos: no videos, playlists and programs under a video's name, damage, turns and mirrors, odd names and sizes."""

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.faults import materials
from benchmarks.faults.cases import Case, Draw, kind
from benchmarks.faults.judging import Outcome, gives, gives_or_refused, half_written, refused
from benchmarks.faults.materials import written
from farl_hf.video import VideoFile

SUFFIXES = (".mp4", ".mov", ".mkv", ".avi")


def quadrants(size_wh: tuple[int, int] = (64, 48)) -> np.ndarray:
    """Red, green above blue, yellow."""
    width, height = size_wh
    frame = np.zeros((height, width, 3), np.uint8)
    frame[: height // 2, : width // 2], frame[: height // 2, width // 2 :] = (230, 20, 20), (20, 220, 20)
    frame[height // 2 :, : width // 2], frame[height // 2 :, width // 2 :] = (20, 20, 230), (230, 220, 20)
    return frame


def write(path: Path, frames: list[np.ndarray], **settings: Any) -> Path:
    """A small video."""
    return materials.test_module("video_files").write_video(path, frames, **settings)


@functools.cache
def good_video(suffix: str = ".mp4") -> bytes:
    """The bytes of five frames."""
    path = write(materials.shared_folder() / f"good{suffix}", [quadrants()] * 5)
    return path.read_bytes()


def frames_of(path: Any) -> list[np.ndarray]:
    """All frames of a video."""
    return [np.asarray(frame.image) for frame in VideoFile(path).frames()]


def shows(expected: np.ndarray, count: int | None = None) -> Any:
    """A check: every frame is this one, but for its compression; there are so many."""

    def check(frames: Any) -> str:
        if count is not None and len(frames) != count:
            return f"{len(frames)} frames, expected {count}"
        sizes = {frame.shape for frame in frames}
        if sizes != {expected.shape}:
            return f"sizes {sizes}, expected {expected.shape}"
        apart = max(np.abs(frame.astype(float) - expected).mean() for frame in frames)
        return "" if apart < 25 else f"off by {apart:.0f} on average"

    return check


def not_videos(folder: Path, draw: Draw) -> dict[str, bytes]:
    """What lies under a video's name; some of it would make FFmpeg open other files."""
    other = written(folder / "other.mp4", good_video())
    return {
        "empty": b"",
        "garbage": draw.rng.bytes(3000),
        "text": b"hello\n" * 50,
        "zeros": bytes(5000),
        "playlist": f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{other}\n#EXT-X-ENDLIST\n".encode(),
        "playlist beside": b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.mp4\n#EXT-X-ENDLIST\n",
        "playlist of the web": b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n",
        "concat": b"ffconcat version 1.0\nfile other.mp4\n",
        "concat elsewhere": f"ffconcat version 1.0\nfile '{other}'\n".encode(),
        "DASH": b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><AdaptationSet>'
        b'<Representation id="1"><BaseURL>other.mp4</BaseURL>'
        b"</Representation></AdaptationSet></Period></MPD>",
        "SDP": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
        b"m=video 9 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
        "ASX": b"<asx><entry><ref href='file:///etc/passwd'/></entry></asx>",
        "sub-titles": b"1\n00:00:01,000 --> 00:00:02,000\nhello\n",
        "a picture": materials.encoded(quadrants(), "PNG"),
        "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n",
        "a pickle": b"\x80\x04N.",
        "a zip": b"PK\x03\x04" + bytes(60),
        "ffmetadata": b";FFMETADATA1\ntitle=x\n",
        "a script of AviSynth": b"Version()\n",
    }


@kind("videos", count=38)
def disguised_file(draw: Draw) -> Case:
    contents = not_videos(draw.folder, draw)
    name = draw.each(list(contents))
    path = written(draw.folder / f"clip{draw.any(SUFFIXES)}", contents[name])

    def run() -> Any:
        with materials.no_programs() as started:
            frames = frames_of(path)
            assert not started, started
        return frames

    right = gives_or_refused(shows(quadrants(), 1)) if name == "a picture" else refused()
    return Case(f"{name} as {path.suffix}", run, right)


@kind("videos", count=16)
def turned_and_mirrored(draw: Draw) -> Case:
    hflip, vflip, rotation = draw.each(
        [(h, v, r) for h in (False, True) for v in (False, True) for r in (0, 90, 180, -90)]
    )
    stored = quadrants((64, 48))
    path = write(
        draw.folder / f"a{draw.any(['.mp4', '.mov'])}", [stored] * 2, rotation=rotation, hflip=hflip, vflip=vflip
    )
    expected = np.rot90(stored, rotation // 90)[:: -1 if vflip else 1, :: -1 if hflip else 1]
    return Case(f"{rotation} degrees, mirrored {hflip}, {vflip}", lambda: frames_of(path), gives(shows(expected, 2)))


@kind("videos", count=12)
def odd_name(draw: Draw) -> Case:
    name = draw.each(
        [
            "cam1:front",
            "file:x",
            "pipe:",
            "http:",
            "süß",
            "caf\udce9",
            "a b",
            "[bold]",
            "%03d",
            "concat:a|b",
            "-i",
            "a'b\"c",
            "new\nline",
            "x" * 240,
            "\x1b[31m",
            ".hidden",
            "a,b",
            "data:x",
        ]
    )
    suffix = draw.any(SUFFIXES)
    path = written(draw.folder / f"{name}{suffix}", good_video(suffix))
    given = path if draw.number % 2 else path.name  # the working folder is that of the case
    return Case(ascii(path.name[:40]), lambda: frames_of(given), gives(shows(quadrants(), 5)))


@kind("videos", count=14)
def no_video_at_all(draw: Draw) -> Case:
    import os

    (draw.folder / "folder.mp4").mkdir()
    os.mkfifo(draw.folder / "pipe.mp4")
    (draw.folder / "loop.mp4").symlink_to("loop.mp4")
    name: Any = draw.each(
        [
            "missing.mp4",
            "folder.mp4",
            "pipe.mp4",
            "loop.mp4",
            "",
            "x" * 300 + ".mp4",
            "nul\0.mp4",
            "/dev/zero",
            "http://127.0.0.1:9/x.mp4",
            "rtsp://127.0.0.1:9/x",
            "concat:a.mp4|b.mp4",
            "testsrc",
            "data:video/mp4;base64,AAAA",
            "file:///etc/passwd",
        ]
    )
    return Case(ascii(name[:30]), lambda: frames_of(name), refused())


@kind("videos", count=20)
def damaged_video(draw: Draw) -> Case:
    """What is decoded has the size of the video; what is missing is said."""
    suffix = draw.each(SUFFIXES)
    content = bytearray(good_video(suffix))
    way = draw.any(["cut", "changed bytes", "start missing", "zeros inside"])
    if way == "cut":
        content = content[: draw.whole(1, len(content) - 1)]
    elif way == "start missing":
        content = content[draw.whole(1, 200) :]
    elif way == "zeros inside":
        start = draw.whole(0, len(content) - 50)
        content[start : start + 50] = bytes(50)
    else:
        for _ in range(draw.whole(1, 10)):
            content[draw.whole(0, len(content) - 1)] = draw.whole(0, 255)
    path = written(draw.folder / f"clip{suffix}", bytes(content))

    def check(frames: Any) -> str:  # pixels of damaged frames are anything
        return (
            ""
            if frames and all(frame.ndim == 3 and frame.shape[2] == 3 for frame in frames)
            else "no frames, but no error"
        )

    return Case(f"{way} of {suffix}", lambda: frames_of(path), gives_or_refused(check))


@kind("videos", count=12)
def odd_size_or_time(draw: Draw) -> Case:
    size = draw.each([(16, 16), (18, 50), (64, 16), (1000, 16), (16, 700), (34, 18), (62, 46)])
    times = draw.any([None, [0.0, 0.001, 5.0], [0.0, 0.04, 0.08], [1.0, 2.0, 3.0]])
    frame = quadrants(size)
    path = write(draw.folder / "clip.mp4", [frame] * 3, times_s=times)
    return Case(f"{size} at {times}", lambda: frames_of(path), gives(shows(frame, 3)))


@kind("videos")
def sound_without_pictures(draw: Draw) -> Case:
    import av

    path = draw.folder / f"clip{draw.any(['.mp4', '.mkv'])}"
    rate = draw.any([8000, 16000, 44100])
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = rate, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return Case(path.name, lambda: frames_of(path), refused())


@kind("videos", count=12, seconds=120)
def bad_video_among_photos(draw: Draw) -> Case:
    """`annotate` reports it at its end; the photo is annotated."""
    from benchmarks.faults.commands import toy_command

    folder, output = draw.folder / "in", draw.folder / "out"
    folder.mkdir()
    contents = not_videos(draw.folder, draw)
    name = draw.each([one for one in contents if one != "a picture"])
    written(folder / "clip.mp4", contents[name])
    written(folder / "photo.png", materials.encoded(quadrants(), "PNG"))
    state: list[Outcome] = []

    def run() -> Any:
        state.append(toy_command("annotate", folder, "-t", "detection", "-o", output))
        outcome = state[0]
        return (
            outcome
            if outcome.escaped is not None or outcome.status not in (0, 1)
            else json.loads((output / "faces.json").read_text())
        )

    def check(records: Any) -> str:
        names = [Path(record.get("photo", record.get("video"))).name for record in records]
        reported = state[0].status == 1 and "clip.mp4" in state[0].err
        return "" if names == ["photo.png"] and reported else f"{names}, status {state[0].status}"

    return Case(name, run, gives(check), lambda: half_written(output))
