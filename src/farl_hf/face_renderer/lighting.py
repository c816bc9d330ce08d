"""Lights, shadows and skin-like shading of vertex grids, in linear light (display value squared)."""

from dataclasses import dataclass

import cv2
import numpy as np

from farl_hf.face_renderer.random_choice import at_least_zero, between

__all__ = [
    "Lights",
    "ambient_light",
    "grid_normals",
    "half_vectors",
    "sample_lights",
    "shade_grid",
    "shadow_of",
]

# How far red, green and blue light creep past the terminator in skin (subsurface scattering).
_SKIN_WRAP = np.array([0.42, 0.24, 0.18], np.float32)


@dataclass(frozen=True)
class Lights:
    """Directional lights in camera axes.

    Args:
        directions (`np.ndarray`): (n, 3) unit vectors towards the lights; the first is the key light.
        colours (`np.ndarray`): (n, 3) linear RGB strength.
        ambient_up (`np.ndarray`): (3,) linear RGB from above.
        ambient_down (`np.ndarray`): (3,) linear RGB from below.
        shadow_strength (`float`): 0 = none, 1 = black cast shadows of the key light.
    """

    directions: np.ndarray
    colours: np.ndarray
    ambient_up: np.ndarray
    ambient_down: np.ndarray
    shadow_strength: float


def _direction(azimuth_rad: float, elevation_rad: float) -> list[float]:
    return [
        np.sin(azimuth_rad) * np.cos(elevation_rad),
        -np.sin(elevation_rad),
        np.cos(azimuth_rad) * np.cos(elevation_rad),
    ]


def _tint(rng: np.random.Generator, spread: float) -> np.ndarray:
    warmth = rng.normal(0, spread)
    return np.array([1 + warmth, 1 + rng.normal(0, spread * 0.15), 1 - warmth], np.float32)


def sample_lights(rng: np.random.Generator) -> Lights:
    """A studio, window, sun or overcast setting."""
    softness = rng.uniform(0, 1)
    key_azimuth = rng.normal(0, 0.7)
    key_elevation = rng.uniform(0.1, 1.0)
    key = rng.uniform(0.55, 0.95) * (1.05 - 0.45 * softness)
    fill = rng.uniform(0.1, 0.4)
    rim = rng.uniform(0.0, 0.5) * (rng.random() < 0.5)
    ambient = rng.uniform(0.16, 0.34) + 0.22 * softness
    if rng.random() < 0.16:  # low-key: one light, the rest nearly black
        fill, ambient, rim = fill * rng.uniform(0, 0.4), ambient * rng.uniform(0.05, 0.35), rim * 0.6
        key *= rng.uniform(0.25, 0.9)
    directions = np.array(
        [
            _direction(key_azimuth, key_elevation),
            _direction(-np.sign(key_azimuth) * rng.uniform(0.4, 1.3), rng.uniform(-0.2, 0.6)),
            _direction(np.sign(rng.normal()) * rng.uniform(1.7, 2.4), rng.uniform(0.0, 0.9)),
        ],
        np.float32,
    )
    colours = np.stack([key * _tint(rng, 0.05), fill * _tint(rng, 0.08), rim * _tint(rng, 0.15)]).astype(np.float32)
    return Lights(
        directions,
        colours,
        ambient * 1.1 * _tint(rng, 0.05),
        ambient * rng.uniform(0.6, 1.0) * _tint(rng, 0.07),
        float(rng.uniform(0.25, 0.85) * (1 - 0.6 * softness)),
    )


def grid_normals(vertices: np.ndarray) -> np.ndarray:
    """Unit outward normals (3, rows, columns) of planes (3, rows, columns); columns run to the right, rows down."""
    across, down = np.empty_like(vertices), np.empty_like(vertices)
    np.subtract(vertices[..., 2:], vertices[..., :-2], out=across[..., 1:-1])
    across[..., 0], across[..., -1] = vertices[..., 1] - vertices[..., 0], vertices[..., -1] - vertices[..., -2]
    np.subtract(vertices[:, 2:], vertices[:, :-2], out=down[:, 1:-1])
    down[:, 0], down[:, -1] = vertices[:, 1] - vertices[:, 0], vertices[:, -1] - vertices[:, -2]
    normals = np.empty_like(vertices)
    for k in range(3):
        i, j = (k + 1) % 3, (k + 2) % 3
        np.subtract(across[i] * down[j], across[j] * down[i], out=normals[k])
    normals /= np.sqrt(np.square(normals).sum(0)) + np.float32(1e-6)
    return normals


def _light_frame(x: float, y: float, z: float) -> np.ndarray:
    """Rows: two axes across a light's direction x, y, z, then the direction."""
    side = np.array([0.05 * y - z, -0.05 * x, x])
    side /= np.sqrt(side @ side) + 1e-6
    a, b, c = side
    return np.array([side, (b * z - c * y, c * x - a * z, a * y - b * x), (x, y, z)], np.float32)


def shadow_of(points: np.ndarray, occluders: list[np.ndarray], direction: np.ndarray) -> np.ndarray:
    """Lit fraction (rows, columns) of planes (3, rows, columns) behind occluders (3, ...), by a small shadow map."""
    frame = _light_frame(*(float(value) for value in direction))
    size, cm_per_cell, reach = 80, 0.55, np.float32(22.0)
    inverse_cell = np.float32(1 / cm_per_cell)
    depth_map: np.ndarray = np.full(size * size, -1e3, np.float32)
    for occluder in occluders:
        local = frame @ occluder.reshape(3, -1)
        cell = ((local[:2] + reach) * inverse_cell).astype(np.int32)
        np.minimum(np.maximum(cell, 0, out=cell), size - 1, out=cell)
        np.maximum.at(depth_map, cell[1] * size + cell[0], local[2])
    depth_map = cv2.dilate(depth_map.reshape(size, size), np.ones((2, 2), np.uint8))
    local = (frame @ points.reshape(3, -1)).reshape(points.shape)
    map_xy = (local[:2] + reach) * inverse_cell - np.float32(0.5)
    blocker = cv2.remap(depth_map, map_xy[0], map_xy[1], cv2.INTER_NEAREST, borderValue=-1e3)
    hidden = (blocker - local[2] - np.float32(0.8)) * np.float32(1 / 0.8)
    lit = np.float32(1) - between(hidden, 0, 1)
    return cv2.GaussianBlur(lit, (5, 5), 1.2)


def half_vectors(directions: np.ndarray) -> np.ndarray:
    """Unit vectors (n, 3) half-way between each light (n, 3) and the viewer."""
    halves = directions + np.array([0, 0, 1], np.float32)
    return halves / (np.sqrt(np.square(halves).sum(-1, keepdims=True)) + np.float32(1e-6))


def ambient_light(normals: np.ndarray, lights: Lights) -> np.ndarray:
    """Light (3, rows, columns) from the sky and the ground on normals (3, rows, columns)."""
    height = np.float32(0.5) - np.float32(0.5) * normals[1]
    slope = (lights.ambient_up - lights.ambient_down)[:, None, None]
    return lights.ambient_down[:, None, None] + height * slope


def _specular_lobe(along: np.ndarray) -> np.ndarray:
    """A wide lobe, cosine**8, and a tight one, cosine**32."""
    eighth = at_least_zero(along.copy())
    for _ in range(3):
        np.square(eighth, out=eighth)
    return np.float32(0.25) * eighth + np.square(np.square(eighth))


def shade_grid(
    normals: np.ndarray, lights: Lights, lit: np.ndarray | None, occlusion: np.ndarray | None,
    gloss: float = 0.3, skin: bool = True,
) -> np.ndarray:  # fmt: skip
    """Linear light of each vertex (rows, columns, 4): diffuse red, green, blue, and specular.

    Args:
        normals (`np.ndarray`): (3, rows, columns).
        lit (`np.ndarray`, *optional*): (rows, columns) fraction of the key light that arrives.
        occlusion (`np.ndarray`, *optional*): (rows, columns) share of the sky that is seen.
    """
    shape = normals.shape[1:]
    diffuse = ambient_light(normals, lights)
    if occlusion is not None:
        diffuse *= occlusion
    specular = np.zeros(shape, np.float32)
    wrap = _SKIN_WRAP if skin else np.full(3, 0.12, np.float32)
    cosines = (np.concatenate([lights.directions, half_vectors(lights.directions)]) @ normals.reshape(3, -1)).reshape(
        2, -1, *shape
    )
    for number, colour in enumerate(lights.colours):
        if colour.max() < 1e-3:
            continue
        facing, along = cosines[:, number]
        factor = colour / (1 + wrap)
        lambert = facing * factor[:, None, None]
        lambert += (factor * wrap)[:, None, None]
        at_least_zero(lambert)
        if number == 0 and lit is not None:
            lambert *= 1 - np.float32(lights.shadow_strength) * (1 - lit)
        diffuse += lambert
        if gloss > 0:
            part = _specular_lobe(along) * (facing > 0)
            part *= np.float32(colour.mean() * gloss)
            specular += part * lit if number == 0 and lit is not None else part
    if occlusion is not None:
        diffuse *= np.float32(0.5) + np.float32(0.5) * occlusion
        specular *= occlusion
    return cv2.merge((*diffuse, specular))
