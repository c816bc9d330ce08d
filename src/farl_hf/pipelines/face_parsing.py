"""`pipeline("face-parsing")`: which pixel belongs to which part of which face."""

import functools
from typing import Any

import torch
from PIL import Image
from transformers.modeling_outputs import SemanticSegmenterOutput

from farl_hf.labels import palette_for
from farl_hf.pipelines.face_task import FaceTaskPipeline


class FaceParsingPipeline(FaceTaskPipeline):
    """Labels the pixels of every face.

    A photo may be a path, a URL, a PIL image, an array, or a dict `{"image": …, "boxes": …}` or
    `{"image": …, "keypoints": …}` whose faces are used instead of searched for; many photos come in a list, a
    generator or a dataset. Each photo gives a list with one dict per face, best score first: `score`,
    `box` {xmin, ymin, xmax, ymax}, `keypoints` (five [x, y], or `None` if only a box was given),
    `segmentation` (a PIL image of mode "P" as large as the upright photo, class ids with a palette) and
    `labels` (class id -> name). A photo without a face gives an empty list.

    Args:
        detector (`FaceDetectionPipeline`, `str`, *optional*):
            What finds the faces: a pipeline, or the name or folder of a checkpoint.
        aligned (`bool`, *optional*, defaults to `False`): The whole photo is one face; nothing is searched.
        threshold, nms_threshold (`float`, *optional*): Passed to the detector.

    Example:
        >>> from transformers import pipeline
        >>> import farl_hf
        >>> parse_faces = pipeline("face-parsing")  # doctest: +SKIP
        >>> faces = parse_faces(["a.jpg", "b.jpg"], batch_size=8)  # doctest: +SKIP
    """

    model_name = "FaRLForFaceParsing"
    kept_outputs: tuple[str, ...] = ("logits",)

    def describe_faces(self, faces: dict[str, torch.Tensor]) -> list[dict[str, Any]]:
        """`segmentation` and `labels` of each face."""
        label_maps = self.image_processor.post_process_face_parsing(
            SemanticSegmenterOutput(logits=faces["logits"]),
            crop_from_photo=faces["crop_from_photo"],
            target_sizes=faces["size_hw"],
        )
        names = self.label_names()
        palette = _flat_palette(names)
        return [
            {"segmentation": _palette_image(label_map, palette), "labels": dict(enumerate(names))}
            for label_map in label_maps
        ]


@functools.cache
def _flat_palette(names: tuple[str, ...]) -> list[int]:
    return [channel for colour in palette_for(names) for channel in colour]


def _palette_image(label_map: torch.Tensor, palette: list[int]) -> Image.Image:
    image = Image.fromarray(label_map.to(torch.uint8).cpu().numpy())
    image.putpalette(palette)
    return image
