"""Two libraries side by side: one process each, the same requests in turns, times and results.

A side is a module with `CASES`, a table from names of work to functions. Such a function prepares the inputs of a
request and returns what to run. Only the run is measured. Its result, arrays by name, is kept on request.
"""

import argparse
import contextlib
import ctypes
import gc
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.post_processing_cost import PeakMemory

Request = dict[str, Any]
Work = Callable[[], Mapping[str, Any]]
GIB = 2**30
_SHARE_OF_MEMORY = 0.7


# --- in the process of a side -----------------------------------------------------------------------------------


def serve(cases: Mapping[str, Callable[[Request, Path], Work]]) -> None:
    """Answer requests, one JSON line each, until the input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--memory-gib", type=float, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    limit = int(arguments.memory_gib * GIB)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))  # a failed allocation instead of a killed machine
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    prepared: dict[str, Work] = {}
    for line in sys.stdin:
        request = json.loads(line)
        answers.write(json.dumps(_answer(request, cases, arguments.folder, prepared)) + "\n")
        answers.flush()


def _answer(request, cases, folder, prepared):
    key = json.dumps({name: value for name, value in request.items() if name not in ("save", "memory")})
    try:
        if key not in prepared:
            prepared.clear()  # the last case's inputs, which its memory should not be counted with
            prepared[key] = cases[request["case"]](request, folder)
        return _measured(prepared[key], request)
    except (RuntimeError, MemoryError) as error:
        if "memory" not in str(error) and not isinstance(error, MemoryError):
            raise
        return {"error": "out of memory"}


def _measured(work, request):
    if request.get("memory"):
        _give_memory_back()
        with PeakMemory() as memory:
            result = work()
        answer = {"peak_bytes": memory.peak}
    else:
        start, cpu_start = time.perf_counter(), time.process_time()
        result = work()
        answer = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu_start}
    if request.get("save"):
        np.savez(request["save"], **{name: np.asarray(value) for name, value in result.items()})
    return answer


def _give_memory_back():
    """Freed pages that the allocator keeps would hide what the next call takes."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


# --- in the process that compares -------------------------------------------------------------------------------


class Side:
    """A process that does one library's work.

    Args:
        module (`str`): A module of `benchmarks` that serves.
        folder (`Path`): Where the weights lie, see `official_files`.
        threads (`int`): Threads of PyTorch.
        memory_gib (`float`): Most memory that it may hold; beyond, a case answers "out of memory".
    """

    def __init__(self, module: str, folder: Path, threads: int, memory_gib: float) -> None:
        command = [sys.executable, "-m", f"benchmarks.{module}", str(folder), "--threads", str(threads)]
        command += ["--memory-gib", str(memory_gib)]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def ask(self, request: Request, **more: Any) -> dict[str, Any]:
        """Do the work of a request once.

        Raises:
            RuntimeError: If the process died; its own message stands on the standard error.
        """
        line = ""
        with contextlib.suppress(BrokenPipeError):  # it has ended, for example because its library is not installed
            self.process.stdin.write(json.dumps(request | more) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"The process for {request} ended with code {self.process.wait()}.")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()


def compare(sides: dict[str, Side], request: Request, rounds: int, folder: Path) -> dict[str, Any]:
    """Memory and result of the first call of each side, the second to warm up, then timed calls in turns.

    Args:
        sides (`dict[str, Side]`): The library compared with first.
        request (`dict`): The case and its sizes; `only` may name sides that are left out.
        rounds (`int`): Timed calls of each side; every second round goes the other way round.
        folder (`Path`): Where results are kept, `<side>.npz`.

    Returns:
        `dict`: Per side `median_s`, `seconds`, `cpu_s`, `peak_mib`, or `error`. `cpu_s` is the median time that the
        process computed, all threads together: it tells more than the clock where others share the machine.
    """
    figures = {name: side.ask(request, memory=True, save=str(folder / f"{name}.npz")) for name, side in sides.items()}
    alive = [name for name in sides if "error" not in figures[name]]
    answers = {name: [] for name in alive}
    for number in range(rounds + 1):
        for name in alive if number % 2 else reversed(alive):
            answers[name].append(sides[name].ask(request))
    return figures | {
        name: _summary(answers[name][1:]) | {"peak_mib": figures[name]["peak_bytes"] / 2**20} for name in alive
    }


def _summary(answers):
    seconds, cpu_seconds = ([answer[key] for answer in answers] for key in ("seconds", "cpu_seconds"))
    return {
        "median_s": statistics.median(seconds),
        "cpu_s": statistics.median(cpu_seconds),
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
    }


def ratio(figures: dict[str, Any], first: str, second: str, key: str) -> float | None:
    """How many times as much the first side takes; None where one has no figure."""
    if key not in figures[first] or key not in figures[second]:
        return None
    return figures[first][key] / max(figures[second][key], 1e-9)


def spread(figures: dict[str, Any], first: str, second: str) -> str:
    """Smallest and largest ratio of single rounds."""
    if "seconds" not in figures[first] or "seconds" not in figures[second]:
        return "-"
    ratios = [one / other for one, other in zip(figures[first]["seconds"], figures[second]["seconds"], strict=True)]
    return f"{min(ratios):.2f} to {max(ratios):.2f}"


def shown(value: float | None, digits: int = 2) -> str:
    """A figure of a table."""
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.{digits}f}"


@contextlib.contextmanager
def opened(modules: Mapping[str, str], folder: Path, arguments: argparse.Namespace) -> Iterator[dict[str, Side]]:
    """Both sides' processes, by name, ended afterwards."""
    memory_gib = arguments.memory_gib or _SHARE_OF_MEMORY * _available_memory_gib()
    sides = {name: Side(module, folder, arguments.threads, memory_gib) for name, module in modules.items()}
    try:
        yield sides
    finally:
        for side in sides.values():
            side.close()


def _available_memory_gib() -> float:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) / 2**20
    raise RuntimeError("The kernel does not tell the available memory.")


def describe_machine(threads: int) -> dict[str, Any]:
    """What the figures were measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": names[0] if names else "unknown",
        "cores": os.cpu_count(),
        "threads": threads,
        "torch": torch.__version__,
        "load": os.getloadavg()[0],
    }


# --- tables -----------------------------------------------------------------------------------------------------


def make_table(title_columns: Sequence[str], sides: Sequence[str], rows: Sequence[tuple[Sequence[str], dict, str]]):
    """A Markdown table of a comparison.

    Args:
        title_columns (`Sequence[str]`): Headings of what tells the rows apart.
        sides (`Sequence[str]`): Names of both sides, the one compared with first.
        rows (`Sequence`): Titles, the figures of `compare`, and how far the results agree.
    """
    first, second = sides
    headings = [*title_columns, f"{first} s", f"{second} s", "time ratio", "of single rounds", "CPU time ratio"]
    headings += [f"{first} MiB", f"{second} MiB", "memory ratio", "agreement"]
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    return "\n".join(lines + [_table_row(titles, figures, sides, agreement) for titles, figures, agreement in rows])


def _table_row(titles, figures, sides, agreement):
    cells = [figures[side].get("error") or shown(figures[side].get("median_s"), 3) for side in sides]
    cells += [shown(ratio(figures, *sides, "median_s")), spread(figures, *sides)]
    cells += [shown(ratio(figures, *sides, "cpu_s"))]
    cells += [shown(figures[side].get("peak_mib")) for side in sides] + [shown(ratio(figures, *sides, "peak_mib"))]
    return "| " + " | ".join([*map(str, titles), *cells, agreement]) + " |"


def in_words(agreement: Mapping[str, float]) -> str:
    """Figures of agreement in one cell."""
    return "; ".join(f"{name.replace('_', ' ')} {value:.6g}" for name, value in agreement.items())


# --- the command line -------------------------------------------------------------------------------------------


def make_parser(description: str) -> argparse.ArgumentParser:
    """A parser with the options that every comparison has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="Also write everything measured to this file.")
    parser.add_argument("--folder", type=Path, help="Keep the weights here; a temporary folder by default.")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5, help="Timed calls of each side.")
    parser.add_argument("--memory-gib", type=float, help="Most memory of a side; by default 70 %% of what is free.")
    return parser


def report(
    arguments: argparse.Namespace,
    measure: Callable[[argparse.Namespace, Path], list[dict]],
    table: Callable[[list[dict]], str],
) -> None:
    """Measure, print the table, and write the JSON file."""
    with tempfile.TemporaryDirectory() as temporary:
        rows = measure(arguments, arguments.folder or Path(temporary))
    machine = describe_machine(arguments.threads)
    print(f"{machine}, {arguments.rounds} rounds\n\n{table(rows)}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n")
