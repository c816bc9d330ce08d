"""From a photo's row to training samples: one item per face, one resampling per item; their batches.

A row has the common shape of every farl_hf dataset: `image`, and as far as the task needs them `label_map`,
`instance_map`, `boxes_xyxy` (n, 4), `points5_xy` (n, 5, 2), `landmarks_xy` (n, N, 2), `attributes` (n, 40),
`list_position` (n,).
"""

import logging
import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from farl_hf.data.augmentation import (
    AugmentationRecipe,
    SeededSamples,
    augment_colors,
    fill_padding,
    get_augmentation_recipe,
    random_alignment_noise,
    random_crop_motion,
    shared_batch,
)
from farl_hf.errors import InvalidArgumentError, InvalidDatasetError, InvalidFaceInputError, check_name, in_short
from farl_hf.labels import CELEBAMASK_MIRROR_PAIRS, LANDMARK_MIRROR_PAIRS, LAPA_MIRROR_PAIRS
from farl_hf.photos import decode_map, decode_photo

logger = logging.getLogger(__name__)

FACE_TASKS = ("parsing", "landmarks", "attributes")
PICTURE_COLUMNS = ("image", "label_map", "instance_map")
ANNOTATION_COLUMNS = ("boxes_xyxy", "points5_xy", "landmarks_xy", "attributes", "list_position")
# The annotation that holds the labels of a task, and the one that places the crop.
LABEL_COLUMNS = {"landmarks": "landmarks_xy", "attributes": "attributes"}
ALIGNMENT_COLUMNS = {"points": "points5_xy", "box": "boxes_xyxy", "whole": None}
IGNORED_LABEL = 255  # of the parsing loss and of the scores
LISTED_KEYS = ("photo_labels",)  # photos differ in size, so these stay lists in a batch
FEW_SHOT_SEED = 123  # py-blueprint, blueprint/ml/dataprocessor.py, line 143: another seed trains on other faces
PARSING_MIRROR_PAIRS = {11: LAPA_MIRROR_PAIRS, 19: CELEBAMASK_MIRROR_PAIRS}

Item = TypeVar("Item")


def mirror_order(pairs: Sequence[tuple[int, int]], num_labels: int) -> np.ndarray:
    """Permutation (num_labels,) int64 that exchanges the members of each left-right pair."""
    order = np.arange(num_labels)
    for left, right in pairs:
        order[[left, right]] = right, left
    return order


def column_names(rows: Any) -> list[str]:
    """Columns of a `datasets.Dataset` or of a list of dicts; an empty list has none."""
    return list(rows.column_names) if hasattr(rows, "column_names") else list(rows[0] if len(rows) else ())


def without_decoding(rows: Any, columns: Sequence[str]) -> Any:
    """A view of the rows that keeps these columns and leaves pictures as encoded bytes.

    `datasets.Dataset` decodes every picture of a row through PIL, whether it is used or not; skipping that is most of
    the speed of a CPU training. A list of dicts is returned as it is.
    """
    if not hasattr(rows, "cast_column"):
        return rows
    import datasets

    view = rows.select_columns([name for name in columns if name in rows.column_names])
    for name, feature in view.features.items():
        if isinstance(feature, datasets.Image):
            view = view.cast_column(name, datasets.Image(decode=False))
    return view


@dataclass(frozen=True)
class FaceRecord:
    """What is known about one face before its photo is opened.

    Args:
        row (`int`): Its photo.
        face (`int`): Its number in the photo.
        annotations (`dict[str, numpy.ndarray]`): Its entry in each of `ANNOTATION_COLUMNS` that has one, float32.
    """

    row: int
    face: int
    annotations: dict[str, np.ndarray]


class FaceSamples(SeededSamples, Dataset):
    """One training or evaluation sample per face of a dataset of photos.

    The random stream of a sample depends on `(seed, epoch, item)` alone: the number of loader workers changes nothing.

    Args:
        rows (`datasets.Dataset` or sequence of dicts): Photos in the common row shape.
        processor ([`FaRLImageProcessor`]): Owns the crop geometry and the normalisation.
        task (`str`): `"parsing"`, `"landmarks"` or `"attributes"`.
        recipe (`str` or [`AugmentationRecipe`], *optional*, defaults to `"none"`): Augmentation.
        alignment (`str`, *optional*, defaults to `"points"`): What places the crop: the five `"points"`, the `"box"`,
            or the `"whole"` photo.
        num_labels (`int`, *optional*, defaults to 11): Number of parsing classes.
        label_mirror_pairs (`Sequence[tuple[int, int]]`, *optional*): Parsing classes that a mirror exchanges; those of
            LaPa (11 classes) or of CelebAMask-HQ in FaRL's order (19) by default. Needed for other classes if the
            recipe mirrors.
        min_face_px (`float`, *optional*, defaults to 12): Faces whose eyes are nearer than this (or, for boxes, whose
            box is narrower than twice this) are skipped; the log counts them.
        attribute_columns (`Sequence[int]`, *optional*): Attributes to return, by their column in the data set; all by
            default.
        data_ratio (`float`, *optional*): Part of the faces to use, by the official few-shot rule; see
            [`few_shot_subset`]. A warning says where the rows lack `list_position`, and so their order decides.
        seed (`int`, *optional*, defaults to 0): Seed of the augmentation.
        with_photo_labels (`bool`, *optional*, defaults to `False`): Also return what evaluation in the photo frame
            needs.

    Items are dicts: `pixel_values` (3, H, W) float32 and `labels` — parsing (H, W) int64; landmarks (N, 2) float32 in
    [0, 1] of the crop; attributes (L,) float32. With `with_photo_labels` also `crop_from_photo` (3, 3) float32 and
    `photo_labels` — parsing (H0, W0) uint8; landmarks (N, 2) float32 photo pixels; attributes (L,) float32 — and
    `box_xyxy` (4,) when some face has a box; NaN for a face without one.

    Raises:
        UnknownNameError: There is no such task, alignment or recipe.
        InvalidArgumentError: The recipe mirrors, but `label_mirror_pairs` is not known; or `data_ratio` keeps no face.
        InvalidDatasetError: The rows lack a column, none of their faces can be used, or faces have different numbers
            of landmarks.
        InvalidFaceInputError: On access, a label map that contradicts its photo or `num_labels`.
    """

    def __init__(
        self,
        rows: Sequence[dict[str, Any]],
        processor: Any,
        task: str,
        recipe: str | AugmentationRecipe = "none",
        *,
        alignment: str = "points",
        num_labels: int = 11,
        label_mirror_pairs: Sequence[tuple[int, int]] | None = None,
        min_face_px: float = 12.0,
        attribute_columns: Sequence[int] | None = None,
        data_ratio: float | None = None,
        seed: int = 0,
        with_photo_labels: bool = False,
    ):
        super().__init__(seed)
        check_name("task", task, FACE_TASKS)
        check_name("alignment", alignment, ALIGNMENT_COLUMNS)
        self.processor, self.task, self.alignment = processor, task, alignment
        self.recipe = get_augmentation_recipe(recipe) if isinstance(recipe, str) else recipe
        pairs = PARSING_MIRROR_PAIRS.get(num_labels) if label_mirror_pairs is None else label_mirror_pairs
        if pairs is None and task == "parsing" and self.recipe.mirror_probability:
            raise InvalidArgumentError(
                f"The recipe mirrors, but which of {num_labels} classes a mirror exchanges is not known; pass"
                " label_mirror_pairs (empty if none), or a mirror_probability of 0."
            )
        self.label_mirror_pairs = pairs or ()
        self.num_labels, self.with_photo_labels = num_labels, with_photo_labels
        self.attribute_columns = None if attribute_columns is None else list(attribute_columns)
        self.size_hw = processor.size_hw
        missing = {"image", *(["label_map"] if task == "parsing" else [])} - set(column_names(rows))
        if len(rows) and missing:
            raise InvalidDatasetError(
                f"The rows have no column {', '.join(sorted(missing))}; {task} needs it. See docs/datasets.md."
            )
        listed = list(face_records(rows))
        reasons = [why_unusable(record, task, alignment, min_face_px) for record in listed]
        self.records = [record for record, reason in zip(listed, reasons, strict=True) if reason is None]
        left_out = left_out_faces(reasons)
        if not self.records:
            raise InvalidDatasetError(
                f"None of the {len(rows)} photos has a face of at least {min_face_px} px with what {task} with"
                f" {alignment!r} alignment needs ({left_out or 'no faces'}); check the columns of the dataset, or"
                " choose another alignment or a lower min_face_px."
            )
        if left_out:
            logger.warning("%d of %d faces are left out: %s.", len(listed) - len(self.records), len(listed), left_out)
        self.has_boxes = any("boxes_xyxy" in record.annotations for record in self.records)
        if task == "landmarks":
            check_equal_landmarks(self.records)
        if task == "landmarks" and self.recipe.mirror_probability:
            num_points = len(self.records[0].annotations["landmarks_xy"])
            if num_points not in LANDMARK_MIRROR_PAIRS:
                raise InvalidArgumentError(
                    f"The recipe mirrors, but which of {num_points} landmarks a mirror exchanges is known for "
                    f"{', '.join(map(str, LANDMARK_MIRROR_PAIRS))} points only; pass a mirror_probability of 0."
                )
        if task == "attributes":
            check_attributes(self.records)
        if data_ratio is not None:
            self.records = few_shot_subset(in_list_order(self.records, len(listed)), data_ratio)
        self.photos = without_decoding(rows, PICTURE_COLUMNS if task == "parsing" else ("image",))

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, item: int) -> dict[str, torch.Tensor]:
        rng = self.begin_sample(item)
        record = self.records[item]
        photo = self.photos[record.row]
        image_rgb = decode_photo(photo["image"], f"row {record.row}")
        check_places(record.annotations, image_rgb.shape[:2], f"row {record.row}")
        crop_from_photo, mirrored = self.crop_matrix(record, image_rgb.shape[:2], rng)
        photo_labels = self.photo_labels(record, photo, image_rgb.shape[:2])
        crop_CHW, labels = self.warped(image_rgb, photo_labels, crop_from_photo, mirrored)
        sample = {"pixel_values": self.pixel_values(crop_CHW, rng), "labels": labels}
        if self.with_photo_labels:
            sample["crop_from_photo"] = crop_from_photo
            sample["photo_labels"] = photo_labels
            if self.has_boxes:  # batches need the same entries of all faces
                box = record.annotations.get("boxes_xyxy", np.full(4, np.nan, np.float32))
                sample["box_xyxy"] = torch.from_numpy(box)
        return sample

    def crop_matrix(
        self, record: FaceRecord, photo_size_hw: tuple[int, int], rng: np.random.Generator
    ) -> tuple[torch.Tensor, bool]:
        """`crop_from_photo` (3, 3) float32 with the random motion composed in, and whether it mirrors."""
        base = self.base_crop_matrix(record, photo_size_hw, rng)
        changed_from_crop, mirrored = random_crop_motion(self.recipe, rng, self.size_hw)
        return torch.from_numpy(changed_from_crop).to(base.dtype) @ base, mirrored

    def base_crop_matrix(
        self, record: FaceRecord, photo_size_hw: tuple[int, int], rng: np.random.Generator
    ) -> torch.Tensor:
        """The crop that the processor itself would take, up to noise on the alignment points."""
        if self.alignment == "points":
            points_photo_xy = random_alignment_noise(self.recipe, rng, record.annotations["points5_xy"])
            return self.processor.crop_matrix(torch.from_numpy(points_photo_xy.astype(np.float32))[None])[0]
        if self.alignment == "box":
            return self.processor.crop_matrix_from_boxes(torch.from_numpy(record.annotations["boxes_xyxy"])[None])[0]
        return self.processor.crop_matrix_whole(photo_size_hw)[0]

    def warped(
        self, image_rgb: np.ndarray, photo_labels: torch.Tensor, crop_from_photo: torch.Tensor, mirrored: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The crop (C, H, W) float32 in [0, 255], warped once, and its labels; a mirror exchanges left and right."""
        planes = [*cv2.split(image_rgb)]  # permuted copies, here and of the crop, take four times as long
        if self.recipe.padding_fill_probability:  # a fourth channel says where the photo is
            planes.append(np.full(image_rgb.shape[:2], 255, np.uint8))
        photo_CHW, matrix = torch.from_numpy(np.stack(planes)), crop_from_photo[None]
        if self.task == "parsing":
            crops, label_maps = self.processor.warp_with_labels(photo_CHW, photo_labels, matrix)
            order = torch.from_numpy(mirror_order(self.label_mirror_pairs, 256))
            return crops[0], order[label_maps[0]] if mirrored else label_maps[0]
        crop_CHW = self.processor.warp(photo_CHW, matrix)[0]
        if self.task == "landmarks":
            return crop_CHW, self.crop_landmarks(photo_labels, matrix, mirrored)
        return crop_CHW, photo_labels

    def pixel_values(self, crop_CHW: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """Changes the colours of a crop in [0, 255], which is written over, and normalises: (3, H, W) float32."""
        crop_CHW = crop_CHW.div_(255.0)
        if self.recipe != get_augmentation_recipe("none"):
            crop_HWC = cv2.merge([*crop_CHW.numpy()])
            if self.recipe.padding_fill_probability:
                crop_HWC = fill_padding(crop_HWC[..., :3], crop_HWC[..., 3], self.recipe, rng)
            crop_HWC = np.ascontiguousarray(augment_colors(crop_HWC, self.recipe, rng))
            crop_CHW = torch.from_numpy(crop_HWC).permute(2, 0, 1).contiguous()
        return self.processor.normalize(crop_CHW[None])[0]

    def photo_labels(self, record: FaceRecord, photo: dict[str, Any], photo_size_hw: tuple[int, int]) -> torch.Tensor:
        """The labels of this face in the photo frame."""
        if self.task == "parsing":
            where = f"row {record.row}"
            label_map = decode_map(photo["label_map"], where)
            check_label_map(torch.from_numpy(label_map), photo_size_hw, self.num_labels, where)
            if photo.get("instance_map") is not None:
                instance_map = decode_map(photo["instance_map"], where)
                if instance_map.shape != label_map.shape:
                    raise InvalidFaceInputError(
                        f"The instance map of {where} has (height, width) {instance_map.shape}, its photo"
                        f" {photo_size_hw}; expected one size."
                    )
                label_map = np.where(instance_map == record.face + 1, label_map, 0).astype(np.uint8)
            return torch.from_numpy(label_map)
        labels = record.annotations[LABEL_COLUMNS[self.task]]
        if self.task == "attributes" and self.attribute_columns is not None:
            labels = labels[self.attribute_columns]
        return torch.from_numpy(labels)

    def crop_landmarks(self, landmarks_xy: torch.Tensor, matrix_133: torch.Tensor, mirrored: bool) -> torch.Tensor:
        """Landmarks (N, 2) of the photo in [0, 1] of the (warped) crop."""
        points = self.processor.warp_points(landmarks_xy[None], matrix_133)[0]
        points = points / points.new_tensor([self.size_hw[1], self.size_hw[0]])
        num_points = points.shape[0]
        return points[mirror_order(LANDMARK_MIRROR_PAIRS[num_points], num_points)] if mirrored else points


def check_label_map(label_map: torch.Tensor, photo_size_hw: tuple[int, int], num_labels: int, where: str) -> None:
    """Raises [`InvalidFaceInputError`] unless a label map has its photo's size and no ids but classes and 255.

    On a GPU, an id that is no class would stop the training with an assertion that names neither photo nor id.
    """
    if tuple(label_map.shape) != tuple(photo_size_hw):
        raise InvalidFaceInputError(
            f"The label map of {where} has (height, width) {tuple(label_map.shape)}, its photo {tuple(photo_size_hw)};"
            " expected one size."
        )
    if label_map.max() < num_labels:
        return
    if label_map.min() == IGNORED_LABEL:
        raise InvalidFaceInputError(f"The label map of {where} is {IGNORED_LABEL} everywhere; nothing can be learnt.")
    wrong = label_map[(label_map >= num_labels) & (label_map != IGNORED_LABEL)]
    if wrong.numel():
        raise InvalidFaceInputError(
            f"The label map of {where} has the class id {int(wrong.max())}; expected 0 to {num_labels - 1}, or"
            f" {IGNORED_LABEL} for what is to be ignored. Is it of another data set, or in another class order?"
        )


def check_attributes(records: Sequence[FaceRecord]) -> None:
    """Raises [`InvalidFaceInputError`] unless attributes are 0, 1 or -100 (unknown)."""
    for record in records:
        labels = record.annotations["attributes"]
        wrong = labels[~np.isin(labels, (0, 1, -100))]
        if wrong.size:
            raise InvalidFaceInputError(
                f"Face {record.face} of row {record.row} has the attribute {wrong[0]:g}; expected 0, 1, or -100."
            )


def check_places(annotations: dict[str, np.ndarray], photo_size_hw: tuple[int, int], where: str) -> None:
    """Raises [`InvalidFaceInputError`] for boxes and points farther from a photo than its longer side.

    Such a crop would show nothing of the photo. Faces that the frame cuts reach beyond it by less. NaN is unknown.

    Args:
        annotations (`dict`): Arrays of some of `boxes_xyxy`, `points5_xy` and `landmarks_xy`, of any number of faces.
        photo_size_hw (`tuple[int, int]`): Height and width of the photo.
        where (`str`): What the error calls the photo.
    """
    height, width = photo_size_hw
    side = max(height, width)
    for name in ("boxes_xyxy", "points5_xy", "landmarks_xy"):
        places_xy = np.asarray(annotations.get(name, ()), np.float64).reshape(-1, 2)
        far = ((places_xy < -side) | (places_xy > np.array([width + side, height + side]))).any(axis=1)
        if far.any():
            raise InvalidFaceInputError(
                f"{name} of {where} has the place (x, y) {places_xy[far][0].tolist()}, far outside its photo of"
                f" (width, height) {(width, height)}; expected pixels of this photo."
            )


def face_records(rows: Sequence[dict[str, Any]]) -> list[FaceRecord]:
    """Reads the annotations of all photos, without opening a picture."""
    columns = [name for name in ANNOTATION_COLUMNS if name in column_names(rows)]
    # A `datasets.Dataset` without columns has no rows either.
    annotations = without_decoding(rows, columns) if columns else [{}] * len(rows)
    return [record for row in range(len(rows)) for record in photo_records(row, annotations[row])]


def photo_records(row: int, annotations: dict[str, Any]) -> list[FaceRecord]:
    """One record per annotated face of a photo (one without annotations when there are none: the whole photo)."""
    shapes: dict[str, tuple[int, ...]] = {"boxes_xyxy": (4,), "points5_xy": (5, 2), "landmarks_xy": (-1, 2)}
    shapes |= {"attributes": (-1,), "list_position": ()}
    arrays = {}
    for name, shape in shapes.items():
        if annotations.get(name) is not None:
            try:
                array = np.asarray(annotations[name], dtype=np.float32)
                arrays[name] = array.reshape(len(array), *shape) if array.size else array[:0]
            except (ValueError, TypeError) as error:
                raise InvalidFaceInputError(
                    f"{name} of row {row} is {in_short(annotations[name])}; expected numbers, {shape} of each face."
                ) from error
    counts = {name: len(array) for name, array in arrays.items() if len(array)}
    if len(set(counts.values())) > 1:
        raise InvalidFaceInputError(f"The columns of row {row} have different numbers of faces: {counts}.")
    num_faces = max((len(array) for array in arrays.values()), default=1)
    return [
        FaceRecord(row, face, {name: array[face] for name, array in arrays.items() if face < len(array)})
        for face in range(num_faces)
    ]


def why_unusable(record: FaceRecord, task: str, alignment: str, min_face_px: float) -> str | None:
    """What a face lacks of what task and alignment need, or that it is too small; None if it can be used."""
    label, place = LABEL_COLUMNS.get(task), ALIGNMENT_COLUMNS[alignment]
    for column in (label, place):
        if column is not None and column not in record.annotations:
            return f"without {column}"
    if label == "landmarks_xy" and not np.isfinite(record.annotations[label]).any():
        return f"without {label}"  # its loss would be 0
    if label == "attributes" and (record.annotations[label] == -100).all():
        return f"without {label}"
    if alignment == "points":
        left_eye, right_eye = record.annotations["points5_xy"][:2]
        size_px = float(np.linalg.norm(right_eye - left_eye))
    elif alignment == "box":
        box = record.annotations["boxes_xyxy"]
        size_px = float(min(box[2] - box[0], box[3] - box[1])) / 2
    else:
        return None
    if math.isnan(size_px):
        return f"without {place}"
    return None if size_px >= min_face_px else f"smaller than min_face_px {min_face_px:g}"


def left_out_faces(reasons: Sequence[str | None]) -> str:
    """How many faces are left out, by reason; empty if none is."""
    counts = Counter(reason for reason in reasons if reason is not None)
    return ", ".join(f"{count} {reason}" for reason, count in counts.most_common())


def check_equal_landmarks(records: Sequence[FaceRecord]) -> None:
    """Raises [`InvalidDatasetError`] unless all faces have the same number of landmarks."""
    first, num_first = records[0], len(records[0].annotations["landmarks_xy"])
    for record in records:
        num_landmarks = len(record.annotations["landmarks_xy"])
        if num_landmarks != num_first:
            raise InvalidDatasetError(
                f"The faces of row {first.row} have {num_first} landmarks, those of row {record.row} {num_landmarks};"
                " expected one number. Join only data sets with the same landmarks."
            )


def collate_face_samples(samples: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor | list[torch.Tensor]]:
    """Stacks samples of [`FaceSamples`]; `photo_labels`, whose sizes differ, stays a list."""
    return shared_batch(
        {
            key: [sample[key] for sample in samples]
            if key in LISTED_KEYS
            else torch.stack([sample[key] for sample in samples])
            for key in samples[0]
        }
    )


def in_list_order(records: Sequence[FaceRecord], num_listed: int = 0) -> list[FaceRecord]:
    """Faces in the order of the data set's own list; in that of the rows where there is no single list.

    WFLW and AFLW-19 list faces, and the faces of a photo need not follow each other (FacePerceiver/FaRL
    `farl/datasets/wflw.py`, lines 24-51; `aflw.py`, lines 22-35). Joined data sets have no common list. A warning says
    where the order is not that of a whole list. A list whose last faces never came cannot be told from a whole one.

    Args:
        records (`Sequence[FaceRecord]`): The faces that are used.
        num_listed (`int`, *optional*, defaults to 0): How many there were before unusable ones were left out.
    """
    positions = [int(record.annotations.get("list_position", -1)) for record in records]
    if -1 in positions or len(set(positions)) < len(records):
        logger.warning(
            "The faces have no single list (column list_position): the few-shot subset follows the order of the rows, "
            "and other orders give other faces."
        )
        return list(records)
    num_listed = max(num_listed, max(positions) + 1)
    if num_listed > len(records):
        logger.warning(
            "%d of at least %d faces of the data set's list are used: their few-shot subset is not the one of the "
            "whole list.",
            len(records),
            num_listed,
        )
    return [records[index] for index in np.argsort(positions)]


def few_shot_subset(items: Sequence[Item], ratio: float) -> list[Item]:
    """A fixed random part of the items, repeated until there are as many as in all.

    An epoch then has as many steps as one on all items, and schedules stay the same. This is the official rule for
    training on a part of the data (py-blueprint, `blueprint/ml/dataprocessor.py`, lines 168-180). It chooses the
    official items where `items` are in the official order.

    Args:
        items (`Sequence`): All items.
        ratio (`float`): Part to keep, in (0, 1]; at least one item must remain.

    Raises:
        InvalidArgumentError: The ratio keeps no item, or is beyond 1.
    """
    num_kept = int(len(items) * ratio) if 0 < ratio <= 1 else 0
    if num_kept == 0:
        raise InvalidArgumentError(
            f"train_data_ratio {ratio} of {len(items)} faces keeps none; expected a part in (0, 1] that "
            "keeps at least one."
        )
    order = list(range(len(items)))
    random.Random(FEW_SHOT_SEED).shuffle(order)
    kept = order[:num_kept] * math.ceil(len(items) / num_kept)
    return [items[index] for index in kept[: len(items)]]
