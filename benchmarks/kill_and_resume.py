"""Jobs killed at random moments and started again: nothing is lost, nothing half-written looks finished.

    python -m benchmarks.kill_and_resume [--moments 20] [--jobs download,convert] [--seed 0] [--json FILE]

Every job runs undisturbed twice: for the expected output, and for the time from its first write to its end. Then it is
killed (SIGKILL) at moments uniform in that time, and started again each time. Counted are

- kills: runs that were killed before they ended;
- resumed: second runs that kept finished files of the first, or fetched only what was missing;
- equal: second runs whose output is that of an undisturbed run, with nothing beside it;
- lost: kills that cost what had been there before, or after which the second run failed;
- half: kills that left a file under its final name that is not whole.

Files are compared by their bytes. Where these hold times, names of times or padding, values are compared: JSON without
`VOLATILE` entries, PyTorch's files by their tensors, videos by their frames. The encoder of videos is set to repeat
itself.

A run is a fork of this process, which has imported everything and computed nothing: imports write no files.
"""

import argparse
import contextlib
import hashlib
import importlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

os.environ |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "TOKENIZERS_PARALLELISM": "false"}
os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"

import numpy as np
import torch
from huggingface_hub import constants
from PIL import Image

from farl_hf.checkpoints import OFFICIAL_MODELS, embedded_models
from farl_hf.cli import app
from farl_hf.training.arguments import parse_script_arguments
from farl_hf.training.finetuning import run_face_training
from farl_hf.training.runs import is_finished
from farl_hf.video.video_files import _ENCODERS

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path += [str(TESTS), str(TESTS / "checkpoints")]
# The modules with which the tests make toys.
conversion_sources, face_rows, file_server, image_text_toys, laion_face_metadata, laion_shards, pretraining_runs = map(
    importlib.import_module,
    ("conversion_sources", "face_rows", "file_server", "image_text_toys", "laion_face_metadata", "laion_shards",
     "pretraining_runs"),
)  # fmt: skip
toy_checkpoints, video_files = map(importlib.import_module, ("toy_checkpoints", "video_files"))

LOOK_S = 0.001  # between two looks at the output folder
LIMIT_S = 300  # of a run
MOST_TRIES = 8  # a run may end before its moment
RELEASED = "retinaface-mobilenet"
# Entries of JSON files that tell how long something took, or what only one of two starts did.
VOLATILE = ("_runtime", "_per_second", "train_loss")
# Entries of Transformers' tokenizers that tell where they were loaded from and how they were called last.
OF_THE_CALLER = ("is_local", "local_files_only", "padding", "truncation")
WHOLE_ANYWHERE = (".safetensors", ".yaml")  # also in a checkpoint that is not finished
GROWING = ".done.jsonl"  # of lists that lines are added to; a line that is cut short is not read
UNFINISHED = (".partial", ".part", ".etag", ".lock")  # of names; no reader takes such files


@dataclass(frozen=True)
class Job:
    """One job that is killed.

    Args:
        make_inputs (`Callable`): Writes its inputs into a folder.
        run (`Callable`): Does it, from the folder of inputs into a folder.
        before (`Callable`, *optional*): Writes what an earlier run has left in the output folder.
        not_bytes (`str`): Why files are compared by their values.
        is_open (`Callable`): Whether a folder is known to be unfinished, so that its files need not be whole.
        resumed (`Callable`, *optional*): Whether the second run used the first one's work, from the inputs' folder.
    """

    make_inputs: Callable[[Path], Any]
    run: Callable[[Path, Path], Any]
    before: Callable[[Path, Path], Any] | None = None
    not_bytes: str = ""
    is_open: Callable[[Path], bool] = lambda folder: False
    resumed: Callable[[Path], bool] | None = None


# --- processes ----------------------------------------------------------------------------------------------------


def start(work: Callable[[], Any], log: Path) -> int:
    """Does some work in a fork, whose id is returned; what it prints goes to a file. Its status is the work's."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        os.setsid()
        signal.alarm(LIMIT_S)  # ends what hangs
        target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for descriptor in (1, 2):
            os.dup2(target, descriptor)
        torch.set_num_threads(1)
        try:
            work()
            status = 0
        except SystemExit as ending:
            status = int(ending.code or 0)
        except BaseException:
            import traceback

            traceback.print_exc()
        sys.stdout.flush()
    finally:
        os._exit(status)


def finish(child: int) -> int:
    """Waits for a fork; its exit status, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def do(work: Callable[[], Any], log: Path) -> None:
    """Does some work in a fork, so that this process stays as it is: without threads and files of libraries.

    Raises:
        RuntimeError: It failed; the message holds what it printed.
    """
    status = finish(start(work, log))
    if status:
        raise RuntimeError(f"status {status}: {log.read_text(errors='replace')[-3000:]}")


def has_ended(child: int) -> bool:
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def first_write(child: int, folder: Path, was: Any) -> float | None:
    """Waits until something in the folder is another; None if the process ended without that."""
    while names_in(folder) == was:
        if has_ended(child):
            return None
        time.sleep(LOOK_S)
    return time.monotonic()


def names_in(folder: Path) -> list[tuple[str, int, int]]:
    """What changes when something is written: names with file numbers and times."""
    found = []
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            with contextlib.suppress(OSError):
                status = os.lstat(os.path.join(root, name))
                found.append((os.path.join(root, name), status.st_ino, status.st_mtime_ns))
    return sorted(found)


# --- one job ------------------------------------------------------------------------------------------------------


class Bench:
    """The runs of one job in a folder of its own.

    Args:
        job ([`Job`]): The job.
        folder (`Path`): An empty folder.
    """

    def __init__(self, job: Job, folder: Path) -> None:
        self.job, self.log = job, folder / "log"
        # Every run writes to the same place, because files hold its name.
        self.inputs, self.output = folder / "inputs", folder / "output"
        self.before, self.expected = folder / "before", folder / "expected"
        self.inputs.mkdir()
        do(partial(job.make_inputs, self.inputs), self.log)
        self.output.mkdir()
        if job.before:
            do(partial(job.before, self.inputs, self.output), self.log)
        self.output.rename(self.before)
        self.seconds = float("inf")  # from the first write to the end
        faults = []
        for number in range(2):
            self.seconds = min(self.seconds, self.undisturbed_seconds())
            if number == 0:
                shutil.copytree(self.output, self.expected, symlinks=True)
            else:
                faults = self.judged("differences")
        if faults:
            raise RuntimeError(f"Two undisturbed runs differ: {faults}")

    def start(self) -> int:
        """Starts a run."""
        return start(partial(self.job.run, self.inputs, self.output), self.log)

    def renew(self) -> None:
        """Makes the output folder as it is before a run."""
        shutil.rmtree(self.output, ignore_errors=True)
        shutil.copytree(self.before, self.output, symlinks=True)

    def undisturbed_seconds(self) -> float:
        """Does a whole run; its time after the first write."""
        self.renew()
        was = names_in(self.output)
        child = self.start()
        began = first_write(child, self.output, was)
        if finish(child) or began is None:
            raise RuntimeError(f"An undisturbed run failed: {self.log.read_text(errors='replace')[-3000:]}")
        return time.monotonic() - began

    def kill_at(self, share: float) -> float | None:
        """Kills a run at a share of its time after the first write: seconds; None if it had ended."""
        self.renew()
        was = names_in(self.output)
        child = self.start()
        began = first_write(child, self.output, was)
        if began is not None:
            time.sleep(max(0.0, began + share * self.seconds - time.monotonic()))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        status = finish(child)
        if status not in (0, -signal.SIGKILL):
            raise RuntimeError(f"A run failed: {self.log.read_text(errors='replace')[-3000:]}")
        return time.monotonic() - began if status else None

    def moment(self, share: float) -> dict[str, Any]:
        """One kill and what came of it."""
        for _ in range(MOST_TRIES):
            seconds = self.kill_at(share)
            if seconds is not None:
                break
            share *= 0.7
        else:
            return {"share": share, "killed": False}
        half, lost = self.judged("half_written"), self.judged("missing")
        kept = {name: identity for name, *identity in names_in(self.output) if not is_unfinished(Path(name))}
        status = finish(self.start())
        if status:
            lost.append(f"status {status}: {self.log.read_text(errors='replace')[-600:]}")
        same = {name for name, *identity in names_in(self.output) if kept.get(name) == identity}
        made = {name for name, *identity in names_in(self.before)}
        resumed = any(
            Path(name).is_file() and str(self.before / Path(name).relative_to(self.output)) not in made
            for name in same
        )
        return {
            "share": share,
            "seconds": seconds,
            "killed": True,
            "half": half,
            "lost": lost,
            "resumed": self.job.resumed(self.inputs) if self.job.resumed else resumed,
            "different": self.judged("differences"),
        }

    def judged(self, how: str) -> list[str]:
        """Faults found by a method of this class, in a fork."""
        answer = self.output.parent / "answer"
        do(lambda: answer.write_text(json.dumps(getattr(self, how)())), self.log.with_name("log.judging"))
        return json.loads(answer.read_text())

    def half_written(self) -> list[str]:
        """Files under their final names that are neither what a whole run writes nor what was there before."""
        faults = []
        for path in files_in(self.output):
            relative = path.relative_to(self.output)
            is_open = any(self.job.is_open(parent) for parent in path.parents)
            if is_unfinished(relative) or (is_open and path.suffix not in WHOLE_ANYWHERE):
                continue
            wholes = [root / relative for root in (self.expected, self.before) if (root / relative).is_file()]
            if path.name.endswith(GROWING) and any(begins(path, whole) for whole in wholes):
                continue
            if not any(is_same(path, whole) for whole in wholes):
                faults.append(str(relative))
        return faults

    def missing(self) -> list[str]:
        """Files of an earlier run that are not there, nor kept where the next run finds them."""
        there = {path.relative_to(self.output) for path in files_in(self.output)}
        names = [path.relative_to(self.before) for path in files_in(self.before)]
        return [str(name) for name in names if name not in there and not any(kept_aside(name, one) for one in there)]

    def differences(self) -> list[str]:
        """What is missing, other, or left over after a run."""
        names = [{path.relative_to(root) for path in entries_in(root)} for root in (self.expected, self.output)]
        faults = [f"missing {name}" for name in sorted(names[0] - names[1])]
        faults += [f"left over {name}" for name in sorted(names[1] - names[0])]
        for name in sorted(names[0] & names[1]):
            where = difference(self.output / name, self.expected / name) if (self.expected / name).is_file() else None
            if where:
                faults.append(f"other {name} {where}")
        return faults


def entries_in(folder: Path) -> Iterator[Path]:
    """Files and folders below a folder; locks are not output."""
    return (path for path in folder.rglob("*") if path.suffix != ".lock" and path.name != ".locks")


def files_in(folder: Path) -> Iterator[Path]:
    return (path for path in entries_in(folder) if path.is_file())


def is_unfinished(relative: Path) -> bool:
    """Whether a name says that what it holds is not finished."""
    return any(part.endswith(UNFINISHED) for part in relative.parts) or "downloads" in relative.parts


def kept_aside(name: Path, path: Path) -> bool:
    """Whether a path is that of a file in a folder that is just being replaced."""
    return "former" in path.parts and path.parts[path.parts.index("former") + 1 :][-len(name.parts) :] == name.parts


# --- equality -----------------------------------------------------------------------------------------------------


def is_same(path: Path, whole: Path) -> bool:
    """Whether two files hold the same."""
    return difference(path, whole) is None


def begins(path: Path, whole: Path) -> bool:
    """Whether a file is the beginning of another one."""
    return whole.read_bytes().startswith(path.read_bytes())


def difference(path: Path, whole: Path) -> str | None:
    """Where two files differ; None if they hold the same."""
    if path.read_bytes() == whole.read_bytes():
        return None
    try:
        contents = [READERS[path.suffix](one) for one in (path, whole)]
    except Exception as error:  # no reader, or half a file
        return f"bytes ({type(error).__name__})"
    return difference_of_values(*map(plain, contents))


def difference_of_values(one: Any, other: Any, place: str = "") -> str | None:
    """The first place where nested values differ."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        pairs = [(f"{place}.{name}", one[name], other[name]) for name in one]
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = [(f"{place}[{number}]", *both) for number, both in enumerate(zip(one, other, strict=True))]
    else:
        return None if one == other else f"at {place}: {str(one)[:60]} and {str(other)[:60]}"
    return next((found for name, a, b in pairs if (found := difference_of_values(a, b, name))), None)


def frames_digest(path: Path) -> list[str]:
    from farl_hf.video import VideoFile

    return [hashlib.sha256(np.asarray(frame.image).tobytes()).hexdigest() for frame in VideoFile(str(path)).frames()]


READERS: dict[str, Callable[[Path], Any]] = {
    ".json": lambda path: json.loads(path.read_text()),
    ".pt": partial(torch.load, weights_only=False),
    ".pth": partial(torch.load, weights_only=False),
    ".bin": lambda path: vars(torch.load(path, weights_only=False)),
    ".mp4": frames_digest,
}


def plain(content: Any) -> Any:
    """Content that `==` compares, without what differs between equal runs."""
    if isinstance(content, dict):
        return {
            str(k): plain(v) for k, v in content.items() if not str(k).endswith(VOLATILE) and k not in OF_THE_CALLER
        }
    if isinstance(content, list | tuple):
        return [plain(value) for value in content]
    if isinstance(content, torch.Tensor):
        return plain(content.detach().numpy())
    if isinstance(content, np.ndarray):
        return [content.dtype.str, content.shape, content.tobytes()]
    return content if isinstance(content, str | int | float | bytes | None) else repr(content)


# --- the jobs -----------------------------------------------------------------------------------------------------


def command(*words: Any) -> None:
    """A command line, in this process."""
    app([str(word) for word in words])


@contextlib.contextmanager
def toy_models(folder: Path) -> Iterator[None]:
    with mock.patch.object(embedded_models, "_FOLDER", folder):
        yield


def photo(path: Path, seed: int, size_hw: tuple[int, int] = (80, 96)) -> None:
    pixels = np.random.default_rng(seed).integers(0, 255, (*size_hw, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def make_photos(inputs: Path) -> None:
    for name in ("photos", "earlier"):
        (inputs / name).mkdir()
    for number in range(6):
        photo(inputs / "photos" / f"photo-{number}.png", number)
    photo(inputs / "earlier" / "earlier.png", 99)
    toy_checkpoints.save_toy_checkpoints(inputs / "toys")


def annotate(which: str, inputs: Path, output: Path) -> None:
    # With its macroblock tree, x264 encodes the same frames in one of several ways on processors with AVX-512.
    repeatable = mock.patch.dict(_ENCODERS["libx264"], {"x264-params": "mbtree=0"})
    with toy_models(inputs / "toys"), repeatable:
        command("annotate", inputs / which, "-o", output, "--device", "cpu", "--batch-size", 2)


def make_video(inputs: Path) -> None:
    (inputs / "video").mkdir()
    video_files.write_video(inputs / "video" / "clip.mp4", [video_files.moved_face(2 * i, 10) for i in range(16)])
    (inputs / "earlier").mkdir()
    photo(inputs / "earlier" / "earlier.png", 99)
    toy_checkpoints.save_toy_checkpoints(inputs / "toys")


def make_indexed(inputs: Path) -> None:
    make_photos(inputs)
    for part in image_text_toys.make_farl():
        part.save_pretrained(inputs / "model")


def index(which: str, ending: str, inputs: Path, output: Path) -> None:
    with toy_models(inputs / "toys"):
        command(
            "index", inputs / which, "-o", output / f"faces{ending}", "--model", inputs / "model", "--batch-size", 2
        )


def make_released(inputs: Path) -> None:
    """A detector in the released format, on a server of its own process."""
    path = conversion_sources.write_plain(inputs / "weights.pth", conversion_sources.make_detector())
    (inputs / "ranges").touch()

    def serve() -> None:
        server = SlowServer(path.read_bytes(), inputs / "ranges")
        with server.running() as address:
            (inputs / "address.draft").write_text(address)
            (inputs / "address.draft").rename(inputs / "address")
            while inputs.exists():
                time.sleep(0.2)

    start(serve, inputs / "server.log")
    while not (inputs / "address").exists():
        time.sleep(0.02)


class SlowServer(file_server.FileServer):
    """A server that sends some megabytes per second, and writes down what it was asked for."""

    def __init__(self, content: bytes, ranges: Path) -> None:
        super().__init__(content)
        self.asked = ranges

    def answer(self, request: Any) -> None:
        """Sends the file, slowly."""
        with self.asked.open("a") as file:
            file.write(f"{request.headers.get('Range')}\n")
        send = request.wfile

        class Slowly:
            """Writes a little at a time."""

            def write(self, content: bytes) -> None:
                for first in range(0, len(content), 2**15):
                    send.write(content[first : first + 2**15])
                    time.sleep(0.01)

            def __getattr__(self, name: str) -> Any:
                return getattr(send, name)

        request.wfile = Slowly()
        with contextlib.suppress(ConnectionError):
            super().answer(request)


def download(inputs: Path, output: Path) -> None:
    constants.HF_HOME, constants.HF_HUB_CACHE, constants.HF_HUB_OFFLINE = str(output), str(output / "hub"), False
    address = (inputs / "address").read_text()
    OFFICIAL_MODELS[RELEASED] = replace(OFFICIAL_MODELS[RELEASED], address=address)
    with (inputs / "ranges").open("a") as file:
        file.write("start\n")
    command("download", RELEASED)


def fetched_only_what_was_missing(inputs: Path) -> bool:
    """Whether the last run asked for the rest of the file, or for nothing."""
    asked = (inputs / "ranges").read_text().rpartition("start\n")[2].split()
    return not asked or asked[0] != "None"


def make_sources(inputs: Path) -> None:
    """Two backbone files; the encoders have CLIP's vocabulary, so that writing takes a while."""
    weights = conversion_sources.make_two_towers()
    conversion_sources.write_two_towers(inputs / "new.pth", weights)
    changed = {name: value + 1 if value.is_floating_point() else value for name, value in weights.items()}
    conversion_sources.write_two_towers(inputs / "old.pth", changed)


def convert(which: str, inputs: Path, output: Path) -> None:
    command("convert", inputs / f"{which}.pth", "-o", output / "checkpoint", "--overwrite")


def make_metadata(inputs: Path) -> None:
    for part in range(3):
        laion_face_metadata.write_part(inputs / "metadata", part, count=30_000, row_group_size=4096)
    laion_face_metadata.write_ids(inputs / "ids.pth", 3, count=30_000)


def prepare(parts: str, inputs: Path, output: Path) -> None:
    metadata, ids = inputs / "metadata", inputs / "ids.pth"
    command("laion-face", "prepare", metadata, "--ids", ids, "-o", output / "meta", "--parts", parts)


def make_shards(inputs: Path) -> None:
    for shard in range(4):
        laion_shards.write_shard(inputs / "laion", shard, count=8)
    laion_shards.write_detections(inputs / "laion" / "detections", range(4), count=8)
    toy_checkpoints.save_toy_checkpoints(inputs / "toys")


def detect(which: str, inputs: Path, output: Path) -> None:
    detector = inputs / "toys" / toy_checkpoints.DEFAULT_CHECKPOINTS["face-detection"]
    command("laion-face", "detect", inputs / "laion" / which, "-o", output, "--model", detector, "-b", 4)


def make_rows(inputs: Path) -> None:
    import datasets

    rows = face_rows.make_face_dataset(12)
    faces = datasets.DatasetDict(train=rows, validation=face_rows.make_face_dataset(4, first_index=50))
    faces.save_to_disk(str(inputs / "faces"))


def train(inputs: Path, output: Path) -> None:
    words = (
        f"--config-name toy --dataset-name {inputs / 'faces'} --eval-split validation --image-size 32 --do-train "
        f"--do-eval --max-steps 40 --save-steps 5 --logging-steps 1 --per-device-train-batch-size 4 --ema-decay 0.9 "
        f"--output-dir {output / 'run'} --report-to none --disable-tqdm true --dataloader-num-workers 0"
    )
    run_face_training("attributes", *parse_script_arguments(words.split(), task="attributes"))


def pretrain(inputs: Path, output: Path) -> None:
    pretraining_runs.pretrain(
        "laion_face", output / "run", data_dir=inputs / "laion", cache_dir=output / "cache", max_steps=40,
        save_strategy="steps", save_steps=5, save_total_limit=9, shuffle_window_size=16, ema_decay=0.9,
    )  # fmt: skip


def is_unfinished_checkpoint(folder: Path) -> bool:
    """A checkpoint that the next start passes over: weights and settings are whole in it, the rest need not be."""
    return folder.name.startswith("checkpoint-") and not is_finished(folder, ema_decay=0.9)


OF_TRAINING = "times in logs and results; loss of a training's own part; padding in PyTorch's files"
JOBS = {
    "download": Job(make_released, download, resumed=fetched_only_what_was_missing),
    "convert": Job(make_sources, partial(convert, "new"), before=partial(convert, "old")),
    "annotate": Job(make_photos, partial(annotate, "photos"), before=partial(annotate, "earlier")),
    "annotate-video": Job(make_video, partial(annotate, "video"), before=partial(annotate, "earlier")),
    "index": Job(make_indexed, partial(index, "photos", ".parquet"), before=partial(index, "earlier", ".parquet")),
    "laion-prepare": Job(make_metadata, partial(prepare, "all"), before=partial(prepare, "0")),
    "laion-detect": Job(make_shards, partial(detect, "split_00000"), before=partial(detect, "split_00000/00000.tar")),
    "training": Job(make_rows, train, not_bytes=OF_TRAINING, is_open=is_unfinished_checkpoint),
    "pretraining": Job(make_shards, pretrain, not_bytes=OF_TRAINING, is_open=is_unfinished_checkpoint),
}


# --- the table ----------------------------------------------------------------------------------------------------


def kill_and_resume(name: str, num_moments: int, seed: int) -> dict[str, Any]:
    """All kills of a job."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(JOBS[name], Path(folder))
        rng = np.random.default_rng((seed, sorted(JOBS).index(name)))
        moments = [bench.moment(share) for share in rng.uniform(size=num_moments).tolist()]
    killed = [moment for moment in moments if moment["killed"]]
    return {
        "job": name,
        "seconds": bench.seconds,
        "kills": len(killed),
        "resumed": sum(moment["resumed"] for moment in killed),
        "equal": sum(not moment["different"] for moment in killed),
        "lost": sum(bool(moment["lost"]) for moment in killed),
        "half": sum(bool(moment["half"]) for moment in killed),
        "moments": moments,
    }


COLUMNS = ("kills", "resumed", "equal", "lost", "half")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moments", type=int, default=20, help="Kills of each job.")
    parser.add_argument("--jobs", default=",".join(JOBS), help="Some of the jobs, separated by commas.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="Also write every kill to this file.")
    arguments = parser.parse_args()
    rows = []
    print(f"| job | s | {' | '.join(COLUMNS)} | compared by values because of |\n|{'---|' * 8}", flush=True)
    for name in arguments.jobs.split(","):
        rows.append(kill_and_resume(name, arguments.moments, arguments.seed))
        counts = " | ".join(str(rows[-1][column]) for column in COLUMNS)
        print(f"| {name} | {rows[-1]['seconds']:.2f} | {counts} | {JOBS[name].not_bytes} |", flush=True)
    for row in rows:
        for moment in row["moments"]:
            for kind in ("half", "lost", "different"):
                for fault in moment.get(kind, ()):
                    print(f"{row['job']}, killed at {moment['share']:.3f}: {kind}: {fault}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"seed": arguments.seed, "jobs": rows}, indent=1) + "\n")
    faults = sum(row["kills"] - row["equal"] + row["lost"] + row["half"] for row in rows)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
