"""The tanh_alpha warp: identity in the middle of a crop, squeezing the surroundings into its rim.

Source: supplement section 6; FacePerceiver/facer `facer/transform.py`, py-blueprint `transform.py`.

Convention: coordinates are fractions of the half side, so the crop spans [-1, 1] before the warp and the warped crop
spans [-1, 1] after it. alpha = 0 is a plain crop, alpha = 1 warps everywhere. The inverse clamps arctanh's argument at
+-0.999 as the original does, so beyond |x| = 1 - alpha + 0.999 alpha it no longer inverts the forward map.
"""

import math

import torch

__all__ = ["tanh_reach", "tanh_unwarp", "tanh_warp"]

_ARCTANH_CLAMP = 0.999


def tanh_warp(crop, alpha):
    """Map crop coordinates to warped ones, element by element; any shape."""
    if alpha == 0:
        return crop
    core = crop.clamp(-(1 - alpha), 1 - alpha)
    return core + alpha * torch.tanh((crop - core) / alpha)


def tanh_unwarp(warped, alpha):
    """Map warped coordinates back to crop coordinates, element by element; any shape."""
    if alpha == 0:
        return warped
    core = warped.clamp(-(1 - alpha), 1 - alpha)
    rim = ((warped - core) / alpha).clamp(-_ARCTANH_CLAMP, _ARCTANH_CLAMP)
    return core + alpha * torch.arctanh(rim)


def tanh_reach(alpha, num_cells):
    """Return how far out, in half sides of the crop, the outermost cell centre of a warped map still looks.

    Farther out, a bilinear read of the map mixes nothing but its border cells with the zero padding.
    """
    if alpha == 0:
        return 1 + 1 / num_cells
    rim = (1 - 1 / num_cells - (1 - alpha)) / alpha
    return 1 - alpha + alpha * math.atanh(rim) if rim > 0 else 1.0
