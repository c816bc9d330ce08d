"""Boxes, points, thresholds, sizes and scales, in processors, pipelines and results."""

from typing import Any

import numpy as np
import torch

from benchmarks.faults import materials
from benchmarks.faults.cases import Case, Draw, kind
from benchmarks.faults.judging import equals, gives, gives_or_refused, refused
from benchmarks.faults.photos import numbers_of
from farl_hf import FaceParsing, Faces, FaRLImageProcessor, RetinaFaceConfig, RetinaFaceImageProcessor

NAN, INF = float("nan"), float("inf")
POINTS = np.array([[10, 20], [30, 20], [20, 30], [12, 42], [28, 42]], np.float32)
BOX = [5.0, 8.0, 35.0, 50.0]


def photo(draw: Draw) -> np.ndarray:
    """A photo (60, 44)."""
    return draw.rng.integers(0, 256, (60, 44, 3), dtype=np.uint8)


BAD_BOXES: dict[str, Any] = {
    "a number": 5,
    "a text": "abc",
    "three sides": [[1, 2, 3]],
    "five sides": [[1, 2, 3, 4, 5]],
    "NaN": [[1, 2, NAN, 4]],
    "infinity": [[0, 0, INF, 9]],
    "near 1e38": [[0, 0, 1e38, 1e38]],
    "far to the left": [[-1e7, 0, 10, 10]],
    "words": [[1, 2, 3, "x"]],
    "None in it": [[1, 2, None, 4]],
    "a huge whole number": [[10**400, 2, 3, 4]],
    "turned round": [[30, 40, 10, 20]],
    "no area": [[10, 10, 10, 10]],
    "outside": [[100, 100, 120, 130]],
    "before the photo": [[-40, -40, -5, -5]],
    "list of None": [None],
    "ragged": [[1, 2, 3, 4], [1, 2]],
    "too deep": [[[[1, 2, 3, 4]]]],
    "complex": [[1j, 2, 3, 4]],
    "a dict": {"xmin": 1},
    "a side missing": [{"xmin": 1, "ymin": 2, "xmax": 3}],
    "objects": [[object()] * 4],
    "bytes": b"abcd",
    "a set": {1, 2},
}
BAD_POINTS: dict[str, Any] = {
    "a number": 5,
    "a text": "abc",
    "four points": [POINTS[:4]],
    "three numbers": [np.pad(POINTS, ((0, 0), (0, 1)))],
    "NaN": [np.where(POINTS == 42, NAN, POINTS)],
    "infinity": [np.where(POINTS == 42, INF, POINTS)],
    "one place": [POINTS * 0 + 20],
    "near 1e38": [POINTS + np.float32(1e38)],
    "outside": [POINTS + 500],
    "before the photo": [POINTS - 500],
    "list of None": [None],
    "ragged": [[[1, 2], [3]]],
    "words": [[["x", "y"]] * 5],
    "a huge whole number": [[[10**400, 1]] * 5],
    "complex": [POINTS * 1j],
    "objects": [[[object(), 1]] * 5],
    "too deep": [[[[POINTS]]]],
    "a dict": {"left_eye": [1, 2]},
    "a line of numbers": POINTS.ravel(),
    "dicts": [{"x": 1, "y": 2}] * 5,
    "bytes": b"ab",
}


@kind("geometry", count=25)
def bad_boxes_in_a_pipeline(draw: Draw) -> Case:
    way = draw.each(list(BAD_BOXES))
    find = materials.toy_pipeline(draw.any(["face-attributes", "face-landmarks"]))
    return Case(way, lambda: find({"image": photo(draw), "boxes": BAD_BOXES[way]}), refused())


@kind("geometry", count=25)
def bad_boxes_in_a_processor(draw: Draw) -> Case:
    way, crop = draw.each(list(BAD_BOXES)), FaRLImageProcessor(size=16)
    boxes = BAD_BOXES[way] if draw.number % 2 or not isinstance(BAD_BOXES[way], list) else [BAD_BOXES[way]]
    return Case(way, lambda: crop(photo(draw), boxes=boxes), refused())


@kind("geometry", count=21)
def bad_points_in_a_pipeline(draw: Draw) -> Case:
    way = draw.each(list(BAD_POINTS))
    find = materials.toy_pipeline(draw.any(["face-attributes", "face-landmarks"]))
    return Case(way, lambda: find({"image": photo(draw), "keypoints": BAD_POINTS[way]}), refused())


@kind("geometry", count=21)
def bad_points_in_a_processor(draw: Draw) -> Case:
    way, crop = draw.each(list(BAD_POINTS)), FaRLImageProcessor(size=16)
    points = BAD_POINTS[way] if draw.number % 2 or not isinstance(BAD_POINTS[way], list) else [BAD_POINTS[way]]
    name = draw.any(["keypoints", "landmarks"])
    return Case(f"{way} as {name}", lambda: crop(photo(draw), **{name: points}), refused())


def numbers_in_many_forms(values: Any) -> dict[str, Any]:
    """The same numbers, (faces, …), in every form that they come in."""
    array = np.asarray(values, np.float32)
    return {
        "list": array.tolist(),
        "tuple": tuple(map(tuple, array.tolist())) if array.ndim == 2 else array.tolist(),
        "float64": array.astype(np.float64),
        "tensor": torch.from_numpy(array),
        "whole numbers": array.round().astype(np.int64),
        "tensor with gradients": torch.from_numpy(array).requires_grad_(),
        "Fortran": np.asfortranarray(array),
        "float16": array.astype(np.float16),
        "read backwards": array[::-1].copy()[::-1],
        "list of arrays": list(array),
        "big-endian": array.astype(">f8"),
        "bfloat16": torch.from_numpy(array).to(torch.bfloat16),
    }


@kind("geometry", count=12)
def good_faces_in_a_processor(draw: Draw) -> Case:
    pixels, crop = photo(draw), FaRLImageProcessor(size=16)
    name = draw.any(["boxes", "keypoints"])
    values = np.round(np.asarray([BOX] if name == "boxes" else [POINTS], np.float32))
    ways = numbers_in_many_forms(values)
    way = draw.each(list(ways))
    expected = crop(pixels, **{name: [values.tolist()]})["pixel_values"]
    given = [ways[way]] if draw.number % 2 else ways[way]
    return Case(
        f"{name} as {way}",
        lambda: crop(pixels, **{name: given})["pixel_values"].detach(),
        gives(equals(expected, 1e-4)),
    )


@kind("geometry", count=12)
def good_faces_in_a_pipeline(draw: Draw) -> Case:
    pixels, find = photo(draw), materials.toy_pipeline(draw.any(["face-attributes", "face-landmarks"]))
    name = draw.any(["boxes", "keypoints"])
    values = np.round(np.asarray([BOX, BOX] if name == "boxes" else [POINTS, POINTS + 1], np.float32))
    ways = numbers_in_many_forms(values)
    way = draw.each(list(ways))
    expected = numbers_of(find({"image": pixels, name: values.tolist()}))

    def run():
        return numbers_of(find({"image": pixels, name: ways[way]}))

    return Case(f"{name} as {way}", run, gives(equals(expected, 1e-4)))


@kind("geometry")
def no_face_in_the_middle(draw: Draw) -> Case:
    """Photos without faces keep their place among others."""
    find, pixels = materials.toy_pipeline("face-attributes"), photo(draw)
    counts = [draw.whole(0, 3) for _ in range(4)]
    photos = [{"image": pixels, "boxes": [BOX] * count} for count in counts]

    def run():
        return [len(faces) for faces in find(photos, batch_size=draw.any([1, 2, 5]))]

    return Case(f"{counts} faces", run, gives(equals(counts)))


@kind("geometry")
def wrong_number_of_sets(draw: Draw) -> Case:
    crop = FaRLImageProcessor(size=16)
    photos = [photo(draw)] * draw.whole(2, 3)
    sets = draw.each([[[BOX]], [[BOX]] * 4, [], [[BOX], None], BOX, [BOX]])
    both = {"boxes": [[BOX]] * len(photos), "keypoints": [[POINTS]] * len(photos)}
    arguments = both if draw.number % 4 == 3 else {"boxes": sets}
    return Case(f"{len(photos)} photos", lambda: crop(photos, **arguments), refused())


BAD_NUMBERS: dict[str, Any] = {
    "-1": -1,
    "NaN": NAN,
    "infinity": INF,
    "a text": "0.5",
    "a list": [0.5],
    "1e400": 10**400,
    "True": True,
    "complex": 1j,
    "an array": np.array([0.1, 0.2]),
    "an object": object(),
}


@kind("geometry", count=20)
def bad_threshold(draw: Draw) -> Case:
    way, name = draw.each(list(BAD_NUMBERS)), draw.any(["threshold", "nms_threshold"])
    task = draw.any(["face-detection", "face-attributes"])
    find = materials.toy_pipeline(task)
    return Case(f"{name}={way} in {task}", lambda: find(photo(draw), **{name: BAD_NUMBERS[way]}), refused())


@kind("geometry")
def threshold_of_any_type(draw: Draw) -> Case:
    find, pixels = materials.toy_pipeline("face-detection"), photo(draw)
    value = draw.each(
        [0, 1, 0.5, np.float32(0.5), np.int64(1), torch.tensor(0.5), np.array(0.5), 1e-300, 0.999, np.float16(0.25)]
    )
    expected = numbers_of(find(pixels, threshold=float(value)))
    return Case(repr(value), lambda: numbers_of(find(pixels, threshold=value)), gives(equals(expected)))


FACE_SETTINGS = {
    "size": [
        0,
        -3,
        {"height": 0, "width": 8},
        {"height": 10**9, "width": 8},
        "big",
        [1, 2, 3],
        {"height": 8},
        1.5,
        {},
    ],
    "face_scale": [0, -1, NAN, "1", [1], True],
    "box_scale": [0, -1, INF, "1", [1]],
    "warp_factor": ["a", NAN, -1, 2, [0.8]],
    "image_std": [0, [0, 1, 1], [NAN] * 3, [1, 1], "x", [1, 1, "x"]],
    "image_mean": [[0.5, 0.5], [0.5, 0.5, "x"], NAN, "x", {}],
    "alignment": ["points", 3, "", ["template"]],
    "pixel_grid": ["full", 3, ""],
    "template_span": ["none", 3],
    "score_size": [0, -1, 1.5, "x", 10**9],
    "face_template": [[[0, 0]] * 4, "x", 3, [[0]] * 5, [[NAN, 0]] * 5, [["a", "b"]] * 5],
}
DETECTOR_SETTINGS = {
    "max_long_side": [-1, "x", NAN, [1], 10**9],
    "min_long_side": [-1, "x", INF],
    "coarse_long_side": [-1, "x", NAN],
    "pad_size_divisor": [1.5, -32, "x", 10**9],
    "score_threshold": [-1, 2, NAN, "x", [0.5]],
    "nms_threshold": [-1, 2, "x"],
    "top_k": [0, -1, "x", 1.5],
    "max_faces": [0, -1, "x"],
    "image_std": [[1, 1, 0], "x", [1, 1]],
    "image_mean": [[1, 1], "x"],
    "variances": ["x", 3, [0.1], [NAN, 0.2], [], ["a", "b"]],
}


def flat(table: dict[str, list[Any]]) -> list[tuple[str, Any]]:
    """Pairs of name and value."""
    return [(name, value) for name, values in table.items() for value in values]


@kind("geometry", count=30)
def bad_setting_of_the_face_processor(draw: Draw) -> Case:
    name, value = draw.each(flat(FACE_SETTINGS))
    if draw.number % 3:
        return Case(f"{name}={value}", lambda: FaRLImageProcessor(**{name: value}), refused())
    points = {"keypoints": [[POINTS.tolist()]]}
    return Case(
        f"{name}={value} in a call",
        lambda: FaRLImageProcessor(size=16)(photo(draw), **points, **{name: value}),
        refused(),
    )


@kind("geometry", count=30)
def bad_setting_of_the_detector(draw: Draw) -> Case:
    name, value = draw.each(flat(DETECTOR_SETTINGS))
    if draw.number % 3 or name in ("score_threshold", "nms_threshold", "top_k", "max_faces", "variances"):
        return Case(f"{name}={value}", lambda: RetinaFaceImageProcessor(**{name: value}), refused())
    return Case(
        f"{name}={value} in a call", lambda: RetinaFaceImageProcessor()(photo(draw), **{name: value}), refused()
    )


@kind("geometry", count=14)
def post_processing_of_faces(draw: Draw) -> Case:
    """Outputs and sizes that do not fit."""
    processor = RetinaFaceImageProcessor(score_threshold=0.0, max_faces=2)
    model = materials.toy_pipeline("face-detection").model
    assert isinstance(model.config, RetinaFaceConfig)
    with torch.no_grad():
        outputs = model(pixel_values=torch.zeros(1, 3, 32, 32))
    sizes, scales = [[32, 32]], [[1.0, 1.0]]
    ways: dict[str, Any] = {
        "no sizes": ([], scales),
        "two sizes": (sizes * 2, scales),
        "None": (None, scales),
        "a text": ("x", scales),
        "sizes of three": ([[1, 2, 3]], scales),
        "NaN sizes": ([[NAN, 32]], scales),
        "zero scale": (sizes, [[0.0, 1.0]]),
        "NaN scale": (sizes, [[NAN, 1.0]]),
        "negative scale": (sizes, [[-1.0, 1.0]]),
        "zero size": ([[0, 32]], scales),
        "negative size": ([[-3, 32]], scales),
        "infinite scale": (sizes, [[INF, 1.0]]),
        "ragged": ([[1], [1, 2]], scales),
        "objects": ([[object(), 1]], scales),
    }
    way = draw.each(list(ways))
    return Case(way, lambda: processor.post_process_face_detection(outputs, *ways[way]), refused())


@kind("geometry", count=16)
def post_processing_of_crops(draw: Draw) -> Case:
    crop, matrix = FaRLImageProcessor(size=16), torch.eye(3)[None]
    logits = torch.zeros(1, 3, 4, 4)
    ways: dict[str, Any] = {
        "no sizes": (logits, matrix, []),
        "two sizes": (logits, matrix, [(8, 8)] * 2),
        "None": (logits, matrix, None),
        "zero": (logits, matrix, [(0, 8)]),
        "negative": (logits, matrix, [(-8, 8)]),
        "words": (logits, matrix, [("a", "b")]),
        "NaN": (logits, matrix, [(NAN, 8)]),
        "one number": (logits, matrix, [8]),
        "300 classes": (torch.zeros(1, 300, 4, 4), matrix, [(8, 8)]),
        "a matrix that cannot be turned round": (logits, matrix * 0, [(8, 8)]),
        "NaN matrix": (logits, matrix * NAN, [(8, 8)]),
        "two axes": (logits[0, 0], matrix, [(8, 8)]),
        "NaN scores": (logits * NAN, matrix, [(8, 8)]),
        "no classes": (logits[:, :0], matrix, [(8, 8)]),
        "a small matrix": (logits, torch.eye(2)[None], [(8, 8)]),
        "a size of a billion": (logits, matrix, [(10**9, 10**9)]),
    }
    way = draw.each(list(ways))
    return Case(way, lambda: crop.post_process_face_parsing(*ways[way]), refused())


@kind("geometry", count=16)
def results_that_cannot_be(draw: Draw) -> Case:
    box, one = np.array([[0, 0, 4, 4]]), np.array([0.5])
    ways: dict[str, Any] = {
        "NaN score": lambda: Faces(box, np.array([NAN])),
        "infinite score": lambda: Faces(box, np.array([INF])),
        "two scores": lambda: Faces(box, np.array([0.5, 0.5])),
        "text scores": lambda: Faces(box, np.array(["x"])),
        "three sides": lambda: Faces(box[:, :3], one),
        "NaN box": lambda: Faces(box * NAN, one),
        "text boxes": lambda: Faces("x", one),
        "turned box": lambda: Faces(box[:, ::-1], one),
        "four points": lambda: Faces(box, one, np.zeros((1, 4, 2))),
        "label 300": lambda: FaceParsing(np.full((1, 4, 4), 300), ("a", "b")),
        "label -1": lambda: FaceParsing(np.full((1, 4, 4), -1), ("a", "b")),
        "float labels": lambda: FaceParsing(np.full((1, 4, 4), 0.5), ("a", "b")),
        "NaN labels": lambda: FaceParsing(np.full((1, 4, 4), NAN), ("a",)),
        "text labels": lambda: FaceParsing(np.full((1, 4, 4), "x"), ("a",)),
        "two axes": lambda: FaceParsing(np.zeros((4, 4), np.uint8), ("a",)),
        "None": lambda: Faces(None, None),
    }
    way = draw.each(list(ways))
    return Case(way, ways[way], refused())


@kind("geometry")
def box_partly_outside(draw: Draw) -> Case:
    """The crop of a box that reaches beyond the photo equals that in a photo with a black margin."""
    crop, pixels, margin = FaRLImageProcessor(size=24, box_scale=0.8), photo(draw), 100
    box = np.array([draw.whole(-15, 10), draw.whole(-15, 10), draw.whole(25, 58), draw.whole(35, 75)], float)
    wide = np.zeros((260, 244, 3), np.uint8)
    wide[margin : margin + 60, margin : margin + 44] = pixels
    expected = crop(wide, boxes=[[(box + margin).tolist()]])["pixel_values"]
    right = gives_or_refused(equals(expected, 0.02))
    return Case(f"{box.tolist()}", lambda: crop(pixels, boxes=[[box.tolist()]])["pixel_values"], right)
