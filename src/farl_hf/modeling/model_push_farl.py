"""The auto classes of the models, and `push_to_hub` of models: it uploads the code beside the weights.

Transformers copies the code of a model whose class has `_auto_class` set. Here a shallow copy is pushed, of a class of
its own that has it: if the class itself had it, every checkpoint of a training run would carry the code.
"""

import copy
from typing import Any

from transformers import PreTrainedModel

__all__ = ["MODELS", "ModelPushedWithCode"]

# Auto class, config, model. Where a config serves several heads, `config.architectures` of a checkpoint selects.
MODELS = (
    ("AutoModel", "FaRLConfig", "FaRLModel"),
    ("AutoModel", "FaRLVisionConfig", "FaRLVisionModel"),
    ("AutoModel", "FaRLTextConfig", "FaRLTextModel"),
    ("AutoModel", "RetinaFaceConfig", "RetinaFaceForFaceDetection"),
    ("AutoModel", "FaceTransformerConfig", "FaceTransformerModel"),
    ("AutoModel", "FaceDecoderConfig", "FaceDecoderModel"),
    ("AutoBackbone", "FaRLVisionConfig", "FaRLBackbone"),
    ("AutoBackbone", "FaRLConfig", "FaRLFeatureMaps"),
    ("AutoModelForSemanticSegmentation", "FaRLConfig", "FaRLForFaceParsing"),
    ("AutoModelForKeypointDetection", "FaRLConfig", "FaRLForLandmarks"),
    ("AutoModelForImageClassification", "FaRLConfig", "FaRLForAttributes"),
    ("AutoModelForZeroShotImageClassification", "FaRLConfig", "FaRLModel"),
    ("AutoModelForPreTraining", "FaRLConfig", "FaRLForPreTraining"),
    ("AutoModelForMaskedImageModeling", "FaRLConfig", "FaRLForMaskedImageModeling"),
    ("AutoModelForObjectDetection", "RetinaFaceConfig", "RetinaFaceForFaceDetection"),
)

_AUTO_CLASSES = {model_name: auto_name for auto_name, _, model_name in MODELS}  # of several, the last


class ModelPushedWithCode(PreTrainedModel):
    """A base of models, whose repositories load where farl_hf is not installed."""

    def push_to_hub(self, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]  # takes the same
        """Upload weights, configuration and code; takes and returns what Transformers' own method does.

        A model of a class that no auto class loads is uploaded without code.
        """
        names = (each.__name__ for each in type(self).__mro__)
        auto_class = next((_AUTO_CLASSES[name] for name in names if name in _AUTO_CLASSES), None)
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
