"""Facts about faces as tables: class names, palettes, landmark layouts, mirror pairs, normalisers.

Wherever a name says left or right, it is the image's left or right, not the person's.
"""

from farl_hf.labels.celeba import CELEBA_ATTRIBUTES
from farl_hf.labels.celebamask_hq import (
    CELEBAMASK_DATASET_LABELS,
    CELEBAMASK_DATASET_MIRROR_PAIRS,
    CELEBAMASK_FILE_SUFFIXES,
    CELEBAMASK_FROM_DATASET,
    CELEBAMASK_LABELS,
    CELEBAMASK_MIRROR_PAIRS,
    CELEBAMASK_PALETTE,
)
from farl_hf.labels.five_points import FIVE_FROM_LANDMARKS, FIVE_POINTS, FIVE_POINTS_MIRROR_PAIRS
from farl_hf.labels.landmark_groups import LANDMARK_GROUPS
from farl_hf.labels.landmark_mirror_pairs import LANDMARK_MIRROR_PAIRS
from farl_hf.labels.lapa import LAPA_LABELS, LAPA_MIRROR_PAIRS, LAPA_PALETTE
from farl_hf.labels.normalisers import BOX_NORMALISERS, DEFAULT_NORMALISER, ERROR_CURVES, NORMALISERS
from farl_hf.labels.palettes import palette_for

__all__ = [
    "BOX_NORMALISERS",
    "CELEBAMASK_DATASET_LABELS",
    "CELEBAMASK_DATASET_MIRROR_PAIRS",
    "CELEBAMASK_FILE_SUFFIXES",
    "CELEBAMASK_FROM_DATASET",
    "CELEBAMASK_LABELS",
    "CELEBAMASK_MIRROR_PAIRS",
    "CELEBAMASK_PALETTE",
    "CELEBA_ATTRIBUTES",
    "DEFAULT_NORMALISER",
    "ERROR_CURVES",
    "FIVE_FROM_LANDMARKS",
    "FIVE_POINTS",
    "FIVE_POINTS_MIRROR_PAIRS",
    "LANDMARK_GROUPS",
    "LANDMARK_MIRROR_PAIRS",
    "LAPA_LABELS",
    "LAPA_MIRROR_PAIRS",
    "LAPA_PALETTE",
    "NORMALISERS",
    "palette_for",
]
