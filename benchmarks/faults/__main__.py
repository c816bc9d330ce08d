"""Bad and odd inputs over all fields, each judged.

    python -m benchmarks.faults --seed N --json FILE [--cases N] [--only KIND_OR_FIELD] [--workers 2]

| verdict | the input got |
|---|---|
| right | the answer that is known: analytically, by Pillow or NumPy, or from the same picture in a plain form |
| sentence | one clear sentence: a typed error, or a line and an exit status other than 0 |
| theirs | an error of Transformers or another library, before our code ran |
| deep | any other error, a traceback, or a dead process |
| wrong | another answer than the right one; an answer to what must be refused; a refusal of what is good |
| hang | no answer within the time of its kind |
| lost | any of these, and earlier results are gone or a file is half-written |
| unjudged | an answer that nobody can judge |

The exit status is 1 if anything is deep, wrong, hanging or lost, or if more than 5 % is unjudged.
"""

import argparse
import json
import resource
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.faults.cases import Kind, load_all_kinds
from benchmarks.faults.judging import FAULTS, VERDICTS
from benchmarks.faults.pool import run_all

MOST_UNJUDGED = 0.05


def chosen_cases(kinds: list[Kind], seed: int, count: int | None) -> list[tuple[Kind, int]]:
    """All variations of the kinds; or so many of them, evenly from all kinds."""
    everything = [(kind, number) for kind in kinds for number in range(kind.count)]
    if count is None or count >= len(everything):
        return everything
    shuffled = [everything[place] for place in np.random.default_rng(seed).permutation(len(everything))]
    rank: Counter[str] = Counter()
    ranked = []
    for case in shuffled:
        rank[case[0].name] += 1
        ranked.append((rank[case[0].name], case))
    taken = [case for _, case in sorted(ranked, key=lambda entry: entry[0])[:count]]
    return sorted(taken, key=lambda case: everything.index(case))


def show(results: list[dict[str, Any]], seconds: float) -> None:
    """A row per field, then every fault, then what other libraries said, by kind."""
    fields = list(dict.fromkeys(result["field"] for result in results))
    counts = {name: Counter(result["verdict"] for result in results if result["field"] == name) for name in fields}
    counts["all"] = Counter(result["verdict"] for result in results)
    print("| field |", " | ".join(VERDICTS), "| cases |")
    print("|---|" + "---:|" * (len(VERDICTS) + 1))
    for name, row in counts.items():
        print(f"| {name} |", " | ".join(str(row[verdict]) for verdict in VERDICTS), f"| {row.total()} |")
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    minutes = sum(one.ru_utime + one.ru_stime for one in used) / 60
    print(f"\n{len(results)} cases of {len({result['kind'] for result in results})} kinds in {seconds:.0f} s.")
    print(f"{minutes:.1f} minutes of CPU time.")
    for verdict in (*FAULTS, "unjudged"):
        for result in (result for result in results if result["verdict"] == verdict):
            print(f"{verdict}: {result['kind']} {result['number']} ({result['what']}): {result['why']}")
    theirs = Counter((result["kind"], result["why"][:100]) for result in results if result["verdict"] == "theirs")
    for (kind, why), times in sorted(theirs.items()):
        print(f"theirs: {kind}, {times} times: {why}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="Write every case with its verdict there.")
    parser.add_argument("--cases", type=int, help="So many, evenly from all kinds; all by default.")
    parser.add_argument("--only", nargs="*", default=[], help="Kinds or fields.")
    parser.add_argument("--workers", type=int, default=2, help="Processes.")
    arguments = parser.parse_args()
    kinds = [
        kind
        for kind in load_all_kinds().values()
        if not arguments.only or {kind.name, kind.chapter} & {*arguments.only}
    ]
    cases, start = chosen_cases(kinds, arguments.seed, arguments.cases), time.monotonic()

    def tell(result: dict[str, Any]) -> None:
        if result["verdict"] in FAULTS:
            print(result["verdict"], result["kind"], result["number"], result["why"][:160], file=sys.stderr)

    results = run_all(cases, arguments.seed, arguments.workers, tell)
    results.sort(key=lambda result: ([kind.name for kind in kinds].index(result["kind"]), result["number"]))
    seconds = time.monotonic() - start
    show(results, seconds)
    counts = Counter(result["verdict"] for result in results)
    if arguments.json:
        report = {"seed": arguments.seed, "seconds": round(seconds), "counts": counts, "cases": results}
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    if any(counts[verdict] for verdict in FAULTS) or counts["unjudged"] > MOST_UNJUDGED * len(results):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
