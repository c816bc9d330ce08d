"""The warp against pyfacer's, against the official integer-grid arithmetic, and by property."""

import importlib

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from torch.nn.functional import grid_sample

from farl_hf.processing.face_geometry_farl import WarpGeometry, sample_crops

# Faces of a 90 x 120 photo: upright, turned and small, large and partly outside.
MATRICES = torch.tensor(
    [
        [[0.8, 0.0, -12.0], [0.0, 0.8, -6.0], [0.0, 0.0, 1.0]],
        [[0.9, -1.1, 20.0], [1.1, 0.9, -60.0], [0.0, 0.0, 1.0]],
        [[0.3, 0.1, 25.0], [-0.1, 0.3, 30.0], [0.0, 0.0, 1.0]],
    ]
)
SIZE = (40, 48)


def photo(dtype=torch.float32):
    return torch.rand(3, 90, 120, dtype=dtype)


def official_crop(image_HW, matrix, size_hw, alpha):
    """Blueprint's arithmetic: pixel i of either picture has coordinate i, and OpenCV reads zero outside."""
    height, width = size_hw
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    points = np.stack([x, y], axis=-1)
    if alpha:
        half = np.array([width, height]) / 2
        fractions = points / half - 1
        magnitude = np.abs(fractions)
        bent = alpha * np.arctanh(np.clip((magnitude - 1 + alpha) / alpha, -0.999, 0.999)) + 1 - alpha
        points = (np.where(magnitude > 1 - alpha, np.sign(fractions) * bent, fractions) + 1) * half
    inverse = np.linalg.inv(matrix)
    points = points @ inverse[:2, :2].T + inverse[:2, 2]
    return map_coordinates(image_HW, [points[..., 1], points[..., 0]], order=1, mode="grid-constant", cval=0)


@pytest.mark.parametrize("alpha", [0.0, 0.8, 1.0])
def test_equals_pyfacer(alpha):
    facer = importlib.import_module("facer.transform")
    image = photo()
    grid = facer.make_tanh_warp_grid(MATRICES, alpha, SIZE, image.shape[-2:])
    expected = grid_sample(image.expand(3, -1, -1, -1), grid, mode="bilinear", align_corners=False)
    actual = sample_crops(image, MATRICES, WarpGeometry(SIZE, alpha, 0.0))
    torch.testing.assert_close(actual, expected, atol=2e-4, rtol=0)


@pytest.mark.parametrize("alpha", [0.0, 0.8])
def test_integer_grid_equals_the_official_training_code(alpha):
    image = photo()
    pixel_indices = torch.eye(3).repeat(2, 1, 1)  # continuous coordinates are indices plus a half
    pixel_indices[0, :2, 2], pixel_indices[1, :2, 2] = 0.5, -0.5
    actual = sample_crops(image, pixel_indices[0] @ MATRICES @ pixel_indices[1], WarpGeometry(SIZE, alpha, 0.5))
    for crop, matrix in zip(actual, MATRICES, strict=True):
        expected = official_crop(image[1].double().numpy(), matrix.double().numpy(), SIZE, alpha)
        np.testing.assert_allclose(crop[1].numpy(), expected, atol=2e-4)


def test_the_grids_differ_by_what_the_warp_does_to_half_a_pixel():
    image = photo()
    half, integer = (sample_crops(image, MATRICES, WarpGeometry(SIZE, 0.8, offset)) for offset in (0.0, 0.5))
    assert (half - integer).abs().max() > 1e-2
    half, integer = (sample_crops(image, MATRICES, WarpGeometry(SIZE, 0.0, offset)) for offset in (0.0, 0.5))
    assert torch.equal(half, integer)


def test_the_identity_returns_the_photo_exactly():
    image = torch.randint(0, 256, (3, 64, 128), dtype=torch.uint8)
    for mode in ("bilinear", "nearest"):
        crop = sample_crops(image, torch.eye(3)[None], WarpGeometry((64, 128), 0.0, 0.0), mode)
        assert torch.equal(crop[0], image.float())


def test_zero_outside_the_photo():
    far = torch.eye(3)[None].clone()
    far[:, :2, 2] = 500
    assert sample_crops(photo() + 1, far, WarpGeometry(SIZE, 0.0, 0.0)).abs().max() == 0
    far[:, :2, 2] = -500
    assert sample_crops(photo() + 1, far, WarpGeometry(SIZE, 0.0, 0.0)).abs().max() == 0
    shifted = torch.eye(3)[None].clone()
    shifted[:, 0, 2] = 10
    crop = sample_crops(torch.ones(1, 90, 120), shifted, WarpGeometry(SIZE, 0.0, 0.0))[0, 0]
    assert torch.equal(crop[:, :10], torch.zeros(40, 10))
    torch.testing.assert_close(crop[:, 10:], torch.ones(40, 38))


def test_reading_a_window_changes_nothing():
    image, geometry = photo(), WarpGeometry(SIZE, 0.8, 0.0)
    together = sample_crops(image, MATRICES, geometry)
    for index in range(3):
        alone = sample_crops(image, MATRICES[index : index + 1], geometry)
        torch.testing.assert_close(alone[0], together[index], atol=1e-4, rtol=0)


def test_faces_do_not_mix():
    assert sample_crops(photo(), torch.zeros(0, 3, 3), WarpGeometry(SIZE, 0.8, 0.0)).shape == (0, 3, *SIZE)
    image = torch.zeros(1, 90, 120)
    image[:, :, :60] = 1
    matrices = torch.eye(3).repeat(2, 1, 1)
    matrices[1, 0, 2] = -70
    first, second = sample_crops(image, matrices, WarpGeometry(SIZE, 0.0, 0.0))
    torch.testing.assert_close(first, torch.ones_like(first))
    torch.testing.assert_close(second, torch.zeros_like(second))


def test_nearest_keeps_class_ids():
    labels = torch.randint(0, 11, (1, 90, 120), dtype=torch.uint8)
    crop = sample_crops(labels, MATRICES, WarpGeometry(SIZE, 0.8, 0.0), "nearest")
    assert set(crop.unique().tolist()) <= set(range(11))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.uint8])
def test_reads_are_made_in_float32(dtype):
    image = (photo() * 255).to(dtype)
    expected = sample_crops(image.float(), MATRICES, WarpGeometry(SIZE, 0.8, 0.0))
    assert torch.equal(sample_crops(image, MATRICES, WarpGeometry(SIZE, 0.8, 0.0)), expected)


@pytest.mark.parametrize("grid_offset", [0.0, 0.5])
@pytest.mark.parametrize("alpha", [0.0, 0.8])
def test_a_bright_dot_lands_where_the_points_say(alpha, grid_offset):
    geometry = WarpGeometry((64, 64), alpha, grid_offset)
    matrix = torch.tensor([[[1.2, -0.4, -10.0], [0.4, 1.2, -30.0], [0.0, 0.0, 1.0]]])
    for x, y in ((50, 40), (30, 45), (60, 20), (58, 52)):
        image = torch.zeros(1, 90, 120)
        image[0, y, x] = 1
        crop = sample_crops(image, matrix, geometry)[0, 0]
        rows, columns = torch.meshgrid(torch.arange(64) + 0.5, torch.arange(64) + 0.5, indexing="ij")
        centre = torch.stack([(crop * columns).sum(), (crop * rows).sum()]) / crop.sum()
        expected = geometry.warped_from_photo(torch.tensor([[[x + 0.5, y + 0.5]]]), matrix)[0, 0]
        assert (centre - expected).abs().max() < 0.25, (x, y, centre, expected)


@pytest.mark.parametrize("grid_offset", [0.0, 0.5])
@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.8])
def test_points_make_the_round_trip(alpha, grid_offset):
    geometry = WarpGeometry(SIZE, alpha, grid_offset)
    matrices = MATRICES.double()
    inside = (0.02 + 0.96 * torch.rand(3, 50, 2, dtype=torch.float64)) * torch.tensor([48.0, 40.0])
    back = geometry.warped_from_photo(geometry.photo_from_warped(inside, matrices), matrices)
    torch.testing.assert_close(back, inside)


def test_gradients_reach_the_photo():
    image = torch.rand(1, 9, 11, dtype=torch.float64, requires_grad=True)
    matrix = torch.tensor([[[0.5, 0.1, 0.3], [-0.1, 0.5, 0.2], [0.0, 0.0, 1.0]]])
    geometry = WarpGeometry((5, 6), 0.8, 0.0)
    assert torch.autograd.gradcheck(lambda photo: sample_crops(photo, matrix, geometry), (image,))
