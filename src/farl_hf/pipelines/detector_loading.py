"""The face detector of a pipeline that looks into faces, from a checkpoint."""

from pathlib import Path

import torch
from transformers import AutoImageProcessor, AutoModelForObjectDetection, PreTrainedConfig

from farl_hf.checkpoints.checked_loading import load_image_processor, load_whole
from farl_hf.checkpoints.checkpoint_names import checkpoint_for
from farl_hf.pipelines.face_detection import DETECTOR_FOLDER, FaceDetectionPipeline


def load_detector(name: str | Path | None, device: torch.device, served: PreTrainedConfig) -> FaceDetectionPipeline:
    """A face-detection pipeline from a checkpoint.

    In a Hub repository `farl_hf.hub.detector_in_repository` takes the place of this module.

    Args:
        name (`str` or `Path`, *optional*): Name or folder of the checkpoint. If not given, the detector beside the
            model, as in a downloaded repository, or else the default one.
        device (`torch.device`): Where it runs.
        served (`PreTrainedConfig`): Configuration of the model whose faces it finds.

    Raises:
        UnknownNameError, NotDownloadedError: If there is no such checkpoint.
        NotACheckpointError: If it is not a whole one of a detector.
    """
    folder = _beside(served) if name is None else None
    if folder is None:
        folder = checkpoint_for("face-detection", name)
    return FaceDetectionPipeline(
        model=load_whole(AutoModelForObjectDetection, folder, FaceDetectionPipeline.model_name).eval(),
        image_processor=load_image_processor(AutoImageProcessor, folder),
        task="face-detection",
        device=device,
    )


def _beside(served: PreTrainedConfig) -> Path | None:
    if not served.name_or_path:
        return None
    folder = Path(served.name_or_path) / DETECTOR_FOLDER
    return folder if folder.is_dir() else None
