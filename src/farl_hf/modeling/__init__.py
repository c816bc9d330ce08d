"""The networks. Files here are shipped flat into Hub repositories and import nothing of farl_hf but siblings."""

from .configuration_face_decoder import FaceDecoderConfig
from .configuration_face_transformer import FaceTransformerConfig
from .configuration_farl import FaRLConfig, FaRLTextConfig, FaRLVisionConfig
from .configuration_retinaface import RetinaFaceConfig
from .modeling_face_decoder import FaceDecoderModel
from .modeling_face_transformer import FaceTransformerModel
from .modeling_farl import FaRLBackbone, FaRLModel, FaRLOutput, FaRLPreTrainedModel, FaRLTextModel, FaRLVisionModel
from .modeling_farl_heads import FaRLForAttributes, FaRLForFaceParsing, FaRLForLandmarks, FaRLLandmarksOutput
from .modeling_farl_pretraining import FaRLForMaskedImageModeling, FaRLForPreTraining, FaRLForPreTrainingOutput
from .modeling_retinaface import RetinaFaceForFaceDetection, RetinaFaceModel
from .vision_backbones_farl import FaRLFeatureMaps

__all__ = [
    "FaRLBackbone",
    "FaRLConfig",
    "FaRLFeatureMaps",
    "FaRLForAttributes",
    "FaRLForFaceParsing",
    "FaRLForLandmarks",
    "FaRLForMaskedImageModeling",
    "FaRLForPreTraining",
    "FaRLForPreTrainingOutput",
    "FaRLLandmarksOutput",
    "FaRLModel",
    "FaRLOutput",
    "FaRLPreTrainedModel",
    "FaRLTextConfig",
    "FaRLTextModel",
    "FaRLVisionConfig",
    "FaRLVisionModel",
    "FaceDecoderConfig",
    "FaceDecoderModel",
    "FaceTransformerConfig",
    "FaceTransformerModel",
    "RetinaFaceConfig",
    "RetinaFaceForFaceDetection",
    "RetinaFaceModel",
]
