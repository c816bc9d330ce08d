import pytest
import torch

from farl_hf import FaRLForFaceParsing
from farl_hf.training.trainer import PART_PREFIXES, freeze_backbone, make_parameter_groups

RATES = {"backbone": 1e-4, "pyramid": 1e-3, "head": 1e-2}


@pytest.fixture
def model(toy_config):
    return FaRLForFaceParsing(toy_config())


def test_every_parameter_is_in_one_group_with_the_rate_of_its_part(model):
    groups = make_parameter_groups(model, RATES, weight_decay=1e-5)
    assert {group["name"]: (group["lr"], group["weight_decay"]) for group in groups} == {
        part: (rate, 1e-5) for part, rate in RATES.items()
    }
    grouped = {id(parameter): group["name"] for group in groups for parameter in group["params"]}
    assert len(grouped) == sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    for name, parameter in model.named_parameters():
        assert name.startswith(PART_PREFIXES[grouped[id(parameter)]])


def test_norms_and_biases_may_be_left_without_decay(model):
    groups = make_parameter_groups(model, RATES, weight_decay=0.1, decay_norm_and_bias=False)
    for group in groups:
        assert all((parameter.ndim > 1) == (group["weight_decay"] > 0) for parameter in group["params"])
    torch.optim.AdamW(groups)


def test_matrices_that_zero_has_divided_decay(model):
    """ZeRO-3 leaves a flat part of a parameter, and its shape as `ds_shape`."""
    for parameter in model.parameters():
        parameter.ds_shape = parameter.shape
        parameter.data = parameter.data.flatten()
    groups = make_parameter_groups(model, RATES, weight_decay=0.1, decay_norm_and_bias=False)
    for group in groups:
        assert all((len(one.ds_shape) > 1) == (group["weight_decay"] > 0) for one in group["params"])
    assert {group["weight_decay"] > 0 for group in groups} == {True, False}


def test_a_frozen_backbone_has_no_group(model):
    freeze_backbone(model)
    assert {group["name"] for group in make_parameter_groups(model, RATES, 0.0)} == {"pyramid", "head"}


def test_parts_keep_their_rates_inside_an_adapter(model):
    peft = pytest.importorskip("peft")
    settings = peft.LoraConfig(target_modules=r".*vision_model.*q_proj", modules_to_save=["pyramid", "head"])
    adapted = peft.get_peft_model(model, settings)
    groups = {group["name"]: group for group in make_parameter_groups(adapted, RATES, 0.0)}
    assert {name: group["lr"] for name, group in groups.items()} == RATES
    lora = [parameter for name, parameter in adapted.named_parameters() if "lora_" in name]
    assert {id(parameter) for parameter in groups["backbone"]["params"]} == {id(parameter) for parameter in lora}
