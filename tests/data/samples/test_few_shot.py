import random

import numpy as np
import pytest
import raw_layouts
from datasets import concatenate_datasets
from face_rows import make_face_dataset

from farl_hf import FaRLImageProcessor
from farl_hf.data.datasets import aflw19
from farl_hf.data.loading import load_face_dataset
from farl_hf.data.samples.face_samples import FaceRecord, FaceSamples, few_shot_subset, in_list_order
from farl_hf.errors import InvalidArgumentError
from farl_hf.training.arguments import DataArguments, FaRLTrainingArguments
from farl_hf.training.finetuning import FACE_TASK_SETTINGS, make_samples


def test_the_official_faces_are_chosen_and_repeated():
    # py-blueprint 0.0.1.post3, BlueprintDataProcessor(random_ratio=0.25) over ten items.
    assert few_shot_subset(range(10), 0.25) == [8, 7, 8, 7, 8, 7, 8, 7, 8, 7]
    assert few_shot_subset("abcdefghij", 0.25) == list("ih" * 5)


def test_the_whole_is_a_permutation_and_parts_are_nested():
    whole = few_shot_subset(range(100), 1.0)
    assert sorted(whole) == list(range(100))
    assert few_shot_subset(range(100), 0.1) == whole[:10] * 10
    assert few_shot_subset(range(100), 0.3)[:30] == whole[:30]


@pytest.mark.parametrize("ratio", [0.0, -0.5, 0.001, 1.5])
def test_parts_that_keep_nothing_are_refused(ratio):
    with pytest.raises(InvalidArgumentError, match="keeps"):
        few_shot_subset(range(10), ratio)


# Official order per data set: twelve items each, whose place in the list is written into them.

NUM_ITEMS = 12


def official_places(ratio):
    """py-blueprint, blueprint/ml/dataprocessor.py, lines 168-180, as places in the data set's list."""
    places = list(range(NUM_ITEMS))
    random.Random(123).shuffle(places)
    kept = places[: int(NUM_ITEMS * ratio)]
    return [kept[step % len(kept)] for step in range(NUM_ITEMS)]


def write_wflw(root, monkeypatch):
    """Faces of four photos by turns; the first coordinate of a face is 100 times its line."""
    faces = [(f"{line % 4}--Event/{line % 4}.jpg", 0.4, (50.0, 60.0), 100.0 * line) for line in range(NUM_ITEMS)]
    monkeypatch.setattr(raw_layouts, "WFLW_TRAIN", faces)
    raw_layouts.write_wflw_hrnet(root)
    return lambda record: record.annotations["landmarks_xy"][0][0] // 100


def write_aflw19(root, monkeypatch):
    """Three photos by turns; `ra` goes through the rows backwards, the last two are the test."""
    monkeypatch.setattr(aflw19, "NUM_TRAIN_FACES", NUM_ITEMS)
    names = [f"0/image{row % 3}.jpg" for row in range(NUM_ITEMS + 2)]
    raw_layouts.write_aflw19(root, names, ra=range(NUM_ITEMS + 2, 0, -1))
    return lambda record: NUM_ITEMS + 1 - record.annotations["landmarks_xy"][0][0] // 100


def write_w300(root, monkeypatch):
    """One face per photo; the first coordinate of a face is 100 times its line."""
    raw_layouts.write_w300(root)
    names = [f"helen/trainset/{NUM_ITEMS - line}.jpg" for line in range(NUM_ITEMS)]
    lines = [raw_layouts.hrnet_line(name, 1.0, (9.0, 9.0), 68, 100.0 * line) for line, name in enumerate(names)]
    raw_layouts.write_text(root / "face_landmarks_300w_train.csv", [raw_layouts.hrnet_header(68), *lines])
    for name in names:
        raw_layouts.write_photo(root / name)
    return lambda record: (record.annotations["landmarks_xy"][0][0] + 1.5) // 100


@pytest.mark.parametrize("write", [write_wflw, write_aflw19, write_w300])
def test_subsets_of_listed_faces_are_the_official_ones(write, tmp_path, monkeypatch):
    place_of = write(tmp_path, monkeypatch)
    settings = {"split": "train", "check_counts": False, "cache_dir": str(tmp_path / "cache")}
    rows = load_face_dataset(write.__name__.removeprefix("write_"), data_dir=tmp_path, **settings)
    assert len(rows) == {write_wflw: 4, write_aflw19: 3, write_w300: NUM_ITEMS}[write]  # photos
    processor = FaRLImageProcessor(size={"height": 16, "width": 16})
    for ratio, ordered in ((0.2, rows), (0.5, rows), (0.5, rows.shuffle(seed=5)), (1.0, rows)):
        samples = FaceSamples(ordered, processor, "landmarks", alignment="box", min_face_px=0, data_ratio=ratio)
        assert [place_of(record) for record in samples.records] == official_places(ratio)
    joined = concatenate_datasets([rows, rows])  # no single list: in the order of the photos
    samples = FaceSamples(joined, processor, "landmarks", alignment="box", min_face_px=0)
    assert in_list_order(samples.records) == samples.records


@pytest.mark.parametrize("partition", [True, False])
def test_subsets_of_celebamask_hq_are_the_official_ones(partition, tmp_path):
    """In the mapping, the photos are in another order than in the partition; the size of a skin tells its photo."""
    mapping = [f"{photo} 0 {(7 * photo) % NUM_ITEMS + 1:06d}.jpg" for photo in range(NUM_ITEMS)]
    raw_layouts.write_text(tmp_path / "CelebA-HQ-to-CelebA-mapping.txt", ["idx orig_idx orig_file", *mapping])
    if partition:
        lines = [f"{number:06d}.jpg 0" for number in range(1, NUM_ITEMS + 5)]
        raw_layouts.write_text(tmp_path / "list_eval_partition.txt", lines)
    for photo in range(NUM_ITEMS):
        raw_layouts.write_photo(tmp_path / "CelebA-HQ-img" / f"{photo}.jpg", (32, 32))
        raw_layouts.write_mask(tmp_path, photo, "skin", np.s_[0, : photo + 1])
    settings = {"check_counts": False, "cache_dir": str(tmp_path / "cache")}
    rows = load_face_dataset("celebamask_hq", data_dir=tmp_path, split="train", **settings)
    processor = FaRLImageProcessor(size={"height": 16, "width": 16})
    assert [row["list_position"] for row in rows] == [[place] for place in range(NUM_ITEMS)]
    for ordered in (rows, rows.shuffle(seed=5)):
        samples = FaceSamples(ordered, processor, "parsing", alignment="whole", num_labels=19, data_ratio=0.5)
        photos = [np.count_nonzero(ordered[record.row]["label_map"]) - 1 for record in samples.records]
        assert [(7 * photo) % NUM_ITEMS for photo in photos] == official_places(0.5)


# Where there is no list, or not all of it, the order of the rows or a part of the list decides: no official subset.


def test_unusable_faces_at_the_end_of_the_list_are_noticed(caplog):
    rows = [{"image": None, "landmarks_xy": [[[0, 0]]], "list_position": [place]} for place in range(4)]
    rows[-1]["landmarks_xy"] = [[[float("nan")] * 2]]
    with caplog.at_level("WARNING", logger="farl_hf"):
        FaceSamples(rows, FaRLImageProcessor(size=16), "landmarks", alignment="whole", data_ratio=1.0)
    assert "3 of at least 4" in caplog.text


@pytest.mark.parametrize(
    ("positions", "order", "words"),
    [
        ([2, 0, 1], [1, 2, 0], None),
        ([None] * 3, [0, 1, 2], "order of the rows"),
        ([0, 1, 1], [0, 1, 2], "order of the rows"),  # two data sets joined
        ([5, 0, 2], [1, 2, 0], "3 of at least 6"),
    ],
)
def test_what_is_no_official_subset_is_said_once(positions, order, words, caplog):
    columns = [{} if position is None else {"list_position": np.float32(position)} for position in positions]
    rows = [{"image": None, "landmarks_xy": [[[0, 0]]]} for _ in positions]
    rows = [row | ({} if p is None else {"list_position": [p]}) for row, p in zip(rows, positions, strict=True)]
    records = [FaceRecord(row, 0, column) for row, column in enumerate(columns)]
    with caplog.at_level("WARNING", logger="farl_hf"):
        assert [record.row for record in in_list_order(records)] == order
    assert len(caplog.messages) == (words is not None)
    assert words is None or words in caplog.text
    caplog.clear()
    processor = FaRLImageProcessor(size={"height": 16, "width": 16})
    for ratio in (None, 1.0):
        with caplog.at_level("WARNING", logger="farl_hf"):
            FaceSamples(rows, processor, "landmarks", alignment="whole", data_ratio=ratio)
        assert len(caplog.messages) == (words is not None and ratio is not None)


@pytest.mark.parametrize(("limit", "ratio", "told"), [(4, 0.5, True), (None, 0.5, False), (4, None, False)])
def test_a_subset_of_a_shortened_list_is_told(limit, ratio, told, tmp_path, caplog):
    settings = DataArguments(train_data_ratio=ratio, max_train_samples=limit, alignment="whole")
    training = FaRLTrainingArguments(output_dir=str(tmp_path), do_train=True)
    rows, processor = make_face_dataset(4), FaRLImageProcessor(size=16)
    with caplog.at_level("WARNING", logger="farl_hf"):
        make_samples(FACE_TASK_SETTINGS["landmarks"], processor, settings, training, {"train": rows}, [])
    assert ("--train-data-ratio" in caplog.text) is told
