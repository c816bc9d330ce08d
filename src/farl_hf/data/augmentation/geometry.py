"""Geometric augmentation: a random matrix, composed into `crop_from_photo`, so that the photo is resampled once.

Every draw comes from the `numpy.random.Generator` that the caller passes: the same generator
state gives the same sample.
"""

import math

import numpy as np

from farl_hf.data.augmentation.recipes import AugmentationRecipe


def random_crop_motion(
    recipe: AugmentationRecipe, rng: np.random.Generator, size_hw: tuple[int, int]
) -> tuple[np.ndarray, bool]:
    """Draws a random change of the crop.

    Convention:
        The matrix maps crop pixels to changed crop pixels (`changed_from_crop`), both before the tanh warp; the centre
        of the first pixel is (0.5, 0.5). Compose as `changed_from_crop @ crop_from_photo`. Positive angles turn the
        picture clockwise.

    Args:
        recipe ([`AugmentationRecipe`]): Amounts.
        rng (`numpy.random.Generator`): Source of randomness.
        size_hw (`tuple[int, int]`): Height and width of the crop.

    Returns:
        `tuple[numpy.ndarray, bool]`: Matrix (3, 3) float64, and whether it mirrors.
    """
    height, width = size_hw
    shift_xy = np.array([draw(rng, "uniform", recipe.shift_fraction) * side for side in (width, height)])
    angle_rad = draw(rng, recipe.rotation_distribution, recipe.rotation_rad)
    scale = 1.0 + draw(rng, recipe.scale_distribution, recipe.scale_spread) / recipe.scale_center
    mirrored = bool(rng.random() < recipe.mirror_probability)
    # A gaussian scale can reach zero in principle; a tenth is far outside what training needs.
    matrix = similarity_about_center(size_hw, angle_rad, max(scale, 0.1), shift_xy)
    if mirrored:
        matrix = matrix @ np.array([[-1.0, 0.0, width], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    return matrix, mirrored


def similarity_about_center(
    size_hw: tuple[int, int], angle_rad: float, scale: float, shift_xy: np.ndarray
) -> np.ndarray:
    """Matrix (3, 3) that turns and scales about the centre of a picture and then shifts it."""
    center = np.array([size_hw[1] / 2, size_hw[0] / 2])
    cosine, sine = scale * math.cos(angle_rad), scale * math.sin(angle_rad)
    matrix = np.eye(3)
    matrix[:2, :2] = [[cosine, -sine], [sine, cosine]]
    matrix[:2, 2] = center + shift_xy - matrix[:2, :2] @ center
    return matrix


def random_alignment_noise(
    recipe: AugmentationRecipe, rng: np.random.Generator, points_photo_xy: np.ndarray
) -> np.ndarray:
    """Five alignment points (5, 2) with the recipe's noise added; the labels keep the true points."""
    eye_distance_px = float(np.linalg.norm(points_photo_xy[1] - points_photo_xy[0]))
    sigma_px = recipe.alignment_noise_px + recipe.alignment_noise_fraction * eye_distance_px
    return points_photo_xy + rng.normal(0.0, sigma_px, points_photo_xy.shape) if sigma_px else points_photo_xy


def draw(rng: np.random.Generator, distribution: str, amount: float) -> float:
    """Zero-centred draw: uniform in ±amount, or gaussian with that standard deviation."""
    return rng.normal(0.0, amount) if distribution == "gaussian" else rng.uniform(-amount, amount)
