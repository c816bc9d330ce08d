"""Detected faces by the number of their sample: LAION-Face's `sample2detect_*.pth`, and our own detections.

A part of LAION-Face has faces for some 1.5 million samples. As Python objects they would fill gigabytes in every
process; as arrays on disk, opened as memory maps, all processes share the few pages that they look at.

Our own detections lie in `detections-{shard}.parquet`, one file per shard, in pixels of the upright picture in the
shard; LAION-Face's are in pixels of the downloaded picture.
"""

import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from farl_hf.data.parquet import recorded_parquet
from farl_hf.errors import DatasetWriteError, InvalidDatasetError, InvalidFaceInputError
from farl_hf.results import Faces

logger = logging.getLogger(__name__)

ARRAYS = ("sample_ids", "first_face", "faces")
# Columns of a face: box, five points, score.
BOX, POINTS, SCORE = slice(0, 4), slice(4, 14), 14
NUM_COLUMNS = 15
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
    def of_samples(cls, samples: Iterable[tuple[int, np.ndarray]]) -> "FaceTable":
        """A table of sample numbers and faces (n, 15), in any order; of a number that comes twice the first counts."""
        numbers, counts, faces = [], [], [np.zeros((0, NUM_COLUMNS), np.float32)]
        for sample_id, found in samples:
            numbers.append(sample_id)
            counts.append(len(found))
            faces.append(found)
        sample_ids, place = np.unique(np.array(numbers, np.int64), return_index=True)
        starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        joined = np.concatenate(faces)
        order = [np.arange(starts[i], starts[i + 1]) for i in place]
        rows = np.concatenate([np.zeros(0, np.int64), *order])
        first_face = np.concatenate([[0], np.cumsum(np.array(counts, np.int64)[place], dtype=np.int64)])
        return cls(sample_ids, first_face, joined[rows])


@lru_cache(maxsize=64)  # all parts of LAION-Face, or the shards of a window
def open_face_table(path: str, cache_dir: str | None = None) -> FaceTable:
    """The table in a folder of arrays, or in the Parquet file of one shard's detections.

    The arrays of a Parquet file are kept in `cache_dir`, so that only its first reader turns it into arrays.
    """
    if not path.endswith(".parquet"):
        return FaceTable(*(np.load(Path(path, f"{name}.npy"), mmap_mode="r") for name in ARRAYS))
    folder = cached_folder(path, "detections", cache_dir)
    if folder.is_dir():
        return FaceTable(*(np.load(folder / f"{name}.npy") for name in ARRAYS))
    table = FaceTable.of_samples(detected_samples(path))
    try:
        write_arrays(folder, **{name: getattr(table, name) for name in ARRAYS})
    except DatasetWriteError as error:
        logger.info("The faces in %s are read anew by every reader: %s", path, error)
    return table


def detected_samples(path: str) -> Iterator[tuple[int, np.ndarray]]:
    """Sample numbers and faces (n, 15) of the file that `farl-hf laion-face detect` writes for a shard."""
    import pyarrow.lib
    import pyarrow.parquet

    try:
        rows = pyarrow.parquet.read_table(path, columns=list(DETECTION_COLUMNS)).to_pylist()
    except (OSError, KeyError, pyarrow.lib.ArrowException) as error:
        raise InvalidDatasetError(
            f"The detections {path} cannot be read; expected a Parquet file with the columns"
            f" {', '.join(DETECTION_COLUMNS)}: {error}"
        ) from error
    for sample_id, *columns in (tuple(row.values()) for row in rows):
        faces = [face_row(face) for face in zip(*columns, strict=True)]
        yield sample_id, np.array(faces, np.float32).reshape(-1, NUM_COLUMNS)


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
        table = FaceTable.of_samples(official_samples(path))
        write_arrays(folder, **{name: getattr(table, name) for name in ARRAYS})
    return str(folder)


def cached_folder(path: str | os.PathLike, kind: str, cache_dir: str | os.PathLike | None) -> Path:
    """Where arrays that were made from a file are kept: in `cache_dir`, by default the cache of `datasets`."""
    if cache_dir is None:
        import datasets

        cache_dir = datasets.config.HF_DATASETS_CACHE
    return Path(cache_dir, "laion_face", kind, f"{Path(path).stem}-{file_mark(path)}")


def file_mark(path: str | os.PathLike) -> str:
    """Changes when the file does."""
    try:
        found = os.stat(path)
    except OSError as error:
        raise InvalidDatasetError(f"{path} cannot be read: {error.strerror}.") from error
    mark = f"{os.path.abspath(path)} {found.st_size} {found.st_mtime_ns}"
    return hashlib.sha256(mark.encode()).hexdigest()[:16]


def write_arrays(folder: Path, **arrays: np.ndarray) -> None:
    """Writes arrays beside their folder, each as `{name}.npy`, then moves them there."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = tempfile.mkdtemp(prefix=f"{folder.name}.", suffix=".unfinished", dir=folder.parent)
        try:
            for name, values in arrays.items():
                np.save(Path(unfinished, f"{name}.npy"), values)
            if not folder.is_dir():  # another process may have been faster
                os.replace(unfinished, folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        if folder.is_dir():
            return
        raise DatasetWriteError(f"The arrays {folder} could not be written: {error}.") from error


def official_samples(path: str | os.PathLike) -> Iterator[tuple[int, np.ndarray]]:
    """Sample numbers and faces (n, 15) of a `sample2detect_*.pth`; faces that are not three parts are skipped."""
    try:
        with torch.serialization.safe_globals(numpy_globals()):
            samples = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files raise errors of any kind
        raise InvalidDatasetError(
            f"The detections {path} cannot be read as a sample2detect file of LAION-Face: {error}"
        ) from error
    if not isinstance(samples, dict):
        raise InvalidDatasetError(
            f"The detections {path} hold a {type(samples).__name__}; expected a dict from SAMPLE_ID to faces."
        )
    malformed = 0
    for sample_id, faces in samples.items():
        rows = [face_row(face) for face in faces if face is not None] if faces is not None else []
        known = [row for row in rows if row is not None]
        malformed += len(rows) - len(known)
        yield int(sample_id), np.array(known, np.float32).reshape(-1, NUM_COLUMNS)
    if malformed:
        logger.warning("Skipped %d faces of %s that are not box, five points and score.", malformed, path)


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
    except (TypeError, ValueError):
        return None
    return row if len(row) == NUM_COLUMNS else None


def detections_path(output: str | os.PathLike, shard: str | os.PathLike) -> Path:
    """Where `find_shards` looks for the detections of a shard: `{output}/{folder of the shard}/detections-….parquet`.

    Shards of different parts have the same names, so their folder is kept.
    """
    shard = Path(shard).absolute()
    return Path(output, shard.parent.name, f"detections-{shard.stem}.parquet")


def write_detections(
    path: str | os.PathLike, rows: Iterable[tuple[int, Faces]], record: dict[str, Any] | None = None
) -> None:
    """Writes the faces of samples, one row each; a sample without faces has empty lists.

    The file appears complete or not at all.

    Args:
        path (`str`): The file.
        rows (iterable of `tuple[int, Faces]`): SAMPLE_ID and faces with five points.
        record (`dict`, *optional*): What the file was made of, for `read_record`. It is read after the last row.

    Raises:
        InvalidFaceInputError: Faces without five points.
        DatasetWriteError: The disk is full, or the place cannot be written.
    """
    import pyarrow

    schema = detections_schema()
    with recorded_parquet(path, schema) as file:
        table = pyarrow.Table.from_pylist([detections_row(*row) for row in rows], schema)
        file.write_table(table)
        file.record = record or {}


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
