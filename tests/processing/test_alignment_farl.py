"""Matrices: known transforms are recovered, agreement with scikit-image and pyfacer, refusal of bad input."""

import importlib
import math

import numpy as np
import pytest
import torch
from skimage.transform import SimilarityTransform

from farl_hf import FaRLImageProcessor
from farl_hf.processing.face_geometry_farl import (
    box_matrix,
    checked_boxes,
    checked_points,
    ffhq_square_matrix,
    similarity_matrix,
    transform_points,
    whole_matrix,
)


def random_similarities(count):
    angle = (torch.rand(count, dtype=torch.float64) * 2 - 1) * math.pi
    scale = 10 ** (torch.rand(count, dtype=torch.float64) * 4 - 2)
    cosine, sine = scale * angle.cos(), scale * angle.sin()
    shift = torch.randn(count, 2, dtype=torch.float64) * 300
    zero, one = torch.zeros_like(scale), torch.ones_like(scale)
    rows = [cosine, -sine, shift[:, 0], sine, cosine, shift[:, 1], zero, zero, one]
    return torch.stack(rows, dim=-1).reshape(count, 3, 3)


def test_known_similarities_are_recovered():
    matrices, points = random_similarities(200), torch.randn(200, 5, 2, dtype=torch.float64) * 40
    moved = transform_points(points, matrices)
    torch.testing.assert_close(similarity_matrix(points, moved), matrices, atol=1e-7, rtol=1e-7)


def test_transforming_points_by_hand():
    matrix = torch.tensor([[[2.0, 0.0, 5.0], [1.0, 3.0, -1.0], [0.0, 0.0, 1.0]]])
    expected = torch.tensor([[[2 * 4 + 5.0, 4 + 3 * 7 - 1.0]]])
    torch.testing.assert_close(transform_points(torch.tensor([[[4.0, 7.0]]]), matrix), expected)


def test_composition_with_the_inverse_is_the_identity():
    matrices, points = random_similarities(50), torch.randn(50, 5, 2, dtype=torch.float64)
    back = transform_points(transform_points(points, matrices), torch.linalg.inv(matrices))
    torch.testing.assert_close(back, points, atol=1e-8, rtol=1e-8)


def test_noisy_points_agree_with_scikit_image():
    rng = np.random.default_rng(0)
    target = rng.normal(size=(5, 2)) * 50 + 112
    sources = target + rng.normal(size=(20, 5, 2)) * 8
    actual = similarity_matrix(torch.tensor(sources), torch.tensor(target))
    for source, matrix in zip(sources, actual, strict=True):
        if hasattr(SimilarityTransform, "from_estimate"):
            expected = SimilarityTransform.from_estimate(source, target)
        else:  # scikit-image before 0.26
            expected = SimilarityTransform()
            assert expected.estimate(source, target)
        np.testing.assert_allclose(matrix.numpy(), expected.params, rtol=1e-7, atol=1e-7)


def test_agrees_with_pyfacer():
    facer = importlib.import_module("facer.transform")
    sources, target = torch.rand(20, 5, 2) * 500, torch.rand(5, 2) * 448
    expected = facer.get_similarity_transform_matrix(sources, target.expand(20, -1, -1))
    torch.testing.assert_close(similarity_matrix(sources, target), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("size_hw", [(448, 448), (64, 64)])
def test_ffhq_square_agrees_with_pyfacer(size_hw):
    facer = importlib.import_module("facer.transform")
    face = torch.tensor([[196.0, 226.0], [316.0, 226.0], [256.0, 286.0], [220.0, 360.4], [292.0, 360.4]])
    turned = transform_points(face.expand(30, -1, -1).double(), random_similarities(30)).float()
    points = turned + torch.randn(30, 5, 2) * 0.05 * (turned.amax(dim=1) - turned.amin(dim=1)).amax(-1)[:, None, None]
    expected, actual = facer.get_face_align_matrix_celebm(points, size_hw), ffhq_square_matrix(points, size_hw)
    corners = torch.linalg.inv(expected) @ torch.tensor([[0, 448, 448.0], [0, 0, 448], [1, 1, 1]])
    found = actual @ corners - expected @ corners
    assert found.abs().max() < 0.01


def test_it_never_reflects():
    points = torch.randn(50, 5, 2)
    mirrored = points * torch.tensor([-1.0, 1.0])
    linear = similarity_matrix(points, mirrored)[:, :2, :2]
    assert (torch.linalg.det(linear) >= 0).all()
    torch.testing.assert_close(linear[:, 0, 0], linear[:, 1, 1])
    torch.testing.assert_close(linear[:, 0, 1], -linear[:, 1, 0])


def test_box_fills_its_share_of_the_crop():
    boxes = torch.tensor([[100.0, 50.0, 200.0, 110.0], [10.0, 10.0, 30.0, 90.0]])
    corners = torch.stack([boxes[:, :2], boxes[:, 2:]], dim=1)
    moved = transform_points(corners, box_matrix(boxes, (200, 200), 0.5))
    expected = torch.tensor([[[50.0, 70.0], [150.0, 130.0]], [[87.5, 50.0], [112.5, 150.0]]])
    torch.testing.assert_close(moved, expected)


def test_box_agrees_with_pyfacer():
    facer = importlib.import_module("facer.transform")
    low = torch.rand(10, 2) * 300
    boxes = torch.cat([low, low + 20 + torch.rand(10, 2) * 100], dim=1)
    # Theirs returns pixel indices for such boxes; half a pixel on either side makes them continuous coordinates.
    theirs = facer.get_crop_and_resize_matrix(
        boxes, (128, 128), target_face_scale=0.8, align_corners=False, offset_box_coords=True
    )
    shift = torch.eye(3).repeat(2, 1, 1)
    shift[0, :2, 2], shift[1, :2, 2] = 0.5, -0.5
    torch.testing.assert_close(box_matrix(boxes, (128, 128), 0.8), shift[0] @ theirs @ shift[1], atol=1e-3, rtol=1e-4)


def test_whole_photo_is_stretched_over_the_crop():
    matrix = whole_matrix((300, 200), (64, 128))
    corners = torch.tensor([[[0.0, 0.0], [200.0, 300.0], [100.0, 150.0]]])
    expected = torch.tensor([[[0.0, 0.0], [128.0, 64.0], [64.0, 32.0]]])
    torch.testing.assert_close(transform_points(corners, matrix), expected)


POINTS = [[10.0, 10.0], [20.0, 10.0], [15.0, 15.0], [11.0, 20.0], [19.0, 20.0]]


@pytest.mark.parametrize(
    ("points", "shape"),
    [
        (POINTS, (1, 5, 2)),
        ([POINTS, POINTS], (2, 5, 2)),
        ([], (0, 5, 2)),
        (np.zeros((0, 5, 2)), (0, 5, 2)),
        ([np.array(POINTS), np.array(POINTS)], (2, 5, 2)),
        ([torch.tensor(POINTS)], (1, 5, 2)),
    ],
)
def test_points_in_every_form(points, shape):
    checked = checked_points(points)
    assert checked.shape == shape
    assert checked.dtype == torch.float32


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (POINTS[:4], r"keypoints of beach\.jpg have shape \(1, 4, 2\), expected \(faces, 5, 2\)"),
        ([[[1.0, 2.0, 3.0]] * 5], r"have shape \(1, 5, 3\)"),
        ([[*POINTS[:4], [float("nan"), 1.0]]], "contain NaN or infinity"),
        ([[*POINTS[:4], [float("inf"), 1.0]]], "contain NaN or infinity"),
        ([[[7.0, 7.0]] * 5], "degenerate"),
        ([["left", "right"]], r"keypoints of beach\.jpg are not an array of numbers"),
        ([None], "are not an array of numbers"),
        ([POINTS, POINTS[:3]], "are not an array of numbers"),
        (torch.zeros(1, 5, 2, device="meta"), "without plain values"),
        (torch.ones(1, 5, 2).to_sparse(), "without plain values"),
    ],
)
def test_bad_points_are_refused(points, message):
    with pytest.raises(ValueError, match=message):
        checked_points(points, "beach.jpg")


def test_points_and_boxes_may_lie_anywhere_where_the_photo_is_not_known():
    """As those of a face at the edge, moved by the noise of a training."""
    processor, points = FaRLImageProcessor(size=32), torch.tensor([POINTS])
    shift_xy = torch.tensor([-1000.0, -1000.0])
    moved_from_photo = torch.eye(3)
    moved_from_photo[:2, 2] = shift_xy
    crop_from_moved = processor.crop_matrix(points + shift_xy)
    torch.testing.assert_close(crop_from_moved @ moved_from_photo, processor.crop_matrix(points), atol=1e-3, rtol=1e-3)
    assert processor.crop_matrix_from_boxes([[-20, -20, -10, -10]]).isfinite().all()
    with pytest.raises(ValueError, match="lie outside"):
        checked_points(points + shift_xy, "beach.jpg", (50, 100))


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([[1.0, 2.0, 3.0]], r"boxes of beach\.jpg have shape \(1, 3\), expected \(faces, 4\)"),
        ([[10, 10, 10, 20]], "has no area"),
        ([[10, 10, 5, 20]], "has no area"),
        ([[10, 10, float("nan"), 20]], "contain NaN or infinity"),
        ([[100, 10, 120, 20]], r"lies outside it; the photo is 100 pixels wide and 50 high"),
        ([[-20, 10, 0, 20]], "lies outside it"),
        ([[10, -9, 20, -1]], "lies outside it"),
        ([[10, 50, 20, 60]], "lies outside it"),
        ("a box", "are not an array of numbers"),
    ],
)
def test_bad_boxes_are_refused(boxes, message):
    with pytest.raises(ValueError, match=message):
        checked_boxes(boxes, (50, 100), "beach.jpg")


@pytest.mark.parametrize(
    ("boxes", "count"), [([], 0), ([[]], 0), ([1, 2, 3, 4], 1), ([[1, 2, 3, 4], [-5, -5, 200, 300]], 2)]
)
def test_boxes_in_every_form(boxes, count):
    assert checked_boxes(boxes, (50, 100)).shape == (count, 4)
