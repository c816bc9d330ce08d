"""Search by text in a face index: PyTorch beside the FAISS index of `datasets`, and the index files.

    python -m benchmarks.face_index_search [--faces N] [--size P] [--rounds N]

The vectors are random unit vectors. Prints the size of each file, the time to read it, and the median time from one
query (and from eight) to the ten best faces, alternating. The time of FAISS is that of the search alone; building its
index is printed apart.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from farl_hf import FaceIndex
from farl_hf.retrieval.face_index import make_faiss_index

WAYS = {"torch": False, "faiss": True}


def unit_vectors(rng: np.random.Generator, count: int, size: int) -> np.ndarray:
    vectors = rng.standard_normal((count, size), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def timed(function, *arguments):
    """Seconds and result of a call."""
    start = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - start, result


def print_files(index: FaceIndex) -> None:
    print("| file | MB | write, s | read, s |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for ending in ("safetensors", "parquet"):
            path = Path(folder) / f"faces.{ending}"
            writing, _ = timed(index.save, path)
            reading, loaded = timed(FaceIndex.load, path)
            assert np.array_equal(loaded.embeddings, index.embeddings)
            print(f"| {ending} | {path.stat().st_size / 1e6:.0f} | {writing:.2f} | {reading:.2f} |")


def print_searches(index: FaceIndex, rounds: int, rng: np.random.Generator) -> None:
    make_faiss_index(index.embeddings[:1])  # imports what it needs before the clock runs
    building, _ = timed(make_faiss_index, index.embeddings)
    print(f"\nFAISS index built in {1000 * building:.0f} ms")
    print("\n| queries | " + " | ".join(f"{way}, ms" for way in WAYS) + " |\n|---|---|---|")
    for count in (1, 8):
        queries = unit_vectors(rng, count, index.embeddings.shape[1])
        seconds = {way: [] for way in WAYS}
        for _ in range(rounds + 1):
            rows = {}
            for way, use_faiss in WAYS.items():
                taken, (rows[way], _) = timed(index.search, queries, 10, use_faiss)
                seconds[way].append(taken)
            assert np.array_equal(rows["torch"], rows["faiss"])
        # The first round, in which libraries warm up, does not count.
        shown = " | ".join(f"{1000 * statistics.median(seconds[way][1:]):.0f}" for way in WAYS)
        print(f"| {count} | {shown} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=512, help="Of the vectors; that of FaRL-B/16 by default.")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    vectors = unit_vectors(rng, arguments.faces, arguments.size)
    photos = [f"photos/{number:06}.jpg" for number in range(arguments.faces)]
    index = FaceIndex(vectors, photos, np.tile(np.float32([10, 10, 90, 90]), (arguments.faces, 1)))
    print(f"{arguments.faces:,} faces, vectors of {arguments.size}\n")
    print_files(index)
    print_searches(index, arguments.rounds, rng)


if __name__ == "__main__":
    main()
