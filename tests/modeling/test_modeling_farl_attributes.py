"""The attribute head against pyfacer's, with the same weights."""

import importlib

import pytest
import torch
from torch.nn import functional

from farl_hf import FaRLForAttributes


@pytest.mark.parametrize("levels", [[3], [0, 1, 2, 3], [1, 1]])
def test_head_equals_the_original(toy_model, levels):
    classification = importlib.import_module("facer.farl.classification")
    original = classification.VITClassificationHeadV0(len(levels), 32, 5, norm=True).eval()
    model = toy_model(FaRLForAttributes, feature_levels=levels)
    with torch.no_grad():
        for parameter in original.parameters():
            parameter.normal_()
        model.head.mixture.copy_(original.weights.flatten())
        model.head.classifier.load_state_dict(original.final_fc.state_dict())
        for index, norm in enumerate(model.head.norms):
            norm.load_state_dict(getattr(original, f"norm_{index}").state_dict())
    images = torch.randn(2, 3, 48, 64)
    blocks = model.vision_model(images, block_indices=levels).block_outputs
    features = [tokens[:, 1:].transpose(1, 2).reshape(2, 32, 3, 4) for tokens in blocks]
    expected = original(features, [tokens[:, 0] for tokens in blocks])
    torch.testing.assert_close(model(images).logits, expected, atol=1e-5, rtol=1e-5)


def test_loss_ignores_what_is_not_labelled(toy_model):
    model = toy_model(FaRLForAttributes)
    labels = torch.tensor([[0, 1, -100, 1, 0], [-100, -100, 1, 0, 1]])
    outputs = model(torch.randn(2, 3, 32, 32), labels=labels)
    known = labels != -100
    expected = functional.binary_cross_entropy_with_logits(outputs.logits[known], labels[known].float())
    torch.testing.assert_close(outputs.loss, expected)
    assert model(torch.randn(1, 3, 32, 32)).loss is None


def test_labels_are_named_in_the_configuration(toy_config, toy_model):
    config = toy_config(id2label={0: "Smiling", 1: "Young"}, num_labels=2)
    assert toy_model(FaRLForAttributes, config)(torch.randn(1, 3, 32, 32)).logits.shape == (1, 2)
