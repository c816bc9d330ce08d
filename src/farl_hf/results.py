"""What was found in one photo: frozen groups of parallel arrays, one row per face, all in photo pixels.

Frame: continuous photo pixels, the centre of the top-left pixel is (0.5, 0.5). Points are (x, y), boxes are
(x_min, y_min, x_max, y_max). Every result knows its length, gives one face at a time when iterated, and can be
sliced or masked like an array.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from types import NoneType
from typing import Any

import numpy as np

from farl_hf.errors import InvalidFaceInputError, in_short

__all__ = ["FaceAttributes", "FaceLandmarks", "FaceParsing", "Faces"]

# Keys of a box in the answers of pipelines.
_BOX_SIDES = ("xmin", "ymin", "xmax", "ymax")
_FARTHEST_PX = 1e9


def _shape(value: Any) -> tuple[int, ...] | None:
    """Of finite numbers; None of anything else."""
    try:
        numbers = np.asarray(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        return None
    return numbers.shape if np.isfinite(numbers).all() else None


_CLASS_IDS = frozenset(map(str, range(256)))
# What a face may hold, in words and as a test; None stands for what is not known.
_ENTRIES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "box": (
        "numbers by xmin, ymin, xmax and ymax",
        lambda box: isinstance(box, Mapping) and _shape([box.get(side) for side in _BOX_SIDES]) == (4,),
    ),
    "score": ("a number", lambda score: _shape(score) == ()),
    "keypoints": ("five points", lambda points: _shape(points) == (5, 2)),
    "landmarks": ("points", lambda points: (_shape(points) or ())[1:] == (2,) or _shape(points) == (0,)),
    "attributes": (
        "labels with scores",
        lambda listed: (
            isinstance(listed, (list, tuple))
            and all(
                isinstance(one, Mapping) and isinstance(one.get("label"), str) and _shape(one.get("score")) == ()
                for one in listed
            )
        ),
    ),
    "labels": (
        "names by class id, which is 0 to 255",
        lambda names: isinstance(names, Mapping) and all(str(label) in _CLASS_IDS for label in names),
    ),
    "embedding": ("a list of numbers", lambda values: len(_shape(values) or ()) == 1),
}


def require_faces(faces: Any, entry: str, purpose: str) -> list[dict[str, Any]]:
    """Faces as a pipeline answers them, for a purpose that needs an entry of each face.

    Returns:
        `list[dict]`: The faces with plain numbers, lists of them, class names in the order of their ids, and `present`
        of each attribute.

    Raises:
        InvalidFaceInputError: With the entry, what came and what was expected.
    """
    if isinstance(faces, (str, bytes)) or not isinstance(faces, Iterable):
        raise InvalidFaceInputError(
            f"{purpose} needs the faces that a pipeline answers; {in_short(faces, 50)!r} came."
        )
    faces = list(faces)
    for face in faces:
        if not isinstance(face, Mapping) or face.get(entry) is None:
            raise InvalidFaceInputError(
                f"{purpose} needs {entry!r} of each face, as a pipeline answers it; "
                f"{', '.join(map(str, face)) if isinstance(face, Mapping) else in_short(face, 50)} came."
            )
        for name, (expected, is_good) in _ENTRIES.items():
            if face.get(name) is not None and not is_good(face[name]):
                raise InvalidFaceInputError(f"{name!r} of a face is {in_short(face[name])}; expected {expected}.")
        if not isinstance(face.get("segmentation", ""), (str, Mapping, NoneType)) and face.get("labels") is None:
            raise InvalidFaceInputError("A face has 'segmentation' without 'labels', the names of its class ids.")
    return [_plain_face(face) for face in faces]


def _plain_face(face: Mapping[str, Any]) -> dict[str, Any]:
    plain = {name: value for name, value in face.items() if name != "score" or value is not None}
    for name in ("score", "keypoints", "landmarks", "embedding"):
        if plain.get(name) is not None:
            plain[name] = np.asarray(plain[name]).tolist()
    if plain.get("box") is not None:
        plain["box"] = dict(face["box"]) | {side: float(face["box"][side]) for side in _BOX_SIDES}
    if plain.get("attributes") is not None:
        scored = [dict(one) | {"score": float(one["score"])} for one in face["attributes"]]
        plain["attributes"] = [one | {"present": bool(one.get("present", one["score"] > 0.5))} for one in scored]
    if plain.get("labels") is not None:
        plain["labels"] = dict(sorted((int(label), str(name)) for label, name in face["labels"].items()))
    return plain


def face_label_map(face: Mapping[str, Any]) -> np.ndarray:
    """The label map (H, W), uint8, of a face as `require_faces` returns it.

    Raises:
        InvalidFaceInputError: It is no map of class ids that have names.
    """
    if isinstance(face["segmentation"], Mapping):
        raise InvalidFaceInputError(
            "'segmentation' of a face holds masks, as `to_json` writes them; give the label map of the pipeline."
        )
    ids = np.asarray(face["segmentation"])
    if ids.ndim != 2 or ids.dtype.kind not in "bui":
        raise InvalidFaceInputError(
            f"'segmentation' of a face is {in_short(face['segmentation'], 50)}, of type {ids.dtype} and shape "
            f"{ids.shape}; expected whole class ids of shape (height, width)."
        )
    unnamed = sorted(set(np.unique(ids).tolist()) - set(face["labels"]))
    if unnamed:
        raise InvalidFaceInputError(
            f"'segmentation' of a face holds the class id {unnamed[0]}, but 'labels' names only "
            f"{', '.join(map(str, face['labels'])) or 'none'}."
        )
    return ids.astype(np.uint8)


@dataclass(frozen=True, eq=False)
class _FaceRows:
    """Length, iteration and slicing over the fields of a dataclass whose arrays hold one row per face."""

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))

    def __getitem__(self, rows):
        """The same kind of result with only the faces chosen by an index, a slice, a mask or a list of indices."""
        rows = _as_rows(rows, len(self))
        # `label_names` describes the whole group; every other field has a row per face.
        arrays = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "label_names"}
        return replace(self, **{name: None if array is None else array[rows] for name, array in arrays.items()})

    def __iter__(self) -> Iterator:
        return (self[row] for row in range(len(self)))

    def _set_array(self, name: str, dtype: type, shape: tuple[int | None, ...]) -> None:
        try:
            array: np.ndarray = np.asarray(getattr(self, name), dtype=dtype)
        except (TypeError, ValueError, OverflowError) as error:
            raise InvalidFaceInputError(f"{type(self).__name__}.{name} are not numbers: {error}.") from error
        if array.size == 0 and array.ndim < len(shape):  # an empty list has no shape to speak of
            array = array.reshape([0, *(size or 0 for size in shape[1:])])
        _require_shape(type(self).__name__, name, array, shape)
        object.__setattr__(self, name, array)


@dataclass(frozen=True, eq=False)
class Faces(_FaceRows):
    """The faces of one photo.

    Args:
        boxes_xyxy (`np.ndarray` of shape `(num_faces, 4)`): Boxes in photo pixels, float32.
        scores (`np.ndarray` of shape `(num_faces,)`): Confidence in [0, 1], float32.
        keypoints_xy (`np.ndarray` of shape `(num_faces, 5, 2)`, *optional*):
            Image-left eye, image-right eye, nose tip, image-left and image-right mouth corner, in photo pixels.

    Raises:
        InvalidFaceInputError: If a shape does not fit, a value is not finite or a box has no area.
    """

    boxes_xyxy: np.ndarray
    scores: np.ndarray
    keypoints_xy: np.ndarray | None = None

    def __post_init__(self) -> None:
        self._set_array("boxes_xyxy", np.float32, (None, 4))
        self._set_array("scores", np.float32, (len(self.boxes_xyxy),))
        if self.keypoints_xy is not None:
            self._set_array("keypoints_xy", np.float32, (len(self.boxes_xyxy), 5, 2))
            _require_finite("keypoints_xy", self.keypoints_xy)
        _require_finite("boxes_xyxy", self.boxes_xyxy)
        if not np.isfinite(self.scores).all():
            raise InvalidFaceInputError("scores hold NaN or infinite values; give confidences from 0 to 1.")
        _require_area(self.boxes_xyxy)

    @classmethod
    def from_pipeline(cls, faces: Sequence[Mapping[str, Any]]) -> "Faces":
        """The faces that any of the pipelines returned for one photo; a face without a score has 1.

        Raises:
            InvalidFaceInputError: They are something else.
        """
        faces = require_faces(faces, "box", "a face of an answer")
        boxes_xyxy = np.asarray([[face["box"][side] for side in _BOX_SIDES] for face in faces])
        scores = np.asarray([face.get("score", 1.0) for face in faces])
        keypoints_xy = [face.get("keypoints") for face in faces]
        has_points = all(points is not None for points in keypoints_xy)
        return cls(boxes_xyxy, scores, np.asarray(keypoints_xy) if has_points else None)


@dataclass(frozen=True, eq=False)
class FaceParsing(_FaceRows):
    """One label map per face of a photo, each as large as the photo.

    Args:
        label_maps (`np.ndarray` of shape `(num_faces, height, width)`): Class ids, uint8.
        label_names (`tuple[str, ...]`): Class names in id order; id 0 is the background.

    Raises:
        InvalidFaceInputError: If the maps are not three-dimensional or hold an id that has no name.
    """

    label_maps: np.ndarray
    label_names: tuple[str, ...]

    def __post_init__(self) -> None:
        ids = np.asarray(self.label_maps)
        if ids.size and ids.dtype.kind not in "bui":
            raise InvalidFaceInputError(
                f"FaceParsing.label_maps holds values of type {ids.dtype}; expected whole class ids."
            )
        if ids.size and not ((ids >= 0) & (ids <= 255)).all():  # as uint8, 300 would be 44
            raise InvalidFaceInputError(
                f"FaceParsing.label_maps holds ids {ids.min()} to {ids.max()}; expected 0 to 255."
            )
        self._set_array("label_maps", np.uint8, (None, None, None))
        object.__setattr__(self, "label_names", tuple(self.label_names))
        if self.label_maps.size and self.label_maps.max() >= len(self.label_names):
            raise InvalidFaceInputError(
                f"FaceParsing.label_maps holds class id {self.label_maps.max()}, but label_names names only the ids "
                f"0 to {len(self.label_names) - 1}."
            )

    @classmethod
    def from_pipeline(cls, faces: Sequence[Mapping[str, Any]]) -> "FaceParsing":
        """The label maps that the face-parsing pipeline returned for one photo."""
        faces = require_faces(faces, "segmentation", "a label map")
        names = faces[0]["labels"] if faces else {}
        if any(face["labels"] != names for face in faces):
            raise InvalidFaceInputError("The faces have different 'labels'; give the faces of one model.")
        label_maps = [face_label_map(face) for face in faces]
        if len({label_map.shape for label_map in label_maps}) > 1:
            raise InvalidFaceInputError("The label maps of the faces differ in size; give the faces of one photo.")
        return cls(np.asarray(label_maps), tuple(names.get(label, "") for label in range(max(names, default=-1) + 1)))


@dataclass(frozen=True, eq=False)
class FaceLandmarks(_FaceRows):
    """Landmarks of the faces of one photo.

    Args:
        points_xy (`np.ndarray` of shape `(num_faces, num_points, 2)`): Points in photo pixels, float32.

    Raises:
        InvalidFaceInputError: If the shape does not fit or a value is not finite.
    """

    points_xy: np.ndarray

    def __post_init__(self) -> None:
        self._set_array("points_xy", np.float32, (None, None, 2))
        _require_finite("points_xy", self.points_xy)

    @classmethod
    def from_pipeline(cls, faces: Sequence[Mapping[str, Any]]) -> "FaceLandmarks":
        """The landmarks that the face-landmarks pipeline returned for one photo."""
        points_xy = [face["landmarks"] for face in require_faces(faces, "landmarks", "a face of an answer")]
        if len(set(map(len, points_xy))) > 1:
            raise InvalidFaceInputError("The faces differ in their number of landmarks; give the faces of one model.")
        return cls(np.asarray(points_xy))


@dataclass(frozen=True, eq=False)
class FaceAttributes(_FaceRows):
    """Attribute probabilities of the faces of one photo.

    Args:
        probabilities (`np.ndarray` of shape `(num_faces, num_attributes)`): Values in [0, 1], float32.
        label_names (`tuple[str, ...]`): Attribute names, one per column.
        present (`np.ndarray` of shape `(num_faces, num_attributes)`, *optional*): Whether the probability is above the
            model's threshold of the attribute, bool; by default, whether it is above 0.5.

    Raises:
        InvalidFaceInputError: If the shape does not fit or a value lies outside [0, 1].
    """

    probabilities: np.ndarray
    label_names: tuple[str, ...]
    present: np.ndarray | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "label_names", tuple(self.label_names))
        self._set_array("probabilities", np.float32, (None, len(self.label_names)))
        if not ((self.probabilities >= 0) & (self.probabilities <= 1)).all():
            raise InvalidFaceInputError("FaceAttributes.probabilities must lie between 0 and 1.")
        if self.present is None:
            object.__setattr__(self, "present", self.probabilities > 0.5)
        self._set_array("present", np.bool_, self.probabilities.shape)

    @classmethod
    def from_pipeline(cls, faces: Sequence[Mapping[str, Any]]) -> "FaceAttributes":
        """The attributes that the face-attributes pipeline returned for one photo, columns in alphabetical order.

        What a face does not list, because of `top_k`, has probability 0 and is not present.
        """
        faces = require_faces(faces, "attributes", "a face of an answer")
        names = sorted({attribute["label"] for face in faces for attribute in face["attributes"]})
        entries = [{attribute["label"]: attribute for attribute in face["attributes"]} for face in faces]
        unlisted = {"score": 0.0, "present": False}
        listed = [[of_face.get(name, unlisted) for name in names] for of_face in entries]
        scores = [[one["score"] for one in of_face] for of_face in listed]
        present = [[one["present"] for one in of_face] for of_face in listed]
        return cls(np.asarray(scores), tuple(names), np.asarray(present))


def _as_rows(rows, num_rows: int):
    """An index becomes a slice of one row, so that every array keeps its number of dimensions."""
    if not isinstance(rows, (int, np.integer)):
        return rows if isinstance(rows, slice) else np.asarray(rows)
    if not -num_rows <= rows < num_rows:
        raise IndexError(f"Face {rows} was asked for, but there are only {num_rows}.")
    start = int(rows) % num_rows
    return slice(start, start + 1)


def _require_shape(owner: str, name: str, array: np.ndarray, shape: tuple[int | None, ...]) -> None:
    fits = array.ndim == len(shape) and all(
        wanted is None or wanted == size for wanted, size in zip(shape, array.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise InvalidFaceInputError(f"{owner}.{name} has shape {array.shape}; expected ({wanted}).")


def _require_finite(name: str, array: np.ndarray) -> None:
    if not np.isfinite(array).all():
        raise InvalidFaceInputError(f"{name} holds NaN or infinite values; give finite photo pixels.")


def _require_area(boxes_xyxy: np.ndarray) -> None:
    empty = (boxes_xyxy[:, 2] <= boxes_xyxy[:, 0]) | (boxes_xyxy[:, 3] <= boxes_xyxy[:, 1])
    empty |= np.abs(boxes_xyxy).max(axis=1, initial=0) > _FARTHEST_PX  # products of larger sides are not finite
    if empty.any():
        row = int(empty.argmax())
        raise InvalidFaceInputError(
            f"Box {row} is {boxes_xyxy[row].tolist()} and has no area in a photo; give x_min, y_min, x_max, y_max "
            "with x_max > x_min and y_max > y_min."
        )


def plain_faces(faces: Faces) -> list[dict[str, Any]]:
    """Faces as pipelines answer them.

    One dict per face: `score`, `box` {xmin, ymin, xmax, ymax} and `keypoints` (five [x, y], or `None`).
    """
    return [
        {
            "score": float(faces.scores[row]),
            "box": dict(zip(_BOX_SIDES, faces.boxes_xyxy[row].tolist(), strict=True)),
            "keypoints": None if faces.keypoints_xy is None else plain_points(faces.keypoints_xy[row]),
        }
        for row in range(len(faces))
    ]


def plain_points(points_xy: Any) -> list[list[float]]:
    """Points of shape (num_points, 2) as [[x, y], …]."""
    return [[float(x), float(y)] for x, y in points_xy.tolist()]
