"""`--dataset_name lapa --data_dir DIR` and the like: a training step and an evaluation on each published data set."""

import pytest
import raw_layouts

from farl_hf.data.datasets import aflw19
from farl_hf.training.arguments import parse_script_arguments
from farl_hf.training.finetuning import run_face_training

CASES = [
    ("parsing", "lapa", raw_layouts.write_lapa, "validation", "eval_f1_mean"),
    ("parsing", "celebamask_hq", raw_layouts.write_celebamask_hq, "test", "eval_f1_mean"),
    ("landmarks", "w300", raw_layouts.write_w300, "test_challenge", "eval_nme"),
    ("landmarks", "wflw", raw_layouts.write_wflw_hrnet, "test_blur", "eval_nme"),
    ("landmarks", "aflw19", raw_layouts.write_aflw19, "test_frontal", "eval_nme"),
    ("attributes", "celeba", raw_layouts.write_celeba, "validation", "eval_mean_accuracy"),
    ("attributes", "lfwa", raw_layouts.write_lfwa, "test", "eval_mean_accuracy"),
]


@pytest.mark.parametrize(("task", "name", "write", "split", "score"), CASES, ids=[case[1] for case in CASES])
def test_a_step_and_an_evaluation(task, name, write, split, score, tmp_path, monkeypatch):
    monkeypatch.setattr(aflw19, "NUM_TRAIN_FACES", 3)
    monkeypatch.setattr(raw_layouts, "PHOTO_SIZE_WH", (360, 360))  # points far outside a photo are refused
    write(tmp_path / "raw")
    words = ["--config_name", "toy", "--image_size", "32", "--do_train", "--do_eval", "--max_steps", "1"]
    words += ["--dataset_name", name, "--data_dir", str(tmp_path / "raw"), "--eval_split", split]
    words += ["--cache_dir", str(tmp_path / "cache"), "--output_dir", str(tmp_path / "run"), "--min_face_px", "0"]
    words += ["--per_device_train_batch_size", "2", "--dataloader_num_workers", "0", "--use_cpu", "--save_steps", "9"]
    words += ["--alignment", "whole"] if name == "lfwa" else []
    scores = run_face_training(task, *parse_script_arguments(words))
    assert scores[score] >= 0
