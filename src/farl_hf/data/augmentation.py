"""Random augmentation of faces: recipes as tables, geometry, and colours.

Every draw comes from the `numpy.random.Generator` that the caller passes: the same generator state gives the same
sample.

The official code changes colours on a canvas of 512 pixels
(FaRL:farl/experiments/face_alignment/augmenters/train.yaml, lines 30 and 44-54) and lets the network reduce it to its
input (farl/network/transformers.py, lines 137-139). Where a recipe has a `canvas_px`, noise, box blur and occlusion
are drawn in pixels of that canvas and then reduced, bilinear, as the network reduces it.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import get_worker_info

from farl_hf.errors import FaRLError, FileWriteError, check_name


@dataclass(frozen=True)
class AugmentationRecipe:
    """How much one recipe may change a sample. Everything is off by default.

    Args:
        source (`str`): Where the numbers come from.
        shift_fraction (`float`): Largest shift, as a part of the crop size.
        rotation_rad (`float`): Largest or standard rotation about the crop centre.
        scale_center (`float`): Scale the processor already applies (`face_scale`); the spread is relative to it.
        scale_spread (`float`): Largest or standard deviation of the scale from `scale_center`.
        rotation_distribution, scale_distribution (`str`): `"uniform"` or `"gaussian"`.
        mirror_probability (`float`): Probability of mirroring; labels are swapped with it.
        alignment_noise_px (`float`): Standard deviation, in photo pixels, added to the alignment points.
        alignment_noise_fraction (`float`): The same as a part of the distance between the eyes.
        color_steps (`tuple[str, ...]`): Photometric steps in their order, keys of `COLOR_STEPS`.
        canvas_px (`int`, *optional*): Side of the canvas in whose pixels box blur, mixed noise and occlusion are
            drawn; they are then reduced to the crop. The crop itself by default.
        grayscale_probability (`float`): Probability of a grey picture.
        gamma_exponents (`tuple[float, ...]`): One is drawn uniformly; 1 changes nothing.
        box_blur_fraction (`float`): Box blur with kernel `int(u * canvas_px)`, u uniform up to this.
        occlusion (`bool`): Always paint one black rectangle (official alignment recipe).
        noise_mix_probability, noise_mix_max (`float`): Probability and largest weight of mixed-in uniform noise.
        gaussian_noise_max (`float`): Additive noise, standard deviation uniform up to this, in units of [0, 1].
        brightness, contrast, saturation (`float`): Factors uniform in 1 ± this.
        hue_rad (`float`): Largest rotation about the grey axis.
        channel_gain (`float`): Each channel times its own factor in 1 ± this.
        gaussian_blur_max_px (`float`): Half of the samples are blurred, sigma uniform up to this, in crop pixels.
        downscale_max (`float`): A quarter of the samples loses resolution, by a factor up to this.
        jpeg_probability (`float`), jpeg_quality (`tuple[int, int]`): Probability and qualities of a JPEG round trip.
        padding_fill_probability (`float`): Probability that a random texture, not black, is shown outside the photo.
    """

    source: str
    shift_fraction: float = 0.0
    rotation_rad: float = 0.0
    scale_center: float = 1.0
    scale_spread: float = 0.0
    rotation_distribution: str = "uniform"
    scale_distribution: str = "uniform"
    mirror_probability: float = 0.0
    alignment_noise_px: float = 0.0
    alignment_noise_fraction: float = 0.0
    color_steps: tuple[str, ...] = ("resolution", "color", "gamma", "blur", "noise", "jpeg", "occlusion")
    canvas_px: int | None = None
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


# py-blueprint 0.0.1.post3, blueprint/ml/augmenters/image.py: RandomGray (lines 146-158), RandomGamma (161-174),
# RandomBlur (177-192). The canvas is `warped_shape` of all train.yaml (face_alignment/augmenters/train.yaml, line 30).
OFFICIAL_COLORS: dict[str, Any] = {
    "canvas_px": 512,
    "grayscale_probability": 0.1,
    "gamma_exponents": (0.5, 1.0, 2.0),
    "box_blur_fraction": 0.01,
}
# RandomOcclusion (343-366) and NoiseFusion (369-379) of the same file, and the probability in
# farl/experiments/face_alignment/augmenters/train.yaml, line 49.
OFFICIAL_OCCLUSION_AND_NOISE: dict[str, Any] = {
    # train.yaml, lines 47-54: noise covers the black of the occlusion, and both are changed by gamma and blurred.
    "color_steps": ("occlusion", "noise", "color", "gamma", "blur"),
    "occlusion": True,
    "noise_mix_probability": 0.5,
    "noise_mix_max": 0.5,
}

# The configurations set only the shift to uniform (lapa/train.yaml, lines 18-24; celebm/train.yaml, lines 16-22), and
# the default is a normal distribution (py-blueprint, blueprint/ml/augmenters/transform.py, lines 186-206). So rotation
# and scale are Gaussian in the code that trained the released weights, although the supplement describes ranges.
OFFICIAL_PARSING = AugmentationRecipe(
    source="FaRL:farl/experiments/face_parsing/augmenters/{lapa,celebm}/train.yaml",
    shift_fraction=0.01,
    rotation_rad=0.314,
    rotation_distribution="gaussian",
    scale_spread=0.1,
    scale_distribution="gaussian",
    color_steps=("color", "gamma", "blur"),  # lapa/train.yaml, lines 60-62; celebm/train.yaml, lines 58-60
    **OFFICIAL_COLORS,
)


def official_landmarks(trainer: str, scale_center: float) -> AugmentationRecipe:
    """The landmark recipe of the code; the data sets differ in the scale about which the crop varies."""
    return AugmentationRecipe(
        source=f"FaRL:farl/experiments/face_alignment/augmenters/train.yaml, numbers of trainers/{trainer}_farl.yaml",
        shift_fraction=0.05,
        rotation_rad=0.174,
        scale_center=scale_center,
        scale_spread=0.1,
        **OFFICIAL_COLORS,
        **OFFICIAL_OCCLUSION_AND_NOISE,
    )


# The recipes that the paper describes (supplement, section 6); its code differs. The text names no changes of colour
# for parsing.
SUPPLEMENT_PARSING = AugmentationRecipe(
    source="supplement, section 6: ranges for rotation and scale",
    shift_fraction=0.01,
    rotation_rad=math.radians(18),
    scale_spread=0.1,
)


def supplement_landmarks(scale_center: float) -> AugmentationRecipe:
    """The landmark recipe of the text: a smaller shift, a Gaussian blur, neither grey pictures nor gamma."""
    return AugmentationRecipe(
        # The text names neither an order nor a canvas.
        source="supplement, section 6; the amount of blur is ours; noise, occlusion, order and canvas are the code's",
        shift_fraction=0.01,
        rotation_rad=math.radians(10),
        scale_center=scale_center,
        scale_spread=0.1,
        canvas_px=512,
        gaussian_blur_max_px=1.0,
        **OFFICIAL_OCCLUSION_AND_NOISE,
    )


# Ours: wide photometric changes, because training pictures are rendered and the pictures to come are photographs.
SYNTHETIC_COLORS: dict[str, Any] = {
    "grayscale_probability": 0.1,
    "gamma_exponents": (0.5, 0.7, 0.85, 1.0, 1.0, 1.25, 1.6, 2.0),
    "brightness": 0.4,
    "contrast": 0.35,
    "saturation": 0.4,
    "hue_rad": 0.15,
    "channel_gain": 0.15,
    "gaussian_noise_max": 0.04,
    "gaussian_blur_max_px": 1.0,
    "downscale_max": 2.5,
    "jpeg_probability": 0.4,
    "jpeg_quality": (20, 90),
    # Crops of rendered portraits reach far beyond the picture; those of photographs seldom do.
    "padding_fill_probability": 0.6,
}
# Ours, milder: small models learn rendered faces faster, and colours that are labels keep their names.
MILD_COLORS: dict[str, Any] = {
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
SYNTHETIC_GEOMETRY: dict[str, Any] = {
    "shift_fraction": 0.03,
    "rotation_rad": 0.25,
    "scale_spread": 0.15,
    "mirror_probability": 0.5,
    # A small detector's five points are off by .07 of the distance between the eyes.
    "alignment_noise_fraction": 0.05,
}

AUGMENTATION_RECIPES: dict[str, AugmentationRecipe] = {
    "none": AugmentationRecipe(source="no change: evaluation"),
    # The paper does not say how pre-training changes its images. CLIP, whose recipe it follows, crops at random and
    # changes nothing else; the amounts are those of the official landmark recipe. No mirror and no changes of
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
        # The supplement names the operations, with numbers only for the grey probability and the landmark variance.
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
    # No mirror: captions name sides. Mild colours: captions name them.
    "synthetic_pretraining": AugmentationRecipe(
        source="ours",
        **(SYNTHETIC_GEOMETRY | {"mirror_probability": 0.0}),
        **(MILD_COLORS | {"gamma_exponents": (0.7, 1.0, 1.0, 1.4), "gaussian_blur_max_px": 1.0, "downscale_max": 2.0}),
    ),
}


def get_augmentation_recipe(name: str) -> AugmentationRecipe:
    """The recipe of that name.

    Raises:
        UnknownNameError: No such recipe; the message lists those that exist.
    """
    check_name("augmentation recipe", name, AUGMENTATION_RECIPES)
    return AUGMENTATION_RECIPES[name]


def shared_batch(batch: dict[str, Any]) -> dict[str, Any]:
    """The batch; in a loader worker, its tensors are in shared memory.

    PyTorch would move them there in a thread whose errors are only printed: where that memory is full, the training
    would wait for ever.
    """
    if get_worker_info() is not None:
        values = list(batch.values())
        for value in values:  # grows by what lists and dicts hold
            values += value if isinstance(value, list) else value.values() if isinstance(value, dict) else []
            if isinstance(value, torch.Tensor):
                value.share_memory_()
    return batch


@contextlib.contextmanager
def errors_of_workers() -> Iterator[None]:
    """Turns errors that come from loader workers, with their traces, into what was raised there.

    Raises:
        FileWriteError: The shared memory is full.
    """
    try:
        yield
    except (FaRLError, RuntimeError) as error:
        words = str(error)
        if "/torch_" in words or "shared memory" in words:
            raise FileWriteError(
                "The shared memory, by which loader workers hand over batches, is full; give the container more "
                "(docker run --shm-size 8g), or set --dataloader-num-workers 0."
            ) from error
        if not (isinstance(error, FaRLError) and "in DataLoader worker process" in words):
            raise
        raise type(error)(words.strip().splitlines()[-1].partition(": ")[2]) from error


class SeededSamples:
    """A base of sample makers: random numbers depend on seed, epoch and sample, and not on the loader's workers.

    Args:
        seed (`int`): Seed of the random numbers.
    """

    def __init__(self, seed: int):
        self.seed = seed
        # Shared memory, so that loader workers that outlive an epoch see the new number.
        with errors_of_workers():
            self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch whose random changes are drawn; accelerate's data loaders call it."""
        self._epoch[0] = epoch

    def begin_sample(self, sample: int, epoch: int | None = None) -> np.random.Generator:
        """The random numbers of one sample; in a loader worker, OpenCV gets a single thread.

        Args:
            sample (`int`): Its number or key.
            epoch (`int`, *optional*): Another epoch than that of `set_epoch`.
        """
        if get_worker_info() is not None:
            cv2.setNumThreads(0)  # OpenCV's own threads would fight with the loader's processes
        return np.random.default_rng((self.seed, int(self._epoch[0]) if epoch is None else epoch, sample))


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
    # A gaussian scale can reach zero in principle; a tenth is nine deviations away. The original has no bound
    # (blueprint/ml/augmenters/transform.py, lines 200-203).
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
