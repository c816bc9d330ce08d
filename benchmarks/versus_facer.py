"""facer 0.0.5 and farl_hf side by side: one process each, the same random weights, photos and faces, in turns.

    python -m benchmarks.versus_facer --json FILE [--photos 1080p] [--faces 1 8] [--stages detection parsing …]

ViT-B/16 at 448 pixels in both released formats (see `official_files`). Boxes and points are given, except in
detection. Prints a Markdown table: ratios of time and of peak memory, facer's over farl_hf's; the agreement of the
results; and farl_hf's time over the floor. The floor is arithmetic at the machine's rate of matrix products plus bytes
at its rate of copies, see `machine_rates`. `--weights small` uses the networks of the tests, for a quick trial. All
cases together take hours on two cores, the default sizes about half an hour.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks import official_files
from benchmarks.two_processes import Side, compare, in_words, make_parser, make_table, opened, report, shown

STAGES = {
    "detection": ["detector"],
    "parsing: crops": ["parsing"],
    "parsing: network": ["parsing"],
    "parsing: after the network": ["parsing"],
    "parsing": ["parsing"],
    "landmarks: after the network": ["landmarks"],
    "landmarks": ["landmarks"],
    "start": ["parsing"],
}
CANDIDATES = 1000  # of detection, over the threshold
START_ROUNDS = 3
WITH_FLOOR = ("detection", "parsing: network", "parsing: after the network", "parsing", "landmarks")
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
    asked = request | {"case": "threshold", "candidates": CANDIDATES}
    return request | {"threshold": ask_number(sides["farl_hf"], asked, folder)}


def ask_number(side: Side, request: dict, folder: Path) -> float:
    """The one number that a side answers with."""
    path = folder / "number.npz"
    side.ask(request, save=str(path))
    return float(np.load(path)["number"])


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
    rows = []
    if "start" in arguments.stages:
        rows.append({"case": "start", "size": "480p", "faces": 1, **measure_start(folder, arguments.threads)})
    with opened({side: f"{side}_side" for side in SIDES}, folder, arguments) as sides:
        for stage in arguments.stages:
            for request in requests_for(stage, arguments.photos, arguments.faces) if stage != "start" else []:
                rows.append(measure_case(sides, request, arguments, folder))
                print(table(rows[-1:]).splitlines()[-1], file=sys.stderr)
    return rows


def measure_case(sides: dict[str, Side], request: dict, arguments: argparse.Namespace, folder: Path) -> dict:
    """One row."""
    if request["case"] == "detection":
        request = with_threshold(sides, request, folder)
    else:
        request = request | {"dtype": arguments.dtype}
    figures = compare(sides, request, arguments.rounds, folder)
    both = all("error" not in figures[side] for side in SIDES)
    row = request | figures | {"agreement": agreement(folder) if both else {}}
    if request["case"] in WITH_FLOOR:
        row["floor_s"] = ask_number(sides["farl_hf"], request | {"case": "floor", "of": request["case"]}, folder)
    return row


def table(rows: list[dict]) -> str:
    """In Markdown."""
    cells = [([row["case"], row["size"], row["faces"], _over_floor(row)], row, _agreement(row)) for row in rows]
    return make_table(["stage", "photo", "faces", "farl_hf over its floor"], SIDES, cells)


def _over_floor(row):
    known = "floor_s" in row and "median_s" in row["farl_hf"]
    return shown(row["farl_hf"]["median_s"] / row["floor_s"] if known else None)


def _agreement(row):
    return in_words(row.get("agreement", {}))


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--photos", nargs="+", default=["1080p"], choices=["480p", "1080p", "4K"])
    parser.add_argument("--faces", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--stages", nargs="+", default=list(STAGES), choices=list(STAGES))
    parser.add_argument(
        "--dtype", default="float32", help="Of farl_hf's parsing and landmark models; facer has float32 only."
    )
    parser.add_argument("--weights", default="full", choices=list(official_files.SIZES))
    report(parser.parse_args(), measure, table)


if __name__ == "__main__":
    main()
