"""Photometric augmentation of the warped crop: resolution, colour, gamma, blur, noise, JPEG, occlusion, padding.

Every draw comes from the `numpy.random.Generator` that the caller passes: the same generator state gives the same
sample.

The official code changes colours on a canvas of 512 pixels and lets the network reduce it to its input. Where a recipe
has a `canvas_px`, noise, box blur and occlusion are drawn in pixels of that canvas and then reduced, bilinear, as the
network reduces it.
"""

import math
from collections.abc import Callable

import cv2
import numpy as np

from farl_hf.data.augmentation.recipes import AugmentationRecipe

# ITU-R BT.601 luma, as OpenCV's RGB2GRAY uses.
LUMA_WEIGHTS = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def augment_colors(image_rgb: np.ndarray, recipe: AugmentationRecipe, rng: np.random.Generator) -> np.ndarray:
    """Photometric part of a recipe: its `color_steps`, one after the other.

    Args:
        image_rgb (`numpy.ndarray`): (H, W, 3) float32 in [0, 1]. Not changed.
        recipe ([`AugmentationRecipe`]): Steps and amounts.
        rng (`numpy.random.Generator`): Source of randomness.

    Returns:
        `numpy.ndarray`: (H, W, 3) float32 in [0, 1].
    """
    for step in recipe.color_steps:
        image_rgb = COLOR_STEPS[step](image_rgb, recipe, rng)
    return image_rgb


def fill_padding(
    image_rgb: np.ndarray, inside: np.ndarray, recipe: AugmentationRecipe, rng: np.random.Generator
) -> np.ndarray:
    """Shows a smooth random texture outside the photo, with the recipe's probability.

    Args:
        image_rgb (`numpy.ndarray`): (H, W, 3) float32 in [0, 1], black outside the photo. Not changed.
        inside (`numpy.ndarray`): (H, W) float32, share of each pixel that the photo covers.
        recipe ([`AugmentationRecipe`]): Amounts.
        rng (`numpy.random.Generator`): Source of randomness.

    Returns:
        `numpy.ndarray`: (H, W, 3) float32 in [0, 1].
    """
    if rng.random() >= recipe.padding_fill_probability:
        return image_rgb
    height, width = image_rgb.shape[:2]
    cells = int(rng.integers(1, 12))
    coarse = rng.random(3, dtype=np.float32) + rng.uniform(0.0, 0.5) * rng.standard_normal((cells, cells, 3))
    texture = cv2.resize(coarse.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    return image_rgb + (1.0 - inside[..., None]) * np.clip(texture, 0.0, 1.0)


def lower_resolution(image_rgb: np.ndarray, recipe: AugmentationRecipe, rng: np.random.Generator) -> np.ndarray:
    """Shrinks and enlarges a quarter of the pictures, as a small face in a photo is enlarged by the crop."""
    if recipe.downscale_max <= 1 or rng.random() >= 0.25:
        return image_rgb
    height, width = image_rgb.shape[:2]
    factor = rng.uniform(1.0, recipe.downscale_max)
    small_wh = (max(1, round(width / factor)), max(1, round(height / factor)))
    small = cv2.resize(image_rgb, small_wh, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def jitter_colors(image_rgb: np.ndarray, recipe: AugmentationRecipe, rng: np.random.Generator) -> np.ndarray:
    """Brightness, contrast, saturation, hue, channel gain and grey in one 3 × 4 colour matrix."""
    gray = rng.random() < recipe.grayscale_probability
    if recipe.brightness or recipe.contrast or recipe.saturation or recipe.hue_rad or recipe.channel_gain:
        linear = saturation_matrix(0.0 if gray else 1.0 + rng.uniform(-recipe.saturation, recipe.saturation))
        linear = linear @ hue_matrix(rng.uniform(-recipe.hue_rad, recipe.hue_rad))
        gains = 1.0 + rng.uniform(-recipe.channel_gain, recipe.channel_gain, 3)
        contrast = 1.0 + rng.uniform(-recipe.contrast, recipe.contrast)
        brightness = 1.0 + rng.uniform(-recipe.brightness, recipe.brightness)
        linear = np.diag(gains * contrast * brightness) @ linear
        offset = (1.0 - contrast) * brightness * float(cv2.mean(image_rgb)[1])
    elif gray:
        linear, offset = saturation_matrix(0.0), 0.0
    else:
        return image_rgb
    matrix = np.hstack([linear, np.full((3, 1), offset)]).astype(np.float32)
    return np.clip(cv2.transform(image_rgb, matrix), 0.0, 1.0)


def saturation_matrix(factor: float) -> np.ndarray:
    """Colour matrix (3, 3): 0 gives grey, 1 the identity."""
    return factor * np.eye(3) + (1.0 - factor) * np.tile(LUMA_WEIGHTS, (3, 1))


def hue_matrix(angle_rad: float) -> np.ndarray:
    """Colour matrix (3, 3): rotation about the grey axis (Rodrigues)."""
    axis = 1.0 / math.sqrt(3.0)
    cross = axis * np.array([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]])
    return np.eye(3) + math.sin(angle_rad) * cross + (1.0 - math.cos(angle_rad)) * (cross @ cross)


def change_gamma(image_rgb: np.ndarray, recipe: AugmentationRecipe, rng: np.random.Generator) -> np.ndarray:
    """One of the recipe's exponents, drawn uniformly."""
    exponent = recipe.gamma_exponents[int(rng.integers(len(recipe.gamma_exponents)))]
    return image_rgb if exponent == 1 else cv2.pow(image_rgb, exponent)


def blur(image_rgb: np.ndarray, recipe: AugmentationRecipe, rng: np.random.Generator) -> np.ndarray:
    """Official box blur, and our Gaussian one."""
    if recipe.box_blur_fraction:
        canvas_px = recipe.canvas_px or image_rgb.shape[0]
        side_px = int(rng.uniform(0.0, recipe.box_blur_fraction) * canvas_px)
        if side_px > 1:
            kernel = box_kernel(side_px, image_rgb.shape[0] / canvas_px)
            image_rgb = cv2.sepFilter2D(image_rgb, -1, kernel, kernel)
    if recipe.gaussian_blur_max_px and rng.random() < 0.5:
        sigma_px = rng.uniform(0.1, max(0.1, recipe.gaussian_blur_max_px))
        image_rgb = cv2.GaussianBlur(image_rgb, (0, 0), sigma_px)
    return image_rgb


def box_kernel(side_px: int, crop_per_canvas: float) -> np.ndarray:
    """One axis of a box blur of the canvas, as a kernel (odd length) for the crop.

    The mean of `side_px` places, one canvas pixel apart, read between crop pixels as bilinear resampling reads them.
    Even boxes reach one pixel farther to the left, as in `cv2.blur`.
    """
    places = (np.arange(side_px) - side_px // 2) * crop_per_canvas
    reach = math.ceil(-places[0])
    distances = np.abs(np.arange(-reach, reach + 1) - places[:, None])
    return np.maximum(1.0 - distances, 0.0).mean(axis=0).astype(np.float32)


def add_noise(image_rgb: np.ndarray, recipe: AugmentationRecipe, rng: np.random.Generator) -> np.ndarray:
    """Mixture with uniform noise (official alignment recipe), and additive Gaussian noise."""
    if rng.random() < recipe.noise_mix_probability:
        weight = np.float32(rng.uniform(0.0, recipe.noise_mix_max))
        height, width = image_rgb.shape[:2]
        noise = rng.random((recipe.canvas_px or height, recipe.canvas_px or width, 3), dtype=np.float32)
        noise = np.asarray(cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
        image_rgb = (1 - weight) * image_rgb + weight * noise
    if recipe.gaussian_noise_max and rng.random() < 0.5:
        sigma = np.float32(rng.uniform(0.0, recipe.gaussian_noise_max))
        image_rgb = np.clip(image_rgb + sigma * rng.standard_normal(image_rgb.shape, dtype=np.float32), 0.0, 1.0)
    return image_rgb


def compress(image_rgb: np.ndarray, recipe: AugmentationRecipe, rng: np.random.Generator) -> np.ndarray:
    """JPEG round trip at a random quality, with the recipe's probability."""
    if rng.random() >= recipe.jpeg_probability:
        return image_rgb
    quality = int(rng.integers(recipe.jpeg_quality[0], recipe.jpeg_quality[1] + 1))
    bgr = np.ascontiguousarray((image_rgb * 255.0 + 0.5).astype(np.uint8)[..., ::-1])
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    return decoded[..., ::-1].astype(np.float32) / 255.0  # type: ignore[index]  # not None: encoded above


def occlude(image_rgb: np.ndarray, recipe: AugmentationRecipe, rng: np.random.Generator) -> np.ndarray:
    """Paints the black rectangle of the official alignment recipe (clipped at the borders)."""
    if not recipe.occlusion:
        return image_rgb
    ratio_h = rng.uniform(0.2, 0.8)
    ratio_w = ratio_h + rng.uniform(-0.2, 0.2)
    covered_h, covered_w = (
        covered_share(size, recipe.canvas_px or size, ratio, rng.random())
        for size, ratio in zip(image_rgb.shape[:2], (ratio_h, ratio_w), strict=True)
    )
    return image_rgb * (1.0 - np.outer(covered_h, covered_w))[..., None]


def covered_share(size: int, canvas_px: int, ratio: float, place: float) -> np.ndarray:
    """One axis of the rectangle: share (size,) float32 of each crop pixel that it covers.

    Args:
        size (`int`): Pixels of the crop along the axis.
        canvas_px (`int`): Pixels of the canvas.
        ratio (`float`): The rectangle's length in halves of the canvas.
        place (`float`): Its centre, from 0 to 1 along the canvas.
    """
    reach, centre = int(canvas_px / 2 * ratio) // 2, int((canvas_px - 1) * place)
    run = np.zeros((canvas_px, 1), np.float32)
    run[max(centre - reach, 0) : centre + reach + 1] = 1.0
    return cv2.resize(run, (1, size), interpolation=cv2.INTER_LINEAR)[:, 0]


# The steps that a recipe puts in its order.
COLOR_STEPS: dict[str, Callable[[np.ndarray, AugmentationRecipe, np.random.Generator], np.ndarray]] = {
    "resolution": lower_resolution,
    "color": jitter_colors,
    "gamma": change_gamma,
    "blur": blur,
    "noise": add_noise,
    "jpeg": compress,
    "occlusion": occlude,
}
