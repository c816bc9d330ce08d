"""The colours a label map is shown in, whatever its classes are."""

import colorsys

from farl_hf.labels.celebamask_hq import CELEBAMASK_LABELS, CELEBAMASK_PALETTE
from farl_hf.labels.lapa import LAPA_LABELS, LAPA_PALETTE

__all__ = ["palette_for"]

# A part keeps its colour in every label set.
_COLOUR_OF_NAME = dict(zip(CELEBAMASK_LABELS, CELEBAMASK_PALETTE, strict=True)) | dict(
    zip(LAPA_LABELS, LAPA_PALETTE, strict=True)
)

# Successive hues this far apart on the colour wheel never come close to each other (the golden ratio).
_HUE_STEP = 0.618034


def palette_for(label_names: tuple[str, ...] | list[str]) -> tuple[tuple[int, int, int], ...]:
    """One RGB colour (0..255) per class name: the known colour of a known part, else a hue of its own.

    Args:
        label_names (`Sequence[str]`): Class names in id order; id 0 is the background.
    """
    return tuple(_COLOUR_OF_NAME.get(name) or _spread_colour(index) for index, name in enumerate(label_names))


def _spread_colour(index: int) -> tuple[int, int, int]:
    if index == 0:
        return (0, 0, 0)
    channels = colorsys.hsv_to_rgb(index * _HUE_STEP % 1.0, 0.65, 0.95)
    return tuple(round(255 * channel) for channel in channels)
