"""Files that `torch.save` wrote, as named tensors; never more than tensors and containers is unpickled."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch

from farl_hf.errors import ConversionError

__all__ = ["find_state_dict", "load_pickled_tensors"]

# Where a file keeps its weights: the path of keys, tried in order. The official training code saves a states file:
# `main_ema` is the averaged network, which it evaluates, `main` the one that it trains.
_STATE_DICT_PLACES = (("networks", "main_ema"), ("networks", "main"), ("state_dict",), ("model",), ())

# How PyTorch's safe unpickler speaks of objects that it does not build; its other complaints are about damage.
_WORDS_OF_A_REFUSAL = ("GLOBAL", "Can only")
_SHOWN_BYTES = 16  # of a file that is none: enough to tell a web page


def load_pickled_tensors(file: Path | BinaryIO, name: str) -> Any:
    """
    What `torch.save` wrote: tensors in containers.

    Args:
        file (`Path` or binary file): Zip or legacy format. A zip file of a path is mapped into memory, not copied.
        name (`str`): How errors call it.

    Raises:
        ConversionError: It is no such file, is damaged, or would need code to be read.
    """
    try:
        is_mapped = isinstance(file, Path) and zipfile.is_zipfile(file)
        return torch.load(file, map_location="cpu", weights_only=True, mmap=is_mapped)
    except Exception as error:  # a malformed file can raise anything
        raise ConversionError(_reason(file, name, str(error))) from error


def _reason(file, name, message):
    """Why a file was not read; of PyTorch's text, which advises to trust the file, no more than a name."""
    if any(words in message for words in _WORDS_OF_A_REFUSAL):
        return (
            f"{name} holds more than tensors: reading it could run code, so it was not read. PyTorch says: "
            f"{_told_global(message)}. If you trust it, save its state dict alone with torch.save, and convert that."
        )
    return (
        f"{name}, which begins with {_beginning(file)!r}, is damaged or not a PyTorch file. Download it again and "
        "compare its size with the one that the release page names."
    )


def _beginning(file):
    if isinstance(file, Path):
        with file.open("rb") as opened:
            return opened.read(_SHOWN_BYTES)
    file.seek(0)
    return file.read(_SHOWN_BYTES)


def _told_global(message):
    """The line of PyTorch's long explanation that names the object it refused."""
    lines = [line.strip() for line in message.splitlines() if any(words in line for words in _WORDS_OF_A_REFUSAL)]
    return lines[0].split(". ")[0].removeprefix("WeightsUnpickler error: ")


def find_state_dict(content: Any, name: str) -> tuple[dict[str, torch.Tensor], tuple[str, ...]]:
    """
    The named tensors in what a file holds, and where they were.

    Args:
        content: From `load_pickled_tensors`.
        name (`str`): How errors call the file.

    Returns:
        `tuple`: Tensors by name, and the keys that led to them.

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
        if not isinstance(content, Mapping) or key not in content:
            return None
        content = content[key]
    return content


def _only_tensors(found, name):
    others = [key for key, value in found.items() if not (isinstance(key, str) and isinstance(value, torch.Tensor))]
    if others:
        raise ConversionError(
            f"{name} has {len(others)} entries among its weights that are no tensors with a name: {others[:3]}."
        )
    return dict(found)
