"""examples/pretrain_farl.py as a user starts it: under torchrun, and again after it was killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from launched_scripts import run_together
from pretraining_runs import log_of, make_flags, pretrain, weights_of, write_pairs

from farl_hf import FaRLModel
from farl_hf.errors import InvalidArgumentError

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "examples" / "pretrain_farl.py"
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
DISTRIBUTIONS = {"ddp": None, "zero-2": "zero2.json", "zero-3": "zero3.json"}
LOSSES = ("loss", "itc_loss", "mim_loss")


def start(flags, launcher=()):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "DS_ACCELERATOR": "cpu"}
    return subprocess.Popen(
        [sys.executable, *launcher, SCRIPT, *flags],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def losses_of(folder):
    return [[entry[name] for name in LOSSES] for entry in log_of(folder) if "loss" in entry]


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    return write_pairs(tmp_path_factory.mktemp("pairs"))


@pytest.fixture(scope="module")
def alone(faces, tmp_path_factory):
    """One process with batches of eight: two epochs of two steps."""
    folder = tmp_path_factory.mktemp("alone")
    pretrain(faces, folder, per_device_train_batch_size=8, max_steps=4)
    return folder


@pytest.mark.parametrize("distribution", ["ddp", pytest.param("zero-2", marks=pytest.mark.nightly), "zero-3"])
def test_two_processes_learn_as_one(faces, alone, tmp_path, distribution):
    config = DISTRIBUTIONS[distribution] and ROOT / "examples" / "deepspeed" / DISTRIBUTIONS[distribution]
    flags = make_flags(faces, tmp_path, max_steps=4, ddp_backend="gloo", deepspeed=config)
    if config is None:
        process = start(flags, TORCHRUN)
        _, messages = process.communicate(timeout=300)
        assert process.returncode == 0, messages[-4000:]
    else:  # without a launcher's start, which takes longer than the training
        run_together(SCRIPT, flags)
    expected = losses_of(alone)
    assert len(expected) == 4
    for actual, values in zip(losses_of(tmp_path), expected, strict=True):
        assert actual == pytest.approx(values, rel=1e-4)  # the log has five digits
    model, loading = FaRLModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not loading["missing_keys"]
    torch.testing.assert_close(
        model.visual_projection.weight, weights_of(alone)["visual_projection.weight"], rtol=1e-3, atol=1e-4
    )


def kill_after(process, path):
    """SIGKILL as soon as a file is there; the process must not have ended by itself."""
    deadline = time.monotonic() + 240
    while not path.is_file() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    process.kill()
    _, messages = process.communicate()
    assert process.returncode == -signal.SIGKILL, messages[-4000:]


@pytest.fixture
def _one_thread():
    """As in the processes that are started: sums over other numbers of threads round elsewhere."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.nightly
@pytest.mark.usefixtures("_one_thread")
def test_a_killed_run_goes_on_as_if_nothing_had_happened(faces, tmp_path):
    """Even if the kill came in the middle of a checkpoint."""
    changes = {"max_steps": 20, "save_strategy": "steps", "save_steps": 2, "ema_decay": 0.5}
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = start(make_flags(faces, killed, **changes))
    kill_after(process, killed / "checkpoint-4" / "training_weights.safetensors")
    assert not (killed / "model.safetensors").exists()
    half_written = killed / "checkpoint-18"
    half_written.mkdir()
    (half_written / "model.safetensors").write_bytes((killed / "checkpoint-2" / "model.safetensors").read_bytes()[:99])
    pretrain(faces, killed, **changes)
    pretrain(faces, whole, **changes)
    assert losses_of(killed) == losses_of(whole)
    for name, values in weights_of(whole).items():
        torch.testing.assert_close(weights_of(killed)[name], values, rtol=0, atol=0)


@pytest.mark.parametrize(
    "change", [{"learning_rate": 0.5}, {"objective": "itc"}, {"per_device_train_batch_size": 8}, {"seed": 5}]
)
def test_a_resumed_run_keeps_its_arguments(faces, unfinished, change):
    with pytest.raises(InvalidArgumentError, match=rf"{next(iter(change))}: .* -> .*--allow-changed"):
        pretrain(faces, unfinished, max_steps=2, save_strategy="steps", save_steps=1, **change)


@pytest.fixture(scope="module")
def unfinished(faces, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unfinished")
    pretrain(faces, folder, max_steps=1, save_strategy="steps", save_steps=1)
    return folder
