"""`farl-hf laion-face prepare`: the parts, one job each; a manifest of the results; the download commands."""

import json
import os
import re
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from farl_hf.data.recorded_files import read_record
from farl_hf.errors import DatasetWriteError, InvalidDatasetError
from farl_hf.laion_face.id_lists import id_arrays
from farl_hf.laion_face.metadata_filtering import COUNTS, open_parquet
from farl_hf.whole_files import remove_left_over, write_json

MANIFEST = "manifest.json"
SOURCE_PATTERN = "part-*.parquet"
OUTPUT_NAME = "laion_face_part_{}.parquet"
EXTRA_COLUMNS = ("NSFW", "similarity", "LICENSE", "SAMPLE_ID")


def part_jobs(
    metadata_dir: str | os.PathLike, ids: str | os.PathLike, output: str | os.PathLike, parts: Sequence[int] | None
) -> list[dict[str, Any]]:
    """One job per part: its source, its numbers, its output.

    Args:
        metadata_dir (`str`): Folder with LAION-400M's `part-00000-….parquet` and the like.
        ids (`str`): `laion_face_ids.pth`.
        output (`str`): Folder for the results; the arrays of numbers go there too.
        parts (`list[int]`, *optional*): Which; all in the list of numbers if not given.

    Raises:
        InvalidDatasetError: A part is in neither or only in one of the two; the list of numbers cannot be read.
        DatasetWriteError: The output cannot be written.
    """
    folder, output = Path(metadata_dir).expanduser().absolute(), Path(output).expanduser().absolute()
    sources = numbered_sources(folder)
    arrays = id_arrays(Path(ids).expanduser(), output)
    wanted = sorted(arrays) if parts is None else parts
    unlisted = [part for part in wanted if part not in arrays]
    if unlisted:
        raise InvalidDatasetError(f"{ids} has no part {in_words(unlisted)}; it has {in_words(sorted(arrays))}.")
    missing = [part for part in wanted if part not in sources]
    if missing:
        raise InvalidDatasetError(
            f"{folder} lacks part {in_words(missing)}; expected files named part-{missing[0]:05d}-….parquet, as"
            " LAION-400M's metadata is published. --parts chooses others."
        )
    return [
        {
            "part": part,
            "source": str(sources[part]),
            "ids": str(arrays[part]),
            "output": str(output / OUTPUT_NAME.format(f"{part:05d}")),
        }
        for part in wanted
    ]


def numbered_sources(folder: Path) -> dict[int, Path]:
    """Parquet files of a folder by the number of their part."""
    numbered: dict[int, Path] = {}
    for path in sorted(folder.glob(SOURCE_PATTERN)):
        found = re.match(r"part-(\d+)\b", path.name)
        if found and int(found[1]) in numbered:
            raise InvalidDatasetError(f"{numbered[int(found[1])]} and {path} are both part {int(found[1])}; keep one.")
        if found:
            numbered[int(found[1])] = path
    if not numbered:
        raise InvalidDatasetError(
            f"{folder} holds no files named part-00000-….parquet; expected the metadata of LAION-400M."
        )
    return numbered


def in_words(parts: Sequence[int]) -> str:
    """Numbers with commas."""
    return ", ".join(map(str, parts))


def num_rows(job: dict[str, Any]) -> int:
    """Rows that a part's source has by its footer; 0 if it cannot be read."""
    try:
        with open_parquet(job["source"]) as source:
            return source.metadata.num_rows
    except InvalidDatasetError:
        return 0


def write_manifest(output: str | os.PathLike) -> dict[str, int]:
    """Writes a manifest of the parts in a folder: what each was made of, and its counts; returns the total counts.

    This is read from the footers of the parts, so parts of earlier runs are in it too.

    Raises:
        DatasetWriteError: It cannot be written.
    """
    folder = Path(output).expanduser()
    records = {path.name: read_record(path) for path in sorted(folder.glob(OUTPUT_NAME.format("*")))}
    parts = {name: record for name, record in records.items() if record is not None}
    sums: Counter[str] = sum((Counter(record["counts"]) for record in parts.values()), Counter())
    total = {name: sums[name] for name in COUNTS}
    remove_left_over(folder / MANIFEST)
    write_json(folder / MANIFEST, {"parts": parts, "total": total}, DatasetWriteError)
    return total


def download_commands(jobs: Sequence[dict[str, Any]], folder: str = "laion_face") -> list[str]:
    """The img2dataset command of every part, with the flags of LAION-Face's `download.sh`.

    Columns that the metadata lacks are not requested.
    """
    commands = []
    for job in jobs:
        with open_parquet(job["output"]) as written:
            extra = [name for name in EXTRA_COLUMNS if name in written.schema_arrow.names]
        words = {
            "--url_list": job["output"],
            "--input_format": "parquet",
            "--url_col": "URL",
            "--caption_col": "TEXT",
            "--output_format": "webdataset",
            "--output_folder": f"{folder}/split_{job['part']:05d}",
            "--processes_count": "16",
            "--thread_count": "128",
            "--resize_mode": "no",
            "--save_additional_columns": json.dumps(extra),
        }
        commands.append(" ".join(["img2dataset", *(f"{name} {shlex.quote(word)}" for name, word in words.items())]))
    return commands
