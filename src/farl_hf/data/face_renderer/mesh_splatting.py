"""Rasterises vertex grids without a GPU: a coarse z-buffer of grid points, then Newton steps for each pixel.

Every grid point is written into a coarse cell, nearest last. Each pixel starts from its cell's grid coordinates
and solves "projection(column, row) = my centre" with two Newton steps on the bilinear grid; a pixel that does not
converge is off the surface, so silhouettes are exact to a fraction of a pixel.
"""

from dataclasses import dataclass

import cv2
import numpy as np

__all__ = ["SurfacePatch", "splat_grid"]

_EMPTY_DEPTH = -1e3
_NEIGHBOURS = ((0, 1), (0, -1), (1, 0), (-1, 0))


@dataclass(frozen=True)
class SurfacePatch:
    """Visible part of one grid inside a window.

    Args:
        top_left_xy (`tuple`): integer offset of the patch in the window.
        mask (`np.ndarray`): (h, w) bool, covered pixels.
        depth (`np.ndarray`): (h, w) float32, cm towards the viewer, -1e3 where not covered.
        column (`np.ndarray`): (h, w) float32 grid column of each pixel centre.
        row (`np.ndarray`): (h, w) float32 grid row of each pixel centre.
    """

    top_left_xy: tuple[int, int]
    mask: np.ndarray
    depth: np.ndarray
    column: np.ndarray
    row: np.ndarray

    @property
    def window(self) -> tuple[slice, slice]:
        """Row and column slices of the patch in its window."""
        x, y = self.top_left_xy
        return slice(y, y + self.mask.shape[0]), slice(x, x + self.mask.shape[1])

    def sample(self, grid: np.ndarray) -> np.ndarray:
        """Values (h, w[, c]) of a per-vertex grid at each pixel, bilinear."""
        return cv2.remap(grid, self.column, self.row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _derivatives(xy: np.ndarray) -> np.ndarray:
    """d(x, y)/d(column, row) of each grid point: (h, w, 4) as x_c, y_c, x_r, y_r."""
    out = np.empty((*xy.shape[:2], 4), np.float32)
    out[:, 1:-1, :2] = (xy[:, 2:] - xy[:, :-2]) * np.float32(0.5)
    out[:, 0, :2] = xy[:, 1] - xy[:, 0]
    out[:, -1, :2] = xy[:, -1] - xy[:, -2]
    out[1:-1, :, 2:] = (xy[2:] - xy[:-2]) * np.float32(0.5)
    out[0, :, 2:] = xy[1] - xy[0]
    out[-1, :, 2:] = xy[-1] - xy[-2]
    return out


def _window_of(projected: np.ndarray, size_hw: tuple[int, int]) -> tuple[int, int, int, int] | None:
    low = np.floor(projected[..., :2].min((0, 1))).astype(int)
    high = np.ceil(projected[..., :2].max((0, 1))).astype(int)
    x_low, y_low = max(int(low[0]), 0), max(int(low[1]), 0)
    x_high, y_high = min(int(high[0]), size_hw[1]), min(int(high[1]), size_hw[0])
    return (x_low, y_low, x_high, y_high) if x_high > x_low and y_high > y_low else None


def _coarse_hits(points: np.ndarray, facing: np.ndarray, cell: float, cells_hw: tuple[int, int]) -> np.ndarray:
    """Index of the nearest grid point of each coarse cell, -1 where none."""
    flat = points.reshape(-1, 3)
    cx = np.floor(flat[:, 0] / cell).astype(np.int32)
    cy = np.floor(flat[:, 1] / cell).astype(np.int32)
    keep = facing & (cx >= 0) & (cy >= 0) & (cx < cells_hw[1]) & (cy < cells_hw[0])
    chosen = np.flatnonzero(keep)
    depth = flat[chosen, 2]
    buffer = np.full(cells_hw, -1, np.int32)
    if chosen.size:
        low, high = float(depth.min()), float(depth.max())
        key = ((depth - low) * (65535.0 / max(high - low, 1e-3))).astype(np.uint16)
        chosen = chosen[np.argsort(key, kind="stable")]
        buffer.ravel()[cy[chosen] * cells_hw[1] + cx[chosen]] = chosen
        _spread(buffer, 3)
    return buffer


def _spread(buffer: np.ndarray, times: int) -> None:
    """Give empty cells the hit of a neighbour (the buffer is private to the caller)."""
    for _ in range(times):
        empty_y, empty_x = np.nonzero(buffer < 0)
        value = np.full(empty_y.size, -1, np.int32)
        for shift_y, shift_x in _NEIGHBOURS:
            near_y = np.clip(empty_y + shift_y, 0, buffer.shape[0] - 1)
            near_x = np.clip(empty_x + shift_x, 0, buffer.shape[1] - 1)
            value = np.maximum(value, buffer[near_y, near_x])
        buffer[empty_y, empty_x] = value


class _Inverse:
    """Newton solver of projection(column, row) = pixel centre."""

    def __init__(self, points: np.ndarray) -> None:
        self.xy = np.ascontiguousarray(points[..., :2])
        self.jacobian = _derivatives(self.xy)
        self.limits = points.shape[1] - 1, points.shape[0] - 1

    def solve(self, column: np.ndarray, row: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, ...]:
        """Refined column and row, whether each converged; all (h, w)."""
        jac = cv2.remap(self.jacobian, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        x_c, y_c, x_r, y_r = (np.ascontiguousarray(jac[..., k]) for k in range(4))
        det = x_c * y_r - y_c * x_r
        inverse = 1.0 / np.where(np.abs(det) < 1e-3, np.float32(1e-3), det)
        for step in (4.0, 2.0):
            at = cv2.remap(self.xy, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            dx, dy = x - at[..., 0], y - at[..., 1]
            column = np.clip(column + np.clip((y_r * dx - x_r * dy) * inverse, -step, step), 0, self.limits[0])
            row = np.clip(row + np.clip((x_c * dy - y_c * dx) * inverse, -step, step), 0, self.limits[1])
        at = cv2.remap(self.xy, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        error = np.abs(x - at[..., 0]) + np.abs(y - at[..., 1])
        return column, row, error < 0.8


def splat_grid(projected: np.ndarray, size_hw: tuple[int, int], two_sided: bool = False) -> SurfacePatch | None:
    """Visible surface of a projected vertex grid.

    Args:
        projected (`np.ndarray`): (rows, columns, 3) float32 x, y in pixels and depth towards the viewer.
        size_hw (`tuple`): window to draw into.
        two_sided (`bool`): keep points that face away from the viewer.

    Returns:
        `SurfacePatch` or `None` when nothing falls into the window.
    """
    window = _window_of(projected, size_hw)
    if window is None:
        return None
    x_low, y_low, x_high, y_high = window
    height, width = y_high - y_low, x_high - x_low
    points = projected - np.array([x_low, y_low, 0], np.float32)
    inverse = _Inverse(points)
    jac = inverse.jacobian
    facing = (jac[..., 0] * jac[..., 3] - jac[..., 1] * jac[..., 2]).ravel()
    facing = np.abs(facing) > 0 if two_sided else facing > 0
    spacing = float(np.percentile(np.abs(jac[::3, ::3]).max(-1), 75))
    cell = int(np.clip(round(spacing * 1.1), 1, 12))
    cells_hw = -(-height // cell), -(-width // cell)
    hits = _coarse_hits(points, facing, cell, cells_hw)
    guess_row, guess_column = np.divmod(np.maximum(hits, 0), points.shape[1])
    full = (cells_hw[1] * cell, cells_hw[0] * cell)

    def enlarge(cells: np.ndarray, kind: type) -> np.ndarray:
        return cv2.resize(cells.astype(kind), full, interpolation=cv2.INTER_NEAREST)[:height, :width]

    column, row = enlarge(guess_column, np.float32), enlarge(guess_row, np.float32)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) + np.float32(0.5)
    column, row, mask = inverse.solve(column, row, x, y)
    mask &= enlarge(hits >= 0, np.uint8) > 0
    _retry_from_neighbours(inverse, column, row, mask, cell, enlarge(hits >= 0, np.uint8) > 0)
    mask = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)) > 0
    depth = cv2.remap(np.ascontiguousarray(points[..., 2]), column, row, cv2.INTER_LINEAR)
    depth[~mask] = _EMPTY_DEPTH
    return SurfacePatch((x_low, y_low), mask, depth, column, row)


def _retry_from_neighbours(
    inverse: _Inverse, column: np.ndarray, row: np.ndarray, mask: np.ndarray, cell: int, near: np.ndarray
) -> None:
    """Restart pixels that failed from solved pixels nearby (writes into the caller's private maps)."""
    height, width = mask.shape
    for shift_y, shift_x in ((0, cell), (0, -cell), (cell, 0), (-cell, 0)):
        y, x = np.nonzero(near & ~mask)
        from_y, from_x = np.clip(y + shift_y, 0, height - 1), np.clip(x + shift_x, 0, width - 1)
        usable = mask[from_y, from_x]
        y, x, from_y, from_x = y[usable], x[usable], from_y[usable], from_x[usable]
        if y.size == 0:
            continue
        centre = (grid[None].astype(np.float32) + np.float32(0.5) for grid in (x, y))
        new_column, new_row, solved = inverse.solve(column[from_y, from_x][None], row[from_y, from_x][None], *centre)
        y, x = y[solved[0]], x[solved[0]]
        column[y, x], row[y, x], mask[y, x] = new_column[solved], new_row[solved], True
