"""A published data set as Parquet files with the pictures in them: one folder, complete in itself.

`datasets.load_dataset(folder)`, and the Hub, read it as it is; the columns stay those of docs/conventions.md.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from farl_hf.data.datasets.catalogue import PublishedDataset, get_published_dataset
from farl_hf.data.loading import published_builder
from farl_hf.errors import DatasetWriteError
from farl_hf.whole_files import remove_left_over, written_whole

_SHARD_SIZE = "500MB"


@dataclass(frozen=True)
class ConvertedDataset:
    """A folder that was written.

    Args:
        folder (`Path`): The folder.
        num_photos (`dict[str, int]`): Rows of each split.
        num_skipped (`dict[str, int]`): Photos of each split that are listed but cannot be used.
    """

    folder: Path
    num_photos: dict[str, int]
    num_skipped: dict[str, int]


def convert_face_dataset(
    name: str,
    data_dir: str | os.PathLike,
    output: str | os.PathLike,
    config_name: str | None = None,
    *,
    bad_photos: str = "raise",
    num_proc: int | None = None,
) -> ConvertedDataset:
    """Writes a published data set as Parquet. Every picture is decoded once on the way, to be sure of it.

    The folder appears when it is complete. Until then, everything is in a temporary folder beside it.

    Args:
        name (`str`): A published data set.
        data_dir (`str`): Its folder.
        output (`str`): Folder to make; it must be new or empty.
        config_name (`str`, *optional*): Configuration.
        bad_photos (`str`, *optional*, defaults to `"raise"`): `"skip"` skips bad photos and names them in the log.
        num_proc (`int`, *optional*): Processes.

    Raises:
        UnknownNameError: No such data set or configuration.
        InvalidDatasetError, UnreadablePhotoError: What is wrong with the folder or, with `"raise"`, with a photo.
        DatasetWriteError: The output exists already, the disk is full, or the place cannot be written.
    """
    published, output = get_published_dataset(name), Path(output).expanduser()
    if os.path.exists(output) and (not output.is_dir() or any(output.iterdir())):
        raise DatasetWriteError(f"{output} exists and is not an empty folder; choose another output or remove it.")
    remove_left_over(output)
    with written_whole(output, DatasetWriteError, overwrite=False) as finished:
        cache_dir, prepared = (finished.with_name(f"{output.name}-{kind}") for kind in ("cache", "prepared"))
        builder = published_builder(name, config_name, data_dir, bad_photos=bad_photos, cache_dir=str(cache_dir))
        builder.download_and_prepare(
            str(prepared), file_format="parquet", num_proc=num_proc, max_shard_size=_SHARD_SIZE
        )
        num_photos = {str(split): info.num_examples for split, info in builder.info.splits.items()}
        for split in num_photos:
            move_shards(prepared, finished / "data", split)
        card = dataset_card(name, builder.config.name, published, num_photos)
        (finished / "README.md").write_text(card, encoding="utf-8")
    num_skipped = {split: builder.num_listed[split] - count for split, count in num_photos.items()}
    return ConvertedDataset(output, num_photos, num_skipped)


def move_shards(prepared: Path, folder: Path, split: str) -> None:
    """Gives the files of a split the names by which the Hub knows splits."""
    folder.mkdir(parents=True, exist_ok=True)
    # "-train.parquet" or "-train-00000-of-00002.parquet", but not "-train_other…".
    shards = sorted(
        path for path in prepared.glob("*.parquet") if f"-{split}-" in path.name or path.stem.endswith(f"-{split}")
    )
    for number, path in enumerate(shards):
        shutil.move(path, folder / f"{split}-{number:05d}-of-{len(shards):05d}.parquet")


def dataset_card(name: str, config_name: str, published: PublishedDataset, num_photos: dict[str, int]) -> str:
    """README.md: the files of each split, the source of the data, its licence."""
    files = "".join(f"      - split: {split}\n        path: data/{split}-*\n" for split in num_photos)
    sizes = "".join(f"| {split} | {count:,} |\n" for split, count in num_photos.items())
    return f"""---
pretty_name: {published.title}
license: other
configs:
  - config_name: default
    data_files:
{files}---

# {published.title}

One row per photo, converted with `farl-hf data convert {name}` (configuration `{config_name}`).

- Source: {published.url}
- Licence: {published.licence}. The licence of the source holds for this copy too: keep it private where the source may
  not be passed on.

| split | photos |
|---|---|
{sizes}
Boxes are x_min, y_min, x_max, y_max and points x, y in pixels of the photo; the centre of its first pixel is
(0.5, 0.5). Left is the left of the picture.
"""
