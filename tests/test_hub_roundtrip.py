"""Checkpoints that carry their code load, in a process without farl_hf, to the same results bit for bit."""

import json
import os
import subprocess
import sys

import pytest
import torch

import farl_hf
from farl_hf import auto, modeling, processing
from farl_hf.modeling import RetinaFaceConfig

HEADS = {
    "FaRLForFaceParsing": "AutoModelForSemanticSegmentation",
    "FaRLForLandmarks": "AutoModelForKeypointDetection",
    "FaRLForAttributes": "AutoModelForImageClassification",
    "RetinaFaceForFaceDetection": "AutoModelForObjectDetection",
}
FOREIGN = {
    "face_transformer": {
        **{"model_type": "face_transformer", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4},
        **{"num_attention_heads": 2, "head_dim": 16, "image_size": 32},
    },
    "beit": {
        **{"model_type": "timm_wrapper", "architecture": "beit_base_patch16_224"},
        "model_args": {"embed_dim": 32, "depth": 4, "num_heads": 4, "img_size": 32},
    },
}
LANDMARKS = [[[[40.0, 50.0], [70.0, 52.0], [54.0, 68.0], [43.0, 84.0], [66.0, 85.0]]]]

# Run with the folders as arguments. `farl_hf` cannot be imported there, as on a machine that never installed it.
STRANGER = """
import json, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "farl_hf":
            raise ModuleNotFoundError("No module named 'farl_hf'")

sys.meta_path.insert(0, Blocker())
import torch, transformers

results = {}
for folder, (auto_name, faces) in json.loads(sys.argv[1]).items():
    processor = transformers.AutoImageProcessor.from_pretrained(folder, trust_remote_code=True)
    photo = torch.load(sys.argv[2])
    inputs = processor(photo, return_tensors="pt", **faces)
    model = getattr(transformers, auto_name).from_pretrained(folder, trust_remote_code=True)
    outputs = model(inputs["pixel_values"])
    results[folder] = {"pixel_values": inputs["pixel_values"], "output": outputs[0].detach()}
    results[folder]["name"] = type(model).__name__
    if "logits" in outputs and outputs.logits.ndim == 4 and "landmarks" not in outputs:
        labels = processor.post_process_face_parsing(outputs, inputs["crop_from_photo"], [photo.shape[-2:]])
        results[folder]["labels"] = labels[0]
assert "farl_hf" not in sys.modules
torch.save(results, sys.argv[3])
"""


@pytest.fixture
def shipping(monkeypatch):
    """Code is shipped during this test only."""
    for package in (modeling, processing):
        for name in package.__all__:
            if hasattr(getattr(package, name), "register_for_auto_class"):
                monkeypatch.setattr(getattr(package, name), "_auto_class", None)
    auto.ship_code()


def save_checkpoint(folder, name, toy_config, **settings):
    torch.manual_seed(0)
    model_class = getattr(farl_hf, name)
    if name == "RetinaFaceForFaceDetection":
        model = model_class(RetinaFaceConfig())
        processor = farl_hf.RetinaFaceImageProcessor()
    else:
        model = model_class(toy_config(**settings))
        processor = farl_hf.FaRLImageProcessor(size={"height": 32, "width": 32}, warp_factor=0.8)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return processor


def run_stranger(folders, photo_file, result_file, home):
    # HF_* of this process would let the stranger find a warm cache, PYTHONPATH the sources.
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "PYTHON"))}
    environment |= {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    arguments = [json.dumps(folders), str(photo_file), str(result_file)]
    process = subprocess.run(
        [sys.executable, "-I", "-c", STRANGER, *arguments],
        env=environment,
        cwd=home,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    return torch.load(result_file)


def run_here(folder, model_class, processor, photo, faces):
    """What the stranger computes, by the classes of this process."""
    inputs = processor(photo, return_tensors="pt", **faces)
    outputs = model_class.from_pretrained(folder)(inputs["pixel_values"])
    answers = {"pixel_values": inputs["pixel_values"], "output": outputs[0].detach(), "name": model_class.__name__}
    if model_class is farl_hf.FaRLForFaceParsing:
        maps = processor.post_process_face_parsing(outputs, inputs["crop_from_photo"], [photo.shape[-2:]])
        answers["labels"] = maps[0]
    return answers


def test_checkpoints_with_code_load_without_the_package(shipping, toy_config, tmp_path):
    """The heads and the detector, and heads on encoders that are not FaRL's, by one process that never had farl_hf."""
    photo = torch.randint(0, 256, (3, 110, 130), dtype=torch.uint8)
    torch.save(photo, tmp_path / "photo.pt")
    folders, expected = {}, {}
    for name, auto_name in HEADS.items():
        folder = str(tmp_path / name)
        processor = save_checkpoint(folder, name, toy_config)
        faces = {} if name.startswith("RetinaFace") else {"keypoints": LANDMARKS}
        folders[folder] = (auto_name, faces)
        expected[folder] = run_here(folder, getattr(farl_hf, name), processor, photo, faces)
    for name, backbone in FOREIGN.items():
        folder, faces = str(tmp_path / name), {"keypoints": LANDMARKS}
        processor = save_checkpoint(folder, "FaRLForAttributes", toy_config, backbone_config=backbone)
        folders[folder] = ("AutoModelForImageClassification", faces)
        expected[folder] = run_here(folder, farl_hf.FaRLForAttributes, processor, photo, faces)
    actual = run_stranger(folders, tmp_path / "photo.pt", tmp_path / "results.pt", tmp_path)
    assert actual.keys() == expected.keys()
    for folder, values in expected.items():
        assert actual[folder].keys() == values.keys()
        for key, value in values.items():
            same = value == actual[folder][key] if key == "name" else torch.equal(value, actual[folder][key])
            assert same, (folder, key)


def test_task_checkpoints_are_found_by_auto_model_too(shipping, toy_config, tmp_path):
    save_checkpoint(tmp_path, "FaRLForFaceParsing", toy_config)
    auto_map = json.loads((tmp_path / "config.json").read_text())["auto_map"]
    assert auto_map == {
        "AutoConfig": "configuration_farl.FaRLConfig",
        "AutoModel": "modeling_farl_heads.FaRLForFaceParsing",
        "AutoModelForSemanticSegmentation": "modeling_farl_heads.FaRLForFaceParsing",
    }
    processor = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert processor["auto_map"] == {"AutoImageProcessor": "image_processing_farl.FaRLImageProcessor"}


def test_by_default_no_code_is_written(toy_config, tmp_path):
    save_checkpoint(tmp_path, "FaRLForFaceParsing", toy_config)
    assert not list(tmp_path.glob("*.py"))
    assert "auto_map" not in json.loads((tmp_path / "config.json").read_text())
