"""`push_to_hub` of models and processors uploads the code, and leaves no trace on the object or its class."""

import copy
import json

import pytest
import transformers
from transformers import AutoProcessor, Trainer, TrainingArguments

import farl_hf
from farl_hf import modeling
from farl_hf.modeling.pretrained_model_farl import AUTO_CLASSES

TOWERS = "zero-shot-image-classification"


@pytest.fixture
def processor(checkpoints):
    return AutoProcessor.from_pretrained(checkpoints[TOWERS])


@pytest.fixture
def owners(processor, toy_config):
    """Everything that can be pushed, by repository, with a file of code that a push must bring."""
    return {
        "me/model": (farl_hf.FaRLForFaceParsing(toy_config()), "modeling_farl_heads.py"),
        "me/detector": (farl_hf.RetinaFaceForFaceDetection(farl_hf.RetinaFaceConfig()), "modeling_retinaface.py"),
        "me/image-processor": (processor.image_processor, "image_processing_farl.py"),
        "me/detector-processor": (farl_hf.RetinaFaceImageProcessor(), "image_processing_retinaface.py"),
        "me/tokenizer": (processor.tokenizer, "tokenization_farl.py"),
        "me/processor": (processor, "processing_farl.py"),
    }


def marks(owner):
    """What a push sets on an object, its parts and their classes."""
    parts = [owner, getattr(owner, "config", None), getattr(owner, "image_processor", None)]
    parts = [part for part in [*parts, getattr(owner, "tokenizer", None)] if part is not None]
    return [
        (each.get("_auto_class"), each.get("auto_map"))
        for part in parts
        for each in (vars(part), vars(type(part)), getattr(part, "init_kwargs", {}))
    ]


def written(owner, folder):
    owner.save_pretrained(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_push_brings_the_code_and_leaves_no_trace(here, owners, tmp_path):
    for repo, (owner, code) in owners.items():
        before = copy.deepcopy(marks(owner)), written(owner, tmp_path / f"{owner.__class__.__name__}-before")
        owner.push_to_hub(repo)
        _, files = here.repositories[repo].files("main")
        assert code in files, repo
        settings = [json.loads(content) for name, content in files.items() if name.endswith("config.json")]
        assert any("auto_map" in each for each in settings)
        assert not any("_auto_class" in json.dumps(each) for each in settings)
        after = marks(owner), written(owner, tmp_path / f"{owner.__class__.__name__}-after")
        assert after == before, repo


def test_a_training_run_writes_no_code_even_after_a_push(here, owners, tmp_path):
    model, image_processor = owners["me/model"][0], owners["me/image-processor"][0]
    model.push_to_hub("me/trained")
    image_processor.push_to_hub("me/trained")
    arguments = TrainingArguments(tmp_path / "run", report_to=[], use_cpu=True)
    Trainer(model, arguments, processing_class=image_processor).save_model()
    written = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"config.json", "model.safetensors", "preprocessor_config.json"} <= written
    assert not [name for name in written if name.endswith(".py")]
    for name in ("config.json", "preprocessor_config.json"):
        assert "auto_map" not in json.loads((tmp_path / "run" / name).read_text())


@pytest.mark.parametrize("part", ["/api/repos/create", "/commit/"])
def test_a_push_that_fails_leaves_no_trace_either(here, owners, part):
    here.refusals[part] = 403
    for repo, (owner, _) in owners.items():
        before = copy.deepcopy(marks(owner))
        with pytest.raises(OSError, match="403"):
            owner.push_to_hub(f"{repo}-refused")
        assert marks(owner) == before, repo


def test_the_auto_class_of_a_subclass_is_that_of_the_model_it_refines(here, toy_config, tmp_path):
    class FinerParsing(farl_hf.FaRLForFaceParsing):
        pass

    FinerParsing(toy_config()).push_to_hub("me/finer")
    _, files = here.repositories["me/finer"].files("main")
    named = json.loads(files["config.json"])["auto_map"]["AutoModelForSemanticSegmentation"]
    assert named.endswith(".FinerParsing")


def test_a_model_that_no_auto_class_loads_is_pushed_without_code(here):
    modeling.modeling_retinaface.RetinaFaceModel(farl_hf.RetinaFaceConfig()).push_to_hub("me/body")
    _, files = here.repositories["me/body"].files("main")
    assert not [name for name in files if name.endswith(".py")]
    assert "auto_map" not in json.loads(files["config.json"])


def test_models_are_pushed_for_the_auto_class_that_they_are_registered_with():
    for name, auto_name in AUTO_CLASSES.items():
        model_class = getattr(modeling, name)
        loaded = getattr(transformers, auto_name)._model_mapping[model_class.config_class]
        assert model_class in (loaded if isinstance(loaded, tuple) else (loaded,))
