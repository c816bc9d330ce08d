"""Writes tensors to a safetensors file one after the other, so that a conversion never holds all of them.

The library's own writer wants every tensor contiguous, with memory of its own, and resident at once. Format: 8 bytes
of length, a JSON header, the bytes of the tensors without gaps; github.com/huggingface/safetensors, README.
"""

import ctypes
import json
import sys
from collections.abc import Mapping
from pathlib import Path

import torch

from farl_hf.conversion.key_rules import name_some
from farl_hf.errors import ConversionError

__all__ = ["write_safetensors"]

_DTYPE_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_HEADER_ALIGNMENT = 8
_PAGE_BYTES = 4096
_MADV_PAGEOUT = 21  # Linux 5.4: give pages back without changing what they hold


def write_safetensors(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """
    Write a file that `safetensors` reads.

    Args:
        tensors (`Mapping[str, torch.Tensor]`): On the CPU; views and tensors that share memory are fine.
        path (`Path`): The file; one that is there is replaced.

    Raises:
        ConversionError: A tensor of a type that the format does not know.
        OSError: The file cannot be written.
    """
    unknown = {name: value.dtype for name, value in tensors.items() if value.dtype not in _DTYPE_NAMES}
    if unknown:
        raise ConversionError(
            f"safetensors cannot store tensors of these types: {name_some(map(str, unknown.items()))}."
        )
    # The widest types first, as the format asks for, so that every tensor is aligned.
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header = _header({name: tensors[name] for name in names})
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little"))
        file.write(header)
        for name in names:
            values = tensors[name].detach().contiguous().reshape(-1)
            file.write(memoryview(values.view(torch.uint8).numpy()))
            _page_out(values)


def _header(tensors):
    entries, start = {"__metadata__": {"format": "pt"}}, 0
    for name, value in tensors.items():
        end = start + value.numel() * value.element_size()
        entries[name] = {
            "dtype": _DTYPE_NAMES[value.dtype],
            "shape": list(value.shape),
            "data_offsets": [start, end],
        }
        start = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % _HEADER_ALIGNMENT)


def _page_out(values):
    """Let the system take back the pages of a source file that is mapped into memory; a hint, which may do nothing."""
    start = -(-values.data_ptr() // _PAGE_BYTES) * _PAGE_BYTES
    length = values.data_ptr() + values.numel() * values.element_size() - start
    if sys.platform == "linux" and length >= _PAGE_BYTES:
        ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), _MADV_PAGEOUT)
