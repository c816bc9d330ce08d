"""Peak memory of an evaluation, by the number of faces.

    python -m benchmarks.evaluation_memory [--faces 200 2000]

Each size runs in its own process, with a toy parsing model of 64 pixels on rows that are made when they are read. So
only what is kept per face can grow: 12 bytes in the evaluation (score and loss), and half a kilobyte of points and
boxes in the index of the data set. Any other growth comes from the memory allocator.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time

import numpy as np

WARM_UP = 200  # faces, after which buffers have their sizes


class MadeRows:
    """Rows that exist while they are looked at: random photos of 64 x 64 pixels with LaPa's classes."""

    column_names = ("image", "label_map", "points5_xy")

    def __init__(self, num_rows: int):
        self.num_rows = num_rows

    def __len__(self) -> int:
        return self.num_rows

    def __getitem__(self, row: int) -> dict:
        rng = np.random.default_rng(row)
        points = [[24.0, 28.0], [40.0, 28.0], [32.0, 36.0], [27.0, 46.0], [37.0, 46.0]]
        return {
            "image": rng.integers(0, 256, (64, 64, 3), dtype=np.uint8),
            "label_map": rng.integers(0, 11, (64, 64), dtype=np.uint8),
            "points5_xy": [points],
        }


def save_toy_parser(folder: str) -> None:
    """An untrained parsing model of 64 pixels."""
    from farl_hf import FaRLForFaceParsing, FaRLImageProcessor
    from farl_hf.labels import LAPA_LABELS
    from farl_hf.training.arguments import make_scratch_config

    config = make_scratch_config("toy", 64, list(LAPA_LABELS), {})
    FaRLForFaceParsing._from_config(config).save_pretrained(folder)
    FaRLImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)


def evaluate_faces(num_faces: int, folder: str, answers) -> None:
    """Puts peak megabytes before the evaluation and after it, and its seconds, into the queue."""
    import torch

    from farl_hf.training.evaluation.checkpoint import load_for_evaluation

    torch.set_num_threads(1)
    measuring = load_for_evaluation(folder, "synthetic_faces", folder, num_workers=0, batch_size=16)
    measuring.measure(MadeRows(WARM_UP), "warm-up")
    before, start = peak_mb(), time.perf_counter()
    measuring.measure(MadeRows(num_faces), "test")
    answers.put((before, peak_mb(), time.perf_counter() - start))


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, nargs="+", default=[200, 2000])
    counts = parser.parse_args().faces
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        save_toy_parser(folder)
        for num_faces in counts:
            answers = context.Queue()
            process = context.Process(target=evaluate_faces, args=(num_faces, folder, answers))
            process.start()
            before, after, seconds = answers.get()
            process.join()
            grown = after - before
            print(f"{num_faces:6} faces: peak {after:.0f} MB, {grown:.1f} MB above {WARM_UP} faces, {seconds:.1f} s")


if __name__ == "__main__":
    main()
