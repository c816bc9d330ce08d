"""Judges: what an answer, an error or the outcome of a command is worth, and what is left on the disk."""

import contextlib
import io
import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import farl_hf
from benchmarks.faults.cases import Case, Expectation
from farl_hf.errors import FaRLError

VERDICTS = ("right", "sentence", "theirs", "deep", "wrong", "hang", "lost", "unjudged")
FAULTS = ("deep", "wrong", "hang", "lost")
_PACKAGE = str(Path(farl_hf.__file__).parent) + os.sep
_LONGEST_SENTENCE = 1500  # characters; some list all names that exist
_PICTURES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class Verdict:
    """One of `VERDICTS`, and why."""

    name: str
    why: str = ""


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit status, its words, and the error that escaped it."""

    status: int
    out: str
    err: str
    escaped: BaseException | None = None


# What may happen


def refused() -> Expectation:
    """One sentence; any answer is wrong."""
    return Expectation(lambda answer: f"accepted, with {shortened(answer)}")


def gives(check: Callable[[Any], str]) -> Expectation:
    """The right answer; a refusal is wrong, however it is said."""
    return Expectation(check, may_refuse=False)


def gives_or_refused(check: Callable[[Any], str]) -> Expectation:
    """The right answer or a sentence."""
    return Expectation(check)


def refused_or_unjudged() -> Expectation:
    """A sentence; where there is an answer, nobody knows the right one."""
    return Expectation(None)


def equals(expected: Any, tolerance: float = 0.0) -> Callable[[Any], str]:
    """A check of numbers: same shape, and no value farther away than the tolerance."""

    def check(answer: Any) -> str:
        actual, wanted = np.asarray(answer, np.float64), np.asarray(expected, np.float64)
        if actual.shape != wanted.shape:
            return f"shape {actual.shape}, expected {wanted.shape}"
        if actual.size and not np.array_equal(np.isnan(actual), np.isnan(wanted)):
            return "NaN where there should be none"
        apart = float(np.nanmax(np.abs(actual - wanted), initial=0.0))
        return f"off by {apart:g}" if apart > tolerance else ""

    return check


def equals_one_of(all_expected: list[Any], tolerance: float = 0.0) -> Callable[[Any], str]:
    """A check of numbers where several answers are right."""

    def check(answer: Any) -> str:
        return min((equals(expected, tolerance)(answer) for expected in all_expected), key=len)

    return check


def same(expected: Any) -> Callable[[Any], str]:
    """A check by `==`."""
    return lambda answer: "" if answer == expected else f"{shortened(answer)}, expected {shortened(expected)}"


# Verdicts


def judge(case: Case) -> Verdict:
    """Runs a case and judges what comes of it."""
    try:
        answer = case.run()
    except Exception as error:
        verdict = judge_error(error)
    except SystemExit as error:
        verdict = judge_words(str(error.code))
    else:
        verdict = judge_outcome(answer, case) if isinstance(answer, Outcome) else _judge_answer(answer, case)
    if verdict.name == "sentence" and not case.expected.may_refuse:
        verdict = Verdict("wrong", f"refused: {verdict.why}")
    lost = case.lost()
    return Verdict("lost", lost) if lost else verdict


def _judge_answer(answer: Any, case: Case) -> Verdict:
    if case.expected.check is None:
        return Verdict("unjudged", shortened(answer))
    wrong = case.expected.check(answer)
    return Verdict("wrong", wrong) if wrong else Verdict("right")


def judge_error(error: BaseException) -> Verdict:
    """A sentence of ours, a failure before our code ran, or a traceback from the deep."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if frame.filename.startswith(_PACKAGE)]
    words, last = str(error), frames[-1] if frames else None
    raised_here = last is not None and last in ours and (last.line or "").startswith("raise")
    if isinstance(error, FaRLError) or (isinstance(error, ValueError) and raised_here):
        return judge_words(words)
    # An override that hands its arguments on is not yet our code.
    if all("super()" in (frame.line or "") for frame in ours):
        return Verdict("theirs", f"{type(error).__name__}: {shortened(words)}")
    place = f"{ours[-1].filename.removeprefix(_PACKAGE)}:{ours[-1].lineno}"
    return Verdict("deep", f"{type(error).__name__} at {place}: {shortened(words)}")


def judge_words(words: str) -> Verdict:
    """Whether the words of a refusal are one clear sentence."""
    if "\n" in words.strip() or not 10 <= len(words) <= _LONGEST_SENTENCE or "Traceback" in words:
        return Verdict("deep", f"not one sentence: {shortened(words)}")
    return Verdict("sentence", words)


def judge_outcome(outcome: Outcome, case: Case) -> Verdict:
    """A command: status 0 is an answer; any other needs one line that says why."""
    if outcome.escaped is not None:
        verdict = judge_error(outcome.escaped)
        return verdict if verdict.name == "theirs" else Verdict("deep", f"a command raised: {verdict.why}")
    if outcome.status == 0:
        return _judge_answer(outcome, case)
    said = said_by(outcome.err) or said_by(outcome.out)
    if not said:
        return Verdict("deep", f"status {outcome.status}, but no reason: {shortened(outcome.err)}")
    return next(
        (verdict for verdict in map(judge_words, said) if verdict.name == "deep"), Verdict("sentence", said[0])
    )


def said_by(words: str) -> list[str]:
    """The reasons in what a command printed: its errors, its failures, and Typer's box about an option."""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", words)
    if "Traceback (most recent call last)" in plain:
        return [plain]
    box = " ".join(re.findall(r"^│ (.*?) *│$", plain, re.MULTILINE))
    reasons = re.findall(r"^(?:Error|Failed): (.*?)(?=^(?:Error|Failed): |\Z)", plain, re.MULTILINE | re.DOTALL)
    others = re.findall(r"^.* failed: .*$|^No face was found.*$|^.*\b0 of .*$|^.* bad\.$", plain, re.MULTILINE)
    return [one.strip() for one in (*reasons, *([box] if box else ()), *others) if one.strip()]


def command(*words: Any) -> Outcome:
    """Runs `farl-hf` with these words, in this process."""
    from farl_hf.cli import main

    out, err, before = io.StringIO(), io.StringIO(), (sys.argv, os.environ.get("COLUMNS"))
    out.reconfigure, escaped, status = (lambda **_: None), None, 0  # type: ignore[attr-defined]
    sys.argv, os.environ["COLUMNS"] = ["farl-hf", *map(str, words)], "5000"  # no line is broken
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        err.write(end.code if isinstance(end.code, str) else "")
    except Exception as error:
        escaped, status = error, 1
    finally:
        sys.argv = before[0]
        os.environ.pop("COLUMNS")
        if before[1] is not None:
            os.environ["COLUMNS"] = before[1]
    return Outcome(status, out.getvalue(), err.getvalue(), escaped)


# What is left on the disk


def snapshot(folder: Path) -> dict[Path, bytes]:
    """The files of a folder with their content."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def half_written(folder: Path, known: Collection[Path] = ()) -> str:
    """The first file of an output that is not whole, but for those that are known; an empty text if all are."""
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if path in known or (path.is_dir() and path.suffix != ".partial"):
            continue
        if path.name.endswith(".partial"):
            return f"{path.name} is left over"
        try:
            if path.suffix in _PICTURES:
                with Image.open(path) as picture:
                    picture.load()
            elif path.suffix == ".json":
                json.loads(path.read_bytes(), parse_constant=_refuse_constant)
            elif path.suffix == ".npz":
                with np.load(path) as arrays:
                    _ = [arrays[name] for name in arrays]
            elif path.suffix == ".safetensors":
                from safetensors import safe_open

                with safe_open(path, framework="numpy") as tensors:
                    _ = list(tensors.keys())
        except Exception as error:
            return f"{path.name} is half-written: {shortened(error)}"
    return ""


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is no JSON")


def kept(before: dict[Path, bytes], folder: Path) -> Callable[[], str]:
    """A judge of what an earlier run had left: its files are still whole, and those of `before` still there."""

    def lost() -> str:
        missing = [path.name for path in before if not path.is_file()]
        same = [path for path, content in before.items() if path.is_file() and path.read_bytes() == content]
        return f"{', '.join(missing)} of an earlier run is gone" if missing else half_written(folder, same)

    return lost


def shortened(value: Any) -> str:
    """At most two hundred characters of a value, on one line."""
    return " ".join(str(value).split())[:200]
