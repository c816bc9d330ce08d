"""CelebA: forty attributes and five points of one face per photo (mmlab.ie.cuhk.edu.hk/projects/CelebA.html).

Folder: `Img/img_align_celeba/*.jpg` (178 × 218 pixels) or `Img/img_celeba/*.jpg` (as found on the web), `Anno/*.txt`,
`Eval/list_eval_partition.txt`; also without the inner folders. Attributes are -1 or 1 in the file, 0 or 1 here.

Two configurations: `aligned` (default) with `list_landmarks_align_celeba.txt`, and `in_the_wild` with
`list_landmarks_celeba.txt` and the boxes of `list_bbox_celeba.txt`.

Convention: points are whole numbers, taken as indices of pixels counted from 0 (no text says from what they count); in
continuous pixels that is + 0.5. "Left" in the file is the image's left. A box of x, y, width, height covers the pixels
x … x + width - 1, so its continuous edges are x and x + width.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from farl_hf.data.datasets.builder import FaceDatasetBuilder, FaceDatasetConfig, RawPhoto, picture_file
from farl_hf.data.datasets.raw_folders import find_path, parse_numbers, path_inside, read_lines
from farl_hf.errors import InvalidDatasetError, in_short
from farl_hf.labels import CELEBA_ATTRIBUTES

PARTITION_FILE = "list_eval_partition.txt"
_SPLITS = {"0": "train", "1": "validation", "2": "test"}


@dataclass
class CelebAConfig(FaceDatasetConfig):
    """Which photos, and the annotation files that are in their pixels."""

    images: str = "img_align_celeba"
    points: str = "list_landmarks_align_celeba.txt"
    boxes: str | None = None


class CelebA(FaceDatasetBuilder):
    """CelebA, one face per photo: `image`, `points5_xy`, `attributes`, and `boxes_xyxy` in the wild."""

    DATASET = "celeba"
    BUILDER_CONFIG_CLASS = CelebAConfig
    BUILDER_CONFIGS: ClassVar = [
        CelebAConfig(name="aligned", description="The aligned and cropped photos."),
        CelebAConfig(
            name="in_the_wild",
            images="img_celeba",
            points="list_landmarks_celeba.txt",
            boxes="list_bbox_celeba.txt",
            description="The photos as found on the web.",
        ),
    ]
    DEFAULT_CONFIG_NAME = "aligned"

    @property
    def COLUMNS(self) -> tuple[str, ...]:  # type: ignore[override]  # here they depend on the configuration
        """The boxes are in the pixels of the photos in the wild, so the aligned ones have none."""
        boxes = ("boxes_xyxy",) if self.config.boxes else ()
        return ("image", *boxes, "points5_xy", "attributes")

    def index(self, root: Path) -> dict[str, list[RawPhoto]]:
        """Photos by the partition file; lines of the annotation files are parsed later, by several processes."""
        images = find_path(self.DATASET, root, [f"Img/{self.config.images}", self.config.images])
        attribute_path = self.annotation(root, "list_attr_celeba.txt")
        header = read_lines(attribute_path)[1:2]
        if not header:
            raise InvalidDatasetError(
                f"{attribute_path} has no second line; expected the number of photos, the names of the forty"
                " attributes, then a line per photo. It may be cut off."
            )
        order = attribute_order(header[0].split(), attribute_path)
        geometry = [name for name in (self.config.points, self.config.boxes) if name]
        paths = [attribute_path, *(self.annotation(root, name) for name in geometry)]
        tables = [lines_by_photo(path) for path in paths]
        splits: dict[str, list[RawPhoto]] = {"train": [], "validation": [], "test": []}
        for name, split in read_partition(self.annotation(root, PARTITION_FILE)).items():
            lines = [line_of(table, name, root) for table in tables]
            splits[split].append(RawPhoto(path_inside(images, name), ((order, *lines),)))
        return splits

    def annotation(self, root: Path, name: str) -> Path:
        """An annotation file, in the official place or beside the photos."""
        return find_path(self.DATASET, root, [f"Anno/{name}", f"Eval/{name}", name])

    def row(self, photo: RawPhoto) -> dict[str, Any]:
        """Parses the lines of one photo."""
        order, attribute_line, point_line, *box_lines = photo.faces[0]
        where = f"The annotation of {photo.path}"
        signs = parse_numbers(attribute_line.split(), len(order), where, "forty attributes")
        points = parse_numbers(point_line.split(), 10, where, "x y of five points")
        row = {
            "image": picture_file(photo.path),
            "points5_xy": [(points.reshape(5, 2) + 0.5).tolist()],
            "attributes": [(signs[list(order)] > 0).astype(np.int8).tolist()],
        }
        for line in box_lines:
            x, y, width, height = parse_numbers(line.split(), 4, where, "x, y, width and height of the box")
            row["boxes_xyxy"] = [[x, y, x + width, y + height]]
        return row


def read_partition(path: Path) -> dict[str, str]:
    """Split of every photo: lines of a file name and 0, 1 or 2."""
    partition = {}
    for line in read_lines(path):
        name, _, group = line.strip().partition(" ")
        if group.strip() not in _SPLITS:
            raise InvalidDatasetError(f"{path} has the line {in_short(line)!r}; expected a file name and 0, 1 or 2.")
        partition[name] = _SPLITS[group.strip()]
    return partition


def attribute_order(names: Iterable[str], path: Path) -> tuple[int, ...]:
    """For each of our attributes, its column in a file that names them in its own spelling.

    Raises:
        InvalidDatasetError: The names are not CelebA's forty.
    """
    columns = {"".join(filter(str.isalnum, name)).lower(): column for column, name in enumerate(names)}
    wanted = [name.replace("_", "") for name in CELEBA_ATTRIBUTES]
    missing = [name for name, key in zip(CELEBA_ATTRIBUTES, wanted, strict=True) if key not in columns]
    if missing or len(columns) != len(wanted):
        raise InvalidDatasetError(
            f"{path} names {len(columns)} attributes, {', '.join(missing[:3]) or 'none'} missing; expected CelebA's"
            " forty."
        )
    return tuple(columns[key] for key in wanted)


def lines_by_photo(path: Path) -> dict[str, str]:
    """The rest of every line, by the file name that it begins with; two lines of header are skipped."""
    return dict(line.strip().split(maxsplit=1) for line in read_lines(path)[2:] if " " in line.strip())


def line_of(table: dict[str, str], name: str, root: Path) -> str:
    """The annotation of a photo."""
    if name not in table:
        raise InvalidDatasetError(f"An annotation file in {root} has no line for {in_short(name)}; it may be cut off.")
    return table[name]
