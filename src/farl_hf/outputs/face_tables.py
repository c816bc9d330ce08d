"""Answers of pipelines as JSON, as rows of a table, and as COCO annotations.

Source of the run-length encoding: the COCO API (pycocotools), `common/maskApi.c`. A mask is read column by column; the
lengths of its runs of zeros and ones alternate, zeros first. From the third on, the difference to the length before
the last is stored, in groups of five bits, each with a bit that says whether another follows.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np

from farl_hf.errors import InvalidArgumentError, InvalidFaceInputError, in_short
from farl_hf.labels import FIVE_POINTS
from farl_hf.outputs.face_pictures import Answer, faces_of_answer
from farl_hf.photos import load_photo
from farl_hf.results import face_label_map

_FACE_CATEGORY = 1
_BOX_SIDES = ("xmin", "ymin", "xmax", "ymax")
_HALF_PIXEL = 0.5  # COCO counts the centres of pixels from 0


def to_json(faces: Answer, **options: Any) -> str:
    """The answer of a pipeline as JSON text.

    Args:
        faces (`list[dict]` or `dict`): The answer, or one face of it.
        options: Of `json.dumps`, such as `indent=1`.

    Returns:
        `str`: A list with an object per face. Its `segmentation` is an object of class name -> mask as
        `{"size": [height, width], "counts": …}` in COCO's run-length encoding, for the classes that have pixels,
            without the background.

    Raises:
        InvalidFaceInputError: A face holds what JSON has no form for, such as NaN.
    """
    plain = plain_answer(faces)
    try:
        return json.dumps(plain, **({"ensure_ascii": False, "allow_nan": False} | options))
    except (ValueError, TypeError) as error:
        raise InvalidFaceInputError(f"The faces cannot be written as JSON: {in_short(error)}.") from error


def plain_answer(faces: Answer) -> list[dict[str, Any]]:
    """What `to_json` writes."""
    return [
        face | ({"segmentation": class_masks(face)} if _has_label_map(face) else {}) for face in faces_of_answer(faces)
    ]


def to_rows(faces: Answer, **leading: Any) -> list[dict[str, Any]]:
    """The answer of a pipeline as flat rows, one per face, for CSV, Parquet or `pandas.DataFrame`.

    Which columns there are depends on the tasks and models alone, not on the photo:

    | column | value |
    |---|---|
    | `face`, `track`, `score` | number of the face from 1; of its track, in videos; confidence |
    | `box_xmin`, `box_ymin`, `box_xmax`, `box_ymax` | photo pixels |
    | `left_eye_x`, `left_eye_y` … `right_mouth_corner_y` | the five points; None where they are not known |
    | `landmark_0_x`, `landmark_0_y` … | landmarks, in the order of the model |
    | `attribute_NAME`, `present_NAME` | probability, and whether it is above the model's threshold; alphabetical |
    | `area_NAME` | pixels of a class of parsing; None where there is no label map |
    | `embedding_0` … | embedding |

    Args:
        faces (`list[dict]` or `dict`): The answer, or one face of it.
        leading: Columns that come first in every row, such as `photo="a.jpg"`.

    Raises:
        InvalidArgumentError: A leading column has the name of another one.
    """
    rows = [_row(number, face) for number, face in enumerate(faces_of_answer(faces), start=1)]
    for name in leading:
        if any(name in row for row in rows):
            raise InvalidArgumentError(f"{name!r} is a column of every face; give the leading one another name.")
    return [leading | row for row in rows]


def _row(number: int, face: Mapping[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {"face": number}
    if "track" in face:
        row["track"] = face["track"]
    row["score"] = face.get("score", 1.0)
    row |= {f"box_{side}": face["box"][side] for side in _BOX_SIDES}
    row |= _point_columns(FIVE_POINTS, face.get("keypoints") or [(None, None)] * len(FIVE_POINTS))
    landmarks = face.get("landmarks") or []
    row |= _point_columns([f"landmark_{index}" for index in range(len(landmarks))], landmarks)
    for attribute in sorted(face.get("attributes") or [], key=lambda one: one["label"]):
        row[f"attribute_{attribute['label']}"] = attribute["score"]
        row[f"present_{attribute['label']}"] = attribute["present"]
    counts = np.bincount(face_label_map(face).ravel(), minlength=256) if _has_label_map(face) else None
    for label, name in (face.get("labels") or {}).items():
        row[f"area_{name}"] = None if counts is None else int(counts[label])
    row |= {f"embedding_{index}": value for index, value in enumerate(face.get("embedding") or [])}
    return row


def _point_columns(names: Sequence[str], points: Iterable[Sequence[Any]]) -> dict[str, Any]:
    return {
        f"{name}_{axis}": value
        for name, point in zip(names, points, strict=True)
        for axis, value in zip("xy", point, strict=True)
    }


def to_coco(photos: Iterable[tuple[str, Any, Answer]]) -> dict[str, Any]:
    """Faces of photos as a COCO data set of detection, keypoints and segmentation.

    Args:
        photos (`Iterable[tuple]`): Of each photo its file name, the photo or its (height, width), and the answer of a
            pipeline.

    Returns:
        `dict`: `images`, `annotations` and `categories`, fit for JSON. Each face is an annotation of the category
        `face`: `bbox` [x, y, width, height], `area`, `score`, `keypoints` [x, y, 2, …] (the five points, then the
        landmarks; [0, 0, 0] where they are not known) and `segmentation`, all of the face but the background. Each
        class of parsing is a category, and each face has an annotation per class that it has pixels of, with
        `face_id`. Masks are run-length encoded. Points are those of COCO, where the centre of the first pixel is
        (0, 0): ours less half a pixel.

    Raises:
        InvalidFaceInputError: Faces differ in their number of landmarks or in their classes.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    schemes: dict[str, Any] = {}
    if not isinstance(photos, Iterable) or isinstance(photos, (str, bytes)):
        raise InvalidFaceInputError(f"{in_short(photos)} are no photos; expected (name, photo, answer) of each.")
    for image_id, entry in enumerate(photos, start=1):
        try:
            file_name, photo, answer = entry
        except (TypeError, ValueError) as error:
            raise InvalidFaceInputError(
                f"Photo {image_id} is {in_short(entry)}; expected its name, the photo or its (height, width), and the "
                "answer of a pipeline."
            ) from error
        height, width = _size_hw(photo)
        images.append({"id": image_id, "file_name": str(file_name), "height": height, "width": width})
        for face in faces_of_answer(answer):
            classes, num_landmarks = face.get("labels") or {}, len(face.get("landmarks") or [])
            for name, value in (("classes", classes), ("landmarks", num_landmarks)):
                if schemes.setdefault(name, value) != value:
                    raise InvalidFaceInputError(
                        f"The faces of {file_name} have other {name} than those before; a COCO file has the faces of "
                        "one model."
                    )
            annotations += _annotations(face, images[-1], len(annotations) + 1)
    points = [*FIVE_POINTS, *(f"landmark_{index}" for index in range(schemes.get("landmarks", 0)))]
    categories: list[dict[str, Any]] = [
        {"id": _FACE_CATEGORY, "name": "face", "supercategory": "person", "keypoints": points, "skeleton": []}
    ]
    for label, name in schemes.get("classes", {}).items():
        if name != "background":
            categories.append({"id": _class_category(label), "name": name, "supercategory": "face"})
    return {"images": images, "annotations": annotations, "categories": categories}


def _annotations(face: Mapping[str, Any], image: Mapping[str, Any], first_id: int) -> list[dict[str, Any]]:
    """Of a face of an image, and of its classes."""
    x_min, y_min, x_max, y_max = (face["box"][side] for side in _BOX_SIDES)
    known = face.get("keypoints")
    keypoints = [number for x, y in known or () for number in (x - _HALF_PIXEL, y - _HALF_PIXEL, 2)]
    keypoints += [] if known else [0, 0, 0] * len(FIVE_POINTS)
    landmarks = face.get("landmarks") or []
    keypoints += [number for x, y in landmarks for number in (x - _HALF_PIXEL, y - _HALF_PIXEL, 2)]
    shared: dict[str, Any] = {"image_id": image["id"], "iscrowd": 0}
    annotation: dict[str, Any] = {
        "id": first_id,
        "category_id": _FACE_CATEGORY,
        "score": face.get("score", 1.0),
    } | shared
    annotation |= {"bbox": [x_min, y_min, x_max - x_min, y_max - y_min], "area": (x_max - x_min) * (y_max - y_min)}
    annotation |= {"keypoints": keypoints, "num_keypoints": len(known or ()) + len(landmarks)}
    found = [annotation]
    if not _has_label_map(face):
        return found
    label_map = face_label_map(face)
    if label_map.shape != (image["height"], image["width"]):
        raise InvalidFaceInputError(
            f"The size of {image['file_name']} is given as {image['height']} x {image['width']}, and a label map is "
            f"{' x '.join(map(str, label_map.shape))}; expected (height, width) of the photo."
        )
    annotation["segmentation"] = run_length_encoded(label_map > 0)
    for label in np.unique(label_map[label_map > 0]).tolist():
        mask = label_map == label
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        left, top = float(columns[0]), float(rows[0])
        found.append(
            {
                "id": first_id + len(found),
                "category_id": _class_category(label),
                "face_id": first_id,
                "bbox": [left, top, float(columns[-1]) + 1 - left, float(rows[-1]) + 1 - top],
                "area": int(mask.sum()),
                "segmentation": run_length_encoded(mask),
            }
            | shared
        )
    return found


def _class_category(label: int) -> int:
    return _FACE_CATEGORY + label


def class_masks(face: Mapping[str, Any]) -> dict[str, Any]:
    """The mask of each class of a face but the background that has pixels, run-length encoded, by name."""
    label_map = face_label_map(face)
    seen = np.unique(label_map[label_map > 0]).tolist()
    return {face["labels"][label]: run_length_encoded(label_map == label) for label in seen}


def run_length_encoded(mask: np.ndarray) -> dict[str, Any]:
    """A mask (H, W) as COCO's `{"size": [height, width], "counts": text}`."""
    pixels = np.asarray(mask, bool).ravel(order="F")
    changes = np.flatnonzero(np.diff(pixels)) + 1
    lengths = np.diff(np.concatenate([[0], changes, [pixels.size]])).tolist()
    if pixels.size and pixels[0]:
        lengths = [0, *lengths]
    stored = [length - (lengths[place - 2] if place > 2 else 0) for place, length in enumerate(lengths)]
    return {"size": [int(side) for side in mask.shape], "counts": "".join(map(_five_bit_groups, stored))}


def _five_bit_groups(number: int) -> str:
    signs = ""
    while True:
        group, number = number & 31, number >> 5
        is_last = number == (-1 if group & 16 else 0)  # the rest repeats the sign
        signs += chr(48 + group + (0 if is_last else 32))
        if is_last:
            return signs


def label_map_of(masks: Mapping[str, Any], labels: Mapping[int, str], size_hw: Sequence[int]) -> np.ndarray:
    """The label map (H, W), uint8, of the masks that `class_masks` gives; `labels` are the names of the class ids."""
    height, width = size_hw
    label_map = np.zeros(height * width, np.uint8)
    ids = {name: label for label, name in labels.items()}
    for name, mask in masks.items():
        ends = np.cumsum(_run_lengths(mask["counts"]))
        for start, end in zip(ends[::2], ends[1::2], strict=False):
            label_map[start:end] = ids[name]
    return label_map.reshape(width, height).T


def _run_lengths(counts: str) -> list[int]:
    """What `run_length_encoded` encoded."""
    lengths: list[int] = []
    number = shift = 0
    for sign in counts:
        group = ord(sign) - 48
        number |= (group & 31) << shift
        shift += 5
        if not group & 32:  # the last group of a number; its highest bit is the sign
            number -= (group & 16) << (shift - 4)
            lengths.append(number + (lengths[-2] if len(lengths) > 2 else 0))
            number = shift = 0
    return lengths


def _size_hw(photo: Any) -> tuple[int, int]:
    """Height and width of a photo, or those that were given instead of it."""
    if not isinstance(photo, (tuple, list)):
        width, height = load_photo(photo).size
        return height, width
    if len(photo) != 2 or not all(
        isinstance(side, Integral) and not isinstance(side, bool) and int(side) > 0 for side in photo
    ):
        raise InvalidFaceInputError(f"The size of a photo is {in_short(photo)}; expected whole (height, width).")
    return int(photo[0]), int(photo[1])


def _has_label_map(face: Mapping[str, Any]) -> bool:
    return face.get("segmentation") is not None and not isinstance(face["segmentation"], (str, Mapping))
