"""`farl-hf crop`, `farl-hf anonymize` and `farl-hf annotate --export`."""

import csv
import json

import numpy as np
import pytest
from PIL import Image
from toy_checkpoints import MAX_FACES
from typer.testing import CliRunner
from video_files import moved_face, packets, write_video

from farl_hf.cli import app
from farl_hf.errors import InvalidFaceInputError
from farl_hf.video import VideoFile


@pytest.fixture
def run(toy_defaults, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def invoke(command, *arguments):
        return CliRunner().invoke(app, [command, "--device", "cpu", "-o", "out", *map(str, arguments)])

    return invoke


@pytest.fixture
def photo(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (80, 96, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_crops_are_written_and_stay(run, photo, tmp_path):
    for _ in range(2):
        result = run("crop", photo, "missing.jpg", "--size", 40)
        assert result.exit_code == 1
        assert "missing.jpg" in result.output + result.stderr
    expected = [f"{stem}.face-{row}.png" for stem in ("photo-2", "photo") for row in range(1, MAX_FACES + 1)]
    assert names(tmp_path / "out") == expected
    for path in (tmp_path / "out").iterdir():
        with Image.open(path) as picture:
            assert (picture.size, picture.mode) == ((40, 40), "RGB")
    assert run("annotate", "out", "--aligned", "--tasks", "landmarks").exit_code == 0  # crops are photos
    assert len(json.loads((tmp_path / "out/faces.json").read_text())) == len(expected)


def test_cut_outs_are_transparent(run, photo, tmp_path):
    result = run("crop", photo, "--cut-out", "all")
    assert result.exit_code == 0, result.output + result.stderr
    with Image.open(tmp_path / "out/photo.face-1.png") as picture:
        assert picture.mode == "RGBA"
    result = run("crop", photo, "--cut-out", "beard")
    assert result.exit_code == 2
    assert "upper_lip" in result.output + result.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--parsing-model", "nope"], "only with --cut-out"),
        (["--cut-out", ""], "names no class"),
        (["--cut-out", "all", "--upright"], "--upright, --size and --scale are for crops"),
        (["--cut-out", "all", "--size", "64"], "--upright, --size and --scale are for crops"),
    ],
)
def test_options_that_crop_would_not_use_are_refused(run, photo, options, said):
    result = run("crop", photo, *options)
    assert result.exit_code == 2
    assert said in result.output + result.stderr


def test_a_face_without_a_class_costs_no_other_face(run, photo, tmp_path, monkeypatch):
    from farl_hf import outputs

    real = outputs.cutout

    def first_fails(picture, face, classes):
        if first_fails.calls == 0:
            first_fails.calls += 1
            raise InvalidFaceInputError("No pixel of the face is skin; there is nothing to cut out.")
        return real(picture, face, classes)

    first_fails.calls = 0
    monkeypatch.setattr(outputs, "cutout", first_fails)
    result = run("crop", photo, "--cut-out", "all")
    assert result.exit_code == 1
    assert "face 1: No pixel" in result.output + result.stderr
    assert names(tmp_path / "out") == [f"photo.face-{row}.png" for row in range(2, MAX_FACES + 1)]


@pytest.mark.parametrize("command", ["crop", "anonymize"])
@pytest.mark.parametrize("output", ["out", "."])
def test_a_folder_is_searched_without_the_outputs_of_the_command(run, photo, tmp_path, command, output, caplog):
    for number in range(2):
        result = run(command, ".", "-o", output)
        assert result.exit_code == 0, result.output + result.stderr
        assert "of 1 photo" in result.output
        assert ("Passed over" in caplog.text) == bool(number)
    written = tmp_path / output / {"crop": "photo.face-1.png", "anonymize": "photo.anonymized.jpg"}[command]
    assert run(command, written, "-o", output).exit_code == 0  # named, it is a photo
    assert run(command, written.parent, "-o", "elsewhere").exit_code == 0
    assert len(names(tmp_path / "elsewhere")) > 1


@pytest.mark.parametrize("region", ["box", "face", "landmarks"])
def test_photos_and_videos_are_anonymized(run, photo, tmp_path, region):
    frames = [moved_face(2 * index, 10) for index in range(4)]
    write_video(tmp_path / "clip.mp4", frames, sound="aac")
    result = run("anonymize", photo, "clip.mp4", "--method", "fill", "--region", region)
    assert result.exit_code == 0, result.output + result.stderr
    assert names(tmp_path / "out") == ["clip.anonymized.mp4", "photo.anonymized.jpg"]
    assert " of 1 photo and 1 video hidden" in result.output
    with Image.open(tmp_path / "out/photo.anonymized.jpg") as picture:
        assert picture.size == (96, 80)
        black = (np.asarray(picture).max(axis=2) < 12).mean()
    with Image.open(photo) as picture:
        assert black > (np.asarray(picture).max(axis=2) < 12).mean() + 0.005
    shown = [frame.image for frame in VideoFile(tmp_path / "out/clip.anonymized.mp4").frames()]
    assert [image.size for image in shown] == [(160, 120)] * 4
    assert packets(tmp_path / "out/clip.anonymized.mp4") == packets(tmp_path / "clip.mp4") != []


def test_sound_that_an_anonymized_video_lacks_is_told(run, tmp_path):
    write_video(tmp_path / "clip.avi", [moved_face(0, 10)] * 3, sound="pcm_mulaw")
    result = run("anonymize", "clip.avi", "--detect-every", 1)
    assert result.exit_code == 0, result.output + result.stderr
    assert "pcm_mulaw" in result.stderr


def test_a_face_that_is_lost_stays_hidden_for_a_moment(run, tmp_path, monkeypatch):
    from farl_hf.pipelines import FaceDetectionPipeline

    real, calls = FaceDetectionPipeline.__call__, []

    def once(self, photo, **settings):
        calls.append(1)
        return real(self, photo, **settings) if len(calls) == 1 else []

    monkeypatch.setattr(FaceDetectionPipeline, "__call__", once)
    write_video(tmp_path / "clip.mp4", [np.full((120, 160, 3), 200, np.uint8)] * 20)
    result = run("anonymize", "clip.mp4", "--method", "fill", "--threshold", 0)
    assert result.exit_code == 0, result.output + result.stderr
    dark = [np.asarray(f.image).min() < 60 for f in VideoFile(tmp_path / "out/clip.anonymized.mp4").frames()]
    assert dark == [True] * 13 + [False] * 7  # half a second at 25 frames per second


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--method", "mask"], "pixelate"),
        (["--region", "eyes"], "landmarks"),
        (["--strength", "0"], "strength"),
        (["--landmarks-model", "nope"], "only with --region landmarks"),
        (["--parsing-model", "nope"], "only with --region face"),
        (["--detect-every", "3"], "only for videos"),
    ],
)
def test_anonymize_explains_what_cannot_work(run, photo, options, said):
    result = run("anonymize", photo, *options)
    assert result.exit_code in (1, 2)
    assert said in result.output + result.stderr
    assert "Traceback" not in result.output + result.stderr


def test_exports_hold_the_whole_folder(run, photo, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    write_video(tmp_path / "clip.mp4", [moved_face(2 * index, 10) for index in range(2)])
    Image.open(photo).rotate(90, expand=True).save(tmp_path / "other.png")
    assert run("annotate", "other.png").exit_code == 0
    result = run("annotate", photo, "clip.mp4", "--export", "jsonl,csv", "--export", "parquet,coco")
    assert result.exit_code == 0, result.output + result.stderr
    records = {record.get("photo"): record for record in json.loads((tmp_path / "out/faces.json").read_text())}
    lines = [json.loads(line) for line in (tmp_path / "out/faces.jsonl").read_text().splitlines()]
    assert [line["photo"] for line in lines] == ["other.png", str(photo)]
    for line in lines:
        masks = [face.pop("segmentation") for face in line["faces"]]
        assert all(mask["size"] == line["size_hw"] for of_face in masks for mask in of_face.values())
    with (tmp_path / "out/faces.csv").open() as file:
        rows = list(csv.DictReader(file))
    table = parquet.read_table(tmp_path / "out/faces.parquet")
    assert table.column_names == list(rows[0])
    assert len(rows) == table.num_rows
    for row, cells in zip(rows, table.to_pylist(), strict=True):
        assert {name: "" if value is None else str(value) for name, value in cells.items()} == row
    photos = [row for row in table.to_pylist() if row["frame"] is None]
    assert [row["score"] for row in photos] == [
        face["score"] for name in ("other.png", str(photo)) for face in records[name]["faces"]
    ]
    assert {row["frame"] for row in table.to_pylist()} == {None, 0, 1}
    areas = [name for name in table.column_names if name.startswith("area_")]
    assert [sum(row[name] for name in areas) for row in photos] == [96 * 80] * len(photos)
    coco = json.loads((tmp_path / "out/faces.coco.json").read_text())
    assert [(image["file_name"], image["height"], image["width"]) for image in coco["images"]] == [
        ("other.png", 96, 80), (str(photo), 80, 96),
    ]  # fmt: skip
    assert sum(one["category_id"] == 1 for one in coco["annotations"]) == len(photos)


@pytest.mark.parametrize("form", ["voc", "", ","])
def test_unknown_exports_are_explained_before_anything_runs(run, photo, tmp_path, form):
    result = run("annotate", photo, "--export", form)
    assert result.exit_code == 2
    assert "parquet" in result.output + result.stderr
    assert not (tmp_path / "out").exists()
