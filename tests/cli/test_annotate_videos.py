import json
import os
import sys

import numpy as np
import pytest
from PIL import Image
from toy_checkpoints import MAX_FACES
from transformers import PreTrainedModel
from typer.testing import CliRunner
from video_files import moved_face, packets, write_video

from farl_hf.cli import app, video_annotator
from farl_hf.cli.annotate import _finished
from farl_hf.cli.finished_work import has_content
from farl_hf.cli.photo_jobs import Done, PhotoFile
from farl_hf.video import VideoFile

FRAMES = [moved_face(2 * index, 10) for index in range(5)]


@pytest.fixture
def annotate(toy_defaults, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        return CliRunner().invoke(app, ["annotate", "--device", "cpu", "-o", "out", *map(str, arguments)])

    return run


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_photos_and_videos_together(annotate, tmp_path):
    (tmp_path / "in").mkdir()
    write_video(tmp_path / "in/clip.mp4", FRAMES, sound="aac")
    Image.fromarray(FRAMES[0]).save(tmp_path / "in/photo.png")
    result = annotate("in", "--batch-size", 2)
    assert result.exit_code == 0, result.output + result.stderr
    assert "1 photo" in result.output
    assert "5 frames of 1 video" in result.output
    video, photo = json.loads((tmp_path / "out/faces.json").read_text())
    assert (video["video"], video["frames"], video["faces_file"]) == ("in/clip.mp4", 5, "clip.faces.jsonl")
    assert photo["photo"] == "in/photo.png"
    records = lines(tmp_path / "out/clip.faces.jsonl")
    assert [record["frame"] for record in records] == list(range(5))
    np.testing.assert_allclose([record["time"] for record in records], np.arange(5) / 25, atol=1e-3)
    assert 0 < len(records[0]["faces"]) <= MAX_FACES
    assert set(records[0]["faces"][0]) == {"track", "score", "box", "keypoints", "landmarks", "attributes"}
    for task in ("detection", "parsing", "landmarks", "attributes"):
        path = tmp_path / f"out/clip.face-{task}.mp4"
        assert [frame.image.size for frame in VideoFile(path).frames()] == [(160, 120)] * 5
        assert packets(path) == packets(tmp_path / "in/clip.mp4") != []
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(".")) == []


def test_label_maps_on_request(annotate, tmp_path):
    write_video(tmp_path / "clip.mov", FRAMES[:2])
    result = annotate("clip.mov", "--tasks", "parsing", "--label-maps", "--detect-every", 1)
    assert result.exit_code == 0, result.output + result.stderr
    for record in lines(tmp_path / "out/clip.faces.jsonl"):
        for face in record["faces"]:
            assert "landmarks" not in face
            with Image.open(tmp_path / "out" / face["segmentation"]) as label_map:
                assert (label_map.mode, label_map.size) == ("P", (160, 120))


def test_label_maps_are_those_of_one_whole_run(annotate, tmp_path, monkeypatch):
    options = ("clip.mov", "--tasks", "parsing", "--label-maps", "--detect-every", 1, "--batch-size", 1)
    label_maps = tmp_path / "out/clip.label-maps"
    write_video(tmp_path / "clip.mov", FRAMES)
    assert annotate(*options).exit_code == 0
    former = {path.name: path.read_bytes() for path in label_maps.iterdir()}
    assert len({name[:6] for name in former}) == len(FRAMES)

    write_video(tmp_path / "clip.mov", FRAMES[3:])
    with monkeypatch.context() as patch:
        patch.setattr(video_annotator, "draw", interrupted_at_the_second_frame())
        assert annotate(*options).exit_code != 0
    assert {path.name: path.read_bytes() for path in label_maps.iterdir()} == former
    assert list((tmp_path / "out").glob(".*")) == []

    (label_maps / "notes").mkdir()
    for name in ("mine.txt", "notes/000000.track-1.segmentation.png"):
        (label_maps / name).write_text("of the user")
    assert annotate(*options).exit_code == 0
    faces = [face for record in lines(tmp_path / "out/clip.faces.jsonl") for face in record["faces"]]
    written = {str(path.relative_to(tmp_path / "out")) for path in label_maps.glob("*.png")}
    assert written == {face["segmentation"] for face in faces}
    assert len({name[:6] for name in map(os.path.basename, written)}) == 2
    for name in ("mine.txt", "notes/000000.track-1.segmentation.png"):
        assert (label_maps / name).read_text() == "of the user"


def interrupted_at_the_second_frame():
    drawn = []

    def draw(*arguments, **settings):
        if drawn:
            raise KeyboardInterrupt
        drawn.append(arguments)
        return video_annotator.Image.fromarray(FRAMES[0])

    return draw


def test_label_maps_of_no_face_make_no_folder(annotate, tmp_path):
    write_video(tmp_path / "clip.mov", FRAMES[:2])
    result = annotate("clip.mov", "--tasks", "parsing", "--label-maps", "--detect-every", 1, "--threshold", 1.0)
    assert result.exit_code == 0, result.output + result.stderr
    assert not any(record["faces"] for record in lines(tmp_path / "out/clip.faces.jsonl"))
    assert not (tmp_path / "out/clip.label-maps").exists()


def test_annotated_videos_are_not_annotated_again(annotate, tmp_path):
    (tmp_path / "out").mkdir()
    write_video(tmp_path / "out/clip.mp4", FRAMES[:2])
    for _ in range(2):
        assert annotate("out", "--tasks", "detection").exit_code == 0
        assert len(json.loads((tmp_path / "out/faces.json").read_text())) == 1


def test_damaged_videos_are_told_and_the_rest_goes_on(annotate, tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (30, 40, 64, 3), dtype=np.uint8)
    whole = write_video(tmp_path / "a.avi", list(noise)).read_bytes()
    (tmp_path / "a.avi").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "b.mp4").write_bytes(b"no video" * 50)
    write_video(tmp_path / "c.mp4", FRAMES[:2])
    result = annotate("a.avi", "b.mp4", "c.mp4", "missing.mp4", "--tasks", "detection", "--detect-every", 1)
    assert result.exit_code == 1
    said = result.output + result.stderr
    for text in ("a.avi after frame", "b.mp4 cannot be opened", "no video at missing.mp4"):
        assert text in said
    assert "Traceback" not in said
    kept = lines(tmp_path / "out/a.faces.jsonl")
    assert 3 < len(kept) < 28
    assert len(list(VideoFile(tmp_path / "out/a.face-detection.mp4").frames())) == len(kept)
    assert len(lines(tmp_path / "out/c.faces.jsonl")) == 2
    assert not (tmp_path / "out/b.faces.jsonl").exists()


def test_sound_that_is_left_out_is_told(annotate, tmp_path):
    write_video(tmp_path / "a.avi", FRAMES, sound="pcm_mulaw")
    for said in ("pcm_mulaw", "1 photo finished before"):  # the video is whole
        result = annotate("a.avi", "--tasks", "detection", "--detect-every", 1)
        assert result.exit_code == 0, result.output + result.stderr
        assert said in result.output + result.stderr
        assert "Failed" not in result.stderr


def test_without_pictures_no_video_is_drawn(annotate, tmp_path):
    write_video(tmp_path / "a.mp4", FRAMES)
    result = annotate("a.mp4", "--tasks", "detection", "--detect-every", 1, "--no-pictures")
    assert result.exit_code == 0, result.output + result.stderr
    assert len(lines(tmp_path / "out/a.faces.jsonl")) == len(FRAMES)
    assert list((tmp_path / "out").glob("*.mp4")) == []
    result = annotate("a.mp4", "--tasks", "parsing", "--no-pictures", "--label-maps", "--overwrite")
    assert result.exit_code == 2
    assert "--label-maps" in result.stderr


def test_beginning_anew_removes_the_label_maps(annotate, tmp_path):
    write_video(tmp_path / "a.mp4", FRAMES[:2])
    options = ("--tasks", "parsing", "--detect-every", 1)
    assert annotate("a.mp4", *options, "--label-maps").exit_code == 0
    label_maps = tmp_path / "out/a.label-maps"
    assert list(label_maps.iterdir())
    assert annotate("a.mp4", *options, "--overwrite").exit_code == 0
    assert not label_maps.exists()


def test_a_video_with_a_fault_is_done_again_by_name_too():
    """A URL has no content that could differ."""
    photo = PhotoFile("https://example.org/a.mp4", "a.mp4", "https://example.org/a.mp4", "a")
    for fault, kept in ((None, True), ("cut short", False)):
        line = _finished(Done(photo, None, {}, fault))
        assert has_content(photo.source, line["content"]) == kept


def test_aligned_is_for_photos(annotate, tmp_path):
    write_video(tmp_path / "a.mp4", FRAMES[:2])
    result = annotate("a.mp4", "--aligned", "--tasks", "landmarks")
    assert result.exit_code == 1
    assert "--aligned" in result.output + result.stderr


def test_missing_pyav_is_told(annotate, tmp_path, monkeypatch):
    write_video(tmp_path / "a.mp4", FRAMES[:2])
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setattr(PreTrainedModel, "from_pretrained", lambda *words, **settings: pytest.fail("a model"))
    result = annotate("a.mp4", "--tasks", "detection")
    assert result.exit_code == 1
    assert 'pip install "farl-hf[video]"' in result.output + result.stderr
