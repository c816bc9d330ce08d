"""Thresholds of attributes from photographs whose attributes were named by eye, with their precision.

    python -m benchmarks.attribute_thresholds FOLDER [--model NAME_OR_FOLDER] [--alarms 0.15] [--least 3] [--write]

FOLDER holds `reference.json` (per photo `faces`, each with `keypoints` and `attributes`, true, false or null) and the
photos as `NAME.jpg`. The threshold of an attribute gives the largest recall at no more than `--alarms` false alarms,
then the fewest false alarms; it is the middle, in log-odds, of the two scores between which it lies. Attributes with
fewer than `--least` faces that have them, or that lack them, keep 0.5. `beard` sets the threshold of `no_beard`.

`--write` stores the thresholds as `attribute_thresholds` in the `config.json` of the model's folder; of a built-in
model also the new commit, from which caches tell one version from another.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image
from transformers import pipeline

from farl_hf.checkpoints import EMBEDDED_CHECKPOINTS, checkpoint
from farl_hf.checkpoints.embedded_models import embedded_folder
from farl_hf.checkpoints.packing import store_commits
from farl_hf.whole_files import write_whole

# Attribute of the reference: attribute of the model that is its opposite.
OPPOSITES = {"beard": "no_beard"}
LEAST_THRESHOLD = 1e-6  # that `FaRLConfig` takes; the largest is as far from 1


def scores_and_truths(folder: Path, model: str | None) -> dict[str, list[tuple[float, bool]]]:
    """(score, whether it is there) of all faces, by the model's attribute."""
    describe = pipeline("face-attributes", **({"model": model} if model else {}))
    found: dict[str, list[tuple[float, bool]]] = {}
    for name, photo in json.loads((folder / "reference.json").read_text()).items():
        faces = [face for face in photo["faces"] if face["attributes"] and face["keypoints"]]
        if not faces:
            continue
        picture = Image.open(folder / f"{name}.jpg").convert("RGB")
        for face in faces:
            answer = describe({"image": picture, "keypoints": [face["keypoints"]]})[0]["attributes"]
            scores = {entry["label"]: entry["score"] for entry in answer}
            for attribute, there in face["attributes"].items():
                label = OPPOSITES.get(attribute, attribute)
                if there is not None and label in scores:
                    found.setdefault(label, []).append((scores[label], there == (label == attribute)))
    return found


def best_threshold(pairs: list[tuple[float, bool]], most_alarms: float) -> float:
    """The largest recall within the limit of false alarms, then the fewest of them, then the widest gap of scores.

    It has as few digits as keep it in that gap, three at least.
    """
    scores = np.clip(np.array([score for score, _ in pairs]), LEAST_THRESHOLD, 1 - LEAST_THRESHOLD)
    there = np.array([there for _, there in pairs])
    order = np.argsort(scores)
    scores, there = scores[order], there[order]
    # Cut k puts the first k scores below the threshold.
    recall = 1 - np.concatenate([[0], np.cumsum(there)]) / there.sum()
    alarms = 1 - np.concatenate([[0], np.cumsum(~there)]) / (~there).sum()
    odds = np.log(scores / (1 - scores))
    edges = np.concatenate([[odds[0] - 1], odds, [odds[-1] + 1]])
    gaps = np.diff(edges)  # no threshold lies between equal scores
    allowed = [cut for cut in range(len(gaps)) if gaps[cut] > 0 and alarms[cut] <= most_alarms]
    cut = max(allowed, key=lambda cut: (round(recall[cut], 6), -round(alarms[cut], 6), gaps[cut]))
    low, middle, high = (
        float(1 / (1 + np.exp(-value))) for value in (edges[cut], (edges[cut] + edges[cut + 1]) / 2, edges[cut + 1])
    )
    short = next((value for digits in range(3, 17) if low < (value := round(middle, digits)) < high), middle)
    return min(max(short, LEAST_THRESHOLD), 1 - LEAST_THRESHOLD)


def rates(pairs: list[tuple[float, bool]], threshold: float) -> tuple[float, float, float]:
    """Recall, share of false alarms, precision (NaN where nothing is found)."""
    found = np.array([score > threshold for score, _ in pairs])
    there = np.array([there for _, there in pairs])
    precision = there[found].mean() if found.any() else float("nan")
    return float(found[there].mean()), float(found[~there].mean()), float(precision)


def write_thresholds(folder: Path, thresholds: dict[str, float]) -> None:
    """Store the thresholds in the configuration of a checkpoint, and the commit of a built-in one."""
    config = folder / "config.json"
    settings = json.loads(config.read_text()) | {"attribute_thresholds": thresholds}
    write_whole(config, (json.dumps(settings, indent=2) + "\n").encode())
    if folder.resolve() in map(embedded_folder, EMBEDDED_CHECKPOINTS):
        store_commits()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="reference.json and photos")
    parser.add_argument("--model", help="name or folder of an attributes checkpoint; the built-in one by default")
    parser.add_argument("--alarms", type=float, default=0.15, help="share of false alarms at most")
    parser.add_argument("--least", type=int, default=3, help="faces with and without the attribute at least")
    parser.add_argument("--write", action="store_true", help="store the thresholds in the model's config.json")
    arguments = parser.parse_args()
    thresholds = {}
    for label, pairs in scores_and_truths(arguments.folder, arguments.model).items():
        num_there = sum(there for _, there in pairs)
        if min(num_there, len(pairs) - num_there) < arguments.least:
            print(f"{label}: {num_there} of {len(pairs)} faces have it; 0.5 stays")
            continue
        thresholds[label] = best_threshold(pairs, arguments.alarms)
        for threshold in (0.5, thresholds[label]):
            recall, alarms, precision = rates(pairs, threshold)
            print(
                f"{label} ({num_there} of {len(pairs)}) above {threshold}: recall {recall:.3f}, false alarms"
                f" {alarms:.3f}, precision {precision:.3f}"
            )
    print(json.dumps({"attribute_thresholds": thresholds}))
    if arguments.write:
        write_thresholds(checkpoint(arguments.model or "farl-tiny-attributes"), thresholds)


if __name__ == "__main__":
    main()
