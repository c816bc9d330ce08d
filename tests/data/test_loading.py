import os
import shutil

import datasets
import pytest
import raw_layouts
from face_rows import make_face_dataset

from farl_hf.data.loading import is_synthetic, load_face_dataset, load_face_datasets
from farl_hf.errors import InvalidArgumentError, InvalidDatasetError, UnknownNameError
from farl_hf.training.arguments import DatasetArguments
from farl_hf.training.runs import load_splits


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    paths = [tmp_path_factory.mktemp("faces") for _ in range(2)]
    for first, path in enumerate(paths):
        train = make_face_dataset(3, first_index=10 * first)
        datasets.DatasetDict(train=train, test=make_face_dataset(1)).save_to_disk(str(path))
    return [str(path) for path in paths]


def test_a_folder_is_loaded_and_limited(folders):
    splits = load_face_dataset(folders[0], num_photos={"train": 2, "test": 0})
    assert {split: rows["index"][:] for split, rows in splits.items()} == {"train": [0, 1]}


def test_several_folders_are_joined_and_limited_together(folders):
    assert load_face_datasets(folders)["train"]["index"][:] == [0, 1, 2, 10, 11, 12]
    assert load_face_datasets(folders, num_photos={"train": 2})["train"]["index"][:] == [0, 1]


def test_unknown_name_is_explained():
    with pytest.raises(UnknownNameError, match="synthetic_faces"):
        load_face_dataset("./no_such_folder")


def test_synthetic_faces_are_rendered_and_recognised_after_saving(tmp_path):
    splits = load_face_dataset(
        "synthetic_faces", num_photos={"train": 1, "validation": 1, "test": 0}, cache_dir=str(tmp_path / "cache")
    )
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 1, "validation": 1}
    datasets.DatasetDict(splits).save_to_disk(str(tmp_path / "saved"))
    joined = load_face_datasets([str(tmp_path / "saved")] * 2)
    assert len(joined["train"]) == 2
    assert is_synthetic(joined["train"])
    assert not is_synthetic(make_face_dataset(1))


def test_a_saved_folder_has_no_configurations(folders):
    with pytest.raises(UnknownNameError, match="configuration 'nonsense'"):
        load_face_dataset(folders[0], "nonsense")
    assert len(load_face_datasets(folders, "scenes")["train"]) == 6


@pytest.mark.parametrize("count", [0, -3])
def test_a_split_cut_to_nothing_is_no_unknown_split(folders, count):
    for load in (
        lambda: load_face_dataset(folders[0], split="train", num_photos={"train": count}),
        lambda: load_splits(folders, DatasetArguments(max_train_samples=count), do_train=True, do_eval=False),
        lambda: load_splits(folders, DatasetArguments(max_eval_samples=count), do_train=False, do_eval=True),
    ):
        with pytest.raises(InvalidArgumentError, match=f"^{count} photos"):
            load()


def test_paths_that_arrow_cannot_hold_are_refused(folders, tmp_path):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    shutil.copytree(folders[0], folder)
    for words in ((str(folder), None), ("lapa", folder)):
        with pytest.raises(InvalidDatasetError, match="not UTF-8"):
            load_face_dataset(words[0], data_dir=words[1])


def test_files_beside_a_data_set_may_have_any_name(tmp_path):
    raw_layouts.write_lapa(tmp_path / "raw")
    (tmp_path / "raw" / "train" / os.fsdecode(b"caf\xe9.txt")).write_text("")
    rows = load_face_dataset("lapa", data_dir=tmp_path / "raw", cache_dir=str(tmp_path / "cache"), check_counts=False)
    assert len(rows["train"]) == 3


def test_an_empty_name_is_no_data_set():
    with pytest.raises(UnknownNameError, match="no data set ''"):
        load_face_dataset("")
