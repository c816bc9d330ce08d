"""One face-analysis call against face-parsing, face-landmarks and face-attributes in a row, from a JPEG file.

    python -m benchmarks.face_analysis [--rounds 15] [--photos 1 4] [--official-rounds 2] [--cpu-time]

The photo has 1080 x 1920 pixels and eight faces: the astronaut of scikit-image, eight times. A time covers decoding,
detection, networks and results. The three pipelines run as they are called without `batch_size`, and with that of the
analysis. The sides take turns, in alternating order. The official size is that of FaRL's released models (ViT-B/16,
448 pixels; attributes 224), with random weights; the detector is the built-in one. `--cpu-time` counts the seconds of
the process on all cores instead of those of the clock, for machines that are shared.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from skimage import data
from transformers import pipeline

from farl_hf import FaRLConfig, FaRLForAttributes, FaRLForFaceParsing, FaRLForLandmarks, FaRLImageProcessor
from farl_hf.labels import CELEBA_ATTRIBUTES, LAPA_LABELS
from farl_hf.pipelines import PIPELINES

TASKS = ("parsing", "landmarks", "attributes")
NUM_FACES = 8
BATCH_SIZE = 8  # the default of the analysis
SIZE_WH = (1920, 1080)
# Task -> model, number of labels, side of its input, and warp.
OFFICIAL = {
    "parsing": (FaRLForFaceParsing, LAPA_LABELS, 448, 0.8),
    "landmarks": (FaRLForLandmarks, tuple(map(str, range(68))), 448, 0.0),
    "attributes": (FaRLForAttributes, CELEBA_ATTRIBUTES, 224, 0.0),
}


def save_photo(path: Path) -> Path:
    """A photo of eight faces, about 100 pixels high to 200."""
    photo = Image.new("RGB", SIZE_WH)
    face = Image.fromarray(data.astronaut()).crop((90, 0, 410, 360)).resize((480, 540), Image.Resampling.LANCZOS)
    for place in range(NUM_FACES):
        photo.paste(face, (place % 4 * 480, place // 4 * 540))
    photo.save(path, quality=92)
    return path


def built_in_sides() -> tuple[Callable, list[Callable]]:
    """The analysis, and the three pipelines, all with the built-in models."""
    return pipeline("face-analysis", device="cpu"), [pipeline(f"face-{task}", device="cpu") for task in TASKS]


def official_sides() -> tuple[Callable, list[Callable]]:
    """The same with models of the official size."""
    torch.manual_seed(0)
    heads = {}
    for task, (model_class, names, side, warp_factor) in OFFICIAL.items():
        labels = {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}
        config = FaRLConfig(**labels)
        config.vision_config.image_size = side
        heads[task] = PIPELINES[f"face-{task}"].pipeline_class(
            model=model_class(config).eval(),
            image_processor=FaRLImageProcessor(size={"height": side, "width": side}, warp_factor=warp_factor),
            task=f"face-{task}",
            device=torch.device("cpu"),
        )
    return pipeline("face-analysis", models=heads, device="cpu"), list(heads.values())


def compare(
    analyze: Callable, in_a_row: list[Callable], photos: list[str], rounds: int, clock: Callable[[], float]
) -> list[float]:
    """Median seconds of the analysis, of three pipelines, and of three with larger batches."""

    def run_one():
        return [analyze(photos)]

    def run_three():
        return [run(photos) for run in in_a_row]

    def run_batched():
        return [run(photos, batch_size=BATCH_SIZE) for run in in_a_row]

    seconds: dict[Callable, list[float]] = {run_one: [], run_three: [], run_batched: []}
    for run in seconds:
        assert all(len(faces) == NUM_FACES for answers in run() for faces in answers), "every face must be found"
    for number in range(rounds):
        for run in list(seconds)[:: 1 if number % 2 else -1]:
            start = clock()
            run()
            seconds[run].append(clock() - start)
    return [statistics.median(times) for times in seconds.values()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="Timed calls of each side, built-in models.")
    parser.add_argument("--official-rounds", type=int, default=2, help="The same at the official size; 0 leaves it.")
    parser.add_argument("--photos", type=int, nargs="+", default=[1, 4], help="Photos of a call.")
    parser.add_argument("--threads", type=int, default=2, help="Threads of torch.")
    parser.add_argument("--cpu-time", action="store_true", help="Seconds of the process on all cores.")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    clock = time.process_time if arguments.cpu_time else time.perf_counter
    sides = {"built-in": (built_in_sides, arguments.rounds), "official": (official_sides, arguments.official_rounds)}
    print(f"| models | photos | one call (s) | three pipelines (s) | ratio | three, batch {BATCH_SIZE} (s) | ratio |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        photo = str(save_photo(Path(name) / "photo.jpg"))
        for size, (make_sides, rounds) in sides.items():
            for count in (arguments.photos if size == "built-in" else arguments.photos[:1]) if rounds else ():
                one, three, batched = compare(*make_sides(), [photo] * count, rounds, clock)
                ratios = f"{three:.3f} | {three / one:.2f} | {batched:.3f} | {batched / one:.2f}"
                print(f"| {size} | {count} | {one:.3f} | {ratios} |", flush=True)


if __name__ == "__main__":
    main()
