"""The columns that all data sets share (docs/conventions.md), as `datasets` features."""

from collections.abc import Sequence

import cv2
import datasets
import numpy as np

from farl_hf.labels import FIVE_FROM_LANDMARKS

__all__ = ["encoded_png", "five_points", "picture_file", "row_features"]

_NUMBER = datasets.Value("float32")
_POINTS = datasets.List(datasets.List(datasets.List(_NUMBER)))
_FEATURES = {
    "image": datasets.Image(),
    "label_map": datasets.Image(),
    "instance_map": datasets.Image(),
    "boxes_xyxy": datasets.List(datasets.List(_NUMBER)),
    "points5_xy": _POINTS,
    "landmarks_xy": _POINTS,
    "attributes": datasets.List(datasets.List(datasets.Value("int8"))),
    "caption": datasets.Value("string"),
    "index": datasets.Value("int64"),
}


def row_features(columns: Sequence[str] = tuple(_FEATURES)) -> datasets.Features:
    """Features of all common columns and the photo's number, or of those named, in their order."""
    return datasets.Features({name: _FEATURES[name] for name in columns})


def five_points(landmarks_xy: np.ndarray) -> np.ndarray:
    """The five alignment points (5, 2) of a face's landmarks (N, 2), N one of 19, 68, 98, 106."""
    groups = FIVE_FROM_LANDMARKS[len(landmarks_xy)]
    return np.stack([landmarks_xy[list(group)].mean(axis=0) for group in groups])


def picture_file(path: str) -> dict[str, object]:
    """A picture that stays where it is: the row holds its path."""
    return {"path": path, "bytes": None}


def encoded_png(picture: np.ndarray) -> dict[str, object]:
    """A picture that lies in the row itself: RGB (H, W, 3) or class ids (H, W), uint8, without loss."""
    ordered = picture[..., ::-1] if picture.ndim == 3 else picture
    return {"path": None, "bytes": cv2.imencode(".png", ordered)[1].tobytes()}
