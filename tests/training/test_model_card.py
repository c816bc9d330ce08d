"""The model card of a training: what the Hub reads from it, and whose words it keeps."""

import json
import os

import pytest
import yaml
from face_rows import make_face_dataset
from huggingface_hub import ModelCard
from test_trainer import make_trainer

from farl_hf.training.model_card import (
    SYNTHETIC_DATA,
    WRITTEN_BY_TRAINING,
    TrainingFacts,
    command_without_paths,
    write_training_card,
)

SCORES = {"loss": 0.7, "f1_mean": 0.8912, "f1_skin": 0.97, "num_faces": 12}


@pytest.fixture(scope="module")
def photos():
    return make_face_dataset(4)


@pytest.fixture
def trainer(photos, toy_config, tmp_path):
    return make_trainer(photos, toy_config, tmp_path / "run")


def leave_a_run(folder, **changes):
    """What a training of LaPa leaves in its folder."""
    folder.mkdir(exist_ok=True)
    recipe = {
        "task": "parsing",
        "dataset_name": ["lapa"],
        "model_name_or_path": "farl-ep16",
        "eval_split": "test",
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe | changes))
    entry = {"epoch": 3.0, "step": 30, "scores": SCORES}
    results = {"task": "parsing", "split": "test", "saved_weights": "last", "best": entry, "last": entry}
    (folder / "results.json").write_text(json.dumps(results))


def card_in(folder):
    return ModelCard.load(folder / "README.md")


def test_the_card_says_where_the_weights_come_from(trainer, tmp_path):
    leave_a_run(tmp_path / "run")
    trainer.create_model_card(model_name="my-parsing")
    card = card_in(tmp_path / "run")
    assert card.data.pipeline_tag == "image-segmentation"
    assert card.data.datasets == ["lapa"]
    assert card.data.base_model == "farl-ep16"
    assert (card.data.license, card.data.license_link) == ("other", "https://github.com/JDAI-CV/lapa-dataset")
    (result,) = card.data.eval_results
    assert (result.dataset_type, result.dataset_split, result.metric_type) == ("lapa", "test", "f1")
    assert result.metric_value == 89.12
    for words in (
        "non-commercial research only",
        "`farl-hf train recipe.yaml`",
        "transformers ",
        'pipeline("face-parsing", model="my-parsing")',
        "| f1_skin | 97.00 |",
        "epoch 3, step 30",
        "## Limits",
    ):
        assert words in card.text, words
    assert "num_faces" not in card.text
    assert "loss" not in card.text


def test_scores_of_other_measurements_and_words_of_people_stay(trainer, tmp_path):
    folder = tmp_path / "run"
    leave_a_run(folder)
    trainer.create_model_card()
    card = card_in(folder)
    card.data.eval_results[0].dataset_split = "validation"
    card.text = card.text.replace(WRITTEN_BY_TRAINING, "").replace("## Limits", "## My limits")
    card.save(folder / "README.md")
    trainer.create_model_card()
    again = card_in(folder)
    assert "## My limits" in again.text
    assert {one.dataset_split for one in again.data.eval_results} == {"validation", "test"}


def test_scores_of_former_weights_leave_the_card(trainer, tmp_path):
    folder = tmp_path / "run"
    leave_a_run(folder)
    trainer.create_model_card()
    trainer.write_card(new_weights=True)
    assert not card_in(folder).data.eval_results
    # a later push without an evaluation reads no older file either
    trainer.save_model()
    os.utime(folder / "results.json", (1, 1))
    trainer.create_model_card()
    assert "f1_skin" not in card_in(folder).text


@pytest.mark.parametrize(
    ("names", "licence"),
    [((SYNTHETIC_DATA,), "mit"), ((SYNTHETIC_DATA, "celeba"), "other"), (("me/faces",), "unknown")],
)
def test_the_licence_is_that_of_the_data(names, licence, trainer, tmp_path):
    write_training_card(trainer.model, tmp_path, TrainingFacts("parsing", names))
    assert card_in(tmp_path).data.license == licence


def test_no_path_of_the_machine_is_told(trainer, tmp_path):
    start, data = tmp_path / "home/me/encoder", tmp_path / "home/me/rows"
    for folder in (start, data):
        folder.mkdir(parents=True)
    facts = TrainingFacts("parsing", (str(data),), str(start), scores={"test": {"scores": SCORES}})
    write_training_card(trainer.model, tmp_path / "out", facts)
    text = (tmp_path / "out/README.md").read_text()
    assert str(tmp_path) not in text
    assert "`encoder`" in text
    assert card_in(tmp_path / "out").data.base_model is None
    assert card_in(tmp_path / "out").data.datasets is None


def test_given_words_win(trainer, tmp_path):
    trainer.create_model_card(license="apache-2.0", tags=["mine"], finetuned_from="me/base", dataset_tags=["a/b"])
    data = card_in(tmp_path / "run").data
    assert (data.license, data.base_model, data.datasets) == ("apache-2.0", "me/base", ["a/b"])
    assert "mine" in data.tags


def test_no_path_of_this_machine_is_told(trainer, tmp_path, monkeypatch):
    leave_a_run(tmp_path / "run", dataset_name=["synthetic_faces", "/home/me/faces"])
    trainer.create_model_card()
    assert "/home/me" not in (tmp_path / "run" / "README.md").read_text()
    monkeypatch.setattr("sys.argv", ["train.py", "--data-dir=/home/me/faces", "/home/me/more"])
    assert command_without_paths() == "python train.py --data-dir=faces more"
