"""Average precision of a face detector in the photo frame, on the same path as the pipeline."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from farl_hf.data.samples.face_samples import without_decoding
from farl_hf.metrics.detection_ap import average_precision
from farl_hf.photos import decode_photo

# Of the original evaluation (Pytorch_Retinaface `test_widerface.py`, line 24): a precision-recall curve needs
# detections of low scores too.
EVALUATION_THRESHOLD = 0.02


@torch.inference_mode()
def detect_faces(
    model: Any, processor: Any, photos_rgb: Sequence[np.ndarray], threshold: float
) -> list[dict[str, torch.Tensor]]:
    """Faces of every photo. Photos of one input size share a forward pass.

    Args:
        model (`RetinaFaceForFaceDetection`): In evaluation mode.
        processor (`RetinaFaceImageProcessor`): Its processor.
        photos_rgb (`Sequence[np.ndarray]`): Photos (H, W, 3) uint8.
        threshold (`float`): Least score.

    Returns:
        `list[dict]`: `scores`, `boxes_xyxy`, `keypoints_xy` of each photo in photo pixels, on the CPU.
    """
    faces = _faces_of_views(model, processor, photos_rgb, threshold, processor.max_long_side)
    large = [index for index, photo in enumerate(photos_rgb) if processor.has_coarse_view(photo.shape[:2])]
    coarse = _faces_of_views(
        model, processor, [photos_rgb[index] for index in large], threshold, processor.coarse_long_side
    )
    for index, faces_coarse in zip(large, coarse, strict=True):
        faces[index] = processor.join_views(faces[index], faces_coarse, photos_rgb[index].shape[:2])
    return faces


def _faces_of_views(model, processor, photos_rgb, threshold, max_long_side):
    """Faces of every photo, looked at once."""
    faces: list[dict[str, torch.Tensor]] = [{} for _ in photos_rgb]
    sizes_hw = [photo.shape[:2] for photo in photos_rgb]
    for indices in processor.group_by_input_size(sizes_hw, max_long_side).values():
        photos = [photos_rgb[index] for index in indices]
        inputs = processor(photos, max_long_side=max_long_side, return_tensors="pt")
        outputs = model(inputs["pixel_values"].to(model.device, model.dtype))
        found = processor.post_process_face_detection(
            outputs, inputs["original_sizes"], inputs["input_scales"], threshold=threshold
        )
        for index, photo_faces in zip(indices, found, strict=True):
            faces[index] = {name: values.cpu() for name, values in photo_faces.items()}
    return faces


def evaluate_face_detection(
    model: Any,
    processor: Any,
    rows: Sequence[dict[str, Any]],
    batch_size: int = 8,
) -> dict[str, float]:
    """Average precision at overlap 0.5 over a data set in the common row shape.

    Args:
        model (`RetinaFaceForFaceDetection`): The detector; its mode is restored afterwards.
        processor (`RetinaFaceImageProcessor`): Its processor.
        rows (`datasets.Dataset` or sequence of dicts): Photos with `image` and `boxes_xyxy`.
        batch_size (`int`): Photos decoded at a time.

    Returns:
        `dict[str, float]`: `average_precision`, `recall` (of all candidates), `num_faces`, `num_photos`.
    """
    rows = without_decoding(rows, ("image", "boxes_xyxy"))
    was_training = model.training
    model.eval()
    detections, ground_truths = [], []
    for start in tqdm(range(0, len(rows), batch_size), desc="Detecting"):
        numbers = range(start, min(start + batch_size, len(rows)))
        batch = [rows[index] for index in numbers]
        photos_rgb = [decode_photo(row["image"], f"row {index}") for index, row in zip(numbers, batch, strict=True)]
        detections += detect_faces(model, processor, photos_rgb, EVALUATION_THRESHOLD)
        ground_truths += [np.asarray(row["boxes_xyxy"], dtype=np.float64).reshape(-1, 4) for row in batch]
    model.train(was_training)
    scores = average_precision(detections, ground_truths)
    return {name: scores[name] for name in ("average_precision", "recall", "num_faces")} | {"num_photos": len(rows)}
