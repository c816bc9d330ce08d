"""Two canvases: a layer, the picture of one person while it is drawn, and a painter of the face's textures.

A [`Layer`] holds colour, coverage, depth and labels of an antialiased (supersampled) window of the photo. A
[`Painter`] paints soft shapes, given in surface coordinates (cm), on the albedo and label textures of a face.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike

from farl_hf.face_renderer.mesh_splatting import SurfacePatch

__all__ = [
    "LABEL_FINENESS",
    "NO_LABEL",
    "TEXTURE_HEIGHT_CM",
    "TEXTURE_LEFT_A",
    "TEXTURE_TOP_B",
    "TEXTURE_WIDTH_CM",
    "Layer",
    "Painter",
    "both_sides",
    "lit_planes",
]

NO_LABEL = 255
TEXTURE_LEFT_A, TEXTURE_TOP_B = -10.5, -9.0
TEXTURE_WIDTH_CM, TEXTURE_HEIGHT_CM = 21.0, 21.5
# Labels cannot be interpolated: read from a texture as fine as the photo, their outlines would be ragged by a pixel.
LABEL_FINENESS = 4
# Binary digits of the fraction in OpenCV's fixed-point coordinates.
_SHIFT = 4
_ANGLES = np.linspace(0, 2 * np.pi, 20, endpoint=False)
_CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], -1)
_Colour = Sequence[float] | np.ndarray


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


def lit_planes(light: np.ndarray, albedo_squared: Sequence | np.ndarray, gloss: np.ndarray | float) -> np.ndarray:
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


class Painter:
    """Albedo planes (3, h, w) float32 display RGB in 0..1, gloss (h, w) float32, and finer labels (H, W) uint8.

    Args:
        scale (`float`): texture pixels per cm.
        base_rgb (`Sequence`): skin colour.
    """

    def __init__(self, scale: float, base_rgb: _Colour) -> None:
        self.scale = scale
        self.size_hw = int(TEXTURE_HEIGHT_CM * scale), int(TEXTURE_WIDTH_CM * scale)
        self.albedo = np.empty((3, *self.size_hw), np.float32)
        self.albedo[:] = np.asarray(base_rgb, np.float32)[:, None, None]
        fine = scale * LABEL_FINENESS
        self.label = np.ones((int(TEXTURE_HEIGHT_CM * fine), int(TEXTURE_WIDTH_CM * fine)), np.uint8)
        self.gloss = np.ones(self.size_hw, np.float32)

    def packed(self) -> np.ndarray:
        """Red, green, blue and gloss (h, w, 4), the layout that `cv2.remap` is fastest with."""
        return cv2.merge((*self.albedo, self.gloss))

    def _fixed(self, points_ab: ArrayLike, fineness: int = 1) -> np.ndarray:
        """Surface cm to OpenCV's fixed-point pixels, where the first pixel's centre is 0."""
        pixels = (np.asarray(points_ab) - (TEXTURE_LEFT_A, TEXTURE_TOP_B)) * (self.scale * fineness) - 0.5
        return np.rint(pixels * (1 << _SHIFT)).astype(np.int32)

    def _window(self, fixed: np.ndarray, margin: float) -> tuple[int, int, int, int] | None:
        x, y, width, height = cv2.boundingRect(fixed.reshape(-1, 1, 2))
        # Half a pixel back from pixel centres to continuous pixels; the rectangle counts its last unit twice.
        unit = 1 / (1 << _SHIFT)
        x0, y0 = max(0, int(x * unit + 0.5 - margin)), max(0, int(y * unit + 0.5 - margin))
        x1 = min(self.size_hw[1], int((x + width - 1) * unit + 0.5 + margin) + 2)
        y1 = min(self.size_hw[0], int((y + height - 1) * unit + 0.5 + margin) + 2)
        return (x0, y0, x1, y1) if x1 - x0 > 1 and y1 - y0 > 1 else None

    def _mask(self, fixed: np.ndarray, window: tuple[int, ...], thickness_cm: float | None) -> np.ndarray:
        mask = np.zeros((window[3] - window[1], window[2] - window[0]), np.uint8)
        moved = fixed - np.array([window[0] << _SHIFT, window[1] << _SHIFT], np.int32)
        outlines = [*moved] if moved.ndim == 3 else [moved]
        if thickness_cm is None:
            return cv2.fillPoly(mask, outlines, 255, cv2.LINE_AA, _SHIFT)
        width = thickness_cm * self.scale
        value = 255 if width >= 1 else int(255 * width)
        return cv2.polylines(mask, outlines, False, value, max(1, round(width)), cv2.LINE_AA, _SHIFT)

    def shape(
        self, points_ab: ArrayLike, rgb: _Colour, strength: float = 1.0, blur_cm: float = 0.0,
        thickness_cm: float | None = None, clip: np.ndarray | None = None,
        multiply: bool = False, gloss: float | None = None,
    ) -> None:  # fmt: skip
        """Blend filled polygons (or strokes when `thickness_cm` is given) into the albedo.

        Args:
            points_ab (`np.ndarray`): (n, 2) in cm, or (k, n, 2) for several that do not overlap: one call for both
                sides of a face costs about half of two.
            clip (`np.ndarray`, *optional*): what `area` returned for the polygons the paint stays inside of.
            multiply (`bool`): the colour is a factor instead of a paint.
            gloss (`float`, *optional*): also set the gloss there.
        """
        fixed = self._fixed(points_ab)
        sigma = blur_cm * self.scale
        window = self._window(fixed, 2.2 * sigma + (thickness_cm or 0) * self.scale + 1)
        if window is None:
            return
        part = (slice(window[1], window[3]), slice(window[0], window[2]))
        mask = self._mask(fixed, window, thickness_cm)
        if sigma > 0.35:
            mask = cv2.GaussianBlur(mask, (0, 0), sigma)
        if clip is not None:
            mask = cv2.min(mask, clip[part])
        weight = mask * np.float32(strength / 255.0)
        self.blend(part, weight, np.asarray(rgb, np.float32), multiply)
        if gloss is not None:
            area = self.gloss[part]
            area += weight * (gloss - area)

    def blend(self, part: tuple[slice, slice], weight: np.ndarray, rgb: np.ndarray, multiply: bool = False) -> None:
        """Mix a colour (3,) or picture (3, h, w) into a part of the albedo with per-pixel weight (h, w)."""
        area = self.albedo[:, *part]
        if rgb.ndim == 1:
            rgb = rgb[:, None, None]
        if multiply:
            factor = weight * (rgb - np.float32(1))
            factor += np.float32(1)
            area *= factor
        else:
            change = rgb - area
            change *= weight
            area += change

    def blob(
        self, centre_ab: ArrayLike, radius_ab: Sequence[float], rgb: _Colour, strength: float = 1.0,
        blur_cm: float = 0.0, clip: np.ndarray | None = None, multiply: bool = False,
    ) -> None:  # fmt: skip
        """`shape` of axis-aligned ellipses around centres (2,) or (k, 2)."""
        outline_ab = _CIRCLE * np.asarray(radius_ab) + np.asarray(centre_ab)[..., None, :]
        self.shape(outline_ab, rgb, strength, blur_cm, clip=clip, multiply=multiply)

    def set_label(self, points_ab: np.ndarray, label: int) -> None:
        """Write a label id into a polygon."""
        cv2.fillPoly(self.label, [self._fixed(points_ab, LABEL_FINENESS)], label, cv2.LINE_8, _SHIFT)

    def area(self, outlines_ab: np.ndarray) -> np.ndarray:
        """Coverage (h, w) uint8 of polygons (n, 2) or (k, n, 2) over the whole texture, to clip paint with."""
        return self._mask(self._fixed(outlines_ab), (0, 0, *self.size_hw[::-1]), None)

    def soft_area(self, outline_ab: np.ndarray, blur_cm: float) -> np.ndarray:
        """A blurred polygon (h, w) float32 0..1 over the whole texture."""
        mask = np.zeros(self.size_hw, np.uint8)
        points = (np.asarray(outline_ab) - (TEXTURE_LEFT_A, TEXTURE_TOP_B)) * self.scale
        cv2.fillPoly(mask, [np.round(points).astype(np.int32)], 255)
        return cv2.GaussianBlur(mask, (0, 0), max(blur_cm * self.scale, 0.5)) * np.float32(1 / 255)


def both_sides(points_ab: ArrayLike) -> np.ndarray:
    """Points (n, 2) of the image-right side and their mirror images: (2, n, 2), image-left first."""
    points = np.asarray(points_ab, float)
    return np.stack([points * (-1, 1), points])
