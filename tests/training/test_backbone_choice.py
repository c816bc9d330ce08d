"""`--backbone` and the sizes of the encoder under the head, its weights and the pictures that it expects."""

import pytest
import torch

from farl_hf import FaRLConfig, FaRLForFaceParsing, FaRLImageProcessor
from farl_hf.errors import InvalidArgumentError, UnknownNameError
from farl_hf.labels.backbones import BACKBONES
from farl_hf.modeling import FaRLFeatureMaps
from farl_hf.training.arguments import FaRLTrainingArguments, ModelArguments, parse_recipe_arguments
from farl_hf.training.finetuning import FACE_TASK_SETTINGS, make_model, make_processor, scratch_settings, with_backbone

PARSING = FACE_TASK_SETTINGS["parsing"]
SMALL_FACE_TRANSFORMER = {
    "model_type": "face_transformer",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "head_dim": 16,
    "image_size": 32,
}


@pytest.fixture
def folder(tmp_path):
    """What `farl-hf convert` makes of a Face Transformer."""
    torch.manual_seed(0)
    FaRLFeatureMaps(FaRLConfig(backbone_config=SMALL_FACE_TRANSFORMER)).save_pretrained(tmp_path / "face")
    row = BACKBONES["face_transformer"]
    normalisation = {"image_mean": list(row.image_mean), "image_std": list(row.image_std)}
    FaRLImageProcessor(size={"height": 32, "width": 32}, **normalisation).save_pretrained(tmp_path / "face")
    return str(tmp_path / "face")


def test_a_folder_gives_weights_and_normalisation(folder, tmp_path):
    recipe = {"output_dir": str(tmp_path / "run"), "backbone": folder, "head_channels": 16}
    _, model_args, _, training_args = parse_recipe_arguments("lapa_224_frozen", recipe)
    model_args = with_backbone(model_args)
    assert model_args.model_name_or_path == folder
    processor = make_processor(PARSING, model_args)
    assert list(processor.image_std) == pytest.approx([1 / 255] * 3)
    assert (processor.size_hw, processor.warp_factor) == ((224, 224), 0.8)
    model = make_model(PARSING, model_args, training_args, processor, ["skin", "hair"])
    assert isinstance(model, FaRLForFaceParsing)
    stored = FaRLFeatureMaps.from_pretrained(folder).state_dict()
    assert stored
    for name, value in stored.items():
        torch.testing.assert_close(model.state_dict()[name], value)


@pytest.mark.parametrize("name", BACKBONES)
def test_every_name_builds_its_architecture(name):
    model_args = with_backbone(ModelArguments(backbone=name, config_name="base"))
    row = BACKBONES[name]
    assert list(make_processor(PARSING, model_args).image_mean) == pytest.approx(list(row.image_mean))
    with torch.device("meta"):
        model = FaRLFeatureMaps(FaRLConfig(**scratch_settings(model_args)))
    assert tuple(model.config.feature_levels) == row.levels
    assert model.vision_model.patch_size == row.patch_size
    assert model.vision_model.depth == row.levels[-1] + 1


def test_scratch_training_builds_it(tmp_path):
    model_args = with_backbone(ModelArguments(backbone="face_transformer", config_name="toy"))
    processor = make_processor(PARSING, model_args)
    args = FaRLTrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    model = make_model(PARSING, model_args, args, processor, ["skin", "hair"])
    assert model.config.backbone_config.model_type == "face_transformer"
    assert model.head.classifier.out_channels == 2


def test_a_name_without_weights_says_how_to_make_them():
    with pytest.raises(UnknownNameError, match="farl-hf convert FILE -o mocov3"):
        with_backbone(ModelArguments(backbone="mocov3", model_name_or_path="farl-ep16"))
    with pytest.raises(UnknownNameError, match="Known: farl, clip"):
        with_backbone(ModelArguments(backbone="resnet"))


@pytest.fixture
def parser(toy_config, tmp_path):
    """Folder of a parser with four blocks and patches of 8 pixels."""
    FaRLForFaceParsing(toy_config(vision={"patch_size": 8}, num_labels=2)).save_pretrained(tmp_path / "parser")
    FaRLImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "parser")
    return str(tmp_path / "parser")


def started_from(checkpoint, tmp_path, **settings):
    model_args = ModelArguments(model_name_or_path=checkpoint, **settings)
    args = FaRLTrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    return make_model(PARSING, model_args, args, make_processor(PARSING, model_args), ["skin", "hair"])


@pytest.mark.parametrize("setting", [{"patch_size": 16}, {"num_hidden_layers": 6}, {"hidden_size": 64}])
def test_sizes_of_a_trained_encoder_stay(setting, parser, tmp_path):
    name, value = next(iter(setting.items()))
    with pytest.raises(InvalidArgumentError, match=f"--{name.replace('_', '-')} {value} is for random weights"):
        started_from(parser, tmp_path, **setting)


@pytest.mark.parametrize("setting", [{"patch_size": 14}, {"num_hidden_layers": 14}])
def test_sizes_of_another_encoder_stay_too(setting, folder, tmp_path):
    with pytest.raises(InvalidArgumentError, match="is for random weights"):
        started_from(folder, tmp_path, **setting)


def test_sizes_that_are_the_checkpoints_own_are_taken(parser, tmp_path):
    model = started_from(parser, tmp_path, patch_size=8, num_hidden_layers=4)
    assert model.config.vision_config.patch_size == 8


@pytest.mark.parametrize(
    ("own", "overrides", "flags", "expected"),
    [
        ("model_name_or_path: a", {"config_name": "toy"}, (), (None, "toy")),
        ("model_name_or_path: a", {}, ("--config-name=toy",), (None, "toy")),
        ("config_name: toy", {"model_name_or_path": "a"}, (), ("a", None)),
        ("config_name: toy", {}, ("--model_name_or_path", "a"), ("a", None)),
        ("model_name_or_path: a", {"seed": 3}, (), ("a", None)),
    ],
)
def test_what_a_training_starts_from_replaces_that_of_the_recipe(tmp_path, own, overrides, flags, expected):
    recipe = tmp_path / "own.yaml"
    recipe.write_text(f"title: own\ntask: parsing\noutput_dir: {tmp_path}\n{own}\n")
    _, model_args, _, _ = parse_recipe_arguments(str(recipe), overrides, flags)
    assert (model_args.model_name_or_path, model_args.config_name) == expected
