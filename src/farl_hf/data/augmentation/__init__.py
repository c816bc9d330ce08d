"""Random changes of a face crop: a matrix before the warp, colours after it, amounts from a table of recipes."""

from farl_hf.data.augmentation.color import augment_colors, fill_padding
from farl_hf.data.augmentation.geometry import random_alignment_noise, random_crop_motion
from farl_hf.data.augmentation.recipes import (
    AUGMENTATION_RECIPES,
    AugmentationRecipe,
    SeededSamples,
    get_augmentation_recipe,
)

__all__ = [
    "AUGMENTATION_RECIPES",
    "AugmentationRecipe",
    "SeededSamples",
    "augment_colors",
    "fill_padding",
    "get_augmentation_recipe",
    "random_alignment_noise",
    "random_crop_motion",
]
