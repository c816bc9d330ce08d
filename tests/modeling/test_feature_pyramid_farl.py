"""The pyramid against pyfacer's adapters with the same weights."""

import importlib

import pytest
import torch

from farl_hf.modeling.feature_pyramid_farl import FaRLFeaturePyramid


@pytest.mark.parametrize(("patch_size", "side"), [(16, 6), (14, 5), (8, 8)])
def test_equals_the_original_adapters(patch_size, side):
    original = importlib.import_module("facer.face_alignment.network.transformers")._make_fpns(patch_size, 6).eval()
    for module in original.modules():
        if isinstance(module, torch.nn.SyncBatchNorm):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    pyramid = FaRLFeaturePyramid(6, patch_size).eval()
    weights = dict(zip(pyramid.state_dict(), original.state_dict().values(), strict=True))
    pyramid.load_state_dict(weights)
    maps = list(torch.randn(4, 2, 6, side, side))
    for actual, adapter, level in zip(pyramid(maps), original, maps, strict=True):
        torch.testing.assert_close(actual, adapter(level))


@pytest.mark.parametrize(("patch_size", "sides"), [(16, [24, 12, 6, 3]), (8, [12, 6, 3, 1])])
def test_sides_of_the_levels(patch_size, sides):
    maps = FaRLFeaturePyramid(4, patch_size).eval()(list(torch.randn(4, 1, 4, 6, 6)))
    assert [level.shape[-1] for level in maps] == sides


def test_refuses_a_patch_size_it_is_not_defined_for():
    with pytest.raises(ValueError, match="patch sizes 8, 14 and 16, not 32"):
        FaRLFeaturePyramid(4, 32)


def test_refuses_a_wrong_number_of_maps():
    with pytest.raises(ValueError, match="shorter"):
        FaRLFeaturePyramid(4, 16)(list(torch.randn(3, 1, 4, 6, 6)))
