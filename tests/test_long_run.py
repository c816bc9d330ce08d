"""Long runs stay flat in memory and open files."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MOST_MIB_PER_1000 = {"photos": 150, "video": 150, "pipelines": 2000}  # a leak of photos costs thousands


@pytest.mark.nightly
def test_memory_and_open_files_stay_flat(tmp_path):
    counts = ["--photos", "300", "--frames", "300", "--pipelines", "10"]
    words = [sys.executable, "-m", "benchmarks.long_run", *counts, "--json", str(tmp_path / "runs.json")]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=1500, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    runs = {run["run"]: run for run in json.loads((tmp_path / "runs.json").read_text())["runs"]}
    assert set(runs) == set(MOST_MIB_PER_1000)
    for name, run in runs.items():
        assert run["mib_per_1000"] < MOST_MIB_PER_1000[name], run
        assert abs(run["open_files_per_1000"]) < 10, run
