"""Faces handed to `farl_hf.outputs`: entries that no pipeline answers, and right ones in other types and orders."""

import json
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.faults.cases import Case, Draw, kind
from benchmarks.faults.commands import toy_command
from benchmarks.faults.judging import gives, refused, same, snapshot
from benchmarks.faults.materials import encoded, written
from farl_hf import outputs

NAN = float("nan")
SIZE_HW = (48, 40)
LABELS = {0: "background", 1: "skin", 2: "hair", 5: "hat"}


def photo(draw: Draw) -> np.ndarray:
    """A photo (48, 40)."""
    return draw.rng.integers(0, 256, (*SIZE_HW, 3), dtype=np.uint8)


def face(draw: Draw) -> dict[str, Any]:
    """A face with all that pipelines answer."""
    label_map = np.kron(draw.rng.choice(list(LABELS), (6, 5)), np.ones((8, 8))).astype(np.uint8)
    label_map[:8, :32] = np.repeat(list(LABELS), 8)
    return {
        "score": 0.5,
        "box": {"xmin": 5.0, "ymin": 6.0, "xmax": 35.0, "ymax": 42.0},
        "keypoints": [[12.0, 18.0], [28.0, 18.5], [20.0, 26.0], [14.0, 34.0], [27.0, 33.0]],
        "segmentation": Image.fromarray(label_map),
        "labels": LABELS,
        "landmarks": draw.rng.uniform(8, 34, (7, 2)).tolist(),
        "attributes": [{"label": name, "score": score, "present": score > 0.5} for name, score in (("bald", 0.1),)],
        "embedding": [0.6, 0.8],
    }


WRITERS: dict[str, Callable[[np.ndarray, Any], Any]] = {
    "json": lambda photo, faces: json.loads(outputs.to_json(faces)),
    "rows": lambda photo, faces: outputs.to_rows(faces),
    "coco": lambda photo, faces: outputs.to_coco([("a.png", SIZE_HW, faces)]),
}
DRAWINGS: dict[str, Callable[[np.ndarray, Any], Any]] = {
    "draw": lambda photo, faces: outputs.draw(photo, faces).tobytes(),
    "crop": lambda photo, faces: outputs.crop(photo, faces[0] if isinstance(faces, list) else faces).tobytes(),
    "cutout": lambda photo, faces: outputs.cutout(photo, faces[0] if isinstance(faces, list) else faces).tobytes(),
    "anonymize": lambda photo, faces: outputs.anonymize(photo, faces).tobytes(),
}
# What a face may not hold, for every function.
BAD_ENTRIES: dict[str, list[Any]] = {
    "score": ["high", NAN, [0.5], {}],
    "box": ["abc", 5, [1, 2, 3, 4], {"xmin": 1}, {"xmin": 1, "ymin": 2, "xmax": NAN, "ymax": 4}],
    "keypoints": [5, "abc", [[1, 2]] * 4, [[NAN, 1]] * 5, {"left": 1}, [None] * 5],
    "landmarks": [5, "abc", [[1, 2], [3]], [[1, NAN]], [1, 2, 3], [[1, 2, 3]]],
    "attributes": [
        5,
        "young",
        ["young"],
        [{"label": "a"}],
        [{"label": "a", "score": "x"}],
        [{"label": 3, "score": 1}],
    ],
    "labels": [5, ["skin"], {"skin": "skin"}, {300: "skin"}, {-1: "skin"}],
    "embedding": [5, "abc", [NAN], [[0.5]]],
}
BAD_MAPS: dict[str, Callable[[], Any]] = {
    "floats": lambda: np.full(SIZE_HW, 1.0),
    "NaN": lambda: np.full(SIZE_HW, NAN),
    "negative": lambda: np.full(SIZE_HW, -1),
    "256": lambda: np.full(SIZE_HW, 256),
    "an id without a name": lambda: np.full(SIZE_HW, 3),
    "three channels": lambda: np.zeros((*SIZE_HW, 3), np.uint8),
    "objects": lambda: np.full(SIZE_HW, None),
}


@kind("answers", count=60)
def entry_that_no_pipeline_answers(draw: Draw) -> Case:
    name, wrong = draw.each([(name, wrong) for name, all_wrong in BAD_ENTRIES.items() for wrong in all_wrong])
    to, make = draw.any(list((WRITERS | DRAWINGS).items()))
    bad = face(draw) | {name: wrong}
    return Case(f"{name}={str(wrong)[:40]} for {to}", lambda: make(photo(draw), draw.any([bad, [bad]])), refused())


@kind("answers", count=28)
def label_map_that_is_none(draw: Draw) -> Case:
    way, (to, make) = draw.each(list(BAD_MAPS)), draw.any([*WRITERS.items(), ("cutout", DRAWINGS["cutout"])])
    return Case(
        f"{way} for {to}", lambda: make(photo(draw), face(draw) | {"segmentation": BAD_MAPS[way]()}), refused()
    )


@kind("answers", count=20)
def answer_that_is_none(draw: Draw) -> Case:
    wrong = draw.each([None, 5, "faces", b"faces", ["face"], [None], [[]], {"error": "a sentence"}, [{}], 1.5])
    to, make = draw.any([*WRITERS.items(), ("draw", DRAWINGS["draw"]), ("anonymize", DRAWINGS["anonymize"])])
    return Case(f"{wrong!r} for {to}", lambda: make(photo(draw), wrong), refused())


@kind("answers", count=40)
def right_face_in_another_form(draw: Draw) -> Case:
    plain = face(draw)
    arrays = {name: np.asarray(plain[name]) for name in ("keypoints", "landmarks", "embedding")}
    forms: dict[str, dict[str, Any]] = {
        "arrays": arrays,
        "tensors": {name: torch.from_numpy(value) for name, value in arrays.items()},
        "tuples": {"keypoints": tuple(map(tuple, plain["keypoints"])), "embedding": tuple(plain["embedding"])},
        "NumPy numbers": {"score": np.float64(0.5), "box": {k: np.float64(v) for k, v in plain["box"].items()}},
        "labels by text": {"labels": {str(label): name for label, name in LABELS.items()}},
        "labels in another order": {"labels": dict(reversed(LABELS.items()))},
        "attributes without present": {"attributes": [{"label": "bald", "score": 0.1}]},
        "a map of int64": {"segmentation": np.asarray(plain["segmentation"]).astype(np.int64)},
    }
    form, (to, make) = draw.each(list(forms)), draw.any(list((WRITERS | DRAWINGS).items()))
    picture = photo(draw)
    expected = make(picture, plain)
    return Case(f"{form} for {to}", lambda: make(picture, plain | forms[form]), gives(same(expected)))


@kind("answers", count=14)
def size_of_a_photo_for_coco(draw: Draw) -> Case:
    size = draw.each([(-1, 0), (5.7, 6.2), (24,), (24, NAN), ("24", "25"), (1, 2, 3), (True, None)])
    return Case(f"{size}", lambda: outputs.to_coco([("a", size, face(draw))]), refused())


@kind("answers", count=12, seconds=120)
def file_of_others_in_an_output_folder(draw: Draw) -> Case:
    """It stays as it is, whatever the command writes there."""
    source = written(draw.folder / "photo.png", encoded(photo(draw), "PNG"))
    output = draw.folder / "out"
    output.mkdir()
    options, name = draw.each(
        [
            (["annotate", "-t", "detection"], "photo.face-detection.jpg"),
            (["annotate", "-t", "parsing"], "photo.face-1.segmentation.png"),
            (["annotate", "-t", "detection", "--export", "csv"], "faces.csv"),
            (["annotate", "-t", "detection", "--export", "jsonl"], "faces.jsonl"),
            (["annotate", "-t", "detection", "--export", "coco"], "faces.coco.json"),
            (["annotate", "-t", "detection", "--export", "parquet"], "faces.parquet"),
            (["crop"], "photo.face-1.png"),
            (["anonymize"], "photo.anonymized.jpg"),
        ]
    )
    written(output / name, b"kept")
    before, more = snapshot(output), draw.any([[], ["--overwrite"]]) if options[0] == "annotate" else []
    refusing = "--export" in options
    return Case(
        f"{name} for {' '.join(options + more)}",
        lambda: toy_command(*options, *more, source, "-o", output),
        refused() if refusing else gives(lambda outcome: "" if outcome.status == 0 else f"status {outcome.status}"),
        lambda: "" if snapshot(output).items() >= before.items() else f"{name} was replaced",
    )


@kind("answers", count=12, seconds=60)
def file_that_is_a_pipe_or_device(draw: Draw) -> Case:
    name = draw.each(["pipe.png", "pipe.mp4", "/dev/zero", "/dev/null"])
    path = draw.folder / name
    if name.startswith("pipe"):
        os.mkfifo(path)
    command = draw.any(["annotate", "crop", "anonymize"])
    return Case(f"{name} for {command}", lambda: toy_command(command, path, "-o", draw.folder / "out"), refused())
