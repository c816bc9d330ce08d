"""`pipeline("face-analysis")` against the pipelines of its tasks, and their answers given back to them."""

import threading

import numpy as np
import pytest
import torch
from image_text_toys import make_clip, make_farl
from test_face_task_pipelines import FIVE_POINTS, assert_alike, assert_plain, without_place
from transformers import pipeline

from farl_hf.checkpoints import embedded_models
from farl_hf.errors import InvalidArgumentError, InvalidFaceInputError, NotACheckpointError, UnknownNameError
from farl_hf.retrieval import index_faces

TASKS = ("parsing", "landmarks", "attributes")


@pytest.fixture
def analyze(toy_checkpoints, planted_detector):
    def load(detector=planted_detector, **settings):
        tasks = [task.removeprefix("face-") for task in settings.get("tasks", TASKS)]
        models = {task: str(toy_checkpoints[f"face-{task}"]) for task in tasks}
        settings["models"] = models | settings.get("models", {})
        return pipeline(
            "face-analysis",
            model=str(toy_checkpoints["face-detection"]),
            device="cpu",
            detector=detector,
            **settings,
        )

    return load


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_a_face_has_what_each_pipeline_says_of_it(analyze, load_pipeline, planted_detector, photo_with, batch_size):
    photos = [photo_with(count, (90 + 10 * index, 80)) for index, count in enumerate([0, 2, 0, 3, 1])]
    expected = [[{}] * count for count in [0, 2, 0, 3, 1]]
    for task in TASKS:
        answers = load_pipeline(f"face-{task}", detector=planted_detector)(photos)
        pairs = zip(expected, answers, strict=True)
        expected = [[face | more for face, more in zip(*pair, strict=True)] for pair in pairs]
    found = analyze()(photos, batch_size=batch_size)
    assert_alike(found, expected)
    assert_plain(found)


def test_one_detection_and_full_batches(analyze, planted_detector, photo_with):
    run = analyze()
    seen = []
    for head in run.heads.values():
        head.model.register_forward_pre_hook(
            lambda module, args, kwargs: seen.append(len(kwargs["pixel_values"])), with_kwargs=True
        )
    run([photo_with(3), photo_with(0), photo_with(4)])  # eight chunks, one of them for the photo without a face
    assert seen == [7, 7, 7]
    assert len(planted_detector.calls) == 3


def test_the_model_is_the_detector(analyze, load_pipeline, photo_with, tmp_path):
    run = analyze(detector=None, tasks=[])
    found = load_pipeline("face-detection")(photo_with(1), threshold=0.1)
    assert len(found) > 0
    assert_alike(run(photo_with(1), threshold=0.1), found)
    run.save_pretrained(tmp_path)
    assert_alike(pipeline("face-detection", model=str(tmp_path), device="cpu")(photo_with(1), threshold=0.1), found)


def test_a_task_may_be_a_word(toy_checkpoints):
    models = {"landmarks": str(toy_checkpoints["face-landmarks"])}
    detector = str(toy_checkpoints["face-detection"])
    for word in ("landmarks", "face-landmarks"):
        run = pipeline("face-analysis", model=detector, tasks=word, models=models, device="cpu")
        assert list(run.heads) == ["landmarks"]


def test_tasks_are_chosen_and_photos_may_be_aligned_or_bad(analyze, photo_with):
    run = analyze(tasks=["face-landmarks"])
    good, bad = run([photo_with(1), "missing.png"], on_error="record")
    assert set(good[0]) == {"score", "box", "keypoints", "landmarks"}
    assert "missing.png" in bad["error"]
    assert run(photo_with(4), aligned=True)[0]["box"] == {"xmin": 0.0, "ymin": 0.0, "xmax": 120.0, "ymax": 100.0}


@pytest.mark.parametrize("make", [make_farl, make_clip])
def test_the_embedding_is_that_of_an_index(analyze, planted_detector, photo_with, tmp_path, make):
    model, processor = make()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    faces = analyze(tasks=[], models={"embedding": str(tmp_path)})(photo_with(3))
    index = index_faces(model, processor, [("photo", photo_with(3))], detector=planted_detector)
    assert_plain(faces)
    np.testing.assert_allclose([face["embedding"] for face in faces], index.embeddings, atol=1e-5)


def test_networks_that_run_side_by_side_say_the_same(analyze, photo_with):
    run, photos = analyze(), [photo_with(3), photo_with(2)]
    expected, num_threads, seen = run(photos), torch.get_num_threads(), set()
    for head in run.heads.values():
        head.model.register_forward_pre_hook(lambda *_: seen.add((threading.get_ident(), torch.get_num_threads())))
    torch.set_num_threads(3)
    try:
        assert_alike(run(photos), expected)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(num_threads)
    assert threading.get_ident() not in {thread for thread, _ in seen}
    assert {threads for _, threads in seen} == {1}


def test_bfloat16_holds_for_all_models(analyze, photo_with):
    run = analyze(dtype="bfloat16")
    assert {head.dtype for head in run.heads.values()} == {torch.bfloat16}
    assert len(run(photo_with(2))) == 2


def test_the_built_in_models_are_the_defaults(toy_checkpoints, planted_detector, photo_with, monkeypatch):
    monkeypatch.setattr(embedded_models, "_FOLDER", toy_checkpoints["face-parsing"].parent)
    run = pipeline("face-analysis", model=str(toy_checkpoints["face-detection"]), detector=planted_detector)
    assert {"segmentation", "landmarks", "attributes"} <= set(run(photo_with(1))[0])


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"tasks": ["gaze"]}, UnknownNameError, "landmarks"),
        ({"tasks": ["parsing"], "models": {"landmarks": "x"}}, InvalidArgumentError, "landmarks"),
        ({"models": {"detection": "x"}}, UnknownNameError, "detector"),
        ({"models": {"parsing": "no-such-model"}}, UnknownNameError, "no-such-model"),
        ({"tasks": 5}, InvalidArgumentError, "tasks=5"),
        ({"tasks": ["parsing", 5]}, InvalidArgumentError, "tasks="),
        ({"models": 5}, InvalidArgumentError, "models=5"),
        ({"batch_size": 0}, InvalidArgumentError, "batch_size=0"),
        ({"models": ["parsing"]}, InvalidArgumentError, "models="),
        ({"models": {"parsing": 5}}, InvalidArgumentError, "parsing is 5; expected the name or folder"),
        ({"detector": 5}, InvalidArgumentError, "detector=5"),
        ({"models": {"parsing": "of attributes"}}, NotACheckpointError, "FaRLForFaceParsing"),
    ],
)
def test_what_cannot_work_is_explained(toy_checkpoints, settings, error, said):
    if settings.get("models") == {"parsing": "of attributes"}:
        settings = {"models": {"parsing": str(toy_checkpoints["face-attributes"])}}
    with pytest.raises(error, match=said):
        pipeline("face-analysis", model=str(toy_checkpoints["face-detection"]), **settings)


# --- answers given back


@pytest.mark.parametrize("task", ["detection", *TASKS])
def test_answers_of_every_pipeline_can_be_given_back(load_pipeline, planted_detector, photo_with, task):
    settings = {} if task == "detection" else {"detector": planted_detector}
    photo = photo_with(3)
    answer = load_pipeline(f"face-{task}", **settings)(photo)[::-1]  # any order is kept
    for other in TASKS:
        run = load_pipeline(f"face-{other}", detector=lambda *_: pytest.fail("nothing is to be searched"))
        given = run({"image": photo, "faces": answer})
        for face, again in zip(answer, given, strict=True):
            assert {name: again[name] for name in ("score", "box", "keypoints")} == {
                name: face[name] for name in ("score", "box", "keypoints")
            }
        by_points = run({"image": photo, "keypoints": [face["keypoints"] for face in answer]})
        assert_alike([without_place(face) for face in by_points], [without_place(face) for face in given])
        assert_alike(run({"image": photo, "faces": answer[0]}), given[:1])
        one = run({"image": photo, "keypoints": answer[0]["keypoints"]})
        assert_alike(without_place(one[0]), without_place(given[0]))
        assert run({"image": photo, "faces": []}) == []


def test_faces_of_boxes_alone_and_single_boxes(load_pipeline, photo_with):
    run = load_pipeline("face-landmarks")
    photo = photo_with(2)
    boxed = run({"image": photo, "boxes": [20, 15, 70, 75]})
    assert len(boxed) == 1
    assert boxed[0]["keypoints"] is None
    assert_alike(run({"image": photo, "boxes": boxed[0]["box"]}), boxed)
    assert_alike(run({"image": photo, "faces": boxed}), boxed)


@pytest.mark.parametrize("faces", [{"error": "x"}, [{"score": 1.0}], "faces", 3, [FIVE_POINTS]])
def test_faces_that_are_no_answer_are_explained(load_pipeline, photo_with, faces):
    with pytest.raises(InvalidFaceInputError, match="a dict per face"):
        load_pipeline("face-landmarks")({"image": photo_with(1), "faces": faces})


@pytest.mark.parametrize("task", ["face-landmarks", "face-detection"])
def test_the_pipeline_of_a_task_is_of_that_task(toy_checkpoints, load_pipeline, task):
    detector = str(toy_checkpoints["face-detection"])
    with pytest.raises(InvalidArgumentError, match="The pipeline for parsing"):
        pipeline("face-analysis", model=detector, tasks=["parsing"], models={"parsing": load_pipeline(task)})


def test_the_pipeline_of_a_task_is_on_the_device_of_the_analysis(toy_checkpoints, load_pipeline):
    parse = load_pipeline("face-parsing")
    parse.model.to("meta")
    with pytest.raises(InvalidArgumentError, match="on meta, the analysis on cpu"):
        pipeline(
            "face-analysis", model=str(toy_checkpoints["face-detection"]), device="cpu", models={"parsing": parse}
        )
