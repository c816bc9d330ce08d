"""`--dataset_name lapa --data_dir DIR` and the like: a training step and an evaluation on each published data set."""

import datasets
import pytest
import raw_layouts
from face_rows import make_face_dataset

from farl_hf.data.datasets import aflw19
from farl_hf.errors import InvalidArgumentError, InvalidDatasetError
from farl_hf.training import finetuning
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
    words += ["--cache_dir", str(tmp_path / "cache"), "--output_dir", str(tmp_path / "run")]
    words += ["--per_device_train_batch_size", "2", "--dataloader_num_workers", "0", "--use_cpu", "--save_steps", "9"]
    if name == "lfwa":
        with pytest.raises(InvalidDatasetError, match="without points5_xy"):
            run_face_training(task, *parse_script_arguments(words))
        words += ["--alignment", "whole"]
    scores = run_face_training(task, *parse_script_arguments(words))
    assert scores[score] >= 0


def join(task, tmp_path, *names, changes=()):
    words = ["--config_name", "toy", "--image_size", "32", "--do_train", "--max_steps", "1", "--use_cpu"]
    words += ["--dataset_name", *map(str, names), "--data_dir", str(tmp_path), "--cache_dir", str(tmp_path / "cache")]
    words += ["--output_dir", str(tmp_path / "run"), "--per_device_train_batch_size", "8"]
    words += ["--dataloader_num_workers", "0", *changes]
    return run_face_training(task, *parse_script_arguments(words))


def test_a_join_trains_on_all_faces_or_says_how_many_are_left_out(tmp_path, monkeypatch, caplog):
    """LaPa and rows of its classes, as the documents join it with synthetic_faces."""
    monkeypatch.setattr(raw_layouts, "PHOTO_SIZE_WH", (360, 360))
    raw_layouts.write_lapa(tmp_path / "LaPa")
    datasets.DatasetDict(train=make_face_dataset(2)).save_to_disk(str(tmp_path / "faces"))
    used = []
    monkeypatch.setattr(finetuning, "train_to_end", lambda trainer: used.append(len(trainer.train_dataset)))
    with caplog.at_level("WARNING", logger="farl_hf"):
        join("parsing", tmp_path, "lapa", tmp_path / "faces", changes=["--min_face_px", "0"])
        assert "left out" not in caplog.text
        join("parsing", tmp_path, "lapa", tmp_path / "faces")
    assert "3 of 5 faces are left out: 3 smaller than min_face_px 12." in caplog.text
    assert used == [5, 2]


def test_joins_that_cannot_be_trained_are_refused_before_the_training(tmp_path):
    raw_layouts.write_lapa(tmp_path / "LaPa")
    raw_layouts.write_celebamask_hq(tmp_path / "CelebAMask-HQ")
    raw_layouts.write_w300(tmp_path / "300W")
    raw_layouts.write_wflw_hrnet(tmp_path / "WFLW")
    for changes in ([], ["--alignment", "whole"], ["--label_set", "lapa"]):
        with pytest.raises(InvalidArgumentError, match="different label sets"):
            join("parsing", tmp_path, "lapa", "celebamask_hq", changes=changes)
    with pytest.raises(InvalidDatasetError, match="have 68 landmarks, those of row 2 98"):
        join("landmarks", tmp_path, "w300", "wflw", changes=["--output_dir", str(tmp_path / "points")])
