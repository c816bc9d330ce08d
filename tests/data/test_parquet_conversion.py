import shutil
from pathlib import Path

import datasets
import pytest
import raw_layouts
from test_published_datasets import assert_same_rows

from farl_hf.data.convert import convert_face_dataset
from farl_hf.data.datasets import aflw19
from farl_hf.data.loading import load_face_dataset
from farl_hf.data.samples.face_samples import without_decoding


def plain(rows):
    return list(without_decoding(rows, rows.column_names))


@pytest.mark.parametrize(("name", "config"), raw_layouts.WRITERS)
def test_converted_rows_are_the_raw_ones_and_need_no_other_file(name, config, tmp_path, monkeypatch):
    monkeypatch.setattr(aflw19, "NUM_TRAIN_FACES", 3)
    raw_layouts.WRITERS[name, config](tmp_path / "raw")
    settings = {"cache_dir": str(tmp_path / "cache"), "check_counts": False}
    raw = load_face_dataset(name, config, data_dir=tmp_path / "raw", **settings)
    before = {split: plain(rows) for split, rows in raw.items()}
    for rows in before.values():  # bytes now, since the files go
        for row in rows:
            for column in ("image", "label_map"):
                if column in row and row[column]["bytes"] is None:
                    row[column]["bytes"] = Path(row[column]["path"]).read_bytes()
    converted = convert_face_dataset(name, tmp_path / "raw", tmp_path / "out", config)
    shutil.rmtree(tmp_path / "raw")
    assert converted.num_photos == {split: len(rows) for split, rows in before.items()}
    assert set(converted.num_skipped.values()) == {0}
    after = load_face_dataset(str(tmp_path / "out"), **settings)
    assert list(after) == list(before)
    for split, rows in after.items():
        assert rows.features == raw[split].features
        assert_same_rows(plain(rows), before[split])


def test_several_shards_and_processes(tmp_path, monkeypatch):
    monkeypatch.setattr("farl_hf.data.convert._SHARD_SIZE", "3KB")
    raw_layouts.write_lapa(tmp_path / "raw", (12, 1, 1))
    converted = convert_face_dataset("lapa", tmp_path / "raw", tmp_path / "out", num_proc=2)
    names = sorted(path.name for path in (converted.folder / "data").glob("train-*"))
    assert len(names) >= 2
    assert names[-1] == f"train-{len(names) - 1:05d}-of-{len(names):05d}.parquet"
    rows = datasets.load_dataset(str(converted.folder), split="train", cache_dir=str(tmp_path / "cache"))
    assert sorted(row["image"]["path"] for row in plain(rows)) == [f"{number:05d}_0.jpg" for number in range(12)]


def test_bad_photos_can_be_skipped_and_are_counted(tmp_path):
    raw_layouts.write_lapa(tmp_path / "raw", (3, 1, 1))
    (tmp_path / "raw" / "train" / "images" / "00001_0.jpg").write_bytes(b"no picture")
    (tmp_path / "raw" / "train" / "images" / "00002_0.jpg").unlink()
    converted = convert_face_dataset("lapa", tmp_path / "raw", tmp_path / "out", bad_photos="skip")
    assert converted.num_photos == {"train": 1, "validation": 1, "test": 1}
    assert converted.num_skipped == {"train": 2, "validation": 0, "test": 0}


def test_the_card_says_licence_and_source(tmp_path):
    raw_layouts.write_lfwa(tmp_path / "raw")
    card = (convert_face_dataset("lfwa", tmp_path / "raw", tmp_path / "out").folder / "README.md").read_text()
    for part in ("pretty_name: LFWA", "non-commercial research only", "https://mmlab.ie.cuhk.edu.hk", "| test | 2 |"):
        assert part in card
