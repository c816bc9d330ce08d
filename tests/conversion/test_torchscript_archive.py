"""TorchScript archives are read like `torch.jit.load` reads them, but nothing in them runs."""

import io
import pickle
import zipfile
from collections import OrderedDict
from typing import Optional

import pytest
import torch
from torch import nn

from farl_hf.conversion.source_reading import read_source
from farl_hf.conversion.torch_files import is_torchscript, open_extra_file, read_torchscript
from farl_hf.errors import ConversionError


class EveryAttribute(nn.Module):
    """A module to script, with attributes of every kind that a network of today keeps."""

    sizes: list[int]
    scale: float
    note: Optional[str]  # noqa: UP045 - TorchScript's spelling
    table: dict[str, int]
    pair: tuple[int, int]

    def __init__(self):
        super().__init__()
        self.sizes, self.scale, self.note, self.table, self.pair = [1, 2], 0.5, None, {"a": 1}, (3, 4)
        self.conv = nn.Conv2d(3, 4, 2)
        self.shared = self.conv
        self.stack = nn.Sequential(nn.Identity(), nn.BatchNorm2d(4))
        self.register_buffer("sideways", torch.arange(6.0).view(2, 3).t())  # not contiguous
        self.register_buffer("halves", torch.ones(3, dtype=torch.float16))
        self.register_buffer("flag", torch.tensor(True))
        self.register_buffer("empty", torch.zeros(0, 3))

    def forward(self, image):
        return self.stack(self.conv(image)) * self.scale + self.pair[0] + self.sizes[0]


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    path = tmp_path_factory.mktemp("archive") / "any name.bin"
    torch.manual_seed(0)
    torch.jit.save(torch.jit.script(EveryAttribute().eval()), str(path), _extra_files={"backbone": b"bytes"})
    return path


def rewritten(source, path, changes):
    """A copy of a zip file with members replaced (bytes) or left out (None), by the end of their names."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = next((value for end, value in changes.items() if name.endswith(end)), old.read(name))
            if content is not None:
                new.writestr(name, content)
    return path


def test_names_and_values_are_those_of_torch(archive):
    expected = torch.jit.load(str(archive)).state_dict()
    actual = read_torchscript(archive)
    assert set(actual) == set(expected)
    for name, value in expected.items():
        assert actual[name].dtype == value.dtype
        assert torch.equal(actual[name], value), name


def test_it_is_told_from_other_files(archive, tmp_path):
    torch.save({"weight": torch.ones(1)}, tmp_path / "plain.pt")
    assert is_torchscript(archive)
    assert not is_torchscript(tmp_path / "plain.pt")


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
def test_however_the_members_are_packed(archive, tmp_path, packing):
    with zipfile.ZipFile(tmp_path / "archive.pt", "w", packing) as new, zipfile.ZipFile(archive) as old:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    repacked, expected = read_torchscript(tmp_path / "archive.pt"), read_torchscript(archive)
    assert all(torch.equal(repacked[name], value) for name, value in expected.items())
    with open_extra_file(tmp_path / "archive.pt", "backbone") as file:
        assert file.read() == b"bytes"
        assert file.seek(-4, 2) == 1
        assert file.read(2) + file.read(100) == b"ytes"
        assert file.seek(2) == 2
        assert file.seek(1, 1) == 3
        assert file.read(1) == b"e"
        assert file.read() == b"s"
    assert open_extra_file(tmp_path / "archive.pt", "other") is None


def test_code_of_the_archive_does_not_run(archive, tmp_path):
    """Every program in it is replaced by nonsense, which torch.jit.load would choke on; the tensors still come."""
    with zipfile.ZipFile(archive) as old:
        programs = {name: b"import os; this is no program" for name in old.namelist() if name.endswith(".py")}
    broken = rewritten(archive, tmp_path / "broken.pt", programs)
    with pytest.raises(RuntimeError):
        torch.jit.load(str(broken))
    assert set(read_torchscript(broken)) == set(read_torchscript(archive))


class Touch:
    """Unpickling this makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize(
    "wrap", [lambda thing: thing, lambda thing: {"weights": OrderedDict(a=thing)}], ids=["bare", "hidden"]
)
def test_a_pickle_that_would_run_code_is_refused(archive, tmp_path, wrap):
    trap = tmp_path / "trap"
    bad = rewritten(archive, tmp_path / "bad.pt", {"/data.pkl": pickle.dumps(wrap(Touch(trap)), protocol=2)})
    with pytest.raises(ConversionError, match=r"asks for (io|_io)\.open"):
        read_source(bad)
    assert not trap.exists()


def test_code_in_the_pickled_backbone_is_refused(archive, tmp_path):
    trap, buffer = tmp_path / "trap", io.BytesIO()
    torch.save({"weight": Touch(trap)}, buffer)
    bad = rewritten(archive, tmp_path / "bad.pt", {"extra/backbone": buffer.getvalue()})
    with pytest.raises(ConversionError, match=r"backbone inside bad\.pt holds more than tensors"):
        read_source(bad)
    assert not trap.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps([1, 2]), "holds a list, expected a module"),
        (pickle.dumps(torch.Size([1])), "asks for torch.Size"),
        (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(K\x01tR.", "damaged"),
        # An object whose attribute is itself: EMPTY_TUPLE NEWOBJ, memo 0, {"again": memo 0} BUILD.
        (b"\x80\x02c__torch__\nNet\n)\x81q\x00}X\x05\x00\x00\x00againh\x00sb.", "contain themselves"),
        (b"", "damaged"),
        (b"\x80\x02X\x03", "damaged"),
    ],
    ids=["a list", "another class", "bad arguments", "a cycle", "empty", "cut off"],
)
def test_unexpected_content_is_refused(archive, tmp_path, content, message):
    bad = rewritten(archive, tmp_path / "bad.pt", {"/data.pkl": content})
    with pytest.raises(ConversionError, match=message):
        read_source(bad)


def test_missing_and_short_tensors_are_refused(archive, tmp_path):
    with pytest.raises(ConversionError, match=r"data/0 is missing or is not \d+ bytes"):
        read_source(rewritten(archive, tmp_path / "missing.pt", {"/data/0": None}))
    with pytest.raises(ConversionError, match=r"data/0 is missing or is not \d+ bytes"):
        read_source(rewritten(archive, tmp_path / "short.pt", {"/data/0": b"1234"}))


def test_flipped_bits_are_noticed(archive, tmp_path):
    content = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as old:
        name = next(name for name in old.namelist() if name.endswith("/data/0"))
        start = old.getinfo(name).header_offset
    content[start + 120] ^= 1
    (tmp_path / "flipped.pt").write_bytes(content)
    with pytest.raises(ConversionError, match="damaged"):
        read_source(tmp_path / "flipped.pt")
