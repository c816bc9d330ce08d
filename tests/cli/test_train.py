"""`farl-hf train`, as one types it."""

import json
from pathlib import Path

import datasets
import pytest
from face_rows import make_face_dataset
from typer.testing import CliRunner

from farl_hf.cli import app
from farl_hf.cli.train import _show_results

RECIPE = """
task: parsing
config_name: toy
image_size: 32
do_train: true
do_eval: true
num_train_epochs: 2
eval_split: validation
eval_strategy: epoch
save_strategy: epoch
save_total_limit: 2
load_best_model_at_end: true
per_device_train_batch_size: 4
dataloader_num_workers: 0
"""


def run(*arguments):
    return CliRunner().invoke(app, ["train", *map(str, arguments)])


@pytest.mark.parametrize("chosen_by", ["f1_mean", "pixel_accuracy"])
def test_a_recipe_of_ones_own_trains_and_both_scores_are_told(tmp_path, chosen_by):
    data = tmp_path / "faces"
    splits = datasets.DatasetDict(train=make_face_dataset(8), validation=make_face_dataset(2, first_index=100))
    splits.save_to_disk(str(data))
    recipe = tmp_path / "own.yaml"
    recipe.write_text(RECIPE)
    output = tmp_path / "run"
    settings = [f"dataset_name=[{data}]", "train_data_ratio=0.5", "mirror_probability=1.0"]
    if chosen_by != "f1_mean":  # the task's own score
        settings.append(f"metric_for_best_model={chosen_by}")
    result = run(recipe, "-o", output, *(word for pair in settings for word in ("--set", pair)))
    assert result.exit_code == 0, result.output
    results = json.loads((output / "results.json").read_text())
    assert (results["last"]["epoch"], results["split"], results["saved_weights"]) == (2.0, "validation", "best")
    best = results["best"]["scores"][chosen_by]
    assert best >= results["last"]["scores"][chosen_by]
    saved = json.loads((output / "eval_results.json").read_text())[f"eval_{chosen_by}"]
    assert saved == pytest.approx(best, abs=1e-6)
    assert results["last"]["checkpoint"] == f"checkpoint-{results['last']['step']}"
    assert (output / results["best"]["checkpoint"] / "model.safetensors").is_file()
    assert f"best: {chosen_by}" in result.output
    assert f"last: {chosen_by}" in result.output
    assert "train_data_ratio: 0.5" in (output / "recipe.yaml").read_text()


def test_the_output_folder_of_a_recipe_is_used(tmp_path, monkeypatch):
    """A run leaves its recipe, with its folder; the same command must go on there."""
    from farl_hf.training import finetuning

    asked = []
    monkeypatch.setattr(finetuning, "run_face_training", lambda *arguments: asked.append(arguments[-1].output_dir))
    recipe = tmp_path / "own.yaml"
    for more, expected in (("", "runs/own"), (f"output_dir: {tmp_path / 'mine'}\n", str(tmp_path / "mine"))):
        recipe.write_text(RECIPE + more)
        run(recipe)
        assert asked.pop() == expected


def test_the_list_names_every_recipe():
    result = run("--list")
    assert "lapa_448_finetuned_supplement" in result.output
    assert "celeba_224_frozen" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give the name of a recipe"),
        (("lapa_448",), "no recipe or YAML file 'lapa_448'"),
        (("lapa_448_frozen", "--set", "epochs=3"), "no training argument 'epochs'"),
        (("lapa_448_frozen", "--set", "seed"), "takes key=value"),
    ],
)
def test_mistakes_are_explained(arguments, message):
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


def test_results_are_read_as_utf_8_on_every_system(tmp_path, monkeypatch, capsys):
    real = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda path, encoding="ascii": real(path, encoding))
    best = {"epoch": 2, "scores": {"größe": 0.5}}
    results = {"main_score": "größe", "best": best, "last": best, "best_is": "größer", "saved_weights": "last"}
    (tmp_path / "results.json").write_text(json.dumps(results, ensure_ascii=False), encoding="utf-8")
    _show_results(tmp_path / "results.json")
    assert "best: größe 50.00 % at epoch 2" in capsys.readouterr().out
