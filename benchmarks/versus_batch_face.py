"""batch-face and farl_hf side by side: detection in 64 photos of mixed sizes, the same random weights.

    python -m benchmarks.versus_batch_face --json FILE [--photos 64] [--batch-size 8]

batch-face runs in both ways that it offers: photo by photo in full size, whose results are compared, and as a list,
which it shrinks and pads to squares of 640 pixels. Takes a few minutes.
"""

import argparse
from pathlib import Path

import numpy as np

from benchmarks import official_files
from benchmarks.two_processes import compare, in_words, make_parser, make_table, opened, report

SIDES = {"batch_face": "batch_face_side", "farl_hf": "farl_hf_detection_side"}
CASES = ("one by one", "all at once")
CANDIDATES = 100


def agreement(folder: Path) -> dict[str, float]:
    """Share of photos with equally many faces, and how far their faces are apart."""
    theirs, ours = (dict(np.load(folder / f"{side}.npz")) for side in SIDES)
    equal = theirs["counts"] == ours["counts"]
    figures = {
        "faces_batch_face": int(theirs["counts"].sum()),
        "faces_farl_hf": int(ours["counts"].sum()),
        "photos_with_as_many_faces_percent": 100 * float(equal.mean()),
    }
    photos = [np.split(faces["faces"], np.cumsum(faces["counts"])[:-1]) for faces in (theirs, ours)]
    pairs = [pair for pair, same in zip(zip(*photos, strict=True), equal, strict=True) if same]
    apart = np.concatenate([nearest_distances(*pair) for pair in pairs] or [np.zeros(0)])
    return figures | {
        "median_difference_px": float(np.median(apart)) if apart.size else 0.0,
        "largest_difference_px": float(apart.max(initial=0)),
    }


def nearest_distances(theirs: np.ndarray, ours: np.ndarray) -> np.ndarray:
    """How far, in pixels of any coordinate, each face (score, coordinates …) is from the other side's nearest one.

    By place and not by rank, because scores that differ in their last digit change places.
    """
    apart = np.abs(theirs[:, None, 1:] - ours[None, :, 1:]).max(axis=-1)
    return np.concatenate([apart.min(axis=0), apart.min(axis=1)]) if apart.size else np.zeros(0)


def measure(arguments: argparse.Namespace, folder: Path) -> list[dict]:
    """Both rows."""
    official_files.prepare(folder, ["detector"])
    request = {"photos": arguments.photos, "batch_size": arguments.batch_size}
    rows = []
    with opened(SIDES, folder, arguments) as sides:
        path = folder / "threshold.npz"
        sides["farl_hf"].ask({"case": "threshold", "candidates": CANDIDATES}, save=str(path))
        request["threshold"] = float(np.load(path)["number"])
        for case in CASES:
            figures = compare(sides, request | {"case": case}, arguments.rounds, folder)
            rows.append({"case": case, **request, **figures, "agreement": agreement(folder)})
    return rows


def table(rows: list[dict]) -> str:
    """In Markdown."""
    cells = [([row["case"], row["photos"]], row, in_words(row["agreement"])) for row in rows]
    return make_table(["batch-face is given the photos", "photos"], list(SIDES), cells)


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--photos", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=8)
    report(parser.parse_args(), measure, table)


if __name__ == "__main__":
    main()
