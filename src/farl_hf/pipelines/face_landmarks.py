"""`pipeline("face-landmarks")`: points on the parts of every face."""

from typing import Any

import torch
from transformers.utils import ModelOutput

from farl_hf.pipelines.face_task import FaceTaskPipeline
from farl_hf.results import plain_points


class FaceLandmarksPipeline(FaceTaskPipeline):
    """Finds the landmarks of every face.

    Inputs and arguments are those of `FaceParsingPipeline`. Each photo gives a list with one dict per face, best
    score first: `score`, `box`, `keypoints` and `landmarks`, [[x, y], …] in pixels of the upright photo, in the
    model's order (`farl_hf.labels.LANDMARK_GROUPS[len(landmarks)]` names the parts).

    Example:
        >>> from transformers import pipeline
        >>> import farl_hf
        >>> find_landmarks = pipeline("face-landmarks")  # doctest: +SKIP
        >>> points = find_landmarks("crop_of_a_face.png", aligned=True)[0]["landmarks"]  # doctest: +SKIP
    """

    model_name = "FaRLForLandmarks"
    kept_outputs: tuple[str, ...] = ("landmarks",)

    def describe_faces(self, faces: dict[str, torch.Tensor]) -> list[dict[str, Any]]:
        """`landmarks` of each face."""
        points_photo_xy = self.image_processor.post_process_landmarks(
            ModelOutput(landmarks=faces["landmarks"]), crop_from_photo=faces["crop_from_photo"]
        )
        return [{"landmarks": plain_points(points)} for points in points_photo_xy]
