"""Data sets by name, in the common row shape."""

import logging
import os
import time
from collections.abc import Sequence
from typing import Any

from huggingface_hub.errors import HFValidationError

from farl_hf.data.datasets.catalogue import PUBLISHED_DATASETS
from farl_hf.data.datasets.raw_folders import resolve_root
from farl_hf.errors import (
    InvalidArgumentError,
    InvalidDatasetError,
    MissingExtraError,
    check_name,
    in_short,
    unknown_name,
)
from farl_hf.whole_files import check_utf8

logger = logging.getLogger(__name__)

_MANY_RENDERED = 2_000
_TIMED_PHOTOS = 4
SPLITS = ("train", "validation", "test")


def load_face_dataset(
    name: str,
    config_name: str | None = None,
    *,
    data_dir: str | os.PathLike | None = None,
    split: str | None = None,
    streaming: bool = False,
    bad_photos: str | None = None,
    check_counts: bool = True,
    num_photos: dict[str, int] | None = None,
    cache_dir: str | None = None,
    num_proc: int | None = None,
) -> Any:
    """A data set of faces, one row per photo, in the columns of docs/conventions.md.

    Args:
        name (`str`): A published data set (`"lapa"`, `"celebamask_hq"`, `"celeba"`, `"lfwa"`, `"w300"`, `"wflw"`,
            `"aflw19"`, `"widerface"`), which is read from `data_dir`; `"laion_face"`, the same, as a stream only;
            `"synthetic_faces"`; a folder written by `save_to_disk` or `farl-hf data convert`; or any name that
            `datasets.load_dataset` takes, with columns in the common row shape.
        config_name (`str`, *optional*): Configuration: `"portraits"` or `"scenes"` of the synthetic faces; those of
            the published data sets are in docs/datasets.md.
        data_dir (`str`, *optional*): Folder of a published data set, as its owners distribute it.
        split (`str`, *optional*): Only this split; then the result is the split itself.
        streaming (`bool`, *optional*, defaults to `False`): Read while iterating, without a cache.
        bad_photos (`str`, *optional*): Of a published data set, what to do with photos that are missing, unreadable or
            contradict their annotation: `"raise"` and `"skip"` (named and counted in the log) look at all of them
            first; by default they raise when they are read.
        check_counts (`bool`, *optional*, defaults to `True`): Warn when a split of a published data set has another
            size than published.
        num_photos (`dict[str, int]`, *optional*): At most so many photos of a split; 0 skips the split. The
            synthetic faces render no more than that.
        cache_dir (`str`, *optional*): Where prepared data is kept.
        num_proc (`int`, *optional*): Processes that prepare it.

    Returns:
        `dict[str, datasets.Dataset]`: Splits by name (`IterableDataset` when streaming); with `split` that split.

    Raises:
        UnknownNameError: No such data set, configuration or split.
        InvalidArgumentError: A number of photos is below 0, or 0 for the split that is asked for.
        InvalidDatasetError: The folder of a published data set is missing, of another data set, or incomplete. The
            message says where the data set comes from, its licence, and what the folder must hold.
        UnreadablePhotoError: With `bad_photos="raise"`, a picture cannot be decoded.
        DatasetWriteError: The cache cannot be written.
        MissingExtraError: A package that reads this data set is not installed.

    Example:
        >>> from farl_hf import load_face_dataset
        >>> rows = load_face_dataset("synthetic_faces", split="test", streaming=True)
        >>> sorted(next(iter(rows)))[:3]
        ['attributes', 'boxes_xyxy', 'caption']
    """
    try:
        import datasets  # noqa: F401
    except ImportError as error:
        raise MissingExtraError('Data sets need the `datasets` package: pip install "farl-hf[train]".') from error
    num_photos = num_photos or {}
    for limited_split, count in num_photos.items():
        check_limit(limited_split, count, least=1 if limited_split == split else 0)
    if name == "synthetic_faces":
        splits = load_synthetic_faces(config_name, num_photos, split, streaming, cache_dir, num_proc)
    elif name == "laion_face":
        splits = {"train": load_laion_face(data_dir, streaming, cache_dir)}
    elif name in PUBLISHED_DATASETS:
        published = PUBLISHED_DATASETS[name].counts
        wanted = (split,) if split is not None else tuple(other for other in published if num_photos.get(other) != 0)
        settings: dict[str, Any] = {"bad_photos": bad_photos, "check_counts": check_counts}
        if len(wanted) < len(published):  # otherwise one cache for all splits
            settings["splits"] = wanted
        builder = published_builder(name, config_name, data_dir, cache_dir=cache_dir, **settings)
        splits = builder.as_streaming_dataset() if streaming else prepared(builder, num_proc)
    else:
        splits = load_other(name, config_name, streaming, cache_dir, num_proc)
    splits = {
        found: limited(rows, num_photos.get(found)) for found, rows in splits.items() if num_photos.get(found) != 0
    }
    if split is None:
        return splits
    check_name("split", split, splits, f"The data set: {name}.")
    return splits[split]


def published_builder(
    name: str, config_name: str | None = None, data_dir: str | os.PathLike | None = None, **settings: Any
) -> Any:
    """The `datasets` builder of a published data set; `settings` are those of [`FaceDatasetConfig`] and `cache_dir`.

    Raises:
        UnknownNameError: The data set has no such configuration.
        InvalidDatasetError: The folder is missing or of another data set, or its path is not UTF-8.
    """
    builder_class = PUBLISHED_DATASETS[name].builder_class()
    config_name = config_name or builder_class.DEFAULT_CONFIG_NAME
    known = [config.name for config in builder_class.BUILDER_CONFIGS]
    check_name("configuration", config_name, known, f"The data set: {name}.")
    folder = None if data_dir is None else os.path.abspath(os.path.expanduser(data_dir))
    check_utf8(folder or "", InvalidDatasetError)
    if folder is not None:  # the cache is told by the files of the data set, which may lie deep in its parent
        folder = str(resolve_root(name, folder))
    return builder_class(config_name=config_name, data_dir=folder, **settings)


def prepared(builder: Any, num_proc: int | None) -> dict[str, Any]:
    """All splits of a builder, from the cache when they are there."""
    builder.download_and_prepare(num_proc=num_proc)
    splits = {str(split): builder.as_dataset(split=split) for split in builder.info.splits}
    for split, count in getattr(builder, "num_listed", {}).items():  # absent when the cache was there
        if len(splits[split]) < count:
            logger.warning("Skipped %d of the %d photos of %r.", count - len(splits[split]), count, split)
    return splits


def is_saved(name: str) -> bool:
    """Whether it is a folder that `save_to_disk` wrote; False for names that no file can have."""
    return os.path.isfile(os.path.join(name, "dataset_dict.json"))


def load_other(
    name: str, config_name: str | None, streaming: bool, cache_dir: str | None, num_proc: int | None
) -> dict[str, Any]:
    """A folder, or a name that `datasets` knows."""
    import datasets

    if is_saved(name):
        check_utf8(name, InvalidDatasetError)
        if config_name is not None:
            raise unknown_name("configuration", config_name, (), f"The data set {name} is a folder of save_to_disk.")
        try:
            splits = datasets.load_from_disk(name)
        except (
            OSError,
            ValueError,
            TypeError,
            KeyError,
            AttributeError,
            IndexError,
        ) as error:  # Arrow's are ValueErrors
            raise InvalidDatasetError(
                f"The saved data set {name} is damaged ({in_short(error, 200)}); save it again."
            ) from error
        return {split: rows.to_iterable_dataset() for split, rows in splits.items()} if streaming else splits
    try:
        return datasets.load_dataset(name, config_name, cache_dir=cache_dir, num_proc=num_proc, streaming=streaming)
    except (FileNotFoundError, ConnectionError, HFValidationError, IndexError) as error:  # the last of an empty name
        known, reason = ("synthetic_faces", "laion_face", *PUBLISHED_DATASETS), str(error).partition("\n")[0]
        hint = f"Or give a folder, or a name on the Hub ({reason})."
        raise unknown_name("data set", name, known, hint) from error


def load_face_datasets(
    names: Sequence[str], config_name: str | None = None, *, num_photos: dict[str, int] | None = None, **settings: Any
) -> dict[str, Any]:
    """Splits of several data sets, each joined to one; see [`load_face_dataset`]. The limits hold for the whole."""
    loaded = [
        # Beside other data sets, a configuration is theirs.
        load_face_dataset(
            name, None if len(names) > 1 and is_saved(name) else config_name, num_photos=num_photos, **settings
        )
        for name in names
    ]
    if len(loaded) == 1:
        return loaded[0]
    import datasets

    splits = {split: (num_photos or {}).get(split) for one in loaded for split in one}
    return {
        split: limited(datasets.concatenate_datasets([one[split] for one in loaded if split in one]), count)
        for split, count in splits.items()
    }


def is_synthetic(rows: Any) -> bool:
    """Whether a split was rendered by [`SyntheticFaces`], also after a stay in a folder."""
    return getattr(getattr(rows, "info", None), "builder_name", None) == "synthetic_faces"


def load_synthetic_faces(
    config_name: str | None,
    num_photos: dict[str, int],
    split: str | None,
    streaming: bool,
    cache_dir: str | None,
    num_proc: int | None,
) -> dict[str, Any]:
    """Renders (or finds in the cache) the synthetic faces."""
    from farl_hf.data.synthetic_faces import SyntheticFaces

    for name in (*(name for name, count in num_photos.items() if count), *([] if split is None else [split])):
        check_name("split", name, SPLITS, "The data set: synthetic_faces.")
    config_name = config_name or "portraits"
    check_name("configuration", config_name, [one.name for one in SyntheticFaces.BUILDER_CONFIGS])
    skipped = () if split is None else [other for other in SPLITS if other != split]
    counts = (num_photos | dict.fromkeys(skipped, 0)).items()
    sizes = {f"num_{name}": count for name, count in counts if name in SPLITS}
    builder = SyntheticFaces(config_name=config_name, cache_dir=cache_dir, **sizes)
    if streaming:
        return builder.as_streaming_dataset()
    if not os.path.exists(builder.cache_dir):
        _announce_rendering(builder.config, num_proc or 1)
    return prepared(builder, num_proc)


def _announce_rendering(config: Any, num_proc: int) -> None:
    """Says how long the photos take, by the time of a few, unless that is a moment."""
    from farl_hf.face_renderer import render_face_photo

    num_photos = config.num_train + config.num_validation + config.num_test
    if num_photos < _MANY_RENDERED:
        return
    start = time.process_time()
    for index in range(_TIMED_PHOTOS):
        render_face_photo(index, config.kind, config.size_hw)
    minutes = (time.process_time() - start) / _TIMED_PHOTOS * num_photos / num_proc / 60
    logger.warning(
        "Rendering %s photos once, in %d process(es): about %.0f minutes. They are kept in the cache of data sets; "
        "num_proc of load_face_dataset takes more processes.",
        f"{num_photos:,}",
        num_proc,
        max(1, minutes),
    )


def load_laion_face(data_dir: str | os.PathLike | None, streaming: bool, cache_dir: str | None) -> Any:
    """The shards of a folder; see [`laion_face_rows`]."""
    from farl_hf.data.laion_face.shards import laion_face_rows

    if not streaming or data_dir is None:
        raise InvalidDatasetError(
            "LAION-Face is too large for a cache; pass streaming=True, and as data_dir the folder with its"
            " split_*/*.tar and sample2detect_*.pth."
        )
    return laion_face_rows(data_dir, cache_dir=cache_dir)


def check_limit(split: str, count: int | None, least: int = 1) -> None:
    """Raises `InvalidArgumentError` if a split is cut to fewer photos than `least`."""
    if count is not None and count < least:
        raise InvalidArgumentError(
            f"{count} photos of the split {split!r} are asked for; expected at least {least}, or no limit for all."
        )


def limited(rows: Any, count: int | None) -> Any:
    """The first rows of a split."""
    if count is None:
        return rows
    return rows.select(range(min(count, len(rows)))) if hasattr(rows, "__len__") else rows.take(count)
