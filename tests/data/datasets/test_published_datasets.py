"""Every published data set from its own layout: values worked out by hand from what `raw_layouts` writes."""

import numpy as np
import pytest
import raw_layouts
from raw_layouts import WRITERS

from farl_hf.data.datasets import aflw19
from farl_hf.data.datasets.catalogue import PUBLISHED_DATASETS
from farl_hf.data.loading import load_face_dataset, published_builder
from farl_hf.data.samples.face_samples import without_decoding
from farl_hf.labels import CELEBA_ATTRIBUTES
from farl_hf.photos import decode_map, decode_photo

NUM_PHOTOS = {
    ("lapa", "default"): {"train": 3, "validation": 1, "test": 1},
    ("celebamask_hq", "farl"): {"train": 2, "validation": 1, "test": 1},
    ("celeba", "aligned"): {"train": 2, "validation": 1, "test": 1},
    ("lfwa", "default"): {"train": 2, "test": 2},
    ("w300", "default"): {"train": 2, "test": 2, "test_common": 1, "test_challenge": 1},
    ("wflw", "hrnet"): {"train": 2, "test": 1} | {f"test_{name}": 1 for name in raw_layouts.WFLW_SUBSETS},
    ("wflw", "original"): {"train": 2, "test": 1} | {f"test_{name}": 1 for name in raw_layouts.WFLW_SUBSETS},
    ("aflw19", "default"): {"train": 2, "test": 2, "test_frontal": 1},
    ("widerface", "retinaface"): {"train": 2, "validation": 1},
    ("widerface", "original"): {"train": 2, "validation": 1},
}


@pytest.fixture(autouse=True)
def _few_train_faces(monkeypatch):
    monkeypatch.setattr(aflw19, "NUM_TRAIN_FACES", 3)


@pytest.fixture
def load(tmp_path):
    """Writes a data set and loads a split of it, rows as plain dicts with pictures left encoded."""

    def load_split(name, config=None, split="train", writer=None, **settings):
        root = tmp_path / name
        root.mkdir(exist_ok=True)
        writer = writer or WRITERS[name, config or published_builder(name).DEFAULT_CONFIG_NAME]
        writer(root)
        settings = {"cache_dir": str(tmp_path / "cache"), "check_counts": False, **settings}
        rows = load_face_dataset(name, config, data_dir=root, split=split, **settings)
        return list(without_decoding(rows, rows.column_names))

    return load_split


def assert_same_rows(left, right):
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        assert list(one) == list(other)
        for column, value in one.items():
            if column == "image":
                assert np.array_equal(decode_photo(value), decode_photo(other[column]))
            elif column == "label_map":
                assert np.array_equal(decode_map(value), decode_map(other[column]))
            else:
                np.testing.assert_array_equal(np.asarray(value), np.asarray(other[column]))


@pytest.mark.parametrize(("name", "config"), WRITERS)
def test_streaming_gives_what_the_cache_gives(name, config, tmp_path):
    WRITERS[name, config](tmp_path)
    settings = {"data_dir": tmp_path, "check_counts": False}
    cached = load_face_dataset(name, config, cache_dir=str(tmp_path / "cache"), **settings)
    streams = load_face_dataset(name, config, streaming=True, **settings)
    assert {split: len(rows) for split, rows in cached.items()} == NUM_PHOTOS[name, config]
    for split, rows in cached.items():
        columns = rows.column_names
        assert_same_rows(list(without_decoding(rows, columns)), list(without_decoding(streams[split], columns)))


def test_two_processes_give_what_one_gives(tmp_path):
    raw_layouts.write_lapa(tmp_path / "raw", (20, 1, 1))
    settings = {"data_dir": tmp_path / "raw", "split": "train", "check_counts": False}
    one = load_face_dataset("lapa", cache_dir=str(tmp_path / "one"), **settings)
    two = load_face_dataset("lapa", cache_dir=str(tmp_path / "two"), num_proc=2, **settings)
    assert_same_rows(*(list(without_decoding(rows, rows.column_names)) for rows in (one, two)))


def test_streams_have_shards_for_several_readers(tmp_path):
    raw_layouts.write_lapa(tmp_path, (20, 1, 1))
    stream = load_face_dataset("lapa", data_dir=tmp_path, split="train", streaming=True, check_counts=False)
    assert stream.num_shards == 7  # of three photos, so that all of eight readers but one have work
    parts = [list(without_decoding(stream.shard(2, part), stream.column_names)) for part in range(2)]
    paths = [row["image"]["path"] for part in parts for row in part]
    assert len(set(paths)) == len(paths) == 20


def test_the_table_names_every_builder():
    for name, published in PUBLISHED_DATASETS.items():
        builder = published.builder_class()
        assert name == builder.DATASET
        assert builder.DEFAULT_CONFIG_NAME in [config.name for config in builder.BUILDER_CONFIGS]


def test_lapa(load, tmp_path):
    rows = load("lapa")
    row = rows[2]  # sorted by name
    assert row["image"]["path"] == str(tmp_path / "lapa" / "train" / "images" / "00002_0.jpg")
    label_map = decode_map(row["label_map"])
    assert label_map.shape == (16, 24)
    assert label_map[5, 3] == 2
    assert label_map[0, 0] == 10
    assert row["landmarks_xy"][0][3] == [6.5, 3.75]  # "6 3.25" in the file
    # Pupils 104 and 105, nose tip 54, mouth corners 84 and 90.
    assert row["points5_xy"] == [[[208.5, 104.75], [210.5, 105.75], [108.5, 54.75], [168.5, 84.75], [180.5, 90.75]]]


@pytest.mark.parametrize("partition", [True, False])
def test_celebamask_hq_in_farls_order(load, partition):
    rows = load("celebamask_hq", writer=lambda root: raw_layouts.write_celebamask_hq(root, partition))
    assert len(rows) == 2
    # The order of the partition: photo 2001 is 000013.jpg of CelebA, photo 0 is 119613.jpg.
    assert [row["list_position"] for row in rows] == [[0], [1]]
    assert set(np.unique(decode_map(rows[0]["label_map"]))) == {0, 2}
    label_map = decode_map(rows[1]["label_map"])
    assert decode_photo(rows[1]["image"]).shape == (16, 16, 3)  # shrunk from 32 to the size of the masks
    assert label_map[8, 8] == 2  # skin
    assert label_map[15, 8] == 1  # neck, painted before the skin
    assert label_map[11, 8] == 2
    assert label_map[7, 10] == 6  # l_brow: the right eyebrow of the picture
    assert label_map[5, 8] == 14  # hair covers the skin
    assert label_map[15, 0] == 0
    assert set(np.unique(label_map)) == {0, 1, 2, 6, 14}


def test_celebamask_hq_in_the_order_of_the_data_set(load):
    label_map = decode_map(load("celebamask_hq", "dataset", writer=raw_layouts.write_celebamask_hq)[1]["label_map"])
    assert label_map[8, 8] == 1  # skin
    assert label_map[15, 8] == 17  # neck
    assert label_map[11, 8] == 17  # painted after the skin in this order
    assert label_map[7, 10] == 6  # l_brow
    assert label_map[5, 8] == 13  # hair
    assert set(np.unique(label_map)) == {0, 1, 6, 13, 17}


def test_celebamask_hq_photo_is_the_mean_of_four_pixels(load, tmp_path):
    rows = load("celebamask_hq")
    photo = decode_photo({"path": str(tmp_path / "celebamask_hq" / "CelebA-HQ-img" / "0.jpg"), "bytes": None})
    means = photo.reshape(16, 2, 16, 2, 3).mean(axis=(1, 3))
    assert np.abs(decode_photo(rows[1]["image"]) - means).max() <= 0.5


@pytest.mark.parametrize("flat", [False, True])
def test_celeba_aligned(load, flat):
    rows = load("celeba", writer=lambda root: raw_layouts.write_celeba(root, flat))
    assert list(rows[1]) == ["image", "points5_xy", "attributes"]
    assert rows[1]["points5_xy"] == [[[70.5, 109.5], [106.5, 113.5], [77.5, 142.5], [73.5, 152.5], [108.5, 154.5]]]
    assert rows[1]["attributes"][0][:6] == [0, 0, 1, 0, 0, 1]  # 1 where (1 + column) is a multiple of 3
    assert decode_photo(rows[0]["image"]).shape == (218, 178, 3)


def test_celeba_in_the_wild(load):
    row = load("celeba", "in_the_wild", split="test", writer=raw_layouts.write_celeba)[0]
    assert row["boxes_xyxy"] == [[95, 71, 321, 384]]
    assert row["points5_xy"][0][2] == [196.5, 249.5]
    assert decode_photo(row["image"]).shape == (400, 340, 3)


def test_lfwa(load, tmp_path):
    train, test = load("lfwa"), load("lfwa", split="test")
    assert train[0]["image"]["path"] == str(tmp_path / "lfwa" / "lfw" / "Cy_D" / "Cy_D_0001.jpg")
    assert test[1]["image"]["path"] == str(tmp_path / "lfwa" / "lfw" / "Eli" / "Eli_0001.jpg")
    assert len(train[0]["attributes"][0]) == len(CELEBA_ATTRIBUTES)
    assert train[0]["attributes"][0][:3] == [0, 1, 0]  # (2 * 7 + column) % 2
    assert test[1]["attributes"][0][:3] == [1, 0, 1]  # (3 * 7 + column) % 2


@pytest.mark.parametrize(("annotations", "images"), [(".", "."), ("annotations", "images")])
def test_w300(load, annotations, images):
    writer = lambda root: raw_layouts.write_w300(root, annotations, images)  # noqa: E731
    row = load("w300", writer=writer)[0]
    # 100 ∓ 150 - 2 + 0.5 and 120 ∓ 150 - 2 + 0.5
    assert row["boxes_xyxy"] == [[-51.5, -31.5, 248.5, 268.5]]
    assert row["landmarks_xy"][0][5] == [13.5, 18.5]  # (15, 20) in the table
    assert row["points5_xy"][0][0] == [8.5 + 38.5, 8.5 + 77]  # the mean of points 36 … 41
    challenge = load("w300", split="test_challenge", writer=writer)
    assert challenge[0]["image"]["path"].endswith("ibug/image_092 _01.jpg")


def test_w300_private_test_set_is_there_when_its_table_is(load):
    def writer(root):
        raw_layouts.write_w300(root)
        table = (root / "face_landmarks_300w_valid_common.csv").read_text()
        (root / "face_landmarks_300w_test.csv").write_text(table)

    assert len(load("w300", split="test_private", writer=writer)) == 1


def test_wflw_faces_of_a_photo_are_one_row(load):
    first, second = load("wflw")
    assert first["boxes_xyxy"] == [[10.5, 20.5, 90.5, 100.5], [70.5, -19.5, 230.5, 140.5]]
    assert (first["list_position"], second["list_position"]) == ([0, 2], [1])
    assert first["landmarks_xy"][1][2] == [32.5, 34.5]
    assert first["points5_xy"][1][0] == [30.5 + 96, 30.5 + 192]  # the pupil 96
    assert second["landmarks_xy"][0][0] == [20.5, 20.5]


@pytest.mark.parametrize("config", ["hrnet", "original"])
def test_wflw_subsets_hold_their_own_faces(load, config):
    whole = load("wflw", config, split="test")[0]
    blur = load("wflw", config, split="test_blur")[0]
    pose = load("wflw", config, split="test_largepose")[0]
    assert len(whole["landmarks_xy"]) == 2
    assert blur["landmarks_xy"] == whole["landmarks_xy"][1:]
    assert pose["landmarks_xy"] == whole["landmarks_xy"][:1]


def test_wflw_original_boxes(load):
    assert load("wflw", "original")[0]["boxes_xyxy"] == [[1.5, 2.5, 31.5, 42.5]] * 2
    assert load("wflw", "original", split="test_blur")[0]["boxes_xyxy"] == [[3.5, 4.5, 13.5, 24.5]]


def test_aflw19(load):
    train, test, frontal = (load("aflw19", split=split) for split in ("train", "test", "test_frontal"))
    # `ra` begins with rows 4, 2, 1; rows 1 and 2 are one photo.
    assert [row["image"]["path"][-12:] for row in train] == ["3/image3.jpg", "0/image1.jpg"]
    assert train[0]["boxes_xyxy"] == [[30.5, 15.5, 38.5, 21.5]]  # left 30, right 38, top 15, bottom 21
    assert train[0]["landmarks_xy"][0][4] == [304.5, 323.5]  # x is value 4 of the row, y value 4 + 19
    assert len(train[1]["landmarks_xy"]) == 2
    assert train[1]["landmarks_xy"][0][0] == [100.5, 119.5]  # row 2 before row 1
    assert [row["list_position"] for row in train] == [[0], [1, 2]]
    assert [row["image"]["path"][-12:] for row in test] == ["3/image4.jpg", "2/image2.jpg"]
    assert [row["image"]["path"][-12:] for row in frontal] == ["3/image4.jpg"]  # row 3 has a hidden point


def test_widerface_with_points(load):
    train, validation = load("widerface"), load("widerface", split="validation")
    assert train[0]["boxes_xyxy"] == [[4, 5, 16, 15], [1, 1, 4, 3]]  # the third face has no width
    assert train[0]["points5_xy"][0] == [[9.5, 8.25], [14, 8], [12, 11], [10, 13], [14, 13]]
    assert np.isnan(train[0]["points5_xy"][1]).all()
    assert train[1]["boxes_xyxy"] == []
    assert validation[0]["boxes_xyxy"] == [[2, 3, 6, 8]]
    assert np.isnan(validation[0]["points5_xy"]).all()


def test_widerface_original(load):
    train = load("widerface", "original")
    assert train[0]["boxes_xyxy"] == [[4, 5, 16, 15]]  # the second is marked invalid, the third has no area
    assert np.shape(train[0]["points5_xy"]) == (1, 5, 2)
    assert train[1]["boxes_xyxy"] == []


def test_widerface_takes_the_owners_faces_where_val_has_no_label_file(load):
    def writer(root):
        raw_layouts.write_widerface_retinaface(root)
        raw_layouts.write_widerface_original(root)
        (root / "val" / "label.txt").unlink()

    assert load("widerface", split="validation", writer=writer)[0]["boxes_xyxy"] == [[2, 3, 6, 8]]
