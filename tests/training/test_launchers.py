"""What starts several processes: commands of Accelerate and DeepSpeed with the shipped files, and what is refused."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import datasets
import pytest
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from face_rows import make_face_dataset
from launched_scripts import run_together
from safetensors.torch import load_file

from farl_hf.errors import InvalidArgumentError
from farl_hf.training.arguments import FaRLTrainingArguments
from farl_hf.training.runs import check_launcher

EXAMPLES = Path(__file__).parents[2] / "examples"
SCRIPT = EXAMPLES / "train_face_parsing.py"
ZERO_2 = EXAMPLES / "deepspeed" / "zero2.json"


@pytest.fixture(scope="module")
def flags(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faces")
    datasets.DatasetDict(train=make_face_dataset(8)).save_to_disk(str(folder))
    settings = {
        "config_name": "toy", "dataset_name": folder, "image_size": 32, "augmentation": "none", "do_train": True,
        "max_steps": 2, "per_device_train_batch_size": 2, "dataloader_num_workers": 0, "report_to": "none",
        "ddp_backend": "gloo", "disable_tqdm": True, "save_strategy": "no",
    }  # fmt: skip
    return [str(part) for name, value in settings.items() for part in (f"--{name}", value)]


def launch(*command):
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", *map(str, command)],
        env=environment, cwd=EXAMPLES.parent, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def arguments_with(**changes):
    return FaRLTrainingArguments(output_dir="unused", report_to="none", use_cpu=True, **changes)


def refused(arguments, *messages):
    with pytest.raises(InvalidArgumentError) as error:
        check_launcher(arguments)
    assert all(message in str(error.value) for message in messages), error.value


def test_deepspeed_without_a_launcher_is_refused(monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    refused(arguments_with(deepspeed=str(ZERO_2)), "zero2.json", "torchrun", "examples/accelerate/zero2.yaml")


def test_deepspeed_that_accelerate_leaves_out_is_refused(monkeypatch):
    arguments = arguments_with(deepspeed=str(ZERO_2))
    monkeypatch.setenv("LOCAL_RANK", "0")
    check_launcher(arguments)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    refused(arguments, "zero2.json", "accelerate launch --cpu", "without --cpu")


def test_fsdp_without_accelerators_is_refused():
    refused(arguments_with(fsdp=True), "--fsdp", "examples/accelerate/fsdp.yaml")


@pytest.mark.nightly
def test_accelerate_launch_starts_deepspeed(flags, tmp_path):
    """Two processes with the shipped file; the run's record says that DeepSpeed was active."""
    config = EXAMPLES / "accelerate" / "zero2.yaml"
    finished = launch(
        "accelerate.commands.launch", "--config_file", config, "--num_processes", "2",
        SCRIPT, *flags, "--output_dir", tmp_path, "--save_strategy", "steps", "--save_steps", "2",
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr[-4000:]
    optimizer_states = list((tmp_path / "checkpoint-2").rglob("*_optim_states.pt"))
    assert len(optimizer_states) == 2  # divided between two processes
    assert load_file(tmp_path / "model.safetensors")


@pytest.mark.parametrize("name", ["zero1", "zero2", "zero3"])
def test_accelerate_launch_needs_no_ssh_on_several_machines(name):
    """Accelerate's default for DeepSpeed is a launcher that logs in to the other machines."""
    words = ["--config_file", EXAMPLES / "accelerate" / f"{name}.yaml", "--num_machines", "4", "--num_processes", "32"]
    arguments = launch_command_parser().parse_args([*map(str, words), str(SCRIPT)])
    assert _validate_launch_command(arguments)[0].deepspeed_multinode_launcher == "standard"


@pytest.mark.nightly
def test_accelerate_launch_on_cpus_with_deepspeed_says_why_not(flags, tmp_path):
    flags = flags[: flags.index("--ddp_backend")] + flags[flags.index("--ddp_backend") + 2 :]  # alone it has none
    finished = launch(
        "accelerate.commands.launch", "--cpu", "--num_processes", "2",
        SCRIPT, *flags, "--output_dir", tmp_path, "--deepspeed", ZERO_2,
    )  # fmt: skip
    assert finished.returncode != 0
    assert "accelerate launch --cpu" in finished.stderr
    assert not (tmp_path / "model.safetensors").exists()


@pytest.mark.parametrize(
    "name",
    [
        "zero1",
        # DeepSpeed first builds its optimizer for processors, which takes minutes.
        pytest.param("zero2_offload", marks=pytest.mark.nightly),
        pytest.param("zero3_offload", marks=pytest.mark.nightly),
    ],
)
def test_two_processes_train_with_every_shipped_configuration(flags, tmp_path, name):
    """ZeRO-2 and 3 themselves are compared with one process elsewhere."""
    config = EXAMPLES / "deepspeed" / f"{name}.json"
    offloaded = "offload_optimizer" in json.loads(config.read_text())["zero_optimization"]
    assert offloaded == name.endswith("offload")
    run_together(SCRIPT, [*flags, "--output_dir", tmp_path, "--deepspeed", config, "--logging_steps", "1"])
    losses = [
        entry["loss"]
        for entry in json.loads((tmp_path / "trainer_state.json").read_text())["log_history"]
        if "loss" in entry
    ]
    assert len(losses) == 2
    weights = load_file(tmp_path / "model.safetensors")
    assert weights["head.classifier.weight"].isfinite().all()


@pytest.mark.nightly
@pytest.mark.parametrize("launcher", ["torchrun", "accelerate"])
def test_two_machines_of_two_processes_train_together(launcher, flags, tmp_path):
    """As two machines would, each with its own launcher; here both are this one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    start = {
        "torchrun": "torch.distributed.run --nnodes 2 --nproc_per_node 2"
        f" --master_addr 127.0.0.1 --master_port {port} --node_rank",
        "accelerate": "accelerate.commands.launch --config_file examples/accelerate/zero2.yaml --num_machines 2"
        f" --num_processes 4 --main_process_ip 127.0.0.1 --main_process_port {port} --machine_rank",
    }[launcher]
    script = [SCRIPT, *flags, "--output_dir", tmp_path]
    script += ["--deepspeed", ZERO_2] if launcher == "torchrun" else []
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"}
    logs = [tmp_path / f"machine_{rank}.txt" for rank in range(2)]  # a full pipe would stop its machine
    machines = []
    try:
        for rank, log in enumerate(logs):
            command = list(map(str, [sys.executable, "-m", *start.split(), rank, *script]))
            with log.open("w") as file:
                machines.append(
                    subprocess.Popen(command, env=environment, cwd=EXAMPLES.parent, stdout=file, stderr=file)
                )
        for machine, log in zip(machines, logs, strict=True):
            assert machine.wait(timeout=400) == 0, log.read_text()[-4000:]
    finally:
        for machine in machines:
            machine.terminate()  # ends its processes too
    assert load_file(tmp_path / "model.safetensors")["head.classifier.weight"].isfinite().all()


@pytest.mark.nightly
def test_the_launcher_of_deepspeed(flags, tmp_path):
    finished = launch(
        "deepspeed.launcher.runner", "--num_gpus", "2", SCRIPT, *flags, "--output_dir", tmp_path, "--deepspeed", ZERO_2
    )
    assert finished.returncode == 0, finished.stderr[-4000:]
    assert load_file(tmp_path / "model.safetensors")
