"""Ears, neck and clothed shoulders as small vertex grids."""

from dataclasses import dataclass

import numpy as np

from .camera import Camera
from .layer import Layer
from .lighting import Lights, grid_normals, shade_grid
from .mesh_splatting import splat_grid
from .noise_bank import noise_picture

__all__ = ["Clothes", "put_ears", "put_neck", "put_torso", "sample_clothes"]

_BACKGROUND, _SKIN = 0, 1
_CLOTH_COLOURS = np.array(
    [
        (30, 30, 34), (240, 240, 238), (40, 50, 80), (225, 95, 30), (170, 30, 40), (60, 90, 60), (120, 120, 125),
        (200, 180, 150), (80, 60, 50), (70, 110, 170), (225, 200, 70), (190, 120, 160), (110, 40, 70), (20, 80, 100),
    ],
    np.float32,
) / 255  # fmt: skip


@dataclass(frozen=True)
class Clothes:
    """What covers the shoulders. Lengths in cm; colours display RGB."""

    rgb: np.ndarray
    second_rgb: np.ndarray
    pattern: str
    collar: str
    neck_depth: float
    tie: bool
    necklace: bool
    earrings: bool
    shoulder: float
    seed: int


def sample_clothes(rng: np.random.Generator, male: bool) -> Clothes:
    """Draw clothes."""
    colours = _CLOTH_COLOURS[rng.choice(len(_CLOTH_COLOURS), 2, replace=False)]
    collar = str(rng.choice(["round", "v", "shirt", "suit", "high", "ring"], p=[0.26, 0.2, 0.18, 0.18, 0.1, 0.08]))
    tie = collar in ("suit", "shirt") and rng.random() < (0.6 if male else 0.08)
    depth = {"round": rng.uniform(0.5, 2.5), "v": rng.uniform(3, 9), "shirt": rng.uniform(1, 4)}.get(collar, 0.0)
    return Clothes(
        np.clip(colours[0] * rng.uniform(0.75, 1.1) + rng.normal(0, 0.03, 3), 0.02, 0.98).astype(np.float32),
        colours[1],
        str(rng.choice(["plain", "stripes", "checks", "dots"], p=[0.68, 0.14, 0.1, 0.08])), collar,
        0.0 if tie else float(depth), bool(tie),
        bool(rng.random() < (0.04 if male else 0.3) and not tie and collar not in ("high", "ring")),
        bool(rng.random() < (0.03 if male else 0.42)), float(rng.normal(20.5 if male else 18, 1.2)),
        int(rng.integers(0, 2**31)),
    )  # fmt: skip


def _ear_grid(sign: int, out_rad: float) -> np.ndarray:
    """An ear (rows, columns, 3) whose columns run from the face outwards."""
    v = np.linspace(-1, 1, 17)[:, None]
    u = np.linspace(0, 1, 13)[None]
    half = np.sqrt(np.clip(1 - v**2, 0.0, 1)) * np.interp(v, [-1, -0.4, 0.4, 1], [1.1, 1.05, 0.8, 0.55])
    across = u * 2.8 * half
    rim = np.exp(-(((u - 0.88) / 0.13) ** 2)) * 0.35 - np.exp(-(((u - 0.55) / 0.22) ** 2)) * 0.3 * (np.abs(v) < 0.8)
    out, back = np.sin(out_rad), np.cos(out_rad)
    x = 6.75 + across * out + rim * back
    z = -0.6 - across * back + rim * out
    y = 1.6 + v * 2.95 - 0.25 * u * v
    return np.stack(np.broadcast_arrays(sign * x, y, z), -1).astype(np.float32)[:, ::sign]


def put_ears(
    layer: Layer, camera: Camera, lights: Lights, skin_rgb: np.ndarray, width: float, out_rad: float
) -> list[np.ndarray]:
    """Draw both ears; returns each lobe (3,) in the head frame."""
    lobes = []
    for sign in (-1, 1):
        grid = _ear_grid(sign, out_rad) * (width, 1, 1)
        lobes.append(np.array([sign * (6.9 + 0.6) * width, 4.9, -1.2], np.float32))
        turned = camera.turn(grid.astype(np.float32))
        patch = splat_grid(camera.project(turned), layer.size_hw, two_sided=True)
        if patch is None:
            continue
        normals = grid_normals(turned)
        u = np.linspace(0, 1, 13)[::sign] if sign > 0 else np.linspace(1, 0, 13)
        hollow = (1 - 0.45 * np.exp(-(((u - 0.5) / 0.25) ** 2)))[None] * np.ones((17, 1))
        diffuse, specular = shade_grid(turned, normals, lights, None, hollow.astype(np.float32))
        rgb = (skin_rgb * np.array([1.0, 0.9, 0.88], np.float32)) ** 2 * patch.sample(diffuse) + patch.sample(
            specular
        )[..., None] * 0.3
        layer.put(patch, rgb, _SKIN)
    return lobes


def put_neck(layer: Layer, camera: Camera, body: Camera, lights: Lights, skin_rgb: np.ndarray, thick: float) -> None:
    """Draw the neck between the turned head and the body."""
    theta = np.radians(np.linspace(-180, 180, 33))[None]
    t = np.linspace(0, 1, 14)[:, None]
    top = camera.turn(np.array([0, 6.0, -2.2], np.float32))
    low = body.turn(np.array([0, 18.5, -2.5], np.float32))
    centre = top + (low - top) * t[..., None]
    radius = thick * np.interp(t, [0, 0.5, 0.8, 1], [1.0, 0.95, 1.12, 1.6])
    ring = np.stack(np.broadcast_arrays(np.sin(theta) * radius, 0 * t, np.cos(theta) * radius * 0.95), -1)
    turned = (centre + ring).astype(np.float32)
    patch = splat_grid(camera.project(turned), layer.size_hw)
    if patch is None:
        return
    shade = np.broadcast_to(np.interp(t, [0, 0.35, 0.75, 1], [0.4, 0.6, 0.9, 1.0]), turned.shape[:2]).astype(
        np.float32
    )
    cords = 1 + 0.08 * np.cos(theta * 5) * np.cos(theta)
    diffuse, specular = shade_grid(
        turned, grid_normals(turned), lights, shade, (shade * cords).astype(np.float32), gloss=0.1
    )
    layer.put(
        patch, (skin_rgb * 0.97) ** 2 * patch.sample(diffuse) + patch.sample(specular)[..., None] * 0.1, _BACKGROUND
    )


def _torso_grid(clothes: Clothes) -> np.ndarray:
    theta = np.radians(np.linspace(-110, 110, 89))[None]
    y = np.concatenate([np.linspace(13.2, 60, 88, endpoint=False), np.linspace(60, 95, 26)])[:, None]
    t = np.interp(y, [13.2, 14.6, 16.2, 17.8, 21.5, 52], [0, 0.08, 0.2, 0.34, 0.5, 1])
    half = np.interp(
        t,
        [0, 0.08, 0.2, 0.34, 0.5, 1],
        [6.4, 7.4, 0.55 * clothes.shoulder, 0.85 * clothes.shoulder, clothes.shoulder, clothes.shoulder * 1.12],
    )
    depth = np.interp(t, [0, 0.2, 0.5, 1], [5.8, 8.0, 11.0, 12.5])
    x = half * np.sign(np.sin(theta)) * np.abs(np.sin(theta)) ** 0.9
    z = depth * np.cos(theta) - 4.0
    return np.stack(np.broadcast_arrays(x, y + 1.2 * np.cos(theta) * (1 - t), z), -1).astype(np.float32)


def put_torso(layer: Layer, body: Camera, lights: Lights, clothes: Clothes, skin_rgb: np.ndarray) -> None:
    """Draw shoulders with clothes, collar, tie and necklace."""
    grid = _torso_grid(clothes)
    turned = body.turn(grid)
    patch = splat_grid(body.project(turned), layer.size_hw, closing=7)
    if patch is None:
        return
    rng = np.random.default_rng(clothes.seed)
    start = rng.integers(0, 400, 2)
    folds = noise_picture("cloud")[start[0] : start[0] + 114, start[1] : start[1] + 89]
    normals = grid_normals(turned + _fold_bump(folds))
    diffuse, specular = shade_grid(turned, normals, lights, None, None, gloss=0.05, skin=False)
    place = patch.sample(grid)
    albedo, _skin = _cloth_albedo(place[..., 0], place[..., 1], clothes, skin_rgb)
    layer.put(patch, albedo**2 * patch.sample(diffuse) + patch.sample(specular)[..., None] * 0.1, _BACKGROUND)


def _fold_bump(folds: np.ndarray) -> np.ndarray:
    """Fold heights (r, c) as displacements towards the viewer (r, c, 3)."""
    return np.stack([0 * folds, 0 * folds, folds * 0.7], -1).astype(np.float32)


def _cloth_albedo(
    x: np.ndarray, y: np.ndarray, clothes: Clothes, skin_rgb: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Display RGB of the cloth at body coordinates in cm, and where bare skin shows."""
    base, second = clothes.rgb, clothes.second_rgb
    albedo = np.empty((*x.shape, 3), np.float32)
    albedo[:] = base
    if clothes.pattern == "stripes":
        albedo[(np.sin(y * 2.6) if clothes.seed % 2 else np.sin(x * 2.2)) > 0.3] = second
    if clothes.pattern == "checks":
        albedo[(np.sin(x * 1.8) > 0) ^ (np.sin(y * 1.8) > 0)] = 0.6 * base + 0.4 * second
    if clothes.pattern == "dots":
        albedo[np.sin(x * 2.4) * np.sin(y * 2.4) > 0.55] = second
    side = np.abs(x)
    top = 15.0 + clothes.neck_depth
    skin = (
        (y < top - side * 0.75)
        if clothes.collar in ("v", "shirt")
        else (y < 14.8 + 0.35 * clothes.neck_depth + np.sqrt(np.clip(49 - x * x, 0, 49)) * 0.12 * clothes.neck_depth)
    )
    if clothes.collar in ("suit",):
        shirt = side < np.clip((34 - y) * 0.33, 0, 8)
        albedo[shirt] = (0.93, 0.93, 0.94)
        lapel = shirt & (side > np.clip((34 - y) * 0.33, 0, 8) - 0.35)
        albedo[lapel] = base * 0.5
        skin = y < 14.4
    if clothes.collar in ("suit", "shirt"):
        flap = (y < 19.5 - side * 0.1) & (side > 0.75 * (y - 15.2)) & (side < 0.75 * (y - 15.2) + 3.6) & (y > 15)
        albedo[flap] = np.minimum((0.95 if clothes.collar == "suit" else base) * np.ones(3) * 1.05, 1)
    if clothes.collar in ("high", "ring"):
        skin = y < 12
        ring = y < 17.2
        albedo[ring] = second if clothes.collar == "ring" else base * 0.85
        if clothes.collar == "ring":
            albedo[(y > 16.6) & ring] = second * 0.5
            albedo[(np.abs(side - 12) < 1.2) & (y > 20)] = second
            albedo[(x > 5) & (x < 10) & (y > 24) & (y < 28)] = (0.2, 0.3, 0.6)
    albedo[skin] = skin_rgb * 0.97
    if clothes.tie:
        knot = (side < 1.5) & (y < 18.6) & (y > 15.6)
        blade = (side < 1.1 + (y - 18) * 0.09) & (y >= 18.4)
        stripe = 0.75 + 0.5 * (np.sin((x + y) * 2.0) > 0)
        albedo[knot | blade] = (second * 0.8 * stripe[..., None])[knot | blade]
        albedo[knot & (y > 18.2)] = second * 0.4
    if clothes.necklace:
        chain = np.abs(y - 19.5 + 0.06 * x * x) < 0.33
        albedo[chain & (np.abs(x) < 8)] = (0.95, 0.85, 0.55) if clothes.seed % 2 else (0.92, 0.92, 0.95)
    return albedo, skin
