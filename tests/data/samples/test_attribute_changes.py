"""Attribute training's changes against the words of the paper's supplement, section 6, "Face attributes recognition".

"When training with backbone frozen, we randomly horizontal-flip the image with a probability of 0.5. When fully
fine-tuning the model, apart from the random horizontal flip, random crop and Gaussian noise, we also apply random
grayscale with a probability of 0.1, and impose Gaussian noise with a variance of 5 to the facial landmarks used for
aligning the face."
"""

import numpy as np
import pytest
from face_rows import make_face_row
from scipy.stats import kstest

from farl_hf import FaRLImageProcessor
from farl_hf.data.augmentation import (
    augment_colors,
    get_augmentation_recipe,
    random_alignment_noise,
    random_crop_motion,
)
from farl_hf.data.samples.face_samples import FaceSamples

NUM_DRAWS = 2_000
SIZE_HW = (32, 32)


def assert_share(found, probability):
    assert abs(np.mean(found) - probability) <= 4 * (probability * (1 - probability) / len(found)) ** 0.5


@pytest.mark.parametrize("name", ["celeba_attributes", "celeba_attributes_frozen"])
def test_half_of_the_samples_are_mirrored(name):
    recipe = get_augmentation_recipe(name)
    motions = [random_crop_motion(recipe, np.random.default_rng(draw), SIZE_HW) for draw in range(NUM_DRAWS)]
    assert_share([mirrored for _, mirrored in motions], 0.5)
    shifts_xy = np.array([(matrix @ (16, 16, 1))[:2] - 16 for matrix, _ in motions])
    largest_px = 32 * (0.05 if name == "celeba_attributes" else 0.0)  # "random crop"; the amount is ours
    assert np.abs(shifts_xy).max() <= largest_px + 1e-9
    if largest_px:
        assert kstest(shifts_xy.ravel(), "uniform", args=(-largest_px, 2 * largest_px)).pvalue > 1e-3
        assert {round(abs(np.linalg.det(matrix[:2, :2])), 9) for matrix, _ in motions} == {1.0}  # nothing else


def test_a_tenth_is_grey_and_pixels_have_gaussian_noise():
    picture = np.full((16, 16, 3), (0.3, 0.5, 0.7), np.float32)
    recipe = get_augmentation_recipe("celeba_attributes")
    changed = [augment_colors(picture, recipe, np.random.default_rng(draw)) for draw in range(NUM_DRAWS)]
    means = np.array([one.mean(axis=(0, 1)) for one in changed])
    assert_share(np.ptp(means, axis=1) < 0.1, 0.1)
    # Half of the pictures, with a deviation that is uniform up to .05: both are ours.
    sigmas = np.array([(one - one.mean(axis=(0, 1))).std() for one in changed])
    assert_share(sigmas > 1e-5, 0.5)
    assert kstest(sigmas[sigmas > 1e-5], "uniform", args=(0, 0.05)).pvalue > 1e-3
    strongest = changed[sigmas.argmax()]
    noise = (strongest - strongest.mean(axis=(0, 1))) / sigmas.max()
    assert kstest(noise.ravel(), "norm").pvalue > 1e-3


def test_alignment_points_have_a_variance_of_five_photo_pixels():
    points = np.array([[30, 40], [90, 40], [60, 70], [40, 100], [80, 100]], dtype=float)
    recipe = get_augmentation_recipe("celeba_attributes")
    noise = np.array(
        [random_alignment_noise(recipe, np.random.default_rng(draw), points) - points for draw in range(NUM_DRAWS)]
    )
    assert noise.var() == pytest.approx(5.0, rel=0.05)
    assert kstest(noise.ravel() / 5.0**0.5, "norm").pvalue > 1e-3


def test_the_frozen_recipe_changes_nothing_else():
    rows, processor = [make_face_row(0)], FaRLImageProcessor(size={"height": 32, "width": 32})
    plain = FaceSamples(rows, processor, "attributes", "none", min_face_px=1)[0]["pixel_values"]
    samples = FaceSamples(rows, processor, "attributes", "celeba_attributes_frozen", min_face_px=1)
    for epoch in range(20):
        samples.set_epoch(epoch)
        pixels = samples[0]["pixel_values"]
        assert min((pixels - plain).abs().max(), (pixels.flip(-1) - plain).abs().max()) < 1e-3
