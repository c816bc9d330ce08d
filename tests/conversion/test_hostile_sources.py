"""Sources and folders that are made to hurt end in one sentence."""

import json
import zipfile

import numpy as np
import pytest
import torch

from farl_hf.conversion import convert_checkpoint
from farl_hf.conversion.source_reading import read_source
from farl_hf.errors import ConversionError


def npz_that_declares(path, shape, dtype="<f4", content=b"\0" * 64):
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(10 + len(header) + 1) % 64) + b"\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("cls.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content)
    return path


@pytest.mark.parametrize("shape", [(10**12,), (10**6, 10**6), (-1,), (2**63, 2), ("x",), (1.5,), None, (17,)])
def test_arrays_that_declare_what_they_do_not_hold(shape, tmp_path):
    with pytest.raises(ConversionError, match=r"^[^\n]*weights\.npz"):
        read_source(npz_that_declares(tmp_path / "weights.npz", shape))


@pytest.mark.parametrize("dtype", ["|O", "|S4", "<U4", "<c16", "<m8", "nonsense"])
def test_arrays_of_odd_types(dtype, tmp_path):
    with pytest.raises(ConversionError):
        convert_checkpoint(npz_that_declares(tmp_path / "weights.npz", (1,), dtype), tmp_path / "out")


@pytest.mark.parametrize(
    "name", ["../../up.npy", "/root.npy", "a\\b.npy", "x" * 5000 + ".npy", "ü\n\x1b[31m.npy", "constants.pkl"]
)
def test_archives_with_odd_names(name, tmp_path):
    with zipfile.ZipFile(tmp_path / "weights.npz", "w") as archive:
        archive.writestr(name, b"nothing")
    with pytest.raises(ConversionError):
        convert_checkpoint(tmp_path / "weights.npz", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["weights.npz"]


def test_an_archive_that_would_fill_a_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("farl_hf.conversion.source_reading._FREE_BYTES", 1000)
    with zipfile.ZipFile(tmp_path / "weights.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("cls.npy", bytes(10**6))
    with pytest.raises(ConversionError, match="unpack"):
        read_source(tmp_path / "weights.npz")


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize("name", ["weights.safetensors", "weights.npz", "weights"])
def test_the_content_of_a_file_decides_not_its_name(name, is_zip, tmp_path):
    weights = torch.arange(6.0).reshape(2, 3)
    torch.save({"state_dict": {"weight": weights}}, tmp_path / name, _use_new_zipfile_serialization=is_zip)
    torch.testing.assert_close(read_source(tmp_path / name).tensors["weight"], weights)


def test_a_tensor_that_repeats_one_value_over_a_large_shape(tmp_path):
    torch.save({"state_dict": {"weight": torch.zeros(1).expand(10**6, 10**6)}}, tmp_path / "weights.pth")
    with pytest.raises(ConversionError, match="fewer values"):
        read_source(tmp_path / "weights.pth")


def test_arrays_of_a_known_model_in_odd_shapes(tmp_path):
    names = ["cls", "Transformer/posembed_input/pos_embedding", "embedding/kernel", "embedding/bias"]
    np.savez(tmp_path / "weights.npz", **{name: np.zeros((), np.float32) for name in names})
    with pytest.raises(ConversionError):
        convert_checkpoint(tmp_path / "weights.npz", tmp_path / "out")


@pytest.mark.parametrize("name", ["x" * 300, "nul\0byte"])
def test_names_that_no_file_can_have(name, tmp_path):
    good = tmp_path / "weights.pth"
    torch.save({"weight": torch.zeros(1)}, good)
    with pytest.raises(ConversionError, match="can have the name"):
        convert_checkpoint(good, tmp_path / name)
    with pytest.raises(ConversionError, match="can be read"):
        convert_checkpoint(tmp_path / name, tmp_path / "out")


@pytest.mark.parametrize("content", ["null", "3", "[]", '{"model_type": ["clip"]}', "{"])
def test_clip_folders_whose_config_is_no_object(content, tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ConversionError):
        read_source(tmp_path)


@pytest.mark.parametrize("settings", [{"vision_config": 3}, {"vision_config": {"hidden_size": "big"}}, {}])
def test_clip_folders_with_odd_settings(settings, tmp_path):
    torch.save({"logit_scale": torch.zeros(())}, tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip"} | settings))
    with pytest.raises(ConversionError):
        convert_checkpoint(tmp_path, tmp_path / "out")


def test_weights_that_are_not_finite_and_names_that_mislead(tmp_path):
    import conversion_sources

    good = conversion_sources.write_plain(
        tmp_path / "weights.safetensors", conversion_sources.make_detector(), legacy=True
    )
    assert convert_checkpoint(good, tmp_path / "out").num_parameters > 0
    states = torch.load(conversion_sources.write_plain(tmp_path / "a.pth", conversion_sources.make_detector()))
    next(value for value in states.values() if value.is_floating_point()).view(-1)[0] = torch.nan
    torch.save(states, tmp_path / "nan.pth")
    with pytest.raises(ConversionError, match="not finite"):
        convert_checkpoint(tmp_path / "nan.pth", tmp_path / "nan")
    assert not (tmp_path / "nan").exists()
