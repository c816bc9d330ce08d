"""Every released format, from a file that the original code wrote to a model that equals the original network."""

import importlib
import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoProcessor, AutoTokenizer

import farl_hf
from farl_hf.conversion import convert_checkpoint
from farl_hf.conversion.parity import check_parity
from farl_hf.conversion.source_reading import read_source
from farl_hf.labels import CELEBA_ATTRIBUTES, CELEBAMASK_LABELS, LAPA_LABELS

PYRAMID = [f"pyramid level {level}" for level in (1, 2, 3, 4)]
LANDMARKS = "landmarks in the crop, in float64"
DETECTOR = ["box offsets", "scores", "point offsets", "number of detections", "boxes", "five points"]
TOWERS = ["image embedding", "text embedding", "similarities"]
BLOCKS = ["block 3", "block 5", "block 7", "block 11"]
SOURCES = {
    "parsing.pt": ("parsing", "FaRLForFaceParsing", [*PYRAMID, "logits"]),
    "parsing_states.pth": ("parsing", "FaRLForFaceParsing", [*PYRAMID, "logits"]),
    "parsing_states_legacy.pth": ("parsing", "FaRLForFaceParsing", [*PYRAMID, "logits"]),
    "celebm_parsing.pt": ("parsing", "FaRLForFaceParsing", [*PYRAMID, "logits"]),
    "landmarks.pt": ("landmarks", "FaRLForLandmarks", [*PYRAMID, "logits", LANDMARKS]),
    "landmark_states.pth": ("landmarks", "FaRLForLandmarks", [*PYRAMID, "logits", LANDMARKS]),
    "attributes.pt": ("attributes", "FaRLForAttributes", ["block 11", "block 11, class token", "logits"]),
    "attributes_4_levels.pt": ("attributes", "FaRLForAttributes", [*BLOCKS, "logits", "probabilities"]),
    "mobilenet.pth": ("detection", "RetinaFaceForFaceDetection", DETECTOR),
    "mobilenet_parallel.pth": ("detection", "RetinaFaceForFaceDetection", DETECTOR),
    "resnet.pth": ("detection", "RetinaFaceForFaceDetection", DETECTOR),
    "backbone.pth": ("two_towers", "FaRLModel", [*BLOCKS, *TOWERS]),
    "backbone_without_mim.pth": ("two_towers", "FaRLModel", [*BLOCKS, *TOWERS]),
    "ViT-B-16.pt": ("two_towers", "FaRLModel", TOWERS),
    "clip_folder": ("two_towers", "FaRLModel", TOWERS),
}

by_source = pytest.mark.parametrize("name", SOURCES)


@by_source
def test_equals_the_original_stage_by_stage(converted, name):
    kind, model_class, stages = SOURCES[name]
    report = converted(name)
    assert (report.kind, report.model_class) == (kind, model_class)
    found = {stage.stage: stage for stage in report.parity}
    assert set(stages) <= set(found)
    assert [stage for stage in report.parity if not stage.is_equal] == []
    assert all(stage.limit <= 1e-4 for stage in report.parity if stage.unit != "px")


@by_source
def test_loads_through_auto_classes_without_noise(converted, name):
    folder = converted(name).output
    model_class = getattr(farl_hf, SOURCES[name][1])
    model, info = model_class.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values())
    assert type(model) is model_class
    assert AutoConfig.from_pretrained(folder).architectures == [SOURCES[name][1]]
    assert type(AutoImageProcessor.from_pretrained(folder)).__name__.endswith("ImageProcessor")


@by_source
def test_the_record_and_the_card_are_complete(converted, source_folder, name):
    report = converted(name)
    record = json.loads((report.output / "conversion.json").read_text())
    assert record["source"] == vars(report.source)
    assert record["kind"] == report.kind
    assert len(record["parity"]) == len(report.parity)
    assert set(record["versions"]) >= {"farl-hf", "torch", "transformers"}
    card = (report.output / "README.md").read_text()
    assert card.startswith("---\nlicense: unknown\nlibrary_name: transformers\npipeline_tag: ")
    assert report.source.sha256 in card
    assert "how it compares with the original code" in card
    assert str(source_folder) not in card + json.dumps(record)


@pytest.mark.parametrize(
    "name", ["parsing.pt", "landmarks.pt", "attributes.pt", "mobilenet.pth", "backbone.pth", "clip_folder"]
)
def test_the_comparison_sees_a_single_changed_weight(converted, source_folder, tmp_path, name):
    report = converted(name)
    for path in report.output.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    places = ("vision_model.encoder.layers.0.mlp.fc1.weight", "model.body.stem.convolution.weight")
    changed = next(place for place in places if place in weights)
    weights[changed][0] += 0.5
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    stages = check_parity(read_source(source_folder / name), tmp_path, report.kind)
    assert any(not stage.is_equal for stage in stages)


# ---- settings, labels, precision


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("parsing.pt", {"warp_factor": 0.8, "face_scale": 1.0, "pixel_grid": "half_pixel", "score_size": 512}),
        ("parsing.pt", {"template_span": "size_minus_one", "canvas_size": None}),
        ("parsing_states.pth", {"warp_factor": 0.8, "pixel_grid": "integer", "canvas_size": 512, "score_size": 512}),
        ("celebm_parsing.pt", {"warp_factor": 0.0, "alignment": "ffhq_square", "pixel_grid": "half_pixel"}),
        ("landmarks.pt", {"warp_factor": 0.0, "face_scale": 0.8, "pixel_grid": "half_pixel", "score_size": None}),
        ("landmark_states.pth", {"warp_factor": 0.0, "box_scale": 0.8, "pixel_grid": "integer", "canvas_size": 512}),
        ("attributes.pt", {"warp_factor": 0.0, "template_span": "size", "alignment": "template"}),
        ("backbone.pth", {"warp_factor": 0.0, "template_span": "size"}),
    ],
)
def test_the_processor_is_that_of_the_weights(converted, name, settings):
    report = converted(name)
    processor = AutoImageProcessor.from_pretrained(report.output)
    assert {key: getattr(processor, key) for key in settings} == settings
    side = AutoConfig.from_pretrained(report.output).vision_config.image_size
    assert processor.size_hw == (side, side)


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("parsing.pt", LAPA_LABELS),
        ("celebm_parsing.pt", CELEBAMASK_LABELS),
        ("attributes.pt", CELEBA_ATTRIBUTES),
        ("attributes_4_levels.pt", tuple(f"attribute_{index}" for index in range(7))),
        ("landmarks.pt", tuple(f"point_{index}" for index in range(68))),
    ],
)
def test_outputs_have_their_names(converted, name, labels):
    config = AutoConfig.from_pretrained(converted(name).output)
    assert tuple(config.id2label[index] for index in range(config.num_labels)) == labels
    assert config.label2id[labels[-1]] == len(labels) - 1


def test_label_orders_are_those_of_facer():
    settings = importlib.import_module("facer.face_parsing.farl").pretrain_settings
    lapa = {"face": "skin", "ulip": "upper_lip", "imouth": "inner_mouth", "llip": "lower_lip"}
    names = [lapa.get(name, name) for name in settings["lapa/448"]["label_names"]]
    assert [a for a, b in zip(names, LAPA_LABELS, strict=True) if a != b] == ["rb", "lb", "re", "le"]
    celebm = settings["celebm/448"]["label_names"]
    same = {"neck": "neck", "face": "skin", "cloth": "cloth", "nose": "nose", "hair": "hair", "eyeg": "glasses"}
    same |= {"imouth": "inner_mouth", "llip": "lower_lip", "ulip": "upper_lip", "earr": "earring", "hat": "hat"}
    assert all(CELEBAMASK_LABELS[celebm.index(theirs)] == ours for theirs, ours in same.items())
    attributes = importlib.import_module("facer.face_attribute.farl").pretrain_settings["celeba/224"]["classes"]
    assert tuple(name.lower() for name in attributes) == CELEBA_ATTRIBUTES


def test_half_precision_stays_half(converted):
    report = converted("ViT-B-16.pt")
    weights = load_file(report.output / "model.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.float16}
    assert AutoModel.from_pretrained(report.output).dtype == torch.float16
    assert set(report.dropped) >= {"input_resolution", "context_length", "vocab_size"}


def test_mixed_precision_becomes_single(source_folder, tmp_path):
    weights = torch.load(source_folder / "attributes.pt", weights_only=True)
    mixed = {name: value.half() if "transformer" in name else value for name, value in weights.items()}
    torch.save(mixed, tmp_path / "mixed.pt")
    convert_checkpoint(tmp_path / "mixed.pt", tmp_path / "out")
    stored = load_file(tmp_path / "out/model.safetensors")
    assert {value.dtype for value in stored.values()} == {torch.float32}
    name = "vision_model.encoder.layers.0.mlp.fc1.weight"
    assert torch.equal(stored[name], mixed["backbone.transformer.resblocks.0.mlp.c_fc.weight"].float())


def test_the_averaged_network_is_taken(source_folder, converted):
    states = torch.load(source_folder / "parsing_states.pth", weights_only=True)["networks"]
    stored = load_file(converted("parsing_states.pth").output / "model.safetensors")
    bias = "head.head.conv_seg.bias"
    assert torch.equal(stored["head.classifier.bias"], states["main_ema"][bias])
    assert not torch.equal(stored["head.classifier.bias"], states["main"][bias])


# ---- backbones


def test_the_pretraining_branch_is_kept_bit_for_bit(source_folder, converted):
    report = converted("backbone.pth")
    source = torch.load(source_folder / "backbone.pth", weights_only=True)["state_dict"]
    stored = load_file(report.output / "model.safetensors")
    branch = {name: value for name, value in stored.items() if name.startswith(("mim_", "mask_token"))}
    assert len(branch) == 17 + 4  # the source's seventeen tensors; in_proj weight and bias become three each
    assert torch.equal(branch["mask_token"], source["visual.mask_token"])
    assert torch.equal(branch["mim_head.weight"], source["visual.lm_head.weight"])
    assert torch.equal(branch["mim_layer_norm.bias"], source["visual.ln_lm.bias"])
    fused = source["visual.lm_transformer.resblocks.0.attn.in_proj_weight"]
    parts = [branch[f"mim_encoder.layers.0.self_attn.{part}_proj.weight"] for part in "qkv"]
    assert torch.equal(torch.cat(parts), fused)
    assert report.dropped == {}
    assert sum(value.numel() for value in stored.values()) == sum(value.numel() for value in source.values())


def test_a_backbone_comes_with_tokenizer_and_processor(converted):
    folder = converted("backbone.pth").output
    tokenizer, processor = AutoTokenizer.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    ids = tokenizer(["a smiling woman"])["input_ids"][0]
    assert (ids[0], ids[-1]) == (49406, 49407)
    assert type(processor).__name__ == "FaRLProcessor"
    assert (folder / "preprocessor_config.json").is_file()
    assert (folder / "processor_config.json").is_file()


def test_a_clip_folder_keeps_its_head_count(converted):
    config = AutoConfig.from_pretrained(converted("clip_folder").output)
    assert config.vision_config.num_attention_heads == config.text_config.num_attention_heads == 4
