"""Data sets by name, in the common row shape."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub.errors import HFValidationError

from farl_hf.errors import MissingExtraError, UnknownNameError

__all__ = ["is_synthetic", "load_face_dataset", "load_face_datasets"]

SPLITS = ("train", "validation", "test")


def load_face_dataset(
    name: str,
    config_name: str | None = None,
    *,
    num_photos: dict[str, int] | None = None,
    cache_dir: str | None = None,
    num_proc: int | None = None,
) -> dict[str, Any]:
    """Splits of a data set.

    Args:
        name (`str`): `"synthetic_faces"`, a folder written by `save_to_disk`, or any name that
            `datasets.load_dataset` takes, with columns in the common row shape.
        config_name (`str`, *optional*): Configuration; `"portraits"` or `"scenes"` for the synthetic faces.
        num_photos (`dict[str, int]`, *optional*): At most so many photos of a split; 0 leaves the split out. The
            synthetic faces render no more than that.
        cache_dir (`str`, *optional*): Where prepared data is kept.
        num_proc (`int`, *optional*): Processes that prepare it.

    Returns:
        `dict[str, datasets.Dataset]`: Splits by name.
    """
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError('Training needs the `datasets` package: pip install "farl-hf[train]".') from error
    num_photos = num_photos or {}
    if name == "synthetic_faces":
        return load_synthetic_faces(config_name or "portraits", num_photos, cache_dir, num_proc)
    if Path(name, "dataset_dict.json").is_file():
        splits = datasets.load_from_disk(name)
    else:
        try:
            splits = datasets.load_dataset(name, config_name, cache_dir=cache_dir, num_proc=num_proc)
        except (FileNotFoundError, HFValidationError) as error:
            raise UnknownNameError(
                f"There is no data set {name!r}; expected synthetic_faces, a folder or a name on the Hub ({error})."
            ) from error
    return {
        split: limited(rows, num_photos.get(split)) for split, rows in splits.items() if num_photos.get(split) != 0
    }


def load_face_datasets(
    names: Sequence[str], config_name: str | None = None, *, num_photos: dict[str, int] | None = None, **settings: Any
) -> dict[str, Any]:
    """Splits of several data sets, each joined to one; see [`load_face_dataset`]. The limits hold for the whole."""
    loaded = [load_face_dataset(name, config_name, num_photos=num_photos, **settings) for name in names]
    if len(loaded) == 1:
        return loaded[0]
    import datasets

    splits = dict.fromkeys(split for one in loaded for split in one)
    return {
        split: limited(
            datasets.concatenate_datasets([one[split] for one in loaded if split in one]),
            (num_photos or {}).get(split),
        )
        for split in splits
    }


def is_synthetic(rows: Any) -> bool:
    """Whether a split was rendered by [`SyntheticFaces`], also after a stay in a folder."""
    return getattr(getattr(rows, "info", None), "builder_name", None) == "synthetic_faces"


def load_synthetic_faces(
    config_name: str, num_photos: dict[str, int], cache_dir: str | None, num_proc: int | None
) -> dict[str, Any]:
    """Renders (or finds in the cache) the synthetic faces."""
    from farl_hf.data.synthetic_faces import SyntheticFaces

    sizes = {f"num_{split}": count for split, count in num_photos.items()}
    builder = SyntheticFaces(config_name=config_name, cache_dir=cache_dir, **sizes)
    builder.download_and_prepare(num_proc=num_proc)
    return {split: builder.as_dataset(split=split) for split in SPLITS if num_photos.get(split) != 0}


def limited(rows: Any, count: int | None) -> Any:
    """The first rows of a split."""
    return rows if count is None else rows.select(range(min(count, len(rows))))
