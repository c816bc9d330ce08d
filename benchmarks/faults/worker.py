"""A process that runs case after case: lines of JSON in, each `kind`, `seed`, `number`; lines of JSON out.

It imports everything once. Each of its children, a fork, first says its `process`, then runs cases until one kills it.
"""

import contextlib
import json
import logging
import os
import resource
import shutil
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any, TextIO

_MEMORY_BYTES = 12 << 30  # of data; what declares more is not there


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    sys.dont_write_bytecode = True  # a case that limits the sizes of files would leave half of one for ever
    sys.unraisablehook = lambda _: None  # what an object of an earlier case says when it is collected
    os.dup2(2, 1)  # what a library prints is no answer
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)

    import torch

    from benchmarks.faults.cases import load_all_kinds

    torch.set_num_threads(1)
    kinds = load_all_kinds()
    while True:
        home = Path(tempfile.mkdtemp(prefix="faults-"))
        child = os.fork()
        if child == 0:
            run_cases(kinds, home, answers)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        shutil.rmtree(home, ignore_errors=True)
        if status == 0:
            break
        print(json.dumps({"died": os.waitstatus_to_exitcode(status)}), file=answers, flush=True)


def run_cases(kinds: dict[str, Any], home: Path, answers: TextIO) -> None:
    """Runs cases until no line is left."""
    import torch

    from benchmarks.faults.judging import judge

    print(json.dumps({"process": os.getpid()}), file=answers, flush=True)
    for line in iter(sys.stdin.readline, ""):
        asked = json.loads(line)
        folder = home / "case"
        folder.mkdir()
        os.chdir(folder)
        start, case = time.monotonic(), None
        torch.manual_seed(asked["seed"])
        try:
            case = kinds[asked["kind"]].case(asked["seed"], asked["number"], folder)
        except Exception as error:  # a fault of this benchmark
            answer = {"verdict": "unjudged", "why": f"the case could not be made: {type(error).__name__}: {error}"}
        else:
            verdict = judge(case)
            answer = {"verdict": verdict.name, "why": verdict.why}
        answer |= {"what": case.what if case else "", "seconds": round(time.monotonic() - start, 2)}
        os.chdir(home)
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            shutil.rmtree(os.fsencode(folder), ignore_errors=True)
        print(json.dumps(answer, ensure_ascii=True), file=answers, flush=True)


if __name__ == "__main__":
    main()
