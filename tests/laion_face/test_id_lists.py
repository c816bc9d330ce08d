"""The list of numbers: containers as `torch.save` writes them, and files that are none."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from laion_face_metadata import FIRST_ID, face_ids, write_ids

from farl_hf.errors import InvalidDatasetError, UnknownNameError
from farl_hf.laion_face.id_lists import LAION_FACE_20M, id_arrays, parse_parts


def arrays(path, tmp_path):
    return {part: np.load(file) for part, file in id_arrays(path, tmp_path / "arrays").items()}


@pytest.mark.parametrize("container", [set, frozenset, list, tuple, np.array, torch.tensor])
def test_every_container_gives_sorted_numbers(tmp_path, container):
    found = arrays(write_ids(tmp_path / "ids.pth", 3, container), tmp_path)
    assert list(found) == [0, 1, 2]
    for part, numbers in found.items():
        assert numbers.dtype == np.int64
        assert numbers.tolist() == face_ids(part)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("legacy", [False, True])
def test_every_protocol(tmp_path, protocol, legacy):
    content = {5: {1, 2**62, 255, 65_535, 2**31}, 7: [3, 3, -1], 8: (), 9: (4,), 10: frozenset([6, 7])}
    path = tmp_path / "ids.pth"
    if legacy:
        path.write_bytes(pickle.dumps(content, protocol))
    else:
        torch.save(content, path, pickle_protocol=protocol)
    found = {part: numbers.tolist() for part, numbers in arrays(path, tmp_path).items()}
    assert found == {5: [1, 255, 65_535, 2**31, 2**62], 7: [-1, 3], 8: [], 9: [4], 10: [6, 7]}


def test_more_numbers_than_a_pickle_writes_at_a_time(tmp_path):
    content = [set(range(FIRST_ID, FIRST_ID + 5000)), list(range(3001))]
    torch.save(content, tmp_path / "ids.pth")
    found = arrays(tmp_path / "ids.pth", tmp_path)
    assert [set(numbers.tolist()) for numbers in found.values()] == [content[0], set(content[1])]


@pytest.mark.parametrize("container", [set, list])
def test_the_format_before_pytorch_1_6(tmp_path, container):
    torch.save([container(face_ids(0))], tmp_path / "ids.pth", _use_new_zipfile_serialization=False)
    assert arrays(tmp_path / "ids.pth", tmp_path)[0].tolist() == face_ids(0)


class Hostile:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (self.mark,)


@pytest.mark.parametrize("with_torch", [False, True])
def test_nothing_in_a_file_is_run(tmp_path, with_torch):
    path, mark = tmp_path / "ids.pth", tmp_path / "was_run"
    if with_torch:
        torch.save([Hostile(str(mark))], path)
    else:
        path.write_bytes(pickle.dumps([Hostile(str(mark))]))
    with pytest.raises(InvalidDatasetError, match="collection of integers"):
        arrays(path, tmp_path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "content",
    [[], {}, [1, 2], [["text"]], [{1: 2}], [[1.5]], [[2**70]], {"a": {1}}, [torch.ones(2, 2)], [[[1]]], 5],
    ids=str,
)
def test_other_contents_are_refused(tmp_path, content):
    torch.save(content, tmp_path / "ids.pth")
    with pytest.raises(InvalidDatasetError, match="list of numbers"):
        arrays(tmp_path / "ids.pth", tmp_path)
    assert not [path for path in (tmp_path / "arrays").rglob("*") if path.is_file()]


@pytest.mark.parametrize("size", [0, 1, 40, 200, 700])
def test_cut_files_are_refused(tmp_path, size):
    whole = write_ids(tmp_path / "whole.pth", 2).read_bytes()
    for name, content in (("zip", whole), ("pickle", pickle.dumps([set(face_ids(0))], 2))):
        (tmp_path / name).write_bytes(content[:size])
        with pytest.raises(InvalidDatasetError):
            arrays(tmp_path / name, tmp_path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InvalidDatasetError, match=r"nowhere\.pth cannot be read"):
        arrays(tmp_path / "nowhere.pth", tmp_path)


def test_arrays_are_made_once_and_anew_for_another_list(tmp_path):
    path = write_ids(tmp_path / "ids.pth", 1)
    first = id_arrays(path, tmp_path / "arrays")[0]
    made = first.stat().st_mtime_ns
    assert id_arrays(path, tmp_path / "arrays")[0] == first
    assert first.stat().st_mtime_ns == made
    assert id_arrays(write_ids(path, 2), tmp_path / "arrays")[0] != first


READ_ALONE = """
import sys
from farl_hf.laion_face.metadata_preparation import id_arrays
print(len(id_arrays(*sys.argv[1:])), "torch" in sys.modules)
"""


def test_the_published_form_is_read_without_the_memory_of_pytorch(tmp_path):
    words = [sys.executable, "-c", READ_ALONE, str(write_ids(tmp_path / "ids.pth", 2)), str(tmp_path / "arrays")]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout.split() == ["2", "False"]


@pytest.mark.parametrize(
    ("words", "parts"),
    [("20m", list(LAION_FACE_20M)), (" ALL ", None), ("3", [3]), ("0,2,5-8,2", [0, 2, 5, 6, 7, 8])],
)
def test_parts(words, parts):
    assert parse_parts(words) == parts


@pytest.mark.parametrize("words", ["", "some", "1-", "8-5", "0,8-5", "1-2-3", "-1", "50m"])
def test_words_that_are_no_parts(words):
    with pytest.raises(UnknownNameError, match="20m, all"):
        parse_parts(words)
