"""Rasterises vertex grids without a GPU: a coarse z-buffer of grid points, then Newton steps for each pixel.

Every grid point is written into a coarse cell, nearest last. Each pixel starts from its cell's grid coordinates
and solves "projection(column, row) = my centre" with two Newton steps on the bilinear grid; a pixel that does not
converge is off the surface, so silhouettes are exact to a fraction of a pixel.
"""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

__all__ = ["SurfacePatch", "splat_grid"]

_EMPTY_DEPTH = -1e3
# cv2.remap refuses pictures of 32767 columns.
_MAX_RETRIES = 20000
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
    x, y = cv2.split(np.ascontiguousarray(projected[..., :2]))
    x_low, y_low = max(int(np.floor(x.min())), 0), max(int(np.floor(y.min())), 0)
    x_high, y_high = min(int(np.ceil(x.max())), size_hw[1]), min(int(np.ceil(y.max())), size_hw[0])
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
        found = (buffer >= 0).astype(np.uint8)
        solid = cv2.morphologyEx(found, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
        near = cv2.dilate(solid, cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))) > 0
        _spread(buffer, near, 3)
    return buffer


def _spread(buffer: np.ndarray, near: np.ndarray, times: int) -> None:
    """Give empty cells of `near` the hit of a neighbour (the buffer is private to the caller)."""
    for _ in range(times):
        empty_y, empty_x = np.nonzero(near & (buffer < 0))
        if empty_y.size == 0:
            return
        value = np.full(empty_y.size, -1, np.int32)
        for shift_y, shift_x in _NEIGHBOURS:
            near_y = np.clip(empty_y + shift_y, 0, buffer.shape[0] - 1)
            near_x = np.clip(empty_x + shift_x, 0, buffer.shape[1] - 1)
            value = np.maximum(value, buffer[near_y, near_x])
        buffer[empty_y, empty_x] = value


def _closed(mask: np.ndarray, size: int) -> np.ndarray:
    """Bridge gaps; the rim keeps the border of the picture from acting as covered."""
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), size, size, size, size, cv2.BORDER_CONSTANT, value=0)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    return cv2.morphologyEx(padded, cv2.MORPH_CLOSE, kernel)[size:-size, size:-size] > 0


def _spacing(jacobian: np.ndarray) -> float:
    """Upper quartile of the distance between neighbouring vertices, in pixels."""
    x_c, y_c, x_r, y_r = (np.abs(jacobian[..., k]).ravel() for k in range(4))
    longest = np.maximum(np.maximum(x_c, y_c), np.maximum(x_r, y_r))
    place = longest.size * 3 // 4
    return float(np.partition(longest, place)[place])


def _refined(
    grid: "_Grid", guess: "_Guess", x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two Newton steps towards pixel centres x, y: column, row and whether the second step started close by."""
    dx, dy = x - guess.x, y - guess.y
    column = _limited(guess.column + (guess.y_r * dx - guess.x_r * dy), grid.last_column)
    row = _limited(guess.row + (guess.x_c * dy - guess.y_c * dx), grid.last_row)
    at = cv2.remap(grid.xy, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    dx, dy = x - at[..., 0], y - at[..., 1]
    solved = np.maximum(np.abs(dx), np.abs(dy)) < grid.tolerance
    column = _limited(column + (guess.y_r * dx - guess.x_r * dy), grid.last_column)
    row = _limited(row + (guess.x_c * dy - guess.y_c * dx), grid.last_row)
    return column, row, solved


def _limited(values: np.ndarray, last: float) -> np.ndarray:
    return np.minimum(np.maximum(values, np.float32(0)), np.float32(last))


class _Grid:
    """A projected grid with the inverse Jacobian of each vertex."""

    def __init__(self, points: np.ndarray, tolerance: float) -> None:
        self.tolerance = tolerance
        self.xy = np.ascontiguousarray(points[..., :2])
        self.jacobian = _derivatives(self.xy)
        self.last_row, self.last_column = points.shape[0] - 1, points.shape[1] - 1
        j = self.jacobian
        self.determinant = j[..., 0] * j[..., 3] - j[..., 1] * j[..., 2]

    def guesses(self, hits: np.ndarray) -> np.ndarray:
        """Per hit (n,): column, row, x, y and the inverse Jacobian's four entries, (n, 8)."""
        row, column = np.divmod(hits, self.last_column + 1)
        determinant = self.determinant.ravel()[hits]
        determinant = np.where(np.abs(determinant) < 0.02, np.float32(0.02), determinant)[:, None]
        inverse = self.jacobian.reshape(-1, 4)[hits] / determinant
        place = np.stack([column, row], -1).astype(np.float32)
        return np.concatenate([place, self.xy.reshape(-1, 2)[hits], np.clip(inverse, -8, 8)], -1)


class _Guess(NamedTuple):
    """Start of the Newton steps, each field broadcast to the pixels."""

    column: np.ndarray
    row: np.ndarray
    x: np.ndarray
    y: np.ndarray
    x_c: np.ndarray
    y_c: np.ndarray
    x_r: np.ndarray
    y_r: np.ndarray


def splat_grid(
    projected: np.ndarray, size_hw: tuple[int, int], two_sided: bool = False, closing: int = 3
) -> SurfacePatch | None:
    """Visible surface of a projected vertex grid.

    Args:
        projected (`np.ndarray`): (rows, columns, 3) float32 x, y in pixels and depth towards the viewer.
        size_hw (`tuple`): window to draw into.
        two_sided (`bool`): keep points that face away from the viewer.
        closing (`int`): gaps up to this many pixels are bridged; rough grids need more.

    Returns:
        `SurfacePatch` or `None` when nothing falls into the window.
    """
    window = _window_of(projected, size_hw)
    if window is None:
        return None
    x_low, y_low, x_high, y_high = window
    height, width = y_high - y_low, x_high - x_low
    points = projected - np.array([x_low, y_low, 0], np.float32)
    grid = _Grid(points, 1.3 if closing <= 3 else 2.5)
    facing = (np.abs(grid.determinant) > 0 if two_sided else grid.determinant > 0).ravel()
    spacing = _spacing(grid.jacobian[::3, ::3])
    cell = min(max(round(spacing * 1.2), 1), 14)
    cells_hw = -(-height // cell), -(-width // cell)
    hits = _coarse_hits(points, facing, cell, cells_hw)
    known = hits.ravel() >= 0
    fields = np.zeros((*cells_hw, 8), np.float32)
    fields.reshape(-1, 8)[known] = grid.guesses(hits.ravel()[known])
    full = (cells_hw[1] * cell, cells_hw[0] * cell)
    near = cv2.resize((hits >= 0).astype(np.uint8), full, interpolation=cv2.INTER_NEAREST)[:height, :width] > 0
    halves = (
        cv2.resize(np.ascontiguousarray(fields[..., k : k + 4]), full, interpolation=cv2.INTER_NEAREST) for k in (0, 4)
    )
    guess = _Guess(*(plane[:height, :width] for half in halves for plane in cv2.split(half)))
    x = np.arange(width, dtype=np.float32)[None] + np.float32(0.5)
    y = np.arange(height, dtype=np.float32)[:, None] + np.float32(0.5)
    column, row, mask = _refined(grid, guess, x, y)
    mask &= near
    _retry_from_neighbours(grid, fields, hits >= 0, column, row, mask, near, cell)
    mask = _closed(mask, closing)
    depth = cv2.remap(np.ascontiguousarray(points[..., 2]), column, row, cv2.INTER_LINEAR)
    depth[~mask] = _EMPTY_DEPTH
    return SurfacePatch((x_low, y_low), mask, depth, column, row)


def _retry_from_neighbours(
    grid: _Grid, fields: np.ndarray, known: np.ndarray, column: np.ndarray, row: np.ndarray,
    mask: np.ndarray, near: np.ndarray, cell: int,
) -> None:  # fmt: skip
    """Restart pixels that failed from the hits of the four cells around (writes into the caller's private maps)."""
    y, x = np.nonzero(near & ~mask)
    starts = fields.reshape(-1, 8)
    for shift_y, shift_x in _NEIGHBOURS:
        cell_y = np.minimum(np.maximum(y // cell + shift_y, 0), known.shape[0] - 1)
        cell_x = np.minimum(np.maximum(x // cell + shift_x, 0), known.shape[1] - 1)
        place = cell_y * known.shape[1] + cell_x
        usable = np.flatnonzero(known.ravel()[place])[:_MAX_RETRIES]
        if usable.size == 0:
            continue
        guess = _Guess(*np.ascontiguousarray(starts[place[usable]].T)[:, None])
        py, px = y[usable], x[usable]
        centre_x, centre_y = (
            px[None].astype(np.float32) + np.float32(0.5),
            py[None].astype(np.float32) + np.float32(0.5),
        )
        new_column, new_row, solved = _refined(grid, guess, centre_x, centre_y)
        good = solved[0]
        column[py[good], px[good]], row[py[good], px[good]] = new_column[0, good], new_row[0, good]
        mask[py[good], px[good]] = True
        left = np.ones(y.size, bool)
        left[usable[good]] = False
        y, x = y[left], x[left]
