"""The scripts that train a generator and edit its faces, as a user starts them, for two steps."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch
from face_rows import make_face_dataset
from generator_arguments import (
    GeneratorDataArguments,
    GeneratorModelArguments,
    GeneratorTrainingArguments,
)
from generator_training import run_generator_training
from image_text_toys import make_clip, make_farl
from PIL import Image
from raw_layouts import write_celeba
from safetensors.torch import load_file
from transformers import AutoModel, HfArgumentParser

from farl_hf.errors import InvalidArgumentError, InvalidDatasetError, NotACheckpointError, UnknownNameError

datasets = pytest.importorskip("datasets")
EXAMPLES = Path(__file__).parents[2] / "examples"
TOY_DECODER = ["--latent_size", "6", "--grid_size", "4", "--stage_channels", "8", "8", "8"]


def run_script(path, words, monkeypatch):
    name = Path(path).stem
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)  # where dataclasses look for the names in annotations
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "argv", [name, *map(str, words)])
    return module.main()


def training_words(data_folder, output_dir, max_steps):
    return [
        *("--dataset_name", str(data_folder), "--output_dir", str(output_dir), "--do_train", "--do_eval"),
        *("--max_steps", str(max_steps), "--save_steps", "2", "--picture_steps", "2", "--disable_tqdm", "True"),
        *("--per_device_train_batch_size", "4", "--dataloader_num_workers", "0", *TOY_DECODER),
    ]


def train(words):
    groups = (GeneratorModelArguments, GeneratorDataArguments, GeneratorTrainingArguments)
    return run_generator_training(*HfArgumentParser(groups).parse_args_into_dataclasses(words))


@pytest.fixture(scope="module")
def trained_folder(data_folder, tmp_path_factory):
    """Two steps, and two more after an interruption."""
    output_dir = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert (
            run_script(
                "face_generator/train_face_generator.py", training_words(data_folder, output_dir, 2), monkeypatch
            )
            == 0
        )
    scores = train(training_words(data_folder, output_dir, 4))
    assert json.loads((output_dir / "eval_results.json").read_text())["eval_loss"] == pytest.approx(
        scores["eval_loss"]
    )
    return output_dir


def test_a_published_data_set_is_read_from_its_folder(tmp_path):
    write_celeba(tmp_path / "celeba")
    words = training_words("celeba", tmp_path / "run", 1)
    train([*words, "--data_dir", str(tmp_path / "celeba"), "--cache_dir", str(tmp_path / "cache")])
    assert (tmp_path / "run" / "decoder" / "model.safetensors").is_file()


def test_faces_without_attributes_have_a_loss_and_a_wrong_start_is_said(data_folder, tmp_path):
    rows = make_face_dataset(8).remove_columns("attributes")
    datasets.DatasetDict(train=rows, validation=rows).save_to_disk(str(tmp_path / "faces"))
    scores = train(training_words(tmp_path / "faces", tmp_path / "run", 1))
    assert scores["eval_loss"] > 0
    with pytest.raises(NotACheckpointError, match="no-such-folder"):
        train([*training_words(data_folder, tmp_path / "next", 1), "--model_name_or_path", "no-such-folder"])
    decoder = str(tmp_path / "run" / "decoder")
    with pytest.raises(NotACheckpointError, match="missing"):
        train([*training_words(data_folder, tmp_path / "last", 1), "--model_name_or_path", decoder])


def test_training_resumes_draws_and_leaves_a_generator(trained_folder):
    state = json.loads((trained_folder / "trainer_state.json").read_text())
    assert state["global_step"] == 4
    sheets = sorted(path.name for path in (trained_folder / "pictures").iterdir())
    assert sheets == ["step_000002.png", "step_000004.png"]
    assert Image.open(trained_folder / "pictures" / sheets[0]).size == (3 * 32, 5 * 32)
    decoder = AutoModel.from_pretrained(trained_folder / "decoder")
    assert type(decoder).__name__ == "FaceDecoderModel"
    assert decoder.points5_xy.shape == (5, 2)
    assert decoder.images_from_latents(decoder.sample_latents(2)).shape == (2, 3, 32, 32)


def test_a_run_does_not_go_on_with_other_arguments(trained_folder, data_folder):
    with pytest.raises(InvalidArgumentError, match="kl_weight: "):
        train([*training_words(data_folder, trained_folder, 5), "--kl_weight", "0.5"])


def test_random_weights_are_not_evaluated(data_folder, tmp_path):
    words = training_words(data_folder, tmp_path, 1)
    words.remove("--do_train")
    with pytest.raises(InvalidArgumentError, match="needs --model-name-or-path"):
        train(words)
    assert not (tmp_path / "eval_results.json").exists()


def test_what_cannot_be_trained_on_is_said(data_folder, tmp_path):
    words = training_words(data_folder, tmp_path, 1)
    with pytest.raises(UnknownNameError, match="no face template 'loose'"):
        train([*words, "--face_template", "loose"])
    with pytest.raises(UnknownNameError, match="no split 'dev'"):
        train([*words, "--eval_split", "dev"])
    rows = make_face_dataset(2).remove_columns("points5_xy")
    datasets.DatasetDict(train=rows, validation=rows).save_to_disk(str(tmp_path / "pointless"))
    with pytest.raises(InvalidDatasetError, match="crops need points5_xy"):
        train([*words, "--dataset_name", str(tmp_path / "pointless")])


@pytest.fixture(scope="module")
def image_text_folders(tmp_path_factory):
    folders = []
    for name, maker in (("toy-clip", make_clip), ("toy-farl", make_farl)):
        folders.append(tmp_path_factory.mktemp("models") / name)
        for part in maker():
            part.save_pretrained(folders[-1])
    return folders


def test_faces_are_edited_by_two_models_side_by_side(
    trained_folder, image_text_folders, tmp_path, monkeypatch, capsys
):
    words = ["--generator", trained_folder / "decoder", "--texts", "a smile", "a hat", "--starts", 2, "--steps", 2]
    words += ["--model_name_or_path", *image_text_folders, "--crop_noise", 0, "--output_dir", tmp_path / "edited"]
    assert run_script("edit_faces_with_text.py", words, monkeypatch) == 0
    folder = tmp_path / "edited"
    assert "toy-farl: 'a hat': mean similarity" in capsys.readouterr().out
    assert len(list((folder / "images").glob("*.png"))) == 2 * (1 + 2 * 2)
    assert Image.open(folder / "contact_sheet.png").width > 5 * 256
    latents = load_file(folder / "latents.safetensors")
    assert {len(values) for values in latents.values()} == {2}
    assert len(latents) == 1 + 2 * 2
    results = json.loads((folder / "results.json").read_text())
    assert [edit["text"] for edit in results["edits"]] == ["a smile", "a hat"] * 2
    first = results["edits"][0]
    assert first["first_losses"]["text"] == pytest.approx([1 - value for value in first["similarity_before"]])
    again = [*words[:-1], tmp_path / "again", "--latents", folder / "latents.safetensors"]
    assert run_script("edit_faces_with_text.py", again, monkeypatch) == 0
    assert torch.equal(load_file(tmp_path / "again" / "latents.safetensors")["start"], latents["start"])


def test_a_torchscript_file_needs_the_shape_of_its_latents(image_text_folders, tmp_path, monkeypatch, capsys):
    network = torch.nn.Sequential(torch.nn.Linear(6, 3 * 32 * 32), torch.nn.Unflatten(1, (3, 32, 32)), torch.nn.Tanh())
    torch.jit.save(torch.jit.script(network), str(tmp_path / "synthesis.pt"))
    words = ["--generator", tmp_path / "synthesis.pt", "--texts", "a hat", "--starts", 2, "--steps", 2, "--aligned"]
    words += ["--model_name_or_path", image_text_folders[1], "--output_dir", tmp_path / "edited"]
    assert run_script("edit_faces_with_text.py", words, monkeypatch) == 1
    assert "pass --latent-shape" in capsys.readouterr().err
    assert not (tmp_path / "edited").exists()
    assert run_script("edit_faces_with_text.py", [*words, "--latent_shape", 6], monkeypatch) == 0
    assert (tmp_path / "edited" / "contact_sheet.png").is_file()
