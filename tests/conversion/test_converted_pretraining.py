"""Pre-training goes on from converted checkpoints, and computes what the original's joint forward pass computes."""

import conversion_sources as sources
import pytest
import torch
from safetensors.torch import load_file

from farl_hf import FaRLForFaceParsing, FaRLForMaskedImageModeling, FaRLForPreTraining, FaRLModel
from farl_hf.conversion import convert_checkpoint, original_networks

RESOLUTION, VOCABULARY = 64, 48


@pytest.fixture(scope="module", params=[1, 2])
def original_and_folder(request, tmp_path_factory):
    """FaRL's tower with a branch of one or two blocks, random weights, and the checkpoint converted from its file."""
    folder = tmp_path_factory.mktemp("pretraining")
    visual = original_networks.make_visual_transformer(
        RESOLUTION, **sources.SMALL, mim_layers=request.param, vocabulary=VOCABULARY
    )
    sources.randomise(visual, seed=3)
    weights = {name: value for name, value in sources.make_two_towers().items() if not name.startswith("visual.")}
    weights |= {f"visual.{name}": value for name, value in visual.state_dict().items()}
    convert_checkpoint(sources.write_two_towers(folder / "backbone.pth", weights), folder / "farl")
    return visual, folder / "farl"


@pytest.fixture
def images_and_mask():
    mask = torch.rand(3, 16) < 0.4
    mask[0] = False
    mask[0, 5] = True
    return torch.randn(3, 3, RESOLUTION, RESOLUTION), mask


def test_joint_pass_equals_the_original(original_and_folder, images_and_mask):
    visual, folder = original_and_folder
    images, mask = images_and_mask
    model, info = FaRLForPreTraining.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values()), info
    expected = visual.forward_mim(images, mask)
    ids = torch.tensor([[49406, 320, 49407]] * 3)
    actual = model.eval()(ids, images, bool_masked_pos=mask, return_loss=False)
    assert expected["logits"].abs().mean() > 0.3  # large enough for an error to show
    torch.testing.assert_close(actual.mim_logits, expected["logits"], atol=1e-4, rtol=0)
    feature = torch.nn.functional.normalize(expected["feature"], dim=-1)
    torch.testing.assert_close(actual.image_embeds, feature, atol=1e-4, rtol=0)


def test_masked_pass_alone_equals_the_original(original_and_folder, images_and_mask):
    visual, folder = original_and_folder
    images, mask = images_and_mask
    model, info = FaRLForMaskedImageModeling.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values()), info
    expected = visual.forward_mim(images, mask, disable_vlc=True)["logits"]
    torch.testing.assert_close(model.eval()(images, mask).logits, expected, atol=1e-4, rtol=0)


def test_what_pretraining_saves_is_the_converted_layout(original_and_folder, tmp_path):
    _, folder = original_and_folder
    FaRLForPreTraining.from_pretrained(folder).save_pretrained(tmp_path)
    saved, converted = load_file(tmp_path / "model.safetensors"), load_file(folder / "model.safetensors")
    assert saved.keys() == converted.keys()
    assert all(torch.equal(saved[name], converted[name]) for name in saved)


@pytest.mark.parametrize(("model_class", "new"), [(FaRLModel, ()), (FaRLForFaceParsing, ("pyramid.", "head."))])
def test_the_branch_is_left_out_without_a_word(original_and_folder, model_class, new):
    _, folder = original_and_folder
    _, info = model_class.from_pretrained(folder, output_loading_info=True)
    assert not info["unexpected_keys"]
    assert all(name.startswith(new) for name in info["missing_keys"]), info
