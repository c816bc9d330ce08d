"""One part of LAION-400M's metadata, filtered by SAMPLE_ID, batch by batch: memory does not grow with the part."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from farl_hf.data.recorded_files import read_record, recorded_parquet
from farl_hf.errors import InvalidDatasetError

ID_COLUMN = "SAMPLE_ID"
NEEDED_COLUMNS = (ID_COLUMN, "URL", "TEXT")
# Rows read; rows written; listed SAMPLE_IDs without a row; rows that repeat a SAMPLE_ID; rows skipped, by reason.
COUNTS = ("rows", "written", "missing_ids", "repeated", "without_number", "without_url", "without_text")
# 2**16 rows of LAION-400M are some 15 MB.
ROWS_PER_BATCH = 2**16
READ_AHEAD_BYTES = 2**20
NUMBER_IN_TEXT = r"^\s*[0-9]{1,18}(\.0*)?\s*$"
LARGEST_EXACT_FLOAT = 2.0**53


class PartFilter:
    """A worker of `run_jobs`: filters one part, or keeps its finished file.

    It lies here, where nothing imports torch, so that the processes of a cluster start in a moment.
    """

    def __call__(self, job: dict[str, Any]) -> dict[str, Any]:
        """Counts of the part, and whether it was finished before."""
        record = read_record(job["output"])
        if record is not None and record.get("origin") == origin_of(job["source"], job["ids"]):
            return {"counts": record["counts"], "kept": True}
        return {"counts": filter_metadata(job["source"], job["ids"], job["output"]), "kept": False}


def filter_metadata(
    source: str | os.PathLike, ids_path: str | os.PathLike, output: str | os.PathLike
) -> dict[str, int]:
    """Writes those rows of a Parquet file whose SAMPLE_ID is in a list, all columns; SAMPLE_ID becomes int64.

    A row without a number, or without a URL, is skipped; one without a text is kept, and counted.

    Args:
        source (`str`): Parquet file with the columns SAMPLE_ID, URL and TEXT.
        ids_path (`str`): Sorted int64 array (`.npy`), opened as a memory map.
        output (`str`): The file to write; it appears complete or not at all.

    Returns:
        `dict[str, int]`: `COUNTS`.

    Raises:
        InvalidDatasetError: The source is missing, damaged, lacks a column, or has numbers that are not exact.
        DatasetWriteError: The output cannot be written.
    """
    ids = np.load(ids_path, mmap_mode="r")
    seen = np.zeros(len(ids), dtype=bool)
    counts = Counter(dict.fromkeys(COUNTS, 0))
    record = {"origin": origin_of(source, ids_path), "counts": counts}
    with open_parquet(source) as opened:
        schema = checked_schema(opened.schema_arrow, source)
        with recorded_parquet(output, schema, record) as file:
            for batch in record_batches(opened, source):
                chosen = chosen_rows(batch, ids, seen, counts)
                if len(chosen):
                    file.write_batch(with_numbers(batch.take(chosen), schema))
            counts["missing_ids"] = int(len(seen) - np.count_nonzero(seen))
    return dict(counts)


def open_parquet(source: str | os.PathLike) -> Any:
    """A file that is read in small pieces: mapped files and whole row groups would fill the memory."""
    import pyarrow.lib
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(source, pre_buffer=False, buffer_size=READ_AHEAD_BYTES)
    except (OSError, pyarrow.lib.ArrowException) as error:
        raise InvalidDatasetError(f"{source} cannot be read as Parquet: {error}") from error


def record_batches(opened: Any, source: str | os.PathLike) -> Iterator[Any]:
    """The rows of an open file; damage inside it is an error of the source, not of the output."""
    import pyarrow.lib

    try:
        yield from opened.iter_batches(ROWS_PER_BATCH, use_threads=False)
    except (OSError, pyarrow.lib.ArrowException) as error:
        raise InvalidDatasetError(f"{source} is damaged: {error}") from error


def origin_of(source: str | os.PathLike, ids_path: str | os.PathLike) -> dict[str, Any]:
    """What tells one source and list from others; times of files do not, copies have others."""
    size = os.stat(source).st_size if os.path.exists(source) else None
    return {"source": Path(source).name, "bytes": size, "ids": Path(ids_path).parent.name, "part": Path(ids_path).stem}


def checked_schema(schema: Any, source: str | os.PathLike) -> Any:
    """The columns of the output."""
    import pyarrow

    missing = [name for name in NEEDED_COLUMNS if name not in schema.names]
    if missing:
        raise InvalidDatasetError(
            f"{source} lacks {', '.join(missing)}; expected the columns of LAION-400M's metadata, SAMPLE_ID, URL, TEXT"
            f" and others, and found {', '.join(schema.names)}."
        )
    kind = schema.field(ID_COLUMN).type
    if pyarrow.types.is_floating(kind) and kind != pyarrow.float64():
        raise InvalidDatasetError(
            f"{source} has {ID_COLUMN} as {kind}, in which different samples share a number; expected int64."
        )
    return schema.set(schema.get_field_index(ID_COLUMN), pyarrow.field(ID_COLUMN, pyarrow.int64())).remove_metadata()


def chosen_rows(batch: Any, ids: np.ndarray, seen: np.ndarray, counts: Counter) -> np.ndarray:
    """Places in a batch of the rows to be written; `seen` and `counts` take note of what is in it."""
    numbers, known = exact_numbers(batch.column(ID_COLUMN))
    place = np.minimum(np.searchsorted(ids, numbers), max(len(ids) - 1, 0))
    matched = known & (ids[place] == numbers) if len(ids) else np.zeros(len(batch), bool)
    has_url, has_text = (has_words(batch.column(name)) for name in ("URL", "TEXT"))
    chosen = np.flatnonzero(matched & has_url)
    newly_seen = np.unique(place[chosen])
    counts["rows"] += len(batch)
    counts["written"] += len(chosen)
    counts["repeated"] += len(chosen) - int(np.count_nonzero(~seen[newly_seen]))
    counts["without_number"] += int(np.count_nonzero(~known))
    counts["without_url"] += int(np.count_nonzero(matched & ~has_url))
    counts["without_text"] += int(np.count_nonzero(matched & has_url & ~has_text))
    seen[newly_seen] = True
    return chosen


def exact_numbers(column: Any) -> tuple[np.ndarray, np.ndarray]:
    """SAMPLE_IDs as int64, and which are valid. Copies of the metadata also store them as float or text."""
    import pyarrow
    import pyarrow.compute as pc

    if pyarrow.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pyarrow.types.is_string(column.type) or pyarrow.types.is_large_string(column.type):
        digits = pc.replace_substring_regex(pc.utf8_trim_whitespace(column), r"\.0*$", "")
        column = pc.if_else(pc.match_substring_regex(column, NUMBER_IN_TEXT), digits, None)
    elif pyarrow.types.is_floating(column.type):
        exact = pc.and_(pc.equal(pc.floor(column), column), pc.less_equal(pc.abs(column), LARGEST_EXACT_FLOAT))
        column = pc.if_else(exact, column, None)
    column = pc.cast(column, pyarrow.int64(), safe=True)
    known = pc.is_valid(column).to_numpy(zero_copy_only=False)
    return pc.fill_null(column, 0).to_numpy(zero_copy_only=False), known


def has_words(column: Any) -> np.ndarray:
    """Which values are neither NULL nor blank."""
    import pyarrow
    import pyarrow.compute as pc

    if pyarrow.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pyarrow.types.is_null(column.type):
        return np.zeros(len(column), bool)
    lengths = pc.utf8_length(pc.utf8_trim_whitespace(column))
    return pc.fill_null(pc.greater(lengths, 0), False).to_numpy(zero_copy_only=False)


def with_numbers(batch: Any, schema: Any) -> Any:
    """A batch whose SAMPLE_ID is int64."""
    import pyarrow

    numbers = pyarrow.array(exact_numbers(batch.column(ID_COLUMN))[0])
    return pyarrow.record_batch(
        batch.set_column(schema.get_field_index(ID_COLUMN), ID_COLUMN, numbers).columns, schema
    )
