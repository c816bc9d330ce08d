"""CelebAMask-HQ: one mask per part of the face, composed to a 19-class label map (switchablenorms/CelebAMask-HQ).

Folder: `CelebA-HQ-img/{id}.jpg` of 1024 × 1024 pixels; `CelebAMask-HQ-mask-anno/{id // 2000}/{id:05d}_{part}.png` of
512 × 512, not zero where the part is, absent when the face does not have it; `CelebA-HQ-to-CelebA-mapping.txt`. Splits
are CelebA's: by `list_eval_partition.txt` when it lies in the folder, otherwise by the number of the CelebA photo, in
whose order that file is. Rows are in the order of that file, as in the official code, whose few-shot subsets depend on
it (FacePerceiver/FaRL `farl/datasets/celebamask_hq.py`, lines 39-54); `list_position` keeps the place of a row.

The two class orders are two configurations. Both the ids and the order of painting differ (a later part covers an
earlier one), so neither is a renaming of the other:

- `farl` (default): FaRL's and that of its weights (FacePerceiver/FaRL `farl/datasets/celebamask_hq.py`, lines 85-113);
- `dataset`: that of the data set's own script (`g_mask.py`).

Photos are shrunk to the size of the masks, bilinear, as FaRL trains and scores (lines 117-121 of that file). They are
stored as PNG, so nothing is lost: about 0.5 MB each, 14 GB in all.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import cv2
import datasets
import numpy as np

from farl_hf.data.datasets.builder import FaceDatasetBuilder, FaceDatasetConfig, RawPhoto, encoded_png
from farl_hf.data.datasets.celeba import PARTITION_FILE, read_partition
from farl_hf.data.datasets.raw_folders import find_path, read_lines
from farl_hf.errors import InvalidDatasetError, in_short
from farl_hf.labels import CELEBAMASK_FILE_SUFFIXES, CELEBAMASK_FROM_DATASET, CELEBAMASK_LABELS
from farl_hf.photos import decode_photo

# Parts by class id, in the order in which they are painted; the background has no file.
PARTS = {
    "farl": CELEBAMASK_FILE_SUFFIXES[1:],
    "dataset": tuple(CELEBAMASK_FILE_SUFFIXES[index] for index in CELEBAMASK_FROM_DATASET[1:]),
}
# CelebA's partition file is in the order of the photos: 1 … 162,770 train, … 182,637 validation, the rest test.
_LAST_TRAIN, _LAST_VALIDATION = 162_770, 182_637


@dataclass
class CelebAMaskHQConfig(FaceDatasetConfig):
    """`class_order` is `"farl"` or `"dataset"`; see the module."""

    class_order: str = "farl"


class CelebAMaskHQ(FaceDatasetBuilder):
    """CelebAMask-HQ, one face per photo: `image`, `label_map`, `list_position`."""

    # Caches of 1.0.0 are in the order of the mapping; 1.1.0 has no `list_position`.
    VERSION = datasets.Version("1.2.0")
    DATASET = "celebamask_hq"
    COLUMNS = ("image", "label_map", "list_position")
    NUM_LABELS = len(CELEBAMASK_LABELS)
    BUILDER_CONFIG_CLASS = CelebAMaskHQConfig
    BUILDER_CONFIGS: ClassVar = [
        CelebAMaskHQConfig(name=order, class_order=order, description=f"Class ids in the order of {owner}.")
        for order, owner in (("farl", "FaRL and its weights"), ("dataset", "the data set's own script"))
    ]
    DEFAULT_CONFIG_NAME = "farl"

    def index(self, root: Path) -> dict[str, list[RawPhoto]]:
        """Photos with the masks that they have; a photo without any mask is a half-unpacked archive."""
        masks = masks_of_photos(find_path(self.DATASET, root, ["CelebAMask-HQ-mask-anno"]))
        images = find_path(self.DATASET, root, ["CelebA-HQ-img"])
        splits: dict[str, list[RawPhoto]] = {"train": [], "validation": [], "test": []}
        for number, split in split_of_photos(self.DATASET, root):
            found = masks.get(number, {})
            # A skin mask is there for every face, so its absence means that files are missing.
            skin = f"{root}/CelebAMask-HQ-mask-anno/{number // 2000}/{number:05d}_skin.png"
            face = (found, len(splits[split]))  # masks, place in the list of the split
            splits[split].append(RawPhoto(f"{images}/{number}.jpg", (face,), (found.get("skin", skin),)))
        return splits

    def row(self, photo: RawPhoto) -> dict[str, Any]:
        """The masks composed, the photo shrunk to their size."""
        masks, position = photo.faces[0]
        label_map = compose_label_map(masks, PARTS[self.config.class_order])
        image_rgb = decode_photo({"path": photo.path, "bytes": None})
        small_rgb = cv2.resize(image_rgb, label_map.shape[::-1], interpolation=cv2.INTER_LINEAR)
        pictures = {"image": encoded_png(small_rgb), "label_map": encoded_png(label_map)}
        return pictures | {"list_position": [position]}


def masks_of_photos(folder: Path) -> dict[int, dict[str, str]]:
    """For every photo the masks that exist: number -> part -> path. Folders are listed, not searched 300,000 times."""
    masks: dict[int, dict[str, str]] = {}
    for inner in sorted(path for path in folder.iterdir() if path.is_dir()):
        for name in os.listdir(inner):
            number, _, part = name.removesuffix(".png").partition("_")
            if name.endswith(".png") and number.isdigit():
                masks.setdefault(int(number), {})[part] = f"{inner}/{name}"
    return masks


def split_of_photos(dataset: str, root: Path) -> Iterator[tuple[int, str]]:
    """Number and split of every photo, in the order of CelebA's partition, which is that of its file names."""
    path = find_path(dataset, root, ["CelebA-HQ-to-CelebA-mapping.txt"])
    numbers: dict[str, int] = {}  # by CelebA's file name
    for line in read_lines(path)[1:]:
        words = line.split()
        if len(words) != 3 or not words[0].isdigit() or not words[2].removesuffix(".jpg").isdigit():
            raise InvalidDatasetError(f"{path} has the line {in_short(line)!r}; expected idx, orig_idx and orig_file.")
        numbers[words[2]] = int(words[0])
    if (root / PARTITION_FILE).exists():
        partition = read_partition(root / PARTITION_FILE)
        for name in numbers.keys() - partition.keys():
            raise InvalidDatasetError(f"{root / PARTITION_FILE} has no line for {in_short(name)}, which {path} names.")
    else:
        in_order = sorted((int(name.removesuffix(".jpg")), name) for name in numbers)
        partition = {name: split_by_number(celeba_number) for celeba_number, name in in_order}
    return ((numbers[name], split) for name, split in partition.items() if name in numbers)


def split_by_number(celeba_number: int) -> str:
    """CelebA's partition, for a photo's number counted from 1."""
    if celeba_number <= _LAST_TRAIN:
        return "train"
    return "validation" if celeba_number <= _LAST_VALIDATION else "test"


def compose_label_map(masks: dict[str, str], parts: Sequence[str | None]) -> np.ndarray:
    """(H, W) uint8 class ids: the parts painted in order, ids counted from 1."""
    label_map = None
    for label, part in enumerate(parts, start=1):
        if part is None or part not in masks:
            continue
        mask = decode_photo({"path": masks[part], "bytes": None}).max(axis=2)
        label_map = np.zeros_like(mask) if label_map is None else label_map
        if mask.shape != label_map.shape:
            raise InvalidDatasetError(
                f"The mask {masks[part]} has (height, width) {mask.shape}, the other masks of the photo"
                f" {label_map.shape}; expected one size."
            )
        label_map[mask > 0] = label
    if label_map is None:
        raise InvalidDatasetError(f"None of the masks {', '.join(sorted(masks))} is of a known part.")
    return label_map
