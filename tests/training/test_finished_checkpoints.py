"""A checkpoint that was not written to its end is not gone on from."""

import pytest
import torch

from farl_hf.training.ema import TRAINING_WEIGHTS_NAME
from farl_hf.training.runs import last_finished_checkpoint


def write_checkpoint(root, step):
    folder = root / f"checkpoint-{step}"
    folder.mkdir()
    torch.save({"cpu": torch.get_rng_state()}, folder / "rng_state_0.pth")
    (folder / "trainer_state.json").write_text("{}")
    (folder / TRAINING_WEIGHTS_NAME).write_bytes(b"weights")
    return folder


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_the_one_with_the_most_steps_is_taken(tmp_path):
    for step in (2, 10, 9):
        write_checkpoint(tmp_path, step)
    assert last_finished_checkpoint(tmp_path, ema_decay=0.5) == str(tmp_path / "checkpoint-10")


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "trainer_state.json").unlink(),
        lambda folder: cut(folder / "trainer_state.json"),
        lambda folder: cut(folder / "rng_state_0.pth"),
        lambda folder: (folder / TRAINING_WEIGHTS_NAME).unlink(),
    ],
)
def test_an_unfinished_one_is_passed_over(tmp_path, damage):
    write_checkpoint(tmp_path, 2)
    damage(write_checkpoint(tmp_path, 4))
    assert last_finished_checkpoint(tmp_path, ema_decay=0.5) == str(tmp_path / "checkpoint-2")


def test_without_averaging_no_averaged_weights_are_asked_for(tmp_path):
    (write_checkpoint(tmp_path, 2) / TRAINING_WEIGHTS_NAME).unlink()
    assert last_finished_checkpoint(tmp_path) == str(tmp_path / "checkpoint-2")


def test_there_may_be_none(tmp_path):
    assert last_finished_checkpoint(tmp_path / "nowhere") is None
    (tmp_path / "checkpoint-2").mkdir()
    assert last_finished_checkpoint(tmp_path) is None
