"""Which of the new boxes continues which of the old."""

import numpy as np

__all__ = ["match_boxes"]

_LEAST_OVERLAP = 0.3  # IoU; a face of the same size moved by about half its width


def match_boxes(old_xyxy: np.ndarray, new_xyxy: np.ndarray, least_overlap: float = _LEAST_OVERLAP) -> dict[int, int]:
    """Pairs of boxes, the best overlap first, each box once.

    Args:
        old_xyxy (`np.ndarray` of shape `(n, 4)`): x_min, y_min, x_max, y_max.
        new_xyxy (`np.ndarray` of shape `(m, 4)`): The same of another frame.
        least_overlap (`float`): IoU that a pair needs.

    Returns:
        `dict[int, int]`: Index of the new box -> index of the old one.
    """
    if not len(old_xyxy) or not len(new_xyxy):
        return {}
    overlaps = _overlaps(old_xyxy, new_xyxy)
    pairs: dict[int, int] = {}
    for flat in np.argsort(-overlaps, axis=None, kind="stable"):
        old, new = divmod(int(flat), len(new_xyxy))
        if overlaps[old, new] < least_overlap:
            break
        if new not in pairs and old not in pairs.values():
            pairs[new] = old
    return pairs


def _overlaps(old_xyxy: np.ndarray, new_xyxy: np.ndarray) -> np.ndarray:
    """Intersection over union, (n, m)."""
    low = np.maximum(old_xyxy[:, None, :2], new_xyxy[None, :, :2])
    high = np.minimum(old_xyxy[:, None, 2:], new_xyxy[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(axis=-1)
    areas_old, areas_new = ((boxes[:, 2:] - boxes[:, :2]).prod(axis=-1) for boxes in (old_xyxy, new_xyxy))
    return common / (areas_old[:, None] + areas_new[None] - common)
