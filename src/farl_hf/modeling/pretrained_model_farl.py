"""What the models share: they load whole, `push_to_hub` uploads their code, and outputs hold what is to be recorded.

A pushed model loads where farl_hf is not installed. Transformers copies the code of a model whose class has
`_auto_class` set. Here a shallow copy is pushed, of a class of its own that has it: if the class itself had it, every
checkpoint of a training run would carry the code.
"""

import copy
import functools
import inspect
from collections.abc import Callable
from typing import Any

from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import logging
from transformers.utils.output_capturing import capture_outputs

logger = logging.get_logger(__name__)

# Functions that get source and subfolder of each model that `from_pretrained` has loaded. Pushed code has none.
WHEN_LOADED: list[Callable[[Any, str], None]] = []

# Name of a model -> the auto class that loads it.
AUTO_CLASSES = {
    "FaRLModel": "AutoModelForZeroShotImageClassification",
    "FaRLVisionModel": "AutoModel",
    "FaRLTextModel": "AutoModel",
    "FaRLBackbone": "AutoBackbone",
    "FaRLFeatureMaps": "AutoBackbone",
    "FaRLForFaceParsing": "AutoModelForSemanticSegmentation",
    "FaRLForLandmarks": "AutoModelForKeypointDetection",
    "FaRLForAttributes": "AutoModelForImageClassification",
    "FaRLForPreTraining": "AutoModelForPreTraining",
    "FaRLForMaskedImageModeling": "AutoModelForMaskedImageModeling",
    "RetinaFaceForFaceDetection": "AutoModelForObjectDetection",
    "FaceTransformerModel": "AutoModel",
    "FaceDecoderModel": "AutoModel",
}
# Output that stays empty -> why.
_UNRECORDED = {
    "hidden_states": "its encoder is of another library, which does not record them here",
    "attentions": "load the model with attn_implementation='eager'; another library's encoder records none",
}


# Models with labels. Each can start from the encoder of any other model, with a new head for labels that are given.
_HEADS = ("FaRLForFaceParsing", "FaRLForLandmarks", "FaRLForAttributes")
_LABEL_SETTINGS = {"num_labels", "id2label", "label2id"}
_PLACE_SETTINGS = ("subfolder", "revision", "cache_dir", "local_files_only", "token")
_NAMED_TENSORS = 3  # an error names so many, and counts the others


class UnsuitableCheckpointError(Exception):
    """A checkpoint of another task, or one that is not whole.

    No `ValueError`, because Transformers' `pipeline` turns those into a list of stack traces.
    """


class ModelLoadedWhole(PreTrainedModel):
    """A base of models that refuse a checkpoint of another task, and one of their own that is not whole.

    Transformers draws missing weights at random, and only logs a table.
    """

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override, unused-ignore]
        """Load a checkpoint; takes and returns what Transformers' own method does.

        A caller that asks for `output_loading_info` is taken to look for itself: nothing is refused.

        Raises:
            UnsuitableCheckpointError: The checkpoint is of another model, and no labels are given for a new head; or
                it is of this model and lacks tensors, and no setting is given that explains why.
        """
        source = pretrained_model_name_or_path
        wants_parts = bool(kwargs.pop("output_loading_info", False))
        is_checked = not wants_parts and source is not None  # None: weights come as `state_dict`
        if source is not None:
            kwargs = _for_new_labels(cls, source, kwargs)
        try:
            loaded: Any = super().from_pretrained(source, *args, **kwargs, output_loading_info=True)
        except RuntimeError:  # tensors of another shape
            if is_checked:
                _require_task(cls, source, kwargs, _stored_config(cls, source, kwargs).architectures or ())
            raise
        model, parts = loaded
        if is_checked:
            _require_task(cls, source, kwargs, model.config.architectures or (), sorted(parts["missing_keys"]))
        for look_at in WHEN_LOADED if source is not None else ():
            look_at(source, kwargs.get("subfolder") or "")
        return loaded if wants_parts else model


def _for_new_labels(model_class, source, kwargs):
    """Return the settings; where new labels are given, the head of another task may make way for a new one."""
    names = {each.__name__ for each in model_class.__mro__}
    if not names & set(_HEADS) or not (kwargs.keys() & _LABEL_SETTINGS or kwargs.get("config") is not None):
        return kwargs
    try:
        written = {name for name in _stored_config(model_class, source, kwargs).architectures or () if name in _HEADS}
    except OSError:  # weights without a configuration, which the caller gives
        return kwargs
    if not written or written & names or not _given_settings(model_class, source, kwargs) & _LABEL_SETTINGS:
        return kwargs
    return {"ignore_mismatched_sizes": True} | kwargs


def _require_task(model_class, source, kwargs, architectures, lacking=()):
    """Refuse a checkpoint of another task, and one of the same that lacks tensors."""
    names = {each.__name__ for each in model_class.__mro__}
    written, more = {name for name in architectures if name in AUTO_CLASSES}, len(lacking) - _NAMED_TENSORS
    expected = f"is a checkpoint of {', '.join(written)}; expected {model_class.__name__}."
    if names & written and lacking:
        listed = f"{', '.join(lacking[:_NAMED_TENSORS])}{f' and {more} more' if more > 0 else ''}"
        fault = f"is no whole checkpoint of {model_class.__name__}. {len(lacking)} tensors are missing: {listed}."
        explained = None  # by any setting
    elif written and names & set(_HEADS) and not names & written:
        fault = f"{expected} To train a new head on its encoder, pass id2label or num_labels."
        explained = _LABEL_SETTINGS
    elif written and written <= set(_HEADS) and "FaRLModel" in names:
        fault, explained = expected, set[str]()
    else:
        return
    given = _given_settings(model_class, source, kwargs)
    if not (given if explained is None else given & explained):
        raise UnsuitableCheckpointError(f"{source} {fault}")


def _stored_config(model_class, source, kwargs):
    return model_class.config_class.from_pretrained(
        source, **{name: kwargs[name] for name in _PLACE_SETTINGS if name in kwargs}
    )


def _given_settings(model_class, source, kwargs):
    """Return the names of settings of the configuration that a call of `from_pretrained` gives or changes."""
    stored = _stored_config(model_class, source, kwargs).to_dict()
    stored = {name: value for name, value in stored.items() if name not in ("dtype", "_name_or_path")}
    if isinstance(kwargs.get("config"), PreTrainedConfig):  # of a user, or of an auto class that has read the settings
        config = kwargs["config"].to_dict()
        return {name for name, value in stored.items() if config.get(name) != value}
    return {name for name in kwargs if name in _LABEL_SETTINGS or name in stored}


class ModelPushedWithCode(PreTrainedModel):
    """A base of models."""

    def push_to_hub(self, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]  # takes the same
        """Upload weights, configuration and code; takes and returns what Transformers' own method does.

        A model of a class that no auto class loads is uploaded without code.
        """
        names = (each.__name__ for each in type(self).__mro__)
        auto_class = next((AUTO_CLASSES[name] for name in names if name in AUTO_CLASSES), None)
        pushed: Any = self if auto_class is None else _marked_copy(self, auto_class)
        return super(ModelPushedWithCode, pushed).push_to_hub(*args, **kwargs)


def _marked_copy(model, auto_class):
    """Return a copy, with the same weights, that Transformers saves with its code and that of its configuration."""
    marked, own = copy.copy(model), type(model)
    marked.config = copy.deepcopy(model.config)
    # A class that was registered by its user stays as it is.
    if own._auto_class is None:
        members = {"__module__": own.__module__, "__qualname__": own.__qualname__, "_auto_class": auto_class}
        marked.__class__ = type(own.__name__, (own,), members)
    if model.config._auto_class is None:
        marked.config._auto_class = "AutoConfig"
    return marked


def record_outputs(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a model's `forward`, so that it records its blocks and obeys `return_dict`.

    Where the call or the configuration asks for them, the output gets `hidden_states` (the input of the first block
    and the output of each block that ran) and `attentions`.
    """
    recorded = capture_outputs(tie_last_hidden_states=False)(forward)

    @functools.wraps(forward)
    def wrapper(self: PreTrainedModel, *args: Any, return_dict: bool | None = None, **kwargs: Any) -> Any:
        return _finished(self, recorded(self, *args, return_dict=True, **kwargs), return_dict)

    return wrapper


def encoder_records(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate the `forward` of a model around a vision encoder that records; see [`record_outputs`].

    Of further arguments, `forward` gets only those with which it has to call the encoder.
    """
    own = inspect.signature(forward).parameters

    @functools.wraps(forward)
    def wrapper(self: PreTrainedModel, *args: Any, return_dict: bool | None = None, **kwargs: Any) -> Any:
        passed: dict[str, Any] = {"return_dict": True}
        for name in _UNRECORDED:
            flag = kwargs.get(f"output_{name}")
            flag = getattr(self.config, f"output_{name}", None) if flag is None else flag
            if flag:
                passed[f"output_{name}"] = flag
        outputs = forward(self, *args, **{name: value for name, value in kwargs.items() if name in own}, **passed)
        for name in _UNRECORDED:
            if f"output_{name}" in passed and outputs.get(name) is None:
                outputs[name] = ()
        return _finished(self, outputs, return_dict)

    return wrapper


def _finished(model, outputs, return_dict):
    for name, reason in _UNRECORDED.items():
        if outputs.get(name) == ():
            logger.warning_once(f"{type(model).__name__} returns no {name}: {reason}.")
    return_dict = model.config.return_dict if return_dict is None else return_dict
    return outputs if return_dict else outputs.to_tuple()


def warn_unrecorded(model: PreTrainedModel, kwargs: dict[str, Any], instead: str = "") -> None:
    """Warn if a call or the configuration asks for hidden states or attentions, which the model does not return.

    Args:
        model (`PreTrainedModel`): The model.
        kwargs (`dict`): Arguments of its forward. `output_hidden_states` and `output_attentions` are removed.
        instead (`str`, *optional*): End of the warning: why, and what to do instead.
    """
    for name in ("output_hidden_states", "output_attentions"):
        if kwargs.pop(name, None) or getattr(model.config, name, False):
            logger.warning_once(f"{type(model).__name__} ignores {name}{instead}.")
