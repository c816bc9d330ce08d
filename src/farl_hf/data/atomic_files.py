"""Parquet files that are written whole or not at all, and record in their footer what they were made of.

The record lies in the file itself, so that file and record cannot disagree; a restarted job reads it to know what is
finished.
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from farl_hf.errors import DatasetWriteError

if TYPE_CHECKING:
    import pyarrow.parquet

RECORD_KEY = "farl_hf"
UNFINISHED = ".unfinished"


class RecordedWriter:
    """Writes tables or record batches into one file; `record` goes into its footer.

    Args:
        writer (`pyarrow.parquet.ParquetWriter`): Of the unfinished file.
    """

    def __init__(self, writer: "pyarrow.parquet.ParquetWriter"):
        self.write_batch, self.write_table = writer.write_batch, writer.write_table
        self.record: dict[str, Any] = {}


@contextlib.contextmanager
def recorded_parquet(path: str | os.PathLike, schema: Any) -> Iterator[RecordedWriter]:
    """Opens a file beside its place; it moves there when the block ends without an error.

    Unfinished files that killed runs left are removed.

    Args:
        path (`str`): Where the file will be.
        schema (`pyarrow.Schema`): Its columns.

    Raises:
        DatasetWriteError: The disk is full, or the place cannot be written.
    """
    import pyarrow.parquet

    path = Path(path)
    unfinished = None
    try:
        unfinished = unfinished_file(path)
        with pyarrow.parquet.ParquetWriter(unfinished, schema, compression="snappy") as writer:
            recorded = RecordedWriter(writer)
            yield recorded
            writer.add_key_value_metadata({RECORD_KEY: json.dumps(recorded.record)})
        os.replace(unfinished, path)
    except OSError as error:
        if isinstance(error, DatasetWriteError):
            raise
        raise DatasetWriteError(f"{path} could not be written: {error}; nothing is left of it.") from error
    finally:
        if unfinished is not None:
            unfinished.unlink(missing_ok=True)


def unfinished_file(path: Path) -> Path:
    """A new name beside a file; names of earlier runs are freed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for left_behind in path.parent.glob(f".{path.name}.*{UNFINISHED}"):
        left_behind.unlink(missing_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=UNFINISHED, dir=path.parent)
    os.close(handle)
    os.chmod(name, 0o666 & ~current_umask())  # mkstemp's files are for their owner alone
    return Path(name)


def current_umask() -> int:
    """Which permissions new files lack."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def read_record(path: str | os.PathLike) -> dict[str, Any] | None:
    """What a file was made of; None when there is no file.

    Raises:
        DatasetWriteError: There is a file, but `recorded_parquet` did not write it: it is not ours to replace.
    """
    import pyarrow.lib
    import pyarrow.parquet

    if not Path(path).exists():
        return None
    try:
        return json.loads(pyarrow.parquet.read_metadata(path).metadata[RECORD_KEY.encode()])
    except (OSError, ValueError, KeyError, TypeError, pyarrow.lib.ArrowException) as error:
        raise DatasetWriteError(
            f"{path} exists, and this command did not write it. Remove it, or choose another output."
        ) from error
