"""The UperNet head against Transformers' own, with the same weights."""

import pytest
import torch
from transformers import UperNetConfig
from transformers.models.upernet.modeling_upernet import UperNetHead

from farl_hf.modeling.modeling_farl_heads import FaRLUperHead

# Our modules and theirs, in the order in which both hold their weights (convolution, then batch norm).
PARTS = (
    *((f"pyramid_pooling.branches.{i}", f"psp_modules.{i}.1") for i in range(4)),
    ("pyramid_pooling.bottleneck", "bottleneck"),
    *((f"laterals.{i}", f"lateral_convs.{i}") for i in range(3)),
    *((f"smoothers.{i}", f"fpn_convs.{i}") for i in range(3)),
    ("fusion", "fpn_bottleneck"),
    ("classifier", "classifier"),
)


def randomise(module):
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            value.uniform_(0.5, 1.5) if "running_var" in name else value.normal_(std=0.2)


@pytest.fixture
def heads():
    config = UperNetConfig(hidden_size=10, num_labels=5, pool_scales=[1, 2, 3, 6])
    theirs, ours = UperNetHead(config, in_channels=[8] * 4).eval(), FaRLUperHead(8, 10, 5).eval()
    randomise(theirs)
    for our_name, their_name in PARTS:
        our_part, their_part = ours.get_submodule(our_name), theirs.get_submodule(their_name)
        our_part.load_state_dict(
            dict(zip(our_part.state_dict(), their_part.state_dict().values(), strict=True)), strict=True
        )
    return ours, theirs


@pytest.mark.parametrize("sides", [(24, 12, 6, 3), (28, 14, 7, 3), (32, 16, 8, 8)])
def test_equals_the_independent_head(heads, sides):
    ours, theirs = heads
    assert len(list(ours.parameters())) == len(list(theirs.parameters()))
    pyramid = [torch.randn(2, 8, side, side + 4) for side in sides]
    torch.testing.assert_close(ours(pyramid), theirs(pyramid), atol=1e-5, rtol=1e-5)


def test_every_weight_gets_a_gradient():
    head = FaRLUperHead(8, 10, 5)
    head([torch.randn(2, 8, side, side) for side in (24, 12, 6, 3)]).square().sum().backward()
    assert all(parameter.grad is not None for parameter in head.parameters())


def test_the_input_pyramid_is_left_as_it_was(heads):
    pyramid = [torch.randn(1, 8, side, side) for side in (24, 12, 6, 3)]
    copies = [level.clone() for level in pyramid]
    heads[0](pyramid)
    assert all(torch.equal(level, copy) for level, copy in zip(pyramid, copies, strict=True))
