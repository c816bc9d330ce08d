"""Errors a user can cause. Each also inherits the builtin it refines, so existing handlers keep working."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

__all__ = [
    "ConversionError",
    "DatasetWriteError",
    "DivergedTrainingError",
    "DownloadError",
    "FaRLError",
    "FileWriteError",
    "InvalidArgumentError",
    "InvalidDatasetError",
    "InvalidFaceIndexError",
    "InvalidFaceInputError",
    "InvalidTextError",
    "MissingExtraError",
    "NotACheckpointError",
    "NotDownloadedError",
    "UnknownNameError",
    "UnreadablePhotoError",
    "UnreadableVideoError",
    "UnsuitableModelError",
    "UploadError",
]


_MANY_NAMES = 30  # an error does not list more


class FaRLError(Exception):
    """Base of every error that farl_hf raises for something the caller can mend."""


class ConversionError(FaRLError, ValueError):
    """A file of published weights that cannot become a checkpoint: damaged, of another kind, or unsafe to read."""


class DatasetWriteError(FaRLError, OSError):
    """A prepared data set that could not be stored: the disk is full, or the place cannot be written."""


class DivergedTrainingError(FaRLError, ArithmeticError):
    """A training whose loss or weights are not finite any more; nothing of that step was saved."""


class DownloadError(FaRLError, OSError):
    """A published file that could not be fetched, has changed, or could not be stored."""


class FileWriteError(FaRLError, OSError):
    """A result that could not be stored: the disk is full, or the place cannot be written."""


class InvalidArgumentError(FaRLError, ValueError):
    """An argument or setting that cannot be used, alone or together with another one."""


class InvalidDatasetError(FaRLError, ValueError):
    """Files or rows of a data set that are missing, incomplete, or contradict its documented layout."""


class InvalidFaceIndexError(FaRLError, ValueError):
    """A face index that is damaged, is no index, or was made with a model of another embedding size."""


class InvalidFaceInputError(FaRLError, ValueError):
    """Face boxes, points or pictures whose shape or values cannot be used."""


class InvalidTextError(FaRLError, ValueError):
    """A text that is empty, or texts given where none are used."""


class UnreadablePhotoError(FaRLError, OSError):
    """A photo that is missing, empty or cannot be decoded."""


class UnreadableVideoError(FaRLError, OSError):
    """A video that is missing, damaged, or has no frames."""


class UnknownNameError(FaRLError, ValueError):
    """A task, checkpoint, dataset or option name that does not exist; the message lists those that do."""


def unknown_name(kind: str, name: Any, known: Iterable[str], hint: str = "") -> UnknownNameError:
    """The error for a name that does not exist: it names the nearest right one, and all of them unless they are many.

    Args:
        kind (`str`): What has the name, such as `"recipe"`.
        name: What came.
        known (`Iterable[str]`): The names that exist.
        hint (`str`, *optional*): A sentence to end with.
    """
    plain, wanted = {_plain(one): str(one) for one in known}, _plain(name)
    near = get_close_matches(wanted, plain, n=5) or [one for one in plain if len(wanted) > 2 and wanted in one]
    meant = f" Did you mean {plain[near[0]]!r}?" if near else ""
    shown = plain if len(plain) <= _MANY_NAMES else near
    listed = ", ".join([plain[one] for one in shown] or (["none"] if not plain else []))
    rest = f"{len(plain) - len(shown)} {'others' if listed else 'names'}" if len(shown) < len(plain) else ""
    return UnknownNameError(
        f"There is no {kind} {str(name)[:200]!r}.{meant} Known: {' and '.join(filter(None, (listed, rest)))}."
        f"{hint and f' {hint}'}"
    )


def check_name(kind: str, name: Any, known: Iterable[Any], hint: str = "") -> None:
    """Raise [`unknown_name`] unless the name is one of the known ones."""
    known = tuple(known)
    if name not in known:
        raise unknown_name(kind, name, known, hint)


def _plain(name):
    return str(name)[:200].lower().replace("-", "_").replace(" ", "_")


def without_controls(text: str, kept: str = "") -> str:
    """The text with control characters escaped, which may change the user's terminal; those `kept` stay."""
    return "".join(one if one.isprintable() or one in kept else repr(one)[1:-1] for one in text)


def in_short(value: Any, most: int = 100) -> str:
    """The text of a value or of another library's error, cut and on one line, for a sentence."""
    return " ".join(str(value).split())[:most]


class NotACheckpointError(FaRLError, OSError):
    """A folder that holds no loadable checkpoint."""


class NotDownloadedError(FaRLError, FileNotFoundError):
    """A named checkpoint whose weights are not on this machine yet; the message is the command that gets them."""


class MissingExtraError(FaRLError, ImportError):
    """A feature whose optional packages are not installed; the message names the extra to install."""


class UnsuitableModelError(FaRLError, ValueError):
    """A model or processor without a part that is needed: a text encoder, a tokenizer, a head with named classes."""


class UploadError(FaRLError, OSError):
    """A repository on the Hugging Face Hub that could not be written; the message says what the Hub answered."""
