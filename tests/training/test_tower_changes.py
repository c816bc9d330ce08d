"""`--patch_size` and `--num_hidden_layers` on a checkpoint: the tower goes on with other patches or more blocks."""

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
    """Folder of a parser with patches of 8 pixels, 4 x 4 of them, and four blocks, the last of which is read twice."""
    torch.manual_seed(0)
    vision = {"num_hidden_layers": 4, "patch_size": 8, "image_size": 32}
    config = toy_config(vision=vision, num_labels=3, feature_levels=[0, 1, 3, 3])
    FaRLForFaceParsing(config).save_pretrained(tmp_path / "parser")
    FaRLImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "parser")
    return str(tmp_path / "parser")


def changed(folder, task="parsing", **settings):
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
    model, processor = changed(parser, patch_size=16, image_size=64)
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
    model, _ = changed(parser, patch_size=14, image_size=42)
    model.save_pretrained(tmp_path / "resized")
    loaded = FaRLForFaceParsing.from_pretrained(tmp_path / "resized").eval()
    assert (loaded.config.vision_config.patch_size, loaded.config.vision_config.image_size) == (14, 42)
    assert isinstance(loaded.config, FaRLConfig)
    assert loaded.vision_model.embeddings.position_embedding.weight.shape[0] == 3 * 3 + 1
    pixels = torch.randn(1, 3, 42, 42, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(model(pixels).logits, loaded(pixels).logits)


def test_heads_without_maps_take_any_patch_that_divides_the_crop(parser):
    model, _ = changed(parser, "attributes", patch_size=12, image_size=36)
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
        changed(parser, **settings)


def pixels(side=32):
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))


def test_a_deeper_parser_begins_with_the_scores_of_the_shallower(parser, tmp_path):
    model, _ = changed(parser, num_hidden_layers=6)
    assert len(model.vision_model.encoder.layers) == 6
    assert model.config.feature_levels == [0, 1, 5, 5]
    model.save_pretrained(tmp_path / "deeper")
    start, loaded = (FaRLForFaceParsing.from_pretrained(folder).eval() for folder in (parser, tmp_path / "deeper"))
    with torch.no_grad():
        torch.testing.assert_close(model(pixels()).logits, start(pixels()).logits)
        torch.testing.assert_close(loaded(pixels()).logits, start(pixels()).logits)
    assert loaded.config.vision_config.stage_names[-1] == "block5"


def test_new_blocks_learn(parser):
    model = changed(parser, num_hidden_layers=5)[0].train()
    labels = torch.randint(0, 3, (2, 32, 32), generator=torch.Generator().manual_seed(1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):  # the last matrices of a block get a gradient first, all others through them
        optimizer.zero_grad()
        model(pixels(), labels=labels).loss.backward()
        optimizer.step()
    block = model.vision_model.encoder.layers[4]
    unmoved = {name for name, value in block.named_parameters() if not value.grad.any()}
    assert unmoved <= {"self_attn.k_proj.bias"}  # a softmax ignores what all keys share


def test_levels_that_are_given_win(parser):
    assert changed(parser, num_hidden_layers=6, feature_levels=[2, 3, 4, 5])[0].config.feature_levels == [2, 3, 4, 5]


def test_patches_change_along_with_blocks(parser):
    model, _ = changed(parser, num_hidden_layers=5, patch_size=16, image_size=64)
    resized, _ = changed(parser, patch_size=16, image_size=64)
    with torch.no_grad():  # of the tower alone: the pyramid of other patches is a new one
        maps = [m.vision_model.feature_maps(pixels(64), m.config.feature_levels) for m in (model, resized)]
    torch.testing.assert_close(*maps)


def test_other_heads_deepen_too(parser):
    model, _ = changed(parser, "attributes", num_hidden_layers=5)
    assert isinstance(model, FaRLForAttributes)
    assert model.config.feature_levels == [0, 1, 4, 4]


def test_blocks_are_not_taken_away(parser):
    with pytest.raises(InvalidFaceInputError, match="num_hidden_layers is 2, but the checkpoint's tower has 4 blocks"):
        changed(parser, num_hidden_layers=2)


@pytest.mark.parametrize("settings", [{"patch_size": 14}, {"num_hidden_layers": 14}])
def test_other_towers_stay_as_they_are(settings, tmp_path):
    backbone = {
        "model_type": "face_transformer", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4,
        "num_attention_heads": 2, "head_dim": 16, "image_size": 32,
    }  # fmt: skip
    FaRLForFaceParsing(FaRLConfig(backbone_config=backbone, num_labels=3, head_channels=8)).save_pretrained(tmp_path)
    FaRLImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    with pytest.raises(InvalidFaceInputError, match="FaRL's own tower"):
        changed(str(tmp_path), **settings)
