"""A wrong name is answered by the nearest right one."""

import pytest

from farl_hf.checkpoints.checkpoint_names import checkpoint, default_checkpoint
from farl_hf.cli.options import parse_tasks
from farl_hf.data import load_face_dataset
from farl_hf.data.augmentation import get_augmentation_recipe
from farl_hf.data.datasets.catalogue import get_published_dataset
from farl_hf.errors import InvalidArgumentError, UnknownNameError, check_name, unknown_name
from farl_hf.metrics import metric
from farl_hf.training.arguments import find_recipe, parse_recipe_arguments, parse_script_arguments

NAMES = ("lapa", "celeba", "w300")


@pytest.mark.parametrize(
    ("name", "nearest"), [("laap", "lapa"), ("LaPa", "lapa"), ("W-300", "w300"), ("celeb", "celeba")]
)
def test_the_nearest_name_is_offered(name, nearest):
    error = unknown_name("data set", name, NAMES)
    assert f"Did you mean '{nearest}'?" in str(error)
    assert "Known: lapa, celeba, w300." in str(error)


@pytest.mark.parametrize("name", ["", "zzzz", None, 3, "x" * 10**6])
def test_nothing_is_offered_for_a_name_like_none(name):
    message = str(unknown_name("data set", name, NAMES))
    assert "Did you mean" not in message
    assert len(message) < 400


def test_many_names_are_not_all_listed():
    message = str(unknown_name("option", "--rat", [f"--rate-{index}" for index in range(300)]))
    assert "Did you mean '--rate-" in message
    assert message.count("--rate-") < 10
    assert "295 others" in message
    assert "Known: 300 names." in str(unknown_name("option", "zzzz", [f"--rate-{index}" for index in range(300)]))


def test_known_names_pass():
    check_name("data set", "lapa", NAMES)
    with pytest.raises(UnknownNameError):
        check_name("data set", ["lapa"], dict.fromkeys(NAMES))  # a list cannot be looked up in a dict


@pytest.mark.parametrize(
    ("call", "nearest"),
    [
        (lambda: checkpoint("farl-tyni"), "farl-tiny"),
        (lambda: default_checkpoint("face-parsin"), "face-parsing"),
        (lambda: parse_tasks(["landmark"]), "face-landmarks"),
        (lambda: load_face_dataset("synthetic_face"), "synthetic_faces"),
        (lambda: load_face_dataset("synthetic_faces", split="tests", num_photos={"tests": 1}), "test"),
        (lambda: load_face_dataset("synthetic_faces", "portrait"), "portraits"),
        (lambda: get_augmentation_recipe("lapa-parsing"), "lapa_parsing"),
        (lambda: get_published_dataset("wider_face"), "widerface"),
        (lambda: metric("face_parsing_F1"), "face_parsing_f1"),
        (lambda: find_recipe("lapa_448_finetune", None), "lapa_448_finetuned"),
        (lambda: parse_recipe_arguments("lapa_448_finetuned", {"num_epochs": 3}), "num_train_epochs"),
        (lambda: parse_script_arguments(["--output_dir", "o", "--num-train-epoks", "1"]), "--num-train-epochs"),
    ],
)
def test_every_entry_point_offers_the_nearest_name(call, nearest, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownNameError, match=f"Did you mean '{nearest}'"):
        call()


@pytest.mark.parametrize(
    ("words", "fact"),
    [
        (["--num_train_epochs", "many"], "many"),
        (["--lr_scheduler_type", "cosin"], "cosine"),
        (["--eval_strategy", "stepz"], "steps"),
        (["stray"], "stray"),
    ],
)
def test_a_wrong_value_of_a_training_argument_is_one_error(words, fact, tmp_path):
    with pytest.raises(InvalidArgumentError, match=fact):
        parse_script_arguments(["--output_dir", str(tmp_path), *words])


@pytest.mark.parametrize("content", ["", "[]", "3", "null", "{", '{"num_train_epoch": 3}'])
def test_a_wrong_file_of_training_arguments_is_one_error(content, tmp_path):
    file = tmp_path / "arguments.json"
    file.write_text(content)
    with pytest.raises((InvalidArgumentError, UnknownNameError)):
        parse_script_arguments([str(file)])
