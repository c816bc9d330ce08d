"""A face index as a file: safetensors, which always works, or Parquet, which other tools read.

Parquet has one row per face with the columns `photo`, `box_xyxy` and `embedding`.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from farl_hf.errors import InvalidFaceIndexError, MissingExtraError, UnknownNameError

__all__ = ["checked_index_path", "read_index_file", "write_index_file"]

_KIND = "farl_hf face index 1"


def checked_index_path(path: Path) -> Path:
    """The path, if an index can be written there.

    Raises:
        UnknownNameError: If its ending names no kind of file, or it is a folder or lies in none.
        MissingExtraError: If it is Parquet and pyarrow is not installed.
    """
    if path.suffix not in _WRITERS:
        raise UnknownNameError(f"{path} names no kind of index file; end it in {' or '.join(_WRITERS)}.")
    if path.is_dir() or not path.parent.is_dir():
        raise UnknownNameError(f"{path} cannot be written: it is a folder, or lies in one that does not exist.")
    if path.suffix == ".parquet":
        _parquet()
    return path


def write_index_file(
    path: Path, embeddings: np.ndarray, photos: Sequence[str], boxes_xyxy: np.ndarray, fingerprint: str
) -> None:
    """Write beside the place, then move there; see `FaceIndex.save`."""
    checked_index_path(path)
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        _WRITERS[path.suffix](draft, embeddings, photos, boxes_xyxy, {"kind": _KIND, "fingerprint": fingerprint})
        os.replace(draft, path)
    except OSError as error:
        raise UnknownNameError(f"{path} cannot be written: {error}.") from error
    finally:
        draft.unlink(missing_ok=True)


def read_index_file(path: Path) -> tuple[np.ndarray, list[str], np.ndarray, str]:
    """Embeddings, photos, boxes and fingerprint; see `FaceIndex.load`."""
    if path.suffix not in _READERS or not path.is_file():
        raise InvalidFaceIndexError(
            f"There is no face index {path}; give a {' or '.join(_READERS)} file that `farl-hf index` wrote."
        )
    if path.suffix == ".parquet":
        _parquet()
    try:
        return _READERS[path.suffix](path)
    except (SafetensorError, ValueError, KeyError, TypeError, OSError) as error:  # ArrowInvalid is a ValueError
        raise InvalidFaceIndexError(f"{path} is not a face index, or is damaged: {error}.") from error


def _write_safetensors(
    path: Path, embeddings: np.ndarray, photos: Sequence[str], boxes_xyxy: Any, facts: dict
) -> None:
    tensors = {"embeddings": embeddings, "boxes_xyxy": boxes_xyxy}
    # As a tensor, not in the header: a header is limited to 100 MB.
    tensors["photos"] = np.frombuffer(json.dumps(list(photos)).encode(), np.uint8)
    save_file(tensors, path, metadata=facts)


def _read_safetensors(path: Path) -> tuple[np.ndarray, list[str], np.ndarray, str]:
    with safe_open(path, framework="numpy") as file:
        fingerprint = _fingerprint(file.metadata() or {})
        photos = json.loads(file.get_tensor("photos").tobytes())
        return file.get_tensor("embeddings"), photos, file.get_tensor("boxes_xyxy"), fingerprint


def _write_parquet(path: Path, embeddings: np.ndarray, photos: Sequence[str], boxes_xyxy: Any, facts: dict) -> None:
    pyarrow, parquet = _parquet()
    columns = {
        "photo": pyarrow.array(list(photos), pyarrow.string()),
        "box_xyxy": pyarrow.FixedSizeListArray.from_arrays(boxes_xyxy.ravel(), boxes_xyxy.shape[1]),
        "embedding": pyarrow.FixedSizeListArray.from_arrays(embeddings.ravel(), embeddings.shape[1]),
    }
    parquet.write_table(pyarrow.table(columns).replace_schema_metadata(facts), path)


def _read_parquet(path: Path) -> tuple[np.ndarray, list[str], np.ndarray, str]:
    _, parquet = _parquet()
    table = parquet.read_table(path)
    facts = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    embeddings, boxes_xyxy = (
        table[name].combine_chunks().flatten().to_numpy().reshape(len(table), table[name].type.list_size)
        for name in ("embedding", "box_xyxy")
    )
    return embeddings, table["photo"].to_pylist(), boxes_xyxy, _fingerprint(facts)


def _fingerprint(facts: dict[str, str]) -> str:
    if facts.get("kind") != _KIND:
        raise ValueError(f"its kind is {facts.get('kind')!r}, not {_KIND!r}")
    return facts["fingerprint"]


def _parquet() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError(
            'Parquet files need pyarrow: pip install "farl-hf[search]", or use a .safetensors file.'
        ) from error
    return pyarrow, parquet


_WRITERS = {".safetensors": _write_safetensors, ".parquet": _write_parquet}
_READERS = {".safetensors": _read_safetensors, ".parquet": _read_parquet}
