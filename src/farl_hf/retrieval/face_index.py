"""Many faces as unit vectors, stored in one file, and found by texts."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from farl_hf.errors import InvalidFaceIndexError
from farl_hf.retrieval.index_files import read_index_file, write_index_file
from farl_hf.retrieval.vector_search import make_faiss_index, search_faiss_index, search_vectors

__all__ = ["FaceIndex", "model_fingerprint"]

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
        object.__setattr__(self, "photos", tuple(self.photos))
        for name in ("embeddings", "boxes_xyxy"):
            object.__setattr__(self, name, np.ascontiguousarray(getattr(self, name), dtype=np.float32))
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
                built at the first such call. NumPy needs none, and is as quick (`benchmarks/face_index_search.py`).

        Returns:
            `tuple[np.ndarray, np.ndarray]`: Rows of this index and their similarities, (num_texts, count), best first.

        Raises:
            InvalidFaceIndexError: If the vectors are of another size than those of the index.
            MissingExtraError: If FAISS is asked for and not installed.
        """
        queries = self._checked_queries(text_embeds)
        count = min(count, len(self))
        if use_faiss and count:
            return search_faiss_index(self._faiss_index, queries, count)
        return search_vectors(self.embeddings, queries, count)

    @cached_property
    def _faiss_index(self) -> Any:
        return make_faiss_index(self.embeddings)

    def require_model(self, model: Any) -> None:
        """Raise `InvalidFaceIndexError` unless this model embedded the faces: of others the vectors mean nothing."""
        if self.fingerprint != model_fingerprint(model):
            raise InvalidFaceIndexError(
                "The index was made with another model, whose vectors this one cannot read; name the model it was "
                "made with, or index the photos anew."
            )

    def save(self, path: str | Path) -> None:
        """Write the index to a `.safetensors` or `.parquet` file.

        Raises:
            UnknownNameError: If the file is to be of another kind.
            MissingExtraError: If Parquet is asked for and pyarrow not installed.
        """
        write_index_file(Path(path), self.embeddings, self.photos, self.boxes_xyxy, self.fingerprint)

    @classmethod
    def load(cls, path: str | Path) -> "FaceIndex":
        """Read what `save` wrote.

        Raises:
            InvalidFaceIndexError: If there is no such file, or it is damaged or something else.
        """
        return cls(*read_index_file(Path(path)))

    def _checked_queries(self, text_embeds: Any) -> np.ndarray:
        if isinstance(text_embeds, torch.Tensor):
            text_embeds = text_embeds.float().cpu().numpy()
        queries = np.ascontiguousarray(text_embeds, dtype=np.float32)
        if queries.ndim != 2 or queries.shape[1] != self.embeddings.shape[1]:
            raise InvalidFaceIndexError(
                f"Texts of shape {queries.shape} cannot be looked for among vectors of size "
                f"{self.embeddings.shape[1]}; embed them with the model that made the index."
            )
        return queries


def model_fingerprint(model: Any) -> str:
    """Sixteen characters that tell models apart whose vectors must not be mixed, from the image projection."""
    # As bfloat16, so that a model has one fingerprint in whatever precision it is loaded.
    weight = model.visual_projection.weight.detach().bfloat16().float().cpu().contiguous()
    return hashlib.sha256(weight.numpy().tobytes()).hexdigest()[:16]
