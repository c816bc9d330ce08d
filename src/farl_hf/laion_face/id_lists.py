"""LAION-Face's list of SAMPLE_IDs, `laion_face_ids.pth`, as sorted arrays on disk, one per part.

The published file is a pickle of fifty million Python integers: loaded as such they would fill gigabytes. Here the
instructions of the pickle are read one by one; no code in it is run and none of its objects are made. Nothing here
imports torch, so that the processes of a cluster start in a moment.
"""

import hashlib
import os
import pickletools
import zipfile
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from farl_hf.data.recorded_files import write_arrays
from farl_hf.errors import InvalidDatasetError, UnknownNameError

# The parts of the 20M subset (FacePerceiver/LAION-Face, README.md, lines 40-43), on which the paper's models were
# trained (FacePerceiver/FaRL, README.md, lines 30-31).
LAION_FACE_20M = (0, 2, 5, 8, 13, 15, 17, 18, 21, 22, 24, 25, 28)
COLLECTIONS = ("set", "frozenset", "list", "tuple")
# Names of the module of built-in types in pickles of Python 3 and of Python 2.
BUILTINS = ("builtins", "__builtin__")


class NotIntegersError(ValueError):
    """A pickle that holds anything but collections of integers. Callers catch it; users never see it."""


# Errors that damaged files lead to.
UNREADABLE = (ValueError, TypeError, KeyError, IndexError, AttributeError, EOFError, OverflowError, zipfile.BadZipFile)


def parse_parts(words: str) -> list[int] | None:
    """Numbers of parts from `20m`, `all` (None: every part in the list of numbers), or `0,2,5-8`.

    Raises:
        UnknownNameError: It is none of these.
    """
    words = words.strip().lower()
    if words in ("20m", "all"):
        return list(LAION_FACE_20M) if words == "20m" else None
    try:
        bounds = [[int(number) for number in piece.split("-")] for piece in words.split(",")]
        parts = sorted({number for first_last in bounds for number in range(first_last[0], first_last[-1] + 1)})
    except ValueError:
        parts = []
    if not parts or any(len(first_last) > 2 or first_last[0] > first_last[-1] for first_last in bounds):
        raise UnknownNameError(f"There are no parts {words!r}. Give 20m, all, or numbers such as 0,2,5-8.")
    return parts


def id_arrays(path: str | os.PathLike, cache_dir: str | os.PathLike) -> dict[int, Path]:
    """Files of sorted int64 arrays, by part; made once for a list and found by later calls.

    Args:
        path (`str`): A `torch.save`d or pickled list (or dict by part) of collections of SAMPLE_IDs: sets, lists or
            tuples of integers.
        cache_dir (`str`): Folder for the arrays.

    Raises:
        InvalidDatasetError: The file is missing, damaged, or holds anything else.
        DatasetWriteError: The arrays cannot be written.
    """
    folder = Path(cache_dir, f"ids-{content_mark(path)}")
    if not os.path.isdir(folder):
        write_arrays(folder, ((f"part_{part:05d}", np.unique(numbers)) for part, numbers in read_parts(path)))
    return {int(file.stem.rpartition("_")[2]): file for file in sorted(folder.glob("part_*.npy"))}


def content_mark(path: str | os.PathLike) -> str:
    """Changes with the content of a file, wherever it lies."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError as error:
        raise InvalidDatasetError(
            f"The list of numbers {path} cannot be read: {error.strerror}. It is laion_face_ids.pth of"
            " huggingface.co/datasets/FacePerceiver/laion-face."
        ) from error


def read_parts(path: str | os.PathLike) -> Iterator[tuple[int, np.ndarray]]:
    """Yields parts and their numbers, int64, in the order of the file."""
    try:
        parts = load_parts(path)
        named = list(parts.items() if isinstance(parts, dict) else enumerate(parts))
        if not named or any(not isinstance(part, int) or part < 0 for part, _ in named):
            raise ValueError("it is empty, or its parts have no numbers")
        for part, numbers in named:
            yield part, as_numbers(numbers)
    except UNREADABLE as error:
        raise InvalidDatasetError(
            f"{path} cannot be read as LAION-Face's list of numbers: {error}. Expected a list with a collection of"
            " integers per part, as in laion_face_ids.pth."
        ) from error


def load_parts(path: str | os.PathLike) -> list | dict:
    """Collections, arrays or tensors by part."""
    try:
        with open_pickle(path) as stream:
            content = walk_pickle(stream)
        if isinstance(content, int):  # PyTorch before 1.6 wrote several pickles, a mark of its own first
            raise NotIntegersError("it holds an integer")
    except NotIntegersError as more_than_integers:
        try:
            content = load_with_torch(path)
        except Exception:
            raise more_than_integers from None
    return content.others if isinstance(content, Collection) else content


def load_with_torch(path: str | os.PathLike) -> Any:
    """Arrays and tensors, which lie outside the pickle or as bytes in it; loading them fills no memory.

    PyTorch itself takes half a gigabyte, as much as the published list: it is imported for these alone.
    """
    import torch

    from farl_hf.data.laion_face.detections import numpy_globals

    with torch.serialization.safe_globals(numpy_globals()):
        return torch.load(path, map_location="cpu", weights_only=True)


def as_numbers(numbers: Any) -> np.ndarray:
    """The numbers of one part, int64."""
    if isinstance(numbers, Collection):
        if numbers.others:
            raise ValueError("a part holds more than integers")
        return np.frombuffer(numbers.integers, np.int64)
    array_of_part = np.asarray(list(numbers) if isinstance(numbers, set | frozenset) else numbers)
    if array_of_part.ndim != 1 or array_of_part.dtype.kind not in "iu":
        raise ValueError(f"a part is {array_of_part.dtype} of shape {array_of_part.shape}")
    return array_of_part.astype(np.int64)


def open_pickle(path: str | os.PathLike) -> IO[bytes]:
    """The pickle inside a file of `torch.save`, or the file itself when it is a plain pickle."""
    if not zipfile.is_zipfile(path):
        return open(path, "rb")
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl"]
        if len(names) != 1:
            raise ValueError("it is a zip file that torch.save did not write")
        return archive.open(names[0])


class Collection:
    """Items of a list, set or tuple; almost always integers, which take eight bytes each."""

    def __init__(self, items: list[Any] | tuple[Any, ...] = ()):
        self.integers: array[int] = array("q")
        self.others: list[Any] = []
        self.extend(items)

    def extend(self, items: list[Any] | tuple[Any, ...]) -> None:
        """Takes items over."""
        try:
            self.integers.extend(items)
        except TypeError:  # the items before the first that is no integer have been taken
            self.others += [item for item in items if not isinstance(item, int)]


class Global:
    """A name that a pickle refers to; only those of collections are allowed."""

    def __init__(self, module_and_name: str):
        module, _, name = module_and_name.partition(" ")
        if module not in BUILTINS or name not in COLLECTIONS:
            raise NotIntegersError(f"it refers to {module}.{name}, which is no collection of integers")


def walk_pickle(stream: IO[bytes]) -> Collection | dict:
    """The content of a pickle of collections of integers, or of a dict of them."""
    stack: list[Any] = []
    remembered: dict[int, Global] = {}
    num_remembered = 0
    argument: Any
    for opcode, argument, _ in pickletools.genops(stream):
        name = opcode.name
        if name in INTEGER_CODES:
            stack.append(argument)
        elif name in STEPS:
            STEPS[name](stack)
        elif name in REMEMBER_CODES:
            # Pickles of collections read back the names of types only, so nothing else is remembered.
            if isinstance(stack[-1], Global):
                remembered[num_remembered if argument is None else argument] = stack[-1]
            num_remembered += 1
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(remembered[argument])
        elif name == "GLOBAL":
            stack.append(Global(argument))
        elif name == "STOP":
            return stack.pop()
        elif name not in ("PROTO", "FRAME"):
            raise NotIntegersError(f"it holds more than integers ({name})")
    raise EOFError("it ends early")


def since_mark(stack: list[Any]) -> list[Any]:
    """Takes the items after the last mark, and the mark, off the stack."""
    place = len(stack) - 1
    while stack[place] is not MARK:  # an empty stack ends in an IndexError: the pickle is damaged
        place -= 1
    items = stack[place + 1 :]
    del stack[place:]
    return items


def extend_last(stack: list[Any]) -> None:
    """Items after the mark go into the collection before it."""
    items = since_mark(stack)
    stack[-1].extend(items)


def append_last(stack: list[Any]) -> None:
    """One item goes into the collection before it."""
    item = stack.pop()
    stack[-1].extend([item])


def make_tuple(count: int) -> Callable[[list[Any]], None]:
    """A step that makes one collection of the last items."""

    def step(stack: list[Any]) -> None:
        items = [stack.pop() for _ in range(count)]
        stack.append(Collection(items[::-1]))

    return step


def call_type(stack: list[Any]) -> None:
    """`set([…])`: the collection stays what it is."""
    arguments, called = stack.pop(), stack.pop()
    if not isinstance(called, Global):
        raise ValueError("it calls what is no type")
    stack.append(arguments.others[0] if arguments.others else Collection())


def set_items(stack: list[Any]) -> None:
    """Pairs after the mark go into the dict before it."""
    items = since_mark(stack)
    stack[-1].update(zip(items[::2], items[1::2], strict=True))


def set_item(stack: list[Any]) -> None:
    """One pair goes into the dict before it."""
    value, key = stack.pop(), stack.pop()
    stack[-1][key] = value


MARK = object()
INTEGER_CODES = frozenset(("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "INT", "LONG"))
REMEMBER_CODES = ("BINPUT", "LONG_BINPUT", "MEMOIZE")
STEPS: dict[str, Callable[[list[Any]], None]] = {
    "MARK": lambda stack: stack.append(MARK),
    **dict.fromkeys(("EMPTY_LIST", "EMPTY_SET", "EMPTY_TUPLE"), lambda stack: stack.append(Collection())),
    **dict.fromkeys(("APPENDS", "ADDITEMS"), extend_last),
    **dict.fromkeys(("TUPLE", "FROZENSET"), lambda stack: stack.append(Collection(since_mark(stack)))),
    **{f"TUPLE{count}": make_tuple(count) for count in (1, 2, 3)},
    "APPEND": append_last,
    "REDUCE": call_type,
    "EMPTY_DICT": lambda stack: stack.append({}),
    "SETITEMS": set_items,
    "SETITEM": set_item,
}
