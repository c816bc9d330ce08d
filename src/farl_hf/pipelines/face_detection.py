"""`pipeline("face-detection")`: where the faces of a photo are."""

import os
from typing import Any

import torch
from transformers import Pipeline

from farl_hf.checkpoints.checked_loading import require_model
from farl_hf.photos import load_photo
from farl_hf.pipelines.inputs import (
    MOST_WORKERS,
    as_pipeline_inputs,
    check_batch_size,
    checked_on_error,
    checked_thresholds,
    prefetch_inputs,
    recorded,
)
from farl_hf.processing.face_geometry_farl import FACE_MARGIN
from farl_hf.results import Faces, plain_faces

DETECTOR_FOLDER = "face-detector"  # in the repository of a model that looks into faces


def optimized_for_inference(model: Any) -> Any:
    """The model, after `optimize_for_inference()` where it has that; exported graphs and other libraries' have not."""
    return model.optimize_for_inference() if hasattr(model, "optimize_for_inference") else model


def lies_in_photo(boxes_xyxy: torch.Tensor, keypoints_xy: torch.Tensor, size_hw: tuple[int, int]) -> torch.Tensor:
    """Which faces (F,) have a part in the photo; a detector also answers faces beyond its edge, which no crop shows.

    The five points of a face that the edge cuts may all lie outside: a face reaches beyond them.
    """
    lowest_xy, highest_xy = keypoints_xy.amin(dim=1), keypoints_xy.amax(dim=1)
    margin = FACE_MARGIN * (highest_xy - lowest_xy).amax(dim=1, keepdim=True)
    last_xy = torch.minimum(boxes_xyxy[:, 2:], highest_xy + margin)
    first_xy = torch.maximum(boxes_xyxy[:, :2], lowest_xy - margin)
    return (last_xy > 0).all(dim=1) & (first_xy < first_xy.new_tensor([size_hw[1], size_hw[0]])).all(dim=1)


class PhotoPipeline(Pipeline):
    """What all pipelines share: which model they run, what they take, and how they are saved.

    Of the parts beside a model, `pipeline()` loads the image processor alone.
    """

    model_name: str
    _load_image_processor: Any = True
    _load_processor: Any = False
    _load_tokenizer: Any = False
    _load_feature_extractor: Any = False
    _load_video_processor: Any = False
    image_processor: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        require_model(self.model, self.model_name)
        optimized_for_inference(self.model)

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:  # type: ignore[override]  # narrower, as in Transformers' own pipelines
        """Answer for a photo, or for each of a list, generator or dataset of photos; see the class."""
        inputs = as_pipeline_inputs(inputs)
        if isinstance(inputs, list) and not inputs:
            return []
        return super().__call__(inputs, **kwargs)

    def get_iterator(self, inputs: Any, num_workers: int, batch_size: int, *params: dict[str, Any]) -> Any:
        """Answers one after the other; the next photos are prepared while the network runs."""
        check_batch_size(batch_size)
        check_batch_size(num_workers, "num_workers", 0, MOST_WORKERS)
        answers = super().get_iterator(inputs, num_workers, batch_size, *params)
        return prefetch_inputs(answers, inputs, num_workers, batch_size)

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """Write the model and its image processor (no detector); the folder is a checkpoint of this task.

        `Pipeline.save_pretrained` would add the class's file and the table it was registered with to the folder: the
        table holds the path of the default model on this machine, and from then on loading would demand
        `trust_remote_code=True` although `import farl_hf` already brings the class.
        """
        if hasattr(self.model.config, "custom_pipelines"):
            del self.model.config.custom_pipelines
        self.model.save_pretrained(save_directory, **kwargs)
        self.image_processor.save_pretrained(save_directory, **kwargs)


class FaceDetectionPipeline(PhotoPipeline):
    """Finds faces with a RetinaFace model.

    Each photo gives a list with one dict per face, best score first: `score`, `box` {xmin, ymin, xmax, ymax} and
    `keypoints`, five [x, y] in the order of `farl_hf.labels.FIVE_POINTS`. All coordinates are pixels of the upright
    photo. A photo without a face gives an empty list.

    Args:
        threshold (`float`, *optional*): Lowest score of a face, in [0, 1]; the image processor's default if not given.
        nms_threshold (`float`, *optional*): Overlap (IoU) above which the weaker of two boxes is dropped.
        on_error (`str`, *optional*, defaults to `"raise"`): `"record"` answers `{"error": sentence}` for a photo that
            cannot be used, and goes on with the next one.

    Raises:
        NotACheckpointError: The model, or its checkpoint, is of another task or not whole.

    Example:
        >>> from transformers import pipeline
        >>> import farl_hf
        >>> find_faces = pipeline("face-detection")  # doctest: +SKIP
        >>> faces = find_faces("photo.jpg", threshold=0.6)  # doctest: +SKIP
    """

    model_name = "RetinaFaceForFaceDetection"

    def get_inference_context(self) -> Any:
        """Inference mode: tensors without version counters, which gradients alone need."""
        return torch.inference_mode

    def _sanitize_parameters(  # type: ignore[override]  # narrower, as in Transformers' own pipelines
        self, threshold: float | None = None, nms_threshold: float | None = None, on_error: str | None = None
    ):
        given = checked_thresholds(threshold=threshold, nms_threshold=nms_threshold)
        reading = {} if on_error is None else {"on_error": checked_on_error(on_error)}
        return reading, given, {}

    def preprocess(self, photo_input: Any, on_error: str = "raise") -> dict[str, Any]:  # type: ignore[override]  # narrower, as in Transformers' own pipelines
        """One photo, resized for the network; a large one also in a coarse view."""
        try:
            return self._views_of(photo_input)
        except Exception as error:
            return {"inputs": [{"error": recorded(error, on_error)}]}

    def _views_of(self, photo_input: Any) -> dict[str, Any]:
        photo = load_photo(photo_input)
        views = [dict(self.image_processor(photo, return_tensors="pt"))]
        if self._has_coarse_view((photo.height, photo.width)):
            side = self.image_processor.coarse_long_side
            shrunk = self.image_processor(photo, max_long_side=side, min_long_side=side, return_tensors="pt")
            views.append(dict(shrunk))
        # Inside a list, the tensors of a batch are kept apart instead of being concatenated: photos differ in size.
        return {"inputs": views}

    def _has_coarse_view(self, size_hw: tuple[int, int]) -> bool:
        # The image processor that a repository of version 0.1 brings has only the usual view.
        return hasattr(self.image_processor, "has_coarse_view") and self.image_processor.has_coarse_view(size_hw)

    def _forward(self, model_inputs: dict[str, Any], **post_processing: float) -> Any:  # type: ignore[override]  # narrower, as in Transformers' own pipelines
        batch = model_inputs["inputs"]
        if not isinstance(batch[0], list):
            return {"faces": self._find_faces_in_views([batch], post_processing)[0]}
        return {"faces": self._find_faces_in_views(batch, post_processing)}

    def _find_faces_in_views(
        self, photos: list[list[dict[str, Any]]], post_processing: dict[str, float]
    ) -> list[dict[str, Any]]:
        """Faces per photo, each of one view or two."""
        sound = [view for views in photos for view in views if "error" not in view]
        found = iter(self._find_faces(sound, post_processing))
        faces = []
        for views in photos:
            if "error" in views[0]:
                faces.append(views[0])
                continue
            usual, *coarse = (next(found) for _ in views)
            height, width = views[0]["original_sizes"][0].tolist()
            if coarse:
                overlap = post_processing.get("nms_threshold")
                usual = self.image_processor.join_views(usual, coarse[0], (height, width), overlap)
            inside = lies_in_photo(usual["boxes_xyxy"], usual["keypoints_xy"], (height, width))
            faces.append({name: values[inside] for name, values in usual.items()})
        return faces

    def _find_faces(self, photos: list[dict[str, Any]], post_processing: dict[str, float]) -> list[dict[str, Any]]:
        """Faces per view. Only views of one input size share a forward pass, so that none sees another's padding."""
        rows_of_size: dict[torch.Size, list[int]] = {}
        for row, photo in enumerate(photos):
            rows_of_size.setdefault(photo["pixel_values"].shape, []).append(row)
        found: list[dict[str, Any]] = [{} for _ in photos]
        for rows in rows_of_size.values():
            batch = {name: torch.cat([photos[row][name] for row in rows]) for name in photos[rows[0]]}
            outputs = self.model(pixel_values=batch.pop("pixel_values").to(self.dtype))
            faces = self.image_processor.post_process_face_detection(outputs, **batch, **post_processing)
            for row, faces_of_photo in zip(rows, faces, strict=True):
                found[row] = faces_of_photo
        return found

    def postprocess(self, model_outputs: dict[str, Any]) -> list[dict[str, Any]] | dict[str, str]:  # type: ignore[override]  # narrower, as in Transformers' own pipelines
        """The faces of one photo as plain dicts, or why it has no answer."""
        found = model_outputs["faces"]
        if "error" in found:
            return found
        faces = Faces(found["boxes_xyxy"].numpy(), found["scores"].numpy(), found["keypoints_xy"].numpy())
        return plain_faces(faces)
