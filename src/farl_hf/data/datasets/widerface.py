"""WIDER FACE: boxes of all faces of a photo, for detection (shuoyang1213.me/WIDERFACE). Rows are photos.

Two annotations, each a configuration:

- `retinaface` (default): `{train, val}/label.txt` of biubug6/Pytorch_Retinaface, photos in `{train, val}/images/`. A
  line `# path` begins a photo; a face is x, y, width, height, then five times x, y, flag, and a last score; in a file
  of val, x, y, width, height only. The points are -1 where a face has none: NaN here. Where val has no such file, its
  faces come from the owners' list;
- `original`: `wider_face_split/wider_face_{train, val}_bbx_gt.txt` with the photos in `WIDER_{train, val}/images/`. A
  photo is its path, the number of faces, and per face x, y, width, height, blur, expression, illumination, invalid,
  occlusion, pose; a photo without faces has the number 0 and one line of zeros. No points: NaN.

Faces without area are skipped, and those marked invalid. The test photos have no labels and are not read.

Convention: as the original detector trains (Pytorch_Retinaface `data/wider_face.py`, lines 51-66;
`data/data_augment.py`, lines 228-232), boxes are x, y, x + width, y + height, and boxes and points are divided by
the photo's size as they are: continuous pixels already.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from farl_hf.data.datasets.builder import FaceDatasetBuilder, FaceDatasetConfig, RawPhoto, picture_file
from farl_hf.data.datasets.raw_folders import find_path, parse_numbers, path_inside, read_lines
from farl_hf.errors import InvalidDatasetError, in_short

_FOLDERS = {"train": "train", "validation": "val"}
_INVALID = 7  # position of the flag in a line of the original annotation
# Positions of x and y of the five points in a line of label.txt; the third of each triple is a flag.
_POINTS = [position for start in range(4, 19, 3) for position in (start, start + 1)]


class WiderFace(FaceDatasetBuilder):
    """WIDER FACE: `image`, `boxes_xyxy`, `points5_xy`."""

    DATASET = "widerface"
    COLUMNS = ("image", "boxes_xyxy", "points5_xy")
    BUILDER_CONFIGS: ClassVar = [
        FaceDatasetConfig(name="retinaface", description="label.txt of Pytorch_Retinaface, with five points."),
        FaceDatasetConfig(name="original", description="The owners' lists, without points."),
    ]
    DEFAULT_CONFIG_NAME = "retinaface"

    def index(self, root: Path) -> dict[str, list[RawPhoto]]:
        """Photos of train and validation, those without faces included."""
        splits = {}
        for split, folder in _FOLDERS.items():
            path, is_original = self.list_of(root, folder)
            places = [f"WIDER_{folder}/images", f"{folder}/images"]
            images = find_path(self.DATASET, root, places if is_original else places[::-1])
            photos = original_photos(path) if is_original else retinaface_photos(path)
            splits[split] = [RawPhoto(path_inside(images, name), tuple(faces)) for name, faces in photos]
        return splits

    def list_of(self, root: Path, folder: str) -> tuple[Path, bool]:
        """The annotation of a split, and whether it is the owners'.

        The archive of Pytorch_Retinaface has labels of train only; the owners' list serves for val then.
        """
        lists = {"retinaface": f"{folder}/label.txt", "original": f"wider_face_split/wider_face_{folder}_bbx_gt.txt"}
        found = [name for name, path in lists.items() if (root / path).exists()]
        wanted = self.config.name
        if wanted not in found and folder == "val" and "original" in found:
            wanted = "original"
        if wanted not in found and found:
            raise InvalidDatasetError(
                f"The folder {root} has no {lists[wanted]}, but {lists[found[0]]}: read it with the configuration"
                f" {found[0]!r}."
            )
        return find_path(self.DATASET, root, [lists[wanted]]), wanted == "original"

    def row(self, photo: RawPhoto) -> dict[str, Any]:
        """Boxes and points of the faces that have an area."""
        faces = np.array(photo.faces, dtype=np.float64).reshape(-1, 14)
        faces = faces[(faces[:, 2] > 0) & (faces[:, 3] > 0)]
        boxes_xyxy = np.concatenate([faces[:, :2], faces[:, :2] + faces[:, 2:4]], axis=1)
        return {
            "image": picture_file(photo.path),
            "boxes_xyxy": boxes_xyxy.tolist(),
            "points5_xy": faces[:, 4:].reshape(-1, 5, 2).tolist(),
        }


def retinaface_photos(path: Path) -> Iterator[tuple[str, list[tuple[float, ...]]]]:
    """Path and faces (x, y, width, height, five points) of every photo of a label.txt."""
    name: str | None = None
    faces: list[tuple[float, ...]] = []
    for number, line in enumerate(read_lines(path), start=1):
        if line.startswith("#"):
            if name is not None:
                yield name, faces
            name, faces = line[1:].strip(), []
        elif name is None:
            raise InvalidDatasetError(f"{path} begins with {in_short(line)!r}; expected a line '# path of a photo'.")
        else:
            faces.append(retinaface_face(line, f"Line {number} of {path}"))
    if name is not None:
        yield name, faces


def retinaface_face(line: str, where: str) -> tuple[float, ...]:
    """x, y, width, height and ten coordinates, NaN where the face has no points."""
    words = line.split()
    if len(words) == 4:
        return (*parse_numbers(words, 4, where, "a box").tolist(), *[np.nan] * 10)
    numbers = parse_numbers(words, 20, where, "a box, five times x, y and flag, and a score")
    points = numbers[_POINTS] if numbers[_POINTS[0]] >= 0 else np.full(10, np.nan)
    return (*numbers[:4].tolist(), *points.tolist())


def original_photos(path: Path) -> Iterator[tuple[str, list[tuple[float, ...]]]]:
    """Path and valid faces of every photo of a wider_face_*_bbx_gt.txt."""
    lines = iter(read_lines(path))
    for name in lines:
        count = next(lines, "").strip()
        if not count.isdigit():
            raise InvalidDatasetError(
                f"{path} has {in_short(count)!r} after {in_short(name)!r}; expected the number of faces."
            )
        faces = []
        for _ in range(max(int(count), 1)):  # without faces there is one line of zeros
            numbers = parse_numbers(next(lines, "").split(), 10, f"A face of {name} in {path}", "a box and six flags")
            if int(count) and numbers[_INVALID] == 0:
                faces.append((*numbers[:4].tolist(), *[np.nan] * 10))
        yield name.strip(), faces
