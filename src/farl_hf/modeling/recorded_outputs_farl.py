"""`output_hidden_states` and `output_attentions`: recorded while the blocks run, or a warning where there are none."""

import functools
from collections.abc import Callable
from typing import Any

from transformers import PreTrainedModel
from transformers.utils import logging
from transformers.utils.output_capturing import capture_outputs

__all__ = ["record_outputs", "warn_unrecorded"]

logger = logging.get_logger(__name__)

_REASONS = {
    "hidden_states": "its encoder is of another library, which does not record them here",
    "attentions": "load the model with attn_implementation='eager'; another library's encoder records none",
}


def record_outputs(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate the forward of a model whose blocks run inside of it, in a part that is no `forward` of its own.

    The output gets `hidden_states`, the input of the first block and the output of each one that ran, and
    `attentions`, where the call or the configuration asks for them. `return_dict` is obeyed, too.
    """
    recorded = capture_outputs(tie_last_hidden_states=False)(forward)

    @functools.wraps(forward)
    def wrapper(self: PreTrainedModel, *args: Any, **kwargs: Any) -> Any:
        return_dict = kwargs.pop("return_dict", None)
        outputs = recorded(self, *args, return_dict=True, **kwargs)
        for name, reason in _REASONS.items():
            if outputs.get(name) == ():
                logger.warning_once(f"{type(self).__name__} returns no {name}: {reason}.")
        return_dict = self.config.return_dict if return_dict is None else return_dict
        return outputs if return_dict else outputs.to_tuple()

    return wrapper


def warn_unrecorded(model: PreTrainedModel, kwargs: dict[str, Any], instead: str = "") -> None:
    """Take `output_hidden_states` and `output_attentions` out of a call; warn if one is on, in call or configuration.

    Args:
        model (`PreTrainedModel`): A model for which they have no meaning.
        kwargs (`dict`): Arguments of its forward; changed.
        instead (`str`, *optional*): What to do instead, as the end of the sentence.
    """
    for name in ("output_hidden_states", "output_attentions"):
        if kwargs.pop(name, None) or getattr(model.config, name, False):
            logger.warning_once(f"{type(model).__name__} ignores {name}{instead}.")
