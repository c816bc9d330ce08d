"""facer 0.0.5 and farl_hf side by side: a process each, the same random weights, photos and faces, in turns.

    python -m benchmarks.versus_facer --json FILE [--photos 1080p] [--faces 1 8] [--stages detection parsing …]

ViT-B/16 at 448 pixels in both released formats (see `official_files`); boxes and points are given except in detection.
Prints a Markdown table: ratios of time and of peak memory, facer's over farl_hf's, and how far the results agree.
`--weights small` uses the tests' networks, for trying out. Everything at once takes hours on two cores; the default
sizes about half an hour.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
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

STAGES = {
    "detection": ["detector"],
    "parsing: crops": ["parser"],
    "parsing: network": ["parser"],
    "parsing: after the network": ["parser"],
    "parsing": ["parser"],
    "landmarks: after the network": ["aligner"],
    "landmarks": ["aligner"],
    "start": ["parser"],
}
CANDIDATES = 1000  # of detection, over the threshold
START_ROUNDS = 3
SIDES = ("facer", "farl_hf")


def agreement(folder: Path) -> dict[str, float]:
    """How far the two saved results are apart, by kind of result."""
    theirs, ours = (dict(np.load(folder / f"{side}.npz")) for side in SIDES)
    if "labels" in ours:
        face = (theirs["labels"] != 0) | (ours["labels"] != 0)
        return {"equal_face_labels_percent": 100 * float((theirs["labels"] == ours["labels"])[face].mean())}
    if "boxes" in ours:
        return _agreement_of_faces(theirs, ours)
    if "points" in ours:
        distance = np.linalg.norm(theirs["points"] - ours["points"], axis=-1)
        return {"median_distance_px": float(np.median(distance)), "largest_distance_px": float(distance.max())}
    if theirs.keys() == {"crops"}:
        return {"largest_difference": float(np.abs(theirs["crops"] - ours["crops"]).max())}
    return {}


def _agreement_of_faces(theirs, ours):
    counts = {"faces_facer": len(theirs["boxes"]), "faces_farl_hf": len(ours["boxes"])}
    if counts["faces_facer"] != counts["faces_farl_hf"]:
        return counts
    order = (np.lexsort(faces["boxes"].round(1).T) for faces in (theirs, ours))
    boxes = [faces["boxes"][rows] for faces, rows in zip((theirs, ours), order, strict=True)]
    return counts | {"largest_difference_px": float(np.abs(boxes[0] - boxes[1]).max(initial=0))}


def requests_for(stage: str, photos: list[str], counts: list[int]) -> list[dict]:
    """The cases of a stage."""
    if stage == "detection":
        return [{"case": stage, "size": photo, "faces": 1} for photo in photos]
    if stage == "parsing: network":
        return [{"case": stage, "size": "448 px", "faces": count} for count in counts if count <= 8]
    return [{"case": stage, "size": photo, "faces": count} for photo in photos for count in counts]


def with_threshold(sides: dict[str, Side], request: dict, folder: Path) -> dict:
    """A detection request with the threshold that as many candidates pass as the comparison wants."""
    path = folder / "threshold.npz"
    sides["farl_hf"].ask(request | {"case": "threshold", "candidates": CANDIDATES}, save=str(path))
    return request | {"threshold": float(np.load(path)["threshold"])}


def measure_start(folder: Path, threads: int) -> dict:
    """Seconds from a fresh interpreter to the first parsed face, in turns."""
    seconds: dict[str, list[float]] = {side: [] for side in SIDES}
    for number in range(START_ROUNDS):
        for side in SIDES if number % 2 else reversed(SIDES):
            program = (
                f"import torch; torch.set_num_threads({threads}); from pathlib import Path; "
                f"from benchmarks.{side}_side import first_result; first_result(Path({str(folder)!r}))"
            )
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
            seconds[side].append(time.perf_counter() - start)
    return {side: {"median_s": statistics.median(seconds[side]), "seconds": seconds[side]} for side in SIDES}


def measure(arguments: argparse.Namespace, folder: Path) -> list[dict]:
    """All rows of the table."""
    kinds = sorted({kind for stage in arguments.stages for kind in STAGES[stage]})
    official_files.prepare(folder, kinds, arguments.weights)
    memory_gib = arguments.memory_gib or 0.7 * available_memory_gib()
    rows = []
    if "start" in arguments.stages:
        rows.append({"case": "start", "size": "480p", "faces": 1, **measure_start(folder, arguments.threads)})
    sides = {side: Side(f"{side}_side", folder, arguments.threads, memory_gib) for side in SIDES}
    for stage in arguments.stages:
        for request in requests_for(stage, arguments.photos, arguments.faces) if stage != "start" else []:
            rows.append(measure_case(sides, request, arguments, folder))
            print(table_row(rows[-1]), file=sys.stderr)
    for side in sides.values():
        side.close()
    return rows


def measure_case(sides: dict[str, Side], request: dict, arguments: argparse.Namespace, folder: Path) -> dict:
    """One row."""
    if request["case"] == "detection":
        request = with_threshold(sides, request, folder)
    else:
        request = request | {"dtype": arguments.dtype}
    figures = compare(sides, request, arguments.rounds, folder)
    both = all("error" not in figures[side] for side in SIDES)
    return request | figures | {"agreement": agreement(folder) if both else {}}


def table_row(row: dict) -> str:
    """A row in Markdown."""
    cells = [row["case"], row["size"], str(row["faces"])]
    cells += [
        shown(row[side].get("median_s"), 3) if "error" not in row[side] else row[side]["error"] for side in SIDES
    ]
    cells += [shown(ratio(row, *SIDES, "median_s")), spread(row, *SIDES), shown(ratio(row, *SIDES, "cpu_s"))]
    cells += [shown(row[side].get("peak_mib")) for side in SIDES]
    cells += [shown(ratio(row, *SIDES, "peak_mib"))]
    cells += ["; ".join(f"{name} {value:.6g}" for name, value in row.get("agreement", {}).items())]
    return "| " + " | ".join(cells) + " |"


HEADER = (
    "| stage | photo | faces | facer s | farl_hf s | time ratio | its range | CPU time ratio | facer MiB "
    "| farl_hf MiB | memory ratio | agreement |\n|---|---|---|---|---|---|---|---|---|---|---|---|"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_common_arguments(parser)
    parser.add_argument("--photos", nargs="+", default=["1080p"], choices=["480p", "1080p", "4K"])
    parser.add_argument("--faces", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--stages", nargs="+", default=list(STAGES), choices=list(STAGES))
    parser.add_argument("--dtype", default="float32", help="Of farl_hf's parser and aligner; facer has float32 only.")
    parser.add_argument("--weights", default="full", choices=list(official_files.SIZES))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        rows = measure(arguments, arguments.folder or Path(temporary))
    machine = describe_machine(arguments.threads)
    print(f"{machine}, {arguments.rounds} rounds, farl_hf in {arguments.dtype}\n\n{HEADER}")
    print("\n".join(table_row(row) for row in rows))
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
