"""The encoders of open_clip and of farl_hf side by side: ViT-B/16 and its text encoder, the same random weights.

    python -m benchmarks.versus_open_clip --json FILE [--batches 1 8]

Takes a few minutes.
"""

import argparse
from pathlib import Path

import numpy as np

from benchmarks import official_files
from benchmarks.two_processes import compare, make_parser, make_table, opened, report

SIDES = {"open_clip": "open_clip_side", "farl_hf": "farl_hf_encoder_side"}
ENCODERS = ("image", "text")


def relative_difference(folder: Path) -> float:
    """Largest difference of the embeddings over their largest value."""
    theirs, ours = (np.load(folder / f"{side}.npz")["embeddings"] for side in SIDES)
    return float(np.abs(theirs - ours).max() / np.abs(theirs).max())


def measure(arguments: argparse.Namespace, folder: Path) -> list[dict]:
    """A row for each encoder and batch."""
    official_files.prepare(folder, ["encoders"])
    rows = []
    with opened(SIDES, folder, arguments) as sides:
        for request in [{"case": encoder, "batch": batch} for encoder in ENCODERS for batch in arguments.batches]:
            figures = compare(sides, request, arguments.rounds, folder)
            rows.append(request | figures | {"relative_difference": relative_difference(folder)})
    return rows


def table(rows: list[dict]) -> str:
    """In Markdown."""
    cells = [([row["case"], row["batch"]], row, f"{row['relative_difference']:.1e} relative") for row in rows]
    return make_table(["encoder", "batch"], list(SIDES), cells)


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    report(parser.parse_args(), measure, table)


if __name__ == "__main__":
    main()
