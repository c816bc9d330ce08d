import pytest
import torch
from torch import nn

from farl_hf import FaRLConfig, FaRLForAttributes, FaRLForFaceParsing, FaRLModel
from farl_hf.errors import InvalidFaceInputError
from farl_hf.training.data_dependent_start import start_from_data


@pytest.fixture
def photos():
    """Faces differ little from each other and have a common part, as photos do."""
    torch.manual_seed(1)
    coarse = nn.functional.interpolate(torch.randn(64, 3, 4, 4), size=32, mode="bicubic")
    return 1.5 + coarse + 0.3 * torch.randn(64, 3, 32, 32)


def make_model(toy_config, model_class=FaRLForAttributes):
    torch.manual_seed(0)
    return model_class(toy_config(vision={"patch_size": 8}, num_labels=3))


def norm_outputs(model, part, photos):
    outputs = []
    norms = [module for module in part.modules() if isinstance(module, nn.LayerNorm)]
    hooks = [norm.register_forward_hook(lambda module, inputs, output: outputs.append(output)) for norm in norms]
    with torch.no_grad():
        model.eval()(pixel_values=photos)
    for hook in hooks:
        hook.remove()
    assert len(outputs) == len(norms)
    return [output.flatten(0, -2) for output in outputs]


@pytest.mark.parametrize("model_class", [FaRLForAttributes, FaRLForFaceParsing])
def test_channels_of_every_norm_have_mean_0_and_deviation_1(model_class, toy_config, photos):
    model = make_model(toy_config, model_class)
    before = [values.mean(dim=0).abs().max() for values in norm_outputs(model, model, photos)]
    start_from_data(model, photos)
    for values in norm_outputs(model, model, photos):
        torch.testing.assert_close(values.mean(dim=0), torch.zeros(values.shape[1]), atol=2e-4, rtol=0)
        assert (values.std(dim=0) < 1.001).all()
    in_tower = norm_outputs(model, model.vision_model, photos)
    for values in in_tower:  # of pooled features, channels that hardly differ at the start stay smaller
        torch.testing.assert_close(values.std(dim=0), torch.ones(values.shape[1]), atol=1e-3, rtol=0)
    assert max(before) > 0.5


def test_projected_patches_differ_alike_in_all_directions(toy_config, photos):
    model = make_model(toy_config)
    start_from_data(model, photos)
    convolution = model.get_input_embeddings()
    width = convolution.out_channels
    projected = convolution(photos).flatten(2).transpose(1, 2).reshape(-1, width).detach()
    half = projected[:, : width // 2]
    torch.testing.assert_close(projected[:, width // 2 :], -half)
    second_moment = half.T @ half / len(half)
    off_diagonal = second_moment - second_moment.diag().diag()
    assert off_diagonal.abs().max() < 0.02 * second_moment.diag().max()
    assert second_moment.diag().max() / second_moment.diag().min() < 2


def test_neighbours_begin_with_similar_positions(toy_config, photos):
    model = make_model(toy_config)
    class_row = model.vision_model.embeddings.position_embedding.weight[0].clone()
    start_from_data(model, photos)
    table = model.vision_model.embeddings.position_embedding.weight.detach()
    assert torch.equal(table[0], class_row)
    grid = table[1:].unflatten(0, (4, 4))
    to_first = (grid - grid[0, 0]).norm(dim=-1)
    assert torch.equal(to_first, to_first.T)
    assert (to_first[0].diff() > 0).all()
    assert len(torch.unique(grid.flatten(0, 1), dim=0)) == 16


def test_of_two_towers_only_the_vision_tower_changes(toy_config, photos):
    model = FaRLModel(toy_config()).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    start_from_data(model, photos)
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed
    assert all(name.startswith("vision_model.") for name in changed)
    assert model.training


def test_an_encoder_of_another_library_is_refused(photos):
    vit = {
        "model_type": "vit",
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "image_size": 32,
        "patch_size": 8,
    }
    model = FaRLForAttributes(FaRLConfig(backbone_config=vit, feature_levels=[0, 0, 1, 1]))
    with pytest.raises(InvalidFaceInputError, match="FaRL's own vision tower"):
        start_from_data(model, photos)
