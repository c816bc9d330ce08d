"""Detected faces by the number of their sample: LAION-Face's `sample2detect_*.pth`, and our own detections.

A part of LAION-Face has faces for some 1.5 million samples. As Python objects they would fill gigabytes in every
process. As arrays on disk, opened as memory maps, they are shared by all processes.

Our own detections lie in `detections-{shard}.parquet`, one file per shard, in pixels of the upright picture in the
shard; LAION-Face's are read as pixels of the downloaded picture; its README (lines 57-67) does not say of which.
"""

import hashlib
import logging
import os
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from farl_hf.data.recorded_files import recorded_parquet, write_arrays
from farl_hf.errors import InvalidDatasetError, InvalidFaceInputError, in_short
from farl_hf.results import Faces

logger = logging.getLogger(__name__)

ARRAYS = ("sample_ids", "first_face", "faces")
# Columns of a face: box, five points, score.
BOX, POINTS, SCORE = slice(0, 4), slice(4, 14), 14
NUM_COLUMNS = 15
MOST_NAMED, MOST_CHARACTERS = 5, 40  # of odd keys, in one message
MOST_REASON = 300  # characters of what a library says
DETECTION_COLUMNS = ("sample_id", "box_xyxy", "points5_xy", "scores")
# NumPy 2 wrote some of these, NumPy 1 the others.
NUMPY_MODULES = ("numpy._core.multiarray", "numpy.core.multiarray")
NUMPY_DTYPES = (np.float16, np.float32, np.float64, np.int32, np.int64)


class FaceTable:
    """Faces of many samples.

    Args:
        sample_ids (`numpy.ndarray` of shape `(S,)`): int64, ascending.
        first_face (`numpy.ndarray` of shape `(S + 1,)`): int64; sample s has the faces `first_face[s]` up to
            `first_face[s + 1]`.
        faces (`numpy.ndarray` of shape `(F, 15)`): float32: box x_min, y_min, x_max, y_max; five points x, y; score.
            In pixels of the picture on which they were detected.
    """

    def __init__(self, sample_ids: np.ndarray, first_face: np.ndarray, faces: np.ndarray):
        self.sample_ids, self.first_face, self.faces = sample_ids, first_face, faces

    def __len__(self) -> int:
        return len(self.sample_ids)

    def find(self, sample_id: int) -> np.ndarray | None:
        """The faces (n, 15) of a sample, n perhaps 0; None when the table does not know it."""
        place = int(np.searchsorted(self.sample_ids, sample_id))
        if place == len(self.sample_ids) or self.sample_ids[place] != sample_id:
            return None
        return self.faces[self.first_face[place] : self.first_face[place + 1]]

    @classmethod
    def of_samples(cls, sample_ids: Sequence[int], num_faces: Sequence[int], faces: np.ndarray) -> "FaceTable":
        """A table of samples in any order; of a number that comes twice the first counts.

        Args:
            sample_ids (`Sequence[int]`): Numbers of the samples.
            num_faces (`Sequence[int]`): How many of `faces` each sample has, in the same order.
            faces (`numpy.ndarray` of shape `(F, 15)`): The faces of all samples, one sample after another.
        """
        numbers, place = np.unique(np.asarray(sample_ids, np.int64), return_index=True)
        counts = np.asarray(num_faces, np.int64)
        starts = np.cumsum(counts) - counts
        first_face = np.concatenate([[0], np.cumsum(counts[place])])
        rows = np.arange(first_face[-1]) + np.repeat(starts[place] - first_face[:-1], counts[place])
        return cls(numbers, first_face, faces[rows])


@lru_cache(maxsize=64)  # all parts of LAION-Face, or the shards of a window
def open_face_table(path: str) -> FaceTable:
    """The table in a folder of arrays, as memory maps, or in the Parquet file of one shard's detections."""
    if path.endswith(".parquet"):
        return detected_table(path)
    return FaceTable(*(np.load(Path(path, f"{name}.npy"), mmap_mode="r") for name in ARRAYS))


def detected_table(path: str) -> FaceTable:
    """The faces in the file that `farl-hf laion-face detect` writes for a shard."""
    import pyarrow.compute
    import pyarrow.lib
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path, columns=list(DETECTION_COLUMNS))
        sample_ids, *columns = (table[name].combine_chunks() for name in DETECTION_COLUMNS)
        if sample_ids.null_count:
            raise ValueError(f"{sample_ids.null_count} rows have no sample_id")
        lengths = [pyarrow.compute.list_value_length(column).fill_null(0).to_numpy() for column in columns]
        unequal = np.flatnonzero((lengths[0] != lengths[1]) | (lengths[0] != lengths[2]))
        if len(unequal):
            row = int(unequal[0])
            counts = ", ".join(str(length[row]) for length in lengths)
            raise ValueError(f"row {row} has {counts} boxes, points and scores; expected equally many")
        num_faces = lengths[0]
        boxes, points, scores = (
            np.asarray(pyarrow.compute.list_flatten(column, recursive=True), np.float32) for column in columns
        )
        if sample_ids.type not in (pyarrow.int64(), pyarrow.int32(), pyarrow.uint32()):
            raise ValueError(f"sample_id is of type {sample_ids.type}; expected whole numbers")
        if not all(np.isfinite(values).all() for values in (boxes, points, scores)):
            raise ValueError("it holds values that are not finite, or null")
        if (boxes.size, points.size) != (4 * scores.size, 10 * scores.size):
            raise ValueError("a box has not four numbers, or a face not five points")
        faces = np.concatenate([boxes.reshape(-1, 4), points.reshape(-1, 10), scores.reshape(-1, 1)], axis=1)
    except (OSError, KeyError, ValueError, pyarrow.lib.ArrowException) as error:
        raise InvalidDatasetError(
            f"The detections {path} cannot be read; expected a Parquet file with the columns"
            f" {', '.join(DETECTION_COLUMNS)}: {in_short(error, MOST_REASON)}"
        ) from error
    return FaceTable.of_samples(sample_ids.to_numpy(), num_faces, faces)


def face_table_folder(path: str | os.PathLike, cache_dir: str | os.PathLike | None = None) -> str:
    """Turns a `sample2detect_*.pth` into arrays, once; later calls find them.

    No code in the file is run. During the conversion its faces are in memory, about a kilobyte each.

    Args:
        path (`str`): A file that `torch.load` reads: a dict from SAMPLE_ID to a list of faces (box, five points,
            score), each of NumPy arrays, tensors or plain numbers.
        cache_dir (`str`, *optional*): Where the arrays go; into the cache of `datasets` by default.

    Raises:
        InvalidDatasetError: The file is missing, damaged, of another kind, or would run code.
        DatasetWriteError: The arrays cannot be written.
    """
    folder = cached_folder(path, "detections", cache_dir)
    if not folder.is_dir():
        logger.warning("Reading the faces in %s; this is done once and takes minutes for a whole part.", path)
        table = official_table(path)
        write_arrays(folder, [(name, getattr(table, name)) for name in ARRAYS])
    return str(folder)


def cached_folder(path: str | os.PathLike, kind: str, cache_dir: str | os.PathLike | None) -> Path:
    """Where arrays that were made from a file are kept: in `cache_dir`, by default the cache of `datasets`.

    The folder's name changes when the file does.
    """
    if cache_dir is None:
        import datasets

        cache_dir = datasets.config.HF_DATASETS_CACHE
    try:
        found = os.stat(path)
    except OSError as error:
        raise InvalidDatasetError(f"{path} cannot be read: {error.strerror}.") from error
    version = f"{os.path.abspath(path)} {found.st_size} {found.st_mtime_ns}"
    mark = hashlib.sha256(os.fsencode(version)).hexdigest()[:16]
    return Path(cache_dir, "laion_face", kind, f"{Path(path).stem}-{mark}")


def official_table(path: str | os.PathLike) -> FaceTable:
    """The faces of a `sample2detect_*.pth`; those that are not box, five points and score are skipped."""
    try:
        with torch.serialization.safe_globals(numpy_globals()):
            samples = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files raise errors of any kind
        raise InvalidDatasetError(
            f"The detections {path} cannot be read as a sample2detect file of LAION-Face:"
            f" {in_short(error, MOST_REASON)}"
        ) from error
    if not isinstance(samples, dict):
        raise InvalidDatasetError(
            f"The detections {path} hold a {type(samples).__name__}; expected a dict from SAMPLE_ID to faces."
        )
    sample_ids, num_faces, faces, malformed, odd = [], [], [np.zeros((0, NUM_COLUMNS), np.float32)], 0, []
    for key, found in samples.items():
        sample_id = sample_number(key)
        if sample_id is None or not (found is None or isinstance(found, (list, tuple, np.ndarray))):
            odd.append(repr(key)[:MOST_CHARACTERS])
            continue
        rows = [face_row(face) for face in (() if found is None else found) if face is not None]
        known = [row for row in rows if row is not None]
        malformed += len(rows) - len(known)
        sample_ids.append(sample_id)
        num_faces.append(len(known))
        faces.append(np.array(known, np.float32).reshape(-1, NUM_COLUMNS))
    if odd and not sample_ids:
        raise InvalidDatasetError(
            f"The detections {path} have keys such as {odd[0]}; expected a dict from SAMPLE_ID to a list of faces."
        )
    if odd:
        names = ", ".join(odd[:MOST_NAMED])
        logger.warning(
            "Skipped %d entries of %s that are not SAMPLE_ID and a list of faces: %s.", len(odd), path, names
        )
    if malformed:
        logger.warning("Skipped %d faces of %s that are not box, five points and score.", malformed, path)
    return FaceTable.of_samples(sample_ids, num_faces, np.concatenate(faces))


def sample_number(key: Any) -> int | None:
    """A SAMPLE_ID, or None for a key that is none: no number, a fraction, or more than 64 bits."""
    try:
        number = int(key)
        return number if -(2**63) <= number < 2**63 and (isinstance(key, str) or number == key) else None
    except (TypeError, ValueError, OverflowError, RuntimeError):
        return None


def numpy_globals() -> list[Any]:
    """What a pickle of NumPy arrays and numbers needs; none of it does anything but hold numbers."""
    from numpy._core.multiarray import _reconstruct, scalar  # where NumPy 2 has what pickles refer to

    functions = [(kind, f"{module}.{kind.__name__}") for module in NUMPY_MODULES for kind in (_reconstruct, scalar)]
    return [*functions, np.ndarray, np.dtype, *(type(np.dtype(kind)) for kind in NUMPY_DTYPES)]


def face_row(face: Any) -> list[float] | None:
    """Box, points and score (15 numbers) of one face, or None when it is something else."""
    try:
        box, points, score = face
        row = [*np.ravel(box)[:4], *np.ravel(points), float(score)]
        with np.errstate(over="ignore"):
            numbers = np.array(row, np.float32)
    except (TypeError, ValueError, RuntimeError, OverflowError):  # of NumPy and of tensors
        return None
    return row if numbers.shape == (NUM_COLUMNS,) and np.isfinite(numbers).all() and len(np.ravel(box)) >= 4 else None


def detections_path(output: str | os.PathLike, shard: str | os.PathLike) -> Path:
    """Where `find_shards` looks for the detections of a shard: `{output}/{folder of the shard}/detections-….parquet`.

    Shards of different parts have the same names, so their folder is kept.
    """
    shard = Path(shard).absolute()
    return Path(output, shard.parent.name, f"detections-{shard.stem}.parquet")


def write_detections(path: str | os.PathLike, rows: Iterable[tuple[int, Faces]], record: dict[str, Any]) -> None:
    """Writes the faces of samples, one row each; a sample without faces has empty lists.

    The file appears complete or not at all.

    Args:
        path (`str`): The file.
        rows (iterable of `tuple[int, Faces]`): SAMPLE_ID and faces with five points.
        record (`dict`): What the file is made of, for `read_record`. It is read after the last row.

    Raises:
        InvalidFaceInputError: Faces without five points.
        DatasetWriteError: The disk is full, or the place cannot be written.
    """
    import pyarrow

    schema = detections_schema()
    with recorded_parquet(path, schema, record) as file:
        file.write_table(pyarrow.Table.from_pylist([detections_row(*row) for row in rows], schema))


def detections_row(sample_id: int, faces: Faces) -> dict[str, Any]:
    """The columns of one sample."""
    if faces.keypoints_xy is None:
        raise InvalidFaceInputError(f"The faces of sample {sample_id} have no five points; detections need them.")
    return {
        "sample_id": sample_id,
        "box_xyxy": faces.boxes_xyxy.tolist(),
        "points5_xy": faces.keypoints_xy.tolist(),
        "scores": faces.scores.tolist(),
    }


def detections_schema() -> Any:
    """Columns: sample_id; box_xyxy (faces, 4), points5_xy (faces, 5, 2) and scores (faces)."""
    import pyarrow

    point = pyarrow.list_(pyarrow.float32(), 2)
    columns = {
        "sample_id": pyarrow.int64(),
        "box_xyxy": pyarrow.list_(pyarrow.list_(pyarrow.float32(), 4)),
        "points5_xy": pyarrow.list_(pyarrow.list_(point, 5)),
        "scores": pyarrow.list_(pyarrow.float32()),
    }
    return pyarrow.schema(columns)
