"""Cost of a pre-training step: against open_clip, with and without masked images, and beside its data.

    python -m benchmarks.pretraining --json FILE [--size tiny] [--batch B] [--precision bf16] [--checkpointing]

A step is forward, backward and AdamW, on a GPU where there is one. Three processes take turns with the same weights
and the same pairs: open_clip's contrast (ITC), ours, and ours with masked image modelling (ITC+MIM). The visual
tokenizer, which computes the labels of masked patches, is measured apart and is in no ratio. Last comes the processor
time for the data of a step. Takes a few minutes on two cores.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pretraining_data import measure_pretraining_data
from benchmarks.pretraining_step_sides import DEVICE, SIZES, prepare
from benchmarks.two_processes import Side, compare, make_parser, opened, ratio, report, shown, spread

STEPS = ("open_clip", "itc", "itc_mim")
# Title; first over second; the figure.
RATIOS = (
    ("open_clip over farl_hf, ITC", "open_clip", "itc", "median_s"),
    ("the same in processor time", "open_clip", "itc", "cpu_s"),
    ("peak memory, farl_hf over open_clip, ITC", "itc", "open_clip", "peak_mib"),
    ("ITC+MIM over ITC", "itc_mim", "itc", "median_s"),
    ("the same in processor time", "itc_mim", "itc", "cpu_s"),
    ("visual tokenizer over ITC", "tokenizer", "itc", "median_s"),
    ("the same in processor time", "tokenizer", "itc", "cpu_s"),
)


class OwnCase:
    """A side that does the case of its name, whatever the request."""

    def __init__(self, side: Side, case: str) -> None:
        self.side, self.case = side, case

    def ask(self, request: dict, **more: Any) -> dict[str, Any]:
        """Do the case once."""
        return self.side.ask(request | {"case": self.case}, **more)


def measure(arguments: argparse.Namespace, folder: Path) -> list[dict]:
    """One row: steps by name, their losses, and the data pipeline's figures."""
    prepare(folder, arguments.size)
    request = {name: getattr(arguments, name) for name in ("size", "batch", "precision", "checkpointing")}
    figures = {}
    for group in (STEPS, ("tokenizer",)):  # not together: four processes would hold more memory than is needed
        with opened(dict.fromkeys(group, "pretraining_step_sides"), folder, arguments) as sides:
            cases = {name: OwnCase(side, name) for name, side in sides.items()}
            figures |= compare(cases, request, arguments.rounds, folder)
        for name in group:
            figures[name] |= told_by_work(folder / f"{name}.npz", figures[name])
    data = measure_pretraining_data(arguments.samples)
    return [request | {"device": DEVICE.type, "data": data} | figures]


def told_by_work(path: Path, figures: dict) -> dict[str, float]:
    """Loss of the first step, and the GPU's memory in place of the processor's."""
    if "error" in figures:
        return {}
    with np.load(path) as results:
        told = {"loss": float(results["loss"])} if "loss" in results else {}
        device_peak = float(results["device_peak_bytes"])
    return told | ({"peak_mib": device_peak / 2**20} if device_peak else {})


def table(rows: list[dict]) -> str:
    """In Markdown."""
    (row,) = rows
    lines = [
        f"{row['size']}, {row['batch']} pairs, {row['precision']}, {row['device']}, "
        f"{'with' if row['checkpointing'] else 'without'} gradient checkpointing",
        "\n| step | s | CPU s | pairs/s | MiB above start | loss |\n|---|---|---|---|---|---|",
    ]
    lines += [step_row(name, row[name], row["batch"]) for name in (*STEPS, "tokenizer")]
    lines += ["\n| ratio | | single rounds |\n|---|---|---|"]
    for title, first, second, key in RATIOS:
        single = spread(row, first, second) if key == "median_s" else ""
        lines.append(f"| {title} | {shown(ratio(row, first, second, key))} | {single} |")
    return "\n".join([*lines, "", data_sentence(row)])


def step_row(name: str, figures: dict, batch: int) -> str:
    """A step's row, or why there is none."""
    if "error" in figures:
        return f"| {name} | {figures['error']} | | | | |"
    cells = [figures["median_s"], figures["cpu_s"], batch / figures["median_s"], figures["peak_mib"]]
    return f"| {name} | {' | '.join(shown(value, 3) for value in cells)} | {shown(figures.get('loss'), 6)} |"


def data_sentence(row: dict) -> str:
    """The data pipeline beside the step that it feeds."""
    per_core = row["data"]["stream, samples/s"]
    sentence = f"Data: {per_core:.0f} samples per second and core"
    if "error" in row["itc_mim"]:
        return sentence + "."
    seconds, cpu_seconds = row["batch"] / per_core, row["itc_mim"]["cpu_s"]
    cores = seconds / row["itc_mim"]["median_s"]
    of_step = f"{100 * seconds / cpu_seconds:.2g} % of its processor time; " if row["device"] == "cpu" else ""
    return f"{sentence}; the 224-pixel pairs of an ITC+MIM step take {of_step}{cores:.2g} cores keep up."


def main() -> None:
    parser = make_parser(__doc__)
    on_gpu = DEVICE.type == "cuda"
    parser.add_argument("--size", choices=SIZES, default="base", help="base: ViT-B/16 and its text encoder.")
    parser.add_argument("--batch", type=int, default=64 if on_gpu else 4, help="Pairs per step.")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16" if on_gpu else "fp32")
    parser.add_argument("--checkpointing", action="store_true", help="Gradient checkpointing, on all sides.")
    parser.add_argument("--samples", type=int, default=200, help="Samples per figure of the data pipeline.")
    parser.set_defaults(rounds=20 if on_gpu else 3)
    report(parser.parse_args(), measure, table)


if __name__ == "__main__":
    main()
