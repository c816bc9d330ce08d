"""The augmentation of the detector: places stay on the face, draws are reproducible, small faces go."""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from farl_hf.data.samples.detection_samples import (
    WIDE_CROP_SCALES,
    FaceDetectionSamples,
    PhotoFaces,
    collate_face_detection_samples,
    crop_to_square,
    distort_colors,
    mirror,
    random_square,
)
from farl_hf.errors import InvalidDatasetError, InvalidFaceInputError
from farl_hf.processing.image_processing_retinaface import RetinaFaceImageProcessor

# Image-left eye, image-right eye, nose, image-left and image-right corner of the mouth, as parts of the box.
PLACES = np.array([[0.3, 0.35], [0.7, 0.35], [0.5, 0.55], [0.35, 0.75], [0.65, 0.75]], dtype=np.float32)
COLORS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255)]


def marked_photo(boxes, size_hw=(120, 160)):
    """A grey photo whose five points are squares of five colours, so that a crop can be checked by looking."""
    boxes = np.asarray(boxes, dtype=np.float32).reshape(-1, 4)
    points = boxes[:, None, :2] + PLACES * (boxes[:, None, 2:] - boxes[:, None, :2])
    image = np.full((*size_hw, 3), 100, np.uint8)
    for face in points:
        for (x, y), color in zip(face.astype(int), COLORS, strict=True):
            image[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3] = color
    return PhotoFaces(image, boxes, points.astype(np.float32))


def row_of(faces):
    return {
        "image": Image.fromarray(faces.image_rgb),
        "boxes_xyxy": faces.boxes_xyxy,
        "points5_xy": faces.keypoints_xy,
    }


def colour_at(image, point_xy):
    x, y = (int(value) for value in point_xy)
    return image[min(y, image.shape[0] - 1), min(x, image.shape[1] - 1)].astype(int)


def assert_points_on_their_colours(faces):
    assert len(faces.keypoints_xy)
    for face in faces.keypoints_xy:
        for point, color in zip(face, COLORS, strict=True):
            assert np.abs(colour_at(faces.image_rgb, point) - color).max() < 60


@pytest.mark.parametrize("square", [(20, 10, 120, 110), (-40, -30, 140, 150), (0, 0, 160, 160)])
def test_crops_keep_points_on_the_picture(square):
    faces = crop_to_square(marked_photo([[40, 30, 100, 100]]), square, 200, (0, 0, 0))
    assert faces.image_rgb.shape == (200, 200, 3)
    assert_points_on_their_colours(faces)
    scale = 200 / (square[2] - square[0])
    expected = (np.array([40, 30, 100, 100]) - np.tile(square[:2], 2)) * scale
    np.testing.assert_allclose(faces.boxes_xyxy[0], expected, rtol=1e-5)


def test_beyond_the_photo_lies_the_fill_colour():
    faces = crop_to_square(marked_photo([[40, 30, 100, 100]]), (-50, -50, 200, 200), 250, (1, 2, 3))
    assert (faces.image_rgb[:45] == (1, 2, 3)).all()
    assert (faces.image_rgb[:, 215:] == (1, 2, 3)).all()


def test_faces_with_their_centre_outside_go_and_cut_faces_are_limited():
    photo = marked_photo([[10, 10, 50, 50], [40, 10, 110, 80], [130, 80, 150, 100]])
    faces = crop_to_square(photo, (31, 0, 91, 60), 60, (0, 0, 0))
    np.testing.assert_allclose(faces.boxes_xyxy, [[9, 10, 60, 60]])
    assert faces.keypoints_xy.max() <= 60


def test_small_faces_go():
    photo = marked_photo([[10, 10, 50, 50], [60, 60, 70, 90]])
    assert len(crop_to_square(photo, (0, 0, 160, 160), 80, (0, 0, 0), min_face_px=5).boxes_xyxy) == 2
    assert len(crop_to_square(photo, (0, 0, 160, 160), 80, (0, 0, 0), min_face_px=5.1).boxes_xyxy) == 1


def test_a_mirror_exchanges_left_and_right_points():
    faces = crop_to_square(marked_photo([[40, 30, 100, 100]]), (0, 0, 160, 160), 160, (0, 0, 0))
    mirrored = mirror(faces)
    np.testing.assert_allclose(mirrored.boxes_xyxy, [[60, 30, 120, 100]])
    left_eye, right_eye, _, left_mouth, right_mouth = mirrored.keypoints_xy[0]
    assert left_eye[0] < right_eye[0]
    assert left_mouth[0] < right_mouth[0]
    # the image-left eye is now the one that was painted as image-right eye
    assert np.abs(colour_at(mirrored.image_rgb, left_eye) - COLORS[1]).max() < 60
    twice = mirror(mirrored)
    np.testing.assert_allclose(twice.keypoints_xy, faces.keypoints_xy, atol=1e-4)
    assert np.array_equal(twice.image_rgb, faces.image_rgb)


def test_random_squares_hold_a_whole_face():
    boxes = np.array([[40, 30, 60, 50], [100, 70, 130, 110]], dtype=np.float32)
    rng = np.random.default_rng(0)
    sides = set()
    for _ in range(200):
        x0, y0, x1, y1 = random_square((120, 160), boxes, WIDE_CROP_SCALES, 0.0, rng)
        assert x1 - x0 == y1 - y0
        held = (boxes[:, 0] >= x0) & (boxes[:, 1] >= y0) & (boxes[:, 2] <= x1) & (boxes[:, 3] <= y1)
        assert held.any()
        sides.add(x1 - x0)
    assert sides == {36, 54, 72, 96, 120, 180, 264}


@pytest.mark.parametrize("boxes", [[], [[0, 0, 160, 120]]])
def test_without_a_face_that_fits_the_whole_photo_is_taken(boxes):
    boxes = np.asarray(boxes, dtype=np.float32).reshape(-1, 4)
    assert random_square((120, 160), boxes, (0.3, 1.0), 0.0, np.random.default_rng(0)) == (0, 0, 160, 160)


def test_colours_change_within_the_stated_ranges():
    image = np.random.default_rng(0).integers(60, 120, (16, 16, 3), dtype=np.uint8)
    before, means = image.copy(), []
    for seed in range(60):
        means.append(distort_colors(image, np.random.default_rng(seed)).mean())
    assert np.array_equal(image, before)
    assert min(means) < 75 < 105 < max(means)
    assert max(means) < 1.5 * (90 + 32) + 20


def test_hue_turns_by_the_table(monkeypatch):
    class Draws:
        """Only the hue is drawn: +9 half degrees."""

        def __init__(self):
            self.coins = iter([0.9, 0.9, 0.9, 0.1, 0.9])

        def random(self):
            return next(self.coins)

        def integers(self, *args, **kwargs):
            return 9

    image = np.full((2, 2, 3), (200, 40, 40), np.uint8)
    hue = cv2.cvtColor(distort_colors(image, Draws()), cv2.COLOR_RGB2HSV)[0, 0, 0]
    assert hue == 9


@pytest.fixture
def rows():
    return [row_of(marked_photo([[40, 30, 100, 100], [110, 20, 140, 60]])), row_of(marked_photo([[20, 20, 60, 60]]))]


def test_samples_depend_on_seed_epoch_and_item_alone(rows):
    def sample(seed=0, epoch=0, item=0):
        samples = FaceDetectionSamples(rows, RetinaFaceImageProcessor(), 96, seed=seed)
        samples.set_epoch(epoch)
        samples[1 - item]  # reading another item first must not matter
        return samples[item]["pixel_values"]

    assert torch.equal(sample(), sample())
    assert not torch.equal(sample(), sample(seed=1))
    assert not torch.equal(sample(), sample(epoch=1))


def test_samples_are_what_the_model_takes(rows):
    samples = FaceDetectionSamples(rows, RetinaFaceImageProcessor(), 96, crop_scales=WIDE_CROP_SCALES)
    for epoch in range(30):
        samples.set_epoch(epoch)
        sample = samples[epoch % 2]
        assert sample["pixel_values"].shape == (3, 96, 96)
        assert sample["pixel_values"].dtype == torch.float32
        boxes, points = sample["labels"]["boxes_xyxy"], sample["labels"]["keypoints_xy"]
        assert 1 <= len(boxes) == len(points)
        assert ((boxes >= 0) & (boxes <= 1)).all()
        assert ((points >= 0) & (points <= 1)).all()
        assert (points[:, 0, 0] <= points[:, 1, 0]).all()


def test_the_whole_photo_equals_what_the_processor_gives(rows):
    photo = marked_photo([[10, 10, 50, 50]], size_hw=(64, 64))
    processor = RetinaFaceImageProcessor()
    sample = FaceDetectionSamples([row_of(photo)], processor, 64, augment=False)[0]
    expected = processor(photo.image_rgb, return_tensors="pt")["pixel_values"][0]
    torch.testing.assert_close(sample["pixel_values"], expected)
    torch.testing.assert_close(sample["labels"]["boxes_xyxy"], torch.tensor([[10, 10, 50, 50]]) / 64.0)


def test_faces_without_points_have_nan(rows):
    row = {**rows[0]}
    del row["points5_xy"]
    sample = FaceDetectionSamples([row], RetinaFaceImageProcessor(), 96)[0]
    assert sample["labels"]["keypoints_xy"].isnan().all()
    partly = {**rows[0], "points5_xy": np.where([[[True]], [[False]]], np.nan, rows[0]["points5_xy"])}
    labels = FaceDetectionSamples([partly], RetinaFaceImageProcessor(), 96, augment=False)[0]["labels"]
    assert labels["keypoints_xy"].isnan().flatten(1).all(1).tolist() == [True, False]


def test_photos_without_faces_give_empty_labels():
    row = row_of(marked_photo([]))
    batch = collate_face_detection_samples([FaceDetectionSamples([row], RetinaFaceImageProcessor(), 64)[0]] * 2)
    assert batch["pixel_values"].shape == (2, 3, 64, 64)
    assert [tuple(labels["boxes_xyxy"].shape) for labels in batch["labels"]] == [(0, 4), (0, 4)]
    assert batch["labels"][0]["keypoints_xy"].shape == (0, 5, 2)


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        ([], InvalidDatasetError, "no photos"),
        ([{"image": None, "label_map": None}], InvalidDatasetError, "needs 'boxes_xyxy'"),
        (
            [{"image": np.zeros((4, 4, 3), np.uint8), "boxes_xyxy": [[0, 0, 2, 2]], "points5_xy": []}],
            InvalidFaceInputError,
            "one entry per",
        ),
    ],
)
def test_unusable_rows_are_refused(rows, error, message):
    with pytest.raises(error, match=message):
        FaceDetectionSamples(rows, RetinaFaceImageProcessor(), 64)[0]
