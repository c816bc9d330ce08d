"""The score threshold of a detector, from the precision-recall curve on annotated photographs.

    python -m benchmarks.detector_threshold FOLDER [--detector NAME_OR_FOLDER]

FOLDER holds `reference.json` (photo name -> `faces` with a `box` each, and `ignore`, boxes that do not count) and a
JPEG of each name. All photos take part, those without faces too.

The rule: the threshold is the middle of the interval between two neighbouring scores in which F1 is largest, of
several the widest, rounded to two decimals.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image
from transformers import pipeline

import farl_hf
from farl_hf.checkpoints import DEFAULT_CHECKPOINTS

LEAST_SCORE = 0.02  # of the candidates
LEAST_OVERLAP = 0.4  # of a found face with a true one
LEAST_OVERLAP_IGNORED = 0.2  # of a found face with a box that does not count
SHOWN_THRESHOLDS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


def overlaps(box_xyxy: np.ndarray, boxes_xyxy: np.ndarray) -> np.ndarray:
    """Intersection over union of a box with each of (n, 4)."""
    low, high = np.maximum(box_xyxy[:2], boxes_xyxy[:, :2]), np.minimum(box_xyxy[2:], boxes_xyxy[:, 2:])
    common = np.clip(high - low, 0, None).prod(axis=1)
    areas = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).prod(axis=1)
    return common / ((box_xyxy[2:] - box_xyxy[:2]).prod() + areas - common)


def judge_photo(found: list[dict], true_xyxy: np.ndarray, ignored_xyxy: np.ndarray) -> list[tuple[float, bool]]:
    """Score and truth of each found face, the best first; each true face is given away once."""
    free = np.ones(len(true_xyxy), bool)
    judged = []
    for face in sorted(found, key=lambda face: -face["score"]):
        box_xyxy = np.array([face["box"][side] for side in ("xmin", "ymin", "xmax", "ymax")])
        overlap = np.where(free, overlaps(box_xyxy, true_xyxy), 0)
        if len(overlap) and overlap.max() >= LEAST_OVERLAP:
            free[overlap.argmax()] = False
            judged.append((face["score"], True))
        elif not (overlaps(box_xyxy, ignored_xyxy) > LEAST_OVERLAP_IGNORED).any():
            judged.append((face["score"], False))
    return judged


def curve(judged: list[tuple[float, bool]], num_faces: int) -> dict[str, np.ndarray]:
    """Scores in falling order, and precision, recall and F1 where each of them is the last that counts."""
    scores, hits = (np.array(column) for column in zip(*sorted(judged, key=lambda pair: -pair[0]), strict=True))
    true = np.cumsum(hits)
    found = np.arange(1, len(scores) + 1)
    f1 = 2 * true / (num_faces + found)
    return {"score": scores, "precision": true / found, "recall": true / num_faces, "f1": f1}


def best_threshold(points: dict[str, np.ndarray]) -> float:
    """The threshold by the rule above."""
    below = np.append(points["score"][1:], LEAST_SCORE)
    best = np.isclose(points["f1"], points["f1"].max())
    widths = np.where(best, points["score"] - below, -1)
    index = widths.argmax()
    return round(float(points["score"][index] + below[index]) / 2, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--detector", default=DEFAULT_CHECKPOINTS["face-detection"])
    arguments = parser.parse_args()
    reference = json.loads((arguments.folder / "reference.json").read_text())
    detector = pipeline("face-detection", model=str(farl_hf.checkpoint(arguments.detector)))
    judged, num_faces = [], 0
    for name, photo in reference.items():
        found = detector(Image.open(arguments.folder / f"{name}.jpg"), threshold=LEAST_SCORE)
        true_xyxy = np.array([face["box"] for face in photo["faces"]], float).reshape(-1, 4)
        judged += judge_photo(found, true_xyxy, np.array(photo["ignore"], float).reshape(-1, 4))
        num_faces += len(true_xyxy)
    points = curve(judged, num_faces)
    print(f"{len(reference)} photos, {num_faces} faces, detector {arguments.detector}\n")
    print("| threshold | precision | recall | F1 |\n|---|---|---|---|")
    for threshold in SHOWN_THRESHOLDS:
        last = int((points["score"] > threshold).sum()) - 1
        figures = (f"{points[name][last]:.3f}" for name in ("precision", "recall", "f1"))
        print(f"| {threshold} | {' | '.join(figures)} |")
    print(f"\nlargest F1 {points['f1'].max():.4f}; threshold by the rule: {best_threshold(points)}")


if __name__ == "__main__":
    main()
