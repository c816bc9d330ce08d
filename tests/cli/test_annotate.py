import errno
import json
import os
import resource
import urllib.parse
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from toy_checkpoints import MAX_FACES
from typer.testing import CliRunner

from farl_hf.cli import app, photo_files
from farl_hf.cli.photo_files import find_photos, output_stems
from farl_hf.errors import FileWriteError
from farl_hf.whole_files import write_picture

TASKS = ("face-detection", "face-parsing", "face-landmarks", "face-attributes")


@pytest.fixture
def annotate(toy_defaults, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        return CliRunner().invoke(app, ["annotate", "--device", "cpu", *map(str, arguments)])

    return run


def save_photo(path, seed=0, size_wh=(96, 80)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (size_wh[1], size_wh[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def read_records(folder):
    return json.loads((folder / "faces.json").read_text())


def test_one_photo_all_tasks(annotate, tmp_path):
    photo = save_photo(tmp_path / "photo.png")
    result = annotate(photo)
    assert result.exit_code == 0, result.output
    output = tmp_path / "farl_annotations"
    (record,) = read_records(output)
    assert record["photo"] == str(photo)
    assert 0 < len(record["faces"]) <= MAX_FACES
    for face in record["faces"]:
        assert set(face) == {"score", "box", "keypoints", "segmentation", "labels", "landmarks", "attributes"}
        with Image.open(output / face["segmentation"]) as segmentation:
            assert (segmentation.mode, segmentation.size) == ("P", (96, 80))
    for task in TASKS:
        with Image.open(output / f"photo.{task}.jpg") as picture:
            assert picture.width == 96 or (task == "face-attributes" and picture.width > 96)  # with cards beside it


def test_detection_runs_once_and_its_scores_are_kept(annotate, tmp_path, monkeypatch):
    from farl_hf.pipelines import FaceDetectionPipeline

    calls = []
    real = FaceDetectionPipeline.preprocess
    monkeypatch.setattr(FaceDetectionPipeline, "preprocess", lambda self, photo: calls.append(1) or real(self, photo))
    annotate(save_photo(tmp_path / "photo.png"))
    assert len(calls) == 1
    assert all(face["score"] < 1 for face in read_records(tmp_path / "farl_annotations")[0]["faces"])


def test_chosen_tasks_only(annotate, tmp_path):
    annotate(save_photo(tmp_path / "photo.png"), "--tasks", "landmarks", "-o", "out")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["faces.done.jsonl", "faces.json", "photo.face-landmarks.jpg"]
    assert set(read_records(tmp_path / "out")[0]["faces"][0]) == {"score", "box", "keypoints", "landmarks"}


def test_folders_patterns_and_equal_stems(annotate, tmp_path):
    for index, name in enumerate(["a/photo.png", "b/photo.jpg", "b/deep/Photo.png", "c/other.bmp", "a/notes.txt"]):
        save_photo(tmp_path / name, index) if not name.endswith("txt") else (tmp_path / name).write_text("no photo")
    result = annotate("a", "b", "c/*.bmp", "a/photo.png", "--tasks", "detection", "-o", "out")
    assert result.exit_code == 0, result.output
    assert [record["photo"] for record in read_records(tmp_path / "out")] == [
        "a/photo.png", "b/deep/Photo.png", "b/photo.jpg", "c/other.bmp",
    ]  # fmt: skip
    assert sorted(path.name.lower() for path in (tmp_path / "out").glob("*.jpg")) == [
        "other.face-detection.jpg",
        "photo-2.face-detection.jpg",
        "photo-3.face-detection.jpg",
        "photo.face-detection.jpg",
    ]


def test_links_to_folders_are_followed_without_circles(tmp_path):
    for name in ("in/b/real.png", "else/deep/linked.png"):
        save_photo(tmp_path / name)
    for link, target in (("a", "b"), ("circle", "."), ("far", "../else"), (".hidden", "../else"), ("b/up", "..")):
        (tmp_path / "in" / link).symlink_to(target)
    (tmp_path / "else/back").symlink_to("../in")
    found, failures = find_photos([str(tmp_path / "in")])
    assert not failures
    assert [os.path.relpath(photo, tmp_path) for photo in found] == ["in/b/real.png", "in/far/deep/linked.png"]


def test_many_equal_stems_are_numbered_in_one_pass(tmp_path, monkeypatch):
    tried = []
    real = photo_files._numbered
    monkeypatch.setattr(photo_files, "_numbered", lambda stem: (tried.append(name) or name for name in real(stem)))
    stems = output_stems([f"{number}/IMG.jpg" for number in range(50)], tmp_path, others=["IMG-3.face-1.png"])
    assert stems == ["IMG", "IMG-2", *(f"IMG-{number}" for number in range(4, 52))]
    assert len(tried) == 51


def test_bad_photos_are_reported_and_the_rest_goes_on(annotate, tmp_path):
    save_photo(tmp_path / "in/a.png")
    (tmp_path / "in/b.png").write_bytes(b"broken")
    save_photo(tmp_path / "in/c.png")
    result = annotate("in", "missing.jpg", "none/*.png", "--tasks", "detection")
    assert result.exit_code == 1
    assert [record["photo"] for record in read_records(tmp_path / "farl_annotations")] == ["in/a.png", "in/c.png"]
    output = result.output + result.stderr
    for name in ("in/b.png", "missing.jpg", "none/*.png"):
        assert name in output


def test_running_twice_in_the_photo_folder_annotates_photos_only(annotate, tmp_path):
    save_photo(tmp_path / "photo.png")
    for _ in range(2):
        result = annotate(tmp_path, "-o", tmp_path, "--tasks", "parsing,detection")
        assert result.exit_code == 0, result.output
        assert len(read_records(tmp_path)) == 1


def test_exif_rotated_grey_and_transparent_photos(annotate, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(save_photo(tmp_path / "x.png")).save(tmp_path / "turned.jpg", exif=exif)
    Image.open(tmp_path / "x.png").convert("LA").save(tmp_path / "grey.png")
    result = annotate("turned.jpg", "grey.png", "--tasks", "parsing", "-o", "out")
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "out/turned.face-1.segmentation.png") as segmentation:
        assert segmentation.size == (80, 96)


def test_aligned_photos_skip_the_detector(annotate, tmp_path):
    result = annotate(save_photo(tmp_path / "face.png"), "--aligned")
    assert result.exit_code == 0, result.output
    (face,) = read_records(tmp_path / "farl_annotations")[0]["faces"]
    assert face["box"] == {"xmin": 0.0, "ymin": 0.0, "xmax": 96.0, "ymax": 80.0}
    assert not (tmp_path / "farl_annotations/face.face-detection.jpg").exists()


@pytest.mark.parametrize("words", [("--detector", "retinaface-mobilenet-wider"), ("--threshold", "0.5")])
def test_options_of_the_detector_are_refused_for_aligned_photos(annotate, tmp_path, words):
    result = annotate(save_photo(tmp_path / "face.png"), "--aligned", *words)
    assert result.exit_code == 2
    assert f"{words[0]} is used only without --aligned" in result.output + result.stderr


def test_no_face_is_a_result(annotate, tmp_path):
    result = annotate(save_photo(tmp_path / "photo.png"), "--threshold", "1.0")
    assert result.exit_code == 0, result.output
    (record,) = read_records(tmp_path / "farl_annotations")
    assert (record["photo"], record["faces"]) == (str(tmp_path / "photo.png"), [])
    assert (tmp_path / "farl_annotations/photo.face-parsing.jpg").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--tasks", "recognition"], "face-attributes"),
        (["--tasks", "detection", "--aligned"], "No task remains"),
        (["--parsing-model", "farl-huge"], "farl-tiny-parsing"),
        (["--parsing-model", "."], "config.json"),
        (["--output", "photo.png"], "photo.png"),
        (["--device", "abacus"], "abacus"),
    ],
)
def test_options_that_cannot_work_are_explained(annotate, tmp_path, options, said):
    save_photo(tmp_path / "photo.png")
    result = annotate("photo.png", *options)
    assert result.exit_code == 2
    assert said in result.output + result.stderr
    assert "Traceback" not in result.output + result.stderr


def test_checkpoints_of_another_task_are_refused(annotate, tmp_path, toy_defaults):
    result = annotate(
        save_photo(tmp_path / "photo.png"), "--parsing-model", toy_defaults / "retinaface-mobilenet-wider"
    )
    assert result.exit_code == 2
    assert "expected FaRLForFaceParsing (face-parsing)" in result.output + result.stderr


def test_an_interrupted_run_keeps_what_it_found(annotate, tmp_path, monkeypatch):
    from farl_hf.cli.face_annotator import FaceAnnotator

    real = FaceAnnotator._write

    def interrupted(self, photo, faces, name, stem):
        if stem == "b":
            raise KeyboardInterrupt
        return real(self, photo, faces, name, stem)

    monkeypatch.setattr(FaceAnnotator, "_write", interrupted)
    for name in "abc":
        save_photo(tmp_path / f"in/{name}.png")
    assert annotate("in", "--tasks", "detection").exit_code != 0
    assert [record["photo"] for record in read_records(tmp_path / "farl_annotations")] == ["in/a.png"]


@pytest.fixture
def full_after(monkeypatch):
    """Makes the disk full at the file of a name: half of it is written."""

    def fill(name):
        def write_bytes(path, content):
            if name in str(path):
                real(path, b"half")
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(path, content)

        real = Path.write_bytes
        monkeypatch.setattr(Path, "write_bytes", write_bytes)

    return fill


def test_a_full_disk_leaves_whole_files_and_says_so(annotate, tmp_path, full_after):
    for name in "abc":
        save_photo(tmp_path / f"in/{name}.png")
    full_after("b.face-detection")
    result = annotate("in", "--tasks", "detection", "-o", "out")
    assert result.exit_code == 2
    assert "b.face-detection.jpg" in result.output + result.stderr
    assert "No space left" in result.output + result.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "a.face-detection.jpg", "faces.done.jsonl", "faces.json",
    ]  # fmt: skip
    assert [record["photo"] for record in read_records(tmp_path / "out")] == ["in/a.png"]


def test_the_cause_is_said_when_the_records_fail_too(annotate, tmp_path, full_after, monkeypatch):
    save_photo(tmp_path / "in/a.png")
    full_after("a.face-detection")
    real = type(tmp_path).open

    def open_file(path, *arguments, **options):
        if path.name == "faces.json" and "w" in arguments:
            raise OSError(errno.EIO, "Another fault")
        return real(path, *arguments, **options)

    monkeypatch.setattr(type(tmp_path), "open", open_file)
    result = annotate("in", "--tasks", "detection", "-o", "out")
    assert "No space left" in result.output + result.stderr
    assert "Another fault" not in result.output + result.stderr


def test_a_run_adds_to_the_folder_of_another_one(annotate, tmp_path):
    for name, seed in (("x/photo.png", 0), ("y/photo.png", 1)):
        save_photo(tmp_path / name, seed)
        assert annotate(name, "--tasks", "detection", "-o", "out").exit_code == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.jpg")}
    assert set(before) == {"photo.face-detection.jpg", "photo-2.face-detection.jpg"}
    assert annotate("y/photo.png", "--tasks", "detection", "-o", "out").exit_code == 0  # once more
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.jpg")} == before
    records = read_records(tmp_path / "out")
    assert [record["photo"] for record in records] == ["x/photo.png", "y/photo.png"]
    assert [record["files"]["face-detection"] for record in records] == sorted(before, key=len)


def test_photos_with_few_pixels_share_a_batch_and_large_ones_do_not(tmp_path):
    from farl_hf.cli import face_annotator

    small, large = Image.new("RGB", (60, 50)), Image.new("RGB", (face_annotator._MOST_PIXELS // 1000 + 1, 1000))
    photos = [(photo, "name", "stem") for photo in (small, small, tmp_path / "missing.png", small, large, small)]
    batches = list(face_annotator._decoded_batches(photos, 3))
    assert [len(batch) for batch in batches] == [3, 2, 1]
    assert isinstance(batches[0][2][0], OSError)
    assert [photo.size for photo, _, _ in batches[1]] == [small.size, large.size]


def test_an_interrupted_rerun_keeps_the_records_of_the_first_run(annotate, tmp_path, monkeypatch):
    from farl_hf.cli.face_annotator import FaceAnnotator

    for name in "abc":
        save_photo(tmp_path / f"in/{name}.png")
    annotate("in", "--tasks", "detection")
    before = read_records(tmp_path / "farl_annotations")
    save_photo(tmp_path / "in/b.png", 7)  # another photo, which has to be done again

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(FaceAnnotator, "_write", interrupted)
    assert annotate("in", "--tasks", "detection").exit_code != 0
    assert read_records(tmp_path / "farl_annotations") == before


def test_answers_are_not_replaced_by_fewer(annotate, tmp_path):
    save_photo(tmp_path / "a.png")
    annotate("a.png", "--tasks", "detection,landmarks", "-o", "out")
    before = read_records(tmp_path / "out")
    result = annotate("a.png", "--tasks", "detection", "-o", "out")
    assert result.exit_code == 2
    assert "face-landmarks" in result.output + result.stderr
    assert read_records(tmp_path / "out") == before


def test_two_runs_do_not_share_a_folder(annotate, tmp_path):
    from farl_hf.whole_files import held_folder

    save_photo(tmp_path / "a.png")
    (tmp_path / "out").mkdir()
    with held_folder(tmp_path / "out"):
        result = annotate("a.png", "--tasks", "detection", "-o", "out")
    assert result.exit_code == 2
    assert "Another run" in result.output + result.stderr
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("content", [b'[{"photo": "x", "fa', b"\xff\xfe", b""])
def test_broken_records_are_set_aside(annotate, tmp_path, content, caplog):
    save_photo(tmp_path / "a.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/faces.json").write_bytes(content)
    assert annotate("a.png", "--tasks", "detection", "-o", "out").exit_code == 0
    assert (tmp_path / "out/faces.json.broken").read_bytes() == content
    assert "faces.json.broken" in caplog.text
    assert len(read_records(tmp_path / "out")) == 1


@pytest.mark.parametrize("content", ['[{"photo": "x", "faces": []}]', '{"a": 1}', "3", "[1]"])
def test_a_file_of_something_else_is_left_alone(annotate, tmp_path, content):
    save_photo(tmp_path / "a.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/faces.json").write_text(content)
    assert annotate("a.png", "--tasks", "detection", "-o", "out").exit_code == 2
    assert (tmp_path / "out/faces.json").read_text() == content


def odd_name(folder):
    """A photo whose name is not UTF-8, between two others."""
    paths = [save_photo(folder / name) for name in ("a.jpg", "m.jpg", "z.jpg")]
    odd = paths[1].rename(folder / "caf\udce9.jpg")
    return [paths[0], odd, paths[2]]


def file_of(uri):
    return os.fsdecode(urllib.parse.unquote_to_bytes(urllib.parse.urlsplit(uri).path))


def test_names_that_are_not_utf_8_are_escaped_and_found_again(annotate, tmp_path):
    paths = odd_name(tmp_path / "in")
    result = annotate("in", "--tasks", "parsing", "-o", "out")
    assert result.exit_code == 0, result.output
    records = read_records(tmp_path / "out")
    assert [record["photo"] for record in records] == ["in/a.jpg", "in/caf\\xe9.jpg", "in/z.jpg"]
    assert [file_of(record["photo_uri"]) for record in records] == [str(path) for path in paths]
    for record in records:
        for name in (record["files"]["face-parsing"], *(face["segmentation"] for face in record["faces"])):
            assert (tmp_path / "out" / name).is_file()
    assert annotate("in", "--tasks", "parsing", "-o", "out").exit_code == 0
    assert read_records(tmp_path / "out") == records


def test_a_broken_photo_of_such_a_name_is_reported(annotate, tmp_path):
    odd_name(tmp_path / "in")[1].write_bytes(b"broken")
    result = annotate("in", "--tasks", "detection", "-o", "caf\udce9")
    assert result.exit_code == 1
    assert "caf\\xe9.jpg" in result.output + result.stderr
    assert len(read_records(tmp_path / "caf\udce9")) == 2


def test_a_picture_that_the_disk_cuts_short_is_no_picture(tmp_path):
    """Pillow's encoder of JPEG takes the short write for a whole one."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(FileWriteError):
            write_picture(tmp_path / "a.jpg", Image.new("RGB", (300, 300)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())
