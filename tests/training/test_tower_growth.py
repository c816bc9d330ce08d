"""`--num_hidden_layers` on a checkpoint: the tower goes on with more blocks."""

import pytest
import torch

from farl_hf import FaRLConfig, FaRLForAttributes, FaRLForFaceParsing, FaRLImageProcessor
from farl_hf.errors import InvalidFaceInputError
from farl_hf.training.arguments import FaRLTrainingArguments
from farl_hf.training.face_tasks import FACE_TASK_SETTINGS
from farl_hf.training.face_training import make_model, make_processor
from farl_hf.training.script_arguments import ModelArguments

LEVELS = [0, 1, 3, 3]


@pytest.fixture
def parser(toy_config, tmp_path):
    """Folder of a parser with four blocks, two of whose levels come from the last."""
    torch.manual_seed(0)
    vision = {"num_hidden_layers": 4, "patch_size": 8, "image_size": 32}
    FaRLForFaceParsing(toy_config(vision=vision, num_labels=3, feature_levels=LEVELS)).save_pretrained(tmp_path / "p")
    FaRLImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "p")
    return str(tmp_path / "p")


def deepened(folder, task="parsing", **settings):
    model_args = ModelArguments(model_name_or_path=folder, **settings)
    task = FACE_TASK_SETTINGS[task]
    training_args = FaRLTrainingArguments(output_dir=folder)
    return make_model(task, model_args, training_args, make_processor(task, model_args), ["a", "b", "c"]).eval()


def pixels(side=32):
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))


def test_a_deeper_parser_begins_with_the_scores_of_the_shallower(parser, tmp_path):
    model = deepened(parser, num_hidden_layers=6)
    assert len(model.vision_model.encoder.layers) == 6
    assert model.config.feature_levels == [0, 1, 5, 5]
    model.save_pretrained(tmp_path / "deeper")
    start, loaded = (FaRLForFaceParsing.from_pretrained(folder).eval() for folder in (parser, tmp_path / "deeper"))
    with torch.no_grad():
        torch.testing.assert_close(model(pixels()).logits, start(pixels()).logits)
        torch.testing.assert_close(loaded(pixels()).logits, start(pixels()).logits)
    assert loaded.config.vision_config.stage_names[-1] == "block5"


def test_new_blocks_learn(parser):
    model = deepened(parser, num_hidden_layers=5).train()
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
    assert deepened(parser, num_hidden_layers=6, feature_levels=[2, 3, 4, 5]).config.feature_levels == [2, 3, 4, 5]


def test_patches_change_along_with_blocks(parser):
    model = deepened(parser, num_hidden_layers=5, patch_size=16, image_size=64)
    resized = deepened(parser, patch_size=16, image_size=64)
    with torch.no_grad():  # of the tower alone: the pyramid of other patches is a new one
        maps = [m.vision_model.feature_maps(pixels(64), m.config.feature_levels) for m in (model, resized)]
    torch.testing.assert_close(*maps)


def test_other_heads_deepen_too(parser):
    model = deepened(parser, "attributes", num_hidden_layers=5)
    assert isinstance(model, FaRLForAttributes)
    assert model.config.feature_levels == [0, 1, 4, 4]


def test_blocks_are_not_taken_away(parser):
    with pytest.raises(InvalidFaceInputError, match="num_hidden_layers is 2, but the checkpoint's tower has 4 blocks"):
        deepened(parser, num_hidden_layers=2)


def test_other_towers_keep_their_blocks(tmp_path):
    backbone = {
        "model_type": "face_transformer", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4,
        "num_attention_heads": 2, "head_dim": 16, "image_size": 32,
    }  # fmt: skip
    FaRLForFaceParsing(FaRLConfig(backbone_config=backbone, num_labels=3, head_channels=8)).save_pretrained(tmp_path)
    FaRLImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    with pytest.raises(InvalidFaceInputError, match="FaRL's own tower"):
        deepened(str(tmp_path), num_hidden_layers=14)
