"""Jobs that are killed at random moments lose nothing, and a second start ends as if nothing had happened."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
JOBS = (
    *("download", "convert", "annotate", "annotate-video", "index", "laion-prepare", "laion-detect"),
    *("training", "pretraining"),
)


@pytest.mark.nightly
@pytest.mark.parametrize("job", JOBS)
def test_two_kills(job, tmp_path):
    """In a process of its own, whose forks inherit no threads of pytest."""
    words = [sys.executable, "-m", "benchmarks.kill_and_resume", "--moments", "2", "--jobs", job]
    done = subprocess.run(
        [*words, "--json", tmp_path / "kills.json"], cwd=ROOT, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    (row,) = json.loads((tmp_path / "kills.json").read_text())["jobs"]
    assert row["kills"] == row["equal"] == 2
    assert row["lost"] == row["half"] == 0


def test_all_jobs_are_tested():
    source = (ROOT / "benchmarks" / "kill_and_resume.py").read_text()
    table = source.partition("\nJOBS = {")[2].partition("\n}")[0]
    assert [line.split('"')[1] for line in table.splitlines() if line.startswith('    "')] == list(JOBS)
