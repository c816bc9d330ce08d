"""The parametric head: a closed vertex grid, its identity and its expression displacements.

Surface coordinates: `a` runs around the head and `b` down from the crown, both in centimetres and close to the
frontal x and y over the face, so that a face can be drawn flat in (a, b). Anthropometric means after Farkas (1994).
"""

from functools import lru_cache

import numpy as np

__all__ = ["A_COLUMNS", "B_ROWS", "GRID_HW", "THETA_COLUMNS", "grid_coordinates", "make_head", "sample_surface"]

_NUM_COLUMNS = 113
_S = np.linspace(-1.0, 1.0, _NUM_COLUMNS)
THETA_COLUMNS = (np.pi * (0.5 * _S + 0.5 * _S**3)).astype(np.float32)
_CROWN_B, _FACE_TOP_B, _FACE_BOTTOM_B, _NECK_B = -16.38, -4.5, 12.0, 14.5
B_ROWS = np.concatenate(
    [
        np.linspace(_CROWN_B, _FACE_TOP_B, 26, endpoint=False),
        np.linspace(_FACE_TOP_B, _FACE_BOTTOM_B, 104, endpoint=False),
        np.linspace(_FACE_BOTTOM_B, _NECK_B, 8),
    ]
).astype(np.float32)
GRID_HW = (len(B_ROWS), _NUM_COLUMNS)


def _a_from_theta(theta: np.ndarray) -> np.ndarray:
    inner = np.clip(theta, -np.pi / 2, np.pi / 2)
    return 7.2 * (0.6 * np.sin(inner) + 0.4 * theta)


A_COLUMNS = _a_from_theta(THETA_COLUMNS).astype(np.float32)

# b (cm): half width, depth of the front, depth of the back, all measured from the axis of the head.
_RINGS = np.array(
    [
        (-3.5, 7.45, 8.75, 9.8),
        (-2.2, 7.4, 8.85, 9.8),
        (-0.8, 7.25, 8.5, 9.7),
        (0.5, 7.1, 8.2, 9.5),
        (3.0, 6.95, 8.3, 9.0),
        (4.8, 6.75, 8.85, 8.4),
        (6.2, 6.55, 9.05, 7.8),
        (7.2, 6.4, 9.0, 7.5),
        (8.6, 6.1, 8.75, 7.0),
        (10.2, 5.6, 8.85, 6.6),
        (11.2, 5.2, 8.3, 6.4),
        (11.9, 4.9, 7.4, 6.3),
        (13.0, 4.6, 4.8, 6.2),
        (14.5, 4.2, 3.0, 6.0),
    ]
)
# The surface between the eyes and the tip of the nose, whose b stands for itself, is longer than faces are: on
# photographs the tip lies 0.40 and the chin 1.26 of the distance between the outer eye corners below the eyes.
_SHORTER_CM, _SHORTER_FROM_B, _SHORTER_TO_B = 0.6, 0.8, 3.5
# azimuth (degrees): y of the jaw's lower edge.
_JAW_EDGE = np.array([(0, 11.4), (15, 11.2), (30, 10.6), (45, 9.9), (60, 9.0), (80, 7.4), (100, 5.6), (180, 7.5)])

# name: (amplitude direction x outward, y, z), then Gaussian centres |a|, b and sigmas a, b; mirrored in a.
_BUMPS: dict[str, tuple[tuple[float, float, float], tuple[float, float], tuple[float, float]]] = {
    "socket": ((0, 0, -1.0), (3.0, -0.15), (1.35, 0.95)),
    "socket_inner": ((0, 0, -1.0), (1.75, -0.2), (0.6, 0.8)),
    "eyeball": ((0, 0, 1.0), (3.2, 0.0), (0.95, 0.75)),
    "brow_ridge": ((0, 0, 1.0), (2.7, -2.1), (2.0, 0.75)),
    "cheekbone": ((0.5, 0, 0.85), (4.9, 2.4), (1.5, 1.2)),
    "cheek_fat": ((0.6, 0, 0.6), (4.3, 5.8), (2.0, 2.2)),
    "temple": ((1.0, 0, 0.2), (7.2, -3.0), (1.8, 2.4)),
    "forehead": ((0, 0, 1.0), (0.0, -5.2), (4.5, 2.6)),
    "jaw_angle": ((1.0, 0.2, 0), (7.4, 8.4), (2.2, 2.6)),
    "chin": ((0, 0, 1.0), (0.0, 10.4), (1.6, 1.0)),
    "chin_length": ((0, 1.0, 0), (0.0, 12.0), (4.5, 3.4)),
    "chin_width": ((1.0, 0, 0), (2.4, 10.9), (1.6, 1.6)),
    "chin_crease": ((0, 0, -1.0), (0.0, 8.75), (1.6, 0.5)),
    "muzzle": ((0, 0, 1.0), (0.0, 6.9), (2.6, 1.9)),
    "lip_upper": ((0, 0, 1.0), (0.0, 6.45), (1.7, 0.42)),
    "lip_lower": ((0, 0, 1.0), (0.0, 7.65), (1.5, 0.45)),
    "philtrum": ((0, 0, -1.0), (0.0, 5.5), (0.28, 0.5)),
    "nose_wing": ((0.25, 0, 1.0), (1.28, 4.05), (0.48, 0.52)),
    "nose_crease": ((0, 0, -1.0), (2.0, 4.0), (0.45, 0.8)),
    "nose_ball": ((0, 0, 1.0), (0.0, 3.75), (0.8, 0.6)),
    "cheek_raise": ((0.2, -0.35, 1.0), (4.0, 3.0), (1.5, 1.1)),
    "fold": ((0, 0, -1.0), (3.1, 5.6), (0.5, 1.3)),
    "corner_back": ((0.0, 0, -1.0), (2.9, 7.0), (0.9, 0.9)),
}
_BASE_AMPLITUDES = {
    "socket": 0.95, "socket_inner": 0.4, "eyeball": 0.5, "brow_ridge": 0.3, "cheekbone": 0.35, "chin": 0.4,
    "chin_crease": 0.35, "muzzle": 0.35, "lip_upper": 0.32, "lip_lower": 0.38, "philtrum": 0.14, "nose_wing": 0.95,
    "nose_crease": 0.2, "temple": -0.15, "fold": 0.12, "nose_ball": 0.25,
}  # fmt: skip


def grid_coordinates() -> tuple[np.ndarray, np.ndarray]:
    """Surface coordinates a and b of each vertex, two arrays (rows, columns)."""
    return np.meshgrid(A_COLUMNS, B_ROWS)


def _smooth_ring(b: np.ndarray, k: int) -> np.ndarray:
    fine = np.arange(-10.0, 18.0, 0.05)
    kernel = np.exp(-0.5 * (np.arange(-40, 41) * 0.05 / 0.55) ** 2)
    values = np.interp(fine, _RINGS[:, 0], _RINGS[:, k])
    padded = np.pad(values, 40, mode="edge")
    return np.interp(b, fine, np.convolve(padded, kernel / kernel.sum(), "valid"))


@lru_cache(maxsize=1)
def _mean_head() -> np.ndarray:
    theta, b = np.meshgrid(THETA_COLUMNS.astype(float), B_ROWS.astype(float))
    crown = np.clip((-3.5 - b) / 8.2, 0.0, np.pi / 2)
    shrink = np.cos(crown)
    below = np.maximum(b, -3.5)
    half_width, front, back = (_smooth_ring(below, k) * shrink for k in (1, 2, 3))
    edge = np.interp(np.abs(np.degrees(theta)), _JAW_EDGE[:, 0], _JAW_EDGE[:, 1])
    falling = np.where(b > 11.4, 11.4 + (b - 11.4) * 0.25, b)
    ramp = np.clip((falling - 3.0) / 8.4, 0, None)
    y = np.where(b < -3.5, -3.5 - 8.2 * np.sin(crown), falling + (edge - 11.4) * ramp**1.3)
    cos = np.cos(theta)
    x = half_width * np.sin(theta)
    z = np.where(cos > 0, front * np.abs(cos) ** 0.9, back * cos)
    y -= _SHORTER_CM * np.clip((b - _SHORTER_FROM_B) / (_SHORTER_TO_B - _SHORTER_FROM_B), 0, 1)
    return np.stack([x, y, z], -1).astype(np.float32)


def _nose_field(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Height of the nose's ridge over the face, 1 at the tip."""
    profile = np.interp(
        b, [-1.6, -0.6, 0.6, 2.4, 3.4, 3.9, 4.3, 4.65, 5.0, 5.5], [0, 0.1, 0.27, 0.66, 0.95, 1.0, 0.86, 0.5, 0.16, 0]
    )
    width = np.interp(b, [-0.6, 1.0, 3.0, 4.0], [0.55, 0.62, 0.8, 0.92])
    return profile * np.exp(-((np.abs(a) / width) ** 2.2) / 1.6)


@lru_cache(maxsize=1)
def _basis() -> tuple[dict[str, int], np.ndarray]:
    """Displacement fields as rows of a matrix (fields, rows * columns * 3)."""
    a, b = (grid.astype(float) for grid in grid_coordinates())
    side = np.tanh(a / 0.8)
    fields: dict[str, np.ndarray] = {}
    for name, (direction, (centre_a, centre_b), (sigma_a, sigma_b)) in _BUMPS.items():
        weight = np.exp(-0.5 * (((np.abs(a) - centre_a) / sigma_a) ** 2 + ((b - centre_b) / sigma_b) ** 2))
        fields[name] = np.stack([side * direction[0] * weight, direction[1] * weight, direction[2] * weight], -1)
    nose = _nose_field(a, b)
    zero = np.zeros_like(a)
    fields["nose_height"] = np.stack([zero, zero, nose], -1)
    fields["nose_drop"] = np.stack([zero, nose**2, zero], -1)
    wide = np.exp(-0.5 * ((b - 3.4) / 1.4) ** 2) * np.exp(-((a / 2.2) ** 4))
    fields["nose_width"] = np.stack([wide * np.tanh(a / 0.7), zero, zero], -1)
    jaw = np.clip((b - 6.95) / 0.6, 0, 1) * np.clip(1.25 - (np.abs(a) / 8.5) ** 2, 0, 1) * np.clip((16 - b) / 4, 0, 1)
    fields["jaw_drop"] = np.stack([zero, jaw, -0.3 * jaw], -1)
    mouth = np.exp(-0.5 * ((np.abs(a) / 2.6) ** 4)) * np.exp(-0.5 * ((b - 7.15) / 0.3) ** 2)
    fields["mouth_hollow"] = np.stack([zero, zero, -mouth], -1)
    # A beard hangs below the lower lip and leaves it where it is.
    beard = np.clip((b - 9.4) / 2.2, 0, 1) ** 1.5 * np.exp(-((a / 5.2) ** 4))
    fields["beard"] = np.stack([0.15 * side * beard, beard, 0.45 * beard], -1)
    names = {name: row for row, name in enumerate(fields)}
    return names, np.stack([f.astype(np.float32).ravel() for f in fields.values()])


def make_head(shape: dict[str, float]) -> np.ndarray:
    """Vertices (rows, columns, 3) in the head frame.

    Args:
        shape (`dict`): displacement amplitudes in cm added to the mean's, by name, and the factors `"width"`,
            `"height"`, `"depth"`, `"jaw"` (half width of the lower face) around 1.
    """
    names, basis = _basis()
    amplitudes = np.zeros(len(names), np.float32)
    amplitudes[names["nose_height"]] = 2.35
    for name, value in _BASE_AMPLITUDES.items():
        amplitudes[names[name]] = value
    for name, value in shape.items():
        if name in names:
            amplitudes[names[name]] += value
    vertices = (amplitudes @ basis).reshape(*GRID_HW, 3) + _mean_head()
    jaw = 1 + (shape.get("jaw", 1.0) - 1) * np.clip((B_ROWS - 1.0) / 8.0, 0, 1.0)
    vertices[..., 0] *= (shape.get("width", 1.0) * jaw)[:, None]
    vertices[..., 1] *= shape.get("height", 1.0)
    vertices[..., 2] *= shape.get("depth", 1.0)
    return vertices


def sample_surface(vertices: np.ndarray, points_ab: np.ndarray) -> np.ndarray:
    """Points (n, 3) on the head at surface coordinates (n, 2), bilinear on the grid."""
    column = np.interp(points_ab[:, 0], A_COLUMNS, np.arange(len(A_COLUMNS)))
    row = np.interp(points_ab[:, 1], B_ROWS, np.arange(len(B_ROWS)))
    c0 = np.minimum(column.astype(int), len(A_COLUMNS) - 2)
    r0 = np.minimum(row.astype(int), len(B_ROWS) - 2)
    fc, fr = (column - c0)[:, None], (row - r0)[:, None]
    top = vertices[r0, c0] * (1 - fc) + vertices[r0, c0 + 1] * fc
    low = vertices[r0 + 1, c0] * (1 - fc) + vertices[r0 + 1, c0 + 1] * fc
    return top * (1 - fr) + low * fr
