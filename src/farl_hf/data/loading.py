"""Data sets by name, in the common row shape, and the pictures of a row as numpy arrays.

Pictures are decoded only when a sample needs them. One is `{"bytes", "path"}` as the undecoded `datasets.Image` gives
it; most functions also take a PIL image or an array. `farl_hf.photos` opens all of them, so that training sees the
pixels that pipelines see.
"""

import logging
import os
import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import PIL.Image
import torch
from huggingface_hub.errors import HFValidationError

from farl_hf.data.datasets.catalogue import PUBLISHED_DATASETS
from farl_hf.errors import (
    InvalidArgumentError,
    InvalidDatasetError,
    InvalidFaceInputError,
    MissingExtraError,
    check_name,
    in_short,
    unknown_name,
)
from farl_hf.photos import OversizedPhotoError, load_photo, open_picture, orientation, upright, upright_rgb
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
        InvalidDatasetError: The path of the folder is not UTF-8.
    """
    builder_class = PUBLISHED_DATASETS[name].builder_class()
    config_name = config_name or builder_class.DEFAULT_CONFIG_NAME
    known = [config.name for config in builder_class.BUILDER_CONFIGS]
    check_name("configuration", config_name, known, f"The data set: {name}.")
    folder = None if data_dir is None else os.path.abspath(os.path.expanduser(data_dir))
    check_utf8(folder or "", InvalidDatasetError)
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
    except (FileNotFoundError, ConnectionError, HFValidationError) as error:
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


# What Pillow itself warns about: a quarter of a gigabyte of RGB. Photos of the web are far below.
MAX_PHOTO_PIXELS = 89_478_485
# Parts of its size at which a JPEG can be decoded, in a fraction of the time.
REDUCTIONS = (8, 4, 2)
# By what Pillow multiplies grey values of few bits, by the name of their layout in the file.
SPREAD = {"L;2": 85, "L;4": 17}


def column_names(rows: Any) -> list[str]:
    """Columns of a `datasets.Dataset` or of a list of dicts."""
    return list(rows.column_names) if hasattr(rows, "column_names") else list(rows[0])


def without_decoding(rows: Any, columns: Sequence[str]) -> Any:
    """A view of the rows that keeps these columns and leaves pictures as encoded bytes.

    `datasets.Dataset` decodes every picture of a row through PIL, whether it is used or not; skipping that is most of
    the speed of a CPU training. A list of dicts is returned as it is.
    """
    if not hasattr(rows, "cast_column"):
        return rows
    import datasets

    view = rows.select_columns([name for name in columns if name in rows.column_names])
    for name, feature in view.features.items():
        if isinstance(feature, datasets.Image):
            view = view.cast_column(name, datasets.Image(decode=False))
    return view


def decode_photo(picture: Any, name: str | None = None) -> np.ndarray:
    """(H, W, 3) uint8 RGB, upright, of anything that `load_photo` reads.

    Args:
        picture: The photo, for example `{"bytes", "path"}`.
        name (`str`, *optional*): What errors call it.

    Raises:
        UnreadablePhotoError: The picture cannot be read or decoded.
    """
    return np.asarray(load_photo(picture, picture_name(picture, name)))


def decode_map(picture: Any, name: str | None = None) -> np.ndarray:
    """(H, W) uint8 class or instance ids from encoded bytes, a path, a PIL image or an array.

    Args:
        picture: The map. Of a palette, the indices are the ids; of grey pictures of 1, 2, 4 or 8 bits, the values as
            stored.
        name (`str`, *optional*): What errors call it.

    Raises:
        UnreadablePhotoError: The picture cannot be read or decoded.
        InvalidFaceInputError: It has colours, no pixels, or ids beyond 0 to 255.
    """
    name = picture_name(picture, name)
    if not isinstance(picture, np.ndarray | torch.Tensor):
        picture = stored_values(picture if isinstance(picture, PIL.Image.Image) else open_picture(picture, name), name)
    try:
        ids = picture.detach().cpu().numpy() if isinstance(picture, torch.Tensor) else np.asarray(picture)
    except (TypeError, RuntimeError) as error:  # sparse, meta, bfloat16 …
        raise InvalidFaceInputError(
            f"The label map {name} is no tensor of class ids: {in_short(error, 200)}"
        ) from error
    if not ids.size:
        raise InvalidFaceInputError(f"The label map {name} of shape {ids.shape} has no pixels.")
    if ids.ndim == 3 and ids.shape[2] == 1:
        ids = ids[..., 0]
    if ids.ndim != 2 or ids.dtype.kind not in "bui":
        raise InvalidFaceInputError(
            f"The label map {name} is a colour picture, of shape {ids.shape} and type {ids.dtype}; expected one"
            " channel of whole class ids."
        )
    if ids.min() < 0 or ids.max() > 255:
        raise InvalidFaceInputError(
            f"The label map {name} has the ids {ids.min()} to {ids.max()}; expected them within 0 to 255."
        )
    return ids.astype(np.uint8)


def stored_values(picture: PIL.Image.Image, name: str) -> np.ndarray:
    """The values of a map as they were written: Pillow spreads grey of 2 and 4 bits over 0 to 255."""
    tiles = getattr(picture, "tile", None)  # gone once the picture is decoded
    arguments = tiles[0].args if tiles else ""
    raw_mode = arguments if isinstance(arguments, str) else str(arguments[0])
    values = np.asarray(upright(picture, name))
    if picture.mode in ("RGBA", "LA", "PA"):
        values = values[..., :-1] if (values[..., -1] == 255).all() or picture.mode == "PA" else values
    return values // SPREAD[raw_mode] if picture.mode == "L" and raw_mode in SPREAD else values


def picture_name(picture: Any, name: str | None = None) -> str:
    """The name of `{"bytes", "path"}` in an error: its path, and what the caller calls it."""
    path = picture.get("path") if isinstance(picture, Mapping) else None
    return " of ".join(filter(None, (path, name))) or "a dataset row"


class ReducedPhoto:
    """A photo that is decoded no larger than a crop needs, once the scale of the crop is known.

    The crop of a face that fills a large photo shrinks it. JPEG pictures can be decoded at a half, a quarter or an
    eighth of their size in a fraction of the time, and the remaining resampling skips no pixels.

    Args:
        picture: `{"bytes", "path"}` as the undecoded `datasets.Image` gives it, a PIL image, or an array (H, W, 3)
            uint8 RGB.
        name (`str`, *optional*): What errors call it.

    Attributes:
        size_hw (`tuple[int, int]`): Height and width of the whole photo, turned as its EXIF tag says.

    Raises:
        OversizedPhotoError: It has more than `MAX_PHOTO_PIXELS`; it is refused before it is decoded.
        UnreadablePhotoError: The picture cannot be opened.
    """

    def __init__(self, picture: Any, name: str | None = None):
        self.name = picture_name(picture, name)
        # Asking for a smaller decoding changes a PIL image for good, so never one of the caller's.
        self.draftable = isinstance(picture, dict)
        if isinstance(picture, dict):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)  # our limit follows
                picture = open_picture(picture, self.name)
        elif not isinstance(picture, PIL.Image.Image):
            picture = load_photo(picture, self.name)
        width, height = picture.size
        if width * height > MAX_PHOTO_PIXELS:
            raise OversizedPhotoError(
                f"The picture {self.name}, of {width} x {height} pixels, is larger than {MAX_PHOTO_PIXELS} pixels."
            )
        if picture.format == "JPEG":
            self.turn = orientation(picture)
        else:  # only JPEG is decoded in part, and PNG may have its EXIF block after the pixels
            picture, self.turn = upright(picture, self.name), 1
        width, height = picture.size
        self.picture, self.size_hw = picture, (width, height) if self.turn >= 5 else (height, width)

    def decode(self, scale: float) -> tuple[np.ndarray, int]:
        """Decodes for a crop that shows `scale` crop pixels per photo pixel.

        Returns:
            `tuple[numpy.ndarray, int]`: (h, w, 3) uint8 RGB and the whole number by which it is smaller than the
            photo: photo coordinates divided by it are its coordinates.

        Raises:
            UnreadablePhotoError: The data is damaged or ends early.
        """
        reduction = next((factor for factor in REDUCTIONS if scale * factor <= 1), 1)
        achieved = 1
        if reduction > 1 and self.draftable and self.turn == 1:  # a turned photo's last blocks would come first
            width, height = self.picture.size
            drafted = self.picture.draft("RGB", (max(1, width // reduction), max(1, height // reduction)))
            achieved = round(width / drafted[1][2]) if drafted else 1
        photo = upright_rgb(self.picture, self.name)
        return np.asarray(photo.reduce(reduction // achieved) if reduction > achieved else photo), reduction
