"""The index: search against brute force, files against what was written, and what must be refused."""

import copy

import numpy as np
import pytest
import torch
from image_text_toys import make_farl
from safetensors.numpy import save_file

from farl_hf import FaceIndex, FileWriteError, InvalidFaceIndexError, MissingExtraError, UnknownNameError
from farl_hf.retrieval import face_index
from farl_hf.retrieval.face_index import model_fingerprint

ENDINGS = ("safetensors", "parquet")


def unit_vectors(count, size=8, seed=0):
    vectors = np.random.default_rng(seed).standard_normal((count, size)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def make_index(count=50, fingerprint="abc"):
    boxes = np.arange(4 * count, dtype=np.float32).reshape(count, 4)
    return FaceIndex(unit_vectors(count), [f"größe {row // 2}.jpg" for row in range(count)], boxes, fingerprint)


@pytest.mark.parametrize("use_faiss", [False, True])
@pytest.mark.parametrize("count", [1, 7, 50, 99])
def test_the_best_faces_best_first(use_faiss, count, monkeypatch):
    monkeypatch.setattr(face_index, "_ROWS_AT_A_TIME", 16)  # several parts
    if use_faiss:
        pytest.importorskip("faiss")
    index, queries = make_index(), unit_vectors(3, seed=1)
    rows, similarities = index.search(torch.from_numpy(queries), count, use_faiss=use_faiss)
    all_of_them = queries.astype(float) @ index.embeddings.T
    expected = np.argsort(-all_of_them, axis=1)[:, :count]
    assert np.array_equal(rows, expected)
    assert np.allclose(similarities, np.take_along_axis(all_of_them, expected, 1), atol=1e-6)
    assert np.allclose(index.similarities(queries), all_of_them.T, atol=1e-6)


@pytest.mark.parametrize("use_faiss", [False, True])
def test_an_empty_index_finds_nothing(use_faiss):
    index = FaceIndex(np.zeros((0, 8)), [], np.zeros((0, 4)))
    rows, similarities = index.search(unit_vectors(2), 5, use_faiss=use_faiss)
    assert rows.shape == similarities.shape == (2, 0)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("count", [0, 50])
def test_a_file_holds_everything(tmp_path, ending, count):
    index, path = make_index(count), tmp_path / f"faces.{ending}"
    index.save(path)
    index.save(path)  # an older one is replaced
    loaded = FaceIndex.load(path)
    assert np.array_equal(loaded.embeddings, index.embeddings)
    assert np.array_equal(loaded.boxes_xyxy, index.boxes_xyxy)
    assert loaded.photos == index.photos
    assert loaded.fingerprint == "abc"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_parquet_is_a_dataset(tmp_path):
    datasets = pytest.importorskip("datasets")
    index = make_index()
    index.save(tmp_path / "faces.parquet")
    rows = datasets.Dataset.from_parquet(str(tmp_path / "faces.parquet"), cache_dir=str(tmp_path / "cache"))
    assert rows.column_names == ["photo", "photo_uri", "box_xyxy", "embedding"]
    assert np.allclose(rows[3]["embedding"], index.embeddings[3])


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_interrupted_write_leaves_the_older_file(tmp_path, ending, monkeypatch):
    path = tmp_path / f"faces.{ending}"
    make_index().save(path)
    before = path.read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(FileWriteError, match="disk full"):
        make_index(4).save(path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("ending", ENDINGS)
def test_damaged_and_foreign_files_are_refused(tmp_path, ending):
    path = tmp_path / f"faces.{ending}"
    make_index().save(path)
    whole = path.read_bytes()
    for content in (b"", b"no index at all", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(InvalidFaceIndexError, match="is not a face index, or is damaged"):
            FaceIndex.load(path)


def test_weights_and_tables_are_no_index(tmp_path):
    save_file({"embeddings": unit_vectors(3)}, tmp_path / "model.safetensors")
    with pytest.raises(InvalidFaceIndexError, match="not a face index"):
        FaceIndex.load(tmp_path / "model.safetensors")
    with pytest.raises(InvalidFaceIndexError, match="There is no face index"):
        FaceIndex.load(tmp_path / "missing.parquet")
    with pytest.raises(UnknownNameError, match=r"\.safetensors or \.parquet"):
        make_index().save(tmp_path / "faces.npz")
    with pytest.raises(UnknownNameError, match="does not exist"):
        make_index().save(tmp_path / "nowhere" / "faces.parquet")


def test_parts_that_do_not_fit_are_refused():
    vectors, boxes = unit_vectors(3), np.zeros((3, 4))
    with pytest.raises(InvalidFaceIndexError, match="2 photos came with"):
        FaceIndex(vectors, ["a", "b"], boxes)
    for damaged in (vectors * 2, np.full_like(vectors, np.nan)):
        with pytest.raises(InvalidFaceIndexError, match="length 1"):
            FaceIndex(damaged, ["a", "b", "c"], boxes)
    with pytest.raises(InvalidFaceIndexError, match="vectors of size 8"):
        make_index().search(unit_vectors(2, size=9))


def test_models_are_told_apart_in_any_precision():
    model, other = make_farl(0)[0], make_farl(1)[0]
    index = make_index(fingerprint=model_fingerprint(model))
    for precision in (torch.float32, torch.float16, torch.bfloat16):
        index.require_model(copy.deepcopy(model).to(precision))
        make_index(fingerprint=model_fingerprint(copy.deepcopy(model).to(precision))).require_model(model)
    with pytest.raises(InvalidFaceIndexError, match="another model"):
        index.require_model(other)


def test_without_faiss_the_extra_is_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtraError, match=r"farl-hf\[search\]"):
        make_index().search(unit_vectors(1), use_faiss=True)
    assert make_index().search(unit_vectors(1))[0].shape == (1, 10)


def test_the_faiss_index_is_built_once(monkeypatch):
    pytest.importorskip("faiss")
    built = []
    real = face_index.make_faiss_index
    monkeypatch.setattr(face_index, "make_faiss_index", lambda vectors: built.append(1) or real(vectors))
    index = make_index()
    for _ in range(3):
        index.search(unit_vectors(1), use_faiss=True)
    assert built == [1]


def test_an_index_is_shown_in_one_line():
    assert repr(make_index()) == "FaceIndex(50 faces of 25 photos, vectors of 8 numbers)"


@pytest.mark.parametrize("parts", [(None, ("a",), [[0] * 4]), ([[1.0]], 3, [[0] * 4]), ([[1.0]], ("a",), "x")])
def test_parts_that_are_none(parts):
    with pytest.raises(InvalidFaceIndexError):
        FaceIndex(*parts)


@pytest.mark.parametrize(("texts", "count"), [([[np.nan]], 1), ("x", 1), ([[1.0]], -1), ([[1.0]], 1.5)])
def test_searches_that_have_no_answer(texts, count):
    with pytest.raises(ValueError, match=r"^[^\n]{10,300}$"):
        FaceIndex([[1.0]], ("a",), [[0] * 4]).search(texts, count)
