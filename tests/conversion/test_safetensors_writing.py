import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from farl_hf.conversion.checkpoint_folders import write_safetensors
from farl_hf.errors import ConversionError

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16]
DTYPES += [torch.int8, torch.uint8, torch.bool]


def written(tensors, folder):
    write_safetensors(tensors, folder / "weights.safetensors")
    with safe_open(folder / "weights.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
    return load_file(folder / "weights.safetensors")


def require_equal(actual, expected):
    assert set(actual) == set(expected)
    for name, value in expected.items():
        assert actual[name].dtype == value.dtype
        assert torch.equal(actual[name], value), name


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_type_comes_back(tmp_path, dtype):
    tensors = {"values": (torch.randn(3, 5) * 50).to(dtype), "odd": torch.ones(3, dtype=torch.bool)}
    require_equal(written(tensors, tmp_path), tensors)


def test_views_scalars_and_empty_tensors(tmp_path):
    whole = torch.randn(6, 4)
    tensors = {"rows": whole[2:4], "turned": whole.t(), "one": torch.tensor(3.5), "none": torch.zeros(0, 4)}
    require_equal(written(tensors, tmp_path), tensors)


def test_the_tensors_stay_as_they_were(tmp_path):
    """Pages are given back, not thrown away."""
    tensors = {"large": torch.randn(300, 1000)}
    copy = tensors["large"].clone()
    require_equal(written(tensors, tmp_path), {"large": copy})
    assert torch.equal(tensors["large"], copy)


def test_types_that_the_format_does_not_know_are_refused(tmp_path):
    with pytest.raises(ConversionError, match=r"spiral.*complex64"):
        write_safetensors({"spiral": torch.zeros(2, dtype=torch.complex64)}, tmp_path / "weights.safetensors")
    assert not any(tmp_path.iterdir())


def test_names_of_any_script(tmp_path):
    tensors = {'a "quoted" näme': torch.ones(2), "頭": torch.zeros(1)}
    require_equal(written(tensors, tmp_path), tensors)
