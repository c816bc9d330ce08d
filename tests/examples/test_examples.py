"""Each training script as a user starts it: two steps, two more after an interruption, and the folder loads."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from face_rows import make_face_row
from launched_scripts import run_script
from toy_checkpoints import VISION, save_toy_checkpoints
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    AutoModelForKeypointDetection,
    AutoModelForSemanticSegmentation,
)

from farl_hf import FaRLConfig, FaRLForLandmarks, FaRLImageProcessor
from farl_hf.errors import InvalidArgumentError, UnknownNameError
from farl_hf.training.arguments import parse_script_arguments, read_recipe
from farl_hf.training.finetuning import run_face_training

EXAMPLES = Path(__file__).parents[2] / "examples"
SCRIPTS = {
    "train_face_parsing.py": ("parsing", AutoModelForSemanticSegmentation, "eval_f1_mean", 11),
    "train_landmarks.py": ("landmarks", AutoModelForKeypointDetection, "eval_nme", 68),
    "train_attributes.py": ("attributes", AutoModelForImageClassification, "eval_mean_accuracy", 3),
}


def run_in_another_process(script, *arguments):
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(EXAMPLES / script), *map(str, arguments)]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stderr[-4000:]


def settings(data_folder, output_dir, max_steps):
    return {
        "config_name": "toy",
        "image_size": 32,
        "dataset_name": str(data_folder),
        "do_train": True,
        "do_eval": True,
        "output_dir": str(output_dir),
        "max_steps": max_steps,
        "save_steps": 2,
        "per_device_train_batch_size": 4,
        "dataloader_num_workers": 0,
    }


def as_flags(values):
    return [str(part) for name, value in values.items() for part in (f"--{name}", value)]


@pytest.mark.parametrize("script", SCRIPTS)
def test_script_trains_resumes_and_leaves_a_loadable_folder(script, data_folder, tmp_path):
    task, model_class, main_score, num_labels = SCRIPTS[script]
    output_dir = tmp_path / "run"
    flags = as_flags(settings(data_folder, output_dir, 2))
    if task == "parsing":
        run_in_another_process(script, *flags)
    else:
        run_script(EXAMPLES / script, flags)
    # The interrupted run goes on, told by a JSON file; in this process, because starting one takes so long.
    arguments_file = tmp_path / "arguments.json"
    arguments_file.write_text(json.dumps(settings(data_folder, output_dir, 4)))
    scores = run_face_training(task, *parse_script_arguments([str(arguments_file)]))
    state = json.loads((output_dir / "trainer_state.json").read_text())
    results = json.loads((output_dir / "results.json").read_text())
    assert results["last"]["step"] == 4
    assert results["saved_weights"] == "last"
    assert read_recipe(output_dir / "recipe.yaml").arguments["max_steps"] == 4
    assert state["global_step"] == 4
    assert json.loads((output_dir / "eval_results.json").read_text())[main_score] == pytest.approx(scores[main_score])

    for folder in (output_dir, output_dir / "checkpoint-4"):
        model = model_class.from_pretrained(folder).eval()
        processor = AutoImageProcessor.from_pretrained(folder)
        row = make_face_row(5)
        inputs = processor(row["image"], keypoints=[row["points5_xy"]], return_tensors="pt")
        with torch.no_grad():
            assert model(inputs["pixel_values"]).logits.shape[1] == num_labels == len(model.config.id2label)


def test_scores_of_a_checkpoint_get_another_stride(data_folder, tmp_path):
    checkpoint = save_toy_checkpoints(tmp_path)["face-parsing"]
    values = settings(data_folder, tmp_path / "run", 1)
    values |= {"model_name_or_path": checkpoint, "score_stride": 8, "image_size": 64}
    del values["config_name"]
    run_face_training("parsing", *parse_script_arguments(as_flags(values)))
    start, model = map(AutoModelForSemanticSegmentation.from_pretrained, (checkpoint, tmp_path / "run"))
    crops = torch.zeros(1, 3, 64, 64)
    assert [parser(crops).logits.shape[-1] for parser in (start, model)] == [16, 8]


def test_a_head_starts_from_another_heads_checkpoint(data_folder, tmp_path):
    parser, landmarks = tmp_path / "parser", tmp_path / "landmarks"
    weights = ["--label_weights", *["2"] * 11]  # of the parser's classes: they mean nothing to 68 points
    run_face_training("parsing", *parse_script_arguments([*as_flags(settings(data_folder, parser, 1)), *weights]))
    values = settings(data_folder, landmarks, 1) | {
        "model_name_or_path": parser,
        "freeze_backbone": True,
        "ema_decay": 0,
    }
    del values["config_name"]
    run_face_training("landmarks", *parse_script_arguments(as_flags(values)))
    first = AutoModelForSemanticSegmentation.from_pretrained(parser).vision_model.state_dict()
    assert AutoModelForSemanticSegmentation.from_pretrained(parser).config.label_weights == [2.0] * 11
    second = AutoModelForKeypointDetection.from_pretrained(landmarks).vision_model.state_dict()
    assert all(first[name].equal(second[name]) for name in first)


@pytest.mark.parametrize(
    ("flag", "numbers", "message"),
    [
        ("--feature_levels", [0, 1, 2, 9], r"must lie in 0\.\.3"),
        ("--feature_levels", [1, 1], "names 2 blocks, but a head reads four"),
        ("--label_weights", [1, 2], "label_weights=.*list of 11"),
        ("--output_stride", [3], "output_stride=3 does not suit patches of 16"),
    ],
)
def test_settings_that_a_checkpoint_cannot_fulfil_are_explained(flag, numbers, message, data_folder, tmp_path):
    checkpoint = save_toy_checkpoints(tmp_path)["face-landmarks"]
    values = settings(data_folder, tmp_path / "run", 1) | {"model_name_or_path": checkpoint}
    del values["config_name"]
    with pytest.raises(InvalidArgumentError, match=message):
        run_face_training("parsing", *parse_script_arguments([*as_flags(values), flag, *map(str, numbers)]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config_name": "huge"}, "no model recipe or JSON file 'huge'"),
        ({"augmentation": "lapa"}, "no augmentation recipe"),
        ({"eval_split": "dev"}, "no split 'dev'"),
        ({"label_set": "helen"}, "no label set 'helen'"),
    ],
)
def test_wrong_names_are_explained(changes, message, data_folder, tmp_path):
    flags = as_flags(settings(data_folder, tmp_path, 1) | changes)
    with pytest.raises(UnknownNameError, match=message):
        run_face_training("parsing", *parse_script_arguments(flags))


def test_an_evaluation_compares_equal_classes(data_folder, tmp_path):
    """Scores by id of other classes would say nothing."""
    checkpoint = save_toy_checkpoints(tmp_path / "toys")["face-parsing"]
    values = settings(data_folder, tmp_path / "run", 1) | {"model_name_or_path": checkpoint, "do_train": False}
    del values["config_name"]
    with pytest.raises(InvalidArgumentError, match="the label maps hold celebamask"):
        run_face_training("parsing", *parse_script_arguments(as_flags(values | {"label_set": "celebamask"})))
    FaRLForLandmarks(FaRLConfig(vision_config=VISION, num_labels=19)).save_pretrained(tmp_path / "others")
    FaRLImageProcessor(size=32).save_pretrained(tmp_path / "others")
    values["model_name_or_path"] = tmp_path / "others"
    with pytest.raises(InvalidArgumentError, match="68 landmarks, but the model predicts 19"):
        run_face_training("landmarks", *parse_script_arguments(as_flags(values)))
    with pytest.raises(InvalidArgumentError, match="needs --model-name-or-path"):
        run_face_training(
            "parsing", *parse_script_arguments(as_flags(settings(data_folder, tmp_path, 1) | {"do_train": False}))
        )
