"""Reads files that PyTorch wrote as named tensors. No code in a file is run.

Files of `torch.save` are read by `torch.load` with `weights_only=True`, which refuses TorchScript archives.

A TorchScript archive is a zip file: `data.pkl` describes the tree of modules, `data/N` hold the bytes of its tensors,
`code/` the programs, `extra/` further files. `torch.jit.load` compiles the programs and may run them. Here only
`data.pkl` is read, by an unpickler that builds nothing but tensors, containers and modules. Source of the layout:
PyTorch `torch/csrc/jit/serialization/pickler.cpp` and `import.cpp`.
"""

import io
import math
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import IO, Any, BinaryIO

import torch

from farl_hf.errors import ConversionError

# Where a file of `torch.save` keeps its weights: the path of keys, tried in order. The official training code saves a
# states file (blueprint/ml/trainer.py, lines 252-260; trainers/lapa_farl.yaml, lines 43-54): `main_ema` is the
# averaged network, which it evaluates, `main` the one that it trains.
_STATE_DICT_PLACES = (("networks", "main_ema"), ("networks", "main"), ("state_dict",), ("model",), ())
# PyTorch's unpickler uses these words when it refuses an object. Its other messages are about damaged files.
_WORDS_OF_A_REFUSAL = ("GLOBAL", "Can only")
_SHOWN_BYTES = 16  # of a file in an unknown format: enough to recognise a web page

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


def load_pickled_tensors(file: Path | IO[bytes], name: str) -> Any:
    """
    Read a file of `torch.save`: tensors in containers.

    Args:
        file (`Path` or binary file): Zip or legacy format. A zip file of a path is mapped into memory, as a rule.
        name (`str`): Name of the file in error messages.

    Raises:
        ConversionError: The file is of another format, is damaged, or cannot be read without running code.
    """
    try:
        # PyTorch goes by the name of a path that ends in .safetensors; the content decides here.
        is_mapped = isinstance(file, Path) and file.suffix != ".safetensors" and zipfile.is_zipfile(file)
        if isinstance(file, Path) and not is_mapped:
            with file.open("rb") as opened:
                return torch.load(opened, map_location="cpu", weights_only=True)
        return torch.load(file, map_location="cpu", weights_only=True, mmap=is_mapped)
    except Exception as error:  # a malformed file can raise anything
        raise ConversionError(_reason(file, name, str(error))) from error


def _reason(file, name, message):
    """Why a file was not read. PyTorch's message advises to trust the file; only the object's name is used."""
    refusals = [line for line in message.splitlines() if any(words in line for words in _WORDS_OF_A_REFUSAL)]
    if refusals:
        refused = refusals[0].strip().split(". ")[0].removeprefix("WeightsUnpickler error: ")
        return (
            f"{name} holds more than tensors: reading it could run code, so it was not read. PyTorch says: {refused}. "
            "If you trust the file, save its state dict alone with torch.save, and convert that."
        )
    with file.open("rb") if isinstance(file, Path) else nullcontext(file) as opened:
        opened.seek(0)
        beginning = opened.read(_SHOWN_BYTES)
    return (
        f"{name}, which begins with {beginning!r}, is damaged or not a PyTorch file. Download it again and compare "
        "its size with the size on the release page."
    )


def find_state_dict(content: Any, name: str) -> tuple[dict[str, torch.Tensor], tuple[str, ...]]:
    """
    Find the named tensors in the content of a file.

    Args:
        content: From `load_pickled_tensors`.
        name (`str`): Name of the file in error messages.

    Returns:
        `tuple`: Tensors by name, and the keys that lead to them.

    Raises:
        ConversionError: No place holds tensors by name.
    """
    for place in _STATE_DICT_PLACES:
        found = _follow(content, place)
        if isinstance(found, Mapping) and any(isinstance(value, torch.Tensor) for value in found.values()):
            return _only_tensors(found, name), place
    keys = ", ".join(map(repr, list(content)[:5])) if isinstance(content, Mapping) else type(content).__name__
    raise ConversionError(
        f"{name} holds no weights: expected tensors by name in 'state_dict', 'networks' or at the top, found {keys}."
    )


def _follow(content, place):
    for key in place:
        content = content.get(key) if isinstance(content, Mapping) else None
    return content


def _only_tensors(found, name):
    others = [key for key, value in found.items() if not (isinstance(key, str) and isinstance(value, torch.Tensor))]
    if others:
        raise ConversionError(
            f"{name} has {len(others)} entries among its weights that are no tensors with a name: {others[:3]}."
        )
    # A tensor may repeat few stored values over any shape; the converted file would hold them all.
    spread = [key for key, value in found.items() if value.numel() > 0 and _stored_values(value) < value.numel()]
    if spread:
        raise ConversionError(f"{name} holds tensors with fewer values than their shapes say: {spread[:3]}.")
    return dict(found)


def _stored_values(tensor):
    return tensor.untyped_storage().nbytes() // tensor.element_size()


class _ScriptObject:
    """A scripted or traced module. Unpickling fills its `__dict__`."""


def _rebuild_tensor(storage, offset, size, stride, *_):
    if math.prod(size) > storage.numel():
        raise ConversionError(f"A tensor of the archive has the shape {tuple(size)}, but {storage.numel()} values.")
    return torch.as_strided(storage, size, stride, offset)


# The names that data.pkl may use, besides the storages and the archive's own module types.
_KNOWN_NAMES = {
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    **{("torch.jit._pickle", f"build_{kind}list"): list for kind in ("int", "double", "bool", "tensor")},
    ("torch.jit._pickle", "restore_type_tag"): lambda value, _type: value,
    ("torch", "device"): str,
    ("collections", "OrderedDict"): OrderedDict,
}


class _TreeUnpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO, archive: zipfile.ZipFile, root: str | None, mapped: torch.UntypedStorage):
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
        return torch.empty(0, dtype=dtype).set_(self.mapped[start : start + size], 0, (numel,), (1,))


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
    Read the parameters and buffers of a TorchScript archive, with the names that `state_dict` gives them.

    Args:
        path (`Path`): A file for which [`is_torchscript`] is true.

    Returns:
        `dict[str, torch.Tensor]`: On the CPU. Attributes that are not tensors are left out.

    Raises:
        ConversionError: The archive is damaged, or holds objects of unknown types.
    """
    with zipfile.ZipFile(path) as archive:
        root = _root_folder(archive)
        mapped: Any = torch.UntypedStorage.from_file(str(path), False, path.stat().st_size)
        content = io.BytesIO(archive.read(f"{root}data.pkl"))
        try:
            module = _TreeUnpickler(content, archive, root, mapped).load()
        except (ConversionError, zipfile.BadZipFile):
            raise
        except Exception as error:  # a malformed pickle can raise anything
            raise ConversionError(f"{path.name} is damaged: its data.pkl cannot be read ({error}).") from error
    if not isinstance(module, _ScriptObject):
        raise ConversionError(f"{path.name} holds a {type(module).__name__}, expected a module.")
    try:
        return dict(_named_tensors(module, ""))
    except RecursionError:
        raise ConversionError(f"{path.name} holds modules that contain themselves; no network does.") from None


def open_extra_file(path: Path, name: str) -> IO[bytes] | None:
    """Open an extra file of an archive (`_extra_files` of `torch.jit.save`); `None` if there is no such file.

    The caller closes it. It is not copied into memory: a pickled backbone is half of its archive.
    """
    with zipfile.ZipFile(path) as archive:
        member = f"{_root_folder(archive)}extra/{name}"
        return archive.open(member) if member in archive.NameToInfo else None


def _named_tensors(value, name):
    """Yield (dotted name, tensor) of a tree of modules."""
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, _ScriptObject | dict | list | tuple):
        children = vars(value) if isinstance(value, _ScriptObject) else value
        for key, child in children.items() if isinstance(children, dict) else enumerate(children):
            yield from _named_tensors(child, f"{name}.{key}" if name else str(key))
