"""Projects a head into the picture, and rasterises its vertex grids without a GPU.

Frames: the head's is in centimetres, x to the right of the picture (frontal view), y down, z towards the viewer,
origin between the eyes on the axis of the head. Pixels are continuous; the first pixel centre is (0.5, 0.5).

Rasterising takes a coarse z-buffer of grid points, then Newton steps for each pixel.

Every grid point is written into a coarse cell, nearest last. Each pixel starts from its cell's grid coordinates
and solves "projection(column, row) = my centre" with two Newton steps on the bilinear grid; a pixel that does not
converge is off the surface, so silhouettes are exact to a fraction of a pixel.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from farl_hf.face_renderer.random_choice import between

__all__ = ["Camera", "SurfacePatch", "make_rotation", "splat_grid"]

_EMPTY_DEPTH = np.float32(-1e3)
# cv2.remap refuses pictures of 32767 columns or more.
_MAX_RETRIES = 20000
_MAX_CELL = 14
_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
_SQUARE = np.ones((5, 5), np.uint8)
_ELLIPSES = {size: cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)) for size in (3, 7)}
_HALF = np.float32(0.5)


def make_rotation(yaw_rad: float, pitch_rad: float, roll_rad: float) -> np.ndarray:
    """Rotation matrix (3, 3) float32: yaw about y, then pitch about x, then roll about z."""
    cy, sy = np.cos(yaw_rad), np.sin(yaw_rad)
    cp, sp = np.cos(pitch_rad), np.sin(pitch_rad)
    cr, sr = np.cos(roll_rad), np.sin(roll_rad)
    yaw = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    pitch = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    roll = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return (roll @ pitch @ yaw).astype(np.float32)


@dataclass(frozen=True)
class Camera:
    """Weak perspective with a touch of foreshortening.

    Args:
        rotation (`np.ndarray`): (3, 3), camera-aligned from head axes.
        centre_xy (`tuple`): where the head's origin lands, in pixels.
        pixels_per_cm (`float`): scale at the depth of the origin.
        distance_cm (`float`): distance of the viewer; smaller means stronger perspective.
    """

    rotation: np.ndarray
    centre_xy: tuple[float, float]
    pixels_per_cm: float
    distance_cm: float = 90.0

    def turn(self, points: np.ndarray) -> np.ndarray:
        """Head-frame points (..., 3) to camera-aligned centimetres (..., 3)."""
        return points @ self.rotation.T

    def turn_grid(self, grid: np.ndarray) -> np.ndarray:
        """Head-frame vertices (rows, columns, 3) to planes (3, rows, columns) in camera-aligned centimetres."""
        return (self.rotation @ grid.reshape(-1, 3).T).reshape(3, *grid.shape[:2])

    def project_grid(self, planes: np.ndarray) -> np.ndarray:
        """`project` for planes (3, rows, columns)."""
        out = np.empty_like(planes)
        factor = np.float32(self.pixels_per_cm) / (np.float32(1) - planes[2] * np.float32(1 / self.distance_cm))
        np.multiply(planes[:2], factor, out=out[:2])
        out[0] += np.float32(self.centre_xy[0])
        out[1] += np.float32(self.centre_xy[1])
        out[2] = planes[2]
        return out

    def project(self, points_camera: np.ndarray) -> np.ndarray:
        """Camera-aligned centimetres (..., 3) to (x pixel, y pixel, depth cm towards the viewer)."""
        out = np.empty_like(points_camera)
        factor = self.pixels_per_cm / (1.0 - points_camera[..., 2] / self.distance_cm)
        out[..., 0] = points_camera[..., 0] * factor + self.centre_xy[0]
        out[..., 1] = points_camera[..., 1] * factor + self.centre_xy[1]
        out[..., 2] = points_camera[..., 2]
        return out

    def rescaled(self, factor: float, origin_xy: tuple[float, float]) -> "Camera":
        """The same view in a window that starts at `origin_xy` and is enlarged by `factor`."""
        centre = ((self.centre_xy[0] - origin_xy[0]) * factor, (self.centre_xy[1] - origin_xy[1]) * factor)
        return Camera(self.rotation, centre, self.pixels_per_cm * factor, self.distance_cm)


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
        """Values (h, w[, c]) of a per-vertex grid at each pixel, bilinear; fastest with one or four channels."""
        return cv2.remap(grid, self.column, self.row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _derivatives(xy: np.ndarray) -> np.ndarray:
    """d(x, y)/d(column, row) of each grid point of (2, h, w): (4, h, w) as x_c, y_c, x_r, y_r."""
    out = np.zeros((4, *xy.shape[1:]), np.float32)
    np.subtract(xy[..., 2:], xy[..., :-2], out=out[:2, :, 1:-1])
    np.subtract(xy[:, 2:], xy[:, :-2], out=out[2:, 1:-1])
    out *= _HALF
    out[:2, :, 0] = xy[..., 1] - xy[..., 0]
    out[:2, :, -1] = xy[..., -1] - xy[..., -2]
    out[2:, 0] = xy[:, 1] - xy[:, 0]
    out[2:, -1] = xy[:, -1] - xy[:, -2]
    return out


def _window_of(x: np.ndarray, y: np.ndarray, size_hw: tuple[int, int]) -> tuple[int, int, int, int] | None:
    x_low, y_low = max(int(np.floor(x.min())), 0), max(int(np.floor(y.min())), 0)
    x_high, y_high = min(int(np.ceil(x.max())), size_hw[1]), min(int(np.ceil(y.max())), size_hw[0])
    return (x_low, y_low, x_high, y_high) if x_high > x_low and y_high > y_low else None


def _coarse_hits(points: np.ndarray, facing: np.ndarray, cell: float, cells_hw: tuple[int, int]) -> np.ndarray:
    """Index of the nearest grid point of each coarse cell, -1 where none; `points` is (3, n)."""
    cell_xy = np.floor(points[:2] * np.float32(1.0 / cell))
    cx, cy = cell_xy
    keep = facing & (cx >= 0) & (cy >= 0) & (cx < cells_hw[1]) & (cy < cells_hw[0])
    chosen = np.flatnonzero(keep)
    # float32 holds every index exactly, and cv2.dilate takes no int32.
    buffer = np.full(cells_hw, -1, np.float32)
    if chosen.size:
        depth = np.take(points[2], chosen)
        low, high = float(depth.min()), float(depth.max())
        key = ((depth - low) * (65535.0 / max(high - low, 1e-3))).astype(np.uint16)
        chosen = chosen[np.argsort(key, kind="stable")]
        buffer.ravel()[np.take(cy * np.float32(cells_hw[1]) + cx, chosen).astype(np.int32)] = chosen
        found = (buffer >= 0).view(np.uint8)
        _spread(buffer, cv2.dilate(cv2.morphologyEx(found, cv2.MORPH_CLOSE, _SQUARE), _CROSS) > 0, 3)
    return buffer.astype(np.int32)


def _spread(buffer: np.ndarray, near: np.ndarray, times: int) -> None:
    """Give empty cells of `near` the hit of a neighbour (the buffer is private to the caller)."""
    for _ in range(times):
        empty = near & (buffer < 0)
        if not empty.any():
            return
        np.copyto(buffer, cv2.dilate(buffer, _CROSS), where=empty)


def _closed(mask: np.ndarray, size: int) -> np.ndarray:
    """Bridge gaps; the rim keeps the border of the picture from acting as covered."""
    padded = cv2.copyMakeBorder(mask.view(np.uint8), size, size, size, size, cv2.BORDER_CONSTANT, value=0)
    return cv2.morphologyEx(padded, cv2.MORPH_CLOSE, _ELLIPSES[size])[size:-size, size:-size] > 0


def _spacing(jacobian: np.ndarray) -> float:
    """Upper quartile of the distance between neighbouring vertices, in pixels."""
    longest = np.abs(jacobian).max(0).ravel()
    place = longest.size * 3 // 4
    return float(np.partition(longest, place)[place])


class _Grid:
    """A projected grid with the Jacobian of each vertex; all planes are (..., h, w)."""

    def __init__(self, points: np.ndarray, tolerance: float) -> None:
        self.tolerance = np.float32(tolerance)
        self.points = points
        self.jacobian = _derivatives(points[:2])
        self.last_row, self.last_column = points.shape[1] - 1, points.shape[2] - 1
        x_c, y_c, x_r, y_r = self.jacobian
        self.determinant = x_c * y_r - y_c * x_r
        self.packed = cv2.merge((points[0], points[1]))

    def starts(self, hits: np.ndarray) -> np.ndarray:
        """Per hit (n,): the affine map from pixels to grid coordinates, (6, n).

        column = s[0] + s[1] x + s[2] y and row = s[3] + s[4] x + s[5] y, the inverse Jacobian at the hit.
        """
        row, column = np.divmod(hits, self.last_column + 1)
        determinant = self.determinant.ravel()[hits]
        determinant[np.abs(determinant) < 0.02] = 0.02
        x_c, y_c, x_r, y_r = between(np.take(self.jacobian.reshape(4, -1), hits, 1) / determinant, -8, 8)
        x, y = np.take(self.points[:2].reshape(2, -1), hits, 1)
        out = np.empty((6, hits.size), np.float32)
        out[0], out[1], out[2] = column - y_r * x + x_r * y, y_r, -x_r
        out[3], out[4], out[5] = row - x_c * y + y_c * x, -y_c, x_c
        return out

    def residual(
        self, column: np.ndarray, row: np.ndarray, x: np.ndarray, y: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Offset to pixel centres x, y in pixels along each axis, and whether both are within the tolerance."""
        at = cv2.remap(self.packed, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        dx, dy = x - at[..., 0], y - at[..., 1]
        return dx, dy, cv2.max(np.abs(dx), np.abs(dy)) < self.tolerance


def _solve(
    grid: _Grid, fields: np.ndarray, x: np.ndarray, y: np.ndarray, cell: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two Newton steps of every pixel from its cell's start: column, row and whether the second started close by.

    `fields` (6, cells, 1, w) is stretched along x only; each row of cells broadcasts over its `cell` pixel rows.
    """
    size = fields.shape[1] * cell, fields.shape[3]
    tall = (fields.shape[1], cell, fields.shape[3])
    y = y.reshape(fields.shape[1], cell, 1)
    first, by_x, by_y, first_row, row_by_x, row_by_y = fields
    column = between((first + by_x * x) + by_y * y, 0, grid.last_column)
    row = between((first_row + row_by_x * x) + row_by_y * y, 0, grid.last_row)
    dx, dy, solved = grid.residual(column.reshape(size), row.reshape(size), x, y.reshape(-1, 1))
    dx, dy = dx.reshape(tall), dy.reshape(tall)
    column += by_x * dx
    column += by_y * dy
    row += row_by_x * dx
    row += row_by_y * dy
    return between(column, 0, grid.last_column).reshape(size), between(row, 0, grid.last_row).reshape(size), solved


def _stretched(planes: np.ndarray, width: int) -> np.ndarray:
    """Repeat the cells (..., rows, columns) along x up to `width` pixels."""
    flat = planes.reshape(-1, planes.shape[-1])
    return cv2.resize(flat, (width, len(flat)), interpolation=cv2.INTER_NEAREST).reshape(*planes.shape[:-1], width)


def splat_grid(
    projected: np.ndarray, size_hw: tuple[int, int], two_sided: bool = False, closing: int = 3,
    whole: np.ndarray | None = None,
) -> SurfacePatch | None:  # fmt: skip
    """Visible surface of a projected vertex grid.

    Args:
        projected (`np.ndarray`): (3, rows, columns) float32 x, y in pixels and depth towards the viewer.
        size_hw (`tuple`): window to draw into.
        two_sided (`bool`): keep points that face away from the viewer.
        closing (`int`): gaps up to this many pixels are bridged (3 or 7); rough grids need more.
        whole (`np.ndarray`, *optional*): the grid that `projected` was cut from, so that a cut changes nothing.

    Returns:
        `SurfacePatch` or `None` when nothing falls into the window.
    """
    extent = projected if whole is None else whole
    window = _window_of(extent[0], extent[1], size_hw)
    if window is None:
        return None
    x_low, y_low, x_high, y_high = window
    height, width = y_high - y_low, x_high - x_low
    points = projected - np.array([[[x_low]], [[y_low]], [[0]]], np.float32)
    grid = _Grid(points, 1.3 if closing <= 3 else 2.5)
    facing = (np.abs(grid.determinant) > 0 if two_sided else grid.determinant > 0).ravel()
    jacobian = grid.jacobian if whole is None else _derivatives(whole[:2])
    cell = min(max(round(_spacing(jacobian[:, ::3, ::3]) * 1.2), 1), _MAX_CELL)
    hits = _coarse_hits(points.reshape(3, -1), facing, cell, (-(-height // cell), -(-width // cell)))
    column, row, mask = _solved_pixels(grid, hits, cell, (height, width))
    mask = _closed(mask, closing)
    depth = cv2.remap(points[2], column, row, cv2.INTER_LINEAR)
    np.copyto(depth, _EMPTY_DEPTH, where=~mask)
    return SurfacePatch((x_low, y_low), mask, depth, column, row)


def _solved_pixels(
    grid: _Grid, hits: np.ndarray, cell: int, size_hw: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Grid column and row of each pixel (h, w), and where they were found."""
    height, width = size_hw
    rows, columns = hits.shape
    known = hits.ravel() >= 0
    starts = np.zeros((6, hits.size), np.float32)
    starts[:, known] = grid.starts(hits.ravel()[known])
    fields = _stretched(starts.reshape(6, rows, columns), columns * cell)[:, :, None, :width]
    x = np.arange(width, dtype=np.float32) + _HALF
    y = np.arange(rows * cell, dtype=np.float32) + _HALF
    column, row, mask = _solve(grid, fields, x, y, cell)
    column, row, mask = column[:height], row[:height], mask[:height]
    near = cv2.resize(
        known.reshape(rows, columns).view(np.uint8), (columns * cell, rows * cell), interpolation=cv2.INTER_NEAREST
    )[:height, :width].view(bool)
    mask &= near
    # What a neighbour's start can solve lies close to what is solved, unless vertices are wider apart than cells.
    reach = cell // 2 + 1 if cell < _MAX_CELL else 2 * cell
    close = cv2.dilate(mask.view(np.uint8), np.ones((2 * reach + 1,) * 2, np.uint8)).view(bool)
    _retry_from_neighbours(grid, starts, hits, (column, row, mask), np.flatnonzero(near & close & ~mask), cell)
    return column, row, mask


def _beside(hits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flat index (4, cells) of the cells around each cell, and whether their start is a new one."""
    cells = np.arange(hits.size, dtype=np.int32).reshape(hits.shape)
    rim = cv2.copyMakeBorder(cells, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    around = (rim[1:-1, 2:], rim[1:-1, :-2], rim[2:, 1:-1], rim[:-2, 1:-1])
    beside = np.stack([each.ravel() for each in around])
    start = hits.ravel()[beside]
    fresh = (start >= 0) & (start != hits.ravel())
    for later in range(1, 4):
        for earlier in range(later):
            fresh[later] &= start[later] != start[earlier]
    return beside, fresh


def _retry_from_neighbours(
    grid: _Grid, starts: np.ndarray, hits: np.ndarray, maps: tuple[np.ndarray, np.ndarray, np.ndarray],
    failed: np.ndarray, cell: int,
) -> None:  # fmt: skip
    """Restart pixels (flat numbers) that failed from the hits of the four cells around (writes into the maps)."""
    if failed.size == 0:
        return
    y, x = np.divmod(failed.astype(np.int32), np.int32(maps[2].shape[1]))
    centre_x, centre_y = x.astype(np.float32) + _HALF, y.astype(np.float32) + _HALF
    own: np.ndarray = y // np.int32(cell) * np.int32(hits.shape[1]) + x // np.int32(cell)
    beside, fresh = _beside(hits)
    side, which = np.nonzero(np.take(fresh, own, 1))
    # The first direction that works counts, and of repeated writes the last one stays.
    side, which = side[::-1], which[::-1]
    by_cell = np.ascontiguousarray(starts.T)
    for first in range(0, which.size, _MAX_RETRIES):
        part = slice(first, first + _MAX_RETRIES)
        chosen = which[part]
        start = np.take(by_cell, beside[side[part], own[chosen]], 0)
        _restart(grid, start, maps, failed[chosen], centre_x[chosen], centre_y[chosen])


def _restart(
    grid: _Grid, start: np.ndarray, maps: tuple[np.ndarray, np.ndarray, np.ndarray], pixel: np.ndarray,
    x: np.ndarray, y: np.ndarray,
) -> None:  # fmt: skip
    """Newton steps of single pixels (n,) with centres x, y from starts (n, 6); writes the ones that are solved."""
    column = between(start[:, 0] + start[:, 1] * x + start[:, 2] * y, 0, grid.last_column)
    row = between(start[:, 3] + start[:, 4] * x + start[:, 5] * y, 0, grid.last_row)
    dx, dy, solved = (each[0] for each in grid.residual(column[None], row[None], x, y))
    good = np.flatnonzero(solved)
    if good.size:
        start, dx, dy, pixel = np.take(start, good, 0), dx[good], dy[good], pixel[good]
        np.put(maps[0], pixel, between(column[good] + start[:, 1] * dx + start[:, 2] * dy, 0, grid.last_column))
        np.put(maps[1], pixel, between(row[good] + start[:, 4] * dx + start[:, 5] * dy, 0, grid.last_row))
        np.put(maps[2], pixel, True)
