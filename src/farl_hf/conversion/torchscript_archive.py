"""TorchScript archives as named tensors, without running the code that they carry.

An archive is a zip file: `data.pkl` describes the tree of modules, `data/N` hold the bytes of its tensors, `code/` the
programs, `extra/` whatever its author added. `torch.jit.load` compiles and may run those programs; here nothing but
`data.pkl` is looked at, by an unpickler that can build tensors, containers and attribute trees, nothing else.
Layout: PyTorch `torch/csrc/jit/serialization/pickler.cpp` and `import.cpp`.
"""

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO

import torch

from farl_hf.errors import ConversionError

__all__ = ["is_torchscript", "open_extra_file", "read_torchscript"]

_STORAGE_DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_ALIGNMENT_BYTES = 8
_LENGTHS_IN_LOCAL_HEADER = 26  # PKWARE APPNOTE 4.3.7
_PLAIN = (bool, int, float, str, bytes, type(None))


class _ScriptObject:
    """The attributes of one scripted or traced module."""

    def __init__(self):
        self.attributes: dict[str, Any] = {}

    def __setstate__(self, state):
        if not isinstance(state, dict):
            raise ConversionError(f"A module of the archive is stored as {type(state).__name__}, expected attributes.")
        self.attributes = state


def _rebuild_tensor(storage, offset, size, stride, *_):
    return torch.as_strided(storage, size, stride, offset)


def _list_of(values):
    return list(values)


# Every name that data.pkl may use, besides the storages and the archive's own module types.
_KNOWN_NAMES = {
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch.jit._pickle", "build_intlist"): _list_of,
    ("torch.jit._pickle", "build_doublelist"): _list_of,
    ("torch.jit._pickle", "build_boollist"): _list_of,
    ("torch.jit._pickle", "build_tensorlist"): _list_of,
    ("torch.jit._pickle", "restore_type_tag"): lambda value, _type: value,
    ("torch", "device"): str,
    ("collections", "OrderedDict"): OrderedDict,
}


class _TreeUnpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO, archive: zipfile.ZipFile, root: str, mapped: torch.UntypedStorage):
        super().__init__(file)
        self.archive, self.root, self.mapped = archive, root, mapped
        self.storages: dict[str, torch.Tensor] = {}

    def find_class(self, module, name):
        if module.split(".")[0] == "__torch__":
            return _ScriptObject
        if module == "torch" and name in _STORAGE_DTYPES:
            return _STORAGE_DTYPES[name]
        if (module, name) in _KNOWN_NAMES:
            return _KNOWN_NAMES[module, name]
        raise ConversionError(
            f"The archive asks for {module}.{name}, which no released model needs; it was not read further. "
            "Download the file again from the address that the documentation names."
        )

    def persistent_load(self, pid):
        try:
            _, dtype, key, _, numel = pid
        except (TypeError, ValueError):
            raise ConversionError(f"The archive refers to its tensors in an unknown way: {pid!r}.") from None
        if key not in self.storages:
            self.storages[key] = self._read_storage(f"{self.root}data/{key}", dtype, numel)
        return self.storages[key]

    def _read_storage(self, member, dtype, numel):
        size = numel * torch.empty(0, dtype=dtype).element_size()
        if member not in self.archive.NameToInfo or self.archive.getinfo(member).file_size != size:
            raise ConversionError(f"The archive's member {member} is missing or is not {size} bytes long.")
        info = self.archive.getinfo(member)
        start = _content_offset(self.archive, info)
        if not size or info.compress_type != zipfile.ZIP_STORED or start % _ALIGNMENT_BYTES:
            return torch.frombuffer(bytearray(self.archive.read(member)) or bytearray(8), dtype=dtype)[:numel]
        return torch.empty(0, dtype=dtype).set_(self.mapped[start : start + size], 0, (numel,))


def _content_offset(archive, info):
    """Where a member's bytes begin: behind its local header, whose name and extra field have lengths of their own."""
    archive.fp.seek(info.header_offset + _LENGTHS_IN_LOCAL_HEADER)
    name_bytes, extra_bytes = struct.unpack("<HH", archive.fp.read(4))
    return info.header_offset + _LENGTHS_IN_LOCAL_HEADER + 4 + name_bytes + extra_bytes


def _root_folder(archive: zipfile.ZipFile) -> str | None:
    """The folder, with its slash, that holds the members of a TorchScript archive; `None` for another zip file."""
    for name in archive.namelist():
        root, slash, rest = name.partition("/")
        if slash and rest == "constants.pkl" and f"{root}/data.pkl" in archive.NameToInfo:
            return f"{root}/"
    return None


def is_torchscript(path: Path) -> bool:
    """Whether a complete zip file is a TorchScript archive (other files that `torch.save` wrote have no constants)."""
    with zipfile.ZipFile(path) as archive:
        return _root_folder(archive) is not None


def read_torchscript(path: Path) -> dict[str, torch.Tensor]:
    """
    Parameters and buffers of the module in an archive, named as `state_dict` would.

    Args:
        path (`Path`): A TorchScript archive.

    Returns:
        `dict[str, torch.Tensor]`: On the CPU; attributes that are not tensors are left out.

    Raises:
        ConversionError: The archive is damaged, or holds anything but modules of tensors and plain values.
    """
    with zipfile.ZipFile(path) as archive:
        root = _root_folder(archive)
        if root is None:
            raise ConversionError(f"{path.name} is not a TorchScript archive: it has no data.pkl with constants.pkl.")
        if f"{root}byteorder" in archive.NameToInfo and archive.read(f"{root}byteorder").strip() != b"little":
            raise ConversionError(f"{path.name} stores its numbers big-endian first; only little-endian files exist.")
        mapped = torch.UntypedStorage.from_file(str(path), False, path.stat().st_size)
        content = io.BytesIO(archive.read(f"{root}data.pkl"))
        module = _unpickle(_TreeUnpickler(content, archive, root, mapped), path)
    if not isinstance(module, _ScriptObject):
        raise ConversionError(f"{path.name} holds a {type(module).__name__}, expected a module.")
    try:
        return dict(_named_tensors(module, ""))
    except RecursionError:
        raise ConversionError(f"{path.name} holds modules that contain themselves; no network does.") from None


def open_extra_file(path: Path, name: str) -> BinaryIO | None:
    """An extra file of an archive (`_extra_files` of `torch.jit.save`), to be closed; `None` if it has none."""
    with zipfile.ZipFile(path) as archive:
        member = f"{_root_folder(archive)}extra/{name}"
        if member not in archive.NameToInfo:
            return None
        info = archive.getinfo(member)
        if info.compress_type != zipfile.ZIP_STORED:
            return io.BytesIO(archive.read(member))
        return io.BufferedReader(_FileSlice(path, _content_offset(archive, info), info.file_size))


class _FileSlice(io.RawIOBase):
    """A part of a file as a file: a pickled backbone is half of its archive, too much to copy."""

    def __init__(self, path, start, length):
        self.file, self.start, self.length, self.position = path.open("rb"), start, length, 0

    def readable(self):
        return True

    def seekable(self):
        return True

    def seek(self, offset, whence=io.SEEK_SET):
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.length}[whence]
        self.position = max(0, origin + offset)
        return self.position

    def readinto(self, buffer):
        self.file.seek(self.start + self.position)
        wanted = min(len(buffer), max(0, self.length - self.position))
        count = self.file.readinto(memoryview(buffer)[:wanted])
        self.position += count
        return count

    def close(self):
        self.file.close()
        super().close()


def _unpickle(unpickler, path):
    try:
        return unpickler.load()
    except (ConversionError, zipfile.BadZipFile):
        raise
    except Exception as error:  # a malformed pickle can raise anything
        raise ConversionError(f"{path.name} is damaged: its data.pkl cannot be read ({error}).") from error


def _named_tensors(value, name):
    """Yield (dotted name, tensor) of a tree of modules."""
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, _ScriptObject | dict | list | tuple):
        for key, child in _children(value):
            yield from _named_tensors(child, f"{name}.{key}" if name else str(key))
    elif not isinstance(value, _PLAIN):
        raise ConversionError(f"The attribute {name!r} of the archive is a {type(value).__name__}; expected a tensor.")


def _children(value):
    if isinstance(value, _ScriptObject):
        return value.attributes.items()
    return value.items() if isinstance(value, dict) else enumerate(value)
