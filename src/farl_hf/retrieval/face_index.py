"""An index of faces: unit vectors, stored in one file, and searched by texts.

The search is exact: by PyTorch, or by the FAISS index of `datasets`. A file is safetensors, which needs no other
package, or Parquet, which other tools read: one row per face with the columns `photo`,
`photo_uri`, `box_xyxy` and `embedding`.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from farl_hf.errors import InvalidArgumentError, InvalidFaceIndexError, MissingExtraError, UnknownNameError
from farl_hf.photo_names import name_of_photo, photo_uri, readable_name
from farl_hf.whole_files import check_utf8, remove_left_over, written_whole

_KIND = "farl_hf face index 1"
_ROWS_AT_A_TIME = 65_536  # limits the memory of the similarities


def search_vectors(vectors: np.ndarray, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The vectors with the largest inner products.

    Args:
        vectors (`np.ndarray` of shape `(N, P)`): float32.
        queries (`np.ndarray` of shape `(Q, P)`): float32.
        count (`int`): How many per query; all if there are fewer.

    Returns:
        `tuple[np.ndarray, np.ndarray]`: Rows and inner products, (Q, count), largest first.
    """
    queries_QP = torch.from_numpy(queries)
    rows, products = torch.zeros(len(queries), 0, dtype=torch.int64), torch.zeros(len(queries), 0)
    for start in range(0, len(vectors), _ROWS_AT_A_TIME):
        some_NP = np.require(vectors[start : start + _ROWS_AT_A_TIME], requirements="W")  # else PyTorch warns
        part = queries_QP @ torch.from_numpy(some_NP).T
        part_rows = torch.arange(start, start + part.shape[1]).expand_as(part)
        products, order = torch.cat([products, part], 1).topk(min(count, products.shape[1] + part.shape[1]))
        rows = torch.cat([rows, part_rows], 1).gather(1, order)
    return rows.numpy(), products.numpy()


def make_faiss_index(vectors: np.ndarray) -> Any:
    """A flat, that is exact, `datasets.search.FaissIndex` over vectors (N, P), by inner product.

    Raises:
        MissingExtraError: If faiss or datasets is not installed.
    """
    try:
        import datasets
        import faiss
        from datasets.search import FaissIndex
    except ImportError as error:
        raise MissingExtraError(
            'Searching with FAISS needs faiss-cpu and datasets: pip install "farl-hf[search]".'
        ) from error
    index = FaissIndex(metric_type=faiss.METRIC_INNER_PRODUCT)
    showed_progress = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        index.add_vectors(vectors, batch_size=max(len(vectors), 1))
    finally:
        if showed_progress:
            datasets.enable_progress_bars()
    return index


def checked_index_path(path: Path) -> Path:
    """The path, if an index can be written there.

    Raises:
        UnknownNameError: If its ending names no kind of file, or it is a folder or lies in none.
        InvalidArgumentError: If the path is not UTF-8.
        MissingExtraError: If it is Parquet and pyarrow is not installed.
    """
    check_utf8(path)
    if path.suffix not in _FORMATS:
        raise UnknownNameError(f"{path} names no kind of index file; end it in {' or '.join(_FORMATS)}.")
    if path.is_dir() or not path.parent.is_dir():
        raise UnknownNameError(f"{path} cannot be written: it is a folder, or lies in one that does not exist.")
    if path.suffix == ".parquet":
        _parquet()
    return path


def _write_safetensors(path: Path, faces: "FaceIndex", facts: dict[str, str]) -> None:
    tensors = {"embeddings": faces.embeddings, "boxes_xyxy": faces.boxes_xyxy}
    # As a tensor, not in the header: a header is limited to 100 MB.
    tensors["photos"] = np.frombuffer(json.dumps(list(faces.photos)).encode(), np.uint8)
    save_file(tensors, path, metadata=facts)


def _read_safetensors(path: Path) -> "FaceIndex":
    with safe_open(path, framework="numpy") as file:
        fingerprint = _fingerprint(file.metadata() or {})
        photos = tuple(json.loads(file.get_tensor("photos").tobytes()))
        return FaceIndex(file.get_tensor("embeddings"), photos, file.get_tensor("boxes_xyxy"), fingerprint)


def _write_parquet(path: Path, faces: "FaceIndex", facts: dict[str, str]) -> None:
    pyarrow, parquet = _parquet()
    names = {"photo": readable_name, "photo_uri": photo_uri}
    columns = {
        key: pyarrow.array(list(map(of_name, faces.photos)), pyarrow.string()) for key, of_name in names.items()
    }
    for name, rows in (("box_xyxy", faces.boxes_xyxy), ("embedding", faces.embeddings)):
        columns[name] = pyarrow.FixedSizeListArray.from_arrays(rows.ravel(), rows.shape[1])
    parquet.write_table(pyarrow.table(columns).replace_schema_metadata(facts), path)


def _read_parquet(path: Path) -> "FaceIndex":
    _, parquet = _parquet()
    table = parquet.read_table(path)
    facts = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    embeddings, boxes_xyxy = (
        table[name].combine_chunks().flatten().to_numpy().reshape(len(table), table[name].type.list_size)
        for name in ("embedding", "box_xyxy")
    )
    photos = table["photo"].to_pylist()
    if "photo_uri" in table.column_names:  # not in files of version 0.1
        photos = map(name_of_photo, photos, table["photo_uri"].to_pylist())
    return FaceIndex(embeddings, tuple(photos), boxes_xyxy, _fingerprint(facts))


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


# Ending of the file -> how it is written and read.
_FORMATS = {".safetensors": (_write_safetensors, _read_safetensors), ".parquet": (_write_parquet, _read_parquet)}

_LENGTH_TOLERANCE = 1e-2  # of the squared length of a unit vector that was stored


@dataclass(frozen=True, eq=False)
class FaceIndex:
    """Faces of photos in the space that faces and texts share.

    Args:
        embeddings (`np.ndarray` of shape `(num_faces, P)`): float32, each of length 1.
        photos (`tuple[str, ...]`): The photo of each face: a path, a URL or any name.
        boxes_xyxy (`np.ndarray` of shape `(num_faces, 4)`): Boxes in pixels of the upright photo, float32.
        fingerprint (`str`): Of the model that embedded them, see `model_fingerprint`.

    Raises:
        InvalidFaceIndexError: If the parts do not fit together or the vectors are not of length 1.

    Example:
        >>> from farl_hf import FaceIndex, embed_texts
        >>> index = FaceIndex.load("faces.safetensors")  # doctest: +SKIP
        >>> rows, similarities = index.search(embed_texts(model, processor, "a man with a hat"))  # doctest: +SKIP
        >>> [index.photos[row] for row in rows[0]]  # doctest: +SKIP
    """

    embeddings: np.ndarray
    photos: tuple[str, ...]
    boxes_xyxy: np.ndarray
    fingerprint: str = ""

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "photos", tuple(self.photos))
            for name in ("embeddings", "boxes_xyxy"):
                object.__setattr__(self, name, np.ascontiguousarray(getattr(self, name), dtype=np.float32))
        except (TypeError, ValueError) as error:
            raise InvalidFaceIndexError(f"Photos, embeddings or boxes of an index are none: {error}.") from error
        num_faces = len(self.photos)
        if self.embeddings.shape[:-1] != (num_faces,) or self.boxes_xyxy.shape != (num_faces, 4):
            raise InvalidFaceIndexError(
                f"{num_faces} photos came with embeddings of shape {self.embeddings.shape} and boxes of shape "
                f"{self.boxes_xyxy.shape}; expected ({num_faces}, P) and ({num_faces}, 4)."
            )
        squares = np.einsum("np,np->n", self.embeddings, self.embeddings)
        if not (np.abs(squares - 1) <= _LENGTH_TOLERANCE).all():  # so written that NaN fails too
            raise InvalidFaceIndexError(
                "An embedding is not of length 1; the index is damaged, or was not normalised."
            )

    def __len__(self) -> int:
        return len(self.photos)

    def __repr__(self) -> str:
        num_photos = len(set(self.photos))
        return f"FaceIndex({len(self)} faces of {num_photos} photos, vectors of {self.embeddings.shape[1]} numbers)"

    def similarities(self, text_embeds: Any) -> np.ndarray:
        """Cosine similarity of every face with every text, (num_faces, num_texts).

        Args:
            text_embeds (`torch.Tensor` or `np.ndarray` of shape `(num_texts, P)`): From `embed_texts`.
        """
        return self.embeddings @ self._checked_queries(text_embeds).T

    def search(self, text_embeds: Any, count: int = 10, use_faiss: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """The faces that fit each text best. Exact; nothing is approximated.

        Args:
            text_embeds (`torch.Tensor` or `np.ndarray` of shape `(num_texts, P)`): From `embed_texts`.
            count (`int`, *optional*, defaults to 10): Faces per text; all of them if there are fewer.
            use_faiss (`bool`, *optional*, defaults to `False`): Search in an exact FAISS index of `datasets`, which is
                built at the first such call. PyTorch needs none, and is as quick (`benchmarks/face_index_search.py`).

        Returns:
            `tuple[np.ndarray, np.ndarray]`: Rows of this index and their similarities, (num_texts, count), best first.

        Raises:
            InvalidFaceIndexError: If the vectors are of another size than those of the index.
            MissingExtraError: If FAISS is asked for and not installed.
        """
        queries = self._checked_queries(text_embeds)
        if not hasattr(count, "__index__") or count < 0:
            raise InvalidArgumentError(f"count={str(count)[:100]} cannot be used; expected a whole number from 0 on.")
        count = min(count, len(self))
        if use_faiss and count:
            similarities, rows = self._faiss_index.search_batch(queries, k=count)
            return rows, similarities
        return search_vectors(self.embeddings, queries, count)

    @cached_property
    def _faiss_index(self) -> Any:
        return make_faiss_index(self.embeddings)

    def require_model(self, model: Any) -> None:
        """Raise `InvalidFaceIndexError` unless this model embedded the faces: vectors of two models do not compare."""
        if self.fingerprint not in (model_fingerprint(model), _rounded_fingerprint(model)):
            raise InvalidFaceIndexError(
                "The index was made with another model, whose vectors do not compare with this one's; name the model "
                "that made it, or index the photos again."
            )

    def save(self, path: str | Path) -> None:
        """Write the index to a `.safetensors` or `.parquet` file, which appears when it is complete.

        Raises:
            UnknownNameError: If the file is to be of another kind.
            MissingExtraError: If Parquet is asked for and pyarrow not installed.
            FileWriteError: If the disk is full, or the place cannot be written.
        """
        path = checked_index_path(Path(path))
        write, _ = _FORMATS[path.suffix]
        remove_left_over(path)
        with written_whole(path) as unfinished:
            write(unfinished, self, {"kind": _KIND, "fingerprint": self.fingerprint})

    @classmethod
    def load(cls, path: str | Path) -> "FaceIndex":
        """Read what `save` wrote.

        Raises:
            InvalidFaceIndexError: If there is no such file, or it is damaged or something else.
        """
        path = Path(path)
        if path.suffix not in _FORMATS or not path.is_file():
            what = f"{path} is no face index" if path.is_file() else f"There is no face index {path}"
            raise InvalidFaceIndexError(f"{what}; give a {' or '.join(_FORMATS)} file that `farl-hf index` wrote.")
        _, read = _FORMATS[path.suffix]
        try:
            return read(path)
        except InvalidFaceIndexError:
            raise
        except (
            SafetensorError,
            AttributeError,
            ValueError,
            KeyError,
            TypeError,
            OSError,
        ) as error:  # ArrowInvalid is a ValueError
            raise InvalidFaceIndexError(f"{path} is not a face index, or is damaged: {error}.") from error

    @classmethod
    def joined(cls, parts: Sequence["FaceIndex"]) -> "FaceIndex":
        """One index of the faces of several, such as those of `farl-hf index --part`.

        Raises:
            InvalidFaceIndexError: There are none, or different models made them.
        """
        fingerprints = {part.fingerprint for part in parts}
        if len(fingerprints) != 1:
            raise InvalidFaceIndexError(
                f"{len(parts)} indices of {len(fingerprints)} models cannot be joined; expected those of one model."
            )
        embeddings, boxes_xyxy = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("embeddings", "boxes_xyxy")
        )
        return cls(embeddings, tuple(name for part in parts for name in part.photos), boxes_xyxy, fingerprints.pop())

    def _checked_queries(self, text_embeds: Any) -> np.ndarray:
        if isinstance(text_embeds, torch.Tensor):
            text_embeds = text_embeds.float().cpu().numpy()
        try:
            queries = np.ascontiguousarray(text_embeds, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise InvalidFaceIndexError(f"The vectors of texts are no numbers: {error}.") from error
        if not np.isfinite(queries).all():
            raise InvalidFaceIndexError("The vectors of texts hold NaN or infinite values.")
        if queries.ndim != 2 or queries.shape[1] != self.embeddings.shape[1]:
            raise InvalidFaceIndexError(
                f"Texts of shape {queries.shape} cannot be compared with vectors of size {self.embeddings.shape[1]}; "
                "embed them with the model that made the index."
            )
        return queries


def model_fingerprint(model: Any) -> str:
    """Sixteen characters, from the image projection, that differ between models whose vectors do not compare.

    They are made of signs, which every precision in which a model can be loaded keeps.
    """
    signs = np.packbits(torch.signbit(model.visual_projection.weight.detach()).cpu().numpy())
    return hashlib.sha256(signs.tobytes()).hexdigest()[:16]


def _rounded_fingerprint(model: Any) -> str:
    """That of an index of version 0.1."""
    weight = model.visual_projection.weight.detach().bfloat16().float().cpu().contiguous()
    return hashlib.sha256(weight.numpy().tobytes()).hexdigest()[:16]
