"""Memory and open files of long runs: many photos of mixed sizes, a long video, pipelines built in a row.

    python -m benchmarks.long_run [--photos 2000] [--frames 2000] [--pipelines 30] [--environment A=1 …]

`farl-hf annotate` runs on photos of random sizes, and on a video; both show a photographed face. Another process
builds one face-parsing pipeline after the other, uses it once and drops it. Resident memory and open files are read
while they run. For each, the table has the memory after the warm-up (the first third), its slope after that as MiB
per 1,000 photos, frames or pipelines, and the same for open files; the curve shows the memory over the whole run.

`--environment` sets variables of the processes, to compare settings; an empty value takes a variable out.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
from PIL import Image

from benchmarks.face_scenes import make_photo_of_size

SMALLEST_PX, LARGEST_PX = 240, 960
FACE = Image.fromarray(skimage.data.astronaut()).crop((130, 0, 330, 230))
COMMAND = (sys.executable, "-c", "from farl_hf.cli import main; main()", "annotate")
BUILDING = """
import sys, time
from transformers import pipeline
import farl_hf
for number in range(int(sys.argv[2])):
    faces = pipeline("face-parsing", device="cpu")(sys.argv[1])
    assert faces
    open(f"{sys.argv[3]}/{number}", "w").close()
    time.sleep(0.3)
"""
LOOK_S = 0.2
WARM_UP = 1 / 3  # of a run
MIB = 2**20
BLOCKS = "▁▂▃▄▅▆▇█"
WIDTH = 60


def make_photos(folder: Path, count: int, seed: int = 0) -> None:
    """JPEG photos of random sizes, each with one face of a random size."""
    rng = np.random.default_rng(seed)
    grounds = [Image.fromarray(make_photo_of_size(LARGEST_PX, LARGEST_PX, seed)) for seed in range(4)]
    folder.mkdir()
    for number in range(count):
        width, height = rng.integers(SMALLEST_PX, LARGEST_PX, 2).tolist()
        photo = grounds[number % 4].crop((0, 0, width, height))
        side = int(min(width, height) * rng.uniform(0.3, 0.8))
        photo.paste(FACE.resize((side * FACE.width // FACE.height, side)), (width // 8, height // 8))
        photo.save(folder / f"{number:05}.jpg", quality=90)


def make_video(path: Path, count: int) -> None:
    """A face that moves over a plain background, 320 x 240 pixels."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        face = FACE.resize((120, 138))
        for number in range(count):
            frame = Image.new("RGB", (320, 240), (90, 90, 90))
            frame.paste(face, (100 + round(60 * np.sin(number / 20)), 50))
            container.mux(stream.encode(av.VideoFrame.from_image(frame)))
        container.mux(stream.encode(None))


@dataclass(frozen=True)
class Curve:
    """What was read while a process ran.

    Args:
        name (`str`): The run.
        count (`int`): Photos, frames or pipelines.
        seconds (`float`): From its first answer to the last.
        done (`np.ndarray`): Photos, frames or pipelines done at each look.
        resident_mib, num_open (`np.ndarray`): Resident memory and open files then.
    """

    name: str
    count: int
    seconds: float
    done: np.ndarray
    resident_mib: np.ndarray
    num_open: np.ndarray

    def after_warm_up(self, values: np.ndarray) -> tuple[float, float]:
        """The median of the looks after the warm-up, and their slope per 1,000 (least squares)."""
        late = self.done >= WARM_UP * self.count
        slope = np.polyfit(self.done[late], values[late], 1)[0] if len(set(self.done[late])) > 1 else 0.0
        return float(np.median(values[late])), 1000 * float(slope)

    def figures(self) -> dict[str, Any]:
        """What the table shows, and the curve."""
        (memory, memory_slope), (num_open, open_slope) = map(self.after_warm_up, (self.resident_mib, self.num_open))
        return {
            "run": self.name,
            "count": self.count,
            "seconds": round(self.seconds, 1),
            "resident_mib": round(memory),
            "peak_mib": round(float(self.resident_mib.max())),
            "mib_per_1000": round(memory_slope, 1),
            "open_files": round(num_open),
            "open_files_per_1000": round(open_slope, 2),
            "curve_mib": self.resampled().round().tolist(),
        }

    def resampled(self) -> np.ndarray:
        """The memory at even distances of work."""
        return np.interp(np.linspace(0, self.count, WIDTH), self.done, self.resident_mib)


def drawn(values: Sequence[float]) -> str:
    """A curve as text, from 0 to its highest value."""
    return "".join(BLOCKS[min(int(8 * value / max(values)), 7)] for value in values)


def watched(
    name: str, words: Sequence[str], count: int, done: Callable[[], int], environment: dict[str, str]
) -> Curve:
    """Runs a process and reads its memory and open files, from its first answer on."""
    looks = []
    with tempfile.TemporaryFile() as messages:
        process = subprocess.Popen(words, env=environment, stdout=messages, stderr=subprocess.STDOUT)
        while process.poll() is None:
            number = done()
            try:
                statm = Path(f"/proc/{process.pid}/statm").read_text().split()
                resident_mib = int(statm[1]) * os.sysconf("SC_PAGE_SIZE") / MIB
                num_open = len(os.listdir(f"/proc/{process.pid}/fd"))
            except (OSError, IndexError):  # it has just ended
                break
            if number and number <= count and resident_mib:  # a process that is just ending has none
                looks.append((time.monotonic(), number, resident_mib, num_open))
            time.sleep(LOOK_S)
        if process.wait():
            messages.seek(0)
            raise RuntimeError(f"{name} ended with {process.returncode}: {messages.read().decode()[-2000:]}")
    times_s, *columns = np.array(looks).T
    # A frame's answer shows only in the end: frames are taken to come evenly.
    if name == "video":
        columns[0] = count * (times_s - times_s[0]) / (times_s[-1] - times_s[0])
    return Curve(name, count, times_s[-1] - times_s[0], *columns)


def number_in(folder: Path, ending: str = "") -> int:
    """Files in a folder, by the ending of their names."""
    return sum(name.endswith(ending) for name in os.listdir(folder)) if folder.is_dir() else 0


def long_run(photos: int, frames: int, pipelines: int, environment: dict[str, str]) -> list[Curve]:
    """The three runs; a count of 0 leaves one out."""
    curves = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if photos:
            make_photos(folder / "photos", photos)
            words = [*COMMAND, str(folder / "photos"), "-o", str(folder / "annotated")]
            ending = ".face-attributes.jpg"
            done = lambda: number_in(folder / "annotated", ending)  # noqa: E731
            curves.append(watched("photos", words, photos, done, environment))
        if frames:
            make_video(folder / "clip.mp4", frames)
            words = [*COMMAND, str(folder / "clip.mp4"), "-o", str(folder / "followed")]
            done = lambda: min(number_in(folder / "followed"), 1)  # noqa: E731
            curves.append(watched("video", words, frames, done, environment))
        if pipelines:
            (folder / "built").mkdir()
            make_photos(folder / "one", 1)
            words = [sys.executable, "-c", BUILDING, str(folder / "one" / "00000.jpg"), str(pipelines)]
            done = lambda: number_in(folder / "built")  # noqa: E731
            curves.append(watched("pipelines", [*words, str(folder / "built")], pipelines, done, environment))
    return curves


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=2000)
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("--pipelines", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1, help="Threads of PyTorch.")
    parser.add_argument("--environment", nargs="*", default=[], metavar="NAME=VALUE")
    parser.add_argument("--json", type=Path, help="Also write all figures to this file.")
    arguments = parser.parse_args()
    environment = os.environ | {"OMP_NUM_THREADS": str(arguments.threads), "CUDA_VISIBLE_DEVICES": ""}
    for setting in arguments.environment:
        name, _, value = setting.partition("=")
        environment[name] = value
        if not value:
            del environment[name]
    curves = long_run(arguments.photos, arguments.frames, arguments.pipelines, environment)
    figures = [curve.figures() for curve in curves]
    columns = [name for name in figures[0] if name != "curve_mib"]
    print(f"| {' | '.join(name.replace('_', ' ') for name in columns)} |\n|{'---|' * len(columns)}")
    for row in figures:
        print(f"| {' | '.join(str(row[name]) for name in columns)} |")
    for row in figures:
        print(
            f"{row['run']:>10} {drawn(row['curve_mib'])} {row['curve_mib'][0]:.0f} to {row['curve_mib'][-1]:.0f} MiB"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps({"environment": arguments.environment, "runs": figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()
