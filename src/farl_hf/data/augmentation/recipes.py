"""How much each experiment may change a sample, as a table of recipes; and the random numbers of a sample.

The official recipes follow FaRL's released configurations and the supplement of the paper (FacePerceiver/FaRL,
`farl/experiments/*/augmenters`; CVPR 2022 supplement, section 6). None of the official parsing and landmark recipes
mirrors.
"""

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import get_worker_info

from farl_hf.errors import check_name


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
        color_steps (`tuple[str, ...]`): Photometric steps in their order, keys of `color.COLOR_STEPS`.
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


# The recipes that the paper describes; its code differs. The text names no changes of colour for parsing.
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


class SeededSamples:
    """A base of sample makers: random numbers depend on seed, epoch and sample, and not on the loader's workers.

    Args:
        seed (`int`): Seed of the random numbers.
    """

    def __init__(self, seed: int):
        self.seed = seed
        # Shared memory, so that loader workers that outlive an epoch see the new number.
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
