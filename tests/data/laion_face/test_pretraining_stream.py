import itertools
import json
import tarfile
from collections import Counter

import numpy as np
import pytest
import torch
from laion_shards import FACE, bomb_bytes, photo_bytes, sample_id, write_detections, write_shard
from torch.utils.data import DataLoader

from farl_hf import FaRLImageProcessor
from farl_hf.conversion.clip_vocabulary import make_clip_tokenizer
from farl_hf.data.laion_face.shards import SKIP_REASONS, find_shards
from farl_hf.data.laion_face.stream import PretrainingStream, StreamProgress
from farl_hf.data.samples.pretraining_samples import PretrainingTransform, pretraining_collate
from farl_hf.errors import InvalidArgumentError, InvalidDatasetError

NUM_SHARDS, PER_SHARD = 6, 5


class NumberedTransform(PretrainingTransform):
    """Adds the sample's number and epoch, so that a test knows what it sees."""

    def sample(self, row):
        return super().sample(row) | {"sample_id": row["sample_id"], "epoch": row["epoch"]}


@pytest.fixture(scope="module")
def transform():
    processor = FaRLImageProcessor(size={"height": 16, "width": 16})
    return NumberedTransform(processor, make_clip_tokenizer(), seed=3)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    root = tmp_path_factory.mktemp("laion")
    for shard in range(NUM_SHARDS):
        write_shard(root, shard, PER_SHARD)
    write_detections(root, range(NUM_SHARDS), PER_SHARD)
    return find_shards(root, cache_dir=root / "cache")


ALL_IDS = {sample_id(number, shard) for shard in range(NUM_SHARDS) for number in range(PER_SHARD)}


def load(stream, num_workers=0, batch_size=2, drop_last=False):
    return DataLoader(
        stream, batch_size=batch_size, num_workers=num_workers, collate_fn=pretraining_collate, drop_last=drop_last
    )


def seen(batches):
    return [(int(e), int(i)) for batch in batches for e, i in zip(batch["epoch"], batch["sample_id"], strict=True)]


# With three shards or one, four readers share them.
@pytest.mark.parametrize(("used", "window_size"), [(NUM_SHARDS, 8), (NUM_SHARDS, 0), (3, 8), (1, 0)])
def test_two_nodes_with_two_workers_see_every_sample_once_per_epoch(shards, transform, used, window_size):
    expected = {sample_id(number, shard) for shard in range(used) for number in range(PER_SHARD)}
    per_rank = []
    for rank in range(2):
        stream = PretrainingStream(
            shards[:used], transform, window_size=window_size, num_epochs=2, rank=rank, world_size=2
        )
        per_rank.append(seen(load(stream, num_workers=2)))
    counts = Counter(per_rank[0] + per_rank[1])
    assert counts == {(epoch, number): 1 for epoch in range(2) for number in expected}
    assert per_rank[0]
    assert per_rank[1]


def test_the_order_is_the_seeds_and_the_epochs(shards, transform):
    orders = [seen(load(PretrainingStream(shards, transform, window_size=10, num_epochs=2))) for _ in range(2)]
    assert orders[0] == orders[1]
    first, second = ([i for epoch, i in orders[0] if epoch == wanted] for wanted in range(2))
    assert set(first) == set(second) == ALL_IDS
    assert first != second
    assert first != sorted(first)
    # A window of 10 samples is two shards: their samples come before those of the next two.
    shards_of_window = [{i // 10_000 for i in first[start : start + 10]} for start in (0, 10, 20)]
    assert [len(window) for window in shards_of_window] == [2, 2, 2]
    unshuffled = seen(load(PretrainingStream(shards, transform, window_size=0, num_epochs=1)))
    assert [i for _, i in unshuffled] == sorted(ALL_IDS)


@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker")  # three show whose turn it is; cores or not
@pytest.mark.parametrize(("num_workers", "taken"), [(0, 1), (0, 20), (3, 2), (3, 34)])
def test_a_resumed_stream_goes_on_as_if_nothing_had_happened(shards, transform, num_workers, taken):
    def start():
        return PretrainingStream(shards, transform, window_size=10, rank=1, world_size=2)

    whole = list(itertools.islice(load(start(), num_workers), 40))
    stream = start()
    progress = StreamProgress(stream)
    for batch in itertools.islice(load(stream, num_workers), taken):
        progress.take(batch)
        assert "stream_state" not in batch
    state = json.loads(json.dumps(progress.state_dict()))
    resumed = start()
    resumed.load_state_dict(state)
    rest = list(itertools.islice(load(resumed, num_workers), 40 - taken))
    for expected, found in zip(whole[taken:], rest, strict=True):
        assert expected.keys() == found.keys()
        assert all(torch.equal(values, found[key]) for key, values in expected.items())
    again = StreamProgress(resumed)
    for batch in rest:
        again.take(batch)
    assert again.num_samples == 80


def test_a_state_is_of_its_processes_and_workers(shards, transform):
    stream = PretrainingStream(shards, transform)
    progress = StreamProgress(stream)
    progress.take(next(iter(load(stream))))
    state = progress.state_dict()
    with pytest.raises(InvalidArgumentError, match="process 0 of 1, this is process 1 of 2"):
        PretrainingStream(shards, transform, rank=1, world_size=2).load_state_dict(state)
    with pytest.raises(InvalidArgumentError, match="6 shards of faces and 0 of other photos, this one has 5 and 0"):
        PretrainingStream(shards[1:], transform).load_state_dict(state)
    stream.load_state_dict(state)
    with pytest.raises(InvalidArgumentError, match="1 loader workers, there are 2"):
        next(iter(load(stream, num_workers=2)))


# Number in its shard, what is wrong there, and how it is counted. Of 10 samples one is damaged, in every shard.
PLANTED = {
    0: (3, {"jpg": photo_bytes(3)[:500]}, "unreadable_image"),
    1: (4, {"jpg": b"<html>not found</html>"}, "unreadable_image"),
    2: (5, {"jpg": None, "png": bomb_bytes()}, "oversized_image"),
    3: (6, {"txt": None}, "missing_caption"),
    4: (0, {"json": b"\xff"}, "bad_metadata"),
    5: (9, {"jpg": None}, "incomplete_sample"),
    6: (1, {}, "missing_detection"),
    7: (2, {}, "empty_detection"),
    8: (7, {}, "no_usable_face"),
}


def plant_damage(root):
    """Ten shards of ten samples, a tenth of them damaged; the last shard is cut in its last sample."""
    detections = {
        sample_id(1, 6): None,
        sample_id(2, 7): [],
        sample_id(7, 8): [(FACE[0], np.full((5, 2), np.nan), 0.99)],
    }
    for shard in range(10):
        changes = {PLANTED[shard][0]: dict(PLANTED[shard][1])} if shard in PLANTED else {}
        path = write_shard(root, shard, 10, changes=changes)
    with tarfile.open(path) as tar:
        cut = tar.getmember("000090009.json").offset_data + 100
    path.write_bytes(path.read_bytes()[:cut])
    write_detections(root, range(10), 10, changes=detections)
    expected = Counter(reason for _, _, reason in PLANTED.values())
    return expected + Counter({"incomplete_sample": 1, "damaged_shard": 1})


def first_states(stream, num_workers, passes):
    """Per reader the states with the first samples of these passes."""
    found, progress = {}, StreamProgress(stream)
    for batch in load(stream, num_workers, batch_size=1):
        epoch = int(batch["epoch"][0])
        progress.take(batch)
        worker = (progress.next_worker - 1) % progress.num_workers
        found.setdefault(worker, {}).setdefault(epoch, progress.readers[str(worker)])
        if len(found) == progress.num_workers and all(max(states) >= max(passes) for states in found.values()):
            return [{str(worker): states[epoch] for worker, states in found.items()} for epoch in passes]
    return None


def counts_of(stream, states):
    progress = StreamProgress(stream)
    progress.readers = states
    return Counter(progress.skipped)


@pytest.mark.parametrize(("num_workers", "world_size"), [(2, 1), (0, 2), (0, 12)])
def test_counts_of_what_is_skipped_are_those_planted(tmp_path, transform, num_workers, world_size):
    expected = plant_damage(tmp_path)
    shards = find_shards(tmp_path, cache_dir=tmp_path / "cache")
    found = Counter()
    for rank in range(world_size):
        stream = PretrainingStream(shards, transform, window_size=0, rank=rank, world_size=world_size)
        first, second = first_states(stream, num_workers, (1, 2))
        found += counts_of(stream, second) - counts_of(stream, first)
    assert found == expected


def test_training_goes_on_with_what_is_sound(tmp_path, transform):
    expected = plant_damage(tmp_path)
    shards = find_shards(tmp_path, cache_dir=tmp_path / "cache")
    stream = PretrainingStream(shards, transform, window_size=20)
    progress, batches = StreamProgress(stream), []
    for batch in itertools.islice(load(stream, 2), 91):
        progress.take(batch)
        batches.append(batch)
    counts = Counter(seen(batches))
    assert set(counts.values()) == {1}
    assert sum(epoch == 0 for epoch, _ in counts) == 90
    assert set(progress.skipped) == set(SKIP_REASONS)
    for reason, count in progress.skipped.items():
        assert expected[reason] * 2 <= count <= expected[reason] * 3, reason


def test_a_stream_of_nothing_says_so(tmp_path, transform):
    write_shard(tmp_path, 0, 4, changes={number: {"txt": None} for number in range(4)})
    write_detections(tmp_path, [0], 4)
    shards = find_shards(tmp_path, cache_dir=tmp_path / "cache")
    with pytest.raises(InvalidDatasetError, match="missing_caption 4"):
        next(iter(PretrainingStream(shards, transform)))


@pytest.mark.parametrize("face_ratio", [0.0, 0.125, 0.5, 1.0])
def test_faces_and_other_photos_are_mixed_at_the_ratio(tmp_path, shards, transform, face_ratio):
    for shard in range(10, 14):
        write_shard(tmp_path, shard, PER_SHARD)
    others = find_shards(tmp_path, with_faces=False)
    stream = PretrainingStream(shards, transform, other_shards=others, face_ratio=face_ratio, window_size=8)
    loader = load(stream, 2, batch_size=8)
    shown = seen(itertools.islice(loader, 6))
    faces = [number in ALL_IDS for _, number in shown]
    assert sum(faces) == face_ratio * 48
    for start in range(0, 48, 8):
        assert sum(faces[start : start + 8]) == face_ratio * 8
    assert max(Counter(shown).values()) == 1


def test_more_readers_than_samples_take_turns(shards, transform):
    per_rank = []
    for rank in range(8):
        stream = PretrainingStream(shards[:1], transform, num_epochs=8, rank=rank, world_size=8)
        per_rank.append(seen(load(stream)))
    assert {len(shown) for shown in per_rank} == {PER_SHARD}
    assert set(Counter(itertools.chain(*per_rank)).values()) == {1}
    endless = PretrainingStream(shards[:1], transform, rank=7, world_size=8)
    assert len(list(itertools.islice(endless, 10))) == 10


def test_mixing_needs_both_kinds(shards, transform):
    with pytest.raises(InvalidArgumentError, match="no shards of other photos"):
        PretrainingStream(shards, transform, face_ratio=0.5)
    with pytest.raises(InvalidArgumentError, match=r"expected a share in \[0, 1\]"):
        PretrainingStream(shards, transform, other_shards=shards, face_ratio=1.5)


def test_captions_for_a_vocabulary(shards, transform):
    stream = PretrainingStream(shards, transform)
    assert len(list(stream.captions())) == NUM_SHARDS * PER_SHARD
    assert list(stream.captions(limit=7))[-1] == "caption 1 of shard 1"
