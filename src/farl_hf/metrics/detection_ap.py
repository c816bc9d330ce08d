"""Average precision of face detection (Everingham et al., "The PASCAL VOC Challenge", as used for WIDER FACE).

Detections of all photos are sorted by score. A detection is correct if the face that it overlaps most, overlaps it by
at least `iou_threshold` and was not found by a better detection. Precision is made non-increasing, then integrated
over recall without sampling.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torchvision.ops import box_iou

from farl_hf.errors import InvalidFaceInputError


def box_overlaps(boxes_xyxy: np.ndarray, others_xyxy: np.ndarray) -> np.ndarray:
    """
    Intersections over union of all pairs of boxes.

    Convention: continuous pixels, so a box from 3 to 5 is two pixels wide.

    Args:
        boxes_xyxy (`np.ndarray` of shape (n, 4)): Boxes.
        others_xyxy (`np.ndarray` of shape (m, 4)): Boxes in the same frame.

    Returns:
        `np.ndarray` of shape (n, m), float64; 0 where both boxes are empty.
    """
    boxes, others = (
        torch.from_numpy(np.asarray(given, np.float64).reshape(-1, 4)) for given in (boxes_xyxy, others_xyxy)
    )
    return box_iou(boxes, others).nan_to_num(0).numpy()


def match_detections(
    scores: np.ndarray, boxes_xyxy: np.ndarray, faces_xyxy: np.ndarray, iou_threshold: float = 0.5
) -> np.ndarray:
    """
    Which detections of one photo are correct.

    Args:
        scores (`np.ndarray` of shape (n,)): Confidence of the detections, in any order.
        boxes_xyxy (`np.ndarray` of shape (n, 4)): Detected boxes.
        faces_xyxy (`np.ndarray` of shape (m, 4)): True faces.
        iou_threshold (`float`): Least overlap of a correct detection.

    Returns:
        `np.ndarray` of shape (n,), bool, in the order of the detections.
    """
    correct = np.zeros(len(scores), dtype=bool)
    if len(faces_xyxy) == 0 or len(scores) == 0:
        return correct
    overlaps = box_overlaps(boxes_xyxy, faces_xyxy)
    best_face, best_overlap = overlaps.argmax(axis=1), overlaps.max(axis=1)
    found = np.zeros(len(faces_xyxy), dtype=bool)
    for index in np.argsort(-np.asarray(scores), kind="stable"):
        face = best_face[index]
        correct[index] = best_overlap[index] >= iou_threshold and not found[face]
        found[face] |= correct[index]
    return correct


def average_precision(
    detections: Sequence[dict[str, Any]], ground_truths: Sequence[Any], iou_threshold: float = 0.5
) -> dict[str, Any]:
    """
    Average precision, and the curve that it is the area of.

    Args:
        detections (`Sequence[dict]`): For every photo `scores` (n,) and `boxes_xyxy` (n, 4), arrays or tensors.
        ground_truths (`Sequence[np.ndarray]`): For every photo the true boxes (m, 4), m may be 0.
        iou_threshold (`float`): Least overlap of a correct detection.

    Returns:
        `dict`: `average_precision`, `recall` and `precision` over all detections (floats), `num_faces`,
        `num_detections` (integers), and the curve: `scores`, `recalls`, `precisions` (arrays of shape
        (num_detections,), best score first). Without faces the average precision is NaN.

    Raises:
        InvalidFaceInputError: The numbers of photos differ, those of scores and boxes of a photo differ, boxes are
            not rows of four numbers, or a score is not finite.

    Example:
        ```python
        >>> from farl_hf.metrics.detection_ap import average_precision

        >>> found = {"scores": [0.9, 0.8], "boxes_xyxy": [[0, 0, 10, 10], [50, 50, 60, 60]]}
        >>> average_precision([found], [[[0, 0, 10, 9], [20, 20, 30, 30]]])["average_precision"]
        0.5

        ```
    """
    if len(detections) != len(ground_truths):
        raise InvalidFaceInputError(
            f"There are detections of {len(detections)} photos and faces of {len(ground_truths)}; expected as many."
        )
    scores_of_photos, correct_of_photos, num_faces = [np.zeros(0)], [np.zeros(0, dtype=bool)], 0
    for found, faces in zip(detections, ground_truths, strict=True):
        faces_xyxy, found_boxes = _boxes(faces), _boxes(found["boxes_xyxy"])
        found_scores = np.asarray(found["scores"], dtype=np.float64).reshape(-1)
        if len(found_scores) != len(found_boxes) or not np.isfinite(found_scores).all():
            raise InvalidFaceInputError(
                f"{len(found_boxes)} boxes have the scores {found_scores[:5].tolist()}; expected a finite one each."
            )
        scores_of_photos.append(found_scores)
        correct_of_photos.append(match_detections(found_scores, found_boxes, faces_xyxy, iou_threshold))
        num_faces += len(faces_xyxy)
    scores, correct = np.concatenate(scores_of_photos), np.concatenate(correct_of_photos)
    order = np.argsort(-scores, kind="stable")
    return {**_precision_recall(correct[order], num_faces), "scores": scores[order]}


def _boxes(given: Any) -> np.ndarray:
    boxes = np.asarray(given, dtype=np.float64)
    if boxes.size and (boxes.ndim != 2 or boxes.shape[1] != 4):
        raise InvalidFaceInputError(f"Boxes have shape {boxes.shape}; expected (n, 4).")
    return boxes.reshape(-1, 4)


def _precision_recall(correct: np.ndarray, num_faces: int) -> dict[str, Any]:
    """The curve, its area and its end, from detections sorted by score."""
    true_positives = np.cumsum(correct)
    precisions = true_positives / np.arange(1, len(correct) + 1)
    recalls = true_positives / max(num_faces, 1)
    envelope = np.maximum.accumulate(precisions[::-1])[::-1]
    area = float((np.diff(recalls, prepend=0.0) * envelope).sum())
    return {
        "average_precision": area if num_faces else float("nan"),
        "recall": float(recalls[-1]) if len(correct) else 0.0,
        "precision": float(precisions[-1]) if len(correct) else 0.0,
        "num_faces": num_faces,
        "num_detections": len(correct),
        "recalls": recalls,
        "precisions": precisions,
    }
