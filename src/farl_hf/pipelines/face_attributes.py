"""`pipeline("face-attributes")`: what can be said of every face."""

from typing import Any

import torch
from transformers.modeling_outputs import ImageClassifierOutput

from farl_hf.pipelines.face_task import FaceTaskPipeline


class FaceAttributesPipeline(FaceTaskPipeline):
    """Scores the attributes of every face.

    Inputs and arguments are those of `FaceParsingPipeline`. Each photo gives a list with one dict per face, best
    score first: `score`, `box`, `keypoints` and `attributes`, [{"label", "score", "present"}, …] with the likeliest
    first. Every score is an independent probability. `present` says whether it is above the threshold of the label:
    `attribute_thresholds` of the configuration, else 0.5.

    Example:
        >>> from transformers import pipeline
        >>> import farl_hf
        >>> describe_faces = pipeline("face-attributes")  # doctest: +SKIP
        >>> describe_faces("photo.jpg")[0]["attributes"][:3]  # doctest: +SKIP
    """

    model_name = "FaRLForAttributes"
    kept_outputs: tuple[str, ...] = ("logits",)

    def describe_faces(self, faces: dict[str, torch.Tensor]) -> list[dict[str, Any]]:
        """`attributes` of each face."""
        probabilities = self.image_processor.post_process_attributes(ImageClassifierOutput(logits=faces["logits"]))
        names = self.label_names()
        thresholds = getattr(self.model.config, "attribute_thresholds", None) or {}
        return [{"attributes": _likeliest_first(names, row.tolist(), thresholds)} for row in probabilities]


def _likeliest_first(
    names: tuple[str, ...], probabilities: list[float], thresholds: dict[str, float]
) -> list[dict[str, Any]]:
    scored = sorted(zip(names, probabilities, strict=True), key=lambda pair: -pair[1])
    return [
        {"label": name, "score": float(score), "present": score > thresholds.get(name, 0.5)} for name, score in scored
    ]
