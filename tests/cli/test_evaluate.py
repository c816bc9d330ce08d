"""`farl-hf evaluate`, as one types it, on drawn faces and untrained models."""

import json
import shutil

import datasets
import numpy as np
import pytest
import raw_layouts
import yaml
from face_rows import make_face_dataset
from PIL import Image
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from farl_hf.checkpoints import DEFAULT_CHECKPOINTS
from farl_hf.cli import app
from farl_hf.cli.pictures import worst_faces
from farl_hf.errors import InvalidArgumentError, UnknownNameError
from farl_hf.training.evaluation.checkpoint import CheckpointEvaluation, load_for_evaluation


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faces")
    splits = datasets.DatasetDict(test=make_face_dataset(3), other=make_face_dataset(2, num_faces=2, first_index=9))
    splits.save_to_disk(str(folder))
    return folder


def run(*arguments):
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


@pytest.mark.parametrize(
    ("task", "main_score", "words"),
    [
        ("face-parsing", "f1_mean", ("f1_skin", "pixel_accuracy")),
        ("face-landmarks", "nme", ("nme_diag", "auc", "failure_rate")),
        ("face-attributes", "mean_accuracy", ("accuracy_male",)),
    ],
)
def test_scores_pictures_and_table(task, main_score, words, data_folder, toy_checkpoint_folder, tmp_path):
    folder = toy_checkpoint_folder / DEFAULT_CHECKPOINTS[task]
    result = run(folder, data_folder, "-o", tmp_path, "--split", "test", "--split", "other")
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "results.json").read_text())
    assert report["main_score"] == main_score
    assert {split: measured["num_faces"] for split, measured in report["splits"].items()} == {"test": 3, "other": 4}
    assert report["splits"]["test"]["scores"][main_score] >= 0
    assert all(word in result.output for word in (*words, "3 faces", "4 faces"))
    assert np.asarray(Image.open(tmp_path / "failures.other.jpg")).std() > 10


def test_the_card_gets_the_scores_and_keeps_the_rest(data_folder, toy_checkpoint_folder, tmp_path):
    folder = tmp_path / "parser"
    for file in (toy_checkpoint_folder / DEFAULT_CHECKPOINTS["face-parsing"]).iterdir():
        folder.mkdir(exist_ok=True)
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "README.md").write_text("---\nlicense: mit\n---\n\n# Mine\n\nWords.\n")
    for _ in range(2):  # the second time replaces the first
        result = run(folder, data_folder, "-o", tmp_path / "scores", "--write-card")
        assert result.exit_code == 0, result.output
    text = (folder / "README.md").read_text()
    assert text.endswith("# Mine\n\nWords.\n")
    card = yaml.safe_load(text.split("---")[1])
    assert card["license"] == "mit"
    (entry,) = card["model-index"][0]["results"]
    report = json.loads((tmp_path / "scores/results.json").read_text())
    score = report["splits"]["test"]["scores"]["f1_mean"]
    assert entry["metrics"][0]["value"] == pytest.approx(100 * score, abs=0.005)
    assert entry["dataset"]["split"] == "test"


def test_a_run_adds_its_splits_to_those_of_an_earlier_one(data_folder, toy_checkpoint_folder, tmp_path):
    folder, path = toy_checkpoint_folder / DEFAULT_CHECKPOINTS["face-attributes"], tmp_path / "results.json"
    for split in ("test", "other"):
        result = run(folder, data_folder, "-o", tmp_path, "--split", split)
        assert result.exit_code == 0, result.output
    both = json.loads(path.read_text())
    assert {split: one["num_faces"] for split, one in both["splits"].items()} == {"test": 3, "other": 4}
    path.write_text(json.dumps(both | {"splits": {"test": {"num_faces": 99, "scores": {}}}}))
    run(folder, data_folder, "-o", tmp_path, "--split", "test")  # a split that is measured again is replaced
    again = json.loads(path.read_text())["splits"]
    assert again == {"test": both["splits"]["test"]}
    other = toy_checkpoint_folder / DEFAULT_CHECKPOINTS["face-parsing"]
    result = run(other, data_folder, "-o", tmp_path, "--split", "other")
    assert result.exit_code == 2
    assert "another evaluation" in " ".join(result.output.split())
    assert json.loads(path.read_text())["splits"] == again
    path.write_text('{"checkpoint": ')
    assert run(folder, data_folder, "-o", tmp_path, "--split", "other").exit_code == 0
    assert list(json.loads(path.read_text())["splits"]) == ["other"]
    assert (tmp_path / "results.json.broken").read_text() == '{"checkpoint": '


@pytest.mark.parametrize(
    ("task", "dataset", "message"),
    [
        ("face-parsing", "celeba", "is a data set for attributes"),
        ("face-parsing", "celebamask_hq", "the label maps hold celebamask"),
        ("face-detection", "synthetic_faces", "expected one of FaRLForFaceParsing"),
    ],
)
def test_what_does_not_fit_is_explained(task, dataset, message, toy_checkpoint_folder, tmp_path):
    result = run(toy_checkpoint_folder / DEFAULT_CHECKPOINTS[task], dataset, "-o", tmp_path)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


def test_the_worst_come_first_and_the_unlabelled_not_at_all():
    scores = np.array([0.5, np.nan, 0.1, 0.9])
    assert worst_faces(scores, True, 3) == [2, 0, 3]
    assert worst_faces(scores, False, 2) == [3, 0]


def copied(toy_checkpoint_folder, model, folder, **recipe):
    shutil.copytree(toy_checkpoint_folder / DEFAULT_CHECKPOINTS[model], folder)
    if recipe:
        (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return folder


def words_of(result):
    return " ".join(result.output.split())


def test_lfwa_is_measured_with_the_alignment_of_the_training_or_of_the_option(toy_checkpoint_folder, tmp_path):
    raw_layouts.write_lfwa(tmp_path / "raw")
    trained = {"task": "attributes", "alignment": "whole", "min_face_px": 0.0}
    with_recipe = copied(toy_checkpoint_folder, "face-attributes", tmp_path / "with", **trained)
    without = copied(toy_checkpoint_folder, "face-attributes", tmp_path / "without")
    words = ["lfwa", "--data-dir", tmp_path / "raw", "-o"]
    assert "without points5_xy" in words_of(run(without, *words, tmp_path / "out"))
    for folder, changes in ((with_recipe, ()), (without, ("--alignment", "whole"))):
        result = run(folder, *words, tmp_path / f"out-{folder.name}", *changes)
        assert result.exit_code == 0, result.output
        report = json.loads((tmp_path / f"out-{folder.name}/results.json").read_text())
        assert (report["alignment"], report["splits"]["test"]["num_faces"]) == ("whole", 2)


def test_crops_are_those_of_the_training_and_options_replace_them(toy_checkpoint_folder, tmp_path):
    trained = {"task": "landmarks", "alignment": "box", "box_scale": 0.7, "min_face_px": 5.0}
    folder = copied(toy_checkpoint_folder, "face-landmarks", tmp_path / "run", **trained)
    (folder / "checkpoint-3").mkdir()
    for file in folder.glob("*.*"):
        if file.name != "recipe.yaml":
            shutil.copy(file, folder / "checkpoint-3")

    def crop(place=folder, dataset="w300", **options):
        loaded = load_for_evaluation(place, dataset, tmp_path, **options)
        report = loaded.report([])
        return report["alignment"], report["box_scale"], report["min_face_px"]

    assert crop() == crop(folder / "checkpoint-3") == crop(dataset="my-faces") == ("box", 0.7, 5.0)
    assert crop(alignment="points", min_face_px=3.0) == ("points", 0.7, 3.0)
    with pytest.raises(UnknownNameError, match="points, box, whole"):
        crop(alignment="round")
    (folder / "recipe.yaml").write_text(yaml.safe_dump({"task": "landmarks", "alignment": "points"}))
    assert crop(alignment="box")[:2] == ("box", 0.8)  # the protocol's, as the training names none
    (folder / "recipe.yaml").write_text(yaml.safe_dump(trained | {"min_face_px": "small"}))
    with pytest.raises(InvalidArgumentError, match="min_face_px 'small'; expected a number"):
        crop()
    (folder / "recipe.yaml").write_text(yaml.safe_dump(trained | {"task": "pretraining"}))
    assert crop() == ("box", 0.8, 0.0)


def test_scores_of_other_weights_or_data_are_not_mixed(data_folder, toy_checkpoint_folder, tmp_path):
    folder, out = copied(toy_checkpoint_folder, "face-attributes", tmp_path / "run"), tmp_path / "out"
    assert run(folder, data_folder, "-o", out).exit_code == 0
    before = (out / "results.json").read_text()
    result = run(folder, data_folder, "-o", out, "--split", "other", "--data-dir", tmp_path)
    assert (result.exit_code, "another evaluation (data_dir: None" in words_of(result)) == (2, True)
    weights = {name: tensor + 0.01 for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    result = run(folder, data_folder, "-o", out, "--split", "other")
    assert (result.exit_code, "another evaluation (checkpoint_digest: " in words_of(result)) == (2, True)
    assert (out / "results.json").read_text() == before


def test_what_is_wrong_is_said_before_anything_is_measured(data_folder, toy_defaults, tmp_path):
    name = DEFAULT_CHECKPOINTS["face-attributes"]
    words = [data_folder, "-o", tmp_path / "out"]
    assert "--write-card changes a folder" in words_of(run(name, *words, "--write-card"))
    folder = copied(toy_defaults, "face-attributes", tmp_path / "run")
    result = run(folder, *words, "--write-card", "--max-samples", "1")
    assert (result.exit_code, "measures a part of a split" in words_of(result)) == (2, True)
    result = run(folder, *words, "--split", "test", "--split", "othre")
    assert (result.exit_code, "no split 'othre'" in words_of(result)) == (2, True)
    assert not list((tmp_path / "out").glob("*.jp*")) + list((tmp_path / "out").glob("*.json"))


def test_each_split_is_written_when_it_is_measured(data_folder, toy_checkpoint_folder, tmp_path, monkeypatch):
    measure = CheckpointEvaluation.measure

    def stopped(self, rows, split):
        if split == "other":
            raise InvalidArgumentError("stopped")
        return measure(self, rows, split)

    monkeypatch.setattr(CheckpointEvaluation, "measure", stopped)
    folder = toy_checkpoint_folder / DEFAULT_CHECKPOINTS["face-attributes"]
    assert run(folder, data_folder, "-o", tmp_path, "--split", "test", "--split", "other").exit_code == 2
    assert list(json.loads((tmp_path / "results.json").read_text())["splits"]) == ["test"]
