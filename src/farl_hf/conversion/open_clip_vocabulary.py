"""The file of CLIP's vocabulary in the package open_clip. Found, not imported: importing open_clip takes seconds."""

import importlib.util
from pathlib import Path

from farl_hf.errors import MissingExtraError

__all__ = ["OPEN_CLIP_FILE", "open_clip_vocabulary_file"]

OPEN_CLIP_FILE = "bpe_simple_vocab_16e6.txt.gz"


def open_clip_vocabulary_file() -> Path:
    """Where the file is.

    Raises:
        MissingExtraError: open_clip is not installed.
    """
    package = importlib.util.find_spec("open_clip")
    if package is None:
        raise MissingExtraError(
            "CLIP's vocabulary comes with the package open_clip, which is not installed; run "
            "`pip install 'farl-hf[convert]'` or give a local CLIP folder."
        )
    return Path(package.origin).with_name(OPEN_CLIP_FILE)
