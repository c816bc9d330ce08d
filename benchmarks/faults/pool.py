"""Worker processes whose children run cases one after the other; a child that hangs or dies is replaced."""

import collections
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.faults.cases import Kind

_ROOT = Path(__file__).parents[2]
_START_SECONDS = 300  # importing PyTorch takes seconds, on a busy machine a minute


class Worker:
    """A process of `worker.py`."""

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
        # What it prints, for the reason of its death. No file: a case may limit the sizes of files.
        self.words: collections.deque[str] = collections.deque(maxlen=20)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.faults.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="backslashreplace",
            env=environment,
        )
        self.answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        threading.Thread(target=self._listen, daemon=True).start()
        self.child = self._next_child()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.answers.put(line)
        self.answers.put("{}")  # it is dead

    def _listen(self) -> None:
        assert self.process.stderr is not None
        self.words.extend(self.process.stderr)

    def _next_child(self) -> int:
        return json.loads(self._answer_within(_START_SECONDS, self.process.pid))["process"]

    def ask(self, question: dict[str, Any], seconds: float) -> dict[str, Any]:
        """The answer to a case; `hang` after its time, `deep` where the child died."""
        assert self.process.stdin is not None
        print(json.dumps(question), file=self.process.stdin, flush=True)
        try:
            answer, why = json.loads(self._answer_within(seconds, self.child)), ""
        except queue.Empty:
            os.kill(self.child, signal.SIGKILL)
            answer, why = {"verdict": ""}, f"no answer after {seconds:g} s"
            while "verdict" in answer:  # it may have come at the last moment
                answer = json.loads(self.answers.get(timeout=_START_SECONDS))
        if "verdict" not in answer:
            last = " ".join("".join(self.words.copy()).split())[-300:]
            verdict = "hang" if why else "deep"
            why = why or f"the process died with status {answer.get('died')}: {last}"
            answer = {"verdict": verdict, "what": "", "seconds": seconds if verdict == "hang" else 0.0, "why": why}
            self.child = self._next_child()
        return answer

    def _answer_within(self, seconds: float, process: int) -> str:
        """The next answer. Time in which a process could have run, but others had the cores, does not count.

        Raises:
            queue.Empty: There is none in time.
        """
        start = time.monotonic() - seconds_without_core(process)
        while True:
            used = time.monotonic() - seconds_without_core(process) - start
            try:
                return self.answers.get(timeout=max(seconds - used, 0.1))
            except queue.Empty:
                if used >= seconds:
                    raise

    def end(self) -> None:
        """Waits for its end: there are no more cases."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=_START_SECONDS)


def seconds_without_core(process: int) -> float:
    """How long a process has waited for a core in all; 0 on systems that do not count it."""
    try:
        return int(Path(f"/proc/{process}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


def run_all(
    cases: Sequence[tuple[Kind, int]], seed: int, workers: int, tell: Callable[[dict[str, Any]], None]
) -> list[dict[str, Any]]:
    """The answers to all cases, in any order; `tell` is called for each."""
    waiting: queue.Queue[tuple[Kind, int]] = queue.Queue()
    for case in cases:
        waiting.put(case)
    done: list[dict[str, Any]] = []

    def work() -> None:
        worker = Worker()
        while True:
            try:
                kind, number = waiting.get_nowait()
            except queue.Empty:
                break
            question = {"kind": kind.name, "seed": seed, "number": number}
            answer = worker.ask(question, kind.seconds)
            done.append({"field": kind.chapter, **question, **answer})
            tell(done[-1])
        worker.end()

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(done) < len(cases):
        raise RuntimeError(f"{len(cases) - len(done)} cases were not run: a worker has died.")
    return done
