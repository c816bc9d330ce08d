"""`push_to_hub` of processors: it uploads the code beside the settings, so that they load without farl_hf.

Transformers copies the code of an object whose class has `_auto_class` set. Here it is set only while an object is
pushed: if it were always set, every checkpoint of a training run would carry the code.
"""

import contextlib
import copy
import threading
from typing import Any

from transformers.image_processing_utils import BaseImageProcessor
from transformers.processing_utils import ProcessorMixin
from transformers.tokenization_utils_base import PreTrainedTokenizerBase
from transformers.utils import PushToHubMixin

__all__ = ["ProcessorPushedWithCode"]

_one_push_at_a_time = threading.RLock()  # two would take each other's mark for one that was there before

_AUTO_CLASSES = (
    (BaseImageProcessor, "AutoImageProcessor"),
    (PreTrainedTokenizerBase, "AutoTokenizer"),
    (ProcessorMixin, "AutoProcessor"),
)


class ProcessorPushedWithCode(PushToHubMixin):
    """A base of image processors, tokenizers and processors, to be named before that of Transformers."""

    _auto_class: str | None

    def push_to_hub(self, *args: Any, **kwargs: Any) -> Any:
        """Upload settings and code; takes and returns what Transformers' own method does."""
        with _marked_for_auto_classes(self):
            return super().push_to_hub(*args, **kwargs)


@contextlib.contextmanager
def _marked_for_auto_classes(processor):
    """Set `_auto_class` of the classes of a processor and its parts; afterwards all is as it was before."""
    names = processor.get_attributes() if isinstance(processor, ProcessorMixin) else ()
    parts = [processor, *(getattr(processor, name) for name in names)]
    classes = {type(part) for part in parts if isinstance(part, ProcessorPushedWithCode)}
    with _one_push_at_a_time:
        auto_maps = [copy.deepcopy(_settings(part).get("auto_map")) for part in parts]
        # A class that was registered by its user stays as it is.
        marked = [one for one in classes if one._auto_class is None]
        try:
            for one in marked:
                one._auto_class = next(name for base, name in _AUTO_CLASSES if issubclass(one, base))
            yield
        finally:
            for one in marked:
                del one._auto_class
            for part, auto_map in zip(parts, auto_maps, strict=True):
                _settings(part).pop("auto_map", None)  # names the code, which later checkpoints do not carry
                if auto_map is not None:
                    _settings(part)["auto_map"] = auto_map


def _settings(part):
    """Return the dictionary that Transformers writes the name of the code into."""
    return part.init_kwargs if isinstance(part, PreTrainedTokenizerBase) else vars(part)
