"""Facts about faces as tables: class names, palettes, landmark layouts, mirror pairs, normalisers.

Wherever a name says left or right, it is the image's left or right, not the person's.
"""

from farl_hf.labels.attributes import CELEBA_ATTRIBUTES
from farl_hf.labels.landmarks import (
    BOX_NORMALISERS,
    DEFAULT_NORMALISER,
    ERROR_CURVES,
    FIVE_FROM_LANDMARKS,
    FIVE_POINTS,
    FIVE_POINTS_MIRROR_PAIRS,
    LANDMARK_GROUPS,
    LANDMARK_MIRROR_PAIRS,
    NORMALISERS,
)
from farl_hf.labels.parsing import (
    CELEBAMASK_DATASET_LABELS,
    CELEBAMASK_DATASET_MIRROR_PAIRS,
    CELEBAMASK_FILE_SUFFIXES,
    CELEBAMASK_FROM_DATASET,
    CELEBAMASK_LABELS,
    CELEBAMASK_MIRROR_PAIRS,
    CELEBAMASK_PALETTE,
    LAPA_LABELS,
    LAPA_MIRROR_PAIRS,
    LAPA_PALETTE,
    palette_for,
)

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
