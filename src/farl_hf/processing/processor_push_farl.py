"""`push_to_hub` of processors: it uploads the code beside the settings, so that they load without farl_hf.

Transformers copies the code of an object whose class has `_auto_class` set. Here a copy is pushed, of a class of its
own that has it: if the class itself had it, every checkpoint of a training run would carry the code.
"""

import copy
from typing import Any

from transformers.image_processing_utils import BaseImageProcessor
from transformers.processing_utils import ProcessorMixin
from transformers.tokenization_utils_base import PreTrainedTokenizerBase
from transformers.utils import PushToHubMixin

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
        return super(ProcessorPushedWithCode, _marked_copy(self)).push_to_hub(*args, **kwargs)


def _marked_copy(processor):
    """Return a copy that Transformers saves with its code, and whose parts it saves with theirs."""
    marked = copy.deepcopy(processor)
    names = processor.get_attributes() if isinstance(processor, ProcessorMixin) else ()
    for part in (marked, *(getattr(marked, name) for name in names)):
        # A class that was registered by its user stays as it is.
        if isinstance(part, ProcessorPushedWithCode) and part._auto_class is None:
            auto_class = next(name for base, name in _AUTO_CLASSES if isinstance(part, base))
            own = type(part)
            members = {"__module__": own.__module__, "__qualname__": own.__qualname__, "_auto_class": auto_class}
            part.__class__ = type(own.__name__, (own,), members)
    return marked
