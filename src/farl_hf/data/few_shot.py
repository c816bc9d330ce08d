"""The official rule for training on a part of the data (py-blueprint, `blueprint/ml/dataprocessor.py`)."""

import math
import random
from collections.abc import Sequence
from typing import TypeVar

from farl_hf.errors import InvalidFaceInputError

__all__ = ["few_shot_subset"]

SUBSET_SEED = 123  # of the official code: another seed trains on other faces

Item = TypeVar("Item")


def few_shot_subset(items: Sequence[Item], ratio: float) -> list[Item]:
    """A fixed random part of the items, repeated until there are as many as before.

    So an epoch has as many steps as on the whole, and schedules stay the same.

    Args:
        items (`Sequence`): All items.
        ratio (`float`): Part to keep, in (0, 1]; at least one item must remain.

    Raises:
        InvalidFaceInputError: The ratio keeps no item, or is beyond 1.
    """
    num_kept = int(len(items) * ratio)
    if not 0 < ratio <= 1 or num_kept == 0:
        raise InvalidFaceInputError(
            f"train_data_ratio {ratio} of {len(items)} faces keeps {max(num_kept, 0)}; expected a part in (0, 1] that "
            "keeps at least one."
        )
    order = list(range(len(items)))
    random.Random(SUBSET_SEED).shuffle(order)
    kept = order[:num_kept] * math.ceil(len(items) / num_kept)
    return [items[index] for index in kept[: len(items)]]
