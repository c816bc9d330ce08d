"""From a photo's row to a training sample of the face detector.

The augmentation follows biubug6/Pytorch_Retinaface (`data/data_augment.py`, lines 7-77, 80-138, 167-206 and 222-227;
MIT): random square crop, padding with the mean colour, colour distortion, mirror, resizing with a random
interpolation. docs/training.md, "Deviations, named", lists what differs. A row has the common shape of every farl_hf
dataset: `image`, `boxes_xyxy` (n, 4) and, where known, `points5_xy` (n, 5, 2), in photo pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from farl_hf.data.augmentation import SeededSamples, shared_batch
from farl_hf.data.samples.face_samples import check_places, column_names, mirror_order, without_decoding
from farl_hf.errors import InvalidDatasetError, InvalidFaceInputError
from farl_hf.labels import FIVE_POINTS_MIRROR_PAIRS
from farl_hf.photos import decode_photo

# Sides of the random square, as parts of the short side of the photo. Sides above 1 reach beyond the photo.
ORIGINAL_CROP_SCALES = (0.3, 0.45, 0.6, 0.8, 1.0)
WIDE_CROP_SCALES = (*ORIGINAL_CROP_SCALES, 1.5, 2.2)
# How often the original (line 11) tries to find a crop that holds a whole face, before it takes the whole photo.
CROP_TRIES = 250
INTERPOLATIONS = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_AREA, cv2.INTER_NEAREST, cv2.INTER_LANCZOS4)
BRIGHTNESS_RANGE = (-32.0, 32.0)
CONTRAST_RANGE = (0.5, 1.5)
SATURATION_RANGE = (0.5, 1.5)
HUE_RANGE = (-18, 18)  # in OpenCV's half degrees: 180 is a full turn
HUE_TURN = 180
MIRRORED_POINTS = mirror_order(FIVE_POINTS_MIRROR_PAIRS, 5)


@dataclass(frozen=True)
class PhotoFaces:
    """A picture and its faces.

    Args:
        image_rgb (`np.ndarray` of shape (H, W, 3), uint8): The picture.
        boxes_xyxy (`np.ndarray` of shape (n, 4), float32): Boxes in pixels of that picture.
        keypoints_xy (`np.ndarray` of shape (n, 5, 2), float32): Points in pixels; NaN where a face has none.
    """

    image_rgb: np.ndarray
    boxes_xyxy: np.ndarray
    keypoints_xy: np.ndarray


class FaceDetectionSamples(SeededSamples, Dataset):
    """One square training sample per photo.

    The random stream of a sample depends on `(seed, epoch, item)` alone: the number of loader workers changes nothing.

    Args:
        rows (`datasets.Dataset` or sequence of dicts): Photos in the common row shape.
        processor (`RetinaFaceImageProcessor`): Owns mean, deviation and order of the channels.
        image_size (`int`): Side of the samples.
        augment (`bool`): Random changes; otherwise the whole photo, padded at the right or bottom to a square.
        crop_scales (`Sequence[float]`): Sides of the random square, as parts of the photo's short side.
        min_face_px (`float`): Faces whose shorter side is smaller in the sample are skipped. Below 7.2 pixels no
            anchor of 16 pixels overlaps a face by the 0.2 that makes it a positive. The original keeps them.
        seed (`int`): Seed of the augmentation.

    Items are dicts: `pixel_values` (3, S, S) float32 and `labels`, a dict of `boxes_xyxy` (n, 4) and `keypoints_xy`
    (n, 5, 2) divided by S, as `RetinaFaceForFaceDetection` takes them.

    Raises:
        InvalidDatasetError: There are no photos, or they have no `boxes_xyxy`.
        InvalidFaceInputError: On access, a row whose boxes and points differ in number.
    """

    def __init__(
        self,
        rows: Sequence[dict[str, Any]],
        processor: Any,
        image_size: int = 320,
        *,
        augment: bool = True,
        crop_scales: Sequence[float] = ORIGINAL_CROP_SCALES,
        min_face_px: float = 7.2,
        seed: int = 0,
    ):
        super().__init__(seed)
        if len(rows) == 0:
            raise InvalidDatasetError("The dataset has no photos; expected at least one.")
        columns = column_names(rows)
        if "boxes_xyxy" not in columns:
            raise InvalidDatasetError(f"The dataset has the columns {columns}; detection needs 'boxes_xyxy'.")
        self.rows = without_decoding(rows, [name for name in ("image", "boxes_xyxy", "points5_xy") if name in columns])
        self.image_size, self.augment = image_size, augment
        self.crop_scales, self.min_face_px = tuple(crop_scales), min_face_px
        self.flip_channels = bool(processor.do_flip_channel_order)
        # Mean and deviation follow the channel order of the network input; the picture here is RGB.
        self.mean = np.asarray(processor.image_mean, dtype=np.float32)
        self.std = np.asarray(processor.image_std, dtype=np.float32)
        self.fill_rgb = tuple(float(value) for value in (self.mean[::-1] if self.flip_channels else self.mean))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, item: int) -> dict[str, Any]:
        rng = self.begin_sample(item)
        faces = read_photo_faces(self.rows[item], f"row {item}")
        faces = self.augmented(faces, rng) if self.augment else self.whole(faces)
        return {
            "pixel_values": self.pixel_values(faces.image_rgb),
            "labels": {
                "boxes_xyxy": torch.from_numpy(faces.boxes_xyxy / np.float32(self.image_size)),
                "keypoints_xy": torch.from_numpy(faces.keypoints_xy / np.float32(self.image_size)),
            },
        }

    def augmented(self, faces: PhotoFaces, rng: np.random.Generator) -> PhotoFaces:
        """A random square of the photo, with other colours, perhaps mirrored."""
        square_xyxy = random_square(
            faces.image_rgb.shape[:2], faces.boxes_xyxy, self.crop_scales, self.min_face_px / self.image_size, rng
        )
        interpolation = int(rng.choice(INTERPOLATIONS))
        crop = crop_to_square(faces, square_xyxy, self.image_size, self.fill_rgb, interpolation, self.min_face_px)
        crop = PhotoFaces(distort_colors(crop.image_rgb, rng), crop.boxes_xyxy, crop.keypoints_xy)
        return mirror(crop) if rng.random() < 0.5 else crop

    def whole(self, faces: PhotoFaces) -> PhotoFaces:
        """The whole photo in the top-left corner of a square."""
        side = max(faces.image_rgb.shape[:2])
        interpolation = cv2.INTER_AREA if side > self.image_size else cv2.INTER_LINEAR
        return crop_to_square(
            faces, (0, 0, side, side), self.image_size, self.fill_rgb, interpolation, self.min_face_px
        )

    def pixel_values(self, image_rgb: np.ndarray) -> torch.Tensor:
        """(S, S, 3) uint8 RGB to the network input (3, S, S) float32."""
        pixels = image_rgb[..., ::-1] if self.flip_channels else image_rgb
        pixels = (pixels.astype(np.float32) - self.mean) / self.std
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def read_photo_faces(row: dict[str, Any], where: str = "a row") -> PhotoFaces:
    """Decodes a row, which errors call `where`. Without `points5_xy`, no face has points."""
    boxes_xyxy = np.asarray(row["boxes_xyxy"], dtype=np.float32).reshape(-1, 4)
    points = row.get("points5_xy")
    if points is None:
        keypoints_xy = np.full((len(boxes_xyxy), 5, 2), np.nan, dtype=np.float32)
    else:
        keypoints_xy = np.asarray(points, dtype=np.float32).reshape(-1, 5, 2)
    if len(keypoints_xy) != len(boxes_xyxy):
        raise InvalidFaceInputError(
            f"{where.capitalize()} has {len(boxes_xyxy)} boxes_xyxy but {len(keypoints_xy)} points5_xy; expected one"
            " entry per face."
        )
    image_rgb = decode_photo(row["image"], where)
    check_places({"boxes_xyxy": boxes_xyxy, "points5_xy": keypoints_xy}, image_rgb.shape[:2], where)
    return PhotoFaces(image_rgb, boxes_xyxy, keypoints_xy)


def random_square(
    size_hw: tuple[int, int],
    boxes_xyxy: np.ndarray,
    crop_scales: Sequence[float],
    min_face_fraction: float,
    rng: np.random.Generator,
) -> tuple[int, int, int, int]:
    """A random square that holds at least one whole face, else the smallest square around the whole photo.

    Args:
        size_hw (`tuple[int, int]`): Height and width of the photo.
        boxes_xyxy (`np.ndarray` of shape (n, 4)): Faces, photo pixels.
        crop_scales (`Sequence[float]`): Possible sides, as parts of the short side of the photo.
        min_face_fraction (`float`): That face must be at least this part of the square.
        rng (`np.random.Generator`): Source of randomness.

    Returns:
        `tuple[int, int, int, int]`: x_min, y_min, x_max, y_max in photo pixels; it may reach beyond the photo.
    """
    height, width = size_hw
    # Ours: the whole short side one time in five, beyond its ordinary share. The original has this as a comment only
    # (`data/data_augment.py`, lines 12-19).
    scales = np.where(rng.random(CROP_TRIES) <= 0.2, 1.0, rng.choice(np.asarray(crop_scales), CROP_TRIES))
    sides = np.maximum(1, scales * min(height, width)).astype(np.int64)
    rest = np.stack([width - sides, height - sides], axis=1)
    corners = rng.integers(np.minimum(rest, 0), np.maximum(rest, 0), endpoint=True)
    if len(boxes_xyxy):
        inside = (boxes_xyxy[None, :, :2] >= corners[:, None]).all(2)
        inside &= (boxes_xyxy[None, :, 2:] <= (corners + sides[:, None])[:, None]).all(2)
        face_sides = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).min(axis=1)
        inside &= face_sides[None] >= min_face_fraction * sides[:, None]
        holding = np.flatnonzero(inside.any(axis=1))
        if len(holding):
            (x, y), side = corners[holding[0]], sides[holding[0]]
            return int(x), int(y), int(x + side), int(y + side)
    side = max(height, width)
    return 0, 0, side, side


def crop_to_square(
    faces: PhotoFaces,
    square_xyxy: tuple[int, int, int, int],
    image_size: int,
    fill_rgb: Sequence[float],
    interpolation: int = cv2.INTER_LINEAR,
    min_face_px: float = 0.0,
) -> PhotoFaces:
    """Cut a square out of a photo and resize it; what lies beyond the photo is filled.

    Faces stay if their centre lies in the square. Their boxes and points are limited to it, as in the original
    (`data/data_augment.py`, lines 39-60).

    Args:
        faces (`PhotoFaces`): Photo and faces.
        square_xyxy (`tuple[int, int, int, int]`): The square, photo pixels.
        image_size (`int`): Side of the result.
        fill_rgb (`Sequence[float]`): Colour beyond the photo, 0 to 255.
        interpolation (`int`): An OpenCV interpolation.
        min_face_px (`float`): Faces whose shorter side is smaller in the result are skipped.

    Returns:
        `PhotoFaces` of `image_size`.
    """
    x_min, y_min, x_max, y_max = square_xyxy
    height, width = faces.image_rgb.shape[:2]
    inner = faces.image_rgb[max(y_min, 0) : max(y_max, 0), max(x_min, 0) : max(x_max, 0)]
    beyond = max(-y_min, 0), max(y_max - height, 0), max(-x_min, 0), max(x_max - width, 0)
    if any(beyond):
        inner = cv2.copyMakeBorder(inner, *beyond, cv2.BORDER_CONSTANT, value=fill_rgb)
    image_rgb = cv2.resize(inner, (image_size, image_size), interpolation=interpolation)

    scale = np.float32(image_size / (x_max - x_min))
    corner = np.array([x_min, y_min], dtype=np.float32)
    boxes = (faces.boxes_xyxy - np.tile(corner, 2)) * scale
    keypoints = (faces.keypoints_xy - corner) * scale
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    boxes = boxes.clip(0, image_size)
    kept = ((centers > 0) & (centers < image_size)).all(axis=1)
    kept &= (boxes[:, 2:] - boxes[:, :2]).min(axis=1, initial=np.inf) >= max(min_face_px, 1e-3)
    return PhotoFaces(image_rgb, boxes[kept], keypoints[kept].clip(0, image_size))


def mirror(faces: PhotoFaces) -> PhotoFaces:
    """Left and right exchanged, in the picture, the boxes and the names of the points."""
    width = faces.image_rgb.shape[1]
    boxes = faces.boxes_xyxy.copy()
    boxes[:, [0, 2]] = width - boxes[:, [2, 0]]
    keypoints = faces.keypoints_xy[:, MIRRORED_POINTS].copy()
    keypoints[..., 0] = width - keypoints[..., 0]
    return PhotoFaces(cv2.flip(faces.image_rgb, 1), boxes, keypoints)


def distort_colors(image_rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random brightness, contrast, saturation and hue, each with probability 1/2; contrast comes first or last.

    Args:
        image_rgb (`np.ndarray` of shape (H, W, 3), uint8): The picture, not changed.
        rng (`np.random.Generator`): Source of randomness.

    Returns:
        `np.ndarray`: a picture of the same shape and type.
    """
    brightness = rng.uniform(*BRIGHTNESS_RANGE) if rng.random() < 0.5 else 0.0
    contrast = rng.uniform(*CONTRAST_RANGE) if rng.random() < 0.5 else 1.0
    saturation = rng.uniform(*SATURATION_RANGE) if rng.random() < 0.5 else 1.0
    hue = int(rng.integers(*HUE_RANGE, endpoint=True)) if rng.random() < 0.5 else 0
    contrast_last = rng.random() < 0.5

    levels = np.arange(256, dtype=np.float32)
    table = to_levels(levels + brightness)
    if not contrast_last:
        table = to_levels(table * contrast)
    image_rgb = cv2.LUT(image_rgb, table)
    if saturation != 1.0 or hue:
        hsv = cv2.cvtColor(image_rgb, cv2.COLOR_RGB2HSV)
        hues = ((np.arange(256) + hue) % HUE_TURN).astype(np.uint8)
        tables = np.stack([hues, to_levels(levels * saturation), levels.astype(np.uint8)], axis=1)[None]
        image_rgb = cv2.cvtColor(cv2.LUT(hsv, np.ascontiguousarray(tables)), cv2.COLOR_HSV2RGB)
    if contrast_last:
        image_rgb = cv2.LUT(image_rgb, to_levels(levels * contrast))
    return image_rgb


def to_levels(values: np.ndarray) -> np.ndarray:
    """Values as uint8, those beyond 0 to 255 limited."""
    return values.clip(0, 255).astype(np.uint8)


def collate_face_detection_samples(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Stacks pictures; `labels`, whose numbers of faces differ, stays a list of dicts."""
    pixel_values = torch.stack([sample["pixel_values"] for sample in samples])
    return shared_batch({"pixel_values": pixel_values, "labels": [sample["labels"] for sample in samples]})
