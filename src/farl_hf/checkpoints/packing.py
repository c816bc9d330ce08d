"""Packs a trained checkpoint folder into a built-in one: `python -m farl_hf.checkpoints.packing RUN_FOLDER NAME`.

Without arguments, `python -m farl_hf.checkpoints.packing` only stores the commits of the built-in models again. Run it
after every change of their files, cards included: caches tell one version from another by the commit.

Weights of two or more dimensions are stored in half precision, which halves the package; `config.json` asks for
float32, so they are computed with in full precision. Norms, biases and running statistics keep float32. The model card
is written by hand: it states what was measured.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers.utils import logging

from farl_hf.checkpoints import EMBEDDED_CHECKPOINTS, checkpoint
from farl_hf.checkpoints.checked_loading import read_json_object
from farl_hf.checkpoints.embedded_models import COMMITS_FILE, embedded_folder
from farl_hf.checkpoints.hub_cache import content_commit
from farl_hf.errors import NotACheckpointError, check_name

logger = logging.get_logger(__name__)

# Of a task model, of images and texts with a tokenizer, and of a generator, which reads no pictures.
_TASK_FILES = ("config.json", "preprocessor_config.json")
_IMAGE_TEXT_FILES = ("config.json", "processor_config.json", "tokenizer.json", "tokenizer_config.json")
_GENERATOR_FILES = ("config.json",)
_WEIGHTS_FILE = "model.safetensors"


def pack_checkpoint(source: Path, target: Path) -> int:
    """Write a packed copy of a checkpoint folder.

    Args:
        source (`Path`): A folder that training wrote.
        target (`Path`): Where to write; files of the same names are replaced.

    Returns:
        `int`: Size of the packed weights in bytes.

    Raises:
        NotACheckpointError: If `source` lacks a file of a complete checkpoint, has a damaged configuration, or is of
            another model than the one in `target`.
    """
    settings_files = _settings_files(source)
    _check_same_model(source, target)
    missing = [name for name in (*settings_files, _WEIGHTS_FILE) if not (source / name).is_file()]
    if missing:
        raise NotACheckpointError(f"{source} lacks {', '.join(missing)}; give a folder that a training script wrote.")
    if _settings(target).get("attribute_thresholds") and not _settings(source).get("attribute_thresholds"):
        logger.warning(
            f"The attribute_thresholds in {target} belong to its former weights and are dropped; choose new ones, and "
            "change the tables of its card."
        )
    target.mkdir(parents=True, exist_ok=True)
    for name in settings_files:
        shutil.copyfile(source / name, target / name)
    config = _settings(source)
    # Not sorted: in `id2label`, "10" would come before "2".
    (target / "config.json").write_text(json.dumps(config | {"dtype": "float32"}, indent=2) + "\n")
    weights = {name: _packed(values) for name, values in load_file(source / _WEIGHTS_FILE).items()}
    save_file(weights, target / _WEIGHTS_FILE, metadata={"format": "pt"})
    return (target / _WEIGHTS_FILE).stat().st_size


def store_commits(target: Path = COMMITS_FILE) -> None:
    """Write the commits of all built-in models, computed from their files."""
    commits = {name: content_commit(embedded_folder(name)) for name in EMBEDDED_CHECKPOINTS}
    target.write_text(json.dumps(commits, indent=2) + "\n", encoding="utf-8")


def _check_same_model(source: Path, target: Path) -> None:
    new, old = (_settings(folder).get("architectures") for folder in (source, target))
    if new and old and new != old:
        raise NotACheckpointError(
            f"{source} is a checkpoint of {', '.join(new)}, but {target} holds {', '.join(old)}; give another name."
        )


def _settings_files(source: Path) -> tuple[str, ...]:
    if (source / "processor_config.json").is_file():
        return _IMAGE_TEXT_FILES
    return _GENERATOR_FILES if _settings(source).get("model_type") == "face_decoder" else _TASK_FILES


def _settings(folder: Path) -> dict[str, Any]:
    """The configuration of a checkpoint; empty where the folder has none."""
    file = folder / "config.json"
    return read_json_object(file) if file.is_file() else {}


def _packed(values: torch.Tensor) -> torch.Tensor:
    return values.half() if values.ndim >= 2 and values.is_floating_point() else values


def main() -> None:
    """Pack the folder named on the command line, if one is, and store the commits."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run_folder", type=Path, nargs="?", help="folder that a training script wrote")
    parser.add_argument("name", nargs="?", help=f"one of {', '.join(EMBEDDED_CHECKPOINTS)}")
    arguments = parser.parse_args()
    if arguments.run_folder is not None:
        if arguments.name is None:
            parser.error(f"NAME is missing: which built-in model to replace, one of {', '.join(EMBEDDED_CHECKPOINTS)}")
        check_name("built-in model", arguments.name, EMBEDDED_CHECKPOINTS)
        pack_checkpoint(arguments.run_folder, checkpoint(arguments.name))
    store_commits()


if __name__ == "__main__":
    main()
