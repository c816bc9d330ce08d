"""The rearranged head computes what the modules compute, follows their weights and keeps out of training's way."""

import pytest
import torch
from torch import nn

from farl_hf import FaRLForFaceParsing, FaRLForLandmarks
from farl_hf.modeling import inference_head_farl


def shake_norms(model):
    """Norms as after training: folding them wrongly would show."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 2.0)
            nn.init.normal_(module.bias)
    return model


def both_ways(model, pixel_values):
    with torch.no_grad():
        rearranged = model(pixel_values).logits
        assert model._rearranged is not None
        model.rearrange_for_inference = False
        plain = model(pixel_values).logits
        model.rearrange_for_inference = True
    return rearranged, plain


def relative_difference(actual, expected):
    return float((actual - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("model_class", [FaRLForFaceParsing, FaRLForLandmarks])
@pytest.mark.parametrize(
    ("patch_size", "output_stride", "size_hw"),
    [(16, 4, (64, 64)), (16, 4, (96, 64)), (16, 4, (80, 112)), (14, 4, (56, 84)), (8, 4, (64, 96)), (8, 2, (64, 96))],
)
def test_the_same_maps(toy_model, model_class, patch_size, output_stride, size_hw):
    vision = {"patch_size": patch_size, "image_size": 4 * patch_size}
    model = shake_norms(toy_model(model_class, vision=vision, output_stride=output_stride))
    rearranged, plain = both_ways(model, torch.randn(2, 3, *size_hw))
    assert rearranged.shape == plain.shape
    assert relative_difference(rearranged, plain) < 1e-5


def test_faces_go_through_in_parts(toy_model, monkeypatch):
    model = shake_norms(toy_model(FaRLForFaceParsing))
    pixel_values = torch.randn(5, 3, 64, 64)
    together, _ = both_ways(model, pixel_values)
    sizes = []
    logits_of = inference_head_farl.InferenceHead._logits
    monkeypatch.setattr(
        inference_head_farl.InferenceHead,
        "_logits",
        lambda head, maps: sizes.append(len(maps[0])) or logits_of(head, maps),
    )
    monkeypatch.setattr(inference_head_farl, "_NUMBERS_AT_ONCE", 2 * 32 * 4 * 4)
    apart, _ = both_ways(model, pixel_values)
    assert sizes == [2, 2, 1]
    assert relative_difference(apart, together) < 1e-6


@pytest.mark.parametrize("patch_size", [16, 8])
def test_bfloat16_is_about_as_exact_as_the_modules(toy_model, patch_size):
    """Both are compared with the modules in float32, on the weights as bfloat16 rounds them."""
    vision = {"patch_size": patch_size, "image_size": 4 * patch_size}
    model = shake_norms(toy_model(FaRLForFaceParsing, vision=vision)).bfloat16()
    pixel_values = torch.randn(4, 3, 64, 96).bfloat16()
    rearranged, plain = both_ways(model, pixel_values)
    model.float().rearrange_for_inference = False
    with torch.no_grad():
        exact = model(pixel_values.float()).logits
    assert rearranged.dtype == plain.dtype == torch.bfloat16
    errors = [float((logits - exact).square().mean().sqrt()) for logits in (rearranged, plain)]
    assert errors[0] < 1.35 * errors[1]
    assert errors[1] < 0.02 * float(exact.square().mean().sqrt())


@pytest.mark.parametrize("side", [64, 60, 72])
def test_winograd_is_the_direct_convolution(side):
    weight, maps = torch.randn(256, 256, 3, 3), torch.randn(2, 256, side, side + 4)
    convolution = inference_head_farl._Convolution3x3(weight)
    result = convolution(maps)
    assert convolution.transforms is not None
    assert relative_difference(result, nn.functional.conv2d(maps.double(), weight.double(), padding=1)) < 5e-5


def test_changed_weights_are_noticed(toy_model):
    model = shake_norms(toy_model(FaRLForFaceParsing))
    pixel_values = torch.randn(1, 3, 64, 64)
    before, _ = both_ways(model, pixel_values)
    with torch.no_grad():
        model.head.fusion[0].weight.mul_(2.0)
        model.pyramid.levels[0][1].running_mean.add_(1.0)
    after, plain = both_ways(model, pixel_values)
    assert relative_difference(after, plain) < 1e-5
    assert relative_difference(before, plain) > 1e-3


def test_a_step_of_a_fused_optimizer_is_noticed(toy_model):
    """It leaves no trace in the version counters of the weights; norms that stay in evaluation mode leave none."""
    model = shake_norms(toy_model(FaRLForFaceParsing))
    pixel_values = torch.randn(1, 3, 64, 64)
    before, _ = both_ways(model, pixel_values)
    versions = [parameter._version for parameter in model.parameters()]
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    model(pixel_values).logits.square().sum().backward()
    optimizer.step()
    assert versions == [parameter._version for parameter in model.parameters()]
    after, plain = both_ways(model, pixel_values)
    assert relative_difference(after, plain) < 1e-5
    assert relative_difference(before, plain) > 1e-3


def test_training_and_gradients_use_the_modules(toy_model):
    model = toy_model(FaRLForFaceParsing)
    pixel_values = torch.randn(2, 3, 64, 64)
    model(pixel_values).logits.sum().backward()
    assert model.head.fusion[0].weight.grad is not None
    model.train()
    with torch.no_grad():
        model(pixel_values)
    assert model._rearranged is None


def test_nothing_is_added_to_the_state_dict(toy_model):
    model = toy_model(FaRLForFaceParsing)
    names = list(model.state_dict())
    with torch.inference_mode():
        model(torch.randn(1, 3, 64, 64))
    assert model._rearranged is not None
    assert list(model.state_dict()) == names


class Doubled(nn.Conv2d):
    """As an adapter or a quantised layer would be: a convolution that is more than its weights."""

    def forward(self, maps):
        return 2 * super().forward(maps)


def test_layers_that_are_more_than_their_weights_are_left_alone(toy_model):
    model = toy_model(FaRLForFaceParsing)
    pixel_values = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = model(pixel_values).logits
        classifier = Doubled(16, 5, 1)
        classifier.load_state_dict(model.head.classifier.state_dict())
        model.head.classifier = classifier
        assert torch.allclose(model(pixel_values).logits, 2 * before, atol=1e-5)
