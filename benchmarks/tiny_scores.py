"""Scores of the built-in models, in the frame of the photo and on the original labels.

    python -m benchmarks.tiny_scores [--limit N] [--json FILE] [--checkpoints DIR]

Parsing, landmarks and attributes: SyntheticFaces `portraits`, test split, every face whose eyes are at least 12 px
apart, cropped by its true five points. Detection: SyntheticFaces `scenes`, test split. Then the astronaut photograph,
and the cost of mapping 32 parsed faces back to a 1080p photo. Prints a Markdown table.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import torch
from tqdm.auto import tqdm
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    AutoModelForKeypointDetection,
    AutoModelForObjectDetection,
    AutoModelForSemanticSegmentation,
    pipeline,
)

import farl_hf  # noqa: F401 - registers models and pipelines
from farl_hf.checkpoints import DEFAULT_CHECKPOINTS, checkpoint
from farl_hf.data.loading import load_face_dataset
from farl_hf.data.samples.face_samples import FaceSamples, collate_face_samples
from farl_hf.labels import CELEBA_ATTRIBUTES, FIVE_POINTS
from farl_hf.training.evaluation.detection import evaluate_face_detection
from farl_hf.training.evaluation.photo_frame import make_evaluation

BATCH_SIZE = 16
DEFAULT_LIMIT = 500
MOST_FACES_SHOWN = 3
FACE_MODELS = {
    "parsing": AutoModelForSemanticSegmentation,
    "landmarks": AutoModelForKeypointDetection,
    "attributes": AutoModelForImageClassification,
}


# Name and unit of each printed figure.
FIGURES = {
    "parsing F1 mean (10 classes)": "",
    "landmarks NME (inter-ocular)": " %",
    "attributes mAcc": " %",
    "detection AP@0.5": "",
    "astronaut: faces found": "",
    "post-processing, 32 faces, 1080p: time": " s",
    "post-processing, 32 faces, 1080p: memory": " MiB",
}


def folder_of(task: str, checkpoints: Path | None) -> Path:
    """Folder of a task's model: of that name in `checkpoints` when given and there, else the embedded one."""
    name = DEFAULT_CHECKPOINTS[f"face-{task}"]
    if checkpoints is not None and (checkpoints / name).is_dir():
        return checkpoints / name
    return checkpoint(name)


def attribute_columns(task: str, label_names: list[str]) -> list[int] | None:
    """Columns of the data set that the attribute model scores."""
    return [CELEBA_ATTRIBUTES.index(name) for name in label_names] if task == "attributes" else None


def score_face_task(task: str, folder: Path, limit: int) -> dict[str, float]:
    """Scores of one face model on the test portraits."""
    model = FACE_MODELS[task].from_pretrained(folder, dtype="float32").eval()
    processor = AutoImageProcessor.from_pretrained(folder)
    names = [model.config.id2label[index] for index in range(len(model.config.id2label))]
    rows = test_split("portraits", limit)
    columns = attribute_columns(task, names)
    samples = FaceSamples(rows, processor, task, attribute_columns=columns, with_photo_labels=True)
    evaluation = make_evaluation(task, processor, names)
    statistics = []
    for start in tqdm(range(0, len(samples), BATCH_SIZE), desc=task):
        items = range(start, min(start + BATCH_SIZE, len(samples)))
        batch = collate_face_samples([samples[item] for item in items])
        statistics.append(evaluation.statistics(model(pixel_values=batch["pixel_values"]), batch))
    return evaluation.scores(torch.cat(statistics).numpy()) | {"num_faces": len(samples)}


def test_split(config_name: str, limit: int):
    """The first photos of the test split, rendered if they are not in the cache."""
    sizes = {"train": 0, "validation": 0, "test": limit}
    return load_face_dataset("synthetic_faces", config_name, num_photos=sizes)["test"]


def score_detection(folder: Path, limit: int) -> dict[str, float]:
    """Average precision on the test scenes."""
    model = AutoModelForObjectDetection.from_pretrained(folder, dtype="float32").eval()
    return evaluate_face_detection(model, AutoImageProcessor.from_pretrained(folder), test_split("scenes", limit))


def find_astronaut(folder: Path) -> list[dict]:
    """Faces of the astronaut photograph, by the detection pipeline."""
    import PIL.Image
    import skimage.data

    detector = pipeline("face-detection", model=str(folder))
    return detector(PIL.Image.fromarray(skimage.data.astronaut()))


def measure_post_processing(folder: Path) -> dict[str, float]:
    """Time and memory, in a process of its own so that nothing else is in the measurement."""
    command = [sys.executable, "-m", "benchmarks.post_processing_cost", "--checkpoint", str(folder)]
    finished = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    return json.loads(finished.stdout.strip().splitlines()[-1])


def collect(limit: int, checkpoints: Path | None) -> dict[str, dict]:
    """All measurements by name."""
    with torch.inference_mode():
        results: dict[str, dict] = {
            task: score_face_task(task, folder_of(task, checkpoints), limit) for task in FACE_MODELS
        }
        results["detection"] = score_detection(folder_of("detection", checkpoints), limit)
        results["astronaut"] = {"faces": find_astronaut(folder_of("detection", checkpoints))}
    results["post_processing"] = measure_post_processing(folder_of("parsing", checkpoints))
    return results


def figures(results: dict[str, dict]) -> dict[str, float]:
    """The printed figures, in their units."""
    return dict(
        zip(
            FIGURES,
            (
                results["parsing"]["f1_mean"],
                100 * results["landmarks"]["nme"],
                100 * results["attributes"]["mean_accuracy"],
                results["detection"]["average_precision"],
                len(results["astronaut"]["faces"]),
                results["post_processing"]["seconds"],
                results["post_processing"]["peak_mib"],
            ),
            strict=True,
        )
    )


def print_table(results: dict[str, dict], limit: int) -> None:
    """Markdown: one row per figure."""
    print(f"\nSyntheticFaces test split, first {limit} photos of each configuration.\n")
    print("| figure | value |\n|---|---|")
    for name, value in figures(results).items():
        shown = f"{value:.3f}" if isinstance(value, float) else str(value)
        print(f"| {name} | {shown}{FIGURES[name]} |")
    for face in results["astronaut"]["faces"][:MOST_FACES_SHOWN]:
        named = zip(FIVE_POINTS, face["keypoints"], strict=True)
        points = ", ".join(f"{name} ({x:.0f}, {y:.0f})" for name, (x, y) in named)
        print(f"\nAstronaut, score {face['score']:.3f}: {points}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=DEFAULT_LIMIT, help="Photos of each configuration.")
    parser.add_argument("--json", type=Path, help="Also write all scores here.")
    parser.add_argument("--checkpoints", type=Path, help="Folder whose checkpoints replace the embedded ones.")
    arguments = parser.parse_args()
    results = collect(arguments.limit, arguments.checkpoints)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")
    print_table(results, arguments.limit)


if __name__ == "__main__":
    main()
