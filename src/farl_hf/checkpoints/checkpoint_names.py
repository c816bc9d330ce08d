"""The names of checkpoints: the published files behind them, and the folder that holds a named checkpoint.

Addresses of published files: the releases of FacePerceiver/FaRL (its README, lines 30-31) and FacePerceiver/facer
(pyfacer 0.0.5, the `url` of its settings), and the files that facer fetches for its detectors
(`facer/face_detection/retinaface.py`, lines 16-19). No project publishes checksums of these files. The first file that
converts is therefore recorded, and later ones are compared with it.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from farl_hf.checkpoints.checked_loading import read_json_object
from farl_hf.checkpoints.embedded_models import (
    DEFAULT_CHECKPOINTS,
    EMBEDDED_ALIASES,
    EMBEDDED_CHECKPOINTS,
    embedded_folder,
)
from farl_hf.checkpoints.hub_cache import alias_commit, link_snapshot, read_snapshot, remove_dead_links
from farl_hf.conversion.released_models import RELEASED_MODELS
from farl_hf.errors import NotACheckpointError, NotDownloadedError, check_name, unknown_name


@dataclass(frozen=True)
class OfficialModel:
    """A published file of weights.

    Args:
        task (`str`): The pipeline that the converted checkpoint serves.
        file_name (`str`): What the file is called.
        project (`str`): The repository that released it.
        address (`str`): Where it is.
        approximate_bytes (`int`): About how large it is; the server says it exactly.
        licence (`str`): SPDX name of the project's licence. Data sets behind the weights have terms of their own.
    """

    task: str
    file_name: str
    project: str
    address: str
    approximate_bytes: int
    licence: str = "MIT"


# Repository -> the folder of its release.
_RELEASES = {
    "FacePerceiver/FaRL": "https://github.com/FacePerceiver/FaRL/releases/download/pretrained_weights",
    "FacePerceiver/facer": "https://github.com/FacePerceiver/facer/releases/download/models-v1",
    "elliottzheng/face-detection": "https://github.com/elliottzheng/face-detection/releases/download/0.0.1",
}

_TASKS = {
    "two_towers": "zero-shot-image-classification",
    "parsing": "face-parsing",
    "landmarks": "face-landmarks",
    "attributes": "face-attributes",
    "detection": "face-detection",
}

# Kind or name -> bytes: four for each parameter of the architecture; a TorchScript archive adds its code.
_BYTES = {
    "two_towers": 652_000_000,
    "parsing": 643_000_000,
    "landmarks": 643_000_000,
    "attributes": 343_000_000,
    "retinaface-mobilenet": 1_700_000,
    "retinaface-resnet50": 109_000_000,
}


def _official_model(name: str) -> OfficialModel:
    released = RELEASED_MODELS[name]
    address = f"{_RELEASES[released.release]}/{released.file_name}"
    size = _BYTES.get(name) or _BYTES[released.kind]
    return OfficialModel(_TASKS[released.kind], released.file_name, released.release, address, size)


# Files in a cloud folder, whose address no command can fetch, have a name for `farl-hf convert --name` only.
OFFICIAL_MODELS = {name: _official_model(name) for name, row in RELEASED_MODELS.items() if row.release in _RELEASES}

# A second name for one of the above.
ALIASES = {"farl": "farl-ep64", **EMBEDDED_ALIASES}

KNOWN_NAMES = (*ALIASES, *OFFICIAL_MODELS, *EMBEDDED_CHECKPOINTS)


def checkpoint(name: str | Path) -> Path:
    """Return the folder of a checkpoint, for `from_pretrained`.

    Args:
        name (`str` or `Path`): A known name (`farl-hf list` shows them), or a folder with a `config.json`. A known
            name wins over a folder of the same name; `./name` means the folder.

    Raises:
        NotDownloadedError: If the name is known, but its weights are not on this machine yet.
        UnknownNameError: If `name` is neither a known name nor an existing folder.
        NotACheckpointError: If the folder has no `config.json`.
    """
    if str(name) in KNOWN_NAMES and not isinstance(name, Path):
        return _named_folder(name)
    if os.path.exists(name):  # no error of the system for a name that is too long
        return _checked_folder(Path(name))
    hint = "Or give the path of a folder that holds a config.json."
    raise unknown_name("checkpoint", str(name), KNOWN_NAMES, hint)


def default_checkpoint(task: str) -> Path:
    """Return the folder of the default model of a task.

    Raises:
        UnknownNameError: If the task is not one of the keys of `DEFAULT_CHECKPOINTS`.
    """
    check_name("task", task, DEFAULT_CHECKPOINTS)
    return checkpoint(DEFAULT_CHECKPOINTS[task])


def resolve_name(name: str) -> str:
    """The name that an alias stands for; other known names as they are.

    Raises:
        UnknownNameError: If it is not known; the message lists those that are.
    """
    check_name("model", name, KNOWN_NAMES)
    return ALIASES.get(name, name)


def local_folder(name: str) -> Path | None:
    """The folder of a known name's checkpoint, or `None` if it is not here."""
    resolved = resolve_name(name)
    return embedded_folder(resolved) if resolved in EMBEDDED_CHECKPOINTS else read_snapshot(resolved)


def is_shadowed(name: str) -> bool:
    """Whether a file or folder of that name is in the working directory: Transformers takes it instead."""
    return os.path.exists(name)


def _named_folder(name: str) -> Path:
    folder = local_folder(name)
    if folder is None:
        model = OFFICIAL_MODELS[resolve_name(name)]
        beside = f" ./{name} in this folder is something else; write ./{name} to mean it." if is_shadowed(name) else ""
        raise NotDownloadedError(
            f"The weights of {name!r} are not on this machine yet: run `farl-hf download {name}`, or, with the file "
            f"{model.file_name} at hand, `farl-hf download {name} --from FILE`.{beside}"
        )
    return folder


def _checked_folder(folder: Path) -> Path:
    if not os.path.isfile(folder / "config.json"):
        raise NotACheckpointError(
            f"{folder} is not a checkpoint: it has no config.json. Give a folder written by save_pretrained or by a "
            "training script."
        )
    read_json_object(folder / "config.json")
    return folder


def link_aliases(name: str) -> None:
    """Make the cache entry of each alias of a name: links to the name's checkpoint, if it is on this machine."""
    folder = read_snapshot(name)
    for alias in (alias for alias, target in ALIASES.items() if target == name):
        remove_dead_links(alias)
        if folder is not None and read_snapshot(alias) is None:
            link_snapshot(alias, folder, alias_commit(alias, folder.name))


def checkpoint_for(task: str, given: str | Path | None) -> Path:
    """The folder of a given checkpoint, or of the task's default one if it is None; an empty name is none."""
    return default_checkpoint(task) if given is None else checkpoint(given)
