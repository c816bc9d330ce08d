"""Label maps, rows, and folders of published data sets."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch

from benchmarks.faults import materials
from benchmarks.faults.cases import Case, Draw, kind
from benchmarks.faults.judging import Outcome, command, equals, gives, gives_or_refused, half_written, refused
from benchmarks.faults.materials import encoded, written
from farl_hf import FaRLImageProcessor
from farl_hf.data.datasets.raw_folders import check_row
from farl_hf.data.samples.face_samples import FaceSamples
from farl_hf.photos import decode_map


def maps_of_every_kind(ids: np.ndarray) -> dict[str, tuple[bytes, np.ndarray]]:
    """Files of label maps, and the ids in them."""
    palette = PIL.Image.fromarray(ids)
    palette.putpalette(np.random.default_rng(0).integers(0, 256, 768, dtype=np.uint8).tobytes())
    greys = PIL.Image.fromarray(ids)
    greys.putpalette(np.repeat(np.arange(256, dtype=np.uint8)[::-1], 3).tobytes())
    few = ids % 2
    with_alpha = PIL.Image.merge("LA", [PIL.Image.fromarray(ids), PIL.Image.new("L", ids.shape[::-1], 255)])
    return {
        "grey PNG": (encoded(ids, "PNG"), ids),
        "1 bit PNG": (encoded(PIL.Image.fromarray(few.astype(bool)), "PNG"), few),
        "1 bit BMP": (encoded(PIL.Image.fromarray(few.astype(bool)), "BMP"), few),
        "palette PNG": (encoded(palette, "PNG"), ids),
        "palette GIF": (encoded(palette, "GIF", optimize=False), ids),
        "palette of greys": (encoded(greys, "PNG"), ids),
        "palette BMP": (encoded(palette, "BMP"), ids),
        "2 bit palette": (encoded(_of_colours(ids % 4), "PNG", bits=2), ids % 4),
        "16 bit PNG": (encoded(PIL.Image.fromarray(ids.astype(np.uint16)), "PNG"), ids),
        "16 bit TIFF": (encoded(PIL.Image.fromarray(ids.astype(np.uint16)), "TIFF"), ids),
        "32 bit TIFF": (encoded(PIL.Image.fromarray(ids.astype(np.int32)), "TIFF"), ids),
        "grey BMP": (encoded(ids, "BMP"), ids),
        "grey TIFF": (encoded(ids, "TIFF"), ids),
        "PGM": (encoded(ids, "PPM"), ids),
        "opaque alpha": (encoded(with_alpha, "PNG"), ids),
    }


def _of_colours(ids: np.ndarray) -> PIL.Image.Image:
    picture = PIL.Image.fromarray(ids)
    picture.putpalette([10, 20, 30, 200, 150, 100, 3, 2, 1, 90, 80, 70])
    return picture


def some_ids(draw: Draw, most: int = 10) -> np.ndarray:
    """A label map, (height, width)."""
    return draw.rng.integers(0, most + 1, (draw.whole(8, 30), draw.whole(8, 30)), dtype=np.uint8)


@kind("label maps", count=30)
def label_map_of_every_kind(draw: Draw) -> Case:
    maps = maps_of_every_kind(some_ids(draw))
    way = draw.each(list(maps))
    content, ids = maps[way]
    path = written(draw.folder / "map.png", content)
    sources: dict[str, Callable[[], Any]] = {
        "path": lambda: {"path": str(path), "bytes": None},
        "bytes": lambda: {"path": None, "bytes": content},
        "PIL": lambda: PIL.Image.open(path),
        "decoded PIL": lambda: PIL.Image.open(path).copy(),
    }
    source = draw.any(list(sources)[: 4 if "bit" not in way else 3])
    return Case(f"{way} by {source}", lambda: decode_map(sources[source]()), gives_or_refused(equals(ids)))


@kind("label maps", count=14)
def label_map_in_memory(draw: Draw) -> Case:
    ids = some_ids(draw)
    ways: dict[str, Any] = {
        "uint8": ids,
        "int64": ids.astype(np.int64),
        "bool": ids > 3,
        "one channel": ids[..., None],
        "tensor": torch.from_numpy(ids),
        "Fortran": np.asfortranarray(ids),
        "read backwards": ids[:, ::-1].copy()[:, ::-1],
        "PIL L": PIL.Image.fromarray(ids),
        "big-endian": ids.astype(">u2"),
        "PIL I;16": PIL.Image.fromarray(ids.astype(np.uint16)),
    }
    way = draw.each(list(ways))
    return Case(way, lambda: decode_map(ways[way]), gives(equals(ids > 3 if way == "bool" else ids)))


@kind("label maps", count=22)
def label_map_that_is_none(draw: Draw) -> Case:
    ids = some_ids(draw)
    colours = np.stack([ids, ids * 3, 255 - ids], -1)
    ways: dict[str, Any] = {
        "RGB": colours,
        "RGB PNG": {"bytes": encoded(colours, "PNG")},
        "JPEG": {"bytes": encoded(colours, "JPEG")},
        "floats": ids / 255,
        "NaN": ids * np.nan,
        "ids of 300": ids.astype(np.int32) + 300,
        "negative": ids.astype(np.int64) - 20,
        "deep": {"bytes": encoded(PIL.Image.fromarray(ids.astype(np.uint16) * 257 + 300), "PNG")},
        "half transparent": {
            "bytes": encoded(PIL.Image.merge("LA", [PIL.Image.fromarray(ids), PIL.Image.fromarray(ids * 9)]), "PNG")
        },
        "texts": ids.astype(str),
        "None": None,
        "one axis": ids.ravel(),
        "four axes": ids[None, None],
        "cut": {"bytes": encoded(ids, "PNG")[:40]},
        "empty": {"bytes": b""},
        "garbage": {"bytes": draw.rng.bytes(50)},
        "missing": {"path": "missing.png", "bytes": None},
        "complex": ids * 1j,
        "objects": ids.astype(object),
        "a number": 3,
        "PIL F": PIL.Image.fromarray(ids.astype(np.float32)),
        "PostScript": {"bytes": encoded(ids, "EPS")},
    }
    way = draw.each(list(ways))
    return Case(way, lambda: decode_map(ways[way]), refused())


@kind("label maps", count=12)
def row_that_contradicts_itself(draw: Draw) -> Case:
    height, width = draw.whole(9, 20), draw.whole(21, 30)
    photo, ids = (
        draw.rng.integers(0, 256, (height, width, 3), dtype=np.uint8),
        draw.rng.integers(0, 11, (height, width), dtype=np.uint8),
    )
    wrong: dict[str, np.ndarray] = {
        "turned": ids.T,
        "smaller": ids[1:],
        "wider": np.pad(ids, ((0, 0), (0, 1))),
        "a class too many": ids + 9,
        "255": ids | 255,
        "half": ids[::2, ::2],
    }
    way = draw.each(list(wrong))
    row = {
        "image": {"bytes": encoded(photo, "PNG"), "path": "a.png"},
        "label_map": {"bytes": encoded(np.ascontiguousarray(wrong[way]), "PNG"), "path": "b.png"},
    }
    if draw.number % 2:
        return Case(way, lambda: check_row(row, 11), refused())
    face = {"boxes_xyxy": [[1, 1, 18, 9]], "points5_xy": [[[3, 3], [14, 3], [9, 5], [4, 8], [13, 8]]]}
    samples = FaceSamples([row | face], FaRLImageProcessor(size=16), "parsing", min_face_px=1)
    return Case(f"{way} in training", lambda: samples[0], refused())


@kind("label maps", count=20)
def annotations_that_no_face_has(draw: Draw) -> Case:
    photo = {"bytes": encoded(draw.rng.integers(0, 256, (60, 44, 3), dtype=np.uint8), "PNG"), "path": "a.png"}
    good: dict[str, Any] = {
        "boxes_xyxy": [[5, 8, 35, 50]],
        "points5_xy": [[[10, 20], [30, 20], [20, 30], [12, 42], [28, 42]]],
        "landmarks_xy": [[[20, 20]] * 68],
        "attributes": [[1] * 40],
        "label_map": {"bytes": encoded(np.ones((60, 44), np.uint8), "PNG")},
    }
    nan = float("nan")
    changes: dict[str, tuple[str, dict[str, Any]]] = {
        "box far away": ("parsing", {"boxes_xyxy": [[5000, 0, 6000, 900]]}),
        "NaN points": ("parsing", {"points5_xy": [[[nan, nan]] * 5]}),
        "NaN landmarks": ("landmarks", {"landmarks_xy": [[[nan, nan]] * 68]}),
        "landmarks far away": ("landmarks", {"landmarks_xy": [[[9999, 9999]] * 68]}),
        "attribute 7": ("attributes", {"attributes": [[7] * 40]}),
        "attribute -1": ("attributes", {"attributes": [[-1] * 40]}),
        "attributes unknown": ("attributes", {"attributes": [[-100] * 40]}),
        "no faces": ("landmarks", {"boxes_xyxy": [], "points5_xy": [], "landmarks_xy": [], "attributes": []}),
        "ids all 255": ("parsing", {"label_map": {"bytes": encoded(np.full((60, 44), 255, np.uint8), "PNG")}}),
        "points four": ("parsing", {"points5_xy": [[[1, 2]] * 4]}),
        "box of three": ("parsing", {"boxes_xyxy": [[1, 2, 3]]}),
        "None": ("parsing", {"points5_xy": None}),
        "texts": ("landmarks", {"landmarks_xy": [[["a", "b"]] * 68]}),
        "two faces, one box": ("landmarks", {"points5_xy": good["points5_xy"] * 2}),
        "one place": ("parsing", {"points5_xy": [[[20, 20]] * 5]}),
        "infinite box": ("parsing", {"boxes_xyxy": [[0, 0, float("inf"), 9]]}),
        "turned box": ("parsing", {"boxes_xyxy": [[30, 40, 10, 20]]}),
        "no photo": ("landmarks", {"image": None}),
        "cut photo": ("landmarks", {"image": {"bytes": photo["bytes"][:100], "path": "a.png"}}),
        "no label map": ("parsing", {"label_map": None}),
    }
    way = draw.each(list(changes))
    task, change = changes[way]
    alignment = "box" if "box" in way else "points"
    rows = [{"image": photo} | good | change]

    def run() -> Any:
        return FaceSamples(rows, FaRLImageProcessor(size=16), task, alignment=alignment, min_face_px=1)[0]

    return Case(f"{way} of {task}", run, refused())


DATA_SETS = ("lapa", "celebamask_hq", "celeba", "lfwa", "w300", "wflw", "aflw19", "widerface")


def raw_folder(draw: Draw, name: str) -> Path:
    """A small folder of a published data set, in a layout by chance."""
    layouts = materials.test_module("raw_layouts").WRITERS
    _, config = draw.any([key for key in layouts if key[0] == name])
    folder = draw.folder / "raw"
    layouts[name, config](folder)
    return folder


def config_of(folder: Path, name: str) -> list[str]:
    """The option for the layout that was written."""
    configs = {"wflw": ("original", "WFLW_annotations"), "widerface": ("original", "wider_face_split")}
    config, sign = configs.get(name, ("", "-"))
    return ["--config", config] if (folder / sign).exists() else []


@kind("data folders", count=48, seconds=120)
def damaged_folder_of_a_data_set(draw: Draw) -> Case:
    name = draw.each(DATA_SETS)
    folder = raw_folder(draw, name)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    texts = [path for path in files if path.suffix in (".txt", ".csv", ".mat")]
    path = draw.any(texts if draw.whole(0, 3) else files)
    content, way = (
        path.read_bytes(),
        draw.any(
            ["missing", "empty", "cut", "garbage", "a line", "numbers are words", "a folder", "not UTF-8", "NaN"]
        ),
    )
    if way in ("missing", "a folder"):
        path.unlink()
    changed = {
        "empty": b"",
        "cut": content[: draw.whole(1, max(1, len(content) - 2))],
        "garbage": draw.rng.bytes(200),
        "a line": content.split(b"\n")[0],
        "numbers are words": content.replace(b"1", b"one"),
        "not UTF-8": content[:30] + b"\xff\xfe" + content[30:],
        "NaN": content.replace(b"1", b"nan"),
    }
    if way == "a folder":
        path.mkdir()
    elif way in changed:
        path.write_bytes(changed[way])
    words = ["data", draw.any(["check", "convert"]), name, folder, *config_of(folder, name)]
    words += ["-o", draw.folder / "out"] if words[1] == "convert" else []

    def check(outcome: Outcome) -> str:  # numbers that were cut or exchanged may still be numbers
        return half_written(draw.folder / "out")

    return Case(
        f"{path.relative_to(folder)} of {name}: {way}, {words[1]}",
        lambda: command(*words),
        gives_or_refused(check),
        lambda: half_written(draw.folder / "out"),
    )


@kind("data folders", count=10, seconds=120)
def folder_of_nothing(draw: Draw) -> Case:
    name, other = draw.any(DATA_SETS), draw.any(DATA_SETS)
    folder = draw.folder / "raw"
    way = draw.each(["empty", "a file", "missing", "another data set", "only folders", "a loop", "an archive"])
    if way == "another data set" and other != name:
        raw_folder(draw, other)
    elif way in ("a file", "an archive"):
        written(folder if way == "a file" else draw.folder / "raw.tar.gz", b"x")
    elif way == "only folders":
        (folder / "train" / "images").mkdir(parents=True)
    elif way == "a loop":
        folder.mkdir()
        (folder / "loop").symlink_to(folder)
    elif way != "missing":
        folder.mkdir()
    words = draw.any([["data", "check", name, folder], ["data", "convert", name, folder, "-o", draw.folder / "out"]])
    return Case(f"{way} for {name}, {words[1]}", lambda: command(*words), refused())


@kind("data folders", count=10, seconds=120)
def folder_that_is_no_data_set(draw: Draw) -> Case:
    """What `evaluate`, `index` and the trainings take for a data set that was saved."""
    folder = draw.folder / "rows"
    way = draw.each(
        [
            "state missing",
            "state garbage",
            "table cut",
            "table missing",
            "empty",
            "info garbage",
            "dict garbage",
            "other columns",
            "a file",
            "no rows",
        ]
    )
    if way == "a file":
        written(folder, b"x")
    elif way == "empty":
        folder.mkdir()
    elif way in ("other columns", "no rows"):
        import datasets

        rows = datasets.Dataset.from_dict({"a": [1, 2]} if way == "other columns" else {"image": [], "label_map": []})
        datasets.DatasetDict(validation=rows).save_to_disk(str(folder))
    else:
        shutil.copytree(materials.rows_folder(), folder)
        file = {
            "state": "validation/state.json",
            "info": "validation/dataset_info.json",
            "dict": "dataset_dict.json",
        }.get(way.split()[0])
        path = folder / file if file else next((folder / "validation").glob("*.arrow"))
        if "missing" in way:
            path.unlink()
        else:
            path.write_bytes(draw.rng.bytes(60) if "garbage" in way else path.read_bytes()[:500])
    words = [
        "evaluate",
        materials.checkpoints()["face-parsing"],
        folder,
        "--split",
        "validation",
        "-o",
        draw.folder / "out",
    ]
    return Case(way, lambda: command(*words), refused())
