"""Looks at every file of a published data set's folder and says what is wrong with it."""

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from farl_hf.data.datasets.builder import FaceDatasetBuilder, RawPhoto
from farl_hf.data.datasets.catalogue import get_published_dataset
from farl_hf.data.datasets.raw_folders import check_row
from farl_hf.data.loading import published_builder
from farl_hf.errors import InvalidDatasetError, UnreadablePhotoError

# Photos that one process takes at a time.
_CHUNK = 32


@dataclass(frozen=True)
class DatasetReport:
    """What a folder holds.

    Args:
        num_photos, num_faces (`dict[str, int]`): Found in each split.
        expected (`dict[str, int]`): Published size of each split, absent ones included, in the data set's unit.
        mismatches (`tuple[str, ...]`): A sentence for every split of another size than published.
        problems (`tuple[str, ...]`): A sentence for every photo that cannot be used.
        num_checked (`int`): Photos looked at; one that is in several splits counts once.
    """

    num_photos: dict[str, int]
    num_faces: dict[str, int]
    expected: dict[str, int]
    mismatches: tuple[str, ...]
    problems: tuple[str, ...]
    num_checked: int

    @property
    def is_clean(self) -> bool:
        """Whether the folder is what was published."""
        return not self.mismatches and not self.problems


def check_face_dataset(
    name: str,
    data_dir: str,
    config_name: str | None = None,
    *,
    decode: bool = True,
    num_proc: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> DatasetReport:
    """Compares a folder with what was published, and its annotations with its pictures.

    Args:
        name (`str`): A published data set.
        data_dir (`str`): Its folder.
        config_name (`str`, *optional*): Configuration.
        decode (`bool`, *optional*, defaults to `True`): Decode every picture; otherwise annotations only are read.
        num_proc (`int`, *optional*): Processes.
        progress (`Callable`, *optional*): Called with the photos done and the photos in all.

    Raises:
        UnknownNameError: No such data set or configuration.
        InvalidDatasetError: The folder cannot be read at all: of another data set, or files are missing.
    """
    published = get_published_dataset(name)
    builder = published_builder(name, config_name, data_dir)
    photos = builder.indexed_photos()
    different = list({photo.path: photo for found in photos.values() for photo in found}.values())
    problems = []
    for done, problem in enumerate(problems_of(builder, different, decode, num_proc), start=1):
        problems += [problem] if problem else []
        if progress is not None:
            progress(done, len(different))
    return DatasetReport(
        num_photos={split: len(found) for split, found in photos.items()},
        num_faces={split: sum(len(photo.faces) for photo in found) for split, found in photos.items()},
        expected=published.counts,
        mismatches=tuple(builder.count_mismatches(photos)),
        problems=tuple(problems),
        num_checked=len(different),
    )


def problems_of(
    builder: FaceDatasetBuilder, photos: list[RawPhoto], decode: bool, num_proc: int | None
) -> Iterator[str | None]:
    """What is wrong with each photo, in order."""
    look: Any = partial(problem_of, builder, decode)
    if num_proc is None or num_proc < 2:
        yield from map(look, photos)
        return
    with ProcessPoolExecutor(num_proc) as pool:
        yield from pool.map(look, photos, chunksize=_CHUNK)


def problem_of(builder: FaceDatasetBuilder, decode: bool, photo: RawPhoto) -> str | None:
    """What is wrong with a photo, or None."""
    try:
        row = builder.row(photo)
        if decode:
            check_row(row, builder.NUM_LABELS)
    except (InvalidDatasetError, UnreadablePhotoError) as error:
        return str(error)
    return None
