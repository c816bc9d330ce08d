"""Label maps against the full way: every class un-warped over the whole photo, then the winner."""

import importlib

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from torch.nn.functional import grid_sample, interpolate

from farl_hf.processing import image_processing_farl
from farl_hf.processing.face_geometry_farl import WarpGeometry
from farl_hf.processing.image_processing_farl import unwarp_heat_maps, unwarp_label_map

CROP = (64, 48)
FACES = {
    "upright": [[0.8, 0.0, -12.0], [0.0, 0.8, -6.0]],
    "turned": [[1.0, -1.2, 20.0], [1.2, 1.0, -60.0]],
    "upside down": [[-0.7, 0.0, 60.0], [0.0, -0.7, 70.0]],
    "small": [[2.9, 0.3, -140.0], [-0.3, 2.9, -60.0]],
    "partly outside": [[0.6, 0.1, 25.0], [-0.1, 0.6, 30.0]],
    "larger than the photo": [[0.2, 0.02, 14.0], [-0.02, 0.2, 20.0]],
    "all outside": [[2.0, 0.0, 200.0], [0.0, 2.0, 300.0]],
}
PHOTO = (90, 120)


def matrix_of(name):
    return torch.tensor([*FACES[name], [0.0, 0.0, 1.0]])


def smooth_scores(classes, border, seed=0):
    """Blobs of every class; the border belongs to one class, or to several."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, classes, 6, 6, generator=generator) * 3
    scores = interpolate(coarse, size=(16, 12), mode="bicubic", align_corners=False)[0]
    if border is not None:
        rim = torch.ones(16, 12, dtype=torch.bool)
        rim[3:-3, 3:-3] = False
        scores[border] = torch.where(rim, scores.amax(dim=0) + 1, scores[border])
    return scores


def full_way_on_pixel_centres(scores, matrix, alpha):
    facer = importlib.import_module("facer.transform")
    resized = interpolate(scores[None], size=CROP, mode="bilinear", align_corners=False)
    grid = facer.make_inverted_tanh_warp_grid(matrix[None], alpha, CROP, PHOTO)
    return grid_sample(resized, grid, mode="bilinear", align_corners=False)[0].numpy()


def full_way_on_the_integer_grid(scores, matrix, alpha):
    """Blueprint's arithmetic; the matrix is for coordinates of which pixel i has i."""
    resized = interpolate(scores[None], size=CROP, mode="bilinear", align_corners=False)[0].double().numpy()
    y, x = np.mgrid[0 : PHOTO[0], 0 : PHOTO[1]].astype(np.float64)
    shift = np.eye(3)
    shift[:2, 2] = 0.5
    matrix = np.linalg.inv(shift) @ matrix.double().numpy() @ shift
    points = np.stack([x, y], axis=-1) @ matrix[:2, :2].T + matrix[:2, 2]
    if alpha:
        half = np.array([CROP[1], CROP[0]]) / 2
        fractions = points / half - 1
        magnitude = np.abs(fractions)
        bent = alpha * np.tanh((magnitude - 1 + alpha) / alpha) + 1 - alpha
        points = (np.where(magnitude > 1 - alpha, np.sign(fractions) * bent, fractions) + 1) * half
    scores = np.stack(
        [map_coordinates(score, [points[..., 1], points[..., 0]], order=1, mode="grid-constant") for score in resized]
    )
    # Far to the right and below, reads approach the zero padding without end; OpenCV rounds them to it (its weights
    # have five bits), float32 later, float64 later still. Not compared.
    if alpha:
        scores[:, (points > np.array([CROP[1], CROP[0]]) - 1 / 64).any(axis=-1)] = np.nan
    return scores


FULL_WAYS = {0.0: full_way_on_pixel_centres, 0.5: full_way_on_the_integer_grid}


def assert_same_labels(actual, scores, allow=1e-3):
    """Equal wherever the full way is not a tie up to rounding; almost everywhere it is none."""
    compared = np.isfinite(scores).all(axis=0)
    scores = np.where(compared, scores, 0)
    ordered = np.sort(scores, axis=0)
    tied = ordered[-1] - ordered[-2] < 1e-4 * np.abs(scores).max()
    wrong = compared & (actual.numpy() != scores.argmax(axis=0))
    assert not (wrong & ~tied).any(), f"{(wrong & ~tied).sum()} of {wrong.size} pixels differ"
    assert (wrong & tied).mean() <= allow


@pytest.mark.parametrize("border", [0, 3, None], ids=["background rim", "class rim", "mixed rim"])
@pytest.mark.parametrize("grid_offset", [0.0, 0.5], ids=["half_pixel", "integer"])
@pytest.mark.parametrize("alpha", [0.0, 0.8])
@pytest.mark.parametrize("face", FACES)
def test_labels_equal_the_full_way(face, alpha, grid_offset, border):
    matrix = matrix_of(face)
    for seed in range(3):
        scores = smooth_scores(5, border, seed)
        actual = unwarp_label_map(scores, matrix, PHOTO, WarpGeometry(CROP, alpha, grid_offset))
        assert actual.shape == PHOTO
        assert actual.dtype == torch.uint8
        assert_same_labels(actual, FULL_WAYS[grid_offset](scores, matrix, alpha))


def test_noise_equals_the_full_way_too():
    scores = torch.randn(7, 16, 12)
    for face in ("upright", "turned", "small"):
        actual = unwarp_label_map(scores, matrix_of(face), PHOTO, WarpGeometry(CROP, 0.8, 0.0))
        assert_same_labels(actual, full_way_on_pixel_centres(scores, matrix_of(face), 0.8))


def test_out_of_reach_is_background_for_a_crop_and_the_rim_for_a_warp():
    scores = smooth_scores(5, border=3)
    for alpha, expected in ((0.0, 0), (0.8, 3)):
        labels = unwarp_label_map(scores, matrix_of("all outside"), PHOTO, WarpGeometry(CROP, alpha, 0.0))
        assert labels.unique().tolist() == [expected]


def test_stripes_do_not_show(monkeypatch):
    scores, geometry = smooth_scores(5, border=None), WarpGeometry(CROP, 0.8, 0.0)
    whole = unwarp_label_map(scores, matrix_of("turned"), PHOTO, geometry)
    monkeypatch.setattr(image_processing_farl, "_STRIPE_PIXELS", 500)
    assert torch.equal(unwarp_label_map(scores, matrix_of("turned"), PHOTO, geometry), whole)


def test_only_the_window_of_the_face_is_computed(monkeypatch):
    windows = []
    compute = image_processing_farl._label_window
    monkeypatch.setattr(
        image_processing_farl,
        "_label_window",
        lambda scores, cells, matrix, window, geometry: (
            windows.append(window) or compute(scores, cells, matrix, window, geometry)
        ),
    )
    matrix = torch.tensor([[1.0, 0.0, -500.0], [0.0, 1.0, -300.0], [0.0, 0.0, 1.0]])
    unwarp_label_map(smooth_scores(5, border=0), matrix, (1080, 1920), WarpGeometry(CROP, 0.8, 0.0))
    pixels = sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in windows)
    assert 0 < pixels < 4 * CROP[0] * CROP[1]


def test_half_precision_scores_are_accepted():
    scores, geometry = smooth_scores(5, border=0).to(torch.bfloat16), WarpGeometry(CROP, 0.8, 0.0)
    actual = unwarp_label_map(scores, matrix_of("upright"), PHOTO, geometry)
    assert torch.equal(actual, unwarp_label_map(scores.float(), matrix_of("upright"), PHOTO, geometry))


@pytest.mark.parametrize("name", ["upright", "turned", "partly outside", "larger than the photo"])
@pytest.mark.parametrize("alpha", [0.0, 0.8])
@pytest.mark.parametrize("border", [0, None])
def test_scores_may_be_upsampled_to_another_size_than_the_crop(name, alpha, border):
    facer = importlib.import_module("facer.transform")
    scores, matrix, score_size_hw = smooth_scores(5, border), matrix_of(name), (80, 56)
    grid = facer.make_inverted_tanh_warp_grid(matrix[None], alpha, CROP, PHOTO)
    resized = interpolate(scores[None], size=score_size_hw, mode="bilinear", align_corners=False)
    expected = grid_sample(resized, grid, mode="bilinear", align_corners=False)[0].argmax(dim=0)
    actual = unwarp_label_map(scores, matrix, PHOTO, WarpGeometry(CROP, alpha, 0.0), score_size_hw)
    assert expected.unique().numel() > 1
    assert (actual == expected).float().mean() > 0.999
    other = unwarp_label_map(scores, matrix, PHOTO, WarpGeometry(CROP, alpha, 0.0))
    assert not torch.equal(actual, other)


@pytest.mark.parametrize("name", FACES)
@pytest.mark.parametrize("warp_factor", [0.0, 0.8])
def test_heat_maps_are_read_where_the_photo_points_lie(name, warp_factor):
    """Maps that hold their own coordinates: the photo holds where each of its pixels lies in the warped crop."""
    geometry, matrix = WarpGeometry(CROP, warp_factor, 0.0), matrix_of(name)
    rows, columns = torch.meshgrid(torch.arange(CROP[0]) + 0.5, torch.arange(CROP[1]) + 0.5, indexing="ij")
    maps = unwarp_heat_maps(torch.stack([columns, rows]), matrix, PHOTO, geometry)
    y, x = torch.meshgrid(torch.arange(PHOTO[0]) + 0.5, torch.arange(PHOTO[1]) + 0.5, indexing="ij")
    photo_xy = torch.stack([x, y], dim=-1).reshape(1, -1, 2)
    expected = geometry.warped_from_photo(photo_xy, matrix[None])[0].T.reshape(2, *PHOTO)
    limit = torch.tensor([CROP[1], CROP[0]])[:, None, None]
    inside = ((expected >= 0) & (expected <= limit)).all(0)
    assert torch.equal(maps != 0, inside.expand(2, -1, -1))
    read = torch.minimum(torch.maximum(expected, torch.tensor(0.5)), limit - 0.5)  # repeated beyond the last centre
    assert torch.allclose(maps[:, inside], read[:, inside], atol=1e-3)


def test_heat_maps_in_stripes_are_the_same(monkeypatch):
    geometry, maps = WarpGeometry(CROP, 0.8, 0.0), torch.rand(2, 16, 12)
    whole = unwarp_heat_maps(maps, matrix_of("turned"), PHOTO, geometry)
    monkeypatch.setattr(image_processing_farl, "_STRIPE_PIXELS", 700)
    assert torch.allclose(unwarp_heat_maps(maps, matrix_of("turned"), PHOTO, geometry), whole, atol=1e-6)
