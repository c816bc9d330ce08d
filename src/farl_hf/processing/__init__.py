"""From photos to network inputs and back. Files here are shipped flat into Hub repositories, as `modeling`."""

from .face_geometry_farl import ATTRIBUTE_TEMPLATE, LAPA_TEMPLATE
from .image_processing_farl import FaRLImageProcessor
from .image_processing_retinaface import RetinaFaceImageProcessor
from .processing_farl import FaRLProcessor
from .tokenization_farl import FaRLTokenizer

__all__ = [
    "ATTRIBUTE_TEMPLATE",
    "LAPA_TEMPLATE",
    "FaRLImageProcessor",
    "FaRLProcessor",
    "FaRLTokenizer",
    "RetinaFaceImageProcessor",
]
