"""The metrics as modules of the `evaluate` package (needs the extra `train`).

Load one by its path, `evaluate.load(farl_hf.metric("face_parsing_f1"))`, or instantiate its class. Each file holds one
class, because `evaluate` takes the first that it finds.
"""

from farl_hf.metrics.evaluate_modules.face_attribute_accuracy import FaceAttributeAccuracy
from farl_hf.metrics.evaluate_modules.face_landmarks_nme import FaceLandmarksNME
from farl_hf.metrics.evaluate_modules.face_parsing_f1 import FaceParsingF1

__all__ = ["FaceAttributeAccuracy", "FaceLandmarksNME", "FaceParsingF1"]
