"""PyAV, the optional package that decodes and encodes videos."""

from types import ModuleType

from farl_hf.errors import MissingExtraError

__all__ = ["load_av"]


def load_av() -> ModuleType:
    """The module `av`.

    Raises:
        MissingExtraError: If it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise MissingExtraError('Videos need the `av` package: pip install "farl-hf[video]".') from error
    return av
