"""The models that ship inside the package: their names, their files, and their entries of the Hugging Face cache.

Offline, Transformers looks into the Hugging Face cache and asks nobody. The built-in names load there because the
cache gets entries of links to the package's files. `commits.json`, which packing writes, says which content they have:
after an upgrade of the package the commits are others, and the entries are made again.
"""

import functools
import json
import logging
from pathlib import Path

from farl_hf.checkpoints.hub_cache import alias_commit, entry_folder, entry_lock, is_linked, link_snapshot

_logger = logging.getLogger(__name__)

# Name -> what it does. The files live in the folder of the same name beside this file.
EMBEDDED_CHECKPOINTS = {
    "retinaface-mobilenet-wider": "face-detection",
    "farl-tiny-parsing": "face-parsing",
    "farl-tiny-landmarks": "face-landmarks",
    "farl-tiny-attributes": "face-attributes",
    "farl-tiny": "zero-shot-image-classification",
    "farl-tiny-generator": "unconditional-image-generation",
}

# Names of version 0.1 -> what they stand for.
EMBEDDED_ALIASES = {"retinaface-tiny": "retinaface-mobilenet-wider"}

# Those of Hugging Face's tasks are no defaults of ours: they are asked for by their names.
DEFAULT_CHECKPOINTS = {task: name for name, task in EMBEDDED_CHECKPOINTS.items() if task.startswith("face-")}

# Model -> official weights of the same task and the same labels.
OFFICIAL_COUNTERPARTS = {
    "farl-tiny-parsing": "farl-lapa-448",
    "farl-tiny-landmarks": "farl-ibug300w-448",
    "farl-tiny-attributes": "farl-celeba-224",
    "farl-tiny": "farl",
}

_TIMEOUT_SECONDS = 20  # until an import gives up on an entry that another process is making
_FOLDER = Path(__file__).resolve().parent
COMMITS_FILE = _FOLDER / "commits.json"


def embedded_folder(name: str) -> Path:
    """The folder of an embedded model; unchecked, because registering a default must not need its files."""
    return _FOLDER / EMBEDDED_ALIASES.get(name, name)


def embedded_commit(name: str) -> str:
    """The commit of an embedded model's content, as packing stored it: nothing is read to know it."""
    if name in EMBEDDED_ALIASES:
        return alias_commit(name, _stored_commits()[EMBEDDED_ALIASES[name]])
    return _stored_commits()[name]


def log_if_small(source: str | Path, subfolder: str = "") -> None:
    """Log, once per process, that a model is a small built-in one, and how to get the official ones.

    Args:
        source (`str` or `Path`): Name or folder that the model came from. Nothing is said of any other model, nor of a
            folder of the user that has the name of a built-in one: Transformers loads that instead.
        subfolder (`str`, *optional*): Where in it.
    """
    folder = Path(source, subfolder)
    if folder.exists():  # maybe the links in the cache
        folder = (folder / "model.safetensors").resolve().parent
        is_ours = folder.name in OFFICIAL_COUNTERPARTS and folder.samefile(embedded_folder(folder.name))
    else:
        is_ours = str(source) in OFFICIAL_COUNTERPARTS
    if is_ours:
        _log_small()


@functools.cache  # once
def _log_small() -> None:
    official = [f"{one} for {EMBEDDED_CHECKPOINTS[name]}" for name, one in OFFICIAL_COUNTERPARTS.items()]
    _logger.warning(
        "The built-in models of parts, landmarks, attributes and sentences are small and learned from rendered faces, "
        "so they are often wrong on photographs. For real work use the official ones: %s. `farl-hf download NAME` "
        "fetches and converts one; with its file at hand, add `--from FILE`.",
        ", ".join(official),
    )


@functools.cache
def _stored_commits() -> dict[str, str]:
    return json.loads(COMMITS_FILE.read_text(encoding="utf-8"))


def link_embedded_checkpoint(name: str) -> Path:
    """Make the cache's entries of an embedded model, whose lock is held, and of its other names.

    Returns:
        `Path`: The snapshot of links.
    """
    for alias in (alias for alias, target in EMBEDDED_ALIASES.items() if target == name):
        with entry_lock(alias):
            link_snapshot(alias, embedded_folder(alias), embedded_commit(alias))
    return link_snapshot(name, embedded_folder(name), embedded_commit(name))


def link_embedded_checkpoints() -> None:
    """Make the cache's entries of all embedded models, and replace those of another version or another place.

    Nothing is written where they are as they should be. A cache that cannot be written gets one warning.
    """
    try:
        for name in (*EMBEDDED_CHECKPOINTS, *EMBEDDED_ALIASES):
            folder, commit = embedded_folder(name), embedded_commit(name)
            if not is_linked(name, folder, commit):
                with entry_lock(name, _TIMEOUT_SECONDS):
                    link_snapshot(name, folder, commit)
    except OSError as error:
        _logger.warning(
            "The built-in models could not be entered into the Hugging Face cache (%s: %s). Offline, "
            "from_pretrained(%r) may not find them, or find another version. Give it the folder instead, "
            "farl_hf.checkpoint(%r), or set HF_HOME to a folder that can be written.",
            entry_folder(name).parent,
            error.strerror or error,
            name,
            name,
        )
