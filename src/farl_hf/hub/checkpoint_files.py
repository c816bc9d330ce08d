"""The files of one checkpoint as a Hub repository needs them: its settings name the code that loads it."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedModel

from farl_hf import modeling, processing
from farl_hf.auto import auto_models
from farl_hf.checkpoints import DEFAULT_CHECKPOINTS
from farl_hf.checkpoints.checked_loading import read_config, read_json_object
from farl_hf.errors import NotACheckpointError
from farl_hf.labels.model_cards import name_in_public
from farl_hf.pipelines import PIPELINES

_WEIGHTS, _WEIGHTS_INDEX = "model.safetensors", "model.safetensors.index.json"
_CONFIG, _PREPROCESSOR, _PROCESSOR = "config.json", "preprocessor_config.json", "processor_config.json"
_TOKENIZER, _VOCABULARY = "tokenizer_config.json", "tokenizer.json"
# Uploaded as they are, where a checkpoint has them.
_OPTIONAL_FILES = ("README.md", "LICENSE", "conversion.json", "results.json", _VOCABULARY)
_RECIPE = "recipe.yaml"

# A repository is one checkpoint, so face-analysis, which joins several, is the pipeline of none.
_TASK_OF_AUTO_CLASS = {PIPELINES[task].auto_model_name: task for task in DEFAULT_CHECKPOINTS}


class RepositoryFile(NamedTuple):
    """A file of the repository: its path there, and its content or the file to read it from."""

    path: str
    content: bytes | Path

    @property
    def num_bytes(self) -> int:
        """Size of the file."""
        return self.content.stat().st_size if isinstance(self.content, Path) else len(self.content)


class CheckpointFiles(NamedTuple):
    """The part of a repository that comes from a checkpoint.

    Args:
        files (`list[RepositoryFile]`): Settings, weights, vocabulary, model card.
        code_modules (`set[str]`): Full names of the modules that the settings name.
        task (`str`, *optional*): The pipeline that the checkpoint serves.
    """

    files: list[RepositoryFile]
    code_modules: set[str]
    task: str | None


def read_checkpoint(folder: Path) -> CheckpointFiles:
    """Check a checkpoint folder and prepare its files.

    Raises:
        NotACheckpointError: If a file is missing or damaged, or the model is not one of this library.
    """
    config = _read_json(folder, _CONFIG)
    model_class, auto_names = _model_class(folder, config)
    read_config(folder, model_class.config_class)  # a repository with settings that build no model helps nobody
    task = next((_TASK_OF_AUTO_CLASS[name] for name in auto_names if name in _TASK_OF_AUTO_CLASS), None)
    settings = {_CONFIG: _loadable_config(config, model_class, auto_names, task)}
    classes = [model_class]
    for name in _settings_files(folder, model_class):
        settings[name], named = _naming_their_code(_read_json(folder, name))
        classes += named
    files = [RepositoryFile(name, _as_json(values)) for name, values in settings.items()]
    as_they_are = [*_weights_files(folder), *(name for name in _OPTIONAL_FILES if (folder / name).is_file())]
    files += [RepositoryFile(name, folder / name) for name in as_they_are]
    if (folder / _RECIPE).is_file():
        files.append(RepositoryFile(_RECIPE, _without_paths((folder / _RECIPE).read_text(encoding="utf-8")).encode()))
    modules = {one.__module__ for one in classes}
    return CheckpointFiles(files, modules | ({PIPELINES[task].pipeline_class.__module__} if task else set()), task)


def _loadable_config(
    config: dict[str, Any], model_class: type[PreTrainedModel], auto_names: list[str], task: str | None
):
    assert model_class.config_class is not None  # the base class alone has none
    auto_map = {"AutoConfig": _reference(model_class.config_class)}
    auto_map |= {name: _reference(model_class) for name in ("AutoModel", *auto_names)}
    config = config | {"auto_map": auto_map}
    config.pop("_name_or_path", None)  # a path on the machine that wrote it
    config.pop("custom_pipelines", None)  # likewise: Transformers writes the path of the default model into it
    if task:
        entry = PIPELINES[task]
        impl = _reference(entry.pipeline_class)
        config["custom_pipelines"] = {task: {"impl": impl, "pt": [entry.auto_model_name], "type": "image"}}
    return config


def _without_paths(recipe: str) -> str:
    """A recipe; of paths on the machine that trained, only the last part is kept."""

    def public(name, value):
        if isinstance(value, list):
            return [public(name, one) for one in value]
        if not isinstance(value, str):
            return value
        return Path(value).name if name.endswith("_dir") else name_in_public(value)

    values = {name: public(name, value) for name, value in yaml.safe_load(recipe).items()}
    return f"# All arguments of the training; of paths only the last part.\n{yaml.safe_dump(values)}"


def _naming_their_code(settings: dict[str, Any]) -> tuple[dict[str, Any], list[type]]:
    """The settings of a processor with an `auto_map` for the classes of this library in them; and these classes."""
    auto_map, classes = {}, []
    for key, auto_name in (
        ("processor_class", "AutoProcessor"),
        ("image_processor_type", "AutoImageProcessor"),
        ("tokenizer_class", "AutoTokenizer"),
    ):
        if settings.get(key) in processing.__all__:
            named = getattr(processing, settings[key])
            # For a tokenizer, the second entry is a second class in Rust; ours has none.
            auto_map[auto_name] = [_reference(named), None] if key == "tokenizer_class" else _reference(named)
            classes.append(named)
    settings = settings | ({"auto_map": auto_map} if auto_map else {})
    if isinstance(settings.get("image_processor"), dict):
        settings["image_processor"], more = _naming_their_code(settings["image_processor"])
        classes += more
    return settings, classes


def _reference(named: type) -> str:
    return f"{named.__module__.rpartition('.')[2]}.{named.__name__}"


def _model_class(folder: Path, config: dict[str, Any]) -> tuple[type[PreTrainedModel], list[str]]:
    """The model's class, and the auto classes that load it."""
    classes = config.get("architectures")
    name = str(classes[0]) if isinstance(classes, list) and classes else "None"
    auto_names = [auto_name for auto_name, model_class in auto_models() if model_class.__name__ == name]
    if not auto_names:
        known = ", ".join(sorted({model_class.__name__ for _, model_class in auto_models()}))
        raise NotACheckpointError(f"{folder / _CONFIG} is of the model {name}; expected one of {known}.")
    return getattr(modeling, name), auto_names


def _settings_files(folder: Path, model_class: type[PreTrainedModel]) -> list[str]:
    """The settings of processors that the folder has; an error if it lacks one that the model needs."""
    reads = model_class.input_modalities
    needed = [_TOKENIZER, _VOCABULARY] if "text" in reads else []
    needed += [_PROCESSOR] if len(reads) > 1 else []
    # The processor of images and texts holds the image processor's settings too.
    needed += [_PREPROCESSOR] if "image" in reads and not (folder / _PROCESSOR).is_file() else []
    missing = [name for name in needed if not (folder / name).is_file()]
    if missing:
        raise NotACheckpointError(
            f"{folder} lacks {', '.join(missing)}; save the processor of {model_class.__name__} into it."
        )
    return [name for name in (_PREPROCESSOR, _PROCESSOR, _TOKENIZER) if (folder / name).is_file()]


def _weights_files(folder: Path) -> list[str]:
    """The files of the weights, each of which opens."""
    index = [_WEIGHTS_INDEX] if (folder / _WEIGHTS_INDEX).is_file() else []
    weight_map = _read_json(folder, _WEIGHTS_INDEX).get("weight_map") if index else {"": _WEIGHTS}
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise NotACheckpointError(f"{folder / _WEIGHTS_INDEX} has no weight_map of files; write it again.")
    shards = sorted(set(weight_map.values()))
    for name in shards:
        if not (folder / name).is_file():
            raise NotACheckpointError(f"{folder} lacks {name}, the weights; push a folder that save_pretrained wrote.")
        try:
            with safe_open(folder / name, framework="np"):
                pass
        except SafetensorError as error:
            raise NotACheckpointError(f"{folder / name} is damaged or cut short ({error}); write it again.") from error
    return [*index, *shards]


def _read_json(folder: Path, name: str) -> dict[str, Any]:
    if not (folder / name).is_file():
        raise NotACheckpointError(f"{folder} is no checkpoint: it has no {name}.")
    return read_json_object(folder / name)


def _as_json(values: dict[str, Any]) -> bytes:
    return (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode()
