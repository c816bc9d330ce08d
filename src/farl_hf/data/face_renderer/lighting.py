"""Lights, shadows and skin-like shading of vertex grids, in linear light (display value squared)."""

from dataclasses import dataclass

import cv2
import numpy as np

__all__ = ["Lights", "grid_normals", "sample_lights", "shade_grid", "shadow_of"]

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
    directions = np.array(
        [
            _direction(key_azimuth, key_elevation),
            _direction(-np.sign(key_azimuth) * rng.uniform(0.4, 1.3), rng.uniform(-0.2, 0.6)),
            _direction(np.sign(rng.normal()) * rng.uniform(1.7, 2.4), rng.uniform(0.0, 0.9)),
        ],
        np.float32,
    )
    colours = np.stack([key * _tint(rng, 0.05), fill * _tint(rng, 0.08), rim * _tint(rng, 0.15)]).astype(np.float32)
    ambient = rng.uniform(0.16, 0.34) + 0.22 * softness
    return Lights(
        directions,
        colours,
        ambient * 1.1 * _tint(rng, 0.05),
        ambient * rng.uniform(0.6, 1.0) * _tint(rng, 0.07),
        float(rng.uniform(0.25, 0.85) * (1 - 0.6 * softness)),
    )


def grid_normals(vertices: np.ndarray) -> np.ndarray:
    """Unit outward normals (rows, columns, 3) of a grid whose columns run to the right and rows down."""
    across = np.empty_like(vertices)
    across[:, 1:-1] = vertices[:, 2:] - vertices[:, :-2]
    across[:, 0], across[:, -1] = vertices[:, 1] - vertices[:, 0], vertices[:, -1] - vertices[:, -2]
    down = np.empty_like(vertices)
    down[1:-1] = vertices[2:] - vertices[:-2]
    down[0], down[-1] = vertices[1] - vertices[0], vertices[-1] - vertices[-2]
    x = across[..., 1] * down[..., 2] - across[..., 2] * down[..., 1]
    y = across[..., 2] * down[..., 0] - across[..., 0] * down[..., 2]
    z = across[..., 0] * down[..., 1] - across[..., 1] * down[..., 0]
    length = np.sqrt(x * x + y * y + z * z) + 1e-6
    return np.stack([x / length, y / length, z / length], -1)


def shadow_of(points: np.ndarray, occluders: list[np.ndarray], direction: np.ndarray) -> np.ndarray:
    """Lit fraction (rows, columns) of each grid point behind the occluding grids, by a small shadow map."""
    side = np.cross(direction, [0.0, 1.0, 0.05]).astype(np.float32)
    side /= np.linalg.norm(side) + 1e-6
    up = np.cross(side, direction).astype(np.float32)
    frame = np.stack([side, up, direction], -1).astype(np.float32)
    size, cm_per_cell, reach = 80, 0.55, 22.0
    depth_map = np.full(size * size, -1e3, np.float32)
    for occluder in occluders:
        local = occluder.reshape(-1, 3) @ frame
        cell = ((local[:, :2] + reach) / cm_per_cell).astype(np.int32)
        column, row = np.minimum(np.maximum(cell[:, 0], 0), size - 1), np.minimum(np.maximum(cell[:, 1], 0), size - 1)
        np.maximum.at(depth_map, row * size + column, local[:, 2])
    depth_map = cv2.dilate(depth_map.reshape(size, size), np.ones((2, 2), np.uint8))
    local = points @ frame
    map_xy = ((local[..., :2] + reach) / cm_per_cell - 0.5).astype(np.float32)
    blocker = cv2.remap(depth_map, map_xy[..., 0], map_xy[..., 1], cv2.INTER_NEAREST, borderValue=-1e3)
    lit = 1.0 - np.clip((blocker - local[..., 2] - 0.8) / 0.8, 0, 1)
    return cv2.GaussianBlur(lit.astype(np.float32), (5, 5), 1.2)


def shade_grid(
    vertices: np.ndarray, normals: np.ndarray, lights: Lights, lit: np.ndarray | None, occlusion: np.ndarray | None,
    gloss: float = 0.3, skin: bool = True,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Diffuse (rows, columns, 3) and specular (rows, columns) linear light of each vertex."""
    height = (0.5 - 0.5 * normals[..., 1])[..., None]
    diffuse = lights.ambient_down + height * (lights.ambient_up - lights.ambient_down)
    if occlusion is not None:
        diffuse = diffuse * occlusion[..., None]
    specular = np.zeros(normals.shape[:2], np.float32)
    wrap = _SKIN_WRAP if skin else np.float32(0.12)
    for number, (direction, colour) in enumerate(zip(lights.directions, lights.colours, strict=True)):
        if colour.max() < 1e-3:
            continue
        facing = normals @ direction
        lambert = np.clip((facing[..., None] + wrap) / (1 + wrap), 0, None)
        if number == 0 and lit is not None:
            lambert = lambert * (1 - lights.shadow_strength * (1 - lit))[..., None]
        diffuse = diffuse + lambert * colour
        half = direction + np.array([0, 0, 1], np.float32)
        half /= np.linalg.norm(half) + 1e-6
        if gloss <= 0:
            continue
        eighth = np.maximum(normals @ half, 0)
        for _ in range(3):
            eighth = eighth * eighth
        squared = eighth * eighth
        lobe = np.float32(0.25) * eighth + squared * squared
        part = lobe * (facing > 0) * np.float32(colour.mean() * gloss)
        specular += part * (lit if number == 0 and lit is not None else 1)
    if occlusion is not None:
        diffuse = diffuse * (0.5 + 0.5 * occlusion[..., None])
        specular = specular * occlusion
    return diffuse.astype(np.float32), specular
