"""Which checkpoint an interrupted run goes on from: the newest one that was written to its end."""

import json
import zipfile
from pathlib import Path

from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import get_last_checkpoint, sort_checkpoints
from transformers.utils import logging

from farl_hf.training.ema import TRAINING_WEIGHTS_NAME

__all__ = ["is_finished", "last_finished_checkpoint"]

logger = logging.get_logger(__name__)


def last_finished_checkpoint(output_dir: str | Path, ema_decay: float = 0.0) -> str | None:
    """The checkpoint folder with the most steps that is whole, or None.

    Transformers takes the folder with the highest number, and a run that was killed while it wrote that one fails at
    every new start. Such folders are left out with a warning; the run will write them again.

    Args:
        output_dir (`str` or `Path`): Where the run leaves its checkpoints; it need not exist.
        ema_decay (`float`, *optional*, defaults to 0.0): As of the run; other than 0, averaged weights belong to a
            whole checkpoint.
    """
    if not Path(output_dir).is_dir() or get_last_checkpoint(str(output_dir)) is None:
        return None
    for folder in reversed(sort_checkpoints(str(output_dir))):
        if is_finished(Path(folder), ema_decay):
            return folder
        logger.warning(f"{folder} was not written to its end and is passed over.")
    return None


def is_finished(folder: Path, ema_decay: float = 0.0) -> bool:
    """Whether all files of a checkpoint are there and whole.

    The Trainer writes its state after weights, optimizer and random numbers; the averaged weights come last.
    """
    try:
        json.loads((folder / TRAINER_STATE_NAME).read_text())
    except (OSError, ValueError):
        return False
    # PyTorch's files are zip archives, whose directory is at the end.
    whole = all(zipfile.is_zipfile(path) for path in folder.glob("rng_state*.pth"))
    return whole and (not ema_decay or (folder / TRAINING_WEIGHTS_NAME).is_file())
