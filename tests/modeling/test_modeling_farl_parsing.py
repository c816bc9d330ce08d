"""The parsing model: its parts put together, its loss, and that it learns."""

import pytest
import torch
from torch.nn import functional

from farl_hf import FaRLForFaceParsing


def test_logits_come_from_the_chosen_levels(toy_model):
    model = toy_model(FaRLForFaceParsing, feature_levels=[0, 0, 2, 3])
    images = torch.randn(2, 3, 64, 96)
    maps = model.vision_model.feature_maps(images, [0, 0, 2, 3])
    expected = model.head([adapter(level) for adapter, level in zip(model.pyramid.levels, maps, strict=True)])
    assert expected.shape == (2, 5, 16, 24)
    torch.testing.assert_close(model(images).logits, expected)


def test_parameters_are_named_for_optimiser_groups(toy_model):
    names = [name for name, _ in toy_model(FaRLForFaceParsing).named_parameters()]
    assert {name.split(".")[0] for name in names} == {"vision_model", "pyramid", "head"}


def test_loss_ignores_what_is_not_labelled(toy_model):
    model, images = toy_model(FaRLForFaceParsing), torch.randn(2, 3, 32, 32)
    labels = torch.randint(0, 5, (2, 32, 32))
    labels[:, :7], labels[:, 9] = 255, -100
    outputs = model(images, labels=labels)
    scores = functional.interpolate(outputs.logits, size=(32, 32), mode="bilinear", align_corners=False)
    expected = functional.cross_entropy(scores, torch.where(labels == 255, -100, labels))
    torch.testing.assert_close(outputs.loss, expected)
    assert model(images).loss is None


@pytest.mark.parametrize("patch_size", [8, 14, 16])
def test_every_patch_size_of_the_pyramid_works(toy_model, patch_size):
    side = 4 * patch_size
    model = toy_model(FaRLForFaceParsing, vision={"patch_size": patch_size, "image_size": side})
    expected = {8: 8, 14: 16, 16: 16}[patch_size]
    assert model(torch.randn(1, 3, side, side)).logits.shape == (1, 5, expected, expected)


def test_scores_may_be_twice_as_fine(toy_model, tmp_path):
    vision = {"patch_size": 8, "image_size": 32}
    model = toy_model(FaRLForFaceParsing, vision=vision, output_stride=2)
    images = torch.randn(1, 3, 32, 48)
    logits = model(images).logits
    assert logits.shape == (1, 5, 16, 24)
    model.save_pretrained(tmp_path)
    torch.testing.assert_close(FaRLForFaceParsing.from_pretrained(tmp_path).eval()(images).logits, logits)


def test_a_few_steps_fit_one_image(toy_model):
    model = toy_model(FaRLForFaceParsing).train()
    images = torch.randn(2, 3, 32, 32)
    labels = torch.zeros(2, 32, 32, dtype=torch.long)
    labels[:, 8:24, 8:24] = 3
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        loss = model(images, labels=labels).loss
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert losses[-1] < 0.5 * losses[0]
