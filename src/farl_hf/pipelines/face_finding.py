"""Which faces of a photo a pipeline works on: those given, the whole photo, or those a detector finds."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import PreTrainedConfig

from farl_hf.pipelines.detector_loading import load_detector
from farl_hf.pipelines.given_faces import given_faces, whole_photo_as_face
from farl_hf.results import Faces

__all__ = ["Detector", "FaceFinder"]

# A face-detection pipeline, or anything that takes a PIL photo and answers like one.
Detector = Callable[..., list[dict[str, Any]]]


class FaceFinder:
    """Finds the faces of photos, and loads its detector at the first photo that needs one.

    Args:
        detector (`FaceDetectionPipeline`, callable, `str` or `Path`, *optional*):
            What finds the faces, or the name or folder of its checkpoint; see `load_detector` if not given.
        device (`torch.device`): Where a detector that is loaded here runs.
        served (`PreTrainedConfig`): Configuration of the model whose faces it finds.
    """

    def __init__(self, detector: Detector | str | Path | None, device: torch.device, served: PreTrainedConfig) -> None:
        self._detector = detector
        self._device = device
        self._served = served

    def __call__(self, photo: Image.Image, photo_input: Any, aligned: bool, **detection: float) -> Faces:
        """The faces of one photo, best score first.

        Args:
            photo (`PIL.Image.Image`): The upright photo.
            photo_input: What the caller gave; a mapping may bring `boxes` or `keypoints`.
            aligned (`bool`): The photo is one face; nothing is searched.
            detection: `threshold`, `nms_threshold` of the detector.
        """
        size_hw = (photo.height, photo.width)
        if aligned:
            return whole_photo_as_face(size_hw)
        if isinstance(photo_input, Mapping):
            faces = given_faces(photo_input, size_hw)
            if faces is not None:
                return faces
        with torch.inference_mode():
            return _best_first(Faces.from_pipeline(self.detector(photo, **detection)))

    @property
    def detector(self) -> Detector:
        """The detector, loaded at the first use."""
        if self._detector is None or isinstance(self._detector, (str, Path)):
            self._detector = load_detector(self._detector, self._device, self._served)
        return self._detector


def _best_first(faces: Faces) -> Faces:
    return faces[np.argsort(-faces.scores, kind="stable")]
