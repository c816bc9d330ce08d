"""Results as plain Python values, the way pipelines answer."""

from typing import Any

from farl_hf.results import Faces

__all__ = ["plain_faces", "plain_points"]

_BOX_SIDES = ("xmin", "ymin", "xmax", "ymax")


def plain_faces(faces: Faces) -> list[dict[str, Any]]:
    """One dict per face: `score`, `box` {xmin, ymin, xmax, ymax} and `keypoints` (five [x, y], or `None`)."""
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
