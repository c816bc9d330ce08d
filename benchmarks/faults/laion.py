"""LAION-Face: members of shards, detections, metadata, and the stream that joins them."""

import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.faults import materials
from benchmarks.faults.cases import Case, Draw, kind
from benchmarks.faults.judging import Outcome, command, gives, gives_or_refused, half_written, refused, same
from farl_hf.data.laion_face.detections import face_table_folder, open_face_table
from farl_hf.data.laion_face.shards import FaceFilter, OpenShard, Shard, SkippedSampleError, find_shards
from farl_hf.data.laion_face.stream import PretrainingStream


def toys() -> Any:
    """The tests' module of tiny shards."""
    return materials.test_module("laion_shards")


def captions_and_greys(path: Path, table: str | None = None) -> list[tuple[str, int]]:
    """The caption of every sample that can be used, and the number that its picture was painted with."""
    from farl_hf.photos import load_photo

    opened = OpenShard(Shard(str(path), (table,) if table else ()), FaceFilter() if table else None)
    found = []
    for number in range(len(opened)):
        try:
            row = opened.row(number)
        except SkippedSampleError:
            continue
        grey = int(np.median(np.asarray(load_photo(row["image"]))[1]))
        found.append((row["caption"], grey - 40))
    opened.close()
    return sorted(found)


def pairs(count: int) -> list[tuple[str, int]]:
    """What `captions_and_greys` gives of a sound shard."""
    return sorted((f"caption {number} of shard 0", number) for number in range(count))


PREFIXES = (
    "./",
    "../",
    "/",
    "a/",
    "a.b/",
    "./a.b.c/",
    "x" * 120 + "/",
    "é" * 60 + "/",
    "a b/",
    "[bold]/",
    "a//",
    "./././",
    "\\",
    "C:",
)


@kind("LAION", count=28)
def member_names(draw: Draw) -> Case:
    """However a folder was packed, each picture keeps its own caption."""
    count, prefix = draw.whole(2, 6), draw.each(PREFIXES)
    members = [
        (prefix + name, content) for number in range(count) for name, content in toys().sample_members(number).items()
    ]
    form = draw.any(
        [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT]
        if len(prefix) < 90 and prefix.isascii()
        else [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]
    )
    order = draw.any(["as written", "by suffix", "shuffled"])
    if order == "by suffix":
        members.sort(key=lambda member: member[0].rpartition(".")[2])
    elif order == "shuffled":
        members = [members[place] for place in draw.rng.permutation(len(members))]
    path = toys().write_tar(draw.folder / "00000.tar", members, form=form)
    outside = prefix.startswith(("../", "/", "\\"))  # the last is how archives made on Windows write it
    right = [pairs(count), []] if outside else [pairs(count)]

    def check(found: Any) -> str:
        return "" if found in right else f"{found}, expected {right[0]}"

    return Case(f"{prefix[:12]!r}, {order}", lambda: captions_and_greys(path), gives(check))


@kind("LAION", count=30)
def sample_with_a_fault(draw: Draw) -> Case:
    """A bad sample is skipped; the others keep their captions."""
    count, bad = draw.whole(3, 6), draw.whole(0, 2)
    changes: list[dict[str, Any]] = [
        {"txt": None},
        {"txt": b" \n"},
        {"txt": b""},
        {"json": b"{not json"},
        {"json": b"[" * 100_000},
        {"json": b"null"},
        {"json": b"[]"},
        {"json": None},
        {"jpg": None},
        {"jpg": b""},
        {"jpg": b"no picture"},
        {"jpg": toys().photo_bytes(1)[:200]},
        {"jpg": toys().bomb_bytes()},
        {"metadata": {"SAMPLE_ID": None}},
        {"metadata": {"SAMPLE_ID": float("nan")}},
        {"metadata": {"SAMPLE_ID": "x"}},
        {"metadata": {"SAMPLE_ID": [1]}},
        {"metadata": {"SAMPLE_ID": 10**30}},
        {"metadata": {"SAMPLE_ID": -1}},
        {"metadata": {"SAMPLE_ID": 1.5}},
        {"metadata": {"SAMPLE_ID": True}},
        {"metadata": {"width": "x"}},
        {"metadata": {"original_width": 0}},
        {"metadata": {"original_height": None}},
        {"metadata": {"status": "failed"}},
        {"json": b"\xff\xfe{}"},
        {"txt": b"x" * 10_000_000},
        {"jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n"},
        {"metadata": {"width": 10**400}},
        {"metadata": {"original_width": float("inf")}},
    ]
    change = draw.each(changes)
    toys().write_shard(draw.folder, count=count, changes={bad: dict(change)})
    table = face_table_folder(toys().write_detections(draw.folder, [0], count), draw.folder / "cache")
    sound = [pair for pair in pairs(count) if pair[1] != bad]

    def run() -> Any:
        return [
            pair
            for pair in decodable(draw.folder / "split_00000" / "00000.tar", str(table))
            if pair[1] != bad and not pair[0].startswith("x")
        ]

    return Case(str(change)[:60], run, gives(same(sound)))


def decodable(path: Path, table: str) -> list[tuple[str, int]]:
    """As `captions_and_greys`; a sample whose picture cannot be read is none, as for the stream."""
    from farl_hf.errors import UnreadablePhotoError
    from farl_hf.photos import load_photo

    opened, found = OpenShard(Shard(str(path), (table,)), FaceFilter()), []
    for number in range(len(opened)):
        try:
            row = opened.row(number)
            found.append((row["caption"], int(np.median(np.asarray(load_photo(row["image"]))[1])) - 40))
        except (SkippedSampleError, UnreadablePhotoError):
            continue
    opened.close()
    return sorted(found)


@kind("LAION", count=20)
def shard_with_a_fault(draw: Draw) -> Case:
    """What can be read of a shard is read; nothing pairs a picture with another's caption."""
    count = draw.whole(3, 6)
    path = toys().write_shard(draw.folder, count=count)
    content = bytearray(path.read_bytes())
    way = draw.each(
        ["cut", "changed bytes", "empty", "garbage", "zeros", "twice", "other end", "no end", "a gzip", "links"]
    )
    if way == "cut":
        content = content[: draw.whole(0, len(content))]
    elif way == "changed bytes":
        for _ in range(draw.whole(1, 8)):
            content[draw.whole(0, len(content) - 1)] = draw.whole(0, 255)
    elif way == "links":
        link = tarfile.TarInfo("000000000.jpg")
        link.type, link.linkname = (
            draw.any([tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]),
            "/etc/passwd",
        )
        toys().write_shard(draw.folder, count=count, extra=[link])
        content = bytearray(path.read_bytes())
    else:
        whole = bytes(content)
        content = bytearray(
            {
                "empty": b"",
                "garbage": draw.rng.bytes(5000),
                "zeros": bytes(10_240),
                "twice": whole + whole,
                "other end": whole + b"x" * 700,
                "no end": whole.rstrip(b"\0"),
                "a gzip": b"\x1f\x8b\x08" + whole[:2000],
            }[way]
        )
    path.write_bytes(content)

    def check(found: Any) -> str:
        strange = [
            pair
            for pair in found
            if pair not in pairs(count) and pair[0].startswith("caption") and f"caption {pair[1]} " not in pair[0]
        ]
        if strange and way != "changed bytes":
            return f"{strange}"
        return (
            ""
            if way in ("changed bytes", "cut", "empty", "garbage", "zeros", "a gzip") or len(found) >= count
            else f"{len(found)} of {count}"
        )

    def run() -> Any:
        table = face_table_folder(toys().write_detections(draw.folder, [0], count), draw.folder / "cache")
        return decodable(path, str(table))

    return Case(way, run, gives_or_refused(check))


@kind("LAION", count=24)
def official_detections_with_a_fault(draw: Draw) -> Case:
    """Faces that can be read are read; the others are missing, and nothing raises anything but a sentence."""
    face = toys().FACE
    nan = np.full(4, np.nan, np.float32)
    contents: list[tuple[Any, int | None]] = [
        ({10: [face], "x": [face]}, 1),
        ({10: [face], None: [face]}, 1),
        ({10: [face], "11": [face]}, None),
        ({10: [face], 11.0: [face]}, None),
        ({10: [face], 11: None}, 1),
        ({10: [face], 11: [None]}, 1),
        ({10: [face], 11: [face[:2]]}, 1),
        ({10: [face], 11: [(face[0][:3], *face[1:])]}, 1),
        ({10: [face], 11: [(face[0], face[1][:4], 0.9)]}, 1),
        ({10: [face], 11: [(nan, *face[1:])]}, 1),
        ({10: [face], 11: 3}, 1),
        ({10: [face], 11: "x"}, 1),
        ({10: [face], 11: [("a", "b", "c")]}, 1),
        ({10: [face], -5: [face]}, None),
        ({10: [face], 10**30: [face]}, 1),
        ({10: [face], True: [face]}, None),
        ({10: [face], (1, 2): [face]}, 1),
        ({10: [face], 11: [(face[0], face[1], float("nan"))]}, 1),
        ({}, None),
        ([], None),
        (None, None),
        (3, None),
        ({10: [face], 11: {"box": 1}}, 1),
        ({10: [face], 11: [(face[0], face[1], 10**400)]}, 1),
    ]
    content, count = draw.each(contents)
    path = draw.folder / "sample2detect_0.pth"
    torch.save(content, path, _use_new_zipfile_serialization=bool(draw.number % 2))

    def run() -> Any:
        table = open_face_table(face_table_folder(path, draw.folder / "cache"))
        faces = table.find(10)
        return None if faces is None else len(faces)

    return Case(
        str(content)[:40],
        run,
        gives_or_refused(lambda found: "" if found == (count or found) else f"{found} faces, expected {count}"),
    )


@kind("LAION", count=18)
def file_of_detections_that_is_none(draw: Draw) -> Case:
    import pyarrow as pa
    import pyarrow.parquet as pq

    class Code:
        def __reduce__(self) -> Any:
            import os

            return os.system, ("touch was_run",)

    toys().write_shard(draw.folder, count=2)
    official = draw.folder / "sample2detect_0.pth"
    own = draw.folder / "split_00000" / "detections-00000.parquet"
    box, points = [[1.0, 2.0, 9.0, 9.0]], [[[1.0, 2.0]] * 5]
    tables: dict[str, dict[str, Any]] = {
        "no columns": {"a": [1]},
        "ids are texts": {"sample_id": ["x"], "box_xyxy": [box], "points5_xy": [points], "scores": [[0.9]]},
        "null ids": {
            "sample_id": pa.array([None], pa.int64()),
            "box_xyxy": [box],
            "points5_xy": [points],
            "scores": [[0.9]],
        },
        "unequal": {"sample_id": [1], "box_xyxy": [box * 2], "points5_xy": [points], "scores": [[0.9]]},
        "short boxes": {"sample_id": [1], "box_xyxy": [[[1.0, 2.0]]], "points5_xy": [points], "scores": [[0.9]]},
        "four points": {"sample_id": [1], "box_xyxy": [box], "points5_xy": [[points[0][:4]]], "scores": [[0.9]]},
        "NaN": {"sample_id": [1], "box_xyxy": [[[float("nan"), 2, 9, 9]]], "points5_xy": [points], "scores": [[0.9]]},
        "texts": {"sample_id": [1], "box_xyxy": ["x"], "points5_xy": ["y"], "scores": ["z"]},
    }
    ways = [
        *tables,
        "garbage parquet",
        "empty parquet",
        "cut parquet",
        "garbage pth",
        "empty pth",
        "code",
        "cut pth",
        "a folder",
        "nothing",
        "numbers",
    ]
    way = draw.each(ways)
    if way in tables:
        pq.write_table(pa.table(tables[way]), own)
    elif "parquet" in way:
        pq.write_table(pa.table(tables["unequal"]), own)
        own.write_bytes(
            {"garbage parquet": draw.rng.bytes(300), "empty parquet": b"", "cut parquet": own.read_bytes()[:100]}[way]
        )
    elif way == "code":
        torch.save({1: Code()}, official)
    elif way == "a folder":
        official.mkdir()
    elif way != "nothing":
        torch.save({1: [toys().FACE]} if "pth" in way else 7, official)
        changed = {"garbage pth": draw.rng.bytes(300), "empty pth": b"", "cut pth": official.read_bytes()[:200]}
        official.write_bytes(changed.get(way, official.read_bytes()))

    def run() -> Any:
        with materials.no_programs() as started:
            shards = find_shards(draw.folder, cache_dir=draw.folder / "cache")
            rows = [OpenShard(shard, FaceFilter()).row(0) for shard in shards]
            assert not started, started
        return rows

    return Case(way, run, refused())


@kind("LAION", seconds=120)
def stream_over_odd_photos(draw: Draw) -> Case:
    """Pre-training uses photos with odd EXIF blocks, and passes over damaged ones."""
    from benchmarks.faults.photos import odd_blocks
    from farl_hf.data.samples.pretraining_samples import PretrainingTransform

    blocks = list(odd_blocks((0x112, 3, 1, (1).to_bytes(2, "little")), draw.rng).values())
    changes: dict[int, Any] = {}
    for number in range(3):
        pixels = np.full((40, 48, 3), 40 + number, np.uint8)
        content = materials.with_exif(pixels, draw.any(["JPEG", "PNG", "WEBP"]), draw.any(blocks)[0])
        changes[number] = {"jpg": None, draw.any(["jpg", "webp", "png"]): content}
    changes[3] = {"jpg": b"damaged"}
    toys().write_shard(draw.folder, count=6, changes=changes)
    toys().write_detections(draw.folder, [0], 6)
    transform = PretrainingTransform(
        materials.image_text_toy()[1].image_processor, materials.image_text_toy()[1].tokenizer, augmentation="none"
    )

    def run() -> Any:
        stream = PretrainingStream(
            find_shards(draw.folder, cache_dir=draw.folder / "cache"), transform, window_size=0, num_epochs=1
        )
        return len(list(stream))

    return Case("6 samples, one damaged", run, gives(same(5)))


@kind("LAION", count=14, seconds=120)
def metadata_with_a_fault(draw: Draw) -> Case:
    import pyarrow as pa

    metadata = materials.test_module("laion_face_metadata")
    folder, count = draw.folder / "meta", 40
    numbers = metadata.sample_ids(0, count)
    nothing: list[Any] = [None] * count
    changes: dict[str, dict[str, Any]] = {
        "no ids": {"SAMPLE_ID": None},
        "no addresses": {"URL": None},
        "null ids": {"SAMPLE_ID": pa.array(nothing, pa.int64())},
        "null addresses": {"URL": nothing},
        "null texts": {"TEXT": nothing},
        "ids are texts": {"SAMPLE_ID": [str(one) for one in numbers]},
        "ids are words": {"SAMPLE_ID": ["x"] * count},
        "ids are floats": {"SAMPLE_ID": [float(one) for one in numbers]},
        "ids are NaN": {"SAMPLE_ID": [float("nan")] * count},
        "addresses are numbers": {"URL": list(range(count))},
    }
    way = draw.each([*changes, "garbage", "cut", "empty", "list is garbage"])
    part = metadata.write_part(folder, 0, count, **changes.get(way, {}))
    if way in ("garbage", "cut", "empty"):
        part.write_bytes({"garbage": draw.rng.bytes(500), "cut": part.read_bytes()[:300], "empty": b""}[way])
    ids = draw.folder / "ids.pth"
    torch.save(torch.tensor(numbers[:20]), ids)
    if way == "list is garbage":
        ids.write_bytes(draw.rng.bytes(200))
    words = ["laion-face", "prepare", folder, "--ids", ids, "--parts", "0", "-o", draw.folder / "out"]

    def check(outcome: Outcome) -> str:
        import pyarrow.parquet as pq

        rows = sum(len(pq.read_table(path)) for path in (draw.folder / "out").glob("*.parquet"))
        expected = {"null ids": 0, "null addresses": 0, "ids are NaN": 0, "ids are words": 0}.get(way, 20)
        return "" if rows == expected else f"{rows} rows, expected {expected}"

    return Case(way, lambda: command(*words), gives_or_refused(check), lambda: half_written(draw.folder / "out"))


@kind("LAION", seconds=120)
def shards_with_faults_through_detect(draw: Draw) -> Case:
    """One bad shard or picture does not stop the others."""
    count = draw.whole(2, 4)
    change = draw.each(
        [
            {"jpg": b""},
            {"jpg": b"x"},
            {"jpg": toys().bomb_bytes()},
            {"json": b"{"},
            {"txt": None},
            {"metadata": {"SAMPLE_ID": None}},
            {"json": None},
        ]
    )
    toys().write_shard(draw.folder / "in", 0, count=count)
    toys().write_shard(draw.folder / "in", 1, count=count, changes={0: dict(change)})
    broken = draw.any([None, b"", b"garbage" * 200])
    if broken is not None:
        (draw.folder / "in" / "split_00000" / "00002.tar").write_bytes(broken)
    words = [
        "laion-face",
        "detect",
        draw.folder / "in",
        "-m",
        materials.checkpoints()["face-detection"],
        "-o",
        draw.folder / "out",
    ]

    def run() -> Any:
        import pyarrow.parquet as pq

        outcome = command(*words)
        if outcome.escaped is not None:
            return outcome
        return {path.name: len(pq.read_table(path)) for path in (draw.folder / "out").rglob("*.parquet")}

    def check(found: Any) -> str:
        good = found.get("detections-00000.parquet")
        return "" if good == count and found.get("detections-00001.parquet", 0) >= count - 1 else str(found)

    return Case(
        f"{str(change)[:40]}, third shard {str(broken)[:10]}",
        run,
        gives(check),
        lambda: half_written(draw.folder / "out"),
    )


@kind("LAION")
def json_and_txt_disagree(draw: Draw) -> Case:
    """Extra members, upper-case suffixes and unknown ones do not move captions."""
    count = draw.whole(2, 5)
    extra = draw.each(
        [
            "readme.md",
            "000000000.nobody",
            "__MACOSX/._000000000.jpg",
            ".DS_Store",
            "000000001.cls",
            "manifest.json",
            "a.txt",
            "x.jpg",
            "deep/er/000000000.npy",
            ".",
        ]
    )
    members = [
        ("./" + extra, b"x"),
        *((name, content) for number in range(count) for name, content in toys().sample_members(number).items()),
    ]
    path = toys().write_tar(draw.folder / "00000.tar", members)
    return Case(
        extra,
        lambda: [pair for pair in captions_and_greys(path) if pair[0].startswith("caption")],
        gives(same(pairs(count))),
    )
