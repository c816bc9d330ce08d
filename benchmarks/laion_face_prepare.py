"""Peak memory and speed of `farl-hf laion-face prepare`, by the rows of the metadata and the numbers of the list.

    python -m benchmarks.laion_face_prepare [--rows 1000000 4000000 16000000] [--folder /tmp/somewhere] [--json FILE]

LAION-400M is generated: 32 parts with its columns, and LAION-Face's list as `torch.save` writes a list of sets. Of 413
rows, 50 are in the list. A row has 185 bytes on disk, against 130 in the published files (32 files of 1.7 GB), because
random letters do not compress. Row groups have the size of Spark's, 128 MB.

The last case has the memory use of the whole of LAION-Face: 50 million numbers, and a part of full size. Parts follow
one another, so 31 more of that size take time and no memory; the other cases check this.

Each case runs in its own process and is checked: the rows written are those that were planted. The memory is the peak
of resident memory of all processes together, including Python and its libraries. Needs about 4 GB of disk.
"""

import argparse
import json
import pickle
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, Popen

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

LIMIT_GIB = 2.0
NUM_PARTS = 32
ALL_ROWS, ALL_IDS = 413_000_000, 50_000_000
ROWS_PER_GROUP = 640_000  # 128 MB
# Medians in bytes and spread of the logarithm; recollections of the published files.
URL_LENGTHS, TEXT_LENGTHS = (90, 0.35), (50, 0.7)
LETTERS = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz0123456789 ", np.uint8)
FIRST_ID = 10**12  # thirteen digits, as in the published files
POLL_SECONDS = 0.02
COMMAND = "import sys; from farl_hf.cli import main; sys.argv[0] = 'farl-hf'; main()"


@dataclass(frozen=True)
class Case:
    """Rows and numbers of every part; the numbers that no row has are counted as missing."""

    rows: tuple[int, ...]
    ids: tuple[int, ...]


def case_of(num_rows: int) -> Case:
    """LAION-400M and LAION-Face, smaller."""
    rows = num_rows // NUM_PARTS
    return Case((rows,) * NUM_PARTS, (rows * ALL_IDS // ALL_ROWS,) * NUM_PARTS)


def whole_list(num_rows: int) -> Case:
    """The whole list and one part of full size; the others as in `case_of`."""
    others = (num_rows // NUM_PARTS,) * (NUM_PARTS - 1)
    return Case((ALL_ROWS // NUM_PARTS, *others), (ALL_IDS // NUM_PARTS,) * NUM_PARTS)


# ---------------------------------------------------------------- the input


def words(rng: np.random.Generator, count: int, median: int, spread: float) -> pa.Array:
    """Random texts with log-normal lengths."""
    lengths = np.clip(rng.lognormal(np.log(median), spread, count), 3, 4000).astype(np.int32)
    offsets = np.concatenate([[0], lengths.cumsum(dtype=np.int32)]).astype(np.int32)
    letters = LETTERS[rng.integers(0, len(LETTERS), offsets[-1], dtype=np.uint8)]
    return pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(letters))


def rows_of(rng: np.random.Generator, numbers: np.ndarray) -> pa.Table:
    """One row group."""
    count = len(numbers)
    columns = {
        "SAMPLE_ID": numbers,
        "URL": words(rng, count, *URL_LENGTHS),
        "TEXT": words(rng, count, *TEXT_LENGTHS),
        "HEIGHT": rng.integers(100, 2000, count, dtype=np.int32),
        "WIDTH": rng.integers(100, 2000, count, dtype=np.int32),
        "LICENSE": pa.array(["?", "cc-by-2.0"]).take(pa.array(rng.integers(0, 20, count) // 19)),
        "NSFW": pa.array(["UNLIKELY", "UNSURE", "NSFW"]).take(pa.array(rng.integers(0, 20, count) // 8)),
        "similarity": rng.uniform(0.3, 0.5, count),
    }
    return pa.table(columns)


def write_part(folder: Path, part: int, num_rows: int, num_ids: int) -> np.ndarray:
    """Writes a part; returns its numbers for the list, sorted: of its rows, then such as no row has."""
    rng = np.random.default_rng(part)
    numbers = FIRST_ID * (part + 1) + rng.integers(1, 1000, max(num_rows, num_ids)).cumsum()
    in_rows = rng.permutation(numbers[:num_rows])
    path = folder / f"part-{part:05d}-5b54c5d5-bbcf-484d-a2ce-0d6f73df1a36-c000.snappy.parquet"
    groups = np.array_split(in_rows, -(-num_rows // ROWS_PER_GROUP))
    with pq.ParquetWriter(path, rows_of(rng, in_rows[:1]).schema, compression="snappy") as writer:
        for group in groups:
            writer.write_table(rows_of(rng, group))
    return np.sort(np.concatenate([in_rows[:num_ids], numbers[num_rows : max(num_ids, num_rows)]]))


def write_list(path: Path, parts: list[np.ndarray]) -> None:
    """The list of sets, part by part: as Python objects the whole takes gigabytes."""
    with zipfile.ZipFile(path, "w") as archive, archive.open("ids/data.pkl", "w", force_zip64=True) as stream:
        stream.write(b"\x80\x02](")  # protocol 2, which torch.save uses; an empty list; a mark
        for numbers in parts:
            stream.write(pickle.dumps(set(numbers.tolist()), protocol=2)[2:-1])
        stream.write(b"e.")  # everything after the mark goes into the list


# ---------------------------------------------------------------- the command


def highest_bytes(process: int) -> int:
    """Highest resident size of a running process (Linux); 0 after its end."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def with_children(process: int) -> list[int]:
    """A process and all that it started."""
    try:
        children = [
            int(child)
            for path in Path(f"/proc/{process}/task").glob("*/children")
            for child in path.read_text().split()
        ]
    except OSError:
        return [process]
    return [process, *(one for child in children for one in with_children(child))]


def run_command(source: Path, ids: Path, output: Path) -> dict[str, float]:
    """Seconds and peak bytes until the list is read, and in all.

    Raises:
        SystemExit: The command failed.
    """
    words = [str(source), "--ids", str(ids), "--output", str(output), "--parts", "all"]
    start, figures, peaks = time.perf_counter(), {}, {}
    with Popen([sys.executable, "-c", COMMAND, "laion-face", "prepare", *words], stdout=DEVNULL) as process:
        while process.poll() is None:
            read = any(output.glob("ids-*"))
            peaks |= {one: max(highest_bytes(one), peaks.get(one, 0)) for one in with_children(process.pid)}
            if not read:
                figures = {"list_seconds": time.perf_counter() - start, "list_peak_bytes": sum(peaks.values())}
            time.sleep(POLL_SECONDS)
    if process.returncode:
        raise SystemExit(f"The command ended with status {process.returncode}.")
    return figures | {"seconds": time.perf_counter() - start, "peak_bytes": sum(peaks.values())}


def check_output(output: Path, case: Case, parts: list[np.ndarray]) -> None:
    """Raises unless the rows written are those that were planted."""
    total = json.loads((output / "manifest.json").read_text())["total"]
    planted = sum(min(pair) for pair in zip(case.rows, case.ids, strict=True))
    wanted = {"rows": sum(case.rows), "written": planted, "missing_ids": sum(case.ids) - planted, "repeated": 0}
    if any(total[name] != count for name, count in wanted.items()):
        raise SystemExit(f"Counted {total}, planted {wanted}.")
    for part, numbers in enumerate(parts):
        written = pq.read_table(output / f"laion_face_part_{part:05d}.parquet", columns=["SAMPLE_ID"])["SAMPLE_ID"]
        if len(written) != min(case.rows[part], case.ids[part]) or not np.isin(written.to_numpy(), numbers).all():
            raise SystemExit(f"Part {part} has other rows than were planted.")


def measure(case: Case, folder: Path) -> dict[str, float]:
    """Figures of one case; what it wrote is removed."""
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        source, ids, output = (Path(temporary, name) for name in ("meta", "laion_face_ids.pth", "out"))
        source.mkdir()
        parts = [write_part(source, part, *sizes) for part, sizes in enumerate(zip(case.rows, case.ids, strict=True))]
        write_list(ids, parts)
        size = sum(path.stat().st_size for path in source.iterdir())
        figures = run_command(source, ids, output)
        check_output(output, case, parts)
    rows = sum(case.rows)
    return {"rows": rows, "ids": sum(case.ids), "bytes_per_row": size / rows} | figures


# ---------------------------------------------------------------- the table


def mib(size: float) -> str:
    return f"{size / 2**20:,.0f}"


def show(figure: dict[str, float]) -> None:
    """One row of the table."""
    rate = figure["rows"] / (figure["seconds"] - figure["list_seconds"])
    cells = [f"{figure['rows'] / 1e6:.1f} M", f"{figure['ids'] / 1e6:.2f} M", mib(figure["list_peak_bytes"])]
    cells += [
        mib(figure["peak_bytes"]),
        f"{figure['list_seconds']:.0f} s",
        f"{figure['seconds']:.0f} s",
        f"{rate:,.0f}",
    ]
    print("| " + " | ".join(cells) + " |", flush=True)


def growth(figures: list[dict[str, float]], name: str, by: str) -> float:
    """Bytes per row or number, by least squares."""
    return float(np.polyfit([figure[by] for figure in figures], [figure[name] for figure in figures], 1)[0])


def conclude(figures: list[dict[str, float]]) -> dict[str, float]:
    """What all 413 million rows take: as the sizes continue, and as the whole list was measured."""
    *sizes, whole = figures
    continued = sizes[-1]["peak_bytes"] + growth(sizes, "peak_bytes", "rows") * (ALL_ROWS - sizes[-1]["rows"])
    per_id = growth([*sizes, whole], "list_peak_bytes", "ids")
    held = max(continued, whole["peak_bytes"]) <= LIMIT_GIB * 2**30
    print(
        f"\nThe list takes {per_id:.1f} bytes per number. {ALL_ROWS:,} rows: {mib(whole['peak_bytes'])} MiB measured"
        f" with the whole list and a part of full size, {mib(continued)} MiB if memory went on growing as over the"
        f" first sizes. The limit of {LIMIT_GIB:.0f} GiB is {'kept' if held else 'broken'}."
    )
    return {"bytes_per_id": per_id, "continued_bytes": continued, "held": held}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 4_000_000, 16_000_000])
    parser.add_argument("--folder", type=Path, help="Where the files are written; a temporary folder by default.")
    parser.add_argument("--json", type=Path, help="Also write the figures there.")
    args = parser.parse_args()
    if len(args.rows) < 2:
        parser.error("--rows needs at least two sizes, to tell how memory grows")
    print("| rows | numbers | MiB, list | MiB, all | list | all | rows/s |\n|---:|---:|---:|---:|---:|---:|---:|")
    figures = []
    for case in [*map(case_of, args.rows), whole_list(min(args.rows))]:
        figures.append(measure(case, args.folder or Path(tempfile.gettempdir())))
        show(figures[-1])
    result = {"cases": figures} | conclude(figures)
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
