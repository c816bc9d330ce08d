"""The trainings of the built-in models at toy size: each from the one before it, resumed, and left alone when done."""

import importlib.util
import json
from pathlib import Path

import pytest
from transformers import AutoModel, AutoModelForImageClassification

from farl_hf.checkpoints import EMBEDDED_CHECKPOINTS
from farl_hf.training.arguments import parse_recipe_arguments

FOLDER = Path(__file__).parents[2] / "examples" / "tiny_models"
HEADS = ("farl-tiny-parsing", "farl-tiny-landmarks", "farl-tiny-attributes")


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("train_tiny_models", FOLDER / "train.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_model_is_a_built_in_one_and_has_a_recipe(script):
    assert set(script.NAMES) <= set(EMBEDDED_CHECKPOINTS)
    _, data, training = script.pretraining_arguments(FOLDER / "farl-tiny.yaml", {"output_dir": "runs"})
    shared = (data.max_train_samples, data.max_eval_samples)
    for name in HEADS:
        _, model, data, own = parse_recipe_arguments(str(FOLDER / f"{name}.yaml"), {"output_dir": "runs"})
        assert (data.max_train_samples, data.max_eval_samples) == shared, "other numbers render other photos"
        assert (own.seed, own.optim) == (training.seed, training.optim)
        assert model.config_name is None


def test_a_head_starts_from_the_built_in_encoder_where_the_runs_have_none(script, tmp_path):
    assert script.start_of_head("farl-tiny-parsing", tmp_path) in EMBEDDED_CHECKPOINTS


def test_a_start_that_is_not_finished_is_refused(script, tmp_path, capsys):
    (tmp_path / "farl-tiny").mkdir()
    (tmp_path / "farl-tiny" / "recipe.yaml").touch()
    assert script.main(["farl-tiny-parsing", "--runs", str(tmp_path)]) == 1
    assert "train farl-tiny first" in capsys.readouterr().err


def test_a_wrong_option_is_refused_before_photos_are_rendered_and_leaves_nothing(script, tmp_path, capsys):
    refused = {
        "farl-tiny": {
            "image_size=113": "multiple of patch_size=8",
            "augmentation=nope": "no augmentation recipe 'nope'",
            "visual_tokenizer=nope": "'nope' could not be loaded",
            "max_text_tokens=2": "expected 3 or more",
            "tokenizer_vocab_size=3": "leaves no room for merges",
            "mim_num_hidden_layers=999": "expected a whole number",
            "output_dir=elsewhere": "output_dir cannot be set",
        },
        "farl-tiny-parsing": {
            "image_size=113": "multiple of patch_size=8",
            "augmentation=nope": "no augmentation recipe 'nope'",
            "label_set=nope": "no label set 'nope'",
            "label_weights=[1,2]": "expected a list of 11",
            "feature_levels=[1]": "a head reads four",
            "output_stride=3": "does not suit patches of 8",
            "head_channels=-3": "expected a whole number from 1",
        },
        "farl-tiny-landmarks": {"image_size=113": "multiple of patch_size=8"},
    }
    for name, sentences in refused.items():
        for option, sentence in sentences.items():
            assert script.main([name, "--runs", str(tmp_path), "--set", option]) == 1
            assert sentence in capsys.readouterr().err
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_wrong_start_is_refused_before_photos_are_rendered(script, tmp_path, capsys):
    assert script.main(["farl-tiny-parsing", "--runs", str(tmp_path), "--set", "model_name_or_path=nope"]) == 1
    assert "nope has no configuration" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


def test_a_model_and_its_head_at_toy_size(script, data_folder, tmp_path, capsys):
    common = [
        *(f"dataset_name={data_folder}", "image_size=32", "preprocessing_num_workers=null"),
        *("per_device_train_batch_size=4", "dataloader_num_workers=0", "warmup_steps=0", "save_steps=1"),
    ]
    start = [*common, "config_name=toy", "visual_vocab_size=4", "face_template=lapa"]
    runs = ["--runs", str(tmp_path)]
    assert script.main(["farl-tiny", *runs, "--set", *start, "max_steps=1"]) == 0
    (tmp_path / "farl-tiny" / "eval_results.json").unlink()  # as if it had been stopped
    assert script.main(["farl-tiny", *runs, "--set", *start, "max_steps=2"]) == 0
    assert json.loads((tmp_path / "farl-tiny" / "trainer_state.json").read_text())["global_step"] == 2
    assert AutoModel.from_pretrained(tmp_path / "farl-tiny").config.text_config.max_position_embeddings == 32

    assert script.main(["farl-tiny-attributes", *runs, "--set", *common, "max_steps=1"]) == 0
    head = AutoModelForImageClassification.from_pretrained(tmp_path / "farl-tiny-attributes")
    assert head.config.vision_config.hidden_size == 16
    capsys.readouterr()
    assert script.main(["farl-tiny-attributes", *runs, "--set", *common, "max_steps=1"]) == 0
    assert "is finished" in capsys.readouterr().out
    others = ["load_best_model_at_end=true", "eval_strategy=steps", "eval_steps=1", "max_steps=1"]
    for option in (["max_eval_samples=3", "max_steps=1"], ["model_name_or_path=farl-tiny", "max_steps=1"], others):
        assert script.main(["farl-tiny-attributes", *runs, "--set", *common, *option]) == 1
        assert f"made with other options ({option[0].partition('=')[0]}" in capsys.readouterr().err
    for pack in ([], ["--pack"]):
        assert script.main(["farl-tiny-attributes", *runs, *pack, "--set", *common]) == 1
        assert "made with other options (max_steps: 1 -> -1)" in capsys.readouterr().err
    assert script.main(["farl-tiny-attributes", *runs, "--set", "nonsense=3"]) == 1
    assert "nonsense" in capsys.readouterr().err
    for name in script.FINISHED:  # as if it had been stopped in its evaluation, or its weights were lost
        (tmp_path / "farl-tiny-attributes" / name).unlink()
        assert script.main(["farl-tiny-attributes", *runs, "--set", *common, "max_steps=1"]) == 0
        assert (tmp_path / "farl-tiny-attributes" / name).is_file()
    assert script.main(["farl-tiny-landmarks", *runs, "--set", "do_eval=false"]) == 1
    assert "do_eval=false cannot be used" in capsys.readouterr().err
    assert script.main(["farl-tiny-landmarks", *runs, "--set", "do_train=false"]) == 1
    assert "do_train=false cannot be used" in capsys.readouterr().err
