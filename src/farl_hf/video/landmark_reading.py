"""Landmarks of known faces, with how sure the heat maps are of them."""

from typing import Any

import torch

from farl_hf.pipelines import FaceLandmarksPipeline

__all__ = ["ConfidentLandmarksPipeline"]


class ConfidentLandmarksPipeline(FaceLandmarksPipeline):
    """A landmark pipeline that adds `confidence` to each face: the mean of its heat maps' peaks, in [0, 1]."""

    kept_outputs = ("landmarks", "logits")

    @classmethod
    def of(cls, pipeline: FaceLandmarksPipeline) -> "ConfidentLandmarksPipeline":
        """The same model and image processor."""
        return cls(
            model=pipeline.model, image_processor=pipeline.image_processor, task=pipeline.task, device=pipeline.device
        )

    def describe_faces(self, faces: dict[str, torch.Tensor]) -> list[dict[str, Any]]:
        """`landmarks` and `confidence` of each face."""
        peaks = faces["logits"].amax(dim=(-2, -1)).sigmoid().mean(dim=-1)
        described = super().describe_faces(faces)
        return [face | {"confidence": float(peak)} for face, peak in zip(described, peaks, strict=True)]
