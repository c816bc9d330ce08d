"""Parquet files that record what they were made of, and folders of arrays; both appear complete or not at all.

The record lies in the footer of the file itself, so that file and record cannot disagree. A restarted job reads it to
know what is finished.
"""

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from farl_hf.errors import DatasetWriteError
from farl_hf.whole_files import remove_left_over, written_whole

if TYPE_CHECKING:
    import pyarrow.parquet

RECORD_KEY = "farl_hf"


def write_arrays(folder: Path, arrays: Iterable[tuple[str, np.ndarray]]) -> None:
    """Writes a folder of `{name}.npy` atomically, unless another process has finished it meanwhile.

    What killed runs left beside it is removed.

    Raises:
        DatasetWriteError: The disk is full, or the place cannot be written.
    """
    remove_left_over(folder)
    try:
        with written_whole(folder, DatasetWriteError, overwrite=False) as unfinished:
            unfinished.mkdir()
            for name, values in arrays:
                np.save(unfinished / f"{name}.npy", values)
    except DatasetWriteError:
        if not os.path.isdir(folder):
            raise


@contextlib.contextmanager
def recorded_parquet(
    path: str | os.PathLike, schema: Any, record: dict[str, Any]
) -> Iterator["pyarrow.parquet.ParquetWriter"]:
    """Opens a Parquet file that is written atomically; what killed runs left beside it is removed.

    Args:
        path (`str`): Where the file will be.
        schema (`pyarrow.Schema`): Its columns.
        record (`dict`): What the file is made of, for its footer. It is read when the block ends.

    Raises:
        DatasetWriteError: The disk is full, or the place cannot be written.
    """
    import pyarrow.parquet

    path = Path(path)
    remove_left_over(path)
    with (
        written_whole(path, DatasetWriteError) as unfinished,
        pyarrow.parquet.ParquetWriter(unfinished, schema, compression="snappy") as writer,
    ):
        yield writer
        writer.add_key_value_metadata({RECORD_KEY: json.dumps(record)})


def read_record(path: str | os.PathLike) -> dict[str, Any] | None:
    """What a file was made of; None when there is no file.

    Raises:
        DatasetWriteError: There is a file, but `recorded_parquet` did not write it: it is not ours to replace.
    """
    import pyarrow.lib
    import pyarrow.parquet

    if not os.path.exists(path):
        return None
    try:
        return dict(json.loads(pyarrow.parquet.read_metadata(path).metadata[RECORD_KEY.encode()]))
    except (OSError, ValueError, KeyError, TypeError, pyarrow.lib.ArrowException) as error:
        raise DatasetWriteError(
            f"{path} exists, and this command did not write it. Remove it, or choose another output."
        ) from error
