"""Folders of published data sets as their owners distribute them: found, recognised, read and checked."""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from farl_hf.data.datasets.catalogue import PUBLISHED_DATASETS, get_published_dataset
from farl_hf.errors import InvalidDatasetError, InvalidFaceInputError, MissingExtraError, in_short
from farl_hf.photos import decode_map, decode_photo, picture_name

# Annotations lie at most so many folders deep (WFLW_annotations/list_98pt_rect_attr_train_test/*.txt).
_DEEPEST_FOLDER = 3
_ANNOTATION_SUFFIXES = (".txt", ".csv", ".mat")


def where_to_get(name: str) -> str:
    """Two sentences: where a data set comes from and under what licence, and what its folder must hold."""
    published = get_published_dataset(name)
    return (
        f"{published.title} comes from {published.url}; licence: {published.licence}."
        f" Unpack it and give its folder as data_dir; that folder holds {published.layout}."
    )


def resolve_root(name: str, data_dir: str | os.PathLike | None) -> Path:
    """The folder of a data set that can be read: the one given, or the only one in it that is of this data set.

    Archives often unpack into a folder of their own; both that folder and its parent are accepted.

    Raises:
        InvalidDatasetError: Nothing was given, it is no folder, or it is not of this data set. The message says what
            was found instead, where the data set comes from, its licence, and what the folder must hold.
        MissingExtraError: A package that reads this data set is not installed.
    """
    for module in PUBLISHED_DATASETS[name].needs:
        try:
            __import__(module)
        except ImportError as error:
            raise MissingExtraError(
                f'{PUBLISHED_DATASETS[name].title} needs the package `{module}`: pip install "farl-hf[data]".'
            ) from error
    if data_dir is None:
        raise InvalidDatasetError(f"The data set {name!r} is read from its own files. {where_to_get(name)}")
    folder = Path(data_dir)
    if not folder.is_dir():
        what = "is a file, an archive perhaps" if folder.exists() else "does not exist"
        raise InvalidDatasetError(f"The folder {folder} {what}. {where_to_get(name)}")
    if has_signature(folder, name):
        return folder
    inner = [child for child in sorted(folder.iterdir()) if child.is_dir() and has_signature(child, name)]
    if len(inner) == 1:
        return inner[0]
    raise InvalidDatasetError(f"{describe_folder(folder, name)} {where_to_get(name)}")


def has_signature(folder: Path, name: str) -> bool:
    """Whether a folder holds one of the paths by which the data set is known."""
    return any((folder / path).exists() for path in PUBLISHED_DATASETS[name].signature)


def describe_folder(folder: Path, name: str) -> str:
    """What a folder that is not of the wanted data set seems to be."""
    others = [other for other in PUBLISHED_DATASETS if other != name and has_signature(folder, other)]
    if others:
        return f"The folder {folder} looks like {PUBLISHED_DATASETS[others[0]].title} (data set {others[0]!r})."
    holds = sorted(child.name for child in folder.iterdir())[:5]
    found = f"it holds {', '.join(holds)} …" if holds else "it is empty"
    signature = " or ".join(PUBLISHED_DATASETS[name].signature)
    return f"The folder {folder} is not one of {PUBLISHED_DATASETS[name].title}: {found}, but no {signature}."


def find_path(name: str, root: Path, candidates: Sequence[str]) -> Path:
    """The first of several places that exists.

    Raises:
        InvalidDatasetError: None exists: the archive is unpacked in part, or a file of another source is missing.
    """
    for candidate in candidates:
        if (root / candidate).exists():
            return root / candidate
    raise InvalidDatasetError(f"The folder {root} has no {' or '.join(candidates)}. {where_to_get(name)}")


def path_inside(root: Path, relative: str) -> str:
    """The path of a file that an annotation names; annotations cannot name files outside the data set.

    Raises:
        InvalidDatasetError: The name is absolute or climbs out of the folder.
    """
    parts = PurePosixPath(relative).parts
    if not relative or relative.startswith(("/", "\\")) or ".." in parts or ":" in relative:
        raise InvalidDatasetError(
            f"An annotation in {root} names {in_short(relative)!r}; expected a path inside the data set."
        )
    return os.path.join(root, relative)  # half the time of pathlib, for 200,000 photos


def read_lines(path: Path) -> list[str]:
    """Lines of a text file that are not blank.

    Raises:
        InvalidDatasetError: The file cannot be read, or is no text.
    """
    try:
        return [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidDatasetError(f"The annotation file {path} cannot be read: {error}.") from error


def missing_files(paths: Iterable[str]) -> list[str]:
    """Those of the paths that do not exist. Folders are listed once, which takes less time than asking per file."""
    listings: dict[str, set[str]] = {}
    missing = []
    for path in paths:
        folder, file = os.path.split(path)
        if folder not in listings:
            listings[folder] = set(os.listdir(folder)) if os.path.isdir(folder) else set()
        if file not in listings[folder]:
            missing.append(path)
    return missing


def folder_fingerprint(folder: str) -> str:
    """A hash that changes when files are added, removed or replaced, or annotations are edited.

    It is made of the times of the folders and the times and sizes of the annotation files; a picture that is edited in
    place goes unnoticed.
    """
    marks: list[str] = []
    if os.path.isdir(folder):
        collect_marks(folder, "", _DEEPEST_FOLDER, marks)
    return hashlib.sha256(os.fsencode("\n".join(sorted(marks)))).hexdigest()[:16]


def collect_marks(folder: str, relative: str, depth: int, marks: list[str]) -> None:
    """Adds a line for the folder, for its annotation files, and for the folders in it."""
    marks.append(f"{relative}/ {os.stat(folder).st_mtime_ns}")
    if depth == 0:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                collect_marks(entry.path, f"{relative}/{entry.name}", depth - 1, marks)
            elif entry.name.endswith(_ANNOTATION_SUFFIXES):
                status = entry.stat()
                marks.append(f"{relative}/{entry.name} {status.st_size} {status.st_mtime_ns}")


def check_row(row: Mapping[str, Any], num_labels: int | None = None) -> None:
    """Decodes the pictures of a row and compares them: sizes, channels and class ids.

    Args:
        row (`Mapping`): A row as a builder yields it, pictures as paths or bytes.
        num_labels (`int`, *optional*): Number of classes of the label map.

    Raises:
        UnreadablePhotoError: A picture is missing, cut off or no picture.
        InvalidDatasetError: The label map has another size than the photo, or ids that are no class.
    """
    size_hw = decode_photo(row["image"]).shape[:2]
    if row.get("label_map") is None:
        return
    name = picture_name(row["label_map"])
    try:
        ids = decode_map(row["label_map"])
    except InvalidFaceInputError as error:
        raise InvalidDatasetError(str(error)) from error
    if ids.shape != size_hw:
        raise InvalidDatasetError(
            f"The label map {name} has (width, height) {ids.shape[::-1]}, its photo {picture_name(row['image'])}"
            f" {size_hw[::-1]}; expected one size."
        )
    if num_labels is not None and int(ids.max()) >= num_labels:
        raise InvalidDatasetError(
            f"The label map {name} has the class id {int(ids.max())}; expected 0 to {num_labels - 1}."
        )


def parse_numbers(words: list[str], count: int, where: str, what: str) -> np.ndarray:
    """Words of an annotation as float64.

    Raises:
        InvalidDatasetError: There are more or fewer of them than expected, or one is no finite number.
    """
    if len(words) != count:
        raise InvalidDatasetError(f"{where} has {len(words)} numbers; expected {count}: {what}.")
    try:
        numbers = np.array(words, dtype=np.float64)
    except ValueError as error:
        raise InvalidDatasetError(f"{where} holds something that is not a number: {error}.") from error
    if not np.isfinite(numbers).all():
        raise InvalidDatasetError(f"{where} holds a number that is not finite; expected {what}.")
    return numbers
