"""The towers of open_clip and of farl_hf side by side: ViT-B/16 and its text tower, the same random weights.

    python -m benchmarks.versus_open_clip --json FILE [--batches 1 8]

Takes a few minutes.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import official_files
from benchmarks.two_processes import (
    Side,
    add_common_arguments,
    available_memory_gib,
    compare,
    describe_machine,
    ratio,
    shown,
    spread,
)

SIDES = {"open_clip": "open_clip_side", "farl_hf": "farl_hf_tower_side"}
TOWERS = ("image", "text")


def relative_difference(folder: Path) -> float:
    """Largest difference of the embeddings over their largest value."""
    theirs, ours = (np.load(folder / f"{side}.npz")["embeddings"] for side in SIDES)
    return float(np.abs(theirs - ours).max() / np.abs(theirs).max())


def measure(arguments: argparse.Namespace, folder: Path) -> list[dict]:
    """A row for each tower and batch."""
    official_files.prepare(folder, ["towers"])
    memory_gib = arguments.memory_gib or 0.7 * available_memory_gib()
    sides = {name: Side(module, folder, arguments.threads, memory_gib) for name, module in SIDES.items()}
    rows = []
    for request in [{"case": tower, "batch": batch} for tower in TOWERS for batch in arguments.batches]:
        figures = compare(sides, request, arguments.rounds, folder)
        rows.append(request | figures | {"relative_difference": relative_difference(folder)})
    for side in sides.values():
        side.close()
    return rows


def table_row(row: dict) -> str:
    """A row in Markdown."""
    cells = [row["case"], str(row["batch"])]
    cells += [shown(row[side]["median_s"], 3) for side in SIDES]
    cells += [shown(ratio(row, *SIDES, "median_s")), spread(row, *SIDES), shown(ratio(row, *SIDES, "cpu_s"))]
    cells += [shown(row[side]["peak_mib"]) for side in SIDES] + [f"{row['relative_difference']:.1e}"]
    return "| " + " | ".join(cells) + " |"


HEADER = (
    "| tower | batch | open_clip s | farl_hf s | time ratio | its range | CPU time ratio | open_clip MiB | farl_hf MiB "
    "| relative difference |\n|---|---|---|---|---|---|---|---|---|---|"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_common_arguments(parser)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        rows = measure(arguments, arguments.folder or Path(temporary))
    machine = describe_machine(arguments.threads)
    print(f"{machine}, {arguments.rounds} rounds\n\n{HEADER}")
    print("\n".join(table_row(row) for row in rows))
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
