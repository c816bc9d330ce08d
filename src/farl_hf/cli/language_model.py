"""The model of both towers that the commands about words use; how checkpoints of any kind are loaded for them."""

from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.utils.logging import disable_progress_bar

import farl_hf
from farl_hf.checkpoints import checkpoint
from farl_hf.cli.face_annotator import require_device
from farl_hf.cli.task_names import TWO_TOWER_MODEL
from farl_hf.errors import NotACheckpointError
from farl_hf.pipelines.face_detection import optimized_for_inference

__all__ = ["load_model_and_processor"]


def load_model_and_processor(name_or_folder: str | None, device: str | None) -> tuple[Any, Any]:
    """A model of the class that was saved, in evaluation mode, and its processor (with or without a tokenizer).

    Args:
        name_or_folder (`str`, *optional*): A checkpoint; `TWO_TOWER_MODEL` if not given.
        device (`str`, *optional*): Such as "cpu" or "cuda:1"; the first accelerator if there is one otherwise.

    Raises:
        UnknownNameError, NotDownloadedError, NotACheckpointError: If there is no such checkpoint or device.
    """
    if device is not None:
        require_device(device)
    folder = checkpoint(name_or_folder or TWO_TOWER_MODEL)
    disable_progress_bar()
    try:
        model = _model_class(folder).from_pretrained(folder)
        processor = transformers.AutoProcessor.from_pretrained(folder)
    except (OSError, ValueError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise NotACheckpointError(f"{folder} cannot be loaded: {first_line}") from error
    return optimized_for_inference(model.to(device or _first_device()).eval()), processor


def _model_class(folder: Path) -> Any:
    """The class that wrote the checkpoint: `AutoModel` alone would take a head's checkpoint for one of both towers."""
    config = transformers.AutoConfig.from_pretrained(folder)
    (name, *_) = config.architectures or ["AutoModel"]
    return getattr(farl_hf, name, None) or getattr(transformers, name, transformers.AutoModel)


def _first_device() -> torch.device:
    return torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
