"""LAION-Face: img2dataset's webdataset shards joined with the faces that were detected in them.

The files (FacePerceiver/LAION-Face, rom1504/img2dataset):

- `split_{part:05d}/{shard:05d}.tar`: `key.jpg`, `key.txt` and `key.json` per sample; the JSON holds `SAMPLE_ID`;
- `sample2detect_{part}.pth`: faces by SAMPLE_ID, in pixels of the picture as it was downloaded;
- or `detections-{shard}.parquet`, as `farl-hf laion-face detect` writes them, in pixels of the picture in the shard.

A sample with an error is skipped and counted under one of `SKIP_REASONS`. Nothing of a shard is unpacked: members are
read in place, by offset. A damaged file gives the samples that can still be found.
"""

import contextlib
import json
import logging
import mmap
import os
import re
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from farl_hf.data.laion_face.detections import (
    BOX,
    NUM_COLUMNS,
    POINTS,
    SCORE,
    cached_folder,
    face_table_folder,
    open_face_table,
)
from farl_hf.data.recorded_files import write_arrays
from farl_hf.data.samples.pretraining_samples import usable_points
from farl_hf.errors import DatasetWriteError, InvalidDatasetError, InvalidFaceInputError, UnreadablePhotoError
from farl_hf.photos import OversizedPhotoError

logger = logging.getLogger(__name__)

DAMAGED_SHARD, UNSAFE_MEMBER, INCOMPLETE_SAMPLE = "damaged_shard", "unsafe_member", "incomplete_sample"
REPEATED_KEY = "repeated_key"

BLOCK = tarfile.BLOCKSIZE
MAGIC, MAGIC_OFFSET = b"ustar", 257
PAX_RECORD = re.compile(rb"(\d{1,9}) ([^=\n]+)=")  # its length in bytes, the end of line included, and its key
FILE_TYPES = (tarfile.REGTYPE, tarfile.AREGTYPE)
# Blocks that say more about the next member. Only its name is read, where it is longer than a header can hold.
NAME_TYPES = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME)
EXTENSION_TYPES = (*NAME_TYPES, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGLINK, tarfile.DIRTYPE)
MAX_EXTENSION_BYTES = 2**16
PICTURE_SUFFIXES = ("jpg", "jpeg", "png", "webp")
# Columns of `ShardMembers.places`; only the caption may be missing.
PICTURE, METADATA, CAPTION = 0, 2, 4
NUM_MEMBERS = 3
MOST_NAMED = 5  # in one message

# Reasons under which skipped data is counted: damaged shards by shard, unsafe members by member, all others by sample.
SKIP_REASONS = (
    DAMAGED_SHARD,
    UNSAFE_MEMBER,
    INCOMPLETE_SAMPLE,
    REPEATED_KEY,
    "bad_metadata",
    "missing_caption",
    "missing_detection",
    "empty_detection",
    "no_usable_face",
    "cropped_image",
    "unreadable_image",
    "oversized_image",
)
OFFICIAL_TABLES = "sample2detect_*.pth"
# A picture that was shrunk keeps its aspect, up to whole pixels.
ASPECT_TOLERANCE = 0.02
_LONGEST_SIDE = 1_000_000  # of a picture, in pixels; what is longer is no size
# Larger members are no photos and no metadata; reading them would fill the memory.
MAX_PICTURE_BYTES, MAX_TEXT_BYTES = 2**26, 2**22


class ShardMembers(NamedTuple):
    """The samples of a shard.

    Args:
        places (`numpy.ndarray` of shape `(samples, 6)`): Offset and size in bytes of picture, metadata and caption
            (size -1: the sample has no caption), in the order of the file.
        skipped (`Counter`): What was skipped, by reason.
    """

    places: np.ndarray
    skipped: Counter


def find_members(path: str | os.PathLike) -> ShardMembers:
    """Lists the samples of a shard: pictures with metadata (`key.jpg`, `key.json`) and perhaps a caption (`key.txt`).

    A key is a member's path up to the first dot of its last part, as in webdataset. Where a member comes twice, the
    sample is kept if it was complete by then; otherwise nobody knows what belongs together, and it is skipped.

    Links, devices and members whose path leaves the folder are not looked at. Where headers are damaged, the search
    goes on at the next sound one. A file that cannot be opened has no samples.
    """
    skipped: Counter = Counter()
    samples: dict[str, dict[int, tuple[int, int]]] = {}
    repeated: dict[str, str] = {}
    ambiguous: set[str] = set()
    if not os.path.isfile(path):  # a pipe would wait for a writer
        skipped[DAMAGED_SHARD] = 1
        return ShardMembers(np.zeros((0, 6), np.int64), skipped)
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            for name, offset, size in member_places(data, skipped):
                column, key = column_of(name), key_of(name)
                if column is None:
                    continue
                sample = samples.setdefault(key, {})
                if key not in repeated and column not in sample:
                    sample[column] = (offset, size)
                elif key not in repeated:
                    repeated[key] = name
                    if len(sample) < NUM_MEMBERS:
                        ambiguous.add(key)
    except (OSError, ValueError):  # an empty file cannot be mapped
        skipped[DAMAGED_SHARD] = 1
    if repeated:
        skipped[REPEATED_KEY] = len(repeated)
        names = ", ".join(list(repeated.values())[:MOST_NAMED])
        logger.warning("%s holds %d samples with members that come more than once: %s.", path, len(repeated), names)
    samples = {key: sample for key, sample in samples.items() if key not in ambiguous}
    complete = [sample for sample in samples.values() if PICTURE in sample and METADATA in sample]
    if len(samples) > len(complete):
        skipped[INCOMPLETE_SAMPLE] = len(samples) - len(complete)
    places = [(*sample[PICTURE], *sample[METADATA], *sample.get(CAPTION, (0, -1))) for sample in complete]
    return ShardMembers(np.array(places, dtype=np.int64).reshape(-1, 6), skipped)


def listed_members(path: str, cache_dir: str | None = None) -> ShardMembers:
    """[`find_members`], but each file is searched once; the list is kept for other readers and later passes."""
    try:
        folder = cached_folder(path, "samples", cache_dir)  # "members" of version 0.1 have other keys
        if folder.is_dir():
            counts = zip(SKIP_REASONS, np.load(folder / "skipped.npy").tolist(), strict=True)
            return ShardMembers(np.load(folder / "places.npy"), +Counter(dict(counts)))  # only what occurred
    except (InvalidDatasetError, OSError, ValueError):
        return find_members(path)
    members = find_members(path)
    skipped = np.array([members.skipped[reason] for reason in SKIP_REASONS], np.int64)
    try:
        write_arrays(folder, [("places", members.places), ("skipped", skipped)])
    except DatasetWriteError as error:
        logger.info("The samples of %s are listed anew by every reader: %s", path, error)
    return members


def member_places(data: mmap.mmap, skipped: Counter) -> Iterator[tuple[str, int, int]]:
    """Yields name, offset and size in bytes of every plain file of a tar that is there in full."""
    position, ended = 0, False
    long_name: str | None = None
    while position + BLOCK <= len(data):
        header = data[position : position + BLOCK]
        info = parsed_header(header)
        if info is None:
            long_name = None
            following = next_header(data, position + BLOCK)
            ended = following is None and not header.strip(b"\0")
            if following is None:
                break
            skipped[DAMAGED_SHARD] = 1
            position = following
            continue
        start = position + BLOCK
        position = start + -(-info.size // BLOCK) * BLOCK
        if info.type in NAME_TYPES and info.size <= MAX_EXTENSION_BYTES:
            long_name = extended_name(info.type, data[start : start + info.size]) or long_name
        if info.type in EXTENSION_TYPES:
            continue
        name, long_name = long_name or info.name, None
        if info.type not in FILE_TYPES or not is_inside(name):
            skipped[UNSAFE_MEMBER] += 1
        elif start + info.size <= len(data):
            yield name, start, info.size
    if not ended:  # a whole tar ends with blocks of zeros
        skipped[DAMAGED_SHARD] = 1


def parsed_header(header: bytes) -> tarfile.TarInfo | None:
    """A header whose checksum is right, or None."""
    try:
        info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return None
    return info if info.size >= 0 else None


def extended_name(kind: bytes, content: bytes) -> str | None:
    """The name of the next member in an extension: GNU's holds nothing else, PAX's is the record `path`."""
    if kind == tarfile.GNUTYPE_LONGNAME:
        return content.partition(b"\0")[0].decode("utf-8", "surrogateescape")
    position = 0
    while record := PAX_RECORD.match(content, position):
        end = position + int(record[1])
        if record[2] == b"path":
            return content[record.end() : end - 1].decode("utf-8", "surrogateescape")
        position = max(end, record.end())
    return None


def next_header(data: mmap.mmap, start: int) -> int | None:
    """Position of the next block, from `start` on, that carries the mark of a header."""
    found = data.find(MAGIC, start + MAGIC_OFFSET)
    while found >= 0:
        if (found - MAGIC_OFFSET) % BLOCK == 0:
            return found - MAGIC_OFFSET
        found = data.find(MAGIC, found + 1)
    return None


def is_inside(name: str) -> bool:
    """Whether a member's path stays in the folder into which its tar would be unpacked."""
    path = PurePosixPath(name.replace("\\", "/"))
    return not path.is_absolute() and ".." not in path.parts


def key_of(name: str) -> str:
    """What the members of a sample have in common: `a.b/0001` of `./a.b/0001.seg.png`."""
    path = PurePosixPath(name.replace("\\", "/"))
    return str(path.parent / path.name.partition(".")[0])


def column_of(name: str) -> int | None:
    """What a member is to its sample, or None for anything else. macOS puts hidden files `._NAME` beside NAME."""
    if PurePosixPath(name.replace("\\", "/")).name.startswith("."):
        return None
    suffix = name.rpartition(".")[2].lower()
    if suffix in PICTURE_SUFFIXES:
        return PICTURE
    return {"json": METADATA, "txt": CAPTION}.get(suffix)


class SkippedSampleError(Exception):
    """A sample that cannot be used; `reason` is one of `SKIP_REASONS`. Callers catch it: users never see it."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


def skip_reason(error: SkippedSampleError | UnreadablePhotoError | InvalidFaceInputError) -> str:
    """The one of `SKIP_REASONS` under which a sample that gave this error is counted."""
    if isinstance(error, SkippedSampleError):
        return error.reason
    if isinstance(error, InvalidFaceInputError):  # points far outside the photo
        return "no_usable_face"
    return "oversized_image" if isinstance(error, OversizedPhotoError) else "unreadable_image"


@dataclass(frozen=True)
class FaceFilter:
    """Which detected faces are used. The paper does not say; these values are ours.

    Args:
        min_score (`float`, *optional*, defaults to 0.9): Least score of the detector: the published detections are
            noisy (LAION-Face issue 7), and the examples of their detector use 0.95 (batch-face 1.5.4, README).
        min_face_px (`float`, *optional*, defaults to 32.0): Least shorter side of the box in the shard's picture; a
            face of that size is enlarged two- to threefold in a crop of 224 pixels.
    """

    min_score: float = 0.9
    min_face_px: float = 32.0

    def usable(self, faces: np.ndarray) -> np.ndarray:
        """Those of the faces (n, 15), in pixels of the shard's picture, that may be used."""
        sides = faces[:, 2:4] - faces[:, 0:2]
        faces = faces[(faces[:, SCORE] >= self.min_score) & (sides.min(axis=1) >= self.min_face_px)]
        apart = [len(usable_points(face[None])) == 1 for face in faces[:, POINTS]]
        return faces[np.array(apart, dtype=bool)]


@dataclass(frozen=True)
class Shard:
    """A tar file and the tables that may know its faces.

    Args:
        path (`str`): The tar.
        official_tables (`tuple[str, ...]`): Folders of arrays made from `sample2detect_*.pth`.
        detections (`str`, *optional*): Detections of this shard alone.
        cache_dir (`str`, *optional*): Where the list of its samples is kept; the cache of `datasets` by default.
    """

    path: str
    official_tables: tuple[str, ...] = ()
    detections: str | None = None
    cache_dir: str | None = None


def find_shards(
    data_dir: str | os.PathLike, with_faces: bool = True, cache_dir: str | os.PathLike | None = None
) -> list[Shard]:
    """The shards of a folder, in order, each with the files that hold its faces.

    Shards lie in the folder or in folders in it; detections in the folder, in a folder in it, or beside the shard. A
    shard in `split_{part:05d}` has the faces of `sample2detect_{part}.pth`; where shards are in no such folder, all
    files are searched.

    Args:
        data_dir (`str`): The folder.
        with_faces (`bool`, *optional*, defaults to `True`): Look for detections, and turn them into arrays.
        cache_dir (`str`, *optional*): Where these arrays are kept; the cache of `datasets` by default.

    Raises:
        InvalidDatasetError: There are no shards, or a shard without detections.
    """
    root = Path(data_dir).expanduser()
    cache_dir = None if cache_dir is None else str(cache_dir)
    tars = tars_in(root)
    if not with_faces:
        return [Shard(str(tar), cache_dir=cache_dir) for tar in tars]
    official = {
        path.stem.rpartition("_")[2]: path
        for path in sorted([*root.glob(OFFICIAL_TABLES), *root.glob(f"*/{OFFICIAL_TABLES}")])
    }
    # Shards of different parts have the same names: one file would be wrong for all but one of them.
    unique = len({tar.stem for tar in tars}) == len(tars)
    return [shard_with_faces(tar, root, unique, official, cache_dir) for tar in tars]


def tars_in(folder: Path) -> list[Path]:
    """The shards in a folder and in the folders in it.

    Raises:
        InvalidDatasetError: There are none.
    """
    tars = sorted([*folder.glob("*.tar"), *folder.glob("*/*.tar")])
    if not tars:
        raise InvalidDatasetError(
            f"The folder {folder} holds no shards; expected *.tar or split_*/*.tar, as img2dataset writes them with"
            " --output_format webdataset. docs/pretraining.md says how to get them."
        )
    return tars


def shard_with_faces(tar: Path, root: Path, unique: bool, official: dict[str, Path], cache_dir: Any) -> Shard:
    """A shard and its detections: its own file, else that of its part, else those of all parts."""
    own = detections_of(tar, root, unique)
    if own is not None:
        return Shard(str(tar), detections=str(own), cache_dir=cache_dir)
    part = re.fullmatch(r"split_(\d+)", tar.parent.name)
    number = str(int(part[1])) if part else None
    tables = [official[number]] if number in official else [] if part else list(official.values())
    if not tables:
        wanted = f"sample2detect_{number}.pth" if part else "sample2detect_*.pth"
        raise InvalidDatasetError(
            f"There are no detections for the shard {tar}: neither {wanted} nor detections-{tar.stem}.parquet is in"
            f" {root}. Download LAION-Face's detections, or run `farl-hf laion-face detect`."
        )
    return Shard(str(tar), tuple(face_table_folder(path, cache_dir) for path in tables), cache_dir=cache_dir)


def detections_of(tar: Path, root: Path, unique: bool) -> Path | None:
    """The detections of one shard; if its name is unique, they may lie in one folder with all others."""
    name = f"detections-{tar.stem}.parquet"
    places = [tar.parent / name, root / "detections" / tar.parent.name / name]
    if unique:
        places += [root / "detections" / name, root / name]
    return next((place for place in places if place.is_file()), None)


class OpenShard:
    """A shard whose samples can be read in any order.

    Args:
        shard ([`Shard`]): Where it is.
        face_filter ([`FaceFilter`], *optional*): Which faces are used; without it faces are not looked up and rows
            have none.

    Attributes:
        skipped (`Counter`): What is wrong with the shard as a whole, by reason.
    """

    def __init__(self, shard: Shard, face_filter: FaceFilter | None):
        self.shard, self.face_filter = shard, face_filter
        self.places, self.skipped = listed_members(shard.path, shard.cache_dir)
        self.file = open(shard.path, "rb") if len(self.places) else None  # noqa: SIM115 - it stays open for rows

    def __len__(self) -> int:
        return len(self.places)

    def close(self) -> None:
        """Closes the file."""
        if self.file is not None:
            self.file.close()

    def row(self, number: int) -> dict[str, Any]:
        """The row of a sample, its picture encoded.

        Raises:
            SkippedSampleError: The sample cannot be used.
        """
        metadata = self.metadata(number)
        sample_id = sample_id_of(metadata)
        faces = self.faces(sample_id, metadata)
        return {
            "image": self.picture(number),
            "boxes_xyxy": faces[:, BOX],
            "points5_xy": faces[:, POINTS].reshape(-1, 5, 2),
            "caption": self.caption(number),
            "sample_id": sample_id,
        }

    def picture(self, number: int) -> dict[str, Any]:
        """The encoded picture of a sample."""
        return {"bytes": self.read(number, PICTURE, MAX_PICTURE_BYTES, "oversized_image"), "path": None}

    def metadata(self, number: int) -> dict[str, Any]:
        """The JSON of a sample."""
        try:
            metadata = json.loads(self.read(number, METADATA, MAX_TEXT_BYTES, "bad_metadata"))
        except (ValueError, RecursionError) as error:
            raise SkippedSampleError("bad_metadata") from error
        if not isinstance(metadata, dict):
            raise SkippedSampleError("bad_metadata")
        return metadata

    def caption(self, number: int) -> str:
        """The text of a sample."""
        caption = self.read(number, CAPTION, MAX_TEXT_BYTES, "missing_caption").decode("utf-8", "replace").strip()
        if not caption:
            raise SkippedSampleError("missing_caption")
        return caption

    def faces(self, sample_id: int, metadata: dict[str, Any]) -> np.ndarray:
        """The usable faces (n, 15) of a sample, at least one, in pixels of the shard's picture."""
        if self.face_filter is None:
            return np.zeros((0, NUM_COLUMNS), np.float32)
        found = self.detected_faces(sample_id, metadata)
        if found is None:
            raise SkippedSampleError("missing_detection")
        if len(found) == 0:
            raise SkippedSampleError("empty_detection")
        usable = self.face_filter.usable(found)
        if len(usable) == 0:
            raise SkippedSampleError("no_usable_face")
        return usable

    def detected_faces(self, sample_id: int, metadata: dict[str, Any]) -> np.ndarray | None:
        """All faces that are known of a sample, in pixels of the shard's picture."""
        if self.shard.detections is not None:
            return open_face_table(self.shard.detections).find(sample_id)
        found = (open_face_table(table).find(sample_id) for table in self.shard.official_tables)
        faces = next((faces for faces in found if faces is not None), None)
        return faces if faces is None else scaled_faces(faces, metadata)

    def read(self, number: int, column: int, limit: int, reason: str) -> bytes:
        """A member of a sample, shorter where the file ends early. One of more than `limit` bytes skips the sample."""
        offset, size = self.places[number, column : column + 2].tolist()
        if self.file is None or size > limit:
            raise SkippedSampleError(reason)
        try:
            return os.pread(self.file.fileno(), max(size, 0), offset)
        except OSError as error:
            raise SkippedSampleError("unreadable_image") from error


def sample_id_of(metadata: dict[str, Any]) -> int:
    """SAMPLE_ID in the JSON of a sample; tables hold it in 64 bits."""
    try:
        number = int(metadata["SAMPLE_ID"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise SkippedSampleError("bad_metadata") from error
    if not -(2**63) <= number < 2**63:
        raise SkippedSampleError("bad_metadata")
    return number


def scaled_faces(faces: np.ndarray, metadata: dict[str, Any]) -> np.ndarray:
    """Faces of the downloaded picture in pixels of the one in the shard, which img2dataset may have shrunk.

    Raises:
        SkippedSampleError: The picture was cropped or padded; where the faces are then is not known.
    """
    sizes: list[Any] = [metadata.get(name) for name in ("width", "original_width", "height", "original_height")]
    if not all(isinstance(size, int | float) and 0 < size < _LONGEST_SIDE for size in sizes):
        return faces
    width, original_width, height, original_height = sizes
    scale_x, scale_y = width / original_width, height / original_height
    if scale_x == scale_y == 1:
        return faces
    # A side that was rounded to whole pixels is off by up to half a pixel.
    if abs(scale_x - scale_y) > max(ASPECT_TOLERANCE * scale_x, 1 / min(original_width, original_height)):
        raise SkippedSampleError("cropped_image")
    scales = np.tile(np.array([scale_x, scale_y], np.float32), 7)
    return np.concatenate([faces[:, :SCORE] * scales, faces[:, SCORE:]], axis=1)


def shard_rows(shards: Sequence[Shard]) -> Iterator[dict[str, Any]]:
    """Yields the rows of shards in order; the log (level INFO) says what was skipped of each."""
    for shard in shards:
        with contextlib.closing(OpenShard(shard, FaceFilter())) as opened:
            skipped = Counter(opened.skipped)
            for number in range(len(opened)):
                try:
                    yield opened.row(number)
                except SkippedSampleError as error:
                    skipped[error.reason] += 1
        if skipped.total():
            logger.info("Skipped of %s: %s.", shard.path, counts_in_words(skipped))


def laion_face_rows(data_dir: str | os.PathLike, cache_dir: str | os.PathLike | None = None) -> Any:
    """A `datasets.IterableDataset` of the photos that have a usable face, one shard of it per shard of the folder.

    `boxes_xyxy` and `points5_xy` hold the usable faces of a photo, in pixels of the picture in the shard.

    Raises:
        InvalidDatasetError: There are no shards, or no detections for one.
    """
    import datasets

    from farl_hf.data.datasets.builder import row_features

    features = row_features(("image", "boxes_xyxy", "points5_xy", "caption"))
    return datasets.IterableDataset.from_generator(
        shard_rows,
        features=datasets.Features(features | {"sample_id": datasets.Value("int64")}),
        gen_kwargs={"shards": find_shards(data_dir, cache_dir=cache_dir)},
    )


def num_listed_samples(shards: Sequence[Shard]) -> int:
    """Samples of shards, those that will be skipped included: by img2dataset's `*_stats.json`, else counted."""
    total = 0
    for shard in shards:
        stats = Path(shard.path.removesuffix(".tar") + "_stats.json")
        try:
            total += int(json.loads(stats.read_text())["successes"])
        except (OSError, ValueError, KeyError, TypeError):
            total += len(find_members(shard.path).places)
    return total


def counts_in_words(counts: Counter) -> str:
    """Reasons and their counts, the most frequent first."""
    return ", ".join(f"{reason} {count}" for reason, count in counts.most_common() if count) or "nothing"
