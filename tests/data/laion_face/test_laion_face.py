import io
import json
import os
import pickle
import tarfile

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from laion_shards import (
    FACE,
    FACE_POINTS_XY,
    PHOTO_SIZE_HW,
    photo_bytes,
    sample_id,
    sample_members,
    write_detections,
    write_shard,
    write_tar,
)

from farl_hf.data.laion_face.detections import face_table_folder, open_face_table
from farl_hf.data.laion_face.shards import (
    FaceFilter,
    OpenShard,
    Shard,
    SkippedSampleError,
    find_members,
    find_shards,
    num_listed_samples,
)
from farl_hf.data.loading import load_face_dataset
from farl_hf.errors import InvalidDatasetError


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def outcome(opened, number):
    """The row of a sample, or why it is skipped."""
    try:
        return opened.row(number)
    except SkippedSampleError as error:
        return error.reason


def outcomes(path, table, count=6):
    opened = OpenShard(Shard(str(path), (table,)), FaceFilter())
    assert len(opened) == count
    return [outcome(opened, number) for number in range(count)]


def test_rows_join_pictures_captions_and_faces(tmp_path, cache):
    second = (np.float32([1, 1, 40, 39]), FACE_POINTS_XY + 2, 0.95)
    write_shard(tmp_path, shard=1)
    write_detections(tmp_path, [1], changes={sample_id(2, 1): [FACE, second]})
    rows = load_face_dataset("laion_face", data_dir=tmp_path, split="train", streaming=True, cache_dir=str(cache))
    rows = list(rows)
    assert [row["sample_id"] for row in rows] == [sample_id(number, 1) for number in range(6)]
    assert rows[2]["caption"] == "caption 2 of shard 1"
    assert rows[2]["image"].size == PHOTO_SIZE_HW[::-1]
    np.testing.assert_allclose(rows[2]["points5_xy"], [FACE_POINTS_XY, FACE_POINTS_XY + 2])
    np.testing.assert_allclose(rows[2]["boxes_xyxy"], [FACE[0], second[0]])
    assert len(rows[3]["points5_xy"]) == 1


def test_streams_of_rows_resume_and_split_by_shard(tmp_path, cache):
    from datasets.distributed import split_dataset_by_node

    for shard in range(4):
        write_shard(tmp_path, shard, count=3)
    write_detections(tmp_path, range(4), count=3)
    rows = load_face_dataset("laion_face", data_dir=tmp_path, split="train", streaming=True, cache_dir=str(cache))
    assert rows.num_shards == 4
    everything = [row["sample_id"] for row in rows]
    halves = [[row["sample_id"] for row in split_dataset_by_node(rows, rank, 2)] for rank in range(2)]
    assert sorted(halves[0] + halves[1]) == sorted(everything)
    stream = iter(rows)
    for _ in range(5):
        next(stream)
    state = rows.state_dict()
    rows.load_state_dict(state)
    assert [row["sample_id"] for row in rows] == everything[5:]


def test_what_is_wrong_with_a_sample_is_named(tmp_path, cache):
    changes = {
        0: {"txt": None},
        1: {"txt": b" \n"},
        2: {"json": b"{not json"},
        3: {"metadata": {"SAMPLE_ID": None}},
        4: {"json": b"[" * 100_000},
        5: {"metadata": {"SAMPLE_ID": float("nan")}},
        6: {"metadata": {"SAMPLE_ID": str(sample_id(6))}},
        7: {"metadata": {"SAMPLE_ID": float(sample_id(7))}},
        8: {"jpg": None},
        9: {"json": None},
        10: {"jpg": None, "webp": photo_bytes(10, suffix=".webp")},
        11: {"txt": "caf\u00e9".encode("latin-1")},
        16: {"metadata": {"SAMPLE_ID": 2**63}},
    }
    path = write_shard(tmp_path, count=17, changes=changes)
    faces = {
        sample_id(12): None,
        sample_id(13): [],
        sample_id(14): [(FACE[0], FACE[1], 0.5)],
        sample_id(15): [(np.float32([0, 0, 30, 5]), FACE[1], 0.99)],
    }
    folder = face_table_folder(write_detections(tmp_path, [0], 16, changes=faces), cache)
    found = outcomes(path, folder, 15)
    assert found[:6] == ["missing_caption"] * 2 + ["bad_metadata"] * 4
    assert [row["sample_id"] for row in found[6:10]] == [sample_id(number) for number in (6, 7, 10, 11)]
    assert found[9]["caption"] == "caf\ufffd"
    assert found[10:] == ["missing_detection", "empty_detection", "no_usable_face", "no_usable_face", "bad_metadata"]
    assert find_members(path).skipped == {"incomplete_sample": 2}
    os.mkfifo(tmp_path / "pipe.tar")
    assert find_members(tmp_path / "pipe.tar").skipped == {"damaged_shard": 1}


@pytest.mark.parametrize(
    "pack",
    [
        pytest.param(lambda box, points, score: (box, points, score), id="numpy"),
        pytest.param(
            lambda *face: [torch.from_numpy(face[0]), torch.from_numpy(face[1]), float(face[2])], id="tensors"
        ),
        pytest.param(lambda *face: [face[0].tolist(), face[1].ravel().tolist(), float(face[2])], id="plain"),
        pytest.param(
            lambda *face: (face[0].astype(np.float64), face[1].astype(np.int64), np.float64(face[2])), id="64"
        ),
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_faces_of_any_container_are_read(tmp_path, cache, pack, zipped):
    path = tmp_path / "sample2detect_7.pth"
    detections = {np.int64(30): [pack(*FACE), pack(*FACE)], 10: [], 20: (pack(*FACE),), 40: None}
    torch.save(detections, path, _use_new_zipfile_serialization=zipped)
    table = open_face_table(face_table_folder(path, cache))
    assert [len(table.find(number)) for number in (10, 20, 30, 40)] == [0, 1, 2, 0]
    assert table.find(25) is table.find(50) is None
    expected = [*FACE[0], *FACE_POINTS_XY.ravel(), FACE[2]]
    np.testing.assert_allclose(table.find(30), [expected, expected])


def test_names_of_old_numpy_are_read(tmp_path, cache):
    path = tmp_path / "sample2detect_0.pth"
    data = pickle.dumps({1: [FACE]}, protocol=2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    # torch's old format: magic, protocol and system before the object, the keys of storages after it.
    head = [pickle.dumps(part, protocol=2) for part in (torch.serialization.MAGIC_NUMBER, 1001, {})]
    path.write_bytes(b"".join([*head, data, pickle.dumps([], protocol=2)]))
    assert open_face_table(face_table_folder(path, cache)).find(1)[0, -1] == np.float32(0.99)


def test_malformed_faces_are_skipped_and_said(tmp_path, cache, caplog):
    path = tmp_path / "sample2detect_0.pth"
    torch.save({1: [FACE, FACE[:2], "face", (FACE[0], FACE_POINTS_XY[:4], 0.9), None]}, path)
    assert len(open_face_table(face_table_folder(path, cache)).find(1)) == 1
    assert "Skipped 3 faces" in caplog.text


class Hostile:
    def __reduce__(self):
        return (print, ("code of a file ran",))


@pytest.mark.parametrize("content", [{1: Hostile()}, [1, 2], "text", b""])
def test_detections_that_are_none_are_refused_and_run_nothing(tmp_path, cache, content, capsys):
    path = tmp_path / "sample2detect_0.pth"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(InvalidDatasetError, match="sample2detect_0"):
        face_table_folder(path, cache)
    assert not capsys.readouterr().out
    assert not list(cache.glob("**/*.npy"))


@pytest.mark.parametrize("key", ["x.jpg", None, 1.5, float("nan"), 2**80, (1, 2), "", b"a"])
def test_keys_that_are_no_numbers_are_skipped_and_named(tmp_path, cache, key, caplog):
    path = tmp_path / "sample2detect_0.pth"
    torch.save({7: [FACE], key: [FACE], "8": [FACE, FACE]}, path)
    table = open_face_table(face_table_folder(path, cache))
    assert table.sample_ids.tolist() == [7, 8]
    assert [len(table.find(number)) for number in (7, 8)] == [1, 2]
    assert repr(key)[:20] in caplog.text


def test_a_file_of_other_keys_only_is_refused(tmp_path, cache):
    path = tmp_path / "sample2detect_0.pth"
    torch.save({"a.jpg": [FACE], "b.jpg": []}, path)
    with pytest.raises(InvalidDatasetError, match=r"'a\.jpg'.*SAMPLE_ID"):
        face_table_folder(path, cache)


@pytest.mark.parametrize("found", ["text", 5, 0.5, True])
def test_what_is_no_list_of_faces_is_skipped(tmp_path, cache, found, caplog):
    path = tmp_path / "sample2detect_0.pth"
    torch.save({7: [FACE], 9: found}, path)
    assert open_face_table(face_table_folder(path, cache)).sample_ids.tolist() == [7]
    assert "9" in caplog.text


BOX_OF_FACE, POINTS_OF_FACE, _ = FACE


@pytest.mark.parametrize(
    "face",
    [
        (BOX_OF_FACE[:3], POINTS_OF_FACE, 0.9),
        (BOX_OF_FACE[:3], [*np.ravel(POINTS_OF_FACE), 1.0], 0.9),  # as many numbers as a whole face
        ([], POINTS_OF_FACE, 0.9),
        (None, POINTS_OF_FACE, 0.9),
        (BOX_OF_FACE, None, 0.9),
        (BOX_OF_FACE, POINTS_OF_FACE[:4], 0.9),
        (BOX_OF_FACE, POINTS_OF_FACE, None),
        (BOX_OF_FACE, POINTS_OF_FACE, "high"),
        (BOX_OF_FACE, POINTS_OF_FACE, float("nan")),
        (BOX_OF_FACE, POINTS_OF_FACE * np.float32("nan"), 0.9),
        (BOX_OF_FACE, POINTS_OF_FACE),
        (["a", "b", "c", "d"], POINTS_OF_FACE, 0.9),
        ([1e300] * 4, POINTS_OF_FACE, 0.9),
        7,
        "text",
    ],
    ids=range(15),
)
def test_faces_of_another_shape_are_skipped_and_counted(tmp_path, cache, face, caplog):
    path = tmp_path / "sample2detect_0.pth"
    torch.save({7: [face, FACE]}, path)
    assert len(open_face_table(face_table_folder(path, cache)).find(7)) == 1
    assert "Skipped 1 faces" in caplog.text


def test_a_table_is_made_once_and_again_when_its_file_changes(tmp_path, cache, monkeypatch):
    path = write_detections(tmp_path, [0], 2)
    first = face_table_folder(path, cache)
    monkeypatch.setattr(torch, "load", None)
    assert face_table_folder(path, cache) == first
    monkeypatch.undo()
    write_detections(tmp_path, [0], 3)
    second = face_table_folder(path, cache)
    assert second != first
    assert len(open_face_table(second)) == 3


def test_an_unfinished_table_is_no_table(tmp_path, cache, monkeypatch):
    path = write_detections(tmp_path, [0], 2)

    def failing(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", failing)
        with pytest.raises(KeyboardInterrupt):
            face_table_folder(path, cache)
    assert list((cache / "laion_face" / "detections").iterdir()) == []
    assert len(open_face_table(face_table_folder(path, cache))) == 2


def test_faces_follow_a_picture_that_was_shrunk(tmp_path, cache):
    shrunk = {"width": 24, "height": 20, "original_width": 48, "original_height": 40}
    padded = {"width": 48, "height": 48, "original_width": 48, "original_height": 40}
    changes = {0: {"metadata": shrunk}, 1: {"metadata": padded}, 2: {"metadata": {"original_width": None}}}
    path = write_shard(tmp_path, count=3, changes=changes)
    table = face_table_folder(write_detections(tmp_path, [0], 3), cache)
    opened = OpenShard(Shard(str(path), (table,)), FaceFilter(min_face_px=10))
    np.testing.assert_allclose(opened.row(0)["points5_xy"][0], FACE_POINTS_XY / 2)
    np.testing.assert_allclose(opened.row(0)["boxes_xyxy"][0], FACE[0] / 2)
    assert outcome(opened, 1) == "cropped_image"
    np.testing.assert_allclose(opened.row(2)["points5_xy"][0], FACE_POINTS_XY)


def test_each_part_has_its_own_detections(tmp_path, cache):
    for part in (0, 3, 12):
        write_shard(tmp_path, shard=0, part=part, count=2)
    for part in (0, 3, 12):
        moved = (FACE[0] + part, FACE[1] + part, FACE[2])
        faces = {sample_id(number): [moved] for number in range(2)}
        write_detections(tmp_path / "detections", [], part=part, changes=faces)
    shards = find_shards(tmp_path, cache_dir=cache)
    firsts = [OpenShard(shard, FaceFilter()).row(0)["boxes_xyxy"][0, 0] for shard in shards]
    assert firsts == [FACE[0][0] + part for part in (0, 3, 12)]


def write_parquet(path, faces):
    """Detections of one shard: SAMPLE_ID to faces."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {"sample_id": list(faces)}
    for i, name in enumerate(("box_xyxy", "points5_xy", "scores")):
        columns[name] = [[np.asarray(face[i]).tolist() for face in found] for found in faces.values()]
    pq.write_table(pa.table(columns), path)


def test_detections_of_a_shard_come_first_and_are_in_its_pixels(tmp_path, cache):
    shrunk = {"width": 24, "height": 20, "original_width": 48, "original_height": 40}
    for shard in (0, 1):
        write_shard(tmp_path, shard, count=2, changes={0: {"metadata": shrunk}})
    write_detections(tmp_path, [0, 1], 2)
    moved = (FACE[0] + 1, FACE[1] + 1, 0.95)
    write_parquet(
        tmp_path / "detections" / "detections-00001.parquet", {sample_id(1, 1): [], sample_id(0, 1): [moved]}
    )
    first, second = (OpenShard(shard, FaceFilter(min_face_px=10)) for shard in find_shards(tmp_path, cache_dir=cache))
    np.testing.assert_allclose(first.row(0)["points5_xy"][0], FACE_POINTS_XY / 2)
    np.testing.assert_allclose(second.row(0)["points5_xy"][0], FACE_POINTS_XY + 1)
    assert outcome(second, 1) == "empty_detection"


def test_detections_in_one_folder_must_be_of_one_shard_each(tmp_path, cache):
    for part in (0, 1):
        write_shard(tmp_path, part=part, count=1)
        write_parquet(tmp_path / "detections" / f"split_{part:05d}" / "detections-00000.parquet", {})
    write_parquet(tmp_path / "detections" / "detections-00000.parquet", {})
    assert [shard.detections.split("/")[-2] for shard in find_shards(tmp_path)] == ["split_00000", "split_00001"]
    (tmp_path / "detections" / "split_00001" / "detections-00000.parquet").unlink()
    with pytest.raises(InvalidDatasetError, match="detections-00000"):
        find_shards(tmp_path)


@pytest.mark.parametrize("content", [b"", b"PAR1 cut"])
def test_damaged_detections_of_a_shard_are_named(tmp_path, content):
    path = tmp_path / "detections-00000.parquet"
    path.write_bytes(content)
    with pytest.raises(InvalidDatasetError, match="box_xyxy"):
        open_face_table(str(path))
    pq.write_table(pa.table({"sample_id": [1]}), path)
    with pytest.raises(InvalidDatasetError, match="box_xyxy"):
        open_face_table(str(path))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sample_id": [None, 2]}, "no sample_id"),
        ({"scores": [[0.9], [0.9]]}, "row 1 has 2, 2, 1"),
        ({"box_xyxy": [[[1, 1, 9, 9]], None]}, "row 1 has 0, 2, 2"),
        ({"box_xyxy": [[[1, 1, 9]], [[1, 1, 9]] * 2]}, "four numbers"),
        ({"points5_xy": [[[[1, 1]] * 4], [[[1, 1]] * 4] * 2]}, "five points"),
        ({"box_xyxy": [[[1, 1, 9, None]], [[1, 1, 9, 9]] * 2]}, "finite"),
        ({"box_xyxy": [None, None], "points5_xy": [None, None]}, "cannot be read"),
        ({"sample_id": ["a", "b"]}, "cannot be read"),
        ({"scores": [["high"], ["low", "low"]]}, "cannot be read"),
        ({"box_xyxy": [1, 2]}, "cannot be read"),
    ],
)
def test_detections_of_another_layout_are_named(tmp_path, change, said):
    sound = {
        "sample_id": [1, 2],
        "box_xyxy": [[[1, 1, 9, 9]], [[1, 1, 9, 9]] * 2],
        "points5_xy": [[[[1, 1]] * 5], [[[1, 1]] * 5] * 2],
        "scores": [[0.9], [0.9, 0.8]],
    }
    path = tmp_path / "detections-00000.parquet"
    pq.write_table(pa.table(sound), path)
    assert [len(open_face_table(str(path)).find(number)) for number in (1, 2)] == [1, 2]
    path = tmp_path / "detections-00001.parquet"
    pq.write_table(pa.table(sound | change), path)
    with pytest.raises(InvalidDatasetError, match=f"detections-00001.*{said}"):
        open_face_table(str(path))


def test_a_folder_without_shards_or_without_detections_is_refused(tmp_path, cache):
    with pytest.raises(InvalidDatasetError, match="holds no shards"):
        find_shards(tmp_path)
    write_shard(tmp_path, part=2)
    write_detections(tmp_path, [0], part=1)
    with pytest.raises(InvalidDatasetError, match=r"sample2detect_2\.pth"):
        find_shards(tmp_path, cache_dir=cache)
    assert len(find_shards(tmp_path, with_faces=False)) == 1
    with pytest.raises(InvalidDatasetError, match="streaming=True"):
        load_face_dataset("laion_face", data_dir=tmp_path)


def test_samples_are_counted_by_their_statistics_or_one_by_one(tmp_path):
    paths = [write_shard(tmp_path, shard, count=3) for shard in range(3)]
    paths[0].with_name("00000_stats.json").write_text('{"count": 10, "successes": 7, "failed_to_download": 3}')
    paths[1].with_name("00001_stats.json").write_text("{")
    assert num_listed_samples(find_shards(tmp_path, with_faces=False)) == 7 + 3 + 3


def link(name, kind, target):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_members_that_climb_out_and_links_are_ignored_and_counted(tmp_path):
    climbing = [(name, b"x") for name in ("../../evil.jpg", "/etc/evil.json", "a/../../evil.txt", "..\\evil.jpg")]
    extra = [
        link("000009999.jpg", tarfile.SYMTYPE, "/etc/passwd"),
        link("000009999.json", tarfile.LNKTYPE, "000000000.json"),
        link("pipe.jpg", tarfile.FIFOTYPE, ""),
        link("folder", tarfile.DIRTYPE, ""),
    ]
    path = write_shard(tmp_path, count=3, before=climbing, extra=extra)
    before = set(tmp_path.parent.rglob("*"))
    members = find_members(path)
    assert len(members.places) == 3
    assert members.skipped == {"unsafe_member": 7}
    assert set(tmp_path.parent.rglob("*")) == before


def test_long_names_and_other_members_do_no_harm(tmp_path):
    long_name = "a" * 300 + ".npy"
    path = write_tar(tmp_path / "0.tar", [(long_name, b"1"), *sample_members(0).items(), ("readme", b"2")])
    assert len(find_members(path).places) == 1
    assert not find_members(path).skipped


def contents(path):
    """Picture, metadata and caption of every sample, as the places in the file say."""
    data = path.read_bytes()
    places = find_members(path).places
    return {tuple(data[row[at] : row[at] + max(row[at + 1], 0)] for at in (0, 2, 4)) for row in places.tolist()}


def whole_samples(count):
    return {(files["jpg"], files["json"], files["txt"]) for files in map(suffixes_of, range(count))}


def suffixes_of(number):
    return {name.rpartition(".")[2]: content for name, content in sample_members(number).items()}


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
@pytest.mark.parametrize(
    "folder", ["./", ".//", "version.1.5/", "./a.b/c.d/", "x" * 90 + ".y/", "é" * 60 + "/" + "z" * 30 + "/", "w\\"]
)
def test_keys_come_from_the_last_part_of_a_path(tmp_path, form, folder):
    members = [(folder + name, content) for number in range(4) for name, content in sample_members(number).items()]
    members = sorted(members, key=lambda member: member[0][::-1])  # pictures, metadata and captions apart
    path = write_tar(tmp_path / "0.tar", members, form=form)
    assert contents(path) == whole_samples(4)
    assert not find_members(path).skipped


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@pytest.mark.parametrize("length", [95, 100, 101, 155, 255, 256, 1000])
def test_names_of_any_length_are_read(tmp_path, form, length):
    def long(name):
        return "n" * (length - len("000000000.jpg")) + name

    members = [(long(name), content) for number in range(3) for name, content in sample_members(number).items()]
    path = write_tar(tmp_path / "0.tar", members, form=form)
    assert contents(path) == whole_samples(3)
    assert not find_members(path).skipped


def test_a_long_name_that_leaves_the_folder_is_unsafe(tmp_path):
    path = write_tar(tmp_path / "0.tar", [("a/" * 80 + "../" * 81 + "evil.jpg", b"x"), *sample_members(0).items()])
    assert find_members(path).skipped == {"unsafe_member": 1}


def test_equal_names_in_different_folders_are_different_samples(tmp_path):
    members = [
        (f"{folder}/1.{suffix}", content)
        for number, folder in enumerate("ab")
        for suffix, content in suffixes_of(number).items()
    ]
    assert contents(write_tar(tmp_path / "0.tar", members)) == whole_samples(2)


def test_members_that_come_twice_are_counted_and_named_and_pair_nothing_wrong(tmp_path, caplog):
    first, second, third = (
        [(f"{key}.{suffix}", content) for suffix, content in suffixes_of(number).items()]
        for number, key in enumerate(("1", "1", "2"))
    )
    path = write_tar(tmp_path / "joined.tar", [*first, *second, *third])
    assert contents(path) == {(suffixes_of(n)["jpg"], suffixes_of(n)["json"], suffixes_of(n)["txt"]) for n in (0, 2)}
    assert find_members(path).skipped == {"repeated_key": 1}
    assert "1.jpg" in caplog.text
    mixed = [member for pair in zip(first, second, strict=True) for member in pair]
    path = write_tar(tmp_path / "mixed.tar", [*mixed, *third])
    assert len(contents(path)) == 1  # which caption belongs to which picture is not known
    assert find_members(path).skipped == {"repeated_key": 1}


def test_files_that_macos_puts_beside_others_are_no_members(tmp_path):
    members = [(f"./._{name}", b"AppleDouble") for name in sample_members(0)]
    path = write_tar(tmp_path / "0.tar", [*members, *sample_members(0).items()])
    assert contents(path) == whole_samples(1)
    assert not find_members(path).skipped


def test_a_tar_that_was_cut_gives_what_is_there(tmp_path):
    path = write_shard(tmp_path, count=6)
    whole = path.read_bytes()
    sample = len(whole) // 6
    for length in range(0, len(whole), 512 * 3 + 100):
        path.write_bytes(whole[:length])
        members = find_members(path)
        assert members.skipped["damaged_shard"] == 1 or length > 6 * sample - 10_240
        assert length // sample - 1 <= len(members.places) <= min(6, length // 1536)
        for place in members.places:
            assert place[0] + place[1] <= length
            json.loads(whole[place[2] : place[2] + place[3]])


@pytest.mark.parametrize("filler", [b"\0", b"\xff", b"ustar"])
def test_samples_after_damaged_headers_are_found(tmp_path, filler):
    path = write_shard(tmp_path, count=6)
    data = bytearray(path.read_bytes())
    first = data.find(b"000000002.jpg")
    hole = slice(first, data.find(b"000000003.jpg"))
    data[hole] = (filler * len(data[hole]))[: hole.stop - hole.start]
    path.write_bytes(data)
    members = find_members(path)
    assert members.skipped["damaged_shard"] == 1
    assert len(members.places) == 5


@pytest.mark.parametrize("content", [b"", b"no tar at all", bytes(300)])
def test_a_file_that_is_no_tar_is_a_damaged_shard(tmp_path, content):
    path = tmp_path / "0.tar"
    path.write_bytes(content)
    assert find_members(path).skipped == {"damaged_shard": 1}
    assert len(OpenShard(Shard(str(path)), None)) == 0
    assert find_members(tmp_path / "missing.tar").skipped == {"damaged_shard": 1}


def test_a_member_that_is_too_large_is_not_read(tmp_path, cache, monkeypatch):
    monkeypatch.setattr("farl_hf.data.laion_face.shards.MAX_PICTURE_BYTES", 2_000)
    buffer = io.BytesIO()
    PIL.Image.effect_noise((80, 80), 90).save(buffer, "png")
    path = write_shard(tmp_path, count=2, changes={1: {"jpg": buffer.getvalue()}})
    table = face_table_folder(write_detections(tmp_path, [0], 2), cache)
    found = outcomes(path, table, 2)
    assert found[0]["sample_id"] == sample_id(0)
    assert found[1] == "oversized_image"
