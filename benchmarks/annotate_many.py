"""`farl-hf annotate` on many photos against plain loops: photos per second, memory, kill and resume.

    python -m benchmarks.annotate_many [--photos 2000] [--facer-photos 20] [--workers 2] [--threads 1] [--json FILE]

The photos have random sizes and one photographed face each (see `long_run`). The first table has the built-in models:
the command without pictures, with pictures, with decoding processes and with two processes on the CPU, and a loop that
calls face-parsing, face-landmarks and face-attributes on one photo after the other. The second table has the sizes of
FaRL's released models (ViT-B/16, 448 pixels) with random weights: the command with parsing and landmarks, and facer's
detector, parser and aligner in a loop, on the same weights in both formats. There, each photo has one face at most: an
untrained detector finds faces anywhere. All sides write their answers as a line per photo.

Each side is a process. Its speed is that between its first line and its last, by the clock, and by the CPU time of the
process and of those that it starts, which other work on the machine changes little. Its memory is the largest resident
one after the first line, of this process alone, and the slope after the first third. At last, the command is killed
(SIGKILL) after half of its photos and started again.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import official_files
from benchmarks.long_run import COMMAND, MIB, make_photos

TASKS = ("parsing", "landmarks", "attributes")
LOOK_S = 0.2
LEAST_FOR_SLOPE = 100  # photos; with fewer, the memory has not settled
CANDIDATES = 20  # of the untrained detector in one photo, of which the best is taken
KINDS = ("detector", "parsing", "landmarks")
AS_FACER = {"do_flip_channel_order": False, "pad_size_divisor": 1, "max_long_side": 0}


# --- loops, each in a process of its own --------------------------------------------------------------------------


def loop_over_pipelines(photos: Path, lines: Path, folder: Path) -> None:
    """Three pipelines on one photo after the other, as their examples call them."""
    from transformers import pipeline

    import farl_hf  # noqa: F401 - registers the pipelines
    from farl_hf.outputs import to_json

    runs = [pipeline(f"face-{task}", device="cpu") for task in TASKS]
    with lines.open("w") as file:
        for path in sorted(photos.iterdir()):
            print(json.dumps([to_json(run(str(path))) for run in runs]), file=file, flush=True)


def loop_over_facer(photos: Path, lines: Path, folder: Path) -> None:
    """Facer's classes on one photo after the other, as its examples call them, without gradients."""
    import torch
    from facer.face_alignment.farl import FaRLFaceAlignment
    from facer.face_detection.retinaface import RetinaFaceDetector
    from facer.face_parsing.farl import FaRLFaceParser
    from facer.io import read_hwc
    from facer.util import hwc2bchw

    from farl_hf.outputs.face_tables import run_length_encoded

    detector, parsing, landmarks = (str(official_files.source_path(folder, kind)) for kind in KINDS)
    detect = RetinaFaceDetector("mobilenet", detector, threshold=json.loads((folder / "threshold.json").read_text()))
    parse = FaRLFaceParser("lapa/448", parsing, device=torch.device("cpu"))
    align = FaRLFaceAlignment("wflw/448", landmarks)
    with lines.open("w") as file, torch.inference_mode():
        for path in sorted(photos.iterdir()):
            photo = hwc2bchw(read_hwc(str(path)))
            faces = {name: values[:1] for name, values in detect(photo).items()}
            answer: list[Any] = []
            if len(faces.get("scores", ())):
                label_map = parse(photo, dict(faces))["seg"]["logits"].argmax(dim=1)[0].numpy()
                points = align(photo, dict(faces))["alignment"][0].tolist()
                masks = [run_length_encoded(label_map == label) for label in np.unique(label_map[label_map > 0])]
                answer = [masks, points]
            print(json.dumps(answer), file=file, flush=True)


LOOPS = {"pipelines": loop_over_pipelines, "facer": loop_over_facer}


# --- one side -----------------------------------------------------------------------------------------------------


class LineCounter:
    """Counts the lines of a file that grows; each is read once."""

    def __init__(self, path: Path, headings: int) -> None:
        self.path, self.offset, self.count = path, 0, -headings

    def __call__(self) -> int:
        """Lines so far, without headings."""
        if self.path.exists():
            with self.path.open("rb") as file:
                file.seek(self.offset)
                new = file.read()
            self.offset += len(new)
            self.count += new.count(b"\n")
        return max(self.count, 0)


def environment(threads: int) -> dict[str, str]:
    """Of all sides."""
    return os.environ | {"OMP_NUM_THREADS": str(threads), "CUDA_VISIBLE_DEVICES": ""}


def watched(
    words: Sequence[str], count: Callable[[], int], threads: int, kill_at: int | None = None
) -> dict[str, Any]:
    """Runs a process: its photos per second and its memory.

    Raises:
        RuntimeError: It failed.
    """
    looks: list[tuple[float, int, float, float]] = []
    start = time.monotonic()
    with tempfile.TemporaryFile() as messages:
        process = subprocess.Popen(words, env=environment(threads), stdout=messages, stderr=subprocess.STDOUT)
        running = True
        while running:
            running = process.poll() is None
            number, now = count(), time.monotonic()
            resident = _resident_mib(process.pid) if running else 0.0
            cpu_s = _cpu_seconds(process.pid) if running else 0.0
            if number and (not looks or number > looks[-1][1] or running):
                looks.append((now, number, resident, cpu_s))
            if kill_at is not None and number >= kill_at:
                process.send_signal(signal.SIGKILL)
                process.wait()
                return {"photos": number, "seconds": now - start}
            if running:
                time.sleep(LOOK_S)
        if process.returncode:
            messages.seek(0)
            raise RuntimeError(f"{words} ended with {process.returncode}: {messages.read().decode()[-2000:]}")
    times_s, done, memory, cpu_s = np.array(looks).T
    last = int(np.argmax(done))  # the first look at the whole
    used = cpu_s > 0
    late = (done >= done[last] / 3) & (memory > 0)
    many = done[last] >= LEAST_FOR_SLOPE and len(set(done[late])) > 1
    slope = np.polyfit(done[late], memory[late], 1)[0] if many else float("nan")
    return {
        "photos": int(done[last]),
        "photos_per_s": float((done[last] - done[0]) / (times_s[last] - times_s[0])) if last else float("nan"),
        "cpu_s_per_photo": float(np.ptp(cpu_s[used]) / np.ptp(done[used]))
        if len(set(done[used])) > 1
        else float("nan"),
        "start_s": float(times_s[0] - start),
        "peak_mib": float(memory.max()),
        "mib_per_1000": 1000 * float(slope),
    }


def _resident_mib(process_id: int) -> float:
    try:
        return int(Path(f"/proc/{process_id}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MIB
    except (OSError, IndexError):  # it has just ended
        return 0.0


def _cpu_seconds(process_id: int) -> float:
    """Of a process, with those that it has started, however deep."""
    ticks, parent_of = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError):  # it has just ended
            words = path.read_text().rpartition(")")[2].split()
            parent_of[int(path.parent.name)] = int(words[1])
            ticks[int(path.parent.name)] = sum(map(int, words[11:15]))  # its own, and of those it has waited for
    family = {process_id}
    while more := {one for one, parent in parent_of.items() if parent in family} - family:
        family |= more
    return sum(ticks.get(one, 0) for one in family) / os.sysconf("SC_CLK_TCK")


class Bench:
    """The sides on one folder of photos.

    Args:
        folder (`Path`): An empty folder.
        threads (`int`): Of each process.
    """

    def __init__(self, folder: Path, threads: int) -> None:
        self.folder, self.threads = folder, threads

    def command(self, name: str, photos: Path, *words: str, kill_at: int | None = None) -> dict[str, Any]:
        """`farl-hf annotate` into a folder of that name."""
        output = self.folder / name
        counter = LineCounter(output / "faces.done.jsonl", 1)
        return watched([*COMMAND, str(photos), "-o", str(output), *words], counter, self.threads, kill_at)

    def loop(self, name: str, photos: Path) -> dict[str, Any]:
        """One of `LOOPS`."""
        lines = self.folder / f"{name}.jsonl"
        words = [sys.executable, "-m", "benchmarks.annotate_many", "--loop", name, str(photos), str(lines)]
        return watched([*words, str(self.folder)], LineCounter(lines, 0), self.threads)

    def built_in(self, photos: Path, workers: int) -> Iterator[tuple[str, dict[str, Any]]]:
        """The rows of the first table."""
        words = ("--tasks", ",".join(TASKS))
        lean = (*words, "--no-pictures")
        on_cpu, decoders = ("--device", "cpu"), ("--workers", str(workers))
        yield "loop over three pipelines", self.loop("pipelines", photos)
        yield "annotate --no-pictures", self.command("lean", photos, *lean, *on_cpu)
        name = f"annotate --no-pictures --workers {workers}"
        yield name, self.command("decoded", photos, *lean, *on_cpu, *decoders)
        yield "annotate --no-pictures --devices cpu:2", self.command("two", photos, *lean, "--devices", "cpu:2")
        yield "annotate", self.command("pictures", photos, *words, *on_cpu)

    def official(self, photos: Path, size: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """The rows of the second table."""
        official_files.prepare(self.folder, list(KINDS), size)
        threshold = self.set_detector(sorted(photos.iterdir())[0])
        (self.folder / "threshold.json").write_text(json.dumps(threshold))
        models = {"detector": "detector", "parsing-model": "parsing", "landmarks-model": "landmarks"}
        words = [
            word
            for option, kind in models.items()
            for word in (f"--{option}", str(official_files.converted_path(self.folder, kind)))
        ]
        words += ["--tasks", "parsing,landmarks", "--no-pictures", "--device", "cpu", "--threshold", repr(threshold)]
        yield "facer's loop", self.loop("facer", photos)
        yield "annotate --no-pictures", self.command("official", photos, *words, "--batch-size", "2")

    def set_detector(self, photo: Path) -> float:
        """Lets our detector take the photo as facer does, and one face of it; a threshold that some faces pass."""
        path = official_files.converted_path(self.folder, "detector") / "preprocessor_config.json"
        settings = json.loads(path.read_text()) | AS_FACER
        path.write_text(json.dumps(settings | {"max_faces": CANDIDATES}))
        program = (
            "import sys, farl_hf; from transformers import pipeline; "
            "find = pipeline('face-detection', sys.argv[1], device='cpu'); "
            "print(find(sys.argv[2], threshold=0.0)[-1]['score'])"
        )
        words = [sys.executable, "-c", program, str(path.parent), str(photo)]
        found = subprocess.run(words, env=environment(self.threads), check=True, capture_output=True, text=True)
        path.write_text(json.dumps(settings | {"max_faces": 1}))
        return float(found.stdout.split()[-1])

    def kill_and_resume(self, photos: Path) -> str:
        """A sentence; the output is compared with that of the run without a kill."""
        words = ("--tasks", ",".join(TASKS), "--no-pictures", "--device", "cpu")
        total = len(list(photos.iterdir()))
        killed = self.command("killed", photos, *words, kill_at=total // 2)
        start = time.monotonic()
        counter = LineCounter(self.folder / "killed" / "faces.done.jsonl", 1)
        kept = counter()
        watched([*COMMAND, str(photos), "-o", str(self.folder / "killed"), *words], counter, self.threads)
        equal = (self.folder / "killed/faces.json").read_bytes() == (self.folder / "lean/faces.json").read_bytes()
        return (
            f"Killed at {killed['photos']} of {total} photos: {kept} kept, the rest done in "
            f"{time.monotonic() - start:.1f} s; faces.json {'is' if equal else 'is NOT'} that of a run without a kill."
        )


_RATES = ("photos/s", "ratio", "CPU s per photo", "ratio")
COLUMNS = ("photos", *_RATES, "start (s)", "peak MiB", "MiB per 1,000 photos")


def shown(title: str, sides: Iterable[tuple[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """The sides, each printed when it has run, as a row in Markdown with ratios to the first one."""
    print(f"{title}\n\n| side | {' | '.join(COLUMNS)} |\n|{'---|' * (1 + len(COLUMNS))}", flush=True)
    done: dict[str, dict[str, Any]] = {}
    for name, side in sides:
        done[name] = side
        first, speed, cpu_s = next(iter(done.values())), side["photos_per_s"], side["cpu_s_per_photo"]
        print(
            f"| {name} | {side['photos']} | {speed:.2f} | {speed / first['photos_per_s']:.2f} | {cpu_s:.3f} | "
            f"{first['cpu_s_per_photo'] / cpu_s:.2f} | {side['start_s']:.1f} | "
            f"{side['peak_mib']:.0f} | {side['mib_per_1000']:.0f} |",
            flush=True,
        )
    return done


def main() -> None:
    if sys.argv[1:2] == ["--loop"]:
        LOOPS[sys.argv[2]](*map(Path, sys.argv[3:6]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=2000)
    parser.add_argument("--facer-photos", type=int, default=20, help="Photos of the second table; 0 leaves it.")
    parser.add_argument("--workers", type=int, default=2, help="Processes that decode, in one row.")
    parser.add_argument("--threads", type=int, default=1, help="Threads of PyTorch in each process.")
    parser.add_argument("--weights", default="full", choices=list(official_files.SIZES), help="Small is for a trial.")
    parser.add_argument("--json", type=Path, help="Also write all figures to this file.")
    arguments = parser.parse_args()
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        bench, photos = Bench(Path(name), arguments.threads), Path(name) / "photos"
        make_photos(photos, arguments.photos)
        figures["built-in"] = shown("Built-in models", bench.built_in(photos, arguments.workers))
        figures["kill"] = bench.kill_and_resume(photos)
        print(f"\n{figures['kill']}\n", flush=True)
        if arguments.facer_photos:
            make_photos(Path(name) / "few", arguments.facer_photos)
            official = bench.official(Path(name) / "few", arguments.weights)
            figures["official"] = shown("ViT-B/16 at 448 pixels, random weights", official)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
