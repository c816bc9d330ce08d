"""From the name of a checkpoint to the folder that holds it."""

from pathlib import Path

from farl_hf.checkpoints.embedded_models import DEFAULT_CHECKPOINTS, EMBEDDED_CHECKPOINTS, embedded_folder
from farl_hf.checkpoints.hub_cache import read_snapshot
from farl_hf.checkpoints.official_models import ALIASES, OFFICIAL_MODELS
from farl_hf.errors import NotACheckpointError, NotDownloadedError, UnknownNameError

__all__ = [
    "KNOWN_NAMES",
    "checkpoint",
    "default_checkpoint",
    "is_shadowed",
    "local_folder",
    "resolve_name",
]

KNOWN_NAMES = (*ALIASES, *OFFICIAL_MODELS, *EMBEDDED_CHECKPOINTS)


def checkpoint(name: str | Path) -> Path:
    """The folder that holds a checkpoint, for `from_pretrained`.

    Args:
        name (`str` or `Path`): A known name (`farl-hf list` shows them), or a folder with a `config.json`. A known
            name wins over a folder of the same name; `./name` means the folder.

    Raises:
        NotDownloadedError: If the name is known, but its weights are not here yet.
        UnknownNameError: If it is neither a known name nor an existing folder.
        NotACheckpointError: If the folder has no `config.json`.
    """
    if str(name) in KNOWN_NAMES and not isinstance(name, Path):
        return _named_folder(name)
    folder = Path(name)
    if folder.exists():
        return _checked_folder(folder)
    raise UnknownNameError(
        f"There is no checkpoint named {str(name)!r}. Known names: {', '.join(KNOWN_NAMES)}; "
        "or give the path of a folder that holds a config.json."
    )


def default_checkpoint(task: str) -> Path:
    """The folder of the model that a task uses unless told otherwise.

    Raises:
        UnknownNameError: If the task is not one of the keys of `DEFAULT_CHECKPOINTS`.
    """
    if task not in DEFAULT_CHECKPOINTS:
        raise UnknownNameError(f"There is no task {task!r}. Known tasks: {', '.join(DEFAULT_CHECKPOINTS)}.")
    return checkpoint(DEFAULT_CHECKPOINTS[task])


def resolve_name(name: str) -> str:
    """The name that an alias stands for; other known names as they are.

    Raises:
        UnknownNameError: If it is not known; the message lists those that are.
    """
    if name not in KNOWN_NAMES:
        raise UnknownNameError(f"There is no model {name!r}. Known names: {', '.join(KNOWN_NAMES)}.")
    return ALIASES.get(name, name)


def local_folder(name: str) -> Path | None:
    """The folder of a known name's checkpoint, or `None` if it is not here."""
    resolved = resolve_name(name)
    return embedded_folder(resolved) if resolved in EMBEDDED_CHECKPOINTS else read_snapshot(resolved)


def is_shadowed(name: str) -> bool:
    """Whether something in the working directory is called like a known name: Transformers takes that instead."""
    return Path(name).exists()


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
    if not (folder / "config.json").is_file():
        raise NotACheckpointError(
            f"{folder} is not a checkpoint: it has no config.json. Give a folder written by save_pretrained or by a "
            "training script."
        )
    return folder
