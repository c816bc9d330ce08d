"""Large folders: runs that go on, several processes, parts, shards. Processes are launched, as the command does."""

import contextlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image
from typer.testing import CliRunner

from farl_hf import FaceIndex
from farl_hf.cli import app
from farl_hf.cli.finished_work import FinishedWork, checkpoint_digest, content_of
from farl_hf.cli.photo_jobs import absolute_checkpoint, photos_of_part
from farl_hf.errors import FileWriteError, InvalidArgumentError

MODELS = {
    "--detector": "retinaface-mobilenet-wider",
    "--parsing-model": "farl-tiny-parsing",
    "--landmarks-model": "farl-tiny-landmarks",
    "--attributes-model": "farl-tiny-attributes",
}


@pytest.fixture
def annotate(toy_checkpoint_folder, tmp_path, monkeypatch):
    """Runs the command with toy models, which other processes find too."""
    monkeypatch.chdir(tmp_path)

    def run(*words, launch=False, on_cpu=("--device", "cpu")):
        words = [*map(str, words)]
        tasks = words[words.index("--tasks") + 1] if "--tasks" in words else "parsing,landmarks,attributes"
        used = {
            option: name for option, name in MODELS.items() if option.strip("-").split("-")[0] in f"detector,{tasks}"
        }
        models = [word for option, name in used.items() for word in (option, str(toy_checkpoint_folder / name))]
        words = ["annotate", *models, *on_cpu, *words]
        if launch:
            command = [sys.executable, "-c", "from farl_hf.cli import main; main()", *words]
            return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return CliRunner().invoke(app, words, env={"COLUMNS": "300"})

    return run


@pytest.fixture
def photos(tmp_path):
    """Eight photos in two folders, and one that is broken."""
    for number in range(8):
        save_photo(tmp_path / f"in/{number % 2}/{number}.png", number)
    (tmp_path / "in/1/broken.jpg").write_bytes(b"broken")
    return tmp_path / "in"


def save_photo(path, seed, size_wh=(96, 80)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (size_wh[1], size_wh[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def records(folder):
    return json.loads((folder / "faces.json").read_text())


def files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "faces.done.jsonl"
    }


def said(result):
    assert "Traceback" not in result.output
    return " ".join((result.output + result.stderr).split())


def assert_same_folders(folder, expected):
    """The same files; numbers of JSON and tables to rounding, other files to the byte."""
    ours, theirs = files(folder), files(expected)
    assert ours.keys() == theirs.keys()
    for name in ours:
        if name.endswith(".json"):
            assert_close(json.loads(ours[name]), json.loads(theirs[name]))
        elif not name.endswith(".parquet"):
            assert ours[name] == theirs[name], name


def assert_close(one, other):
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        one, other = list(one.values()), list(other.values())
    if isinstance(one, list):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            assert_close(*pair)
    else:
        assert one == (pytest.approx(other, rel=1e-4, abs=1e-4) if isinstance(other, float) else other)


def test_what_is_finished_is_kept(annotate, photos, monkeypatch):
    from farl_hf.cli.face_annotator import FaceAnnotator

    done = []
    real = FaceAnnotator._write
    monkeypatch.setattr(
        FaceAnnotator, "_write", lambda self, *arguments: done.append(arguments[2]) or real(self, *arguments)
    )
    assert annotate("in", "-o", "out", "--batch-size", 3).exit_code == 1
    assert len(done) == 8
    before = files(photos.parent / "out")
    done.clear()
    os.utime(photos / "0/0.png")  # a copy or a touch changes the time alone
    again = annotate("in", "-o", "out", "--batch-size", 3)
    assert (done, again.exit_code) == ([], 1)
    assert "8 photos finished before" in said(again)
    assert "in/1/broken.jpg" in said(again)
    assert files(photos.parent / "out") == before
    save_photo(photos / "0/0.png", 20)  # another content
    save_photo(photos / "2/new.png", 21)
    (photos.parent / "out/3.face-parsing.jpg").unlink()
    assert annotate("in", "-o", "out").exit_code == 1
    assert sorted(done) == ["in/0/0.png", "in/1/3.png", "in/2/new.png"]
    assert len(records(photos.parent / "out")) == 9


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--threshold", "0.2"], "threshold: the default there, 0.2 now"),
        (["--tasks", "parsing"], "tasks: "),
        (["--no-pictures"], "pictures: yes there, no now"),
        (["--detector", "retinaface-mobilenet-wider"], "face-detection: "),
    ],
)
def test_other_settings_are_refused(annotate, photos, words, told):
    assert annotate("in/0", "-o", "out", "--tasks", "landmarks").exit_code == 0
    before = files(photos.parent / "out")
    refused = annotate("in", "-o", "out", "--tasks", "landmarks", *words)
    assert refused.exit_code == 2
    assert told in said(refused)
    assert "--overwrite" in said(refused)
    assert files(photos.parent / "out") == before


def test_overwrite_begins_anew(annotate, photos):
    out = photos.parent / "out"
    assert annotate("in/0", "-o", "out", "--tasks", "parsing", "--export", "parquet,csv").exit_code == 0
    (out / "mine.txt").write_text("mine")
    assert annotate("in/0/0.png", "-o", "out", "--tasks", "landmarks", "--overwrite").exit_code == 0
    assert sorted(files(out)) == ["0.face-landmarks.jpg", "faces.json", "mine.txt"]
    assert len(records(out)) == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["in/0/0.png", "holidya"], "There is no photo at holidya"),
        (["in/0/0.png", "--export", "parquet"], "Parquet needs pyarrow"),
        (["in/0/0.png", "--runtime", "foo"], "foo"),
        (["in/0/0.png", "--parsing-model", "retinaface-mobilenet-wider"], "RetinaFace"),
    ],
)
def test_overwrite_removes_nothing_when_the_run_cannot_start(annotate, photos, monkeypatch, words, told):
    assert annotate("in/0", "-o", "out", "--tasks", "parsing").exit_code == 0
    before = {path: path.read_bytes() for path in (photos.parent / "out").iterdir()}
    if "parquet" in words:
        monkeypatch.setitem(sys.modules, "pyarrow", None)
    refused = annotate("-o", "out", "--overwrite", "--tasks", "parsing", *words)
    assert refused.exit_code == 2
    assert told in said(refused)
    assert {path: path.read_bytes() for path in (photos.parent / "out").iterdir()} == before


def test_a_device_that_is_not_there_is_named_first(annotate, photos):
    assert annotate("in/0", "-o", "out", "--tasks", "detection").exit_code == 0
    refused = annotate("in/0", "-o", "out", "--tasks", "detection", "--overwrite", on_cpu=("--device", "cuda:9"))
    assert refused.exit_code == 2
    assert "cuda:9" in said(refused)
    assert len(records(photos.parent / "out")) == 4
    assert (photos.parent / "out/0.face-detection.jpg").exists()


@pytest.mark.parametrize("name", ["faces.csv", "faces.jsonl", "faces.coco.json", "faces.parquet"])
def test_a_file_that_others_wrote_later_is_left_alone(annotate, photos, name):
    out = photos.parent / "out"
    form = {"faces.coco.json": "coco"}.get(name, name.removeprefix("faces."))
    command = ("in/0/0.png", "-o", "out", "--tasks", "detection")
    for _ in range(2):
        assert annotate(*command, "--export", form).exit_code == 0  # its own is replaced
    shutil.rmtree(out / name) if (out / name).is_dir() else (out / name).unlink()
    (out / name).write_text("mine")
    for words in ([], ["--overwrite"]):
        refused = annotate(*command, "--export", form, *words)
        assert refused.exit_code == 2
        assert f"{name} is not of this command, or was changed since" in said(refused)
        assert (out / "0.face-detection.jpg").exists()
    assert annotate(*command, "--overwrite").exit_code == 0
    assert (out / name).read_text() == "mine"


@pytest.mark.parametrize("content", ['[{"photo": "a.jpg"}]', '[{"mine": 1}]', '{"mine": 1}'])
def test_overwrite_replaces_records_and_nothing_else(annotate, photos, content):
    path = photos.parent / "out/faces.json"
    path.parent.mkdir()
    path.write_text(content)
    result = annotate("in/0/0.png", "-o", "out", "--tasks", "detection", "--overwrite")
    assert result.exit_code == (2 if "mine" in content else 0)
    assert ("faces.json is of another command" in said(result)) == ("mine" in content)
    assert (path.read_text() == content) == ("mine" in content)


def test_a_photo_that_has_changed_and_fails_leaves(annotate, photos):
    out = photos.parent / "out"
    command = ("-o", "out", "--tasks", "detection", "--export", "parquet,csv")
    assert annotate("in/0", *command).exit_code == 0
    (photos / "0/0.png").write_bytes(b"broken")
    for source in ("in/0", "in/0/2.png"):  # the second run does not look at it
        assert annotate(source, *command).exit_code == (source == "in/0")
        assert sorted(record["photo"] for record in records(out)) == ["in/0/2.png", "in/0/4.png", "in/0/6.png"]
        assert "in/0/0.png" not in (out / "faces.csv").read_text()
        shards = pyarrow.parquet.ParquetDataset(sorted((out / "faces.parquet").glob("*.parquet"))).read()
        assert "in/0/0.png" not in shards["photo"].to_pylist()
        assert not (out / "0.face-detection.jpg").exists()
    save_photo(photos / "0/0.png", 0)
    assert annotate("in/0", *command).exit_code == 0
    assert len(records(out)) == 4


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--parsing-model", "farl-tiny-parsing"], "--parsing-model is used only with the task face-parsing"),
        (["--landmarks-model", "farl-tiny-landmarks"], "--landmarks-model is used only with the task face-landmarks"),
        (["--smooth"], "--smooth is used only for videos"),
        (["--label-maps"], "--label-maps is used only for videos"),
        (["--gpus-per-worker", "1"], "--gpus-per-worker is for a Ray cluster"),
    ],
)
def test_options_that_would_change_nothing_are_refused(annotate, photos, words, told):
    refused = annotate("in/0/0.png", "-o", "out", "--tasks", "detection", *words)
    assert refused.exit_code == 2
    assert told in said(refused)


def test_a_photo_that_is_named_in_another_way_is_finished(annotate, photos, monkeypatch):
    assert annotate("in/0", "-o", "out", "--tasks", "detection").exit_code == 0
    path = photos.parent / "out/faces.done.jsonl"
    path.write_text(path.read_text().replace("/in/0/", "/in/../in/0/"))  # as earlier versions wrote it
    monkeypatch.chdir(photos / "1")
    again = annotate("../0", "-o", "../../out", "--tasks", "detection")
    assert "4 photos finished before" in said(again)
    assert len(records(photos.parent / "out")) == 4


def test_a_picture_too_long_for_jpeg_stops_no_run(annotate, photos):
    Image.new("RGB", (4, 66_000)).save(photos / "0/1-long.png")
    result = annotate("in/0", "-o", "out", "--tasks", "detection")
    assert result.exit_code == 1
    assert "JPEG holds no picture of 4 x 66000 pixels" in said(result)
    assert len(records(photos.parent / "out")) == 4


@pytest.mark.parametrize("name", ["faces.csv", "faces.jsonl", "faces.coco.json", "faces.parquet"])
def test_an_export_replaces_no_file_of_others(annotate, photos, name):
    out = photos.parent / "out"
    out.mkdir()
    (out / name).write_text("mine")
    form = {"faces.coco.json": "coco"}.get(name, name.removeprefix("faces."))
    for words in ([], [], ["--overwrite"]):
        result = annotate("in/0/0.png", "-o", "out", "--tasks", "detection", "--export", form, *words)
        assert result.exit_code == 2
        assert f"{name} is not of this command" in said(result)
    assert (out / name).read_text() == "mine"
    assert annotate("in/0/0.png", "-o", "out", "--tasks", "detection", "--overwrite").exit_code == 0
    assert (out / name).read_text() == "mine"


def test_pictures_replace_no_file_of_others(annotate, photos):
    out = photos.parent / "out"
    save_photo(out / "0.face-detection.jpg", 0)
    mine = (out / "0.face-detection.jpg").read_bytes()
    command = ("in/0/0.png", "in/0/2.png", "-o", "out", "--tasks", "detection")
    for words in ([], [], ["--overwrite"], []):
        assert annotate(*command, *words).exit_code == 0
        assert sorted(files(out)) == [
            "0-2.face-detection.jpg", "0.face-detection.jpg", "2.face-detection.jpg", "faces.json",
        ]  # fmt: skip
        assert (out / "0.face-detection.jpg").read_bytes() == mine


def test_a_killed_run_goes_on(annotate, photos, tmp_path):
    for number in range(8, 40):
        save_photo(photos / f"{number}.png", number)
    assert annotate("in", "-o", "whole", "--batch-size", 2, "--export", "parquet").exit_code == 1
    process = annotate("in", "-o", "out", "--batch-size", 2, "--export", "parquet", launch=True)
    lines = tmp_path / "out/faces.done.jsonl"
    while not (lines.exists() and lines.read_bytes().count(b"\n") > 3):
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = lines.read_bytes().count(b"\n") - 1
    pictures = len(list((tmp_path / "out").glob("*.face-attributes.jpg")))
    assert pictures - finished <= 2, "more than the batch in work was lost"
    result = annotate("in", "-o", "out", "--batch-size", 2, "--export", "parquet")
    assert result.exit_code == 1
    assert f"{finished} photos finished before" in said(result)
    assert_same_folders(tmp_path / "out", tmp_path / "whole")
    assert not list((tmp_path / "out").glob(".*"))


def test_a_line_that_was_cut_short_is_done_again(annotate, photos, tmp_path):
    annotate("in", "-o", "out", "--tasks", "detection")
    before = files(tmp_path / "out")
    lines = tmp_path / "out/faces.done.jsonl"
    lines.write_bytes(lines.read_bytes()[:-40])
    assert "7 photos finished before" in said(annotate("in", "-o", "out", "--tasks", "detection"))
    assert files(tmp_path / "out") == before
    assert "8 photos finished before" in said(annotate("in", "-o", "out", "--tasks", "detection"))


@pytest.mark.parametrize(
    "change",
    [
        {"record": None},
        {"record": {"files": None}},
        {"record": {"files": {}, "faces": [3]}},
        {"content": [1]},
        {"content": {"bytes": 3}},
        {"stem": 3},
        {"stem": "../a"},
        {"uri": [1]},
        "[" * 100_000,
    ],
)
def test_lines_that_hold_something_else_are_done_again(annotate, photos, tmp_path, change):
    annotate("in/0/0.png", "-o", "out", "--tasks", "detection", "--no-pictures")
    before = files(tmp_path / "out")
    path = tmp_path / "out/faces.done.jsonl"
    settings, line = path.read_text().splitlines()
    changed = change if isinstance(change, str) else json.dumps(json.loads(line) | change)
    path.write_text(f"{settings}\n{changed}\n")
    result = annotate("in/0/0.png", "-o", "out", "--tasks", "detection", "--no-pictures")
    assert result.exit_code == 0, said(result)
    assert "before" not in said(result)
    assert files(tmp_path / "out") == before


@pytest.mark.parametrize("change", [{"vectors": "AAAA"}, {"size": 0}, {"boxes_xyxy": [[1, 2, 3]]}, {"fingerprint": 3}])
def test_vectors_of_a_list_that_are_not_whole_are_made_again(photos, tmp_path, image_text_folder, change):
    output, path = tmp_path / "faces.safetensors", tmp_path / "faces.safetensors.done.jsonl"
    words = ["index", photos / "0/0.png", "--aligned", "--model", image_text_folder / "farl"]
    words += ["--device", "cpu", "-o", output]
    run = CliRunner().invoke
    assert run(app, [*map(str, words)]).exit_code == 0
    settings, line = path.read_text().splitlines()
    changed = json.loads(line)
    changed["faces"] |= change
    path.write_text(f"{settings}\n{json.dumps(changed)}\n")
    before = FaceIndex.load(output)
    assert run(app, [*map(str, words)]).exit_code == 0
    np.testing.assert_allclose(FaceIndex.load(output).embeddings, before.embeddings, atol=1e-6)


def test_a_list_in_use_is_not_read_by_another_run(tmp_path):
    path = tmp_path / "done.jsonl"
    with contextlib.closing(FinishedWork(path, {})) as work:
        with pytest.raises(InvalidArgumentError, match="Another run"):
            FinishedWork(path, {})
        work.add([{"uri": "a", "stem": "a", "content": None}])
    with contextlib.closing(FinishedWork(path, {})) as again:
        assert "a" in again


@pytest.mark.parametrize("room", [20, 60])
def test_a_full_disk_is_said_of_the_list(tmp_path, room):
    path = tmp_path / "done.jsonl"
    with contextlib.closing(FinishedWork(path, {})) as work:
        work.add([{"uri": "a", "stem": "a", "content": None}])
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + room, limits[1]))
    try:
        with (
            pytest.raises(FileWriteError, match="what it had finished is kept"),
            contextlib.closing(FinishedWork(path, {})) as work,
        ):
            work.add([{"uri": "b" * 90, "stem": "b", "content": None}])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes().startswith(before)
    with contextlib.closing(FinishedWork(path, {})) as work:
        assert work.uris() == ["a"]


def test_settings_bind_only_what_is_finished(tmp_path):
    path = tmp_path / "done.jsonl"
    FinishedWork(path, {"tasks": ["parsing", "landmarks"]}).close()
    settings = {"tasks": ["parsing"], "models": {"detector": "1", "parsing": "2"}}
    with contextlib.closing(FinishedWork(path, settings)) as work:
        work.add([{"uri": "a", "stem": "a", "content": None}])
    with contextlib.closing(FinishedWork(path, settings)) as work:
        assert "a" in work
    with pytest.raises(InvalidArgumentError) as refused:
        FinishedWork(path, settings | {"models": {"detector": "1", "parsing": "3"}})
    assert "parsing: 2 there, 3 now" in str(refused.value)
    assert "detector" not in str(refused.value)


def test_two_processes_and_decoders_give_the_answers_of_one(annotate, photos, tmp_path):
    one = annotate("in", "-o", "one", "--batch-size", 2)
    two = annotate("in", "-o", "two", "--batch-size", 2, "--devices", "cpu:2", on_cpu=())
    decoded = annotate("in", "-o", "decoded", "--batch-size", 2, "--workers", 2)
    for result, folder in ((two, "two"), (decoded, "decoded")):
        assert (result.exit_code, one.exit_code) == (1, 1), said(result)
        assert "in/1/broken.jpg" in said(result)
        assert_same_folders(tmp_path / folder, tmp_path / "one")


def test_a_fault_of_a_process_ends_the_run_with_a_sentence(annotate, photos, tmp_path):
    result = annotate("in", "-o", "out", "--devices", "cpu:2", "--runtime", "onnx", on_cpu=())
    assert result.exit_code == 2
    assert "farl-hf export" in said(result)


def test_parts_are_disjoint_and_whole(annotate, photos, tmp_path):
    assert annotate("in", "-o", "whole", "--no-pictures", "--export", "parquet").exit_code == 1
    for number in (1, 2, 3):
        annotate("in", "-o", "out", "--no-pictures", "--export", "parquet", "--part", f"{number}/3")
    folders = sorted((tmp_path / "out").iterdir())
    assert [folder.name for folder in folders] == ["part-1-of-3", "part-2-of-3", "part-3-of-3"]
    together = [record for folder in folders for record in records(folder)]
    assert_close(sorted(together, key=lambda one: one["photo"]), records(tmp_path / "whole"))
    patterns = ("out/*/faces.parquet/*.parquet", "whole/faces.parquet/*.parquet")
    tables = [pyarrow.parquet.ParquetDataset(sorted(tmp_path.glob(pattern))).read() for pattern in patterns]
    assert_close(*(sorted(table.to_pylist(), key=lambda row: (row["photo"], row["face"])) for table in tables))


def test_the_part_of_a_photo_does_not_depend_on_where_the_folder_lies(tmp_path):
    names = [f"{number % 7}/{number}.jpg" for number in range(400)]
    counts = []
    for number in range(1, 5):
        parts = []
        for folder in (tmp_path / "here", tmp_path / "elsewhere/deep"):
            folder.mkdir(parents=True, exist_ok=True)
            found = photos_of_part([str(folder / name) for name in names], [str(folder)], (number, 4))
            parts.append([os.path.relpath(photo, folder) for photo in found])
        assert parts[0] == parts[1]
        counts.append(len(parts[0]))
    assert sum(counts) == 400
    assert min(counts) > 60


def test_without_pictures_there_are_masks(annotate, photos, tmp_path):
    options = ("--tasks", "parsing", "--export", "csv,coco,jsonl,parquet")
    assert annotate("in/0", "-o", "with", *options).exit_code == 0
    assert annotate("in/0", "-o", "without", *options, "--no-pictures").exit_code == 0
    assert sorted(path.name for path in (tmp_path / "without").iterdir()) == [
        *("faces.coco.json", "faces.csv", "faces.done.jsonl", "faces.json", "faces.jsonl", "faces.parquet"),
    ]
    for name in ("faces.csv", "faces.coco.json"):
        assert (tmp_path / "without" / name).read_bytes() == (tmp_path / "with" / name).read_bytes()
    tables = [pyarrow.parquet.read_table(tmp_path / folder / "faces.parquet") for folder in ("with", "without")]
    assert tables[0].equals(tables[1])


def test_shards_are_written_as_they_finish_and_follow_the_photos(annotate, photos, tmp_path, monkeypatch):
    from farl_hf.cli import face_outputs

    monkeypatch.setattr(face_outputs, "_PHOTOS_PER_SHARD", 3)
    options = ("-o", "out", "--tasks", "landmarks", "--export", "parquet", "--batch-size", 1)
    assert annotate("in", *options).exit_code == 1
    folder = tmp_path / "out/faces.parquet"
    assert [path.name for path in sorted(folder.iterdir())] == [f"shard-{number:05}.parquet" for number in range(3)]
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    save_photo(photos / "0/0.png", 30)
    save_photo(photos / "0/9.png", 31)
    annotate("in", *options)
    rows = pyarrow.parquet.read_table(folder).to_pylist()
    shown = {(record["photo"], face["score"]) for record in records(tmp_path / "out") for face in record["faces"]}
    assert {(row["photo"], row["score"]) for row in rows} == shown
    assert len(rows) == len(shown)
    after = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert after.keys() - before.keys() == {"shard-00003.parquet", "shard-00004.parquet"}
    assert {name for name in before if after.get(name) != before[name]} == {"shard-00000.parquet"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--part", "0/4"], "--part 0/4 is no part; the parts of 4 are 1/4 to 4/4"),
        (["--part", "5/4"], "--part 5/4 is no part"),
        (["--part", "three"], "3/16"),
        (["--part", f"1/{'9' * 5000}"], "3/16"),
        (["--part", "\u0663/\u0665"], "3/16"),  # digits of another script
        (["--devices", f"cpu:{10**11}"], "from 1 to 999"),
        (["--devices", f"cpu:{'9' * 5000}"], "from 1 to 999"),
        (["--devices", "meta"], "'meta' cannot be used"),
        (["--devices", "cpu:0"], "--devices cpu:0"),
        (["--devices", ","], "names no device"),
        (["--devices", "abacus:1"], "'abacus:1' cannot be used"),
        (["--devices", "cuda:9"], "'cuda:9' cannot be used"),
        (["--workers", "-1"], "--workers"),
        (["--engine", "spark"], "Known: local, ray"),
        (["--address", "auto"], "--engine ray"),
        (["--engine", "ray", "--devices", "cpu:2"], "--devices"),
    ],
)
def test_options_that_cannot_be_used(annotate, photos, tmp_path, words, told):
    result = annotate("in", *words, "-o", "out", on_cpu=())
    assert result.exit_code == 2
    assert told in said(result)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("record", ["{}", "[1]", '{"photos": 3}'])
def test_shards_of_something_else_are_left_or_named(annotate, photos, tmp_path, record):
    options = ("in/0/0.png", "-o", "out", "--tasks", "detection", "--export", "parquet")
    assert annotate(*options).exit_code == 0
    path = tmp_path / "out/faces.parquet/shard-00007.parquet"
    table = pyarrow.table({"a": [1]}).replace_schema_metadata({"farl_hf": record})
    pyarrow.parquet.write_table(table, path)
    result = annotate(*options)
    assert result.exit_code in (0, 2)
    assert "another output" in said(result) or not result.exit_code
    assert pyarrow.parquet.read_table(path).num_rows == 1


def test_device_and_devices_are_one_too_many(annotate, photos):
    assert re.search("--device .* --devices", said(annotate("in", "--devices", "cpu:2")))


def test_the_jobs_of_ray_are_plain_values(annotate, photos, tmp_path, monkeypatch):
    """What Ray maps over its workers, mapped here, in another working folder."""
    from farl_hf.laion_face import job_engines

    def map_elsewhere(worker, settings, rows, engine):
        monkeypatch.chdir("/")
        yield from map(job_engines.TriedWorker(worker, settings), rows)
        monkeypatch.chdir(tmp_path)

    monkeypatch.setattr(job_engines, "run_on_ray", map_elsewhere)
    here = annotate("in", "-o", "here", "--batch-size", 4)
    there = annotate("in", "-o", "there", "--batch-size", 4, "--engine", "ray", on_cpu=())
    assert (here.exit_code, there.exit_code) == (1, 1), said(there)
    assert "in/1/broken.jpg" in said(there)
    assert_same_folders(tmp_path / "there", tmp_path / "here")


@pytest.mark.nightly
def test_on_a_cluster_of_two_the_answers_are_the_same(cluster, annotate, photos, image_text_folder, tmp_path):
    ray = ("--engine", "ray", "--address", cluster.address)
    here = annotate("in", "-o", "here", "--batch-size", 2)
    there = annotate("in", "-o", "there", "--batch-size", 2, *ray, on_cpu=())
    assert (here.exit_code, there.exit_code) == (1, 1), said(there)
    assert "in/1/broken.jpg" in said(there)
    assert_same_folders(tmp_path / "there", tmp_path / "here")
    assert "8 photos finished before" in said(annotate("in", "-o", "there", "--batch-size", 2, *ray, on_cpu=()))
    for engine, words in (("local", ["--device", "cpu"]), ("ray", ray)):
        words = ["index", "in", "-o", f"{engine}.safetensors", "--model", str(image_text_folder / "farl"), *words]
        assert CliRunner().invoke(app, words).exit_code == 1
    indices = [FaceIndex.load(f"{engine}.safetensors") for engine in ("local", "ray")]
    assert indices[0].photos == indices[1].photos
    np.testing.assert_allclose(indices[0].embeddings, indices[1].embeddings, atol=1e-5)


def test_a_pipe_is_no_photo_and_nobody_waits_for_it(annotate, tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    assert content_of(str(tmp_path / "pipe.jpg")) is None  # opening it would wait for ever
    done = annotate("pipe.jpg", "--tasks", "detection")
    assert done.exit_code == 1
    assert "pipe.jpg is not a file" in " ".join(done.output.split())


def test_a_long_name_stops_no_run(annotate, tmp_path):
    for name in ("a", "ä" * 120, "ä" * 124 + "b", "z"):  # 255 bytes are the most
        save_photo(tmp_path / f"in/{name}.png", 1)
    done = annotate("in", "--tasks", "detection", "--output", "out")
    assert done.exit_code == 0, done.output
    assert len(records(tmp_path / "out")) == 4
    assert len(list((tmp_path / "out").glob("*.jpg"))) == 4


def test_a_folder_hides_no_known_name_from_the_processes(tmp_path, monkeypatch):
    """The digest in the list is that of the named model."""
    monkeypatch.chdir(tmp_path)
    for name in ("farl", "mine"):
        (tmp_path / name).mkdir()
    assert absolute_checkpoint("farl") == "farl"
    assert absolute_checkpoint("mine") == str(tmp_path / "mine")
    assert absolute_checkpoint(None) is None


@pytest.mark.parametrize("name", ["processor_config.json", "model.safetensors", "pytorch_model.bin"])
def test_a_digest_tells_crops_and_weights_apart(tmp_path, name):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / name).write_bytes(b"one")
    before = checkpoint_digest(tmp_path)
    (tmp_path / name).write_bytes(b"two")
    assert checkpoint_digest(tmp_path) != before
