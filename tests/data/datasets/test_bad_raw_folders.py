"""Folders that are not what they should be: each is named, with what to do."""

import dataclasses
import errno
import re
import shutil

import datasets.arrow_writer
import numpy as np
import pytest
import raw_layouts

from farl_hf.data.convert import convert_face_dataset
from farl_hf.data.datasets.catalogue import PUBLISHED_DATASETS
from farl_hf.data.datasets.check import check_face_dataset
from farl_hf.data.loading import load_face_dataset
from farl_hf.data.samples.face_samples import without_decoding
from farl_hf.errors import DatasetWriteError, InvalidDatasetError, UnknownNameError, UnreadablePhotoError


@pytest.fixture
def lapa(tmp_path):
    raw_layouts.write_lapa(tmp_path / "LaPa", (4, 1, 1))
    return tmp_path / "LaPa"


def load(name, root, **settings):
    settings = {"cache_dir": str(root.parent / "cache"), "check_counts": False, **settings}
    return load_face_dataset(name, data_dir=root, **settings)


def cut_off(path):
    path.write_bytes(path.read_bytes()[:200])


# ---------------------------------------------------------------- the folder


@pytest.mark.parametrize("name", PUBLISHED_DATASETS)
def test_without_a_folder_the_error_says_where_to_get_it(name):
    published = PUBLISHED_DATASETS[name]
    with pytest.raises(InvalidDatasetError) as raised:
        load_face_dataset(name)
    for part in (published.url, published.licence, published.layout, "data_dir"):
        assert part in str(raised.value)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(InvalidDatasetError, match="nowhere does not exist"):
        load("lapa", tmp_path / "nowhere")
    (tmp_path / "LaPa.tar.gz").write_bytes(b"")
    with pytest.raises(InvalidDatasetError, match="is a file, an archive perhaps"):
        load("lapa", tmp_path / "LaPa.tar.gz")


def test_an_empty_folder_and_an_unknown_one(tmp_path):
    with pytest.raises(InvalidDatasetError, match="it is empty, but no train/landmarks"):
        load("lapa", tmp_path)
    (tmp_path / "holiday.jpg").write_bytes(b"")
    with pytest.raises(InvalidDatasetError, match=r"it holds holiday\.jpg"):
        load("lapa", tmp_path)


@pytest.mark.parametrize("other", ["celebamask_hq", "celeba", "lfwa", "w300", "wflw", "aflw19", "widerface"])
def test_the_folder_of_another_data_set(lapa, other):
    with pytest.raises(InvalidDatasetError, match=r"looks like LaPa \(data set 'lapa'\)"):
        load(other, lapa)


def test_the_folder_around_the_data_set_will_do(lapa):
    raw_layouts.write_w300(lapa.parent / "300W")
    assert len(load("lapa", lapa.parent, split="train", cache_dir=str(lapa / "cache"))) == 4
    assert len(load("w300", lapa.parent, split="train", cache_dir=str(lapa / "cache"))) == 2


def test_unknown_configuration_and_split(lapa):
    with pytest.raises(UnknownNameError, match="Known: default"):
        load_face_dataset("lapa", "farl", data_dir=lapa)
    with pytest.raises(UnknownNameError, match="Known: train, validation, test"):
        load("lapa", lapa, split="val")
    for policy in ("ignore", "caf\udce9"):
        with pytest.raises(UnknownNameError, match="raise, skip"):
            load("lapa", lapa, bad_photos=policy)


def test_a_split_whose_table_is_not_there(tmp_path):
    raw_layouts.write_w300(tmp_path / "300W")
    with pytest.raises(InvalidDatasetError, match="no files of the split test_private"):
        load("w300", tmp_path / "300W", split="test_private")


@pytest.mark.parametrize(
    ("name", "writer", "config"),
    [
        ("wflw", raw_layouts.write_wflw_original, "original"),
        ("widerface", raw_layouts.write_widerface_original, "original"),
    ],
)
def test_the_other_annotation_is_there_and_its_configuration_is_named(tmp_path, name, writer, config):
    writer(tmp_path / "raw")
    with pytest.raises(InvalidDatasetError, match=f"configuration '{config}'"):
        load(name, tmp_path / "raw")


# ---------------------------------------------------------------- files that are missing


@pytest.mark.parametrize("kind", ["images", "labels", "landmarks"])
def test_a_half_unpacked_archive(lapa, kind):
    lost = sorted((lapa / "train" / kind).iterdir())[1:3]
    for path in lost:
        path.unlink()
    with pytest.raises(InvalidDatasetError, match=rf"2 files of the split 'train' of LaPa .*{lost[0].name}"):
        load("lapa", lapa)


def test_missing_photos_can_be_skipped(lapa, caplog):
    lost = lapa / "train" / "images" / "00002_0.jpg"
    lost.unlink()
    rows = load("lapa", lapa, split="train", bad_photos="skip")
    paths = [row["image"]["path"] for row in without_decoding(rows, rows.column_names)]
    assert [path[-11:] for path in paths] == ["00000_0.jpg", "00001_0.jpg", "00003_0.jpg"]
    assert str(lost) in caplog.text
    assert "Skipped 1 of the 4 photos of 'train'" in caplog.text


def test_a_missing_split(lapa):
    shutil.rmtree(lapa / "val")
    with pytest.raises(InvalidDatasetError, match="The split 'validation' of LaPa"):
        load("lapa", lapa)
    assert len(load("lapa", lapa, split="test")) == 1


def test_celebamask_hq_without_the_masks_of_a_photo(tmp_path):
    raw_layouts.write_celebamask_hq(tmp_path / "raw")
    shutil.rmtree(tmp_path / "raw" / "CelebAMask-HQ-mask-anno" / "1")
    with pytest.raises(InvalidDatasetError, match=r"02001_skin\.png for example"):
        load("celebamask_hq", tmp_path / "raw")


def test_celeba_annotation_that_is_cut_off(tmp_path):
    raw_layouts.write_celeba(tmp_path / "raw")
    path = tmp_path / "raw" / "Anno" / "list_attr_celeba.txt"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]))
    with pytest.raises(InvalidDatasetError, match=r"no line for 000004\.jpg"):
        load("celeba", tmp_path / "raw")


@pytest.mark.parametrize("content", ["", "\n\n", "202599\n", "202599\nSmiling Male\n", "no header\n000001.jpg 1 1\n"])
def test_celeba_attributes_without_a_header(tmp_path, content):
    raw_layouts.write_celeba(tmp_path / "raw")
    (tmp_path / "raw" / "Anno" / "list_attr_celeba.txt").write_text(content)
    with pytest.raises(InvalidDatasetError, match=r"list_attr_celeba\.txt.*forty"):
        load("celeba", tmp_path / "raw")


@pytest.mark.parametrize(
    ("name", "writer", "pattern"),
    [
        ("celeba", raw_layouts.write_celeba, "list_eval_partition.txt"),
        ("celeba", raw_layouts.write_celeba, "list_attr_celeba.txt"),
        ("celebamask_hq", raw_layouts.write_celebamask_hq, "CelebA-HQ-to-CelebA-mapping.txt"),
        ("lapa", raw_layouts.write_lapa, "train/landmarks/*.txt"),
        ("widerface", raw_layouts.write_widerface_original, "*train_bbx_gt.txt"),
        ("widerface", raw_layouts.write_widerface_retinaface, "train/label.txt"),
    ],
)
def test_sentences_about_lists_stay_short(tmp_path, name, writer, pattern):
    writer(tmp_path / "raw")
    path = next((tmp_path / "raw").rglob(pattern))
    path.write_text(re.sub(r"(?m)^(\S)", lambda start: "x" * 10_000 + start[0], path.read_text()))
    with pytest.raises(InvalidDatasetError) as caught:
        load(name, tmp_path / "raw")
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("name", ["Anno/list_landmarks_align_celeba.txt", "Eval/list_eval_partition.txt"])
@pytest.mark.parametrize("content", ["", "202599\n"])
def test_other_lists_of_celeba_that_are_empty(tmp_path, name, content):
    raw_layouts.write_celeba(tmp_path / "raw")
    (tmp_path / "raw" / name).write_text(content)
    with pytest.raises(InvalidDatasetError):
        load("celeba", tmp_path / "raw")


def test_matlab_files_that_are_none(tmp_path):
    for name in ("lfw_att_40.mat", "AFLWinfo_release.mat"):
        (tmp_path / name).write_bytes(b"not a MATLAB file")
    with pytest.raises(InvalidDatasetError, match=r"lfw_att_40\.mat is not a readable MATLAB v7\.3 file"):
        load("lfwa", tmp_path)
    with pytest.raises(InvalidDatasetError, match=r"AFLWinfo_release\.mat is not a readable MATLAB file"):
        load("aflw19", tmp_path)


# ---------------------------------------------------------------- contents


def test_landmarks_of_another_number(lapa):
    path = lapa / "train" / "landmarks" / "00001_0.txt"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]))
    with pytest.raises(InvalidDatasetError, match=r"00001_0\.txt has 210 numbers; expected 212"):
        load("lapa", lapa)
    path.write_text("68\n1 2\n")
    with pytest.raises(InvalidDatasetError, match="expected 106"):
        load("lapa", lapa)


def test_a_table_with_too_few_columns(tmp_path):
    raw_layouts.write_w300(tmp_path / "raw")
    path = tmp_path / "raw" / "face_landmarks_300w_train.csv"
    path.write_text(path.read_text().rstrip()[:-10])
    with pytest.raises(InvalidDatasetError, match=r"Line 3 of .*300w_train\.csv has 13\d numbers; expected 139"):
        load("w300", tmp_path / "raw")


def test_a_number_that_is_none(tmp_path):
    raw_layouts.write_wflw_hrnet(tmp_path / "raw")
    path = tmp_path / "raw" / "face_landmarks_wflw_test.csv"
    path.write_text(path.read_text().replace("50.0,", "nan,").replace("70.0,", "nan,"))
    with pytest.raises(InvalidDatasetError, match=r"Line 2 of .*wflw_test\.csv holds a number that is not finite"):
        load("wflw", tmp_path / "raw")


def test_annotations_cannot_name_files_outside(tmp_path):
    raw_layouts.write_widerface_retinaface(tmp_path / "raw")
    (tmp_path / "raw" / "val" / "label.txt").write_text("# ../../secret.jpg\n1 2 3 4\n")
    with pytest.raises(InvalidDatasetError, match="expected a path inside the data set"):
        load("widerface", tmp_path / "raw")


def test_a_label_map_of_another_size_and_an_id_that_is_no_class(lapa):
    raw_layouts.write_ids(lapa / "train" / "labels" / "00001_0.png", np.zeros((16, 23)))
    raw_layouts.write_ids(lapa / "train" / "labels" / "00002_0.png", np.full((16, 24), 11))
    raw_layouts.write_ids(lapa / "train" / "labels" / "00003_0.png", np.zeros((16, 24, 3)))
    report = check_face_dataset("lapa", str(lapa))
    assert len(report.problems) == 3
    assert report.num_checked == 6
    for problem, parts in zip(
        report.problems,
        [("00001_0.png", "(23, 16)", "(24, 16)"), ("00002_0.png", "id 11", "0 to 10"), ("00003_0.png", "colour")],
        strict=True,
    ):
        assert all(part in problem for part in parts)
    with pytest.raises(InvalidDatasetError, match=r"00001_0\.png"):
        load("lapa", lapa, bad_photos="raise")
    assert len(load("lapa", lapa, bad_photos="skip", split="train")) == 1


@pytest.mark.parametrize("num_proc", [None, 2])
def test_an_unreadable_photo_in_the_middle(lapa, num_proc, capfd):
    cut_off(lapa / "train" / "images" / "00001_0.jpg")
    assert len(load("lapa", lapa, split="train")) == 4  # not opened now
    with pytest.raises(UnreadablePhotoError, match=r"00001_0\.jpg cannot be decoded"):
        load("lapa", lapa, bad_photos="raise", num_proc=num_proc, split="train")
    assert len(load("lapa", lapa, bad_photos="skip", num_proc=num_proc, split="train")) == 3


def test_an_unreadable_photo_in_a_stream(lapa, caplog):
    cut_off(lapa / "train" / "images" / "00001_0.jpg")
    stream = load("lapa", lapa, split="train", streaming=True, bad_photos="skip")
    assert len(list(stream)) == 3
    assert "00001_0.jpg cannot be decoded" in caplog.text


def test_a_split_without_any_usable_photo(lapa):
    cut_off(lapa / "test" / "images" / "00000_0.jpg")
    with pytest.raises(InvalidDatasetError, match="No photo of the split 'test' of LaPa can be used"):
        load("lapa", lapa, bad_photos="skip")


# ---------------------------------------------------------------- counts, cache, disk


def test_other_sizes_than_published_warn_once_loaded_and_fail_the_check(lapa, caplog):
    load("lapa", lapa, check_counts=True)
    assert "The split 'train' of LaPa has 4 photos, published are 18,176." in caplog.text
    report = check_face_dataset("lapa", str(lapa), decode=False)
    assert len(report.mismatches) == 3
    assert not report.is_clean
    assert (report.num_photos, report.num_faces) == ({"train": 4, "validation": 1, "test": 1},) * 2


def test_a_folder_with_the_published_sizes_is_clean(lapa, monkeypatch):
    counts = {"train": 4, "validation": 1, "test": 1}
    monkeypatch.setattr("farl_hf.data.datasets.builder.PUBLISHED_DATASETS", {"lapa": _with_counts(counts)})
    report = check_face_dataset("lapa", str(lapa), num_proc=2)
    assert report.is_clean
    assert report.num_checked == 6


def _with_counts(counts):
    return dataclasses.replace(PUBLISHED_DATASETS["lapa"], counts=counts)


def test_the_check_looks_once_at_a_photo_of_several_splits(tmp_path):
    raw_layouts.write_wflw_hrnet(tmp_path)
    calls = []
    report = check_face_dataset("wflw", str(tmp_path), progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 3), (2, 3), (3, 3)]
    assert report.num_faces["test"] == 2
    assert report.num_photos["test"] == 1


def test_the_cache_notices_changed_files(lapa):
    assert len(load("lapa", lapa, split="train")) == 4
    for kind in ("images", "labels", "landmarks"):
        next((lapa / "train" / kind).glob("00003*")).unlink()
    assert len(load("lapa", lapa, split="train")) == 3
    path = lapa / "train" / "landmarks" / "00000_0.txt"
    path.write_text(path.read_text().replace("106\n0 0.25", "106\n7 0.25"))
    assert load("lapa", lapa, split="train")["landmarks_xy"][0][0][0] == [7.5, 0.75]


def test_the_cache_notices_annotations_below_the_parent_of_the_data_set(tmp_path):
    raw_layouts.write_wflw_original(tmp_path / "data" / "WFLW")
    settings = {"config_name": "original", "split": "train", "cache_dir": str(tmp_path / "cache")}
    before = load("wflw", tmp_path / "data", **settings)["landmarks_xy"][0][0][0]
    (path,) = (tmp_path / "data").rglob("list_98pt_rect_attr_train.txt")
    path.write_text("".join(f"7{line}\n" for line in path.read_text().splitlines()))
    assert load("wflw", tmp_path / "data", **settings)["landmarks_xy"][0][0][0] != before


def _full_disk(*arguments, **settings):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("num_proc", [None, 2])
def test_a_full_disk(lapa, monkeypatch, num_proc):
    monkeypatch.setattr(datasets.arrow_writer.ArrowWriter, "write", _full_disk)
    with pytest.raises(DatasetWriteError, match=r"No space left on device.*choose another place"):
        load("lapa", lapa, num_proc=num_proc)


def test_nothing_is_left_of_a_conversion_that_failed(lapa, monkeypatch):
    monkeypatch.setattr(datasets.arrow_writer.ParquetWriter, "write", _full_disk)
    with pytest.raises(DatasetWriteError):
        convert_face_dataset("lapa", lapa, lapa.parent / "out")
    cut_off(lapa / "train" / "images" / "00001_0.jpg")
    monkeypatch.undo()
    with pytest.raises(UnreadablePhotoError):
        convert_face_dataset("lapa", lapa, lapa.parent / "out")
    assert [path.name for path in lapa.parent.iterdir()] == ["LaPa"]


def test_a_conversion_does_not_write_over_files(lapa):
    (lapa.parent / "out").mkdir()
    (lapa.parent / "out" / "thesis.txt").write_text("")
    with pytest.raises(DatasetWriteError, match="not an empty folder"):
        convert_face_dataset("lapa", lapa, lapa.parent / "out")


@pytest.mark.parametrize("cell", [np.array([-1.0]), np.array([1e30]), None])
def test_names_of_a_damaged_matlab_file(tmp_path, cell):
    import h5py

    from farl_hf.data.datasets.lfwa import cell_text

    with h5py.File(tmp_path / "anno.mat", "w") as file:
        file["cell"] = np.zeros(1) if cell is None else cell
        reference = h5py.Reference() if cell is None else file["cell"].ref
        with pytest.raises(InvalidDatasetError, match=r"anno\.mat cannot be read"):
            cell_text(file, reference)
