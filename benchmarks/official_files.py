"""Files in the released formats and sizes with random weights, and the checkpoints converted from them.

The tests write such files in small. Here the networks have their real sizes, ViT-B/16 at 448 pixels and a head of 768
channels. So both libraries of a comparison read the same weights, each in its own format.
"""

import importlib
import sys
from pathlib import Path

from benchmarks.conversion_cost import write_backbone
from farl_hf.conversion import convert_checkpoint

FULL_ENCODER = {"width": 768, "depth": 12, "projection": 512}
# "small": the tests' own, for trying a benchmark out. facer's landmark model takes the full encoder only.
SIZES = {
    "full": {"parsing": {"sizes": FULL_ENCODER, "head_channels": 768}, "landmarks": {"head_channels": 768}},
    "small": {"parsing": {}, "landmarks": {}},
}
NUM_LANDMARKS = 98


def prepare(folder: Path, kinds: list[str], size: str = "full") -> None:
    """Write `<kind><ending>` and `<kind>-converted` for each kind, unless they are there.

    Args:
        folder (`Path`): Where.
        kinds (`list[str]`): Some of `WRITERS`.
        size (`str`): Some of `SIZES`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for kind in kinds:
        source, converted = source_path(folder, kind), converted_path(folder, kind)
        if not source.exists():
            unfinished = source.with_name("unfinished-" + source.name)
            WRITERS[kind](unfinished, size)
            unfinished.replace(source)
        if not converted.exists():
            convert_checkpoint(source, converted)


def source_path(folder: Path, kind: str) -> Path:
    """The file of a kind in the released format; facer tells an archive by `jit` in its name."""
    return folder / {"parsing": "parsing_jit.pt", "landmarks": "landmarks_jit.pt"}.get(kind, f"{kind}.pth")


def converted_path(folder: Path, kind: str) -> Path:
    """The checkpoint folder made of it."""
    return folder / f"{kind}-converted"


def _write_parsing(path, size):
    sources = _test_sources()
    sources.write_parsing(path, sources.make_parsing_network(11, 448, **SIZES[size]["parsing"]), out_size=(512, 512))


def _write_landmarks(path, size):
    sources = _test_sources()
    sources.write_landmarks(
        path, sources.make_landmark_network(NUM_LANDMARKS, 448, FULL_ENCODER, **SIZES[size]["landmarks"])
    )


def _write_detector(path, size):
    sources = _test_sources()
    sources.write_plain(path, sources.make_detector())


def _write_encoders(path, size):
    write_backbone(path)


WRITERS = {
    "parsing": _write_parsing,
    "landmarks": _write_landmarks,
    "detector": _write_detector,
    "encoders": _write_encoders,
}


def _test_sources():
    """The module with which the tests write such files."""
    tests = Path(__file__).resolve().parents[1] / "tests"
    if str(tests) not in sys.path:
        sys.path.append(str(tests))
    return importlib.import_module("conversion_sources")
