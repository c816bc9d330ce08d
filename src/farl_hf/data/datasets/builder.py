"""What all builders of published data sets share: folder, counts, columns, jobs, the policy for bad photos.

A data set's own file adds two methods: `index`, which lists the photos of every split without opening one, and `row`,
which makes the row of one photo.
"""

import errno
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import cv2
import datasets
import numpy as np
from datasets.exceptions import DatasetGenerationError

from farl_hf.data.datasets.catalogue import PUBLISHED_DATASETS, PublishedDataset
from farl_hf.data.datasets.raw_folders import check_row, folder_fingerprint, missing_files, resolve_root, where_to_get
from farl_hf.errors import (
    DatasetWriteError,
    FaRLError,
    InvalidDatasetError,
    UnreadablePhotoError,
    check_name,
)
from farl_hf.labels import FIVE_FROM_LANDMARKS

logger = logging.getLogger(__name__)

BAD_PHOTO_POLICIES = ("raise", "skip")
_WRITING_FAILED = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES)
# The photos of a split are cut into jobs for `num_proc` and for streaming workers.
_PHOTOS_PER_SHARD = 250
# The columns that all data sets share (docs/conventions.md), as `datasets` features.
_NUMBER = datasets.Value("float32")
_POINTS = datasets.List(datasets.List(datasets.List(_NUMBER)))
_FEATURES = {
    "image": datasets.Image(),
    "label_map": datasets.Image(),
    "instance_map": datasets.Image(),
    "boxes_xyxy": datasets.List(datasets.List(_NUMBER)),
    "points5_xy": _POINTS,
    "landmarks_xy": _POINTS,
    "list_position": datasets.List(datasets.Value("int64")),
    "attributes": datasets.List(datasets.List(datasets.Value("int8"))),
    "caption": datasets.Value("string"),
    "index": datasets.Value("int64"),
}


class RawPhoto(NamedTuple):
    """A photo that an index found.

    Args:
        path (`str`): The picture.
        faces (`tuple`): What the data set's `row` needs to know about each face.
        companions (`tuple[str, ...]`): Other files that must exist.
    """

    path: str
    faces: tuple[Any, ...]
    companions: tuple[str, ...] = ()


@dataclass
class FaceDatasetConfig(datasets.BuilderConfig):
    """How the folder of a published data set is read.

    Args:
        bad_photos (`str`, *optional*): What to do with photos that are missing, cannot be decoded, or contradict their
            annotation. Not given: pictures are not opened now, a missing one raises, an unreadable one raises when it
            is used. `"raise"`: all pictures are decoded now and the first bad one raises. `"skip"`: all are decoded
            now, bad ones are skipped, named and counted in the log.
        check_counts (`bool`, *optional*, defaults to `True`): Warn when a split has another size than published.
        splits (`tuple[str, ...]`, *optional*): Splits to prepare; all by default.
    """

    bad_photos: str | None = None
    check_counts: bool = True
    splits: tuple[str, ...] | None = None

    def create_config_id(self, config_kwargs: dict[str, Any], custom_features: Any = None) -> str:
        """Name of the cache: it changes with the files of the folder, not only with the folder's path.

        Raises:
            UnknownNameError: For an unknown `bad_photos`.
        """
        if self.bad_photos is not None:
            check_name("policy for bad photos", self.bad_photos, BAD_PHOTO_POLICIES)
        marked = {key: value for key, value in config_kwargs.items() if key != "check_counts"}
        if self.data_dir is not None:
            marked["folder"] = folder_fingerprint(self.data_dir)
        return super().create_config_id(marked, custom_features=custom_features)


class FaceDatasetBuilder(datasets.GeneratorBasedBuilder):
    """A published data set, read from the folder that its owners distribute.

    Class attributes of a data set: `DATASET`, its key in `PUBLISHED_DATASETS`; `COLUMNS`; `NUM_LABELS`, the number of
    classes where there are label maps. `index` may omit a published split, for example where an optional annotation
    file is missing.
    """

    VERSION = datasets.Version("1.0.0")
    BUILDER_CONFIG_CLASS = FaceDatasetConfig
    BUILDER_CONFIGS: ClassVar = [FaceDatasetConfig(name="default", description="As distributed.")]
    DEFAULT_CONFIG_NAME = "default"
    DATASET: ClassVar[str]
    COLUMNS: ClassVar[tuple[str, ...]]
    NUM_LABELS: ClassVar[int | None] = None
    num_listed: dict[str, int]  # photos of each split that the annotations name; set by `indexed_photos`

    @property
    def published(self) -> PublishedDataset:
        """What is known about the data set."""
        return PUBLISHED_DATASETS[self.DATASET]

    def index(self, root: Path) -> dict[str, list[RawPhoto]]:
        """The photos of every split, in the data set's order; no picture is opened."""
        raise NotImplementedError

    def row(self, photo: RawPhoto) -> dict[str, Any]:
        """The row of one photo."""
        raise NotImplementedError

    def indexed_photos(self) -> dict[str, list[RawPhoto]]:
        """The photos of the wanted splits, all of whose files exist.

        Raises:
            InvalidDatasetError: The folder is missing, of another data set, or incomplete.
            MissingExtraError: A package that reads this data set is not installed.
        """
        self.check_settings()
        found = self.index(resolve_root(self.DATASET, self.config.data_dir))
        wanted = [split for split in found if split in (self.config.splits or found)]
        if not wanted:
            raise InvalidDatasetError(
                f"The folder {self.config.data_dir} has no files of the split {', '.join(self.config.splits)}."
                f" {where_to_get(self.DATASET)}"
            )
        self.num_listed = {split: len(found[split]) for split in wanted}
        return {split: self.complete_photos(split, found[split]) for split in wanted}

    def check_settings(self) -> None:
        """Raises [`UnknownNameError`] for a split that does not exist."""
        for split in self.config.splits or ():
            check_name("split", split, self.published.counts, f"The data set: {self.published.title}.")

    def complete_photos(self, split: str, photos: list[RawPhoto]) -> list[RawPhoto]:
        """Those photos whose files exist; unless bad photos are to be skipped, all must."""
        missing = set(missing_files(path for photo in photos for path in (photo.path, *photo.companions)))
        if not photos:
            raise InvalidDatasetError(
                f"The split {split!r} of {self.published.title} in {self.config.data_dir} is empty."
                f" {where_to_get(self.DATASET)}"
            )
        if not missing:
            return photos
        summary = f"{len(missing)} files of the split {split!r} of {self.published.title} are missing"
        if self.config.bad_photos != "skip":
            raise InvalidDatasetError(
                f"{summary}, {min(missing)} for example; unpack the archives again, or read what is there with"
                f" bad_photos='skip'. {where_to_get(self.DATASET)}"
            )
        logger.warning("%s; their photos are skipped: %s", summary, ", ".join(sorted(missing)))
        return [photo for photo in photos if not missing.intersection((photo.path, *photo.companions))]

    def count_mismatches(self, photos: dict[str, list[RawPhoto]]) -> list[str]:
        """A sentence for every split that has another size than published."""
        sentences = []
        for split, found in photos.items():
            count = len(found) if self.published.unit == "photos" else sum(len(photo.faces) for photo in found)
            expected = self.published.counts[split]
            if count != expected:
                sentences.append(
                    f"The split {split!r} of {self.published.title} has {count:,} {self.published.unit}, published are"
                    f" {expected:,}."
                )
        return sentences

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(
            description=f"{self.published.title}, one row per photo.",
            features=row_features(self.COLUMNS),
            homepage=self.published.url,
            license=self.published.licence,
        )

    def _split_generators(self, dl_manager: object) -> list[datasets.SplitGenerator]:
        photos = self.indexed_photos()
        if self.config.check_counts:
            for sentence in self.count_mismatches(photos):
                logger.warning(sentence)
        generators = []
        for split, found in photos.items():
            jobs = [list(enumerate(found[first:last], first)) for first, last in index_ranges(0, len(found))]
            generators.append(datasets.SplitGenerator(name=split, gen_kwargs={"shards": jobs}))
        return generators

    def _generate_examples(self, shards: list[list[tuple[int, RawPhoto]]]) -> Iterator[tuple[int, dict[str, Any]]]:
        for number, photo in (numbered for shard in shards for numbered in shard):
            try:
                row = self.row(photo)
                if self.config.bad_photos is not None:
                    check_row(row, self.NUM_LABELS)
            except (InvalidDatasetError, UnreadablePhotoError) as error:
                if self.config.bad_photos != "skip":
                    raise
                logger.warning("Skipped %s: %s", photo.path, error)
                continue
            yield number, row

    def download_and_prepare(self, *arguments: Any, **settings: Any) -> None:
        """As in `datasets`, but errors that the user can mend are raised as they are, not wrapped.

        Raises:
            InvalidDatasetError, UnreadablePhotoError: What is wrong with the folder, or with a photo of it.
            DatasetWriteError: The disk is full, or the cache cannot be written.
        """
        try:
            super().download_and_prepare(*arguments, **settings)
        except (OSError, DatasetGenerationError) as error:
            mendable = mendable_error(error)
            if mendable is None:
                raise
            raise mendable from None
        for split, info in self.info.splits.items():
            if not info.num_examples:
                raise InvalidDatasetError(
                    f"No photo of the split {str(split)!r} of {self.published.title} can be used; the log says why."
                )

    def _prepare_split_single(self, **job: Any) -> Iterator[Any]:
        """Unwraps errors where they occur, because from another process only their text arrives."""
        try:
            yield from super()._prepare_split_single(**job)
        except DatasetGenerationError as error:
            raise (mendable_error(error) or error) from error.__cause__


def mendable_error(error: BaseException) -> FaRLError | None:
    """The error of ours, or the refusal of the disk, that another error wraps."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, FaRLError):
            return cause
        if isinstance(cause, OSError) and cause.errno in _WRITING_FAILED:
            return DatasetWriteError(
                f"The prepared data set could not be written: {cause}. Make room, or choose another place for it."
            )
        cause = cause.__cause__ or cause.__context__
    return None


def row_features(columns: Sequence[str]) -> datasets.Features:
    """Features of the named columns, in their order."""
    return datasets.Features({name: _FEATURES[name] for name in columns})


def five_points(landmarks_xy: np.ndarray) -> np.ndarray:
    """The five alignment points (5, 2) of a face's landmarks (N, 2), N one of 19, 68, 98, 106."""
    groups = FIVE_FROM_LANDMARKS[len(landmarks_xy)]
    return np.stack([landmarks_xy[list(group)].mean(axis=0) for group in groups])


def picture_file(path: str) -> dict[str, object]:
    """A picture that stays where it is: the row holds its path."""
    return {"path": path, "bytes": None}


def encoded_png(picture: np.ndarray) -> dict[str, object]:
    """A picture that lies in the row itself: RGB (H, W, 3) or class ids (H, W), uint8, without loss."""
    ordered = picture[..., ::-1] if picture.ndim == 3 else picture
    return {"path": None, "bytes": cv2.imencode(".png", ordered)[1].tobytes()}


def index_ranges(first: int, count: int) -> list[tuple[int, int]]:
    """Half-open ranges that cover `first … first + count`, at least eight where there are as many photos."""
    size = max(1, min(_PHOTOS_PER_SHARD, -(-count // 8)))
    return [(start, min(start + size, first + count)) for start in range(first, first + count, size)]
