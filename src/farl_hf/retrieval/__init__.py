"""Faces and texts in one space: which text fits which face, and which of many faces fits a text."""

from farl_hf.retrieval.face_embedding import index_faces
from farl_hf.retrieval.face_index import FaceIndex
from farl_hf.retrieval.text_embedding import embed_texts

__all__ = ["FaceIndex", "embed_texts", "index_faces"]
