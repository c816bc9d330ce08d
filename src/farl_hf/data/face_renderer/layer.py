"""The picture of one person while it is drawn: colour, coverage, depth and labels in a supersampled window."""

import numpy as np

from .mesh_splatting import SurfacePatch

__all__ = ["NO_LABEL", "Layer"]

NO_LABEL = 255


class Layer:
    """Linear RGB (h, w, 3) float32, coverage (h, w) float32 0..1, depth (h, w) cm, label (h, w) uint8.

    `label` is `NO_LABEL` where the person does not cover the photo.
    """

    def __init__(self, size_hw: tuple[int, int]) -> None:
        self.size_hw = size_hw
        self.rgb = np.zeros((*size_hw, 3), np.float32)
        self.cover = np.zeros(size_hw, np.float32)
        self.depth = np.full(size_hw, -1e3, np.float32)
        self.label = np.full(size_hw, NO_LABEL, np.uint8)

    def put(
        self, patch: SurfacePatch, rgb: np.ndarray, label: int | np.ndarray, alpha: np.ndarray | None = None
    ) -> None:
        """Draw a surface where it is nearer than what is there.

        Args:
            rgb (`np.ndarray`): (h, w, 3) linear light of the patch.
            label (`int` or `np.ndarray`): id or (h, w) ids.
            alpha (`np.ndarray`, *optional*): (h, w) float32 0..1; the label and depth are written above one half.
        """
        window = patch.window
        drawn = patch.mask & (patch.depth > self.depth[window])
        solid = drawn
        if alpha is None:
            np.copyto(self.rgb[window], rgb, where=drawn[..., None])
            self.cover[window][drawn] = 1.0
        else:
            solid = drawn & (alpha > 0.5)
            weight = alpha * drawn
            area, cover = self.rgb[window], self.cover[window]
            # Over nothing the colour is the patch's own and the coverage carries the softness.
            mix = np.where(cover > 0.02, weight, weight > 0)[..., None]
            area += mix * (rgb - area)
            np.maximum(cover, weight, out=cover)
        np.copyto(self.depth[window], patch.depth, where=solid)
        if isinstance(label, int):
            self.label[window][solid] = label
        else:
            np.copyto(self.label[window], label, where=solid)

    def paint(
        self, weight: np.ndarray, rgb: np.ndarray, label: int | None = None, window: tuple = (slice(None), slice(None))
    ) -> None:
        """Blend a flat colour or picture with weight (h, w) 0..1 over everything in a window."""
        area = self.rgb[window]
        area += weight[..., None] * (rgb - area)
        cover = self.cover[window]
        np.maximum(cover, weight, out=cover)
        if label is not None:
            self.label[window][weight > 0.5] = label
