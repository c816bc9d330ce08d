"""Time to score label maps, beside two independent implementations.

    python -m benchmarks.metric_speed [--maps N] [--size PIXELS]

Scores N pairs of uint8 label maps with 19 classes one by one, as evaluation does, on one thread. scikit-learn and
torchmetrics are slower; they score a tenth of the maps, and their times are multiplied by ten. The F1 of this tenth
must agree to 1e-6.
"""

import argparse
import time

import numpy as np
import sklearn.metrics
import torch
import torchmetrics

from farl_hf.metrics import confusion_matrix, f1_per_class

NUM_CLASSES = 19
NUM_DIFFERENT = 8  # maps that take turns, so that memory holds them


def make_maps(size: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs (prediction, truth) of smooth random label maps."""
    rng = np.random.default_rng(0)
    pairs = []
    for _ in range(NUM_DIFFERENT):
        coarse = rng.integers(0, NUM_CLASSES, (16, 16)).astype(np.uint8)
        truth = np.kron(coarse, np.ones((-(-size // 16), -(-size // 16)), np.uint8))[:size, :size]
        wrong = rng.random(truth.shape) < 0.1
        pairs.append((np.where(wrong, rng.integers(0, NUM_CLASSES, truth.shape), truth).astype(np.uint8), truth))
    return pairs


def score_ours(pairs):
    return f1_per_class(sum(confusion_matrix(predicted, truth, NUM_CLASSES) for predicted, truth in pairs))


def score_scikit_learn(pairs):
    classes = range(NUM_CLASSES)
    return f1_per_class(
        sum(sklearn.metrics.confusion_matrix(truth.ravel(), found.ravel(), labels=classes) for found, truth in pairs)
    )


def score_torchmetrics(pairs):
    metric = torchmetrics.classification.MulticlassF1Score(num_classes=NUM_CLASSES, average="none")
    for predicted, truth in pairs:
        metric.update(torch.from_numpy(predicted).long(), torch.from_numpy(truth).long())
    return metric.compute().numpy()


def timed(function, pairs):
    start = time.perf_counter()
    return function(pairs), time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", type=int, default=2000)
    parser.add_argument("--size", type=int, default=512)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    different = make_maps(arguments.size)
    pairs = [different[index % NUM_DIFFERENT] for index in range(arguments.maps)]
    few = pairs[: max(1, arguments.maps // 10)]
    _, seconds = timed(score_ours, pairs)
    print(f"{arguments.maps} label maps of {arguments.size} x {arguments.size}")
    print(f"farl_hf       {seconds:7.2f} s")
    ours = score_ours(few)
    for name, function in (("scikit-learn", score_scikit_learn), ("torchmetrics", score_torchmetrics)):
        theirs, few_seconds = timed(function, few)
        difference = np.abs(ours - theirs).max()
        print(f"{name:13} {few_seconds * len(pairs) / len(few):7.2f} s, largest difference of F1 {difference:.1e}")


if __name__ == "__main__":
    main()
