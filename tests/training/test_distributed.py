"""Scores do not depend on the number of processes, although the last batch is padded with repeated samples."""

import json
from pathlib import Path

import datasets
import pytest
from face_rows import make_face_dataset
from launched_scripts import run_together

from farl_hf import FaRLForFaceParsing, FaRLImageProcessor
from farl_hf.training.arguments import parse_script_arguments
from farl_hf.training.finetuning import run_face_training

SCRIPT = Path(__file__).parents[2] / "examples" / "train_face_parsing.py"


def test_two_processes_score_as_one(toy_config, tmp_path):
    datasets.DatasetDict(validation=make_face_dataset(5)).save_to_disk(str(tmp_path / "faces"))
    FaRLForFaceParsing(toy_config(num_labels=11)).save_pretrained(tmp_path / "model")
    FaRLImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "model")
    flags = ["--model_name_or_path", tmp_path / "model", "--dataset_name", tmp_path / "faces", "--do_eval"]
    flags = [*map(str, flags), "--per_device_eval_batch_size", "2", "--dataloader_num_workers", "0"]
    alone = run_face_training("parsing", *parse_script_arguments([*flags, "--output_dir", str(tmp_path / "one")]))
    run_together(SCRIPT, [*flags, "--output_dir", tmp_path / "two", "--ddp_backend", "gloo"])
    together = json.loads((tmp_path / "two" / "eval_results.json").read_text())
    scores = [name for name in alone if "f1" in name or "accuracy" in name]
    assert {name: together[name] for name in scores} == pytest.approx({name: alone[name] for name in scores}, abs=0)
