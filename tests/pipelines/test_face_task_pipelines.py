import json

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import pipeline

from farl_hf.errors import InvalidArgumentError, InvalidFaceInputError, UnknownNameError, UnreadablePhotoError
from farl_hf.labels import CELEBA_ATTRIBUTES, LAPA_LABELS, LAPA_PALETTE
from farl_hf.pipelines import face_tasks

FACE_TASKS = ("face-parsing", "face-landmarks", "face-attributes")
FIVE_POINTS = [[30, 30], [60, 30], [45, 45], [35, 60], [55, 60]]


def assert_alike(first, second):
    """Equal, but for the last digits, which batched arithmetic may change."""
    assert type(first) is type(second)
    if isinstance(first, Image.Image):
        assert (np.asarray(first) != np.asarray(second)).mean() < 1e-3
    elif isinstance(first, dict):
        assert list(first) == list(second)
        assert_alike(list(first.values()), list(second.values()))
    elif isinstance(first, list):
        assert len(first) == len(second)
        for one, other in zip(first, second, strict=True):
            assert_alike(one, other)
    else:
        assert first == (pytest.approx(second, abs=5e-3) if isinstance(first, float) else second)


def without_place(face):
    return {key: value for key, value in face.items() if key not in ("score", "box", "keypoints")}


def assert_plain(value):
    """Only what JSON knows, and pictures."""
    if isinstance(value, dict):
        for key, entry in value.items():
            assert type(key) in (str, int)
            assert_plain(entry)
    elif isinstance(value, list):
        for entry in value:
            assert_plain(entry)
    else:
        assert type(value) in (str, int, float, bool, type(None)) or isinstance(value, Image.Image)


@pytest.fixture(params=FACE_TASKS)
def run(request, load_pipeline, planted_detector):
    return load_pipeline(request.param, detector=planted_detector)


def test_faces_come_best_first_and_plain(run, photo_with):
    faces = run(photo_with(3))
    assert [round(face["score"], 3) for face in faces] == [0.7, 0.6, 0.5]
    assert faces[0]["box"] == {"xmin": 32.0, "ymin": 15.0, "xmax": 82.0, "ymax": 75.0}
    assert faces[2]["keypoints"] == FIVE_POINTS
    assert_plain(faces)


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_answers_do_not_depend_on_batch_or_neighbours(run, photo_with, batch_size):
    counts = [0, 2, 0, 0, 3, 1, 0]
    photos = [photo_with(count, (90 + 10 * index, 80)) for index, count in enumerate(counts)]
    alone = [run(photo) for photo in photos]
    together = run(photos, batch_size=batch_size)
    assert [len(faces) for faces in together] == counts
    assert_alike(together, alone)


def test_faces_of_different_photos_share_a_batch(run, photo_with):
    seen = []
    hook = run.model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(len(kwargs["pixel_values"])), with_kwargs=True
    )
    run([photo_with(2), photo_with(0), photo_with(3)], batch_size=6)
    hook.remove()
    assert seen == [5]  # the photo without a face takes a place, but is not run


def test_every_form_of_input_answers_alike(run, photo_with, tmp_path):
    photo = photo_with(2)
    photo.save(tmp_path / "photo.png")
    expected = run(photo)
    pixels = np.asarray(photo)
    one_photo = [
        tmp_path / "photo.png",
        str(tmp_path / "photo.png"),
        pixels,
        torch.from_numpy(pixels.copy()).permute(2, 0, 1),
        {"image": photo},
    ]
    for form in one_photo:
        assert_alike(run(form), expected)
    for many in ([photo, photo], (photo, photo), (form for form in (photo, pixels))):
        assert_alike(list(run(many, batch_size=3)), [expected, expected])
    assert run([]) == []


def test_generators_stream(run, photo_with):
    taken = []

    def photos():
        for index in range(50):
            taken.append(index)
            yield photo_with(1)

    answers = iter(run(photos()))
    assert len(next(answers)) == 1
    assert len(taken) < 10


def test_datasets_of_rows_stream(run, photo_with):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "index": datasets.Value("int32")})
    images = [photo_with(count) for count in (1, 0, 2)]
    rows = datasets.Dataset.from_dict({"image": images, "index": [0, 1, 2]}, features=features)
    for dataset in (rows, rows.to_iterable_dataset()):
        assert [len(faces) for faces in run(dataset, batch_size=2)] == [1, 0, 2]


def test_given_keypoints_replace_the_detector(run, photo_with, planted_detector):
    found = run(photo_with(1))
    given = run({"image": photo_with(1), "keypoints": [FIVE_POINTS]})
    assert len(planted_detector.calls) == 1
    assert_alike([without_place(face) for face in given], [without_place(face) for face in found])
    assert given[0]["score"] == 1.0
    box = given[0]["box"]
    assert box["xmin"] < 30 < 60 < box["xmax"]
    assert box["ymin"] < 30 < 60 < box["ymax"]


def test_given_boxes_and_aligned_photos(run, photo_with, planted_detector):
    photo = photo_with(4)
    boxed = run({"image": photo, "boxes": [[20, 15, 70, 75], [0, 0, 30, 30]]})
    assert [face["box"]["xmax"] for face in boxed] == [70.0, 30.0]
    assert [face["keypoints"] for face in boxed] == [None, None]
    whole = run(photo, aligned=True)
    assert [face["box"] for face in whole] == [{"xmin": 0.0, "ymin": 0.0, "xmax": 120.0, "ymax": 100.0}]
    assert run({"image": photo, "boxes": []}) == []
    assert planted_detector.calls == []


def test_detection_settings_reach_the_detector(run, photo_with, planted_detector):
    run(photo_with(1), threshold=0.25, nms_threshold=0.5)
    assert planted_detector.calls == [{"threshold": 0.25, "nms_threshold": 0.5}]
    with pytest.raises(TypeError, match="treshold"):
        run(photo_with(1), treshold=0.3)


@pytest.mark.parametrize(
    "faces",
    [
        {"keypoints": [[[1, 2], [3, 4]]]},
        {"keypoints": FIVE_POINTS[:4]},
        {"keypoints": [[[float("nan"), 2], *FIVE_POINTS[1:]]]},
        {"keypoints": [[[40, 40]] * 5]},
        {"keypoints": [[[x + 500, y] for x, y in FIVE_POINTS]]},
        {"keypoints": [[[x - 79, y] for x, y in FIVE_POINTS]]},  # 0.6 of their extent of 30 px is 18 px
        {"keypoints": [["a", "b"]]},
        {"boxes": [[10, 10, 10, 40]]},
        {"boxes": [[40, 10, 10, 40]]},
        {"boxes": [[10, 10, float("inf"), 40]]},
        {"boxes": [[130, 10, 150, 40]]},
        {"boxes": [10, 10, 50]},
        {"boxes": [[10, 10, 50, 40]], "keypoints": [FIVE_POINTS, FIVE_POINTS]},
    ],
)
def test_faces_that_cannot_be_used_are_refused(load_pipeline, planted_detector, photo_with, faces):
    run = load_pipeline("face-landmarks", detector=planted_detector)
    with pytest.raises(InvalidFaceInputError):
        run({"image": photo_with(0), **faces})


@pytest.mark.parametrize("shift_xy", [(-61, 0), (0, -61), (91, 0), (0, 71)])
def test_a_face_that_the_edge_cuts_may_have_all_points_outside(run, photo_with, shift_xy):
    """Its outline reaches into the photo of 120 x 100 pixels."""
    points = (np.array(FIVE_POINTS) + shift_xy).tolist()
    (face,) = run({"image": photo_with(0), "keypoints": [points]})
    assert face["keypoints"] == points
    (again,) = run({"image": photo_with(0), "faces": [face]})
    assert again["box"] == face["box"]


def test_a_missing_photo_is_named(run, tmp_path):
    with pytest.raises(UnreadablePhotoError, match=r"nowhere\.jpg"):
        run(str(tmp_path / "nowhere.jpg"))
    with pytest.raises(InvalidFaceInputError, match="'image'"):
        run({"photo": "a.jpg"})


def test_one_pixel_photos_pass(run, photo_with):
    assert run(Image.new("RGB", (1, 1))) == []
    assert len(run(Image.new("RGB", (1, 1)), aligned=True)) == 1


def test_segmentation_is_a_palette_picture_of_the_photo(load_pipeline, planted_detector, photo_with):
    parse = load_pipeline("face-parsing", detector=planted_detector)
    face = parse(photo_with(1, (130, 90)))[0]
    picture = face["segmentation"]
    assert (picture.mode, picture.size) == ("P", (130, 90))
    assert face["labels"] == dict(enumerate(LAPA_LABELS))
    assert np.asarray(picture).max() < 11
    assert tuple(picture.getpalette()[30:33]) == LAPA_PALETTE[10]


def test_landmarks_move_with_the_photo(load_pipeline, photo_with):
    """Shifting photo and keypoints by whole pixels shifts the landmarks by as much."""
    find = load_pipeline("face-landmarks")
    pixels = np.asarray(photo_with(0, (200, 200)))
    black = np.zeros((300, 300, 3), np.uint8)
    black[70:270, 40:240] = pixels
    points = np.array(FIVE_POINTS) + 60
    here = find({"image": pixels, "keypoints": [points]})[0]["landmarks"]
    there = find({"image": black, "keypoints": [points + np.array([40, 70])]})[0]["landmarks"]
    assert len(here) == 68
    assert np.array(there) - np.array(here) == pytest.approx(np.tile([40.0, 70.0], (68, 1)), abs=0.05)


def test_attributes_are_sorted_and_complete(load_pipeline, planted_detector, photo_with):
    describe = load_pipeline("face-attributes", detector=planted_detector)
    attributes = describe(photo_with(1))[0]["attributes"]
    assert {attribute["label"] for attribute in attributes} == set(CELEBA_ATTRIBUTES)
    scores = [attribute["score"] for attribute in attributes]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)


def test_an_attribute_is_present_above_its_own_threshold(load_pipeline, planted_detector, photo_with):
    describe = load_pipeline("face-attributes", detector=planted_detector)
    entries = describe(photo_with(1))[0]["attributes"]
    assert [entry["present"] for entry in entries] == [entry["score"] > 0.5 for entry in entries]
    score = {entry["label"]: entry["score"] for entry in entries}
    describe.model.config.attribute_thresholds = {
        "smiling": score["smiling"] + 1e-4,
        "young": score["young"] - 1e-4,
    }
    present = {entry["label"]: entry["present"] for entry in describe(photo_with(1))[0]["attributes"]}
    assert (present["smiling"], present["young"]) == (False, True)
    assert all(present[name] == (score[name] > 0.5) for name in score if name not in ("smiling", "young"))
    describe.model.config.attribute_thresholds = {"smiling": None}  # as if it were not listed
    assert describe(photo_with(1))[0]["attributes"] == entries
    for wrong in ({"smiling": "high"}, {"smiling": 2}, {"smiling": 0}, 0.5):
        describe.model.config.attribute_thresholds = wrong
        with pytest.raises(InvalidArgumentError, match="attribute_thresholds"):
            describe(photo_with(1))


def test_thresholds_of_renamed_labels_are_not_used_and_named(load_pipeline, planted_detector, photo_with, caplog):
    describe = load_pipeline("face-attributes", detector=planted_detector)
    describe.model.config.attribute_thresholds = {"smiling": 0.001}
    describe.model.config.id2label = {index: f"new {name}" for index, name in describe.model.config.id2label.items()}
    with caplog.at_level("WARNING"):
        entries = describe(photo_with(1))[0]["attributes"]
    assert [entry["present"] for entry in entries] == [entry["score"] > 0.5 for entry in entries]
    assert "attribute_thresholds of 'smiling' are not used" in caplog.text


def test_detector_by_name_is_loaded_once_and_only_when_needed(load_pipeline, toy_checkpoints, photo_with, monkeypatch):
    loaded = []
    real = face_tasks.load_detector
    monkeypatch.setattr(face_tasks, "load_detector", lambda *args: loaded.append(args) or real(*args))
    run = load_pipeline("face-landmarks", detector=str(toy_checkpoints["face-detection"]))
    run(photo_with(1), aligned=True)
    assert loaded == []
    assert len(run([photo_with(1), photo_with(2)])) == 2
    assert len(loaded) == 1
    for name in ("no-such-detector", ""):
        with pytest.raises(UnknownNameError, match="retinaface-tiny"):
            load_pipeline("face-landmarks", detector=name)(photo_with(1))


def test_saved_pipelines_load_again_and_tell_nothing_of_this_machine(run, photo_with, planted_detector, tmp_path):
    run.save_pretrained(tmp_path / "saved")
    again = pipeline(run.task, model=str(tmp_path / "saved"), device="cpu", detector=planted_detector)
    photo = photo_with(2)
    assert_alike(again(photo), run(photo))
    config = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert "custom_pipelines" not in config
    assert not list((tmp_path / "saved").glob("*.py"))


def test_the_photo_is_not_copied_per_face(load_pipeline):
    run = load_pipeline("face-landmarks")
    points = np.array(FIVE_POINTS)
    photo = np.zeros((400, 600, 3), np.uint8)
    chunks = list(run.preprocess({"image": photo, "keypoints": [points + row for row in range(40)]}))
    assert len(chunks) == 40
    assert [chunk["is_last"] for chunk in chunks] == [False] * 39 + [True]
    largest = max(value.numel() for chunk in chunks for value in chunk.values() if isinstance(value, torch.Tensor))
    assert largest < photo.size / 10


def test_half_precision_models_run(toy_checkpoints, planted_detector, photo_with):
    run = pipeline(
        "face-landmarks",
        model=str(toy_checkpoints["face-landmarks"]),
        dtype="bfloat16",
        device="cpu",
        detector=planted_detector,
    )
    assert len(run([photo_with(2), photo_with(0)], batch_size=2)[0][0]["landmarks"]) == 68


@pytest.mark.parametrize("batch_size", [1, 2, 3, 8])
@pytest.mark.parametrize("form", [list, iter])
def test_a_bad_photo_is_recorded_at_its_place(run, photo_with, tmp_path, batch_size, form):
    (tmp_path / "broken.jpg").write_bytes(b"broken")
    bad = [str(tmp_path / "broken.jpg"), {"image": photo_with(1), "boxes": [[9, 9, 1, 1]]}, str(tmp_path / "none.jpg")]
    good = [photo_with(2), photo_with(0), photo_with(3), photo_with(1)]
    photos = [bad[0], good[0], good[1], bad[1], good[2], good[3], bad[2]]
    inputs = photos if form is list else (photo for photo in photos)
    answers = list(run(inputs, batch_size=batch_size, on_error="record"))
    assert len(answers) == len(photos)
    for place in (0, 3, 6):
        assert set(answers[place]) == {"error"}
        assert_plain(answers[place])
    assert "broken.jpg" in answers[0]["error"]
    assert "none.jpg" in answers[6]["error"]
    assert_alike([answers[place] for place in (1, 2, 4, 5)], run(good))
    assert set(run(bad[0], on_error="record")) == {"error"}


def test_a_photo_that_fails_after_some_faces_is_recorded_whole(run, photo_with, monkeypatch):
    real = type(run.image_processor).__call__
    calls = []

    def fail_at_the_second_call(self, *arguments, **settings):
        calls.append(1)
        if len(calls) == 2:
            raise ValueError("the second warp fails")
        return real(self, *arguments, **settings)

    monkeypatch.setattr(type(run.image_processor), "__call__", fail_at_the_second_call)
    monkeypatch.setattr("farl_hf.pipelines.face_tasks._FACES_PER_WARP", 2)
    answers = run([photo_with(3), photo_with(2)], on_error="record", batch_size=2)
    assert answers[0] == {"error": "the second warp fails"}
    assert len(answers[1]) == 2


def test_what_is_wrong_with_the_detector_is_raised(load_pipeline, photo_with):
    run = load_pipeline("face-landmarks", detector="no-such-detector")
    with pytest.raises(UnknownNameError):
        run(photo_with(1), on_error="record")


def test_bad_photos_are_raised_unless_asked_otherwise(run, tmp_path):
    with pytest.raises(UnreadablePhotoError):
        run([str(tmp_path / "none.jpg")])
    with pytest.raises(InvalidArgumentError, match="record"):
        run([str(tmp_path / "none.jpg")], on_error="ignore")


@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_the_detector_records_bad_photos_too(load_pipeline, photo_with, tmp_path, batch_size):
    find_faces = load_pipeline("face-detection")
    good = [photo_with(1), photo_with(2, (64, 80))]
    answers = list(
        find_faces((photo for photo in [good[0], "none.jpg", good[1], 5]), batch_size=batch_size, on_error="record")
    )
    assert [isinstance(answer, dict) for answer in answers] == [False, True, False, True]
    assert [answers[0], answers[2]] == find_faces(good)


def test_top_k_leaves_the_likeliest_attributes(load_pipeline, planted_detector, photo_with):
    run = load_pipeline("face-attributes", detector=planted_detector)
    whole, few = run(photo_with(2)), run([photo_with(2), photo_with(0)], top_k=3)
    assert_alike(few, [[face | {"attributes": face["attributes"][:3]} for face in whole], []])
    assert "error" in run("missing.png", top_k=3, on_error="record")
    for top_k in (0, 2.5, True, "3"):
        with pytest.raises(InvalidArgumentError, match="top_k"):
            run(photo_with(1), top_k=top_k)


@pytest.mark.parametrize("batch_size", [0, -1, 10**12, "8", 1.5])
def test_sizes_of_batches_that_cannot_be(run, photo_with, batch_size):
    for photos in (photo_with(1), [photo_with(1)], iter([photo_with(1)])):
        with pytest.raises(InvalidArgumentError, match="batch_size"):
            list(run(photos, batch_size=batch_size))


@pytest.mark.parametrize("num_workers", ["1", -1, 1.5, 10**9])
def test_numbers_of_workers_that_cannot_be(run, photo_with, num_workers):
    with pytest.raises(InvalidArgumentError, match="num_workers"):
        list(run([photo_with(1)], num_workers=num_workers))


@pytest.mark.parametrize(
    ("named", "meant"),
    [
        ({"box": [20, 15, 70, 75]}, "boxes"),
        ({"bbox": [20, 15, 70, 75]}, "boxes"),
        ({"Boxes": [20, 15, 70, 75], "keypoints": None}, "boxes"),
        ({"keypoint": FIVE_POINTS}, "keypoints"),
        ({"boxes": [20, 15, 70, 75], "keypoint": FIVE_POINTS}, "keypoints"),
        ({"face": {"box": [20, 15, 70, 75]}}, "faces"),
        ({"faces": [{"bbox": [20, 15, 70, 75]}]}, "box"),
        ({"faces": [{"box": [20, 15, 70, 75], "key_points": FIVE_POINTS}]}, "keypoints"),
    ],
)
def test_a_misspelt_key_is_named_with_the_right_one(run, photo_with, planted_detector, named, meant):
    with pytest.raises(InvalidFaceInputError, match=rf"^[^\n]{{10,80}}; use '{meant}'\.$"):
        run({"image": photo_with(1)} | named)
    assert planted_detector.calls == []


def test_other_columns_of_a_row_do_not_matter(run, photo_with):
    photo = photo_with(2)
    columns = {"image_id": 3, "race": "x", "face_id": 4, "keypoints_xy": [], "boxes_xyxy": [], "label": 1, 5: 6}
    assert_alike(run({"image": photo} | columns), run(photo))


def test_a_face_of_an_answer_lies_beside_its_photo(run, photo_with, planted_detector):
    photo = photo_with(1)
    face = run(photo)[0]
    assert_alike([without_place(face)], [without_place(one) for one in run({"image": photo} | face)])
    assert len(planted_detector.calls) == 1


@pytest.mark.parametrize("face", [{"score": "high"}, {"score": [1, 2]}, {"keypoints": []}, {"score": None}])
def test_faces_of_odd_values_are_explained(run, photo_with, face):
    with pytest.raises(InvalidFaceInputError, match=next(iter(face))):
        run({"image": photo_with(1), "faces": [{"box": [20, 15, 70, 75]} | face]})


@pytest.mark.parametrize("detector", [5, 0.5, ["retinaface-tiny"], {}])
def test_what_is_no_detector_is_refused(load_pipeline, run, photo_with, detector):
    expected = r"detector=.*expected a face-detection pipeline"
    with pytest.raises(InvalidArgumentError, match=expected):
        load_pipeline("face-landmarks", detector=detector)
    with pytest.raises(InvalidArgumentError, match=expected):
        run(photo_with(1), detector=detector)


@pytest.mark.parametrize("answer", [None, 5, "face", [None], [5], {"box": 1}])
def test_a_detector_that_answers_something_else_is_explained(load_pipeline, photo_with, answer):
    run = load_pipeline("face-landmarks", detector=lambda photo: answer)
    with pytest.raises(InvalidFaceInputError, match=r"^[^\n]{10,200}$"):
        run(photo_with(1))


@pytest.mark.parametrize("name", ["threshold", "nms_threshold"])
@pytest.mark.parametrize("value", [-1, 1.5, "0.5", True, float("nan")])
def test_thresholds_are_checked_before_any_photo(run, photo_with, planted_detector, name, value):
    with pytest.raises(InvalidArgumentError, match=name):
        run([photo_with(1)], on_error="record", **{name: value})
    assert planted_detector.calls == []


def test_faces_with_and_without_points_are_asked_about_apart(load_pipeline, planted_detector, photo_with):
    run = load_pipeline("face-landmarks", detector=planted_detector)
    photo = photo_with(2)
    faces = run(photo)
    faces[1]["keypoints"] = None
    with pytest.raises(InvalidFaceInputError, match="Some of the faces have keypoints"):
        run({"image": photo, "faces": faces})
    with pytest.raises(InvalidFaceInputError, match="Some of the faces have keypoints"):
        run(photo, detector=lambda *_, **__: faces)


def test_a_whole_photo_and_given_faces_are_one_too_many(run, photo_with):
    with pytest.raises(InvalidFaceInputError, match="aligned=True"):
        run({"image": photo_with(1), "boxes": [[20, 15, 70, 75]]}, aligned=True)


@pytest.mark.parametrize("aligned", ["no", 1, [True]])
def test_aligned_is_true_or_false(run, photo_with, aligned):
    with pytest.raises(InvalidArgumentError, match="aligned="):
        run(photo_with(1), aligned=aligned)


def test_a_truth_value_is_no_batch_size(run, photo_with):
    with pytest.raises(InvalidArgumentError, match="batch_size=True"):
        run([photo_with(1)], batch_size=True)
