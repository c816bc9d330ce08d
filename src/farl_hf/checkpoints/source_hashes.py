"""Checks that a file of weights is the one it was: against the table, or against the first that converted here."""

import json
import os
from pathlib import Path

from farl_hf.checkpoints.official_models import OFFICIAL_MODELS
from farl_hf.errors import DownloadError

__all__ = ["record_sha256", "require_known_sha256"]


def require_known_sha256(name: str, sha256: str, accept_new: bool = False) -> None:
    """
    Check the content of a file of weights.

    Args:
        name (`str`): A key of `OFFICIAL_MODELS`.
        sha256 (`str`): Of the file at hand.
        accept_new (`bool`): Whether it may differ from the recorded one; never from a published one.

    Raises:
        DownloadError: It differs; the message has both values.
    """
    published = OFFICIAL_MODELS[name].sha256
    expected = published or _recorded_sha256(name)
    if expected in (None, sha256) or (accept_new and not published):
        return
    origin = "the published file has" if published else "the file that was first converted here had"
    remedy = "fetch it again" if published else f"fetch it again, or accept it with `farl-hf download {name} --force`"
    raise DownloadError(f"The file for {name} has the sha256 {sha256}, but {origin} {expected}; {remedy}.")


def record_sha256(name: str, sha256: str) -> None:
    """Remember the content of the file that a name's checkpoint was made of."""
    path = _record_path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(json.dumps({"file": OFFICIAL_MODELS[name].file_name, "sha256": sha256}) + "\n")
    os.replace(draft, path)


def _recorded_sha256(name: str) -> str | None:
    path = _record_path(name)
    return json.loads(path.read_text())["sha256"] if path.is_file() else None


def _record_path(name: str) -> Path:
    """One file per name, so that nobody writes two at once; not in the cache entry, whose deletion it outlives."""
    from huggingface_hub import constants

    return Path(constants.HF_HOME) / "farl_hf" / "sources" / f"{name}.json"
