import json
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from image_text_toys import make_farl
from PIL import Image
from toy_checkpoints import MAX_FACES
from typer.testing import CliRunner

from farl_hf import FaceIndex, embed_texts
from farl_hf.cli import app
from farl_hf.labels.attributes import PROMPT_WRAPPERS

TEXTS = ("a smile", "a man with a hat", "eyeglasses")
TEXT_OPTIONS = [part for text in TEXTS for part in ("--texts", text)]


@pytest.fixture
def run(toy_defaults, image_text_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, seed in (("a.png", 0), ("deep/b.png", 1)):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 255, (80, 96, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "in" / name)

    def call(command, *arguments, model="farl"):
        options = ["--device", "cpu", "--model", str(image_text_folder / model)]
        result = CliRunner().invoke(app, [command, *map(str, arguments), *options], env={"COLUMNS": "200"})
        assert "Traceback" not in result.output + result.stderr
        return result

    return call


def said(result):
    return " ".join((result.output + result.stderr).split())


@pytest.mark.parametrize("model", ["farl", "clip"])
def test_texts_per_face_and_faces_per_text(run, tmp_path, model):
    left_over = tmp_path / ".found.json.abcd1234.partial"  # of a run that was killed
    left_over.mkdir()
    result = run("match", "in", *TEXT_OPTIONS, "--top", "3", "--output", "found.json", model=model)
    assert result.exit_code == 0, result.output
    assert not left_over.exists()
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["num_faces"] == len(found["texts_of_face"]) == 2 * MAX_FACES
    for face in found["texts_of_face"]:
        values = [text["similarity"] for text in face["texts"]]
        assert values == sorted(values, reverse=True)
        assert sum(text["probability"] for text in face["texts"]) == pytest.approx(1)
    assert [text["text"] for text in found["faces_of_text"]] == list(TEXTS)
    of_first_text = {
        (face["photo"], *face["box_xyxy"]): text["similarity"]
        for face in found["texts_of_face"]
        for text in face["texts"]
        if text["text"] == TEXTS[0]
    }
    best = [face["similarity"] for face in found["faces_of_text"][0]["faces"]]
    assert best == pytest.approx(sorted(of_first_text.values(), reverse=True)[:3], abs=1e-6)
    assert "a man with a hat" in result.output


def test_an_index_answers_as_the_photos_do(run, tmp_path):
    run("match", "in", *TEXT_OPTIONS, "--output", "direct.json")
    for ending in ("safetensors", "parquet"):
        assert run("index", "in", "--output", f"faces.{ending}").exit_code == 0
        result = run("match", "--index", f"faces.{ending}", *TEXT_OPTIONS, "--output", "indexed.json")
        assert result.exit_code == 0, result.output
        indexed, direct = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("indexed", "direct"))
        assert indexed["faces_of_text"] == direct["faces_of_text"]
        assert "texts_of_face" not in indexed


@pytest.mark.parametrize(("options", "wrappers"), [([], PROMPT_WRAPPERS), (["--plain"], ("{}",))])
def test_texts_are_wrapped_unless_plain(run, tmp_path, options, wrappers):
    run("index", "in", "--aligned")
    run("match", "--index", "faces.safetensors", "--texts", TEXTS[0], "--output", "found.json", *options)
    index, found = FaceIndex.load("faces.safetensors"), json.loads((tmp_path / "found.json").read_text())
    expected = index.search(embed_texts(*make_farl(), TEXTS[0], wrappers))[1][0]
    got = [face["similarity"] for face in found["faces_of_text"][0]["faces"]]
    assert got == pytest.approx(expected.tolist(), abs=1e-6)


def test_a_data_set_with_its_own_faces(run, tmp_path, monkeypatch):
    from farl_hf.data import loading

    rows = [
        {"image": Image.open("in/a.png"), "boxes_xyxy": [[10, 10, 60, 60]], "points5_xy": None},
        {
            "image": Image.open("in/deep/b.png"),
            "boxes_xyxy": [[1, 1, 9, 9], [20, 15, 70, 75]],
            "points5_xy": [[[np.nan, 0]] * 5, [[30, 30], [60, 30], [45, 45], [35, 60], [55, 60]]],
        },
    ]
    asked = {}
    monkeypatch.setattr(
        loading, "load_face_dataset", lambda name, **options: asked.update({"name": name}, **options) or rows
    )
    result = run("index", "--dataset", "celeba", "--split", "train", "--max_samples", "2")
    assert result.exit_code == 0, result.output
    assert asked == {"name": "celeba", "data_dir": None, "split": "train", "num_photos": {"train": 2}}
    index = FaceIndex.load("faces.safetensors")
    assert index.photos == ("celeba/train/0", "celeba/train/1", "celeba/train/1")
    assert index.boxes_xyxy[0].tolist() == [10, 10, 60, 60]
    assert index.boxes_xyxy[2].tolist() == [1, 1, 9, 9]  # the face without points is not left out
    refused = run("index", "in")
    assert refused.exit_code == 2
    assert "faces.safetensors is an index of other faces" in said(refused)
    assert FaceIndex.load("faces.safetensors").photos == index.photos
    assert run("index", "in", "--overwrite").exit_code == 0
    assert run("index", "--dataset", "celeba").exit_code == 2
    assert run("index", "--dataset", "celeba", "--overwrite").exit_code == 0
    assert not Path("faces.safetensors.done.jsonl").exists()
    assert run("index", "in").exit_code == 2


def test_a_bad_photo_of_a_data_set_does_not_stop_the_others(run, tmp_path, monkeypatch):
    from farl_hf.data import loading

    face = {"boxes_xyxy": [[10, 10, 60, 60]], "points5_xy": None}
    good = {"bytes": Path("in/a.png").read_bytes(), "path": None}
    rows = [{"image": image} | face for image in ({"bytes": b"broken", "path": None}, good)]
    monkeypatch.setattr(loading, "load_face_dataset", lambda name, **options: rows)
    result = run("index", "--dataset", "celeba")
    assert result.exit_code == 1
    assert "celeba/test/0" in said(result)
    assert FaceIndex.load("faces.safetensors").photos == ("celeba/test/1",)


def test_bad_photos_are_reported_and_the_rest_goes_on(run, tmp_path):
    (tmp_path / "in/broken.png").write_bytes(b"broken")
    for command, options in (("index", []), ("match", TEXT_OPTIONS)):
        result = run(command, "in", "missing.jpg", *options)
        assert result.exit_code == 1
        assert "broken.png" in said(result)
        assert "missing.jpg" in said(result)
    assert set(FaceIndex.load("faces.safetensors").photos) == {"in/a.png", "in/deep/b.png"}


def test_no_face_is_said_with_a_way_out(run):
    result = run("match", "in", *TEXT_OPTIONS, "--threshold", "1.0")
    assert result.exit_code == 1
    assert "No face was found" in said(result)
    assert "--aligned" in said(result)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["match", "in"], "No text was given"),
        (["match", "in", "--texts", " "], "Text 1"),
        (["match", "--texts", "a"], "either photos or --index"),
        (["match", "in", "--index", "f.parquet", "--texts", "a"], "either photos or --index"),
        (["match", "--index", "f.parquet", "--texts", "a"], "There is no face index f.parquet"),
        (["match", "in", "--texts", "a", "--output", "no/where.json"], "no/where.json"),
        (["match", "--index", "f.parquet", "--texts", "a", "--aligned"], "--aligned is used only with photos"),
        (["match", "--index", "f.parquet", "--texts", "a", "--threshold", "0.5"], "--threshold is used only with"),
        (["index", "in", "--max-samples", "3"], "--max-samples is used only with --dataset"),
        (["index", "in", "--split", "train"], "--split is used only with --dataset"),
        (["index"], "either photos or --dataset"),
        (["index", "in", "--dataset", "celeba"], "either photos or --dataset"),
        (["index", "in", "--output", "faces.csv"], ".safetensors or .parquet"),
        (["index", "in", "--output", os.fsdecode(b"caf\xe9.parquet")], "not UTF-8"),
        (["index", "in", "--output", "no/faces.parquet"], "does not exist"),
    ],
)
def test_what_cannot_work_is_explained(run, arguments, text):
    result = run(*arguments)
    assert result.exit_code == 2
    assert text in said(result)


def test_an_index_of_another_model_is_refused(run):
    run("index", "in")
    result = run("match", "--index", "faces.safetensors", "--texts", "a", model="clip")
    assert result.exit_code == 2
    assert "made with another model" in said(result)


def test_an_index_goes_on_and_keeps_what_is_finished(run, tmp_path, monkeypatch):
    from farl_hf.retrieval import face_embedding

    seen = []
    real = face_embedding.FaceCutter.__call__
    monkeypatch.setattr(face_embedding.FaceCutter, "__call__", lambda self, photo: seen.append(1) or real(self, photo))
    assert run("index", "in", "--batch-size", 1).exit_code == 0
    first = FaceIndex.load("faces.safetensors")
    assert run("index", "in").exit_code == 0
    assert len(seen) == 2
    again = FaceIndex.load("faces.safetensors")
    np.testing.assert_array_equal(again.embeddings, first.embeddings)
    assert (again.photos, again.fingerprint) == (first.photos, first.fingerprint)
    Image.open("in/a.png").rotate(90).save("in/a.png")
    (tmp_path / "in/deep/b.png").rename(tmp_path / "in/c.png")
    assert run("index", "in").exit_code == 0
    assert len(seen) == 4
    assert set(FaceIndex.load("faces.safetensors").photos) == {"in/a.png", "in/c.png"}
    refused = run("index", "in", "--threshold", 0.3)
    assert refused.exit_code == 2
    assert "threshold: the default there, 0.3 now" in said(refused)
    assert run("index", "in", "--threshold", 0.3, "--overwrite").exit_code == 0


def test_other_photos_add_to_an_index(run, tmp_path, monkeypatch):
    for argument in ("in/a.png", "in/deep"):
        assert run("index", argument).exit_code == 0
    assert FaceIndex.load("faces.safetensors").photos == ("in/a.png",) * MAX_FACES + ("in/deep/b.png",) * MAX_FACES
    before = Path("faces.safetensors.done.jsonl").read_bytes()
    for words in (["holidya"], ["in", "--detector", "farl-huge"]):
        assert run("index", *words, "--overwrite").exit_code != 0
        assert Path("faces.safetensors.done.jsonl").read_bytes() == before
    Path("in/a.png").write_bytes(b"broken")
    assert run("index", "in/a.png").exit_code == 1
    monkeypatch.chdir(tmp_path / "in")
    assert run("index", "deep", "--output", "../faces.safetensors").exit_code == 0
    assert set(FaceIndex.load("../faces.safetensors").photos) == {"deep/b.png"}


@pytest.mark.parametrize("words", [("--detector", "retinaface-mobilenet-wider"), ("--threshold", "0.5")])
@pytest.mark.parametrize("command", [("index",), ("match", "--texts", "a")])
def test_options_of_the_detector_are_refused_for_aligned_photos(run, command, words):
    result = run(command[0], "in", *command[1:], "--aligned", *words)
    assert result.exit_code == 2
    assert f"{words[0]} is used only without --aligned" in said(result)


def test_parts_of_an_index_are_searched_together(run, tmp_path):
    for number in range(4):
        Image.open("in/a.png").rotate(20 * number).save(f"in/{number}.png")
    for number in (1, 2):
        assert run("index", "in", "--part", f"{number}/2").exit_code == 0
    assert run("index", "in", "--output", "whole.safetensors", "--workers", 1).exit_code == 0
    for pattern, name in (("faces.part-*-of-2.safetensors", "parts"), ("whole.safetensors", "whole")):
        assert run("match", "--index", pattern, *TEXT_OPTIONS, "--top", 3, "--output", f"{name}.json").exit_code == 0
    parts, whole = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("parts", "whole"))
    assert parts["num_faces"] == whole["num_faces"] == 6 * MAX_FACES
    for ours, theirs in zip(parts["faces_of_text"], whole["faces_of_text"], strict=True):
        similarities = [[face["similarity"] for face in one["faces"]] for one in (ours, theirs)]
        assert similarities[0] == pytest.approx(similarities[1], abs=1e-6)


def test_a_head_cannot_be_matched(run, toy_defaults):
    result = run("match", "in", "--texts", "a", model=toy_defaults / "farl-tiny-parsing")
    assert result.exit_code == 2
    assert "no text encoder" in said(result)


@pytest.mark.parametrize("ending", ["parquet", "safetensors"])
def test_names_that_are_not_utf_8(run, tmp_path, ending):
    odd = (tmp_path / "in/a.png").rename(tmp_path / "in/caf\udce9.png")
    assert run("index", "in", "--output", f"faces.{ending}").exit_code == 0
    photos = FaceIndex.load(tmp_path / f"faces.{ending}").photos
    assert {Path(photo).resolve() for photo in photos} == {odd, tmp_path / "in/deep/b.png"}
    if ending == "parquet":
        table = pyarrow.parquet.read_table(tmp_path / "faces.parquet")
        assert set(table["photo"].to_pylist()) == {"in/caf\\xe9.png", "in/deep/b.png"}
        assert set(table["photo_uri"].to_pylist()) == {odd.as_uri(), (tmp_path / "in/deep/b.png").as_uri()}
    for source in (("in",), ("--index", f"faces.{ending}")):
        result = run("match", *source, "--text", TEXTS[0], "--top", 20, "--output", "found.json")
        assert result.exit_code == 0, result.output
        assert "caf\\xe9.png" in result.output
        faces = json.loads((tmp_path / "found.json").read_text())["faces_of_text"][0]["faces"]
        assert odd.as_uri() in {face["photo_uri"] for face in faces}
        assert all("\udce9" not in face["photo"] for face in faces)


@pytest.mark.parametrize("name", ["in/a.png", "notes.json", "list.json"])
def test_match_replaces_nothing_but_its_own_output(run, tmp_path, name):
    (tmp_path / "notes.json").write_text('{"mine": 1}')
    (tmp_path / "list.json").write_text("3")
    before = (tmp_path / name).read_bytes()
    result = run("match", "in", *TEXT_OPTIONS, "--output", name)
    assert result.exit_code == 2
    assert f"{name} exists" in said(result)
    assert (tmp_path / name).read_bytes() == before


@pytest.mark.parametrize("ending", [".safetensors", ".parquet"])
def test_index_replaces_nothing_but_an_index(run, tmp_path, ending):
    path = tmp_path / f"mine{ending}"
    path.write_bytes(b"mine")
    result = run("index", "in", "--output", path.name)
    assert result.exit_code == 2
    assert f"{path.name} exists" in said(result)
    assert path.read_bytes() == b"mine"
    assert run("index", "in", "--output", path.name, "--overwrite").exit_code == 0
    assert run("index", "in", "--output", path.name).exit_code == 0
    assert len(FaceIndex.load(path)) == 2 * MAX_FACES
