"""What the models share: `push_to_hub` uploads their code, and their outputs hold what the caller asks to be recorded.

A pushed model loads where farl_hf is not installed. Transformers copies the code of a model whose class has
`_auto_class` set. Here a shallow copy is pushed, of a class of its own that has it: if the class itself had it, every
checkpoint of a training run would carry the code.
"""

import copy
import functools
import inspect
from collections.abc import Callable
from typing import Any

from transformers import PreTrainedModel
from transformers.utils import logging
from transformers.utils.output_capturing import capture_outputs

logger = logging.get_logger(__name__)

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
