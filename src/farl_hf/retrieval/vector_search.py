"""The most similar of many unit vectors, exactly: by NumPy, or by the FAISS index of `datasets`."""

from typing import Any

import numpy as np

from farl_hf.errors import MissingExtraError

__all__ = ["make_faiss_index", "search_faiss_index", "search_vectors"]

_ROWS_AT_A_TIME = 65_536  # bounds the memory of the similarities, whatever the number of vectors


def search_vectors(vectors: np.ndarray, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The vectors with the largest inner products.

    Args:
        vectors (`np.ndarray` of shape `(N, P)`): float32.
        queries (`np.ndarray` of shape `(Q, P)`): float32.
        count (`int`): How many per query; all if there are fewer.

    Returns:
        `tuple[np.ndarray, np.ndarray]`: Rows and inner products, (Q, count), largest first.
    """
    rows = np.zeros((len(queries), 0), np.int64)
    products = np.zeros((len(queries), 0), np.float32)
    for start in range(0, len(vectors), _ROWS_AT_A_TIME):
        part = queries @ vectors[start : start + _ROWS_AT_A_TIME].T
        part_rows = np.broadcast_to(np.arange(start, start + part.shape[1]), part.shape)
        rows, products = _best(np.hstack([rows, part_rows]), np.hstack([products, part]), count)
    order = np.argsort(-products, axis=1, kind="stable")
    return np.take_along_axis(rows, order, 1), np.take_along_axis(products, order, 1)


def _best(rows: np.ndarray, products: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The `count` largest per query, in no particular order."""
    if products.shape[1] <= count:
        return rows, products
    best = np.argpartition(-products, count - 1, axis=1)[:, :count]
    return np.take_along_axis(rows, best, 1), np.take_along_axis(products, best, 1)


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


def search_faiss_index(index: Any, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """As `search_vectors`, in an index of `make_faiss_index`."""
    products, rows = index.search_batch(queries, k=count)
    return rows, products
