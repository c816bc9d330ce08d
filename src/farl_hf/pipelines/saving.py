"""Writing a pipeline as a checkpoint folder."""

import os
from typing import Any

from transformers import Pipeline

__all__ = ["save_without_code"]


def save_without_code(pipeline: Pipeline, save_directory: str | os.PathLike, **kwargs: Any) -> None:
    """Write model and image processor, and no pipeline code.

    `Pipeline.save_pretrained` would add the class's file and the table it was registered with to the folder: the
    table holds the path of the default model on this machine, and from then on loading would demand
    `trust_remote_code=True` although `import farl_hf` already brings the class.
    """
    if hasattr(pipeline.model.config, "custom_pipelines"):
        del pipeline.model.config.custom_pipelines
    pipeline.model.save_pretrained(save_directory, **kwargs)
    pipeline.image_processor.save_pretrained(save_directory, **kwargs)
