"""Errors a user can cause. Each also inherits the builtin it refines, so existing handlers keep working."""

__all__ = [
    "ConversionError",
    "DatasetWriteError",
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


class FaRLError(Exception):
    """Base of every error that farl_hf raises for something the caller can mend."""


class ConversionError(FaRLError, ValueError):
    """A file of published weights that cannot become a checkpoint: damaged, of another kind, or unsafe to read."""


class DatasetWriteError(FaRLError, OSError):
    """A prepared data set that could not be stored: the disk is full, or the place cannot be written."""


class DownloadError(FaRLError, OSError):
    """A published file that could not be fetched, has changed, or could not be stored."""


class FileWriteError(FaRLError, OSError):
    """A result that could not be stored: the disk is full, or the place cannot be written."""


class InvalidArgumentError(FaRLError, ValueError):
    """An argument or setting that cannot be used, alone or together with another one."""


class InvalidDatasetError(FaRLError, ValueError):
    """Raw files of a published data set that are missing, incomplete, or contradict its documented layout."""


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
