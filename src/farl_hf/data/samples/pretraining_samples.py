"""From a photo, its faces and its caption to a sample of pre-training: one crop, its tokens, its masked patches.

[`PretrainingTransform`] makes the samples, of a stream or of [`PretrainingPairs`]; [`TwoViewTransform`] makes those of
self-supervised objectives, two crops of one face without text. [`block_mask`] chooses the patches
that masked image modelling hides.
"""

import math
import zlib
from collections.abc import Sequence
from typing import Any

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
)
from farl_hf.data.samples.face_samples import check_places, column_names, without_decoding
from farl_hf.errors import InvalidDatasetError
from farl_hf.photos import ReducedPhoto
from farl_hf.processing.face_geometry_farl import box_matrix

# Columns by which samples draw their own random numbers; the caption where a row has none of them.
KEY_COLUMNS = ("sample_id", "index")
PAIR_COLUMNS = ("image", "points5_xy", "caption", *KEY_COLUMNS)
# What errors call a row that came from a table.
ROW_COLUMN = "row"
# A row of a stream says in which epoch it was read.
EPOCH_COLUMN = "epoch"
SMALLEST_EYE_DISTANCE_PX = 1.0
# Points farther away than any photo is wide are no points; their squares would overflow.
FARTHEST_POINT_PX = 1e5
# Masked image modelling hides rectangles of random size and shape, as in BEiT (microsoft/unilm
# `beit/masking_generator.py`, lines 29-92; `beit/run_beit_pretraining.py`, lines 51-54): on 14 x 14 patches at most 75
# in blocks of 16 or more, aspect ratio log-uniform in [0.3, 1 / 0.3], ten tries per block. FaRL's code calls its mask
# by BEiT's name (`farl/network/farl/model.py`, line 365); no source was found for its number of patches. Other grids
# keep the shares of patches.
MASKED_SHARE = 75 / 196
SMALLEST_BLOCK_SHARE = 16 / 196
WIDEST_LOG_ASPECT = -math.log(0.3)
TRIES_PER_BLOCK = 10


class PretrainingTransform(SeededSamples):
    """Makes samples of pre-training from rows in the common row shape.

    Called with a batch of rows (a dict of lists), it serves `Dataset.set_transform` and
    `IterableDataset.map(batched=True, remove_columns=…)`; `sample` makes one.

    One of a photo's faces is chosen at random and aligned by its five points; a photo without is cropped to its
    centre. Random motion is composed into the crop's matrix, so that the photo is resampled once. Random numbers
    depend on the seed, the epoch and the row's `sample_id` or `index` (else its caption): the same in every process.

    Args:
        image_processor ([`FaRLImageProcessor`]): What a crop is: size, template, normalisation.
        tokenizer ([`FaRLTokenizer`]): Makes token ids of captions, padded to its `model_max_length`.
        codebook_size (`int`, *optional*): Side of `codebook_pixel_values`, the crop as a visual tokenizer sees it.
        mask_grid_hw (`tuple[int, int]`, *optional*): Rows and columns of patches; without it nothing is masked.
        augmentation (`str` or [`AugmentationRecipe`], *optional*, defaults to `"pretraining"`): Changes of the crop.
        seed (`int`, *optional*, defaults to 0): Seed of the random numbers.

    Returns:
        A dict of lists of tensors: `pixel_values` (3, S, S) float32, normalised; `input_ids` and `attention_mask`
        (T,) int64; with `codebook_size` also `codebook_pixel_values` (3, C, C) float32 in [0, 1], the same crop; with
        `mask_grid_hw` also `bool_masked_pos` (rows * columns,) bool, row by row.

    Raises:
        UnreadablePhotoError: A photo cannot be decoded, or has too many pixels.
        InvalidFaceInputError: The points of the face lie far outside the photo.
        UnknownNameError: There is no such augmentation recipe.
    """

    def __init__(
        self,
        image_processor: Any,
        tokenizer: Any,
        *,
        codebook_size: int | None = None,
        mask_grid_hw: tuple[int, int] | None = None,
        augmentation: str | AugmentationRecipe = "pretraining",
        seed: int = 0,
    ):
        super().__init__(seed)
        self.image_processor, self.tokenizer = image_processor, tokenizer
        self.codebook_size, self.mask_grid_hw = codebook_size, mask_grid_hw
        self.recipe = get_augmentation_recipe(augmentation) if isinstance(augmentation, str) else augmentation
        self.changes_colors = self.recipe != get_augmentation_recipe("none")

    def __call__(self, rows: dict[str, Sequence[Any]]) -> dict[str, list[torch.Tensor]]:
        """The samples of a batch of rows, whose captions are tokenized together."""
        single_rows = (dict(zip(rows, values, strict=True)) for values in zip(*rows.values(), strict=True))
        samples = [self.sample(row, with_text=False) for row in single_rows]
        texts = self.tokens(list(rows["caption"])) if self.tokenizer is not None else {}
        return {key: [sample[key] for sample in samples] for key in samples[0]} | {
            key: list(values) for key, values in texts.items()
        }

    def sample(self, row: dict[str, Any], with_text: bool = True) -> dict[str, torch.Tensor]:
        """The sample of one row."""
        rng = self.row_rng(row)
        crop_rgb = self.crop(row, rng)
        sample = {"pixel_values": self.image_processor.normalize(channels_first(crop_rgb))}
        if self.codebook_size is not None:
            sample["codebook_pixel_values"] = channels_first(shrunk(crop_rgb, self.codebook_size))
        if self.mask_grid_hw is not None:
            sample["bool_masked_pos"] = torch.from_numpy(block_mask(self.mask_grid_hw, rng).reshape(-1))
        if with_text:
            sample |= {key: values[0] for key, values in self.tokens([row["caption"]]).items()}
        return sample

    def row_rng(self, row: dict[str, Any]) -> np.random.Generator:
        """The random numbers of a row, in the epoch that it names, else in that of `set_epoch`."""
        epoch = row.get(EPOCH_COLUMN)
        return self.begin_sample(row_key(row), None if epoch is None else int(epoch))

    def tokens(self, captions: list[str]) -> dict[str, torch.Tensor]:
        """`input_ids` and `attention_mask` (texts, T) int64."""
        length = self.tokenizer.model_max_length
        settings = {"padding": "max_length", "truncation": True, "max_length": length, "return_tensors": "pt"}
        encoded = self.tokenizer(captions, **settings)
        return {"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"]}

    def crop(self, row: dict[str, Any], rng: np.random.Generator) -> np.ndarray:
        """The changed crop (H, W, 3) float32 in [0, 1], before normalisation; black outside the photo."""
        photo = ReducedPhoto(row["image"], row_name(row))
        crop_from_photo = self.base_matrix(row, photo.size_hw, rng)
        changed_from_crop, _ = random_crop_motion(self.recipe, rng, self.image_processor.size_hw)
        crop_from_photo = changed_from_crop @ crop_from_photo
        image_rgb, reduction = photo.decode(float(np.sqrt(abs(np.linalg.det(crop_from_photo[:2, :2])))))
        crop_from_image = crop_from_photo @ np.diag([reduction, reduction, 1.0])
        filled = self.recipe.padding_fill_probability > 0
        if filled:  # a fourth channel says where the photo is
            image_rgb = np.dstack([image_rgb, np.full(image_rgb.shape[:2], 255, np.uint8)])
        crop_rgb = self.warped(image_rgb, crop_from_image).astype(np.float32) * np.float32(1 / 255)
        if filled:
            crop_rgb = fill_padding(crop_rgb[..., :3], crop_rgb[..., 3], self.recipe, rng)
        return augment_colors(crop_rgb, self.recipe, rng) if self.changes_colors else crop_rgb

    def base_matrix(self, row: dict[str, Any], photo_size_hw: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        """`crop_from_photo` (3, 3) float64 of one face, or of the photo's central square."""
        faces = usable_points(row.get("points5_xy"))
        check_places({"points5_xy": faces}, photo_size_hw, row_name(row))
        if len(faces) == 0:
            return central_square_matrix(photo_size_hw, self.image_processor.size_hw)
        points = random_alignment_noise(self.recipe, rng, faces[rng.integers(len(faces))])
        return self.image_processor.crop_matrix(torch.from_numpy(points.astype(np.float32))[None])[0].double().numpy()

    def warped(self, image: np.ndarray, crop_from_image: np.ndarray) -> np.ndarray:
        """The (warped) crop (H, W, channels) of an image (h, w, channels) uint8, in [0, 255]."""
        height, width = self.image_processor.size_hw
        if self.image_processor.warp_factor == 0:
            # OpenCV counts pixels from the centre of the first, this project from its corner.
            affine = crop_from_image[:2].copy()
            affine[:, 2] += affine[:, :2] @ (0.5, 0.5) - 0.5
            return cv2.warpAffine(image, affine, (width, height), flags=cv2.INTER_LINEAR)
        matrix = torch.from_numpy(crop_from_image).float()
        image_CHW = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        return self.image_processor.warp(image_CHW, matrix[None])[0].permute(1, 2, 0).numpy()


def row_key(row: dict[str, Any]) -> int:
    """A number that is the row's own, not negative."""
    for column in KEY_COLUMNS:
        if row.get(column) is not None:
            return int(row[column]) % 2**64
    return zlib.crc32(str(row["caption"]).encode())


def row_name(row: dict[str, Any]) -> str:
    """What errors call a row: its number in the table, else the number that is its own."""
    names = (f"{column} {row[column]}" for column in (ROW_COLUMN, *KEY_COLUMNS) if row.get(column) is not None)
    return next(names, "a dataset row")


def usable_points(points5_xy: Any) -> np.ndarray:
    """The faces (n, 5, 2) float32 whose five points are known and apart; n may be 0."""
    if points5_xy is None or len(points5_xy) == 0:
        return np.zeros((0, 5, 2), np.float32)
    points = np.asarray(points5_xy, np.float32).reshape(-1, 5, 2)
    eye_distance_px = np.hypot(*(points[:, 1] - points[:, 0]).astype(np.float64).T)
    near = (np.abs(points) <= FARTHEST_POINT_PX).all(axis=(1, 2))  # not so for NaN
    return points[near & (eye_distance_px >= SMALLEST_EYE_DISTANCE_PX)]


def central_square_matrix(photo_size_hw: tuple[int, int], crop_size_hw: tuple[int, int]) -> np.ndarray:
    """Matrix (3, 3) float64 of the largest square in the middle of a photo."""
    height, width = photo_size_hw
    side = min(height, width)
    left, top = (width - side) / 2, (height - side) / 2
    box = torch.tensor([[left, top, left + side, top + side]], dtype=torch.float64)
    return box_matrix(box, crop_size_hw, 1.0)[0].numpy()


def shrunk(crop_rgb: np.ndarray, side: int) -> np.ndarray:
    """The crop at another size; means over areas where it is smaller."""
    smaller = side <= min(crop_rgb.shape[:2])
    return cv2.resize(crop_rgb, (side, side), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)


def channels_first(image_HWC: np.ndarray) -> torch.Tensor:
    """(3, H, W) float32, contiguous."""
    return torch.from_numpy(np.ascontiguousarray(image_HWC.transpose(2, 0, 1)))


def pretraining_collate(samples: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Stacks samples of [`PretrainingTransform`], with whatever number columns travel with them."""
    return {key: torch.stack([torch.as_tensor(sample[key]) for sample in samples]) for key in samples[0]}


class PretrainingPairs(Dataset):
    """One sample per photo of a data set that fits on a disk.

    Args:
        rows (`datasets.Dataset` or sequence of dicts): Photos in the common row shape, with `caption`.
        transform ([`PretrainingTransform`]): Makes a sample of a row.
        with_attributes (`bool`, *optional*, defaults to `False`): Also return the face's `attributes` (40,) int64, as
            far as the data has them, and skip photos with no face or several, whose caption may be of another one.

    Raises:
        InvalidDatasetError: The rows have no captions.
    """

    def __init__(self, rows: Sequence[dict[str, Any]], transform: PretrainingTransform, with_attributes: bool = False):
        require_captions(rows)
        columns = column_names(rows)
        self.transform, self.with_attributes = transform, with_attributes and "attributes" in columns
        self.rows = without_decoding(rows, [*PAIR_COLUMNS, *(["attributes"] if self.with_attributes else [])])
        self.chosen = np.arange(len(self.rows))
        if with_attributes and "points5_xy" in columns:
            self.chosen = rows_with_one_face(self.rows)

    def __len__(self) -> int:
        return len(self.chosen)

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch whose random changes are drawn; accelerate's data loaders call it."""
        self.transform.set_epoch(epoch)

    def __getitem__(self, item: int) -> dict[str, torch.Tensor]:
        row = self.rows[int(self.chosen[item])]
        sample = self.transform.sample({ROW_COLUMN: int(self.chosen[item])} | row)
        if self.with_attributes:
            sample["attributes"] = torch.as_tensor(row["attributes"][0], dtype=torch.int64)
        return sample


class TwoViewTransform(PretrainingTransform):
    """As [`PretrainingTransform`], but a sample is two changed crops of one face, and no text.

    Returns:
        A dict of lists of tensors: `pixel_values` and `second_pixel_values` (3, S, S) float32, normalised.
    """

    def __init__(self, image_processor: Any, augmentation: str = "self_supervision", **settings: Any):
        super().__init__(image_processor, None, augmentation=augmentation, **settings)

    def sample(self, row: dict[str, Any], with_text: bool = False) -> dict[str, torch.Tensor]:
        """The sample of one row; there is never a text."""
        rng = self.row_rng(row)
        row = with_one_face(row, rng)
        return {
            name: self.image_processor.normalize(channels_first(self.crop(row, rng)))
            for name in ("pixel_values", "second_pixel_values")
        }


def with_one_face(row: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """The row with one of its usable faces, if it has any: both views must show the same."""
    faces = usable_points(row.get("points5_xy"))
    return row | {"points5_xy": faces[[rng.integers(len(faces))]] if len(faces) else None}


def rows_with_one_face(rows: Any) -> np.ndarray:
    """Numbers of the rows with exactly one face, which has five usable points."""
    faces = (row["points5_xy"] for row in without_decoding(rows, ["points5_xy"]))
    return np.flatnonzero([len(points5_xy or ()) == len(usable_points(points5_xy)) == 1 for points5_xy in faces])


def require_captions(rows: Sequence[dict[str, Any]]) -> None:
    """Raises [`InvalidDatasetError`] unless the rows have captions."""
    if "caption" not in column_names(rows):
        has = f"has the columns {', '.join(column_names(rows))}" if len(rows) else "is empty"
        raise InvalidDatasetError(f"The data set {has}; pre-training needs pairs with a caption.")


def block_mask(
    grid_hw: tuple[int, int], generator: np.random.Generator, masked_share: float = MASKED_SHARE
) -> np.ndarray:
    """Random mask of a grid of patches.

    Args:
        grid_hw (`tuple[int, int]`): Rows and columns of patches.
        generator (`np.random.Generator`): Source of randomness.
        masked_share (`float`, *optional*, defaults to 75 / 196): Largest share of masked patches. Blocks are added
            until it is reached or ten tries in a row do not fit, so there may be a few patches less.

    Returns:
        `np.ndarray`: Bool (rows, columns), True where a patch is masked.
    """
    mask = np.zeros(grid_hw, dtype=bool)
    target = round(masked_share * mask.size)
    smallest = max(1, round(SMALLEST_BLOCK_SHARE * mask.size))
    while (missing := target - int(mask.sum())) > 0:
        if not _add_block(mask, smallest, missing, generator):
            break
    return mask


def _add_block(mask: np.ndarray, smallest: int, missing: int, generator: np.random.Generator) -> bool:
    """Masks one more block of at most `missing` new patches; says whether one was found."""
    for _ in range(TRIES_PER_BLOCK):
        rows, columns = _block_size(smallest, missing, generator)
        if rows >= mask.shape[0] or columns >= mask.shape[1]:
            continue
        top = generator.integers(mask.shape[0] - rows, endpoint=True)
        left = generator.integers(mask.shape[1] - columns, endpoint=True)
        block = mask[top : top + rows, left : left + columns]
        if 0 < block.size - block.sum() <= missing:
            block[:] = True
            return True
    return False


def _block_size(smallest: int, missing: int, generator: np.random.Generator) -> tuple[int, int]:
    """Rows and columns of a block of random area and aspect."""
    # Near the end fewer patches are missing than the smallest block has: then the range is the other way round.
    area = smallest + (missing - smallest) * generator.random()
    aspect = math.exp(generator.uniform(-WIDEST_LOG_ASPECT, WIDEST_LOG_ASPECT))
    return round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
