"""Child processes that run cases one after the other; one that hangs or dies is replaced."""

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.faults.cases import Kind

_ROOT = Path(__file__).parents[2]
_START_SECONDS = 300  # importing PyTorch takes seconds, on a busy machine a minute


class Child:
    """One worker process."""

    def __init__(self) -> None:
        environment = os.environ | {
            **{
                "HF_HUB_OFFLINE": "1",
                "OMP_NUM_THREADS": "1",
                "CUDA_VISIBLE_DEVICES": "",
                "TOKENIZERS_PARALLELISM": "0",
            },
            **{"HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "NO_COLOR": "1", "TERM": "dumb", "PYTHONFAULTHANDLER": "1"},
            "PYTHONPATH": os.pathsep.join([str(_ROOT), *sys.path]),
        }
        for name in ("http_proxy", "https_proxy", "all_proxy"):  # the hostile server is this machine
            environment.pop(name, None), environment.pop(name.upper(), None)
        self.words = tempfile.TemporaryFile("w+")  # noqa: SIM115  # what it prints, for the reason of its death
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.faults.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.words,
            text=True,
            env=environment,
        )
        self.answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self.answers.get(timeout=_START_SECONDS)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.answers.put(line)
        self.answers.put("")  # it is dead

    def ask(self, question: dict[str, Any], seconds: float) -> dict[str, Any]:
        """The answer to a case; `hang` after its time, `deep` where the process died."""
        assert self.process.stdin is not None
        print(json.dumps(question), file=self.process.stdin, flush=True)
        try:
            line = self.answers.get(timeout=seconds)
        except queue.Empty:
            self.end()
            return {"verdict": "hang", "why": f"no answer after {seconds:g} s", "what": "", "seconds": seconds}
        if line:
            return json.loads(line)
        self.process.wait()
        self.words.seek(0)
        last = self.words.read()[-2000:].strip()
        return {
            "verdict": "deep",
            "what": "",
            "seconds": 0.0,
            "why": f"the process died with status {self.process.returncode}: {' '.join(last.split())[-300:]}",
        }

    @property
    def is_alive(self) -> bool:
        """Whether it can be asked."""
        return self.process.poll() is None

    def end(self) -> None:
        """Kills it."""
        self.process.kill()
        self.process.wait()


def run_all(
    cases: Sequence[tuple[Kind, int]], seed: int, workers: int, tell: Callable[[dict[str, Any]], None]
) -> list[dict[str, Any]]:
    """The answers to all cases, in any order; `tell` is called for each."""
    waiting: queue.Queue[tuple[Kind, int]] = queue.Queue()
    for case in cases:
        waiting.put(case)
    done: list[dict[str, Any]] = []

    def work() -> None:
        child: Child | None = None
        while True:
            try:
                kind, number = waiting.get_nowait()
            except queue.Empty:
                break
            if child is None or not child.is_alive:
                child = Child()
            question = {"kind": kind.name, "seed": seed, "number": number}
            answer = child.ask(question, kind.seconds)
            done.append({"field": kind.chapter, **question, **answer})
            tell(done[-1])
        if child is not None and child.is_alive:
            assert child.process.stdin is not None
            child.process.stdin.close()
            child.process.wait(timeout=60)

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return done
