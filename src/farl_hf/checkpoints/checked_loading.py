"""Checkpoints that hold what they are taken for: the model of a task, with all of its tensors.

Transformers loads the weights of another task, draws missing ones at random, and only logs a table. These functions
raise a [`NotACheckpointError`] that names the checkpoint, what was expected and what was found.
"""

import json
import os
from collections.abc import Iterable, Sequence
from typing import Any

from farl_hf.errors import FaRLError, InvalidArgumentError, NotACheckpointError

# Model -> what it does, in the words of errors.
_PURPOSES = {
    "FaRLForFaceParsing": "face-parsing",
    "FaRLForLandmarks": "face-landmarks",
    "FaRLForAttributes": "face-attributes",
    "RetinaFaceForFaceDetection": "face-detection",
    "RetinaFaceModel": "the body of a detector",
    "FaRLModel": "images and texts",
    "FaRLForPreTraining": "pre-training",
    "FaRLForMaskedImageModeling": "masked image modelling",
    "FaRLVisionModel": "a vision encoder",
    "FaRLTextModel": "a text encoder",
    "FaRLBackbone": "a vision encoder",
    "FaRLFeatureMaps": "a vision encoder",
    "FaceTransformerModel": "a vision encoder",
    "FaceDecoderModel": "a generator of faces",
}
_WITHOUT_ENCODER = ("RetinaFaceForFaceDetection", "RetinaFaceModel", "FaceDecoderModel")
_NAMED_TENSORS = 3  # an error names so many, and counts the others
_KINDS = ("missing_keys", "unexpected_keys", "mismatched_keys")


def load_whole(model_class: Any, source: Any, wanted: str | None = None, **settings: Any) -> Any:
    """`model_class.from_pretrained(source)`, refused unless it is a whole checkpoint of the wanted class.

    Args:
        model_class (`type`): A model, or an auto class.
        source (`str` or `Path`): Folder or name of the checkpoint.
        wanted (`str`, *optional*): Name of the model of this library that is needed; `model_class` by default.
        **settings: As `from_pretrained`.

    Raises:
        NotACheckpointError: It is of another model, or cannot be read; or tensors are missing, unknown, of another
            shape or not finite.
        InvalidArgumentError: Its values do not fit float16, the `dtype` of the settings.
    """
    wanted = wanted or model_class.__name__
    where = {name: settings[name] for name in ("subfolder", "revision") if name in settings}
    if wanted in _PURPOSES:
        _require_written_by(read_config(source, **where), source, wanted)
    try:
        model, parts = _load(model_class, source, settings)
    except ValueError as error:
        if not _is_another_model(error):
            raise
        raise _wrong_model(source, _written_by(read_config(source, **where)), wanted) from error
    _require_tensors(model, parts, source)
    return model


def load_with_new_parts(
    model_class: Any, source: Any, new_parts: Sequence[str], **settings: Any
) -> tuple[Any, dict[str, int]]:
    """A model whose named parts may be new, and the rest of which must come from the checkpoint.

    Args:
        model_class (`type`): A model of this library.
        source (`str` or `Path`): Folder or name of a checkpoint of any of this library's models.
        new_parts (`Sequence[str]`): Beginnings of the names of tensors that may be missing, unknown, or of another
            shape, such as `"head."`.
        **settings: As `from_pretrained`.

    Returns:
        `tuple`: The model, and the number of tensors with random weights of each part that has any.

    Raises:
        NotACheckpointError: It has no encoder, another part is incomplete, or a tensor is not finite.
    """
    model, parts = _load(model_class, source, settings)
    beginnings = tuple(new_parts)
    kept = {kind: [one for one in parts[kind] if not _name(one).startswith(beginnings)] for kind in _KINDS}
    written = [name for name in model.config.architectures or () if name in _WITHOUT_ENCODER]
    if written and kept["missing_keys"] and model_class.__name__ not in _WITHOUT_ENCODER:
        raise _wrong_model(source, written, model_class.__name__)
    _require_tensors(model, kept, source)
    drawn = {*parts["missing_keys"], *(_name(one) for one in parts["mismatched_keys"])}
    counts = {part.rstrip("."): sum(name.startswith(part) for name in drawn) for part in beginnings}
    return model, {part: count for part, count in counts.items() if count}


def auto_class_for_pipelines(auto_class: Any, wanted: str) -> Any:
    """A subclass of an auto class that tells the pipeline which tensors did not fit; see [`require_model`].

    It loads in spite of them, because `pipeline` turns every error of loading into a list of stack traces.

    Args:
        auto_class (`type`): Of Transformers.
        wanted (`str`): Name of the model that the pipeline runs.
    """

    def from_pretrained(cls: Any, *args: Any, **kwargs: Any) -> Any:
        kwargs.setdefault("ignore_mismatched_sizes", True)
        try:
            _check_list_of_weights(args[0] if args else "")
        except NotACheckpointError as error:
            raise FaRLError(str(error)) from error  # no OSError, as below
        try:
            model, parts = auto_class.from_pretrained.__func__(cls, *args, **kwargs, output_loading_info=True)
        except Exception as error:
            if not (_is_unreadable(error) or _is_another_model(error)):
                raise
            # No OSError, which `pipeline` would turn into a list of stack traces.
            source = args[0] if args else "It"
            if _is_unreadable(error):
                raise FaRLError(f"{source} has no weights that can be read: {_first_line(error)}") from error
            found = _written_by(kwargs.get("config") or read_config(source))
            raise FaRLError(str(_wrong_model(source, found, wanted))) from error
        model.loading_parts = parts
        return model

    return type(auto_class.__name__, (auto_class,), {"from_pretrained": classmethod(from_pretrained)})


def require_model(model: Any, wanted: str) -> None:
    """Refuse a model that a pipeline cannot use.

    Args:
        model: A model; only those of this library are checked. If `pipeline` loaded it by name, its checkpoint must be
            of the wanted class and whole. A model that its user has built or loaded may have any weights.
        wanted (`str`): Name of the class.

    Raises:
        NotACheckpointError: It or its checkpoint is of another task, or the settings of its image
            processor name no kind.
        InvalidArgumentError: Its values do not fit float16.
    """
    parts = getattr(model, "loading_parts", None)
    source = getattr(model, "name_or_path", "") or "The model"
    if parts is not None:
        _require_written_by(model.config, source, wanted)
        _require_tensors(model, parts, source)
        _require_kind(source)
    elif type(model).__name__ in _PURPOSES and wanted not in _class_names(model):
        raise _wrong_model(source, [type(model).__name__], wanted)


def read_json_object(path: str | os.PathLike) -> dict[str, Any]:
    """The object in a JSON file of a checkpoint. Transformers would fail inside on anything else.

    Raises:
        NotACheckpointError: The file cannot be read, or holds something else.
    """
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except (OSError, ValueError, RecursionError) as error:
        raise NotACheckpointError(f"{str(path)[:300]!r} cannot be read: {_first_line(error)}") from error
    if not isinstance(content, dict):
        raise NotACheckpointError(f"{path} holds {_first_line(repr(content))[:50]}, and no settings of a checkpoint.")
    return content


def read_config(source: Any, config_class: Any = None, **where: Any) -> Any:
    """The configuration of a checkpoint.

    Args:
        source (`str` or `Path`): Folder or name.
        config_class (`type`, *optional*): `AutoConfig` by default.
        **where: `subfolder` and `revision`, as of `from_pretrained`.

    Raises:
        NotACheckpointError: It cannot be read, or describes no model.
    """
    from transformers import AutoConfig

    file = os.path.join(source, where.get("subfolder") or "", "config.json")
    if os.path.isfile(file):
        kind = read_json_object(file).get("model_type")
        if not isinstance(kind, str | None):
            raise NotACheckpointError(f"{file} has the model_type {_first_line(kind)[:50]}, which is no name.")
    try:
        return (config_class or AutoConfig).from_pretrained(source, **where)
    except (OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise NotACheckpointError(f"{source} has no configuration that can be read: {_first_line(error)}") from error


def load_image_processor(processor_class: Any, source: Any, **settings: Any) -> Any:
    """`processor_class.from_pretrained(source)`.

    Raises:
        NotACheckpointError: Its settings are missing, damaged, or of no image processor.
    """
    _require_kind(source)
    try:
        return processor_class.from_pretrained(source, **settings)
    except FaRLError:
        raise
    except (OSError, ValueError, TypeError, AttributeError, KeyError, ImportError, RecursionError) as error:
        raise NotACheckpointError(f"{source} has no image processor that can be read: {_first_line(error)}") from error


def _require_kind(source):
    """Without the kind of its image processor, Transformers takes its own settings for those of a folder."""
    file = os.path.join(str(source), "preprocessor_config.json")
    if os.path.isfile(file):
        settings = read_json_object(file)
        if not isinstance(settings.get("image_processor_type", settings.get("feature_extractor_type")), str):
            raise NotACheckpointError(f"{file} names no image_processor_type; save the image processor again.")


def _check_list_of_weights(source):
    """Transformers would fail inside on an odd list of weight files, and follow names that lead out of the folder."""
    file = os.path.join(str(source), "model.safetensors.index.json")
    if not os.path.isfile(file) or os.path.isfile(os.path.join(str(source), "model.safetensors")):
        return
    listed = read_json_object(file)
    names, facts = listed.get("weight_map"), listed.get("metadata", {})
    files = list(names.values()) if isinstance(names, dict) else []
    plain = files and all(isinstance(name, str) and os.path.basename(name) == name for name in files)
    if not plain or not isinstance(facts, dict):
        raise NotACheckpointError(f"{file} is no list of weight files; save the checkpoint again.")
    missing = [name for name in sorted(set(files)) if not os.path.isfile(os.path.join(str(source), name))]
    if missing:
        raise NotACheckpointError(f"{source} lacks {_listed(missing)}, which its list of weight files names.")
    if "metadata" not in listed:
        raise NotACheckpointError(f"{file} has no metadata; save the checkpoint again.")


def _load(model_class, source, settings):
    settings = {"ignore_mismatched_sizes": True} | settings
    _check_list_of_weights(source)
    try:
        return model_class.from_pretrained(source, **settings, output_loading_info=True)
    except Exception as error:
        if not _is_unreadable(error):
            raise
        raise NotACheckpointError(f"{source} has no weights that can be read: {_first_line(error)}") from error


def _is_unreadable(error):
    # By name, because this file is shipped with the pipelines, whose repositories do not ask for safetensors.
    unreadable = isinstance(error, OSError) or type(error).__name__ == "SafetensorError"
    return unreadable and not isinstance(error, FaRLError)


def _is_another_model(error):
    return "Unrecognized configuration class" in str(error)  # an auto class does not know the model for its task


def _written_by(config):
    return config.architectures or [type(config).__name__]


def _first_line(error):
    return str(error).strip().partition("\n")[0]


def _name(key):
    return key if isinstance(key, str) else key[0]


def _class_names(model):
    return {each.__name__ for each in type(model).__mro__}


def _require_written_by(config, source, wanted):
    """The class that a configuration names must be the wanted one; a class of a user is taken for a subclass of it."""
    written = [name for name in config.architectures or () if name in _PURPOSES]
    if written and wanted not in written:
        raise _wrong_model(source, written, wanted)


def _wrong_model(source, found, wanted):
    found_purposes = ", ".join(f"{name} ({_PURPOSES.get(name, 'another task')})" for name in found)
    return NotACheckpointError(
        f"{source} is a checkpoint of {found_purposes}; expected {wanted} ({_PURPOSES.get(wanted, 'another model')})."
    )


def _require_tensors(model, parts, source):
    mismatched = {
        _name(one): one if isinstance(one, str) else f"{one[0]} {tuple(one[1])} instead of {tuple(one[2])}"
        for one in parts["mismatched_keys"]
    }
    missing = set(parts["missing_keys"]) - set(mismatched)
    not_finite = [] if missing or mismatched else list(_not_finite(model))
    overflown = [name for name in not_finite if _is_overflown(model.state_dict()[name])]
    if overflown and overflown == not_finite:
        raise InvalidArgumentError(
            f"{source} has values that do not fit float16, in {_counted(overflown)}: {_listed(overflown)}. Load it "
            "with dtype='bfloat16' or 'float32'."
        )
    faults = {
        "missing": sorted(missing),
        # Published checkpoints of other libraries carry buffers that no longer exist.
        "unknown": sorted(set(parts["unexpected_keys"])) if _class_names(model) & set(_PURPOSES) else [],
        "of another shape": [mismatched[name] for name in sorted(mismatched)],
        "not finite": not_finite,
    }
    said = [f"{_counted(names)} {kind}: {_listed(names)}" for kind, names in faults.items() if names]
    if said:
        raise NotACheckpointError(f"{source} is no whole checkpoint of {type(model).__name__}. {'; '.join(said)}.")


def _not_finite(model) -> Iterable[str]:
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not tensor.is_meta and not bool(tensor.isfinite().all()):
            yield name


def _is_overflown(tensor):
    """Whether float16 is why values are not finite: it makes those beyond 65504 infinite, and none NaN."""
    return str(tensor.dtype) == "torch.float16" and not bool(tensor.isnan().any())


def _counted(names):
    return f"{len(names)} tensor{'s' if len(names) > 1 else ''}"


def _listed(names):
    more = f" and {len(names) - _NAMED_TENSORS} more" if len(names) > _NAMED_TENSORS else ""
    return ", ".join(names[:_NAMED_TENSORS]) + more
