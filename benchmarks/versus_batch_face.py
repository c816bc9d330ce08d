"""batch-face and farl_hf side by side: detection in 64 photos of mixed sizes, the same random weights.

    python -m benchmarks.versus_batch_face --json FILE [--photos 64] [--batch_size 8]

batch-face is asked in both ways that it offers: photo by photo in full size, which is what the results are compared
with, and as a list, which it shrinks and pads to squares of 640 pixels. Takes a few minutes.
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
    rows = [np.repeat(equal, faces["counts"]) for faces in (theirs, ours)]
    apart = np.abs(theirs["faces"][rows[0]][:, 1:] - ours["faces"][rows[1]][:, 1:])
    return figures | {
        "median_difference_px": float(np.median(apart)) if apart.size else 0.0,
        "largest_difference_px": float(apart.max(initial=0)),
    }


def measure(arguments: argparse.Namespace, folder: Path) -> list[dict]:
    """Both rows."""
    official_files.prepare(folder, ["detector"])
    memory_gib = arguments.memory_gib or 0.7 * available_memory_gib()
    sides = {name: Side(module, folder, arguments.threads, memory_gib) for name, module in SIDES.items()}
    path = folder / "threshold.npz"
    sides["farl_hf"].ask({"case": "threshold", "candidates": CANDIDATES}, save=str(path))
    request = {"photos": arguments.photos, "batch_size": arguments.batch_size}
    request["threshold"] = float(np.load(path)["threshold"])
    rows = []
    for case in CASES:
        figures = compare(sides, request | {"case": case}, arguments.rounds, folder)
        rows.append({"case": case, **request, **figures, "agreement": agreement(folder)})
    for side in sides.values():
        side.close()
    return rows


def table_row(row: dict) -> str:
    """A row in Markdown."""
    cells = [row["case"], str(row["photos"])]
    cells += [shown(row[side]["median_s"]) for side in SIDES]
    cells += [shown(ratio(row, *SIDES, "median_s")), spread(row, *SIDES), shown(ratio(row, *SIDES, "cpu_s"))]
    cells += [shown(row[side]["peak_mib"]) for side in SIDES]
    cells += ["; ".join(f"{name} {value:.6g}" for name, value in row["agreement"].items())]
    return "| " + " | ".join(cells) + " |"


HEADER = (
    "| batch-face is given the photos | photos | batch-face s | farl_hf s | time ratio | its range | CPU time ratio "
    "| batch-face MiB | farl_hf MiB | agreement |\n|---|---|---|---|---|---|---|---|---|---|"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_common_arguments(parser)
    parser.add_argument("--photos", type=int, default=64)
    parser.add_argument("--batch_size", type=int, default=8)
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
