"""Random changes of a face crop: a geometric one that is a matrix, and photometric ones on the warped crop.

The geometric part never touches pixels. `random_crop_motion` draws a matrix that is composed into `crop_from_photo`,
so that the photo is resampled once. Every draw comes from the `numpy.random.Generator` that the caller passes: same
generator state, same sample.

Recipes are rows of `AUGMENTATION_RECIPES`. The official ones follow FaRL's released configurations and the supplement
of the paper (FacePerceiver/FaRL, `farl/experiments/*/augmenters`; CVPR 2022 supplement, section 6); none of the
official parsing and alignment recipes mirrors.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from farl_hf.errors import UnknownNameError

__all__ = [
    "AUGMENTATION_RECIPES",
    "AugmentationRecipe",
    "augment_colors",
    "fill_padding",
    "get_augmentation_recipe",
    "random_alignment_noise",
    "random_crop_motion",
]

# ITU-R BT.601 luma, as OpenCV's RGB2GRAY uses.
LUMA_WEIGHTS = np.array([0.299, 0.587, 0.114], dtype=np.float32)


@dataclass(frozen=True)
class AugmentationRecipe:
    """How far one recipe may change a sample. Everything off by default.

    Args:
        source (`str`): Where the numbers come from.
        shift_fraction (`float`): Largest (uniform) or standard (gaussian) shift, as a part of the crop size.
        rotation_rad (`float`): Largest or standard rotation about the crop centre.
        scale_center (`float`): Scale the processor already applies (`face_scale`); the spread is relative to it.
        scale_spread (`float`): Largest or standard deviation of the scale from `scale_center`.
        shift_distribution, rotation_distribution, scale_distribution (`str`): `"uniform"` or `"gaussian"`.
        mirror_probability (`float`): Chance of a left-right mirror (labels are swapped with it).
        alignment_noise_px (`float`): Standard deviation, in photo pixels, added to the alignment points.
        alignment_noise_fraction (`float`): The same as a part of the distance between the eyes.
        grayscale_probability (`float`): Chance of a grey picture.
        gamma_exponents (`tuple[float, ...]`): One is chosen with equal chance; 1 leaves the picture alone.
        box_blur_fraction (`float`): Box blur with kernel `int(u * size)`, u uniform up to this.
        occlusion (`bool`): Always paint one black rectangle (official alignment recipe).
        noise_mix_probability, noise_mix_max (`float`): Chance and largest weight of a mixture with uniform noise.
        gaussian_noise_max (`float`): Additive noise, standard deviation uniform up to this, in units of [0, 1].
        brightness, contrast, saturation (`float`): Factors uniform in 1 ± this.
        hue_rad (`float`): Largest rotation about the grey axis.
        channel_gain (`float`): Each channel times its own factor in 1 ± this.
        gaussian_blur_max_px (`float`): Half of the samples are blurred, sigma uniform up to this, in crop pixels.
        downscale_max (`float`): A quarter of the samples loses resolution, by a factor up to this.
        jpeg_probability (`float`), jpeg_quality (`tuple[int, int]`): Chance and range of quality of a JPEG round trip.
        padding_fill_probability (`float`): Chance that what lies outside the photo shows a random texture instead of
            black.
    """

    source: str
    shift_fraction: float = 0.0
    rotation_rad: float = 0.0
    scale_center: float = 1.0
    scale_spread: float = 0.0
    shift_distribution: str = "uniform"
    rotation_distribution: str = "uniform"
    scale_distribution: str = "uniform"
    mirror_probability: float = 0.0
    alignment_noise_px: float = 0.0
    alignment_noise_fraction: float = 0.0
    grayscale_probability: float = 0.0
    gamma_exponents: tuple[float, ...] = (1.0,)
    box_blur_fraction: float = 0.0
    occlusion: bool = False
    noise_mix_probability: float = 0.0
    noise_mix_max: float = 0.0
    gaussian_noise_max: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue_rad: float = 0.0
    channel_gain: float = 0.0
    gaussian_blur_max_px: float = 0.0
    downscale_max: float = 1.0
    jpeg_probability: float = 0.0
    jpeg_quality: tuple[int, int] = (95, 95)
    padding_fill_probability: float = 0.0


OFFICIAL_COLORS = {"grayscale_probability": 0.1, "gamma_exponents": (0.5, 1.0, 2.0), "box_blur_fraction": 0.01}

# The configurations set only the shift to uniform, so rotation and scale are Gaussian in the code that trained the
# released weights, although the supplement describes ranges.
OFFICIAL_PARSING = AugmentationRecipe(
    source="FaRL:farl/experiments/face_parsing/augmenters/lapa/train.yaml",
    shift_fraction=0.01,
    rotation_rad=0.314,
    rotation_distribution="gaussian",
    scale_spread=0.1,
    scale_distribution="gaussian",
    **OFFICIAL_COLORS,
)


def official_landmarks(dataset: str, scale_center: float) -> AugmentationRecipe:
    """The alignment recipe; the datasets differ in the scale about which the crop varies."""
    return AugmentationRecipe(
        source=f"FaRL:farl/experiments/face_alignment/augmenters/{dataset}/train.yaml",
        shift_fraction=0.05,
        rotation_rad=0.174,
        scale_center=scale_center,
        scale_spread=0.1,
        occlusion=True,
        noise_mix_probability=0.5,
        noise_mix_max=0.5,
        **OFFICIAL_COLORS,
    )


# What the paper describes where its code does otherwise; the text names no changes of colour for parsing.
SUPPLEMENT_PARSING = AugmentationRecipe(
    source="supplement, section 6: ranges for rotation and scale",
    shift_fraction=0.01,
    rotation_rad=math.radians(18),
    scale_spread=0.1,
)


def supplement_landmarks(scale_center: float) -> AugmentationRecipe:
    """The alignment recipe as described: a smaller shift, a Gaussian blur, neither grey pictures nor gamma."""
    return AugmentationRecipe(
        source="supplement, section 6; amounts of blur are ours, of noise and occlusion those of the code",
        shift_fraction=0.01,
        rotation_rad=math.radians(10),
        scale_center=scale_center,
        scale_spread=0.1,
        occlusion=True,
        noise_mix_probability=0.5,
        noise_mix_max=0.5,
        gaussian_blur_max_px=1.0,
    )


# Our own: wide photometric changes, because the pictures are drawn and the photographs are not.
SYNTHETIC_COLORS = {
    "grayscale_probability": 0.1,
    "gamma_exponents": (0.6, 0.8, 1.0, 1.0, 1.25, 1.6),
    "brightness": 0.3,
    "contrast": 0.35,
    "saturation": 0.4,
    "hue_rad": 0.2,
    "channel_gain": 0.15,
    "gaussian_noise_max": 0.04,
    "gaussian_blur_max_px": 1.0,
    "downscale_max": 2.0,
    "jpeg_probability": 0.3,
    "jpeg_quality": (25, 90),
    # Crops of rendered portraits reach far beyond the picture; those of photographs seldom do.
    "padding_fill_probability": 0.6,
}
# Less of the same: small models learn drawn faces faster, and colours that are labels keep their names.
MILD_COLORS = {
    "brightness": 0.15,
    "contrast": 0.15,
    "saturation": 0.15,
    "channel_gain": 0.04,
    "gaussian_noise_max": 0.015,
    "gaussian_blur_max_px": 0.6,
    "downscale_max": 1.5,
    "jpeg_probability": 0.2,
    "jpeg_quality": (50, 95),
    "padding_fill_probability": 0.3,
}
SYNTHETIC_GEOMETRY = {
    "shift_fraction": 0.03,
    "rotation_rad": 0.25,
    "scale_spread": 0.12,
    "mirror_probability": 0.5,
    "alignment_noise_fraction": 0.03,
}

AUGMENTATION_RECIPES: dict[str, AugmentationRecipe] = {
    "none": AugmentationRecipe(source="no change: evaluation"),
    # The paper does not say how pre-training changes its images. CLIP, whose recipe it follows, crops at random and
    # changes nothing else; the amounts are those of the official alignment recipe. No mirror and no changes of
    # colour: captions name sides and colours.
    "pretraining": AugmentationRecipe(
        source="ours: unknown in the paper", shift_fraction=0.05, rotation_rad=math.radians(10), scale_spread=0.1
    ),
    # The supplement names SimCLR and SwAV without settings. Their papers' colours; crops stay on the aligned face.
    "self_supervision": AugmentationRecipe(
        source="colours of SimCLR and SwAV; crop, gamma and blur amounts are ours",
        shift_fraction=0.1,
        rotation_rad=math.radians(10),
        scale_spread=0.25,
        mirror_probability=0.5,
        grayscale_probability=0.2,
        gamma_exponents=(0.6, 0.8, 1.0, 1.25, 1.6),
        brightness=0.4,
        contrast=0.4,
        saturation=0.4,
        hue_rad=0.1 * 2 * math.pi,
        gaussian_blur_max_px=1.5,
    ),
    "lapa_parsing": OFFICIAL_PARSING,
    "celebamask_parsing": OFFICIAL_PARSING,
    "w300_landmarks": official_landmarks("ibug300w", 0.8),
    "wflw_landmarks": official_landmarks("wflw", 0.8),
    "aflw19_landmarks": official_landmarks("aflw19", 1.0),
    "lapa_parsing_supplement": SUPPLEMENT_PARSING,
    "celebamask_parsing_supplement": SUPPLEMENT_PARSING,
    "w300_landmarks_supplement": supplement_landmarks(0.8),
    "wflw_landmarks_supplement": supplement_landmarks(0.8),
    "aflw19_landmarks_supplement": supplement_landmarks(1.0),
    "celeba_attributes_frozen": AugmentationRecipe(
        source="supplement, section 6 (frozen backbone)", mirror_probability=0.5
    ),
    "celeba_attributes": AugmentationRecipe(
        # The supplement names the operations; only the grey chance and the landmark variance have numbers in it.
        # The amounts of crop shift and pixel noise are ours.
        source="supplement, section 6 (fine-tuning); shift and pixel noise amounts are ours",
        mirror_probability=0.5,
        shift_fraction=0.05,
        gaussian_noise_max=0.05,
        grayscale_probability=0.1,
        alignment_noise_px=math.sqrt(5.0),
    ),
    "synthetic_parsing": AugmentationRecipe(source="ours", **SYNTHETIC_GEOMETRY, **SYNTHETIC_COLORS),
    "synthetic_landmarks": AugmentationRecipe(source="ours", **SYNTHETIC_GEOMETRY, **SYNTHETIC_COLORS),
    "synthetic_attributes": AugmentationRecipe(source="ours", **SYNTHETIC_GEOMETRY, **SYNTHETIC_COLORS),
    "synthetic_mild": AugmentationRecipe(source="ours", **SYNTHETIC_GEOMETRY, **MILD_COLORS),
}


def get_augmentation_recipe(name: str) -> AugmentationRecipe:
    """The recipe of that name.

    Raises:
        UnknownNameError: No such recipe; the message lists those that exist.
    """
    if name not in AUGMENTATION_RECIPES:
        known = ", ".join(sorted(AUGMENTATION_RECIPES))
        raise UnknownNameError(f"There is no augmentation recipe {name!r}. Known recipes: {known}.")
    return AUGMENTATION_RECIPES[name]


def draw(rng: np.random.Generator, distribution: str, amount: float, size: int | None = None) -> np.ndarray | float:
    """Zero-centred draw: uniform in ±amount, or gaussian with that standard deviation."""
    if distribution == "gaussian":
        return rng.normal(0.0, amount, size)
    return rng.uniform(-amount, amount, size)


def random_crop_motion(
    recipe: AugmentationRecipe, rng: np.random.Generator, size_hw: tuple[int, int]
) -> tuple[np.ndarray, bool]:
    """Draws a random change of the crop.

    Convention:
        The matrix maps crop pixels to changed crop pixels (`changed_from_crop`), first pixel centred at (0.5, 0.5),
            both before
        the tanh warp. Compose as `changed_from_crop @ crop_from_photo`. Positive angles turn the picture clockwise.

    Args:
        recipe ([`AugmentationRecipe`]): Amounts.
        rng (`numpy.random.Generator`): Source of chance.
        size_hw (`tuple[int, int]`): Height and width of the crop.

    Returns:
        `tuple[numpy.ndarray, bool]`: Matrix (3, 3) float64, and whether it mirrors.
    """
    height, width = size_hw
    shift_xy = draw(rng, recipe.shift_distribution, recipe.shift_fraction, 2) * (width, height)
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


def augment_colors(image_rgb: np.ndarray, recipe: AugmentationRecipe, rng: np.random.Generator) -> np.ndarray:
    """Photometric part of a recipe.

    Args:
        image_rgb (`numpy.ndarray`): (H, W, 3) float32 in [0, 1]. Not changed.
        recipe ([`AugmentationRecipe`]): Amounts.
        rng (`numpy.random.Generator`): Source of chance.

    Returns:
        `numpy.ndarray`: (H, W, 3) float32 in [0, 1].
    """
    image_rgb = lower_resolution(image_rgb, recipe, rng)
    image_rgb = jitter_colors(image_rgb, recipe, rng)
    image_rgb = change_gamma(image_rgb, recipe, rng)
    image_rgb = blur(image_rgb, recipe, rng)
    image_rgb = add_noise(image_rgb, recipe, rng)
    image_rgb = compress(image_rgb, recipe, rng)
    return occlude(image_rgb, rng) if recipe.occlusion else image_rgb


def fill_padding(
    image_rgb: np.ndarray, inside: np.ndarray, recipe: AugmentationRecipe, rng: np.random.Generator
) -> np.ndarray:
    """Shows a smooth random texture outside the photo, with the recipe's chance.

    Args:
        image_rgb (`numpy.ndarray`): (H, W, 3) float32 in [0, 1], black outside the photo. Not changed.
        inside (`numpy.ndarray`): (H, W) float32, share of each pixel that the photo covers.
        recipe ([`AugmentationRecipe`]): Amounts.
        rng (`numpy.random.Generator`): Source of chance.

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
    matrix = random_color_matrix(recipe, rng, image_rgb)
    if matrix is None:
        return image_rgb
    return np.clip(cv2.transform(image_rgb, matrix), 0.0, 1.0)


def random_color_matrix(
    recipe: AugmentationRecipe, rng: np.random.Generator, image_rgb: np.ndarray
) -> np.ndarray | None:
    """(3, 4) float32 affine change of RGB, or None when the recipe left this picture alone."""
    gray = rng.random() < recipe.grayscale_probability
    if not (recipe.brightness or recipe.contrast or recipe.saturation or recipe.hue_rad or recipe.channel_gain):
        return np.hstack([np.tile(LUMA_WEIGHTS, (3, 1)), np.zeros((3, 1), np.float32)]) if gray else None
    linear = saturation_matrix(0.0 if gray else 1.0 + rng.uniform(-recipe.saturation, recipe.saturation))
    linear = linear @ hue_matrix(rng.uniform(-recipe.hue_rad, recipe.hue_rad))
    gains = 1.0 + rng.uniform(-recipe.channel_gain, recipe.channel_gain, 3)
    contrast = 1.0 + rng.uniform(-recipe.contrast, recipe.contrast)
    brightness = 1.0 + rng.uniform(-recipe.brightness, recipe.brightness)
    linear = np.diag(gains * contrast * brightness) @ linear
    offset = (1.0 - contrast) * brightness * float(cv2.mean(image_rgb)[1])
    return np.hstack([linear, np.full((3, 1), offset)]).astype(np.float32)


def saturation_matrix(factor: float) -> np.ndarray:
    """Colour matrix (3, 3): 0 gives grey, 1 the identity."""
    return factor * np.eye(3) + (1.0 - factor) * np.tile(LUMA_WEIGHTS, (3, 1))


def hue_matrix(angle_rad: float) -> np.ndarray:
    """Colour matrix (3, 3): rotation about the grey axis (Rodrigues)."""
    axis = 1.0 / math.sqrt(3.0)
    cross = axis * np.array([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]])
    return np.eye(3) + math.sin(angle_rad) * cross + (1.0 - math.cos(angle_rad)) * (cross @ cross)


def change_gamma(image_rgb: np.ndarray, recipe: AugmentationRecipe, rng: np.random.Generator) -> np.ndarray:
    """One of the recipe's exponents, with equal chance."""
    exponent = recipe.gamma_exponents[int(rng.integers(len(recipe.gamma_exponents)))]
    return image_rgb if exponent == 1 else cv2.pow(image_rgb, exponent)


def blur(image_rgb: np.ndarray, recipe: AugmentationRecipe, rng: np.random.Generator) -> np.ndarray:
    """Official box blur, and our Gaussian one."""
    if recipe.box_blur_fraction:
        kernel_px = int(rng.uniform(0.0, recipe.box_blur_fraction) * image_rgb.shape[0])
        image_rgb = cv2.blur(image_rgb, (kernel_px, kernel_px)) if kernel_px > 1 else image_rgb
    if recipe.gaussian_blur_max_px and rng.random() < 0.5:
        sigma_px = rng.uniform(0.1, max(0.1, recipe.gaussian_blur_max_px))
        image_rgb = cv2.GaussianBlur(image_rgb, (0, 0), sigma_px)
    return image_rgb


def add_noise(image_rgb: np.ndarray, recipe: AugmentationRecipe, rng: np.random.Generator) -> np.ndarray:
    """Mixture with uniform noise (official alignment recipe), and additive Gaussian noise."""
    if rng.random() < recipe.noise_mix_probability:
        weight = np.float32(rng.uniform(0.0, recipe.noise_mix_max))
        image_rgb = (1 - weight) * image_rgb + weight * rng.random(image_rgb.shape, dtype=np.float32)
    if recipe.gaussian_noise_max and rng.random() < 0.5:
        sigma = np.float32(rng.uniform(0.0, recipe.gaussian_noise_max))
        image_rgb = np.clip(image_rgb + sigma * rng.standard_normal(image_rgb.shape, dtype=np.float32), 0.0, 1.0)
    return image_rgb


def compress(image_rgb: np.ndarray, recipe: AugmentationRecipe, rng: np.random.Generator) -> np.ndarray:
    """JPEG round trip."""
    if rng.random() >= recipe.jpeg_probability:
        return image_rgb
    quality = int(rng.integers(recipe.jpeg_quality[0], recipe.jpeg_quality[1] + 1))
    bgr = np.ascontiguousarray((image_rgb * 255.0 + 0.5).astype(np.uint8)[..., ::-1])
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    return decoded[..., ::-1].astype(np.float32) / 255.0


def occlude(image_rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Paints the black rectangle of the official alignment recipe (clipped at the borders)."""
    height, width = image_rgb.shape[:2]
    ratio_h = rng.uniform(0.2, 0.8)
    ratio_w = ratio_h + rng.uniform(-0.2, 0.2)
    extent_h, extent_w = int(height / 2 * ratio_h), int(width / 2 * ratio_w)
    top = int(rng.uniform(0, height)) - extent_h // 2
    left = int(rng.uniform(0, width)) - extent_w // 2
    painted = image_rgb.copy()
    painted[max(top, 0) : max(top + extent_h, 0), max(left, 0) : max(left + extent_w, 0)] = 0.0
    return painted
