"""The score threshold of a detector, from the precision-recall curve on annotated photographs.

    python -m benchmarks.detector_threshold FOLDER [--detector NAME_OR_FOLDER]

FOLDER holds `reference.json` (photo name -> `faces` with a `box` each, and `ignore`, boxes that do not count) and a
JPEG of each name. All photos take part, those without faces too.

The rule: among the thresholds that find at least 95 % of the faces of every class of width, the middle of the
interval between two neighbouring scores in which F1 is largest, of several the widest, rounded to two decimals. The
threshold of largest F1 alone is printed too.
"""

import argparse
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image
from transformers import pipeline

import farl_hf
from farl_hf.checkpoints import DEFAULT_CHECKPOINTS

LEAST_SCORE = 0.02  # of the candidates
LEAST_OVERLAP = 0.4  # of a found face with a true one
LEAST_OVERLAP_IGNORED = 0.2  # of a found face with a box that does not count
WIDTHS_PX = (0, 40, 80, 160, 240, 480, float("inf"))  # limits of the classes of true faces
LEAST_RECALL = 0.95  # of every class
SHOWN_THRESHOLDS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


def overlaps(box_xyxy: np.ndarray, boxes_xyxy: np.ndarray) -> np.ndarray:
    """Intersection over union of a box with each of (n, 4)."""
    low, high = np.maximum(box_xyxy[:2], boxes_xyxy[:, :2]), np.minimum(box_xyxy[2:], boxes_xyxy[:, 2:])
    common = np.clip(high - low, 0, None).prod(axis=1)
    areas = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).prod(axis=1)
    return common / ((box_xyxy[2:] - box_xyxy[:2]).prod() + areas - common)


def judge_photo(found: list[dict], true_xyxy: np.ndarray, ignored_xyxy: np.ndarray) -> list[tuple[float, float]]:
    """Score of each found face, the best first, and the width of the true face that it finds, NaN for none.

    Each true face is given away once.
    """
    free = np.ones(len(true_xyxy), bool)
    judged = []
    for face in sorted(found, key=lambda face: -face["score"]):
        box_xyxy = np.array([face["box"][side] for side in ("xmin", "ymin", "xmax", "ymax")])
        overlap = np.where(free, overlaps(box_xyxy, true_xyxy), 0)
        if len(overlap) and overlap.max() >= LEAST_OVERLAP:
            best = overlap.argmax()
            free[best] = False
            judged.append((face["score"], true_xyxy[best, 2] - true_xyxy[best, 0]))
        elif not (overlaps(box_xyxy, ignored_xyxy) > LEAST_OVERLAP_IGNORED).any():
            judged.append((face["score"], np.nan))
    return judged


def curve(judged: list[tuple[float, float]], widths: np.ndarray) -> dict[str, np.ndarray]:
    """Scores in falling order, and the figures where each of them is the last that counts.

    Args:
        judged: From `judge_photo`, of all photos.
        widths (`np.ndarray` of shape `(n,)`): Of all true faces.

    Returns:
        `dict`: `score`, `precision`, `recall`, `f1` (m,); `recalls` (m, classes of width), NaN for an empty class.
    """
    rows = np.array(sorted(judged, key=lambda row: -row[0]))
    hits = np.isfinite(rows[:, 1])
    true, found = np.cumsum(hits), np.arange(1, len(rows) + 1)
    in_class = np.digitize(np.where(hits, rows[:, 1], -1), WIDTHS_PX)[:, None] == np.arange(1, len(WIDTHS_PX))
    totals = np.histogram(widths, WIDTHS_PX)[0]
    recalls = np.cumsum(in_class, axis=0) / np.where(totals, totals, np.nan)
    return {
        "score": rows[:, 0],
        "precision": true / found,
        "recall": true / len(widths),
        "f1": 2 * true / (len(widths) + found),
        "recalls": recalls,
    }


def best_threshold(points: dict[str, np.ndarray], allowed: np.ndarray) -> float:
    """The middle of the widest interval of largest F1 among the allowed points."""
    below = np.append(points["score"][1:], LEAST_SCORE)
    best = allowed & np.isclose(points["f1"], points["f1"][allowed].max())
    index = np.where(best, points["score"] - below, -1).argmax()
    return round(float(points["score"][index] + below[index]) / 2, 2)


def print_row(label: str, points: dict[str, np.ndarray], threshold: float) -> None:
    last = int((points["score"] > threshold).sum()) - 1
    figures = [*(points[name][last] for name in ("precision", "recall", "f1")), *points["recalls"][last]]
    print(f"| {label} | {' | '.join(f'{figure:.3f}' for figure in figures)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--detector", default=DEFAULT_CHECKPOINTS["face-detection"])
    arguments = parser.parse_args()
    reference = json.loads((arguments.folder / "reference.json").read_text())
    detector = pipeline("face-detection", model=str(farl_hf.checkpoint(arguments.detector)))
    judged, widths = [], []
    for name, photo in reference.items():
        found = detector(Image.open(arguments.folder / f"{name}.jpg"), threshold=LEAST_SCORE)
        true_xyxy = np.array([face["box"] for face in photo["faces"]], float).reshape(-1, 4)
        judged += judge_photo(found, true_xyxy, np.array(photo["ignore"], float).reshape(-1, 4))
        widths += list(true_xyxy[:, 2] - true_xyxy[:, 0])
    points = curve(judged, np.array(widths))
    classes = [f"recall, {low} to {high} px" for low, high in pairwise(WIDTHS_PX)]
    print(f"{len(reference)} photos, {len(widths)} faces, detector {arguments.detector}\n")
    print(f"| threshold | precision | recall | F1 | {' | '.join(classes)} |\n|---{'|---' * (3 + len(classes))}|")
    for threshold in SHOWN_THRESHOLDS:
        print_row(str(threshold), points, threshold)
    enough = (np.nan_to_num(points["recalls"], nan=1) >= LEAST_RECALL).all(axis=1)
    chosen, plain = best_threshold(points, enough), best_threshold(points, np.ones_like(enough))
    print_row(f"largest F1: {plain}", points, plain)
    print_row(f"by the rule: {chosen}", points, chosen)


if __name__ == "__main__":
    main()
