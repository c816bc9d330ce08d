"""`push_to_hub` of models: it uploads the code beside the weights, so that they load where farl_hf is not installed.

Transformers copies the code of an object whose class has `_auto_class` set. Here it is set only while an object is
pushed: if it were always set, every checkpoint of a training run would carry the code.
"""

import contextlib
import copy
import threading
from typing import Any

from transformers import PreTrainedModel

__all__ = ["ModelPushedWithCode"]

_one_push_at_a_time = threading.RLock()  # two would take each other's mark for one that was there before

# Name of a model -> the auto class that loads it.
_AUTO_CLASSES = {
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


class ModelPushedWithCode(PreTrainedModel):
    """A base of models."""

    def push_to_hub(self, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]  # takes the same
        """Upload weights, configuration and code; takes and returns what Transformers' own method does.

        A model of a class that no auto class loads is uploaded without code.
        """
        with _marked_for_auto_classes(self):
            return super().push_to_hub(*args, **kwargs)


@contextlib.contextmanager
def _marked_for_auto_classes(model):
    """Set `_auto_class` of the classes of a model and its configuration; afterwards all is as it was before."""
    names = (each.__name__ for each in type(model).__mro__)
    auto_class = next((_AUTO_CLASSES[name] for name in names if name in _AUTO_CLASSES), None)
    if auto_class is None:
        yield
        return
    config = model.config
    with _one_push_at_a_time:
        auto_map = copy.deepcopy(getattr(config, "auto_map", None))
        # A class that was registered by its user stays as it is.
        marked = {
            one: name
            for one, name in ((type(model), auto_class), (type(config), "AutoConfig"))
            if one._auto_class is None
        }
        try:
            for one, name in marked.items():
                one._auto_class = name
            yield
        finally:
            for one in marked:
                del one._auto_class
            vars(config).pop("auto_map", None)  # names the code, which later checkpoints do not carry
            if auto_map is not None:
                config.auto_map = auto_map
