"""The picture of one person while it is drawn: colour, coverage, depth and labels in a supersampled window."""

from collections.abc import Sequence

import cv2
import numpy as np

from .mesh_splatting import SurfacePatch

__all__ = ["NO_LABEL", "Layer", "lit_planes"]

NO_LABEL = 255


class Layer:
    """Linear RGB planes (3, h, w) float32, coverage (h, w) float32 0..1, depth (h, w) cm, label (h, w) uint8.

    `label` is `NO_LABEL` where the person does not cover the photo.
    """

    def __init__(self, size_hw: tuple[int, int]) -> None:
        self.size_hw = size_hw
        self.rgb = np.zeros((3, *size_hw), np.float32)
        self.cover = np.zeros(size_hw, np.float32)
        self.depth = np.full(size_hw, -1e3, np.float32)
        self.label = np.full(size_hw, NO_LABEL, np.uint8)

    def put(
        self, patch: SurfacePatch, rgb: np.ndarray, label: int | np.ndarray, alpha: np.ndarray | None = None
    ) -> None:
        """Draw a surface where it is nearer than what is there.

        Args:
            rgb (`np.ndarray`): (3, h, w) linear light of the patch.
            label (`int` or `np.ndarray`): id or (h, w) ids.
            alpha (`np.ndarray`, *optional*): (h, w) float32 0..1; the label and depth are written above one half.
        """
        window = patch.window
        area, cover = self.rgb[:, *window], self.cover[window]
        drawn = patch.mask & (patch.depth > self.depth[window])
        solid = drawn
        if alpha is None:
            shown = drawn.view(np.uint8)
            for target, plane in zip(area, rgb, strict=True):
                cv2.copyTo(plane, shown, target)
            np.copyto(cover, np.float32(1), where=drawn)
        else:
            solid = drawn & (alpha > 0.5)
            weight = alpha * drawn
            # Over nothing the colour is the patch's own and the coverage carries the softness.
            mix = np.where(cover > 0.02, weight, (weight > 0).astype(np.float32))
            area += mix * (rgb - area)
            np.maximum(cover, weight, out=cover)
        np.copyto(self.depth[window], patch.depth, where=solid)
        np.copyto(self.label[window], np.asarray(label, np.uint8), where=solid)

    def paint(
        self, weight: np.ndarray, rgb: np.ndarray, label: int | None = None, window: tuple = (slice(None), slice(None))
    ) -> None:
        """Blend a flat colour (3,) or picture (3, h, w) with weight (h, w) 0..1 over everything in a window."""
        area = self.rgb[:, *window]
        area += weight * (rgb.reshape(3, *(rgb.shape[1:] or (1, 1))) - area)
        cover = self.cover[window]
        np.maximum(cover, weight, out=cover)
        if label is not None:
            self.label[window][weight > 0.5] = label


def lit_planes(light: np.ndarray, albedo_squared: Sequence, gloss: np.ndarray | float) -> np.ndarray:
    """Linear RGB planes (3, h, w) of a surface.

    Args:
        light (`np.ndarray`): (h, w, 4) diffuse RGB and specular.
        albedo_squared (`Sequence`): red, green and blue linear albedo, numbers or planes (h, w).
        gloss (`np.ndarray` or `float`): factor of the specular part.
    """
    *diffuse, specular = cv2.split(light)
    specular *= np.float32(gloss) if isinstance(gloss, float) else gloss
    out = np.empty((3, *specular.shape), np.float32)
    for plane, albedo, target in zip(diffuse, albedo_squared, out, strict=True):
        np.multiply(plane, albedo, out=target)
        target += specular
    return out
