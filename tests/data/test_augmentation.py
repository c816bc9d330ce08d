import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from farl_hf.data.augmentation import (
    AUGMENTATION_RECIPES,
    AugmentationRecipe,
    augment_colors,
    errors_of_workers,
    fill_padding,
    get_augmentation_recipe,
    hue_matrix,
    random_alignment_noise,
    random_crop_motion,
)
from farl_hf.data.samples.face_samples import collate_face_samples
from farl_hf.errors import FileWriteError, UnknownNameError, UnreadablePhotoError


def rng(seed=0):
    return np.random.default_rng(seed)


def recipe(**settings):
    return AugmentationRecipe(source="test", **settings)


def picture(seed=1):
    return rng(seed).random((24, 20, 3), dtype=np.float32)


def test_unknown_recipe_lists_the_known_ones():
    with pytest.raises(UnknownNameError, match="lapa_parsing"):
        get_augmentation_recipe("lapa")


def test_official_recipes_never_mirror_except_attributes():
    mirroring = {name for name, row in AUGMENTATION_RECIPES.items() if row.mirror_probability}
    # Those of other methods and of rendered faces are not FaRL's.
    official = {name for name in mirroring if not name.startswith(("synthetic", "self_supervision"))}
    assert official == {"celeba_attributes", "celeba_attributes_frozen"}


def test_a_recipe_that_is_off_changes_nothing():
    matrix, mirrored = random_crop_motion(recipe(), rng(), (64, 32))
    np.testing.assert_array_equal(matrix, np.eye(3))
    assert not mirrored
    np.testing.assert_array_equal(augment_colors(picture(), recipe(), rng()), picture())


@pytest.mark.parametrize("mirror", [0.0, 1.0])
def test_motion_moves_the_centre_by_the_shift_and_scales_areas(mirror):
    settings = recipe(shift_fraction=0.1, rotation_rad=0.5, scale_spread=0.2, mirror_probability=mirror)
    for seed in range(20):
        matrix, mirrored = random_crop_motion(settings, rng(seed), (64, 32))
        shift_xy = (matrix @ (16, 32, 1))[:2] - (16, 32)
        assert (np.abs(shift_xy) <= (3.2 + 1e-9, 6.4 + 1e-9)).all()
        determinant = np.linalg.det(matrix[:2, :2])
        assert (determinant < 0) == mirrored == bool(mirror)
        assert 0.8**2 - 1e-9 <= abs(determinant) <= 1.2**2 + 1e-9


def test_gaussian_rotation_has_the_given_deviation():
    settings = recipe(rotation_rad=0.314, rotation_distribution="gaussian")
    generator = rng()
    matrices = [random_crop_motion(settings, generator, (64, 64))[0] for _ in range(4000)]
    angles = [np.arctan2(matrix[1, 0], matrix[0, 0]) for matrix in matrices]
    assert np.std(angles) == pytest.approx(0.314, rel=0.05)


def test_scale_spread_is_relative_to_the_scale_that_the_processor_applies():
    settings = get_augmentation_recipe("w300_landmarks")
    generator = rng()
    scales = [np.linalg.det(random_crop_motion(settings, generator, (64, 64))[0]) ** 0.5 for _ in range(2000)]
    assert 0.7 / 0.8 - 1e-9 <= min(scales) < 0.89
    assert 1.11 < max(scales) <= 0.9 / 0.8 + 1e-9


def test_alignment_noise_scales_with_the_eye_distance():
    points = np.array([[0, 0], [100, 0], [50, 50], [20, 90], [80, 90]], dtype=float)
    settings = recipe(alignment_noise_fraction=0.05)
    generator = rng()
    noise = np.stack([random_alignment_noise(settings, generator, points) - points for _ in range(500)])
    assert noise.std() == pytest.approx(5.0, rel=0.05)


def test_grey_equals_opencv():
    gray = augment_colors(picture(), recipe(grayscale_probability=1.0), rng())
    expected = cv2.cvtColor(picture(), cv2.COLOR_RGB2GRAY)
    np.testing.assert_allclose(gray, np.repeat(expected[..., None], 3, axis=2), atol=1e-5)


def test_hue_rotation_by_a_third_permutes_the_channels_and_keeps_grey():
    matrix = hue_matrix(2 * np.pi / 3)
    np.testing.assert_allclose(matrix @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(matrix @ [0.3, 0.3, 0.3], [0.3, 0.3, 0.3], atol=1e-12)


def test_contrast_keeps_the_mean_of_a_flat_picture():
    flat = np.full((8, 8, 3), 0.4, np.float32)
    changed = augment_colors(flat, recipe(contrast=0.5), rng(3))
    np.testing.assert_allclose(changed, flat, atol=1e-6)


def test_gamma_squares_or_takes_the_root():
    np.testing.assert_allclose(
        augment_colors(picture(), recipe(gamma_exponents=(2.0,)), rng()), picture() ** 2, atol=1e-6
    )


def test_occlusion_is_one_black_rectangle_of_the_official_extent():
    white = np.ones((100, 100, 3), np.float32)
    for seed in range(30):
        painted = augment_colors(white, recipe(occlusion=True), rng(seed))
        rows, columns = np.nonzero(painted[..., 0] == 0)
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert len(rows) == height * width
        assert height <= 40
        assert width <= 50
    assert white.min() == 1  # the caller's picture is not painted on


def test_padding_is_filled_outside_the_photo_only():
    inside = np.zeros((24, 20), np.float32)
    inside[6:18, 5:15] = 1
    black_outside = picture() * inside[..., None]
    filled = fill_padding(black_outside, inside, recipe(padding_fill_probability=1.0), rng(2))
    np.testing.assert_array_equal(filled[6:18, 5:15], black_outside[6:18, 5:15])
    assert filled[inside == 0].mean() > 0.05


@pytest.mark.parametrize("name", sorted(AUGMENTATION_RECIPES))
def test_every_recipe_stays_in_range_and_repeats(name):
    first = augment_colors(picture(), AUGMENTATION_RECIPES[name], rng(7))
    again = augment_colors(picture(), AUGMENTATION_RECIPES[name], rng(7))
    assert first.dtype == np.float32
    assert 0 <= first.min() <= first.max() <= 1
    np.testing.assert_array_equal(first, again)


def test_a_shared_memory_that_is_full_is_one_sentence_and_no_training_that_waits_for_ever(monkeypatch):
    def fail(tensor):
        raise RuntimeError("unable to write to file </torch_1_2>: No space left on device (28)")

    monkeypatch.setattr(torch.Tensor, "share_memory_", fail)
    samples = [{"pixel_values": torch.zeros(3)}] * 4
    loader = DataLoader(samples, num_workers=1, collate_fn=collate_face_samples, multiprocessing_context="fork")
    with pytest.raises(FileWriteError, match=r"shared memory[^\n]*--dataloader-num-workers 0"), errors_of_workers():
        list(loader)


def test_an_error_of_a_loader_worker_is_the_sentence_that_was_raised_there():
    def fail(samples):
        raise UnreadablePhotoError("a.jpg is empty: check it.")

    loader = DataLoader([0], num_workers=1, collate_fn=fail, multiprocessing_context="fork")
    with pytest.raises(UnreadablePhotoError, match=r"^a.jpg is empty: check it\.$"), errors_of_workers():
        list(loader)
