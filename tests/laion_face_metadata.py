"""Tiny LAION-400M: metadata in Parquet as it was published, and the list of LAION-Face's numbers."""

import pyarrow as pa
import pyarrow.parquet as pq
import torch

ROWS = 300
# SAMPLE_IDs of LAION-400M do not fit into 32 bits.
FIRST_ID = 3_000_000_000_000


def sample_ids(part, count=ROWS):
    """Numbers of a part's rows, in no order, as in the published files."""
    return [FIRST_ID + 1_000_000 * part + (7 * row) % count for row in range(count)]


def columns_of_part(part, count=ROWS, **changes):
    numbers = sample_ids(part, count)
    columns = {
        "SAMPLE_ID": pa.array(numbers, pa.int64()),
        "URL": [f"https://example.org/{number}.jpg" for number in numbers],
        "TEXT": [f"caption of {number}" for number in numbers],
        "HEIGHT": pa.array([480] * count, pa.int32()),
        "WIDTH": pa.array([640] * count, pa.int32()),
        "LICENSE": ["?"] * count,
        "NSFW": ["UNLIKELY"] * count,
        "similarity": [0.31] * count,
    } | changes
    return {name: column for name, column in columns.items() if column is not None}


def write_part(folder, part, count=ROWS, row_group_size=64, **changes):
    """`part-{part:05d}-….parquet`; `changes` replaces columns, None takes them out."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"part-{part:05d}-5b54c5d5-bbcf-484d-a2ce-0d6f73df1a36-c000.snappy.parquet"
    pq.write_table(pa.table(columns_of_part(part, count, **changes)), path, row_group_size=row_group_size)
    return path


def face_ids(part, count=ROWS):
    """Every third number is a face's."""
    return sorted(sample_ids(part, count))[::3]


def write_ids(path, num_parts, container=set, count=ROWS):
    torch.save([container(face_ids(part, count)) for part in range(num_parts)], path)
    return path
