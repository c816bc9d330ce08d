"""Bad and odd inputs end well, as `benchmarks.faults` judges them; and its judges can tell."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.append(str(Path(__file__).parents[1]))

from benchmarks.faults.cases import Case, load_all_kinds
from benchmarks.faults.judging import FAULTS, Outcome, equals, gives, gives_or_refused, half_written, judge, refused
from farl_hf.errors import InvalidArgumentError
from farl_hf.photo_names import readable_name
from farl_hf.photos import load_photo

ROOT = Path(__file__).parents[1]


def raises(error):
    def run():
        raise error

    return run


@pytest.mark.parametrize(
    ("run", "expected", "verdict"),
    [
        (lambda: [1, 2], gives(equals([1, 2])), "right"),
        (lambda: [1, 3], gives(equals([1, 2])), "wrong"),
        (lambda: [1, float("nan")], gives(equals([1, 2])), "wrong"),
        (lambda: [1, 2], refused(), "wrong"),
        (lambda: load_photo("missing.jpg"), refused(), "sentence"),
        (lambda: load_photo("missing.jpg"), gives(equals([1])), "wrong"),
        (raises(InvalidArgumentError("two lines\nof a refusal")), refused(), "deep"),
        (lambda: int("x"), refused(), "theirs"),
        (lambda: Outcome(0, "", ""), gives_or_refused(lambda _: ""), "right"),
        (lambda: Outcome(2, "", "Error: There is no such photo; check the path.\n"), refused(), "sentence"),
        (lambda: Outcome(1, "", "Traceback (most recent call last):\n  x\nKeyError: 3\n"), refused(), "deep"),
        (lambda: Outcome(1, "", ""), refused(), "deep"),
        (lambda: Outcome(1, "", "", InvalidArgumentError("a sentence, but raised")), refused(), "deep"),
    ],
)
def test_verdicts(run, expected, verdict):
    assert judge(Case("an input", run, expected)).name == verdict


def test_what_escapes_our_code_is_deep():
    verdict = judge(Case("", lambda: readable_name(3), refused()))
    assert verdict.name == "deep"
    assert "photo_names.py" in verdict.why


def test_what_is_lost(tmp_path):
    assert half_written(tmp_path) == ""
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 30, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "b.json").write_text("[1]")
    assert half_written(tmp_path) == ""
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:500])
    assert "a.png" in half_written(tmp_path)
    lost = Case("", lambda: 1, gives(equals(1)), lambda: half_written(tmp_path))
    assert judge(lost).name == "lost"
    (tmp_path / "a.png").unlink()
    (tmp_path / "b.json").write_text("[NaN]")
    assert "b.json" in half_written(tmp_path)


def test_the_table_of_kinds():
    kinds = load_all_kinds()
    assert min(kind.count for kind in kinds.values()) >= 10
    assert sum(kind.count for kind in kinds.values()) >= 600
    fields = Counter(kind.chapter for kind in kinds.values())
    assert len(fields) >= 12


@pytest.mark.nightly
@pytest.mark.parametrize("number", [60, None], ids=["sixty", "all"])
def test_every_input_ends_well(number, tmp_path):
    seed = int(np.random.default_rng().integers(1_000_000))
    words = [sys.executable, "-m", "benchmarks.faults", "--seed", str(seed), "--json", str(tmp_path / "faults.json")]
    done = subprocess.run(
        [*words, *(["--cases", str(number)] if number else [])], cwd=ROOT, capture_output=True, text=True, check=False
    )
    report = json.loads((tmp_path / "faults.json").read_text())
    assert not any(report["counts"].get(verdict) for verdict in FAULTS), done.stdout
    assert done.returncode == 0, done.stdout
