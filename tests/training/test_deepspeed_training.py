"""A parser trained by two processes under ZeRO-2 and ZeRO-3 scores as one trained by a single process.

Not the same weights: each process's batch norms see its own four faces, one process's see all eight.
"""

import json
import shutil
from pathlib import Path

import datasets
import pytest
import torch
from face_rows import make_face_dataset
from launched_scripts import run_together
from safetensors.torch import load_file

from farl_hf.training.arguments import parse_script_arguments
from farl_hf.training.finetuning import run_face_training

EXAMPLES = Path(__file__).parents[2] / "examples"
SCRIPT = EXAMPLES / "train_face_parsing.py"
STEPS, SAVE_STEPS = 120, 100


def make_flags(faces, output_dir, **changes):
    settings = {
        "config_name": "toy", "dataset_name": faces, "image_size": 32, "augmentation": "none", "do_train": True,
        "do_eval": True, "output_dir": output_dir, "max_steps": STEPS, "save_steps": SAVE_STEPS, "ema_decay": 0.9,
        "per_device_eval_batch_size": 1, "backbone_learning_rate": 3e-3, "head_learning_rate": 1e-2,
        "dataloader_num_workers": 0, "report_to": "none", "disable_tqdm": True, "log_level": "error",
    } | changes  # fmt: skip
    return [str(part) for name, value in settings.items() for part in (f"--{name}", value)]


def scores_of(folder):
    scores = json.loads((Path(folder) / "eval_results.json").read_text())
    return {name: value for name, value in scores.items() if "f1" in name or "accuracy" in name}


def scores_of_saved(folder, faces):
    """Scores by one process of what a training has saved."""
    flags = ["--model_name_or_path", folder, "--dataset_name", faces, "--do_eval", "--dataloader_num_workers", "0"]
    flags += ["--output_dir", folder / "evaluated", "--per_device_eval_batch_size", "1", "--image_size", "32"]
    run_face_training("parsing", *parse_script_arguments(list(map(str, flags))))
    return scores_of(folder / "evaluated")


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faces")
    splits = {"train": make_face_dataset(16), "validation": make_face_dataset(5, first_index=100)}
    datasets.DatasetDict(splits).save_to_disk(str(folder))
    return folder


@pytest.fixture(scope="module")
def alone(faces, tmp_path_factory):
    """Scores after training by one process with batches of eight."""
    folder = tmp_path_factory.mktemp("alone")
    flags = make_flags(faces, folder, per_device_train_batch_size=8)
    run_face_training("parsing", *parse_script_arguments(flags))
    return scores_of(folder)


@pytest.mark.nightly
@pytest.mark.parametrize("stage", [2, 3])
def test_two_processes_score_as_one_and_go_on_where_they_stopped(faces, alone, tmp_path, stage):
    flags = make_flags(
        faces,
        tmp_path,
        per_device_train_batch_size=4,
        ddp_backend="gloo",
        deepspeed=EXAMPLES / "deepspeed" / f"zero{stage}.json",
    )
    run_together(SCRIPT, flags)
    scores, weights = scores_of(tmp_path), load_file(tmp_path / "model.safetensors")
    assert alone["eval_f1_skin"] > 0.9  # it has learned what can differ
    assert scores == pytest.approx(alone, abs=0.005)
    averages = load_file(tmp_path / f"checkpoint-{STEPS}" / "training_weights.safetensors")
    assert averages["average.head.classifier.weight"].equal(weights["head.classifier.weight"])
    assert scores_of_saved(tmp_path, faces) == scores

    shutil.rmtree(tmp_path / f"checkpoint-{STEPS}")
    run_together(SCRIPT, flags)
    assert scores_of(tmp_path) == scores
    resumed = load_file(tmp_path / "model.safetensors")
    name = "head.classifier.weight"
    torch.testing.assert_close(resumed[name], weights[name], rtol=1e-4, atol=1e-5)
