"""FaRL for Hugging Face Transformers: face detection, parsing, landmarks, attributes and face-text embeddings.

Importing this package makes its models, processors and pipelines known to Transformers. Names load on first use.
"""

import importlib

from .auto import register_with_transformers
from .errors import __all__ as _ERRORS

__version__ = "0.2.0"

_MODULES = {
    "auto": ("ship_code",),
    "modeling": (
        "FaRLBackbone",
        "FaRLConfig",
        "FaRLFeatureMaps",
        "FaRLForAttributes",
        "FaRLForFaceParsing",
        "FaRLForLandmarks",
        "FaRLForMaskedImageModeling",
        "FaRLForPreTraining",
        "FaRLModel",
        "FaRLTextConfig",
        "FaRLTextModel",
        "FaRLVisionConfig",
        "FaRLVisionModel",
        "RetinaFaceConfig",
        "RetinaFaceForFaceDetection",
    ),
    "processing": ("FaRLImageProcessor", "FaRLProcessor", "FaRLTokenizer", "RetinaFaceImageProcessor"),
    "explanation": ("FaceExplanation", "explain"),
    "editing": ("EditedFaces", "edit_latents"),
    "metrics": ("metric",),
    "retrieval": ("FaceIndex", "embed_texts", "index_faces"),
    "results": ("FaceAttributes", "FaceLandmarks", "FaceParsing", "Faces"),
    "checkpoints": ("checkpoint",),
    "video": ("track_faces",),
    "data": ("load_face_dataset",),
    "errors": tuple(_ERRORS),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(_MODULE_OF)


def __getattr__(name):
    if name == "outputs":  # a package that is used by its name
        return importlib.import_module("farl_hf.outputs")
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'farl_hf' has no attribute {name!r}")
    return getattr(importlib.import_module(f"farl_hf.{_MODULE_OF[name]}"), name)


def __dir__():
    return sorted([*globals(), *__all__])


register_with_transformers()
