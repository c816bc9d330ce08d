"""Linear layers as convolutions: the same sums, and only where nothing else depends on the layer."""

import pytest
import torch
from torch import nn

from farl_hf import FaRLModel
from farl_hf.modeling import linear_farl
from farl_hf.modeling.linear_farl import linear, matrix_product


@pytest.fixture
def convolutions(monkeypatch):
    """Counts the convolutions, on any processor."""
    calls = []
    convolve = linear_farl.conv2d

    def counted(*args, **kwargs):
        calls.append(args[0].shape)
        return convolve(*args, **kwargs)

    monkeypatch.setattr(linear_farl, "conv2d", counted)
    monkeypatch.setattr(linear_farl, "_products_waste_registers", lambda: True)
    return calls


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return nn.Linear(96, 40)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shape", [(300, 96), (3, 100, 96), (2, 3, 50, 96)])
def test_the_same_sums(convolutions, layer, shape, threads):
    inputs, before = torch.randn(shape), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            result = linear(layer, inputs)
    finally:
        torch.set_num_threads(before)
    assert len(convolutions) == 1
    assert result.is_contiguous()
    torch.testing.assert_close(result, layer(inputs), atol=2e-6, rtol=1e-5)


def test_inputs_may_be_strided_and_the_bias_missing(convolutions):
    layer, inputs = nn.Linear(96, 40, bias=False), torch.randn(96, 300).T
    with torch.no_grad():
        torch.testing.assert_close(linear(layer, inputs), layer(inputs), atol=2e-6, rtol=1e-5)
    assert len(convolutions) == 1


def test_gradients_small_inputs_and_other_precisions_use_the_layer(convolutions, layer):
    inputs = torch.randn(300, 96)
    linear(layer, inputs).sum().backward()
    assert layer.weight.grad is not None
    with torch.no_grad():
        linear(layer, inputs[:200])
        linear(layer.bfloat16(), inputs.bfloat16())
        with torch.autocast("cpu", torch.bfloat16):
            linear(layer.float(), inputs)
    assert not convolutions


class Doubled(nn.Linear):
    """As an adapter would be: more than its weights."""

    def forward(self, inputs):
        return 2 * super().forward(inputs)


def test_layers_that_are_more_than_their_weights_are_called(convolutions, layer):
    inputs = torch.randn(300, 96)
    doubled = Doubled(96, 40)
    doubled.load_state_dict(layer.state_dict())
    seen = []
    with torch.no_grad():
        torch.testing.assert_close(linear(doubled, inputs), 2 * layer(inputs))
        handle = layer.register_forward_hook(lambda module, args, output: seen.append(output))
        linear(layer, inputs)
        handle.remove()
        assert len(seen) == 1
        assert not convolutions
        linear(layer, inputs)
    assert len(convolutions) == 1


def test_both_towers_compute_the_same(convolutions, toy_model, monkeypatch):
    monkeypatch.setattr(linear_farl, "_SMALLEST_INPUT", 0)
    model = toy_model(FaRLModel)
    inputs = {"pixel_values": torch.randn(2, 3, 32, 32), "input_ids": torch.tensor([[97, 5, 98], [97, 8, 98]])}
    with torch.no_grad():
        convolved = model(**inputs)
    count = len(convolutions)
    plain = model(**inputs)  # with gradients
    assert count == 6 * 4 + 6 * 2  # of four blocks and two
    assert len(convolutions) == count
    torch.testing.assert_close(convolved.image_embeds, plain.image_embeds, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(convolved.text_embeds, plain.text_embeds, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("transposed", [False, True])
def test_products_of_two_matrices(convolutions, transposed):
    left, right = torch.randn(300, 96), torch.randn(96, 500)
    if transposed:
        left, right = left.T.contiguous().T, right.T.contiguous().T
    with torch.no_grad():
        result = matrix_product(left, right)
    assert len(convolutions) == 1
    assert result.is_contiguous()
    torch.testing.assert_close(result, left @ right, atol=1e-4, rtol=1e-5)


def test_exported_graphs_hold_plain_products(convolutions):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(96, 40)

        def forward(self, inputs):
            return linear(self.layer, inputs)

    with torch.no_grad():
        graph = torch.export.export(Model(), (torch.randn(300, 96),)).graph
    assert not convolutions
    assert any("linear" in str(node.target) for node in graph.nodes)
