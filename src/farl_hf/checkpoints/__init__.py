"""Names of checkpoints, and where their files live."""

from pathlib import Path

from farl_hf.checkpoints.embedded_models import DEFAULT_CHECKPOINTS, EMBEDDED_CHECKPOINTS
from farl_hf.errors import NotACheckpointError, UnknownNameError

__all__ = ["DEFAULT_CHECKPOINTS", "EMBEDDED_CHECKPOINTS", "checkpoint_path", "default_checkpoint_path"]

_EMBEDDED_FOLDER = Path(__file__).resolve().parent


def checkpoint_path(name: str | Path) -> Path:
    """The folder that holds a checkpoint.

    Args:
        name (`str` or `Path`): The name of an embedded checkpoint (a key of `EMBEDDED_CHECKPOINTS`), or a folder with
            a `config.json`. An embedded name wins over a folder of the same name.

    Raises:
        UnknownNameError: If it is neither a known name nor an existing folder.
        NotACheckpointError: If the folder has no `config.json`.
    """
    if str(name) in EMBEDDED_CHECKPOINTS:
        return _EMBEDDED_FOLDER / str(name)  # unchecked: registering a default must not need its files
    folder = Path(name)
    if folder.exists():
        return _checked_folder(folder)
    raise UnknownNameError(
        f"There is no checkpoint named {str(name)!r}. Known names: {', '.join(sorted(EMBEDDED_CHECKPOINTS))}; "
        "or give the path of a folder that holds a config.json."
    )


def default_checkpoint_path(task: str) -> Path:
    """The folder of the model that a task uses unless told otherwise.

    Raises:
        UnknownNameError: If the task is not one of the keys of `DEFAULT_CHECKPOINTS`.
    """
    if task not in DEFAULT_CHECKPOINTS:
        raise UnknownNameError(f"There is no task {task!r}. Known tasks: {', '.join(DEFAULT_CHECKPOINTS)}.")
    return checkpoint_path(DEFAULT_CHECKPOINTS[task])


def _checked_folder(folder: Path) -> Path:
    if not (folder / "config.json").is_file():
        raise NotACheckpointError(
            f"{folder} is not a checkpoint: it has no config.json. Give a folder written by save_pretrained or by a "
            "training script."
        )
    return folder
