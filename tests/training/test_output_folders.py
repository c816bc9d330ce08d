"""The output folder of a training: one run at a time writes to it, whole files, and a broken one stops nobody."""

import json
import os

import pytest
from face_rows import make_face_dataset
from test_trainer import make_trainer

from farl_hf.errors import InvalidArgumentError, NotACheckpointError
from farl_hf.training import finetuning
from farl_hf.training.arguments import parse_script_arguments, save_resolved_recipe
from farl_hf.training.pretraining import run as pretraining
from farl_hf.training.pretraining.trainer import (
    PretrainingArguments,
    PretrainingDataArguments,
    PretrainingModelArguments,
)
from farl_hf.training.runs import check_same_run, train_to_end
from farl_hf.whole_files import held_folder


@pytest.fixture(scope="module")
def photos():
    return make_face_dataset(4)


def fine_tune(folder):
    words = ["--config-name", "toy", "--dataset-name", "none", "--do-train", "--output-dir", str(folder)]
    finetuning.run_face_training("attributes", *parse_script_arguments(words, task="attributes"))


def pretrain(folder):
    settings = PretrainingArguments(output_dir=str(folder), do_train=True)
    pretraining.run_pretraining(PretrainingModelArguments(), PretrainingDataArguments(), settings)


@pytest.mark.parametrize("train", [fine_tune, pretrain])
def test_a_second_training_into_a_folder_changes_nothing_there(train, tmp_path):
    (tmp_path / "recipe.yaml").write_text("of the first")
    with held_folder(tmp_path), pytest.raises(InvalidArgumentError, match="Another run"):
        train(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]
    assert (tmp_path / "recipe.yaml").read_text() == "of the first"


@pytest.mark.parametrize("train", [fine_tune, pretrain])
@pytest.mark.parametrize("name", ["file/x", "x" * 300, "nul\0"])
def test_a_folder_that_cannot_be_is_one_sentence(train, name, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidArgumentError, match="cannot be made"):
        train(tmp_path / name)
    with pytest.raises(InvalidArgumentError, match="not UTF-8"):
        train(tmp_path / os.fsdecode(b"caf\xe9"))


@pytest.mark.parametrize("content", ['{"train_loss": 0.', "", "[]"])
def test_results_that_are_broken_are_set_aside(content, photos, toy_config, tmp_path):
    """A kill of Transformers' own method leaves such a file, and every later start would fail."""
    trainer = make_trainer(photos, toy_config, tmp_path)
    (tmp_path / "all_results.json").write_text(content)
    trainer.save_metrics("eval", {"eval_loss": 1.0})
    trainer.save_metrics("train", {"train_loss": float("nan")})
    assert json.loads((tmp_path / "all_results.json").read_text()) == {"eval_loss": 1.0, "train_loss": None}
    assert json.loads((tmp_path / "train_results.json").read_text()) == {"train_loss": None}
    assert (tmp_path / "all_results.json.broken").read_text() == content


def test_a_checkpoint_gets_its_weights_whole_and_last(photos, toy_config, tmp_path, monkeypatch):
    trainer = make_trainer(photos, toy_config, tmp_path)

    def stop(*args, **kwargs):
        assert not (tmp_path / "saved" / "model.safetensors").exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(type(trainer.processing_class), "save_pretrained", stop)
    with pytest.raises(KeyboardInterrupt):
        trainer.save_model(str(tmp_path / "saved"))
    assert not list((tmp_path / "saved").iterdir())
    monkeypatch.undo()
    trainer.save_model(str(tmp_path / "saved"))
    names = {path.name for path in (tmp_path / "saved").iterdir()}
    assert names == {"config.json", "model.safetensors", "preprocessor_config.json", "training_args.bin"}


@pytest.mark.parametrize(("before", "after"), [(0.0, 0.5), (0.5, 0.0)])
def test_a_run_with_averaged_weights_and_one_without_do_not_overwrite_each_other(
    before, after, photos, toy_config, tmp_path
):
    trainer = make_trainer(photos, toy_config, tmp_path, max_steps=1, save_steps=1, ema_decay=before)
    save_resolved_recipe(tmp_path, "attributes", trainer.args)
    train_to_end(trainer)
    args = make_trainer(photos, toy_config, tmp_path, max_steps=2, save_steps=1, ema_decay=after).args
    words = f"ema_decay: {before} -> {after}" if before else "without averaged weights"
    with pytest.raises(InvalidArgumentError, match=words):
        check_same_run(args, args)


def test_a_run_cannot_go_on_with_the_state_of_another_optimizer(photos, toy_config, tmp_path):
    train_to_end(make_trainer(photos, toy_config, tmp_path, max_steps=1, save_steps=1))
    with pytest.raises(NotACheckpointError, match="momentum"):
        train_to_end(make_trainer(photos, toy_config, tmp_path, max_steps=2, optim="sgd"))
