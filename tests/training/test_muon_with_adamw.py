import copy

import pytest
import torch

from farl_hf import FaRLForAttributes
from farl_hf.errors import InvalidFaceInputError
from farl_hf.training.muon_with_adamw import MuonWithAdamW, with_muon
from farl_hf.training.parameter_groups import freeze_backbone, make_parameter_groups

RATES = {"backbone": 1e-3, "pyramid": 1e-3, "head": 1e-2}
MUON_RATE = 0.02


@pytest.fixture
def model(toy_config):
    torch.manual_seed(0)
    return FaRLForAttributes(toy_config(num_labels=3))


def adamw_of(model, **settings):
    return torch.optim.AdamW(make_parameter_groups(model, RATES, weight_decay=0.1), **settings)


def fill_gradients(model, seed):
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def copied(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def test_muon_has_the_matrices_of_the_blocks_and_adamw_the_rest(model):
    optimizer = with_muon(adamw_of(model), model, MUON_RATE)
    ours, *others = optimizer.param_groups
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    muon_names = {names[id(parameter)] for parameter in ours["params"]}
    assert muon_names == {name for name in names.values() if ".layers." in name and name.endswith("weight")} - {
        name for name in names.values() if "layer_norm" in name
    }
    assert (ours["lr"], ours["weight_decay"]) == (MUON_RATE, 0.1)
    assert {group["name"]: group["lr"] for group in others} == {"backbone": 1e-3, "head": 1e-2}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(names)


def test_steps_are_those_of_two_separate_optimizers(model, toy_config):
    optimizer = with_muon(adamw_of(model, betas=(0.8, 0.9)), model, MUON_RATE)
    twin = FaRLForAttributes(toy_config(num_labels=3))
    twin.load_state_dict(model.state_dict())
    by_name = dict(twin.named_parameters())
    muon_ids = {id(parameter) for parameter in optimizer.param_groups[0]["params"]}
    in_muon = [name for name, parameter in model.named_parameters() if id(parameter) in muon_ids]
    in_head = [name for name in by_name if name.startswith("head.")]
    rest = [name for name in by_name if name not in (*in_muon, *in_head)]
    separate = [
        torch.optim.Muon([by_name[name] for name in in_muon], lr=MUON_RATE, weight_decay=0.1),
        torch.optim.AdamW([by_name[name] for name in rest], lr=1e-3, betas=(0.8, 0.9), weight_decay=0.1),
        torch.optim.AdamW([by_name[name] for name in in_head], lr=1e-2, betas=(0.8, 0.9), weight_decay=0.1),
    ]
    for seed in range(3):
        fill_gradients(model, seed)
        fill_gradients(twin, seed)
        optimizer.step()
        for other in separate:
            other.step()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter, by_name[name], atol=1e-7, rtol=0, msg=name)


def test_a_saved_state_goes_on_as_if_nothing_had_happened(model, toy_config):
    optimizer = with_muon(adamw_of(model), model, MUON_RATE)
    for seed in range(2):
        fill_gradients(model, seed)
        optimizer.step()
    twin = FaRLForAttributes(toy_config(num_labels=3))
    twin.load_state_dict(model.state_dict())
    resumed = with_muon(adamw_of(twin), twin, 1.0)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for group in (*optimizer.param_groups, *resumed.param_groups):  # as a scheduler does
        group["lr"] *= 0.5
    for each, its_optimizer in ((model, optimizer), (twin, resumed)):
        fill_gradients(each, 7)
        its_optimizer.step()
    for name, tensor in copied(model).items():
        torch.testing.assert_close(tensor, copied(twin)[name], atol=0, rtol=0, msg=name)


def test_a_closure_is_called_once(model):
    optimizer = with_muon(adamw_of(model), model, MUON_RATE)
    calls = []

    def closure():
        calls.append(torch.is_grad_enabled())
        fill_gradients(model, 0)
        return 1.5

    with torch.no_grad():
        assert optimizer.step(closure) == 1.5
    assert calls == [True]
    assert isinstance(optimizer, MuonWithAdamW)


def test_another_optimizer_and_a_frozen_tower_are_refused(model):
    with pytest.raises(InvalidFaceInputError, match="the optimizer is SGD"):
        with_muon(torch.optim.SGD(model.parameters(), lr=0.1), model, MUON_RATE)
    freeze_backbone(model)
    with pytest.raises(InvalidFaceInputError, match="no matrix inside a block learns"):
        with_muon(adamw_of(model), model, MUON_RATE)
