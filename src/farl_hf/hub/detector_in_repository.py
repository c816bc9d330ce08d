"""Loads the face detector of a pipeline from the Hub repository of its model.

In a repository, this module replaces `farl_hf.pipelines.detector_loading`, because checkpoints have no names there.
"""

from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedConfig

from farl_hf.errors import NotACheckpointError
from farl_hf.modeling.modeling_retinaface import RetinaFaceForFaceDetection
from farl_hf.pipelines.face_detection import DETECTOR_FOLDER, FaceDetectionPipeline
from farl_hf.processing.image_processing_retinaface import RetinaFaceImageProcessor


def load_detector(name: str | Path | None, device: torch.device, served: PreTrainedConfig) -> FaceDetectionPipeline:
    """A face-detection pipeline.

    Args:
        name (`str` or `Path`, *optional*): Repository or folder of a RetinaFace checkpoint; the detector in the
            repository of the model if not given.
        device (`torch.device`): Where it runs.
        served (`PreTrainedConfig`): Configuration of the pipeline's model, which has the name of the repository.

    Raises:
        NotACheckpointError: If there is no detector.
    """
    where: dict[str, Any] = {}
    if name is None:
        # The commit that the model came from; a folder has none.
        where = {"subfolder": DETECTOR_FOLDER, "revision": getattr(served, "_commit_hash", None) or "main"}
    source = str(served.name_or_path if name is None else name)
    try:
        model = RetinaFaceForFaceDetection.from_pretrained(source, **where).eval()
        image_processor = RetinaFaceImageProcessor.from_pretrained(source, **where)
    except OSError as error:
        raise NotACheckpointError(
            f"{source} holds no face detector that can be loaded ({error}); give `detector=` a RetinaFace checkpoint "
            "or a callable, give the faces as keypoints or boxes, or call with aligned=True."
        ) from error
    return FaceDetectionPipeline(model=model, image_processor=image_processor, task="face-detection", device=device)
