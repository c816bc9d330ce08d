"""Who computes many faces calls `optimize_for_inference`: pipelines, embedding, and the command line."""

import datasets
import pytest
from face_rows import make_face_dataset
from typer.testing import CliRunner

from farl_hf import index_faces
from farl_hf.cli import app
from farl_hf.modeling.fast_inference_farl import FastInferenceMixin


@pytest.fixture
def optimized(monkeypatch):
    """The models that were optimised for inference, in order."""
    models = []
    optimize = FastInferenceMixin.optimize_for_inference

    def note(model):
        models.append(model)
        return optimize(model)

    monkeypatch.setattr(FastInferenceMixin, "optimize_for_inference", note)
    return models


def class_names(models):
    return {type(model).__name__ for model in models}


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        result = CliRunner().invoke(app, [*map(str, arguments)])
        assert result.exit_code == 0, result.output + result.stderr

    return call


@pytest.fixture
def farl_folder(farl, tmp_path):
    for part in farl:
        part.save_pretrained(tmp_path / "farl")
    return tmp_path / "farl"


@pytest.mark.parametrize("task", ["face-detection", "face-parsing", "face-landmarks", "face-attributes"])
def test_pipelines_optimise_their_model(load_pipeline, planted_detector, optimized, task):
    settings = {} if task == "face-detection" else {"detector": planted_detector}
    pipeline = load_pipeline(task, **settings)
    assert len(optimized) == 1
    assert optimized[0] is pipeline.model


def test_a_detector_that_is_loaded_by_its_name_is_optimised_too(load_pipeline, toy_checkpoints, photo_with, optimized):
    load_pipeline("face-parsing", detector=str(toy_checkpoints["face-detection"]))(photo_with(0))
    assert class_names(optimized) == {"FaRLForFaceParsing", "RetinaFaceForFaceDetection"}


def test_embedding_optimises_the_model(farl, photo_with, optimized):
    index_faces(*farl, [("a", photo_with(1))], aligned=True)
    assert optimized == [farl[0]]


@pytest.mark.parametrize(
    "words", [("match", "--texts", "a smile"), ("explain", "a smile"), ("index", "-o", "i.safetensors")]
)
def test_commands_about_texts_optimise_the_model(run, farl_folder, photo_with, optimized, tmp_path, words):
    photo_with(1).save(tmp_path / "a.png")
    command, *options = words
    run(command, "a.png", *options, "--aligned", "--device", "cpu", "--model", farl_folder)
    assert class_names(optimized) == {"FaRLModel"}


def test_evaluation_on_the_command_line_optimises_the_model(run, toy_checkpoints, optimized, tmp_path):
    datasets.DatasetDict(test=make_face_dataset(1)).save_to_disk(str(tmp_path / "faces"))
    run("evaluate", toy_checkpoints["face-attributes"], tmp_path / "faces", "-o", tmp_path / "scores")
    assert class_names(optimized) == {"FaRLForAttributes"}
