"""The pipelines: from photos to plain descriptions of their faces."""

from typing import NamedTuple

from farl_hf.checkpoints import DEFAULT_CHECKPOINTS
from farl_hf.pipelines.face_analysis import FaceAnalysisPipeline
from farl_hf.pipelines.face_detection import FaceDetectionPipeline, PhotoPipeline
from farl_hf.pipelines.face_tasks import FaceAttributesPipeline, FaceLandmarksPipeline, FaceParsingPipeline

__all__ = [
    "PIPELINES",
    "FaceAnalysisPipeline",
    "FaceAttributesPipeline",
    "FaceDetectionPipeline",
    "FaceLandmarksPipeline",
    "FaceParsingPipeline",
    "FacePipelineEntry",
]


class FacePipelineEntry(NamedTuple):
    """How a task is served.

    Args:
        pipeline_class (`type`): The pipeline.
        auto_model_name (`str`): Name of the Transformers auto class that loads its models.
        default_checkpoint (`str`): Name of the model used unless another is given.
    """

    pipeline_class: type[PhotoPipeline]
    auto_model_name: str
    default_checkpoint: str


PIPELINES = {
    task: FacePipelineEntry(pipeline_class, auto_model_name, DEFAULT_CHECKPOINTS[task])
    for task, pipeline_class, auto_model_name in (
        ("face-detection", FaceDetectionPipeline, "AutoModelForObjectDetection"),
        ("face-parsing", FaceParsingPipeline, "AutoModelForSemanticSegmentation"),
        ("face-landmarks", FaceLandmarksPipeline, "AutoModelForKeypointDetection"),
        ("face-attributes", FaceAttributesPipeline, "AutoModelForImageClassification"),
    )
}
# It joins checkpoints, and so is the pipeline of none: its model is the detector.
PIPELINES["face-analysis"] = PIPELINES["face-detection"]._replace(pipeline_class=FaceAnalysisPipeline)
