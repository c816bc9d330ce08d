"""Paints soft shapes given in surface coordinates (cm) on a face's albedo and label textures."""

from collections.abc import Sequence

import cv2
import numpy as np

__all__ = ["TEXTURE_HEIGHT_CM", "TEXTURE_LEFT_A", "TEXTURE_TOP_B", "TEXTURE_WIDTH_CM", "Painter"]

TEXTURE_LEFT_A, TEXTURE_TOP_B = -10.5, -9.0
TEXTURE_WIDTH_CM, TEXTURE_HEIGHT_CM = 21.0, 21.5
_SHIFT = 4
_ANGLES = np.linspace(0, 2 * np.pi, 20, endpoint=False)
_CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], -1)
_Colour = Sequence[float] | np.ndarray


class Painter:
    """Albedo (h, w, 3) float32 display RGB in 0..1, label (h, w) uint8 and gloss (h, w) float32 textures.

    Args:
        scale (`float`): texture pixels per cm.
        base_rgb (`Sequence`): skin colour.
    """

    def __init__(self, scale: float, base_rgb: _Colour) -> None:
        self.scale = scale
        self.size_hw = int(TEXTURE_HEIGHT_CM * scale), int(TEXTURE_WIDTH_CM * scale)
        self.albedo = np.empty((*self.size_hw, 3), np.float32)
        self.albedo[:] = np.asarray(base_rgb, np.float32)
        self.label = np.ones(self.size_hw, np.uint8)
        self.gloss = np.ones(self.size_hw, np.float32)

    def to_texture(self, points_ab: np.ndarray) -> np.ndarray:
        """Surface cm (n, 2) to continuous texture pixels."""
        return (np.asarray(points_ab, np.float64) - (TEXTURE_LEFT_A, TEXTURE_TOP_B)) * self.scale

    def _window(self, low: np.ndarray, high: np.ndarray, margin: float) -> tuple[int, int, int, int] | None:
        x0, y0 = (max(0, int(v - margin)) for v in low)
        x1 = min(self.size_hw[1], int(high[0] + margin) + 2)
        y1 = min(self.size_hw[0], int(high[1] + margin) + 2)
        return (x0, y0, x1, y1) if x1 - x0 > 1 and y1 - y0 > 1 else None

    def _mask(
        self, points: np.ndarray, window: tuple[int, ...], thickness_cm: float | None, closed: bool
    ) -> np.ndarray:
        mask = np.zeros((window[3] - window[1], window[2] - window[0]), np.uint8)
        fixed = np.round((points - (window[0] + 0.5, window[1] + 0.5)) * (1 << _SHIFT)).astype(np.int32)
        if thickness_cm is None:
            cv2.fillPoly(mask, [fixed], 255, cv2.LINE_AA, _SHIFT)
            return mask
        width = thickness_cm * self.scale
        value = 255 if width >= 1 else int(255 * width)
        cv2.polylines(mask, [fixed], closed, value, max(1, round(width)), cv2.LINE_AA, _SHIFT)
        return mask

    def shape(
        self, points_ab: np.ndarray, rgb: _Colour, strength: float = 1.0, blur_cm: float = 0.0,
        thickness_cm: float | None = None, clip: np.ndarray | None = None, closed: bool = False,
        multiply: bool = False, gloss: float | None = None,
    ) -> None:  # fmt: skip
        """Blend a filled polygon (or a stroke when `thickness_cm` is given) into the albedo.

        Args:
            clip (`np.ndarray`, *optional*): polygon (n, 2) in cm the paint stays inside of.
            multiply (`bool`): the colour is a factor instead of a paint.
            gloss (`float`, *optional*): also set the gloss there.
        """
        points = self.to_texture(points_ab)
        margin = 2.2 * blur_cm * self.scale + (thickness_cm or 0) * self.scale + 1
        window = self._window(points.min(0), points.max(0), margin)
        if window is None:
            return
        mask = self._mask(points, window, thickness_cm, closed)
        sigma = blur_cm * self.scale
        if sigma > 0.35:
            mask = cv2.GaussianBlur(mask, (0, 0), sigma)
        if clip is not None:
            mask = cv2.min(mask, self._mask(self.to_texture(clip), window, None, True))
        weight = mask.astype(np.float32) * np.float32(strength / 255.0)
        part = (slice(window[1], window[3]), slice(window[0], window[2]))
        self.blend(part, weight, np.asarray(rgb, np.float32), multiply)
        if gloss is not None:
            area = self.gloss[part]
            area += weight * (gloss - area)

    def blend(self, part: tuple[slice, slice], weight: np.ndarray, rgb: np.ndarray, multiply: bool = False) -> None:
        """Mix a colour (or colour picture) into a part of the albedo with per-pixel weight."""
        area = self.albedo[part]
        target = area * rgb if multiply else rgb
        area += weight[..., None] * (target - area)

    def strokes(self, lines_ab: Sequence[np.ndarray], rgb: _Colour, strength: float, thickness_cm: float,
                blur_cm: float = 0.0,
                multiply: bool = False, clip: np.ndarray | None = None) -> None:  # fmt: skip
        """Blend many thin polylines at once."""
        lines = [self.to_texture(line) for line in lines_ab]
        every = np.concatenate(lines)
        window = self._window(every.min(0), every.max(0), (2.2 * blur_cm + thickness_cm) * self.scale + 1)
        if window is None:
            return
        mask = np.zeros((window[3] - window[1], window[2] - window[0]), np.uint8)
        offset = (window[0] + 0.5, window[1] + 0.5)
        width = thickness_cm * self.scale
        fixed = [np.round((line - offset) * (1 << _SHIFT)).astype(np.int32) for line in lines]
        cv2.polylines(
            mask, fixed, False, 255 if width >= 1 else int(255 * width), max(1, round(width)), cv2.LINE_AA, _SHIFT
        )
        if blur_cm * self.scale > 0.35:
            mask = cv2.GaussianBlur(mask, (0, 0), blur_cm * self.scale)
        if clip is not None:
            mask = cv2.min(mask, self._mask(self.to_texture(clip), window, None, True))
        part = (slice(window[1], window[3]), slice(window[0], window[2]))
        self.blend(part, mask.astype(np.float32) * np.float32(strength / 255.0), np.asarray(rgb, np.float32), multiply)

    def blob(self, centre_ab: Sequence[float], radius_ab: Sequence[float], rgb: _Colour, **keywords: object) -> None:
        """`shape` of an axis-aligned ellipse."""
        self.shape(_CIRCLE * np.asarray(radius_ab) + np.asarray(centre_ab), rgb, **keywords)

    def set_label(self, points_ab: np.ndarray, label: int) -> None:
        """Write a label id into a polygon."""
        points = self.to_texture(points_ab)
        fixed = np.round((points - 0.5) * (1 << _SHIFT)).astype(np.int32)
        cv2.fillPoly(self.label, [fixed], label, cv2.LINE_8, _SHIFT)
