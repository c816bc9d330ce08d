"""The pyramid against pyfacer's adapters with the same weights."""

import importlib

import pytest
import torch

from farl_hf.modeling.modeling_farl_heads import FaRLFeaturePyramid


@pytest.mark.parametrize(
    ("patch_size", "output_stride", "original_patch_size", "side"),
    [(16, 4, 16, 6), (14, 4, 14, 5), (8, 4, 8, 8), (8, 2, 16, 6), (16, 8, 8, 8)],
)
def test_equals_the_original_adapters(patch_size, output_stride, original_patch_size, side):
    """A pyramid that is finer or coarser than the paper's is the original one for patches of another size."""
    network = importlib.import_module("facer.face_alignment.network.transformers")
    original = network._make_fpns(original_patch_size, 6).eval()
    for module in original.modules():
        if isinstance(module, torch.nn.SyncBatchNorm):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    pyramid = FaRLFeaturePyramid(6, patch_size, output_stride).eval()
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


@pytest.mark.parametrize(("patch_size", "output_stride"), [(8, 8), (14, 2), (16, 2), (8, 0)])
def test_refuses_a_stride_that_does_not_suit_the_patches(patch_size, output_stride):
    with pytest.raises(ValueError, match=f"output_stride={output_stride} does not suit patches of {patch_size}"):
        FaRLFeaturePyramid(4, patch_size, output_stride)


def test_refuses_a_wrong_number_of_maps():
    with pytest.raises(ValueError, match="shorter"):
        FaRLFeaturePyramid(4, 16)(list(torch.randn(3, 1, 4, 6, 6)))
