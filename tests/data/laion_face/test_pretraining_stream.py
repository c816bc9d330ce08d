import itertools
import json
import tarfile
from collections import Counter
from types import SimpleNamespace
from unittest.mock import patch

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


def batches_of_worker(stream, worker, num_workers, batch_size):
    """What a loader worker gives, without a process for it."""
    samples = iter(stream)
    with patch("farl_hf.data.laion_face.stream.get_worker_info") as info:
        info.return_value = SimpleNamespace(id=worker, num_workers=num_workers)
        samples = itertools.chain([next(samples)], samples)
    while batch := list(itertools.islice(samples, batch_size)):
        yield pretraining_collate(batch)


def load_here(stream, num_workers, batch_size):
    """As a `DataLoader`, which asks its workers in turn, but without processes."""
    workers = [
        batches_of_worker(stream, worker, max(1, num_workers), batch_size) for worker in range(max(1, num_workers))
    ]
    return itertools.chain.from_iterable(zip(*workers, strict=False))


def seen(batches):
    return [(int(e), int(i)) for batch in batches for e, i in zip(batch["epoch"], batch["sample_id"], strict=True)]


LAYOUTS = [
    (1, 1, 2),
    (1, 3, 2),
    (2, 2, 2),
    (3, 2, 1),
    (2, 4, 3),
    (4, 1, 2),
    (8, 1, 1),
]  # processes, workers, batch size


def streams_of(shards, transform, layout, window_size=8, **settings):
    processes, _, batch_size = layout
    settings |= {"window_size": window_size, "batch_size": batch_size, "world_size": processes}
    return [PretrainingStream(shards, transform, rank=rank, **settings) for rank in range(processes)]


def test_a_loader_asks_its_workers_as_the_simulated_one_does(shards, transform):
    stream = PretrainingStream(shards, transform, window_size=8, batch_size=2, rank=1, world_size=2)
    assert seen(itertools.islice(load(stream, 2, 2), 9)) == seen(itertools.islice(load_here(stream, 2, 2), 9))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("used", "window_size"), [(NUM_SHARDS, 8), (NUM_SHARDS, 0), (1, 0)])
def test_an_epoch_has_every_sample_once(shards, transform, used, window_size, layout):
    expected = {sample_id(number, shard) for shard in range(used) for number in range(PER_SHARD)}
    streams = streams_of(shards[:used], transform, layout, window_size)
    loaders = [load_here(stream, layout[1], layout[2]) for stream in streams]
    per_step = layout[0] * layout[2]
    taken = []
    for batches in itertools.islice(zip(*loaders, strict=True), 3 * len(expected) // per_step):
        taken += seen(batches)
        # Whatever the number of steps, all samples of the epochs before have come, and none of the next.
        epoch, count = divmod(len(taken), len(expected))
        assert Counter(e for e, _ in taken) == +Counter(dict.fromkeys(range(epoch), len(expected)) | {epoch: count})
    assert set(Counter(taken).values()) == {1}
    assert len(taken) == 3 * len(expected) // per_step * per_step


def test_the_batches_of_a_step_are_the_same_for_all_numbers_of_readers(shards, transform):
    def batches(layout):
        loaders = [load_here(each, layout[1], layout[2]) for each in streams_of(shards, transform, layout)]
        return [sorted(seen(step)) for step in itertools.islice(zip(*loaders, strict=True), 12)]

    alone = batches((1, 0, 4))
    assert batches((2, 2, 2)) == alone
    assert batches((4, 1, 1)) == alone
    assert batches((1, 3, 4)) == alone


def train_for(streams, num_workers, batch_size, num_steps):
    """Samples of some steps of all processes, and the states after them."""
    progress, taken = [StreamProgress(stream) for stream in streams], []
    loaders = [load_here(stream, num_workers, batch_size) for stream in streams]
    for batches in itertools.islice(zip(*loaders, strict=True), num_steps):
        taken += seen(batches)
        for each, batch in zip(progress, batches, strict=True):
            each.take(batch)
    return taken, json.loads(json.dumps([each.state_dict() for each in progress])), progress


@pytest.mark.parametrize("damage", [False, True])
def test_other_readers_go_on_without_loss_or_repetition(tmp_path, shards, transform, damage):
    if damage:
        plant_damage(tmp_path)
        shards = find_shards(tmp_path, cache_dir=tmp_path / "cache")
    whole, _, [progress] = train_for(streams_of(shards, transform, (1, 1, 1), 20), 0, 1, 200)
    taken, states = [], None
    # Stopped four times, each time in the middle of an epoch or of a window, and resumed with other readers.
    for (processes, workers, batch_size), num_steps in [
        ((2, 2, 3), 5), ((3, 0, 2), 4), ((1, 3, 4), 7), ((2, 0, 1), 5), ((4, 2, 2), 6)
    ]:  # fmt: skip
        streams = streams_of(shards, transform, (processes, workers, batch_size), 20)
        for stream in streams:
            if states is not None:
                stream.load_state_dict(states, workers)
        samples, states, progress = train_for(streams, workers, batch_size, num_steps)
        assert len(samples) == processes * batch_size * num_steps
        taken += samples
        assert sum(each.num_samples for each in progress) == len(taken)
    assert set(Counter(taken).values()) == {1}
    if damage:  # readers that skip more are ahead of the others, by a few samples
        assert len(set(taken) - set(whole[: len(taken) + 10])) == 0
        assert len(set(whole[: len(taken) - 10]) - set(taken)) == 0
    else:
        assert sorted(taken) == sorted(whole[: len(taken)])


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
    resumed.load_state_dict(state, num_workers)
    rest = list(itertools.islice(load(resumed, num_workers), 40 - taken))
    for expected, found in zip(whole[taken:], rest, strict=True):
        assert expected.keys() == found.keys()
        assert all(torch.equal(values, found[key]) for key, values in expected.items())
    again = StreamProgress(resumed)
    for batch in rest:
        again.take(batch)
    assert again.num_samples == 80
    assert again.epoch > StreamProgress(start()).epoch == 0


def test_the_epoch_counts_passes(shards, transform):
    *_, [progress] = train_for([PretrainingStream(shards, transform, window_size=8)], 0, 3, 15)
    assert progress.epoch == pytest.approx(1.5)


def test_a_state_is_of_an_order_and_of_all_processes(shards, transform):
    _, states, _ = train_for(streams_of(shards, transform, (2, 1, 2)), 0, 2, 3)
    settings = {"window_size": 8, "batch_size": 2}
    same = PretrainingStream(shards, transform, rank=1, world_size=2, **settings)
    with pytest.raises(InvalidArgumentError, match="process 0 of 2, this is process 1"):
        same.load_state_dict(states[0])
    alone = PretrainingStream(shards, transform, **settings)
    with pytest.raises(InvalidArgumentError, match=r"2 processes with 1 loader workers.*those of 1 are missing"):
        alone.load_state_dict(states[:1])
    for name, other in [("num_shards", [5, 0]), ("seed", 7), ("window_size", 9)]:
        with pytest.raises(InvalidArgumentError, match=f"{name}.*this one has"):
            alone.load_state_dict([state | {name: other} for state in states])
    older = {"rank": 0, "world_size": 1, "num_shards": [6, 0], "num_workers": 1, "next_worker": 0, "readers": {}}
    with pytest.raises(InvalidArgumentError, match="another version"):
        alone.load_state_dict(older)
    alone.load_state_dict(states, num_workers=0)
    with pytest.raises(InvalidArgumentError, match="1 loader workers, but the loader has 2"):
        next(iter(load(alone, num_workers=2)))


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
        sample_id(7, 8): [(FACE[0], FACE[1], 0.5)],
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


@pytest.mark.parametrize(("num_workers", "world_size"), [(2, 1), (0, 2), (0, 12)])
def test_counts_of_what_is_skipped_are_those_planted(tmp_path, transform, num_workers, world_size):
    expected = plant_damage(tmp_path)
    # A sound end, so that every reader's last sample comes after all damage.
    write_shard(tmp_path, 10, 30, part=1)
    write_detections(tmp_path, [10], 30, part=1)
    shards = find_shards(tmp_path, cache_dir=tmp_path / "cache")
    found = Counter()
    for rank in range(world_size):
        stream = PretrainingStream(shards, transform, window_size=0, rank=rank, world_size=world_size, num_epochs=1)
        progress = StreamProgress(stream)
        for batch in load(stream, num_workers, batch_size=1):
            progress.take(batch)
        found += Counter(progress.skipped)
    assert found == expected


def test_a_shard_is_searched_once(tmp_path, monkeypatch, transform):
    expected = plant_damage(tmp_path)
    shards = find_shards(tmp_path, cache_dir=tmp_path / "cache")

    def counts():
        _, _, [progress] = train_for([PretrainingStream(shards, transform, num_epochs=1)], 0, 1, 100)
        return Counter(progress.skipped)

    first = counts()
    monkeypatch.setattr("farl_hf.data.laion_face.shards.find_members", None)
    assert counts() == first
    assert first <= expected


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
    per_rank = [seen(load(each)) for each in streams_of(shards[:1], transform, (8, 1, 1), num_epochs=8)]
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
