"""`from_pretrained("farl")` in fresh processes, in an empty folder, after `farl-hf download NAME --from FILE`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import conversion_sources
import pytest
import torch
from huggingface_hub import scan_cache_dir
from transformers import AutoConfig

PROGRAM = Path(__file__).with_name("bare_names_program.py")
LOADED = {
    "config": "FaRLConfig",
    "model": "FaRLModel",
    "processor": "FaRLProcessor",
    "tokenizer": "FaRLTokenizer",
    "image processor": "FaRLImageProcessor",
    "zero-shot": "ZeroShotImageClassificationPipeline",
    "parsing": "FaceParsingPipeline",
    "embedded": "FaceParsingPipeline",
    "embedded alias": "FaceDetectionPipeline",
    "embedded model": "FaRLModel",
    "embedded backbone": "FaRLFeatureMaps",
    "embedded processor": "FaRLProcessor",
    "embedded tokenizer": "FaRLTokenizer",
    "embedded image processor": "FaRLImageProcessor",
    "snapshot": "str",
    "folder": "PosixPath",
}
MISSING = ("missing model", "missing processor", "missing pipeline")


class Machine:
    """An empty Hugging Face home and an empty working folder."""

    def __init__(self, folder):
        self.home, self.work = folder / "home", folder / "work"
        self.work.mkdir()

    def run(self, *command, **environment):
        settings = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "TRANSFORMERS_"))}
        settings |= {"HF_HOME": str(self.home), "OMP_NUM_THREADS": "1", **environment}
        command = [sys.executable, *map(str, command)]
        return subprocess.run(command, cwd=self.work, env=settings, capture_output=True, text=True, check=False)

    def farl_hf(self, *commands):
        """Several commands in one process, because starting one takes seconds."""
        code = f"from farl_hf.cli import app\nfor words in {commands!r}: app(words, standalone_mode=False)"
        finished = self.run("-c", code)
        assert finished.returncode == 0, finished.stderr

    def outcomes(self, *calls, **environment):
        finished = self.run(PROGRAM, *calls, **environment)
        assert finished.returncode == 0, finished.stderr
        return json.loads(finished.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """A machine that has downloaded `farl` and `farl-lapa-448` from files with toy weights in the released formats."""
    folder = tmp_path_factory.mktemp("machine")
    with torch.no_grad():
        parsing = conversion_sources.write_parsing(folder / "parsing.pt", conversion_sources.make_parsing_network())
    towers = conversion_sources.write_two_towers(folder / "farl.pth", conversion_sources.make_two_towers())
    machine = Machine(folder)
    machine.farl_hf(
        ("download", "farl", "--from", str(towers)),
        ("download", "farl-lapa-448", "--from", str(parsing)),
    )
    return machine


@pytest.fixture(scope="module")
def online(machine):
    return machine.outcomes()


@pytest.fixture(scope="module")
def offline(machine, online):
    """After the use online, whose copies of the built-in models stay in the cache."""
    return machine.outcomes(HF_HUB_OFFLINE="1")


@pytest.fixture(params=["online", "offline"])
def report(request):
    return request.getfixturevalue(request.param)


def test_built_in_names_load_offline_at_first_use(tmp_path):
    calls = [call for call in LOADED if call.startswith("embedded")]
    report = Machine(tmp_path).outcomes(*calls, HF_HUB_OFFLINE="1")
    assert report["asked"] == []
    for call in calls:
        assert report["outcomes"][call]["class"] == LOADED[call], report["outcomes"][call]["message"]


@pytest.mark.parametrize("call", LOADED)
def test_the_name_loads(report, call):
    assert report["outcomes"][call]["class"] == LOADED[call], report["outcomes"][call]["message"]
    assert report["outcomes"][call]["waited_seconds"] < 1


def test_the_network_is_not_asked(report):
    assert report["asked"] == []


def test_a_name_that_is_not_here_fails_fast(report):
    for call in MISSING:
        assert report["outcomes"][call]["waited_seconds"] < 1
        assert report["outcomes"][call]["class"] in ("NotDownloadedError", "OSError")


def test_online_a_name_that_is_not_here_says_what_to_run(online):
    for call in MISSING:
        assert online["outcomes"][call]["class"] == "NotDownloadedError"
        assert "farl-hf download farl-wflw-448" in online["outcomes"][call]["message"]


def test_the_cache_stays_a_sound_one(machine, report):
    scanned = scan_cache_dir(machine.home / "hub")
    assert scanned.warnings == []
    largest = sum(path.stat().st_size for path in (machine.home / "hub/models--farl-ep64/snapshots").rglob("*.*"))
    alias = machine.home / "hub/models--farl"
    assert sum(path.lstat().st_size for path in alias.rglob("*") if path.is_file()) < largest / 100


def test_another_folder_of_that_name_comes_first(tmp_path, monkeypatch):
    """What Transformers does, and why our own commands warn of it."""
    (tmp_path / "farl").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="Unrecognized model in farl"):
        AutoConfig.from_pretrained("farl")
