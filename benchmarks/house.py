"""Size of the code, and how many files run for one photo, one training step and one step of pre-training.

    python -m benchmarks.house [--list]

A file counts if one of its functions runs within the measured window; code that runs while a module is imported does
not count. The window of a photo is `pipe(photo)`, after a first call that loads everything. The window of a step is
a script of `examples/` with a toy network, from its arguments over the data set to the end of the training loop after
one step; a second figure counts to the end of the script, with the model card that it writes. mypy runs where it is
installed.
"""

import argparse
import contextlib
import importlib.util
import inspect
import os
import re
import runpy
import subprocess
import sys
import tempfile
import threading
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

import farl_hf

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path(farl_hf.__file__).parent
RENDERER = ("data/face_renderer", "face_renderer")  # counted apart, wherever it lies
POINTS_5_XY = [[205.0, 110.0], [245.0, 108.0], [228.0, 132.0], [210.0, 150.0], [242.0, 149.0]]
BOX_XYXY = [170.0, 60.0, 275.0, 185.0]
STEP = {
    **{"config_name": "toy", "image_size": 32, "do_train": True, "max_steps": 1, "save_strategy": "no"},
    **{"per_device_train_batch_size": 2, "dataloader_num_workers": 0, "report_to": "none", "disable_tqdm": True},
}


class FilesRun:
    """Collects the files of the package whose functions are executed, in every thread, while `counting`."""

    def __init__(self) -> None:
        self.files: set[str] = set()

    @contextlib.contextmanager
    def counting(self) -> Iterator[None]:
        """A window in which files count."""
        threading.settrace(self._see)
        sys.settrace(self._see)
        try:
            yield
        finally:
            sys.settrace(None)
            threading.settrace(None)  # type: ignore[arg-type]

    def _see(self, frame, event, argument):
        code = frame.f_code
        if code.co_flags & inspect.CO_OPTIMIZED and _is_own(code):  # module and class bodies are not optimised
            path = Path(code.co_filename).relative_to(PACKAGE).as_posix()
            if path not in self.files and not _is_importing(frame):
                self.files.add(path)


def _is_own(code: types.CodeType) -> bool:
    return code.co_filename.startswith(f"{PACKAGE}{os.sep}")


def _is_importing(frame: types.FrameType | None) -> bool:
    """Whether a module of the package is being executed around this frame."""
    while frame is not None:
        if frame.f_code.co_name == "<module>" and _is_own(frame.f_code):
            return True
        frame = frame.f_back
    return False


def read_photo() -> Image.Image:
    """The astronaut of scikit-image."""
    from skimage import data

    return Image.fromarray(data.astronaut())


def files_of_a_photo() -> set[str]:
    """Files that run from a photo to its label map."""
    from transformers import pipeline

    run, parse, photo = FilesRun(), pipeline("face-parsing"), read_photo()
    parse(photo)
    with run.counting():
        parse(photo)
    return run.files


def files_of_a_step(script: str, flags: dict) -> tuple[set[str], set[str]]:
    """Files that run when a script trains for one step: until the step is done, and until the script ends."""
    words = [str(word) for name, value in (STEP | flags).items() for word in (f"--{name}", value)]
    run, before, sys.argv = FilesRun(), sys.argv, [script, *words]
    try:
        with run.counting(), _noting_the_end_of_the_loop(run) as until_the_step:
            runpy.run_path(str(ROOT / "examples" / script), run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise
    finally:
        sys.argv = before
    return until_the_step, run.files


@contextlib.contextmanager
def _noting_the_end_of_the_loop(run: FilesRun) -> Iterator[set[str]]:
    """Gives a set that gets the files which have run when the training loop ends."""
    from transformers import Trainer

    loop = Trainer._inner_training_loop
    files: set[str] = set()

    def loop_then_note(*args, **kwargs):
        result = loop(*args, **kwargs)
        files.update(run.files)
        return result

    Trainer._inner_training_loop = loop_then_note
    try:
        yield files
    finally:
        Trainer._inner_training_loop = loop


def files_of_a_lapa_step(folder: Path) -> tuple[set[str], set[str]]:
    """Files that run from LaPa's samples to a training step of the parser, and to the end of the script."""
    for split in ("train", "val", "test"):
        for kind in ("images", "labels", "landmarks"):
            (folder / "LaPa" / split / kind).mkdir(parents=True)
        for number in range(2):
            read_photo().save(folder / "LaPa" / split / "images" / f"{number}.jpg")
            label_map = Image.new("L", read_photo().size)
            label_map.paste(1, tuple(map(int, BOX_XYXY)))
            label_map.save(folder / "LaPa" / split / "labels" / f"{number}.png")
            points_xy = np.linspace(BOX_XYXY[:2], BOX_XYXY[2:], 106)
            # Eyes, nose and corners of the mouth, from which the alignment follows.
            points_xy[[104, 105, 54, 84, 90]] = POINTS_5_XY
            lines = ["106", *(f"{x} {y}" for x, y in points_xy)]
            (folder / "LaPa" / split / "landmarks" / f"{number}.txt").write_text("\n".join(lines) + "\n")
    data = {"dataset_name": "lapa", "data_dir": folder / "LaPa", "cache_dir": folder / "cache"}
    return files_of_a_step("train_face_parsing.py", data | {"output_dir": folder / "parsing"})


def files_of_a_pretraining_step(folder: Path) -> tuple[set[str], set[str]]:
    """Files that run until a step of pre-training on two pairs is done, and to the end of the script."""
    import datasets

    row = {"image": read_photo(), "boxes_xyxy": [BOX_XYXY], "points5_xy": [POINTS_5_XY]}
    captions = ["a photo of a smiling astronaut", "a woman in an orange suit before a flag"]
    rows = datasets.Dataset.from_list([row | {"caption": caption, "index": i} for i, caption in enumerate(captions)])
    pairs = rows.cast_column("image", datasets.Image())
    datasets.DatasetDict(train=pairs).save_to_disk(str(folder / "pairs"))
    flags = {
        **{"dataset_name": folder / "pairs", "tokenizer_name": "captions", "tokenizer_vocab_size": 530},
        **{"max_text_tokens": 12, "visual_tokenizer": "kmeans", "visual_vocab_size": 4, "visual_tokenizer_samples": 2},
        **{"face_template": "lapa", "output_dir": folder / "pretraining", "warmup_steps": 0},
    }
    return files_of_a_step("pretrain_farl.py", flags)


def count_sources() -> tuple[int, int]:
    """Python files under src, and their lines without those of the renderer."""
    paths = sorted((ROOT / "src").rglob("*.py"))
    rest = [path for path in paths if not path.relative_to(PACKAGE).as_posix().startswith(RENDERER)]
    return len(paths), sum(len(path.read_text(encoding="utf-8").splitlines()) for path in rest)


def count_own_arguments() -> int:
    """Arguments that FaRLConfig has besides those of Transformers' configurations."""
    parameters = inspect.signature(farl_hf.FaRLConfig.__init__).parameters.values()
    return sum(one.name != "self" and one.kind != inspect.Parameter.VAR_KEYWORD for one in parameters)


def count_type_errors() -> int | None:
    """Errors of mypy with bodies of unannotated functions checked; `None` where it is not installed."""
    if importlib.util.find_spec("mypy") is None:
        return None
    command = [sys.executable, "-m", "mypy", "src", "--check-untyped-defs"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):  # 1: there are errors
        raise RuntimeError(f"mypy did not end: {done.stdout[-1000:]}{done.stderr[-1000:]}")
    found = re.search(r"Found (\d+) errors?", done.stdout)
    return int(found[1]) if found else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="Name the files that run, too.")
    arguments = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    with tempfile.TemporaryDirectory() as name, contextlib.redirect_stdout(sys.stderr):
        folder = Path(name)
        files_run = {"files run from a photo to its label map": files_of_a_photo()}
        for what, (until_the_step, to_the_end) in {
            "files run from a LaPa sample to a training step": files_of_a_lapa_step(folder),
            "files run in a step of pre-training": files_of_a_pretraining_step(folder),
        }.items():
            files_run |= {what: until_the_step, f"{what}, and to the end of the script": to_the_end}
    files, lines = count_sources()
    errors = count_type_errors()
    figures = {what: len(paths) for what, paths in files_run.items()} | {
        "Python files under src": files,
        "lines under src, without the face renderer": lines,
        "own arguments of FaRLConfig": count_own_arguments(),
        "mypy errors, with check_untyped_defs": "not installed" if errors is None else errors,
    }
    print("| figure | value |\n|---|---|")
    for what, value in figures.items():
        print(f"| {what} | {value} |")
    for what, paths in files_run.items() if arguments.list else ():
        print(f"\n{what}:", *sorted(paths), sep="\n  ")


if __name__ == "__main__":
    main()
