"""The tanh_alpha warp: identity in the middle of a crop, squeezing the surroundings into its rim.

Source: supplement section 6; FacePerceiver/facer `facer/transform.py`, py-blueprint `transform.py`.

Convention: coordinates are fractions of the half side, so the crop spans [-1, 1] before the warp and the warped crop
spans [-1, 1] after it. alpha = 0 is a plain crop, alpha = 1 warps everywhere. The inverse clamps arctanh's argument at
+-0.999 as the original does, so beyond |x| = 1 - alpha + 0.999 alpha it no longer inverts the forward map.
"""

import torch

__all__ = ["tanh_unwarp", "tanh_warp"]

_ARCTANH_CLAMP = 0.999


def tanh_warp(crop, alpha):
    """Map crop coordinates to warped ones, element by element; any shape."""
    if alpha == 0:
        return crop
    core = crop.clamp(-(1 - alpha), 1 - alpha)
    return core + alpha * torch.tanh((crop - core) / alpha)


def tanh_unwarp(warped, alpha, clamp=_ARCTANH_CLAMP):
    """Map warped coordinates back to crop coordinates, element by element; any shape."""
    if alpha == 0:
        return warped
    core = warped.clamp(-(1 - alpha), 1 - alpha)
    return core + alpha * torch.arctanh(((warped - core) / alpha).clamp(-clamp, clamp))
