"""Glasses, hats and things held in front of the face."""

from dataclasses import dataclass

import cv2
import numpy as np

from farl_hf.face_renderer.head_shape import A_COLUMNS, B_ROWS, THETA_COLUMNS
from farl_hf.face_renderer.lighting import Lights, grid_normals, shade_grid
from farl_hf.face_renderer.mesh_splatting import Camera, splat_grid
from farl_hf.face_renderer.painter import Layer, lit_planes
from farl_hf.face_renderer.photo_effects import crop_noise
from farl_hf.face_renderer.random_choice import pick, pick_any

__all__ = ["Accessories", "put_earrings", "put_glasses", "put_hat", "put_occluder", "sample_accessories"]

_FRAME_COLOURS = (
    np.array([(20, 18, 18), (60, 38, 24), (120, 90, 50), (150, 150, 155), (130, 30, 40), (30, 40, 80)]) / 255
)
_HAT_COLOURS = np.array(
    [(25, 25, 28), (170, 35, 40), (40, 60, 110), (110, 110, 112), (225, 220, 210), (60, 80, 50),
     (190, 150, 60), (90, 60, 45), (235, 130, 40)]
) / 255  # fmt: skip
# name: how low the rim sits (surface b at front, side, back) and how thick the shell is, cm.
_HATS: dict[str, tuple[tuple[float, float, float], float]] = {
    "beanie": ((-4.6, -2.0, 3.0), 0.9),
    "cap": ((-4.9, -3.6, -1.0), 1.1),
    "brimmed": ((-5.2, -4.2, -2.5), 1.3),
    "helmet": ((-4.8, 0.5, 6.0), 2.4),
    "hood": ((-6.0, 9.0, 9.0), 1.6),
    "scarf": ((-5.4, 9.0, 9.0), 0.7),
}


@dataclass(frozen=True)
class Accessories:
    """What is worn or held; empty strings mean nothing. Lengths in cm; colours display RGB."""

    glasses: str
    frame_rgb: np.ndarray
    frame_cm: float
    lens_half: tuple[float, float]
    lens_power: float
    lens_tint: float
    hat: str
    hat_rgb: np.ndarray
    occluder: str
    seed: int


def sample_accessories(rng: np.random.Generator) -> Accessories:
    """Draw accessories."""
    glasses = pick(rng, ("", "clear", "sun"), (0.8, 0.15, 0.05))
    hat = pick(rng, list(_HATS), (0.25, 0.28, 0.15, 0.1, 0.1, 0.12)) if rng.random() < 0.12 else ""
    held = pick(rng, ("hand", "microphone", "card", "blob"), (0.55, 0.15, 0.15, 0.15))
    occluder = held if rng.random() < 0.14 else ""
    return Accessories(
        glasses, _FRAME_COLOURS[rng.integers(len(_FRAME_COLOURS))], pick_any(rng, (0.1, 0.2, 0.36, 0.5)),
        (float(rng.uniform(2.1, 2.75)), float(rng.uniform(1.4, 2.2))), pick_any(rng, (2.0, 2.6, 3.5, 5.0)),
        float(rng.uniform(0.75, 0.95) if glasses == "sun" else rng.uniform(0.0, 0.12)), hat,
        np.clip(_HAT_COLOURS[rng.integers(len(_HAT_COLOURS))] * rng.uniform(0.8, 1.1), 0.02, 0.95), occluder,
        int(rng.integers(0, 2**31)),
    )  # fmt: skip


def _fixed(points_xy: np.ndarray) -> np.ndarray:
    return np.round((points_xy - 0.5) * 16).astype(np.int32)


def _stroke(
    layer: Layer, projected: np.ndarray, width_px: float, rgb: np.ndarray, closed: bool, test_depth: bool
) -> None:
    """Draw a 3-D polyline; with `test_depth` only where nothing nearer is in front."""
    mask = np.zeros(layer.size_hw, np.uint8)
    value = int(np.clip(width_px, 0.3, 1) * 255)
    fixed = _fixed(projected[:, :2])
    if not test_depth:
        cv2.polylines(mask, [fixed], closed, value, max(1, round(width_px)), cv2.LINE_AA, 4)
    else:
        height, width = layer.size_hw
        x = np.clip(projected[:, 0].astype(int), 0, width - 1)
        y = np.clip(projected[:, 1].astype(int), 0, height - 1)
        free = projected[:, 2] > layer.depth[y, x] - 0.7
        for k in np.flatnonzero(free[:-1] & free[1:]):
            cv2.polylines(mask, [fixed[k : k + 2]], False, value, max(1, round(width_px)), cv2.LINE_AA, 4)
    rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if rows.size:
        part = (slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1))
        layer.paint(mask[part].astype(np.float32) / 255, rgb.astype(np.float32), None, part)


def put_glasses(
    layer: Layer, worn: Accessories, head: np.ndarray, camera: Camera, spacing: float, light: float
) -> None:
    """Draw frames, lenses with a reflection, and the arms towards the ears."""
    if not worn.glasses:
        return
    scale = camera.pixels_per_cm
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    power = 2.0 / worn.lens_power
    x = worn.lens_half[0] * np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** power
    y = worn.lens_half[1] * np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** power
    bridge_row, bridge_column = int(np.argmin(np.abs(B_ROWS + 0.3))), int(np.argmin(np.abs(A_COLUMNS)))
    front = float(head[bridge_row, bridge_column, 2]) + 0.35
    rgb = (worn.frame_rgb**2) * light
    centre_x = max(spacing + 0.15, worn.lens_half[0] + 0.55)

    def place(px: np.ndarray, py: np.ndarray) -> np.ndarray:
        depth = front - 0.022 * px**2
        return camera.project(camera.turn(np.stack([px, py, depth], -1).astype(np.float32)))

    rng = np.random.default_rng(worn.seed)
    for sign in (-1, 1):
        ring = place(sign * (centre_x + x), 0.25 + y)
        _lens(layer, ring, worn, light, rng)
        arm = np.stack(
            [
                np.linspace(centre_x + worn.lens_half[0], 7.6, 14) * sign,
                np.full(14, -0.4),
                np.linspace(front - 0.8, -0.5, 14),
            ],
            -1,
        )
        _stroke(
            layer,
            camera.project(camera.turn(arm.astype(np.float32))),
            max(worn.frame_cm, 0.22) * scale,
            rgb,
            False,
            True,
        )
        _stroke(layer, ring, worn.frame_cm * scale, rgb, True, False)
    bridge = place(
        np.linspace(-(centre_x - worn.lens_half[0]), centre_x - worn.lens_half[0], 7),
        -0.15 - 0.25 * np.cos(np.linspace(-1.5, 1.5, 7)),
    )
    _stroke(layer, bridge, max(worn.frame_cm, 0.15) * scale, rgb, False, False)


def _lens(layer: Layer, ring: np.ndarray, worn: Accessories, light: float, rng: np.random.Generator) -> None:
    mask = np.zeros(layer.size_hw, np.uint8)
    cv2.fillPoly(mask, [_fixed(ring[:, :2])], 255, cv2.LINE_AA, 4)
    x0, y0, w, h = cv2.boundingRect(mask)
    if w < 2 or h < 2:
        return
    part = (slice(y0, y0 + h), slice(x0, x0 + w))
    weight = mask[part].astype(np.float32) / 255
    tint = np.array([0.03, 0.03, 0.035]) + 0.03 * rng.random(3)
    layer.paint(weight * worn.lens_tint, tint.astype(np.float32) * light, None, part)
    if rng.random() < 0.5:
        ramp = np.add.outer(np.linspace(0, 1, h), np.linspace(0, 1, w)) * 0.5
        glare = np.exp(-(((ramp - rng.uniform(0.2, 0.7)) / rng.uniform(0.04, 0.12)) ** 2)) * rng.uniform(0.1, 0.45)
        layer.paint((weight * glare).astype(np.float32), np.array([0.9, 0.95, 1.0], np.float32) * light, None, part)


def put_hat(layer: Layer, worn: Accessories, head: np.ndarray, camera: Camera, lights: Lights) -> None:
    """Draw a hat as a shell over the scalp, with a brim where it has one."""
    if not worn.hat:
        return
    (front, side, back), thick = _HATS[worn.hat]
    rim = np.interp(
        np.abs(np.degrees(THETA_COLUMNS)),
        [0, 40, 75, 95, 140, 180],
        [front, front + 0.2, (front + side) / 2, side, back, back],
    )
    rows = np.arange(0, len(B_ROWS), 3)
    scalp = head[rows]
    above = np.where(B_ROWS[rows] < -4, 1, 0)[:, None, None]
    outward = scalp * (1, 0, 1) + above * (scalp * (0, 1, 0) + np.array([0, 3.5, 0]))
    outward /= np.linalg.norm(outward, axis=-1, keepdims=True) + 1e-6
    bumps = crop_noise("cloud", scalp.shape[:2], np.random.default_rng(worn.seed), 0.4)
    dome = (scalp + outward * (thick * (1 + 0.12 * bumps))[..., None]).astype(np.float32)
    turned = camera.turn_grid(dome)
    gloss = 0.6 if worn.hat == "helmet" else 0.05
    light = shade_grid(grid_normals(turned), lights, None, None, gloss=gloss, skin=False)
    patch = splat_grid(camera.project_grid(turned), layer.size_hw)
    if patch is not None:
        over = patch.sample((rim[None] - B_ROWS[rows][:, None]).astype(np.float32))
        shade = np.where(over < 0.7, np.float32(0.72), np.float32(1.0))
        if worn.hat == "beanie":
            shade *= 1 + np.float32(0.1) * np.sin(patch.column * np.float32(2.2))
        linear = (worn.hat_rgb.astype(np.float32) ** 2)[:, None, None] * shade
        layer.put(patch, lit_planes(patch.sample(light), linear, 1.0), 0, (over > 0).astype(np.float32))
    if worn.hat in ("cap", "brimmed"):
        _put_brim(layer, worn, head, camera, lights, rim)


def _put_brim(
    layer: Layer, worn: Accessories, head: np.ndarray, camera: Camera, lights: Lights, rim: np.ndarray
) -> None:
    all_round = worn.hat == "brimmed"
    columns = np.arange(len(THETA_COLUMNS)) if all_round else np.flatnonzero(np.abs(THETA_COLUMNS) < 1.1)
    rows = np.searchsorted(B_ROWS, rim[columns])
    base = head[rows, columns]
    flat = base * (1, 0, 1)
    flat /= np.linalg.norm(flat, axis=-1, keepdims=True) + 1e-6
    if all_round:
        reach = np.full((len(columns), 1), 5.0)
    else:
        reach = 6.0 * np.cos(THETA_COLUMNS[columns] / 1.1 * np.pi / 2)[:, None] ** 0.5 + 0.4
    t = np.linspace(0, 1, 12)[:, None, None]
    brim = base[None] + flat[None] * (0.6 + t * reach[None])
    brim[..., 1] += 0.9 * t[..., 0] * (0.7 if all_round else 1) - 0.2
    turned = camera.turn_grid(brim.astype(np.float32))
    normals = grid_normals(turned)
    normals *= np.sign(np.float32(1e-6) - normals[1])
    light = shade_grid(normals, lights, None, None, gloss=0, skin=False)
    patch = splat_grid(camera.project_grid(turned), layer.size_hw, two_sided=True)
    if patch is not None:
        linear = np.square(worn.hat_rgb.astype(np.float32) * np.float32(0.8))
        layer.put(patch, lit_planes(patch.sample(light), linear, 0.0), 0)


def put_earrings(
    layer: Layer, lobes: list[np.ndarray], camera: Camera, light: float, rng: np.random.Generator
) -> None:
    """Draw a stud, ring or drop at each visible lobe."""
    kind, metal = rng.integers(3), np.array([(0.85, 0.65, 0.3), (0.8, 0.8, 0.85), (0.9, 0.9, 0.95)])[rng.integers(3)]
    scale = camera.pixels_per_cm
    for lobe in lobes:
        spot = camera.project(camera.turn(lobe + np.array([0, 0.25, 0.4], np.float32)))
        x, y = np.clip(spot[:2].astype(int), 0, (layer.size_hw[1] - 1, layer.size_hw[0] - 1))
        if spot[2] < layer.depth[y, x] - 2.0:
            continue
        angle = np.linspace(0, 2 * np.pi, 14)
        size = (0.32, 0.9, 0.55)[kind] * scale
        offset = (0.0, 0.9, 1.2)[kind] * scale
        ring = np.stack(
            [spot[0] + size * np.cos(angle) * 0.7, spot[1] + offset + size * np.sin(angle) * (1, 1, 1.9)[kind]], -1
        )
        mask = np.zeros(layer.size_hw, np.uint8)
        if kind == 1:
            cv2.polylines(mask, [_fixed(ring)], True, 255, max(1, round(0.16 * scale)), cv2.LINE_AA, 4)
        else:
            cv2.fillPoly(mask, [_fixed(ring)], 255, cv2.LINE_AA, 4)
        layer.paint(mask.astype(np.float32) / 255, (metal * light).astype(np.float32), 0)


def _occluder_shapes(kind: str, size: float, rng: np.random.Generator) -> list[np.ndarray]:
    """Polygons (n, 2) around the origin, in pixels for a face of `size` pixels."""
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    circle = np.stack([np.cos(angle), np.sin(angle)], -1)
    if kind == "hand":
        palm = circle * (0.3, 0.34) * size + (0, 0.35 * size)
        fingers = [
            circle * (0.062, 0.24) * size + ((k - 1.5) * 0.135 * size, -0.08 * size - 0.05 * size * (k in (1, 2)))
            for k in range(4)
        ]
        arm = np.array([(-0.2, 0.5), (0.2, 0.5), (0.3, 2.5), (-0.3, 2.5)]) * size
        return [palm, arm, *fingers]
    if kind == "microphone":
        return [np.array([(-0.06, 0), (0.06, 0), (0.05, 1.4), (-0.05, 1.4)]) * size, circle * (0.15, 0.17) * size]
    if kind == "card":
        return [np.array([(-0.4, -0.25), (0.4, -0.25), (0.4, 0.3), (-0.4, 0.3)]) * size]
    wobble = 1 + 0.3 * np.sin(angle * rng.integers(2, 5) + rng.uniform(0, 6))
    return [circle * wobble[:, None] * rng.uniform(0.15, 0.35) * size]


def put_occluder(
    layer: Layer,
    kind: str,
    centre_xy: np.ndarray,
    size: float,
    skin_rgb: np.ndarray,
    light: float,
    rng: np.random.Generator,
) -> None:
    """Draw something in front of the face; it is labelled background."""
    shade = np.clip(0.8 + 0.12 * crop_noise("cloud", layer.size_hw, rng, 1.5), 0.3, 1.2)
    rgb = skin_rgb if kind == "hand" else rng.uniform(0.05, 0.9, 3) * (0.3 if kind == "microphone" else 1)
    turn = rng.normal(0, 0.5)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    for shape in _occluder_shapes(kind, size, rng):
        inner: np.ndarray | float = 1.0
        mask = np.zeros(layer.size_hw, np.uint8)
        cv2.fillPoly(mask, [_fixed(shape @ rotation.T + centre_xy)], 255, cv2.LINE_AA, 4)
        if kind == "hand":
            soft = cv2.GaussianBlur(mask, (0, 0), max(size * 0.03, 0.8)).astype(np.float32) / 255
            layer.rgb *= 1 - np.float32(0.35) * (soft * (mask < 128))
            inner = np.clip(soft * 1.2, 0.35, 1)
        layer.paint(
            mask.astype(np.float32) / 255,
            ((np.asarray(rgb, np.float32) ** 2)[:, None, None] * (shade * inner * light)).astype(np.float32),
            0,
        )
