"""Checks of the numbers among the settings and arguments of image processors."""

import math


def check_number(name, value, least, most, whole=False):
    """Raises a ValueError unless a value is a finite number in its range; `least` and `most` are allowed."""
    number = hasattr(value, "__index__" if whole else "__float__") and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not least <= value <= most:
        kind = "a whole number" if whole else "a number"
        raise ValueError(f"{name}={repr(value)[:100]} cannot be used; expected {kind} from {least:g} to {most:g}.")


def check_pixel_normalisation(mean, std):
    """Raises a ValueError unless mean and deviation are three numbers each (or one), and no deviation is 0."""
    for name, values, least in (("image_mean", mean, -1e4), ("image_std", std, 1e-6)):
        values = list(values) if isinstance(values, list | tuple) else [values] * 3
        if len(values) != 3:
            raise ValueError(f"{name}={str(values)[:100]} has {len(values)} numbers; expected one per channel: 3.")
        for value in values:
            check_number(name, value, least, 1e4)
