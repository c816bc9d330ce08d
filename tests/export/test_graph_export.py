import json
import os
import resource
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from farl_hf import (
    FaRLConfig,
    FaRLForAttributes,
    FaRLForFaceParsing,
    FaRLImageProcessor,
    FaRLModel,
    RetinaFaceConfig,
    RetinaFaceForFaceDetection,
    RetinaFaceImageProcessor,
)
from farl_hf.checkpoints import checkpoint
from farl_hf.cli import app
from farl_hf.errors import ConversionError, NotACheckpointError, UnknownNameError
from farl_hf.export import export_checkpoint, load_onnx_model
from farl_hf.export.graph_export import _differences, _load_model

VISION = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 16,
}
SIZE = {"height": 32, "width": 32}


def save_toy(model_class, folder, **settings):
    torch.manual_seed(0)
    model = model_class(FaRLConfig(vision_config=VISION, **settings)).eval()
    model.save_pretrained(folder)
    FaRLImageProcessor(size=SIZE).save_pretrained(folder)
    return model


@pytest.fixture(scope="module")
def attributes(tmp_path_factory):
    """A toy checkpoint of face-attributes, and its export to ONNX."""
    pytest.importorskip("onnxscript")
    folder = tmp_path_factory.mktemp("attributes")
    names = ("smiling", "young", "bald")
    settings = {"id2label": dict(enumerate(names)), "label2id": {name: index for index, name in enumerate(names)}}
    model = save_toy(FaRLForAttributes, folder / "checkpoint", feature_levels=[0], **settings)
    return model, folder / "checkpoint", export_checkpoint(folder / "checkpoint", folder / "onnx")


def test_onnx_runtime_answers_the_same_for_any_number_of_faces(attributes):
    model, _, report = attributes
    assert report.architecture == "FaRLForAttributes"
    assert 0 < report.differences["logits"] < 1e-4
    graph = load_onnx_model(str(report.output))
    for batch in (1, 5):
        pixel_values = torch.randn(batch, 3, 32, 32)
        with torch.no_grad():
            expected = model(pixel_values).logits
        assert torch.allclose(graph(pixel_values=pixel_values).logits, expected, atol=1e-4)


def test_photos_are_annotated_by_the_graph(attributes, tmp_path):
    _, checkpoint, report = attributes
    pixels = np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "face.png")
    scores = {}
    for runtime, folder in {"torch": checkpoint, "onnx": report.output}.items():
        words = ["annotate", tmp_path / "face.png", "--aligned", "-t", "attributes", "--device", "cpu"]
        words += ["--runtime", runtime, "--attributes-model", folder, "-o", tmp_path / runtime]
        result = CliRunner().invoke(app, list(map(str, words)))
        assert result.exit_code == 0, result.output
        ((face,),) = [photo["faces"] for photo in json.loads((tmp_path / runtime / "faces.json").read_text())]
        scores[runtime] = {entry["label"]: entry["score"] for entry in face["attributes"]}
    assert scores["onnx"] == pytest.approx(scores["torch"], abs=1e-5)


def test_exported_programs_load_with_torch_alone(tmp_path):
    model = save_toy(
        FaRLForFaceParsing, tmp_path / "checkpoint", head_channels=8, num_labels=3, feature_levels=[0] * 4
    )
    report = export_checkpoint(str(tmp_path / "checkpoint"), str(tmp_path / "graph"), "torch-export")
    assert report.graph == tmp_path / "graph" / "model.pt2"
    assert (tmp_path / "graph" / "preprocessor_config.json").is_file()
    program = torch.export.load(report.graph).module()
    pixel_values = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        expected, found = model(pixel_values).logits, program(pixel_values=pixel_values)
    assert torch.allclose(next(iter(found.values())), expected, atol=1e-5)


def test_a_graph_that_answers_differently_is_refused():
    class Model(torch.nn.Module):
        def forward(self, pixel_values):
            return {"logits": pixel_values}

    inputs = {"pixel_values": torch.tensor([1.0, 2.0])}
    assert _differences(Model(), lambda pixel_values: {"logits": pixel_values}, inputs) == {"logits": 0.0}
    for wrong in (1.001, float("nan")):
        with pytest.raises(ConversionError, match="answers differently"):
            _differences(Model(), lambda pixel_values, factor=wrong: {"logits": pixel_values * factor}, inputs)
    with pytest.raises(ConversionError, match="no output"):
        _differences(Model(), lambda pixel_values: {}, inputs)


def test_what_cannot_be_exported_is_named(tmp_path):
    RetinaFaceConfig().save_pretrained(tmp_path / "no_model")
    with pytest.raises(NotACheckpointError, match="holds no model; expected one of FaRLForFaceParsing"):
        export_checkpoint(tmp_path / "no_model", tmp_path / "out", "torch-export")
    with pytest.raises(NotACheckpointError, match="holds FaceDecoderModel; expected one of"):
        export_checkpoint(checkpoint("farl-tiny-generator"), tmp_path / "out", "torch-export")
    with pytest.raises(UnknownNameError, match="Known: onnx, torch-export"):
        export_checkpoint(tmp_path / "no_model", tmp_path / "out", "tflite")
    with pytest.raises(ConversionError, match="not empty"):
        export_checkpoint(tmp_path / "no_model", tmp_path / "no_model")
    with pytest.raises(ConversionError, match="not UTF-8"):
        export_checkpoint(tmp_path / "no_model", tmp_path / os.fsdecode(b"caf\xe9"))
    assert not (tmp_path / "out").exists()


def test_an_export_replaces_nothing_but_an_export(tmp_path):
    folder = tmp_path / "run"
    save_toy(FaRLForAttributes, folder, feature_levels=[0])
    before = sorted(path.name for path in folder.iterdir())
    for output in (folder, tmp_path):
        with pytest.raises(ConversionError, match="holds what it would be made of"):
            export_checkpoint(folder, output, "torch-export", overwrite=True)
    other = tmp_path / "other"
    save_toy(FaRLForAttributes, other, feature_levels=[0])
    with pytest.raises(ConversionError, match="something else than an export"):
        export_checkpoint(folder, other, "torch-export", overwrite=True)
    assert sorted(path.name for path in folder.iterdir()) == before == sorted(path.name for path in other.iterdir())


@pytest.mark.parametrize("model_class", [FaRLForAttributes, RetinaFaceForFaceDetection])
def test_a_model_without_its_image_processor_is_named_before_it_is_traced(tmp_path, model_class):
    if model_class is FaRLForAttributes:
        save_toy(model_class, tmp_path / "in", feature_levels=[0])
    else:
        model_class(RetinaFaceConfig(width_multiplier=0.25)).save_pretrained(tmp_path / "in")
    (tmp_path / "in" / "preprocessor_config.json").unlink(missing_ok=True)
    with pytest.raises(NotACheckpointError, match="no image processor that can be read"):
        export_checkpoint(tmp_path / "in", tmp_path / "out", "torch-export")


def test_of_a_pretraining_both_encoders_are_exported():
    assert type(_load_model(checkpoint("farl-tiny"))) is FaRLModel


def test_folders_without_a_graph_and_damaged_graphs_are_named(tmp_path):
    pytest.importorskip("onnxruntime")
    with pytest.raises(NotACheckpointError, match="farl-hf export"):
        load_onnx_model(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(NotACheckpointError, match="cannot be loaded"):
        load_onnx_model(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--runtime", "tpu"], "Known: torch, onnx"),
        (["--runtime", "onnx"], "farl-hf export farl-tiny-attributes"),
    ],
)
def test_unusable_runtimes_are_named(tmp_path, options, message):
    Image.new("RGB", (8, 8)).save(tmp_path / "face.png")
    words = ["annotate", tmp_path / "face.png", "--aligned", "-t", "attributes", *options, "-o", tmp_path / "out"]
    result = CliRunner().invoke(app, list(map(str, words)))
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("-t", "parsing", "--parsing-model"), "is an export of FaRLForAttributes; face-parsing needs"),
        (("--device", "cuda", "-t", "attributes", "--attributes-model"), "device 'cuda' cannot be used"),
    ],
)
def test_graphs_of_other_tasks_and_devices_are_refused(attributes, tmp_path, options, message):
    Image.new("RGB", (8, 8)).save(tmp_path / "face.png")
    words = ["annotate", tmp_path / "face.png", "--aligned", "--runtime", "onnx", *options, attributes[2].output]
    result = CliRunner().invoke(app, [*map(str, words), "-o", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert message in " ".join((result.output + result.stderr).split())


@pytest.mark.nightly  # a detector's graph is traced for half a minute; other tests trace one
def test_exported_detectors_pad_photos_to_what_the_graph_takes(tmp_path):
    model = RetinaFaceForFaceDetection(RetinaFaceConfig(width_multiplier=0.02, pyramid_channels=8)).eval()
    model.save_pretrained(tmp_path / "checkpoint")
    RetinaFaceImageProcessor(pad_size_divisor=1).save_pretrained(tmp_path / "checkpoint")
    report = export_checkpoint(str(tmp_path / "checkpoint"), str(tmp_path / "graph"), "torch-export")
    processor = RetinaFaceImageProcessor.from_pretrained(report.output)
    pixel_values = processor(np.zeros((40, 70, 3), np.uint8), return_tensors="pt")["pixel_values"]
    assert pixel_values.shape == (1, 3, 64, 96)
    program = torch.export.load(report.graph).module()
    assert next(iter(program(pixel_values=pixel_values).values())).shape[0] == 1


def test_a_full_disk_ends_neither_the_process_nor_in_half_a_graph(attributes, tmp_path):
    """PyTorch's own writer would abort."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(ConversionError, match="could not be written"):
            export_checkpoint(attributes[1], tmp_path / "graph", "torch-export")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("change", ["one is missing", "one is unknown"])
def test_a_checkpoint_that_is_not_whole_is_not_exported(change, attributes, tmp_path):
    folder = shutil.copytree(attributes[1], tmp_path / "checkpoint")
    tensors = load_file(folder / "model.safetensors")
    if change == "one is missing":
        del tensors[sorted(tensors)[0]]
    else:
        tensors["another.weight"] = torch.zeros(2)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(NotACheckpointError, match="tensors that do not fit"):
        export_checkpoint(folder, tmp_path / "graph", "torch-export")
