"""The file of the faces that were detected in one shard: `detections-{shard}.parquet`.

`farl_hf.data.face_tables` reads it for the training stream; it is the counterpart of LAION-Face's
`sample2detect_{part}.pth`, in pixels of the upright picture as it lies in the shard.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from farl_hf.data.recorded_parquet import recorded_parquet
from farl_hf.results import Faces

__all__ = ["detections_path", "write_detections"]


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
        record (`dict`, *optional*): What the file was made of, for `read_record`. It is looked at when all rows
            have been taken.

    Raises:
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
