"""What version 0.1.0 saved and pushed still loads, and answers as it did; see tests/fixtures/version_0_1."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from face_rows import make_face_dataset
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoModelForSemanticSegmentation
from typer.testing import CliRunner

import farl_hf
from farl_hf.cli import app

FIXTURES = Path(__file__).parent / "fixtures" / "version_0_1"
sys.path.append(str(FIXTURES))
use_fixtures = importlib.import_module("use_fixtures")

WITH_WORDS = "pretraining-with-words"
HEADS = (farl_hf.FaRLForFaceParsing, farl_hf.FaRLForLandmarks, farl_hf.FaRLForAttributes)
WITHOUT_CODE = ("face-detection", "face-parsing", "face-landmarks", "face-attributes", "both-towers")
# A pixel whose two best classes are all but equal may change sides.
DIFFERENT_PIXELS = 0.002
TOLERANCE = {"rtol": 1e-3, "atol": 1e-4}


def assemble(folder, place):
    """The files of a checkpoint or repository, its own and those that it shares, in one folder."""
    folder.mkdir(parents=True)
    if (FIXTURES / place).exists():  # git keeps no folder whose files are all shared
        shutil.copytree(FIXTURES / place, folder, dirs_exist_ok=True)
    for path, stored in json.loads((FIXTURES / "shared_files.json").read_text()).get(place, {}).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(FIXTURES / "shared" / stored, folder / path)
    return folder


def read_answers(path):
    """Numbers and texts by name."""
    return load_file(f"{path}.safetensors") | json.loads(Path(f"{path}.json").read_text())


def assert_as_stored(actual, stored):
    assert actual
    for name, value in actual.items():
        expected = stored[name]
        if isinstance(value, str):
            assert value == expected, name
        elif name.endswith("segmentation"):
            assert value.shape == expected.shape, name
            assert (value != expected).float().mean() <= DIFFERENT_PIXELS, name
        else:
            torch.testing.assert_close(value, expected, **TOLERANCE, msg=lambda text, name=name: f"{name}: {text}")


@pytest.fixture(scope="module")
def stored():
    return read_answers(FIXTURES / "answers")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    return {name: assemble(folder / name, f"checkpoints/{name}") for name in (WITH_WORDS, *WITHOUT_CODE)}


# ------------------------------------------------------------------------------- the checkpoint with words


def test_the_checkpoint_was_saved_with_words(checkpoints):
    config = json.loads((checkpoints[WITH_WORDS] / "config.json").read_text())
    assert min(config[name] for name in ("word_weight", "patch_word_weight", "patchwork_weight")) > 0
    with safe_open(checkpoints[WITH_WORDS] / "model.safetensors", framework="pt") as file:
        assert {"word_head.weight", "word_head.bias"} < set(file.keys())


@torch.no_grad()
def test_pre_training_goes_on_from_a_checkpoint_with_words(checkpoints, stored):
    model, loading = farl_hf.FaRLForPreTraining.from_pretrained(checkpoints[WITH_WORDS], output_loading_info=True)
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    mask, labels = torch.arange(32).reshape(2, 16) % 3 == 0, torch.arange(32).reshape(2, 16) % 8
    outputs = model.eval()(
        input_ids=use_fixtures.make_input_ids(model.config.text_config.vocab_size),
        pixel_values=use_fixtures.make_pixel_values(),
        bool_masked_pos=mask,
        mim_labels=labels,
        return_loss=False,
    )
    kept = ("image_embeds", "text_embeds", "logits_per_image", "mim_logits", "mim_loss", "logit_scale")
    assert_as_stored({f"pretraining/{name}": outputs[name] for name in kept}, stored)


@torch.no_grad()
def test_the_masked_branch_loads_from_a_checkpoint_with_words(checkpoints, stored):
    model = farl_hf.FaRLForMaskedImageModeling.from_pretrained(checkpoints[WITH_WORDS]).eval()
    mask, labels = torch.arange(32).reshape(2, 16) % 3 == 0, torch.arange(32).reshape(2, 16) % 8
    outputs = model(pixel_values=use_fixtures.make_pixel_values(), bool_masked_pos=mask, labels=labels)
    actual = {"pretraining/masked_loss": outputs.loss, "pretraining/masked_logits": outputs.logits}
    assert_as_stored(actual, stored)


@torch.no_grad()
def test_both_towers_load_from_a_checkpoint_with_words(checkpoints, stored):
    model, loading = farl_hf.FaRLModel.from_pretrained(checkpoints[WITH_WORDS], output_loading_info=True)
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    ids = use_fixtures.make_input_ids(model.config.text_config.vocab_size)
    outputs = model.eval()(input_ids=ids, pixel_values=use_fixtures.make_pixel_values())
    actual = {name: outputs[name] for name in ("image_embeds", "text_embeds", "logits_per_image")}
    assert_as_stored({f"pretraining/{name}": value for name, value in actual.items()}, stored)


@torch.no_grad()
@pytest.mark.parametrize("tower", ["vision-tower", "text-tower"])
def test_single_towers_load_from_a_checkpoint_with_words(checkpoints, stored, tower):
    model_class = farl_hf.FaRLVisionModel if tower == "vision-tower" else farl_hf.FaRLTextModel
    model = model_class.from_pretrained(checkpoints[WITH_WORDS]).eval()
    vision = tower == "vision-tower"
    inputs = use_fixtures.make_pixel_values(1) if vision else use_fixtures.make_input_ids(model.config.vocab_size)
    outputs = model(inputs)
    actual = {name: outputs[name] for name in ("last_hidden_state", "pooler_output")}
    assert_as_stored({f"{tower}/{name}": value for name, value in actual.items()}, stored)


@pytest.mark.parametrize("model_class", HEADS)
def test_heads_start_from_a_checkpoint_with_words(checkpoints, model_class):
    model, loading = model_class.from_pretrained(checkpoints[WITH_WORDS], output_loading_info=True)
    assert loading["missing_keys"]
    assert not [name for name in loading["missing_keys"] if not name.startswith(("pyramid.", "head."))]
    assert not loading["unexpected_keys"]
    saved = load_file(checkpoints[WITH_WORDS] / "model.safetensors")
    tower = {name: value for name, value in model.state_dict().items() if name.startswith("vision_model.")}
    assert len(tower) > 20
    assert all(torch.equal(value, saved[name]) for name, value in tower.items())


# ------------------------------------------------------------------------------- checkpoints and repositories


@pytest.mark.parametrize("name", WITHOUT_CODE)
def test_checkpoints_without_code_answer_as_they_did(checkpoints, stored, name):
    answers = use_fixtures.answers_of(name, checkpoints[name])
    # Answers of 0.2 also say of each attribute whether it is present.
    answers = {path: value for path, value in answers.items() if not path.endswith("/present")}
    assert_as_stored(answers, stored)
    # A checkpoint has no detector of its own; everything else is there.
    expected = {path for path in stored if path.startswith(f"{use_fixtures.TASKS[name]}/")}
    assert set(answers) == {path for path in expected if "/detected/" not in path}


def test_the_saved_stride_of_the_scores_is_kept(checkpoints):
    saved = {
        name: json.loads((checkpoints[name] / "config.json").read_text())["score_stride"] for name in HEAD_STRIDES
    }
    assert saved == HEAD_STRIDES
    crops = use_fixtures.make_pixel_values(1)
    for name, stride in HEAD_STRIDES.items():
        model = use_fixtures.AUTO_CLASSES[name].from_pretrained(checkpoints[name]).eval()
        assert model(crops).logits.shape[-1] == use_fixtures.SIDE // stride


HEAD_STRIDES = {"face-parsing": 4, "face-landmarks": 2}


@pytest.fixture(scope="module", autouse=True)
def repository_processes(tmp_path_factory):
    """Two processes that answer for the repositories, without farl_hf and beside it, while other tests run."""
    folder = tmp_path_factory.mktemp("repositories")
    places = {name: str(assemble(folder / name, f"repositories/{name}")) for name in use_fixtures.TASKS}
    processes = {}
    for how in ("hidden", "imported"):
        (folder / f"home-{how}").mkdir()
        # HF_* of this process would let it find code that was copied before, PYTHONPATH the sources.
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PYTHON"))}
        environment |= {"HF_HOME": str(folder / f"home-{how}"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-I", FIXTURES / "use_fixtures.py", json.dumps(places), folder / how, how]
        with (folder / f"{how}.txt").open("w") as said:
            processes[folder / how] = subprocess.Popen(command, env=environment, cwd=folder, stdout=said, stderr=said)
    yield processes
    for process in processes.values():
        process.kill()


@pytest.fixture(scope="module")
def repository_answers(repository_processes):
    """Answers by way, and by name of repository and value."""
    for path, process in repository_processes.items():
        assert process.wait(timeout=600) == 0, path.with_suffix(".txt").read_text()[-4000:]
    return {path.name: read_answers(path) for path in repository_processes}


@pytest.mark.parametrize("how", ["hidden", "imported"])
@pytest.mark.parametrize("name", use_fixtures.TASKS)
def test_repositories_with_code_answer_as_they_did(repository_answers, stored, name, how):
    answers = {
        path.removeprefix(f"{name}:"): value
        for path, value in repository_answers[how].items()
        if path.startswith(f"{name}:")
    }
    assert_as_stored(answers, stored)
    if not name.endswith("-by-method"):  # the method pushes one part at a time, and no pipeline
        assert set(answers) == {path for path in stored if path.startswith(f"{use_fixtures.TASKS[name]}/")}


# ------------------------------------------------------------------------------- index and recipe


@pytest.mark.parametrize("suffix", ["safetensors", "parquet"])
def test_a_saved_index_finds_the_same_faces(checkpoints, stored, suffix):
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
    index = farl_hf.FaceIndex.load(FIXTURES / "index" / f"faces.{suffix}")
    model = farl_hf.FaRLModel.from_pretrained(checkpoints["both-towers"])
    processor = farl_hf.FaRLProcessor.from_pretrained(checkpoints["both-towers"])
    index.require_model(model)
    assert index.photos == ("by points.jpg", "by box.jpg")
    texts = farl_hf.embed_texts(model, processor, use_fixtures.TEXTS)
    assert_as_stored({"index/texts": texts}, stored)
    similarities = torch.from_numpy(index.similarities(texts))
    assert_as_stored({"index/similarities": similarities}, stored)


def test_a_saved_recipe_starts_the_same_training(tmp_path):
    datasets = pytest.importorskip("datasets")
    splits = datasets.DatasetDict(train=make_face_dataset(4), validation=make_face_dataset(2, first_index=100))
    splits.save_to_disk(str(tmp_path / "faces"))
    words = ["train", str(FIXTURES / "training_run" / "recipe.yaml"), "--output_dir", str(tmp_path / "run")]
    done = CliRunner().invoke(app, [*words, "--set", f"dataset_name=[{tmp_path / 'faces'}]"])
    assert done.exit_code == 0, done.output[-2000:]
    model = AutoModelForSemanticSegmentation.from_pretrained(tmp_path / "run").eval()
    assert model(use_fixtures.make_pixel_values(1)).logits.shape == (1, 11, 16, 16)  # score_stride was 2
    processor = farl_hf.FaRLImageProcessor.from_pretrained(tmp_path / "run")
    assert processor.warp_factor == 0.5
