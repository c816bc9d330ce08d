"""`--patch_size` on a checkpoint: the tower goes on with patches of another size."""

import pytest
import torch
from timm.layers import resample_patch_embed
from torch.nn import functional

from farl_hf import FaRLConfig, FaRLForAttributes, FaRLForFaceParsing, FaRLImageProcessor
from farl_hf.errors import InvalidFaceInputError
from farl_hf.training.arguments import FaRLTrainingArguments
from farl_hf.training.face_tasks import FACE_TASK_SETTINGS
from farl_hf.training.face_training import make_model, make_processor
from farl_hf.training.patch_resizing import resized_kernel
from farl_hf.training.script_arguments import ModelArguments


@pytest.fixture
def parser(toy_config, tmp_path):
    """Folder of a parser with patches of 8 pixels and 4 x 4 of them."""
    torch.manual_seed(0)
    config = toy_config(vision={"patch_size": 8, "image_size": 32}, num_labels=3)
    FaRLForFaceParsing(config).save_pretrained(tmp_path / "parser")
    FaRLImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "parser")
    return str(tmp_path / "parser")


def resized(folder, task="parsing", **settings):
    model_args = ModelArguments(model_name_or_path=folder, **settings)
    training_args = FaRLTrainingArguments(output_dir=folder)
    task = FACE_TASK_SETTINGS[task]
    processor = make_processor(task, model_args)
    return make_model(task, model_args, training_args, processor, ["a", "b", "c"]).eval(), processor


@pytest.mark.parametrize("patch_size", [4, 14, 16])
def test_kernels_are_those_of_timm(patch_size):
    kernel = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = resample_patch_embed(kernel, [patch_size, patch_size], interpolation="bilinear", antialias=True)
    torch.testing.assert_close(resized_kernel(kernel, patch_size), expected, atol=2e-5, rtol=1e-4)


def test_an_enlarged_patch_keeps_its_token(parser):
    model, processor = resized(parser, patch_size=16, image_size=64)
    assert processor.size_hw == (64, 64)
    start = FaRLForFaceParsing.from_pretrained(parser).eval()
    patch = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    enlarged = functional.interpolate(patch, size=(16, 16), mode="bilinear")
    tokens = [
        network.vision_model.embeddings.patch_embedding(pixels)
        for network, pixels in ((start, patch), (model, enlarged))
    ]
    torch.testing.assert_close(*tokens, atol=1e-5, rtol=1e-4)
    # The grid is 4 x 4 as before, so that positions, blocks and the head go on as they are.
    torch.testing.assert_close(*(n.vision_model.embeddings.position_embedding.weight for n in (start, model)))
    for name, value in start.vision_model.encoder.state_dict().items():
        assert model.vision_model.encoder.state_dict()[name].equal(value)
    assert model.head.classifier.weight.equal(start.head.classifier.weight)


def test_the_result_is_saved_and_loaded_like_any_other(parser, tmp_path):
    model, _ = resized(parser, patch_size=14, image_size=42)
    model.save_pretrained(tmp_path / "resized")
    loaded = FaRLForFaceParsing.from_pretrained(tmp_path / "resized").eval()
    assert (loaded.config.vision_config.patch_size, loaded.config.vision_config.image_size) == (14, 42)
    assert isinstance(loaded.config, FaRLConfig)
    assert loaded.vision_model.embeddings.position_embedding.weight.shape[0] == 3 * 3 + 1
    pixels = torch.randn(1, 3, 42, 42, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(model(pixels).logits, loaded(pixels).logits)


def test_heads_without_maps_take_any_patch_that_divides_the_crop(parser):
    model, _ = resized(parser, "attributes", patch_size=12, image_size=36)
    assert isinstance(model, FaRLForAttributes)
    assert model.vision_model.patch_size == 12


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patch_size": 12, "image_size": 36}, "patch sizes 8, 14 and 16, not 12"),
        ({"patch_size": 14}, "does not divide the image_size 32"),
        ({"patch_size": -8, "task": "attributes"}, "does not divide the image_size"),
    ],
)
def test_patches_that_do_not_fit_are_explained(settings, message, parser):
    with pytest.raises(InvalidFaceInputError, match=message):
        resized(parser, **settings)


def test_other_towers_keep_their_patches(tmp_path):
    backbone = {
        "model_type": "face_transformer", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4,
        "num_attention_heads": 2, "head_dim": 16, "image_size": 32,
    }  # fmt: skip
    FaRLForFaceParsing(FaRLConfig(backbone_config=backbone, num_labels=3, head_channels=8)).save_pretrained(tmp_path)
    FaRLImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    with pytest.raises(InvalidFaceInputError, match="FaRL's own tower"):
        resized(str(tmp_path), patch_size=14)
