import numpy as np
import pytest
import torch
from PIL import Image
from toy_checkpoints import MAX_FACES
from transformers import pipeline

from farl_hf.errors import UnreadablePhotoError


@pytest.fixture
def detect(load_pipeline):
    return load_pipeline("face-detection")


def scene(seed, size_wh):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (size_wh[1], size_wh[0], 3), dtype=np.uint8))


def test_faces_are_plain_and_best_first(detect):
    faces = detect(scene(0, (120, 90)))
    assert 0 < len(faces) <= MAX_FACES
    assert [set(face) for face in faces] == [{"score", "box", "keypoints"}] * len(faces)
    assert set(faces[0]["box"]) == {"xmin", "ymin", "xmax", "ymax"}
    assert np.shape(faces[0]["keypoints"]) == (5, 2)
    assert all(type(value) is float for face in faces for value in (face["score"], *face["box"].values()))
    assert [face["score"] for face in faces] == sorted((face["score"] for face in faces), reverse=True)


@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_answers_do_not_depend_on_the_batch(detect, batch_size):
    photos = [scene(seed, size) for seed, size in enumerate([(120, 90), (64, 200), (120, 90), (33, 40), (64, 200)])]
    alone = [detect(photo) for photo in photos]
    together = detect(photos, batch_size=batch_size)
    for one, same in zip(alone, together, strict=True):
        assert [face["score"] for face in one] == pytest.approx([face["score"] for face in same], abs=1e-4)
        for face, again in zip(one, same, strict=True):
            assert list(face["box"].values()) == pytest.approx(list(again["box"].values()), abs=1e-2)


def test_photos_of_one_size_share_a_forward_pass(detect):
    seen = []
    hook = detect.model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(len(kwargs["pixel_values"])), with_kwargs=True
    )
    detect([scene(0, (64, 64)), scene(1, (128, 64)), scene(2, (64, 64))], batch_size=3)
    hook.remove()
    assert sorted(seen) == [1, 2]


def test_threshold_one_finds_nothing(detect):
    assert detect(scene(0, (64, 64)), threshold=1.0) == []
    assert detect([scene(0, (64, 64)), scene(1, (64, 64))], threshold=1.0, batch_size=2) == [[], []]


def test_streams_and_dicts(detect):
    photos = [scene(0, (64, 64)), {"image": scene(1, (64, 96))}]
    assert [len(faces) for faces in detect(photo for photo in photos)] == [len(detect(photo)) for photo in photos]


def test_unreadable_photos_are_named(detect, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(UnreadablePhotoError, match=r"broken\.jpg"):
        detect(tmp_path / "broken.jpg")


def test_save_and_load(detect, tmp_path):
    detect.save_pretrained(tmp_path)
    again = pipeline("face-detection", model=str(tmp_path), device="cpu")
    with torch.inference_mode():
        assert again(scene(0, (64, 64))) == detect(scene(0, (64, 64)))


def test_two_views_give_the_same_answers_in_every_batch(detect):
    detect.image_processor.coarse_long_side, detect.image_processor.pad_size_divisor = 64, 1
    photos = [scene(seed, size) for seed, size in enumerate([(120, 90), (64, 48), (90, 121), (120, 90)])]
    alone = [detect(photo) for photo in photos]
    together = detect(photos, batch_size=4)
    assert [len(faces) for faces in alone] == [len(faces) for faces in together]
    for one, same in zip(alone, together, strict=True):
        for face, again in zip(one, same, strict=True):
            assert list(face["box"].values()) == pytest.approx(list(again["box"].values()), abs=1e-2)


def test_the_coarse_view_of_an_enlarged_photo_is_coarse(detect):
    processor = detect.image_processor
    processor.min_long_side, processor.coarse_long_side, processor.pad_size_divisor = 128, 64, 1
    usual, coarse = detect.preprocess(scene(0, (40, 32)))["inputs"]
    assert sorted(usual["pixel_values"].shape[-2:]) == [102, 128]
    assert sorted(coarse["pixel_values"].shape[-2:]) == [51, 64]


def test_faces_beyond_the_edge_are_no_faces_of_the_photo(detect, monkeypatch):
    """Every pipeline takes what the detector answers."""
    points = torch.tensor([[30.0, 30], [60, 30], [45, 45], [35, 60], [55, 60]])
    box = torch.tensor([20.0, 15, 70, 75])
    shifts_xy = torch.tensor([[0.0, 0], [-61, 0], [-71, 0], [0, 200], [95, 0]])
    planted = {
        "scores": torch.linspace(0.9, 0.5, 5),
        "boxes_xyxy": box + shifts_xy.repeat(1, 2),
        "keypoints_xy": points + shifts_xy[:, None],
    }
    monkeypatch.setattr(detect.image_processor, "post_process_face_detection", lambda *_, **__: [planted])
    found = detect(scene(0, (120, 100)))
    assert [face["score"] for face in found] == pytest.approx([0.9, 0.8, 0.5])
    assert found[1]["keypoints"][1] == [-1, 30]
