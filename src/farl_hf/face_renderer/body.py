"""Ears, neck and clothed shoulders as small vertex grids."""

from dataclasses import dataclass

import cv2
import numpy as np

from farl_hf.face_renderer.lighting import Lights, grid_normals, shade_grid
from farl_hf.face_renderer.mesh_splatting import Camera, splat_grid
from farl_hf.face_renderer.painter import Layer, lit_planes
from farl_hf.face_renderer.photo_effects import noise_picture
from farl_hf.face_renderer.random_choice import pick

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
    collar = pick(rng, ("round", "v", "shirt", "suit", "high", "ring"), (0.26, 0.2, 0.18, 0.18, 0.1, 0.08))
    tie = collar in ("suit", "shirt") and rng.random() < (0.6 if male else 0.08)
    depth = {"round": rng.uniform(0.5, 2.5), "v": rng.uniform(3, 9), "shirt": rng.uniform(1, 4)}.get(collar, 0.0)
    return Clothes(
        np.clip(colours[0] * rng.uniform(0.75, 1.1) + rng.normal(0, 0.03, 3), 0.02, 0.98).astype(np.float32),
        colours[1],
        pick(rng, ("plain", "stripes", "checks", "dots"), (0.68, 0.14, 0.1, 0.08)), collar,
        0.0 if tie else float(depth), bool(tie),
        bool(rng.random() < (0.04 if male else 0.3) and not tie and collar not in ("high", "ring")),
        bool(rng.random() < (0.03 if male else 0.42)), float(rng.normal(20.5 if male else 18, 1.2)),
        int(rng.integers(0, 2**31)),
    )  # fmt: skip


_EAR_V = np.linspace(-1, 1, 17)[:, None]
_EAR_U = np.linspace(0, 1, 13)[None]
_EAR_ACROSS = _EAR_U * 2.8 * np.sqrt(1 - _EAR_V**2) * np.interp(_EAR_V, [-1, -0.4, 0.4, 1], [1.1, 1.05, 0.8, 0.55])
_EAR_RIM = np.exp(-(((_EAR_U - 0.88) / 0.13) ** 2)) * 0.35 - np.exp(-(((_EAR_U - 0.55) / 0.22) ** 2)) * 0.3 * (
    np.abs(_EAR_V) < 0.8
)
_EAR_Y = 1.6 + _EAR_V * 2.95 - 0.25 * _EAR_U * _EAR_V
_EAR_HOLLOW = np.repeat((1 - 0.45 * np.exp(-(((_EAR_U - 0.5) / 0.25) ** 2))), 17, 0).astype(np.float32)
_EAR_TINT = np.array([1.0, 0.9, 0.88], np.float32)


def _ear_grid(sign: int, width: float, out_rad: float) -> np.ndarray:
    """An ear (rows, columns, 3) whose columns run from the face outwards."""
    out, back = np.sin(out_rad), np.cos(out_rad)
    x = 6.75 + _EAR_ACROSS * out + _EAR_RIM * back
    z = -0.6 - _EAR_ACROSS * back + _EAR_RIM * out
    return np.stack([x * (sign * width), _EAR_Y, z], -1).astype(np.float32)[:, ::sign]


def put_ears(
    layer: Layer, camera: Camera, lights: Lights, skin_rgb: np.ndarray, width: float, out_rad: float
) -> list[np.ndarray]:
    """Draw both ears; returns each lobe (3,) in the head frame."""
    lobes = []
    for sign in (-1, 1):
        lobes.append(np.array([sign * (6.9 + 0.6) * width, 4.9, -1.2], np.float32))
        turned = camera.turn_grid(_ear_grid(sign, width, out_rad))
        patch = splat_grid(camera.project_grid(turned), layer.size_hw, two_sided=True)
        if patch is None:
            continue
        light = shade_grid(grid_normals(turned), lights, None, _EAR_HOLLOW[:, ::sign])
        layer.put(patch, lit_planes(patch.sample(light), np.square(skin_rgb * _EAR_TINT), 0.3), _SKIN)
    return lobes


_NECK_T = np.linspace(0, 1, 14)[:, None]
_NECK_THETA = np.radians(np.linspace(-180, 180, 33))[None]
_NECK_RING = (
    np.stack(np.broadcast_arrays(np.sin(_NECK_THETA), 0 * _NECK_T, np.cos(_NECK_THETA) * 0.95), -1)
    * np.interp(_NECK_T, [0, 0.5, 0.8, 1], [1.0, 0.95, 1.12, 1.6])[..., None]
)
_NECK_SHADE = np.repeat(np.interp(_NECK_T, [0, 0.35, 0.75, 1], [0.4, 0.6, 0.9, 1.0]), 33, 1).astype(np.float32)
_NECK_OCCLUSION = (_NECK_SHADE * (1 + 0.08 * np.cos(_NECK_THETA * 5) * np.cos(_NECK_THETA))).astype(np.float32)


def put_neck(layer: Layer, camera: Camera, body: Camera, lights: Lights, skin_rgb: np.ndarray, thick: float) -> None:
    """Draw the neck between the turned head and the body."""
    top = camera.turn(np.array([0, 6.0, -2.2], np.float32))
    low = body.turn(np.array([0, 18.5, -2.5], np.float32))
    centre = top + (low - top) * _NECK_T[..., None]
    turned = np.ascontiguousarray((centre + thick * _NECK_RING).astype(np.float32).transpose(2, 0, 1))
    patch = splat_grid(camera.project_grid(turned), layer.size_hw)
    if patch is None:
        return
    light = shade_grid(grid_normals(turned), lights, _NECK_SHADE, _NECK_OCCLUSION, gloss=0.1)
    layer.put(patch, lit_planes(patch.sample(light), np.square(skin_rgb * np.float32(0.97)), 0.1), _BACKGROUND)


_TORSO_THETA = np.radians(np.linspace(-110, 110, 89))[None]
_TORSO_B = np.concatenate([np.linspace(13.2, 60, 88, endpoint=False), np.linspace(60, 95, 26)])[:, None]
_TORSO_T = np.interp(_TORSO_B, [13.2, 14.6, 16.2, 17.8, 21.5, 52], [0, 0.08, 0.2, 0.34, 0.5, 1])
_TORSO_ACROSS = np.sign(np.sin(_TORSO_THETA)) * np.abs(np.sin(_TORSO_THETA)) ** 0.9
_TORSO_Y = _TORSO_B + 1.2 * np.cos(_TORSO_THETA) * (1 - _TORSO_T)
_TORSO_Z = np.interp(_TORSO_T, [0, 0.2, 0.5, 1], [5.8, 8.0, 11.0, 12.5]) * np.cos(_TORSO_THETA) - 4.0


def _torso_grid(clothes: Clothes) -> np.ndarray:
    half = np.interp(
        _TORSO_T,
        [0, 0.08, 0.2, 0.34, 0.5, 1],
        [6.4, 7.4, 0.55 * clothes.shoulder, 0.85 * clothes.shoulder, clothes.shoulder, clothes.shoulder * 1.12],
    )
    return np.stack([half * _TORSO_ACROSS, _TORSO_Y, _TORSO_Z], -1).astype(np.float32)


def put_torso(layer: Layer, body: Camera, lights: Lights, clothes: Clothes, skin_rgb: np.ndarray) -> None:
    """Draw shoulders with clothes, collar, tie and necklace."""
    grid = _torso_grid(clothes)
    turned = body.turn_grid(grid)
    projected = body.project_grid(turned)
    # Most rows lie below the picture; a few spare ones keep the visible ones' normals as they are.
    rows = np.flatnonzero(projected[1].min(1) < layer.size_hw[0] + 16)
    last = rows[-1] + 4 if rows.size else 0
    patch = splat_grid(projected[:, :last], layer.size_hw, closing=7, whole=projected) if last else None
    if patch is None:
        return
    rng = np.random.default_rng(clothes.seed)
    start = rng.integers(0, 400, 2)
    turned = turned[:, :last].copy()
    turned[2] += noise_picture("cloud")[start[0] : start[0] + turned.shape[1], start[1] : start[1] + 89] * np.float32(
        0.7
    )
    light = shade_grid(grid_normals(turned), lights, None, None, gloss=0.05, skin=False)
    x, y = cv2.split(patch.sample(np.ascontiguousarray(grid[:last, :, [0, 1, 1, 1]])))[:2]
    albedo = _cloth_albedo(x, y, clothes, skin_rgb)
    layer.put(patch, lit_planes(patch.sample(light), np.square(albedo), 0.1), _BACKGROUND)


class _Paints:
    """A picture of paint numbers and the paints; cheaper to write than three channels."""

    def __init__(self, shape: tuple[int, int], rgb: np.ndarray) -> None:
        self.number = np.zeros(shape, np.uint8)
        self.colours = [np.asarray(rgb, np.float32)]

    def put(self, where: np.ndarray, rgb: np.ndarray | tuple[float, float, float]) -> None:
        np.copyto(self.number, np.uint8(len(self.colours)), where=where)
        self.colours.append(np.asarray(rgb, np.float32))

    def planes(self) -> np.ndarray:
        """Display RGB (3, h, w)."""
        return np.take(np.stack(self.colours, -1), self.number, axis=1)


def _cloth_albedo(x: np.ndarray, y: np.ndarray, clothes: Clothes, skin_rgb: np.ndarray) -> np.ndarray:
    """Display RGB planes (3, h, w) of the cloth and bare skin at body coordinates in cm."""
    base, second = clothes.rgb, clothes.second_rgb
    paints = _Paints(x.shape, base)
    if clothes.pattern == "stripes":
        paints.put((np.sin(y * 2.6) if clothes.seed % 2 else np.sin(x * 2.2)) > 0.3, second)
    if clothes.pattern == "checks":
        paints.put((np.sin(x * 1.8) > 0) ^ (np.sin(y * 1.8) > 0), 0.6 * base + 0.4 * second)
    if clothes.pattern == "dots":
        paints.put(np.sin(x * 2.4) * np.sin(y * 2.4) > 0.55, second)
    side = np.abs(x)
    skin = _neckline(x, y, side, clothes)
    if clothes.collar == "suit":
        opening = np.clip((34 - y) * 0.33, 0, 8)
        shirt = side < opening
        paints.put(shirt, (0.93, 0.93, 0.94))
        paints.put(shirt & (side > opening - 0.35), base * 0.5)
    if clothes.collar in ("suit", "shirt"):
        flap = (y < 19.5 - side * 0.1) & (side > 0.75 * (y - 15.2)) & (side < 0.75 * (y - 15.2) + 3.6) & (y > 15)
        paints.put(flap, np.minimum((0.95 if clothes.collar == "suit" else base) * np.ones(3) * 1.05, 1))
    if clothes.collar in ("high", "ring"):
        _paint_high_collar(paints, x, y, clothes)
    paints.put(skin, skin_rgb * 0.97)
    if clothes.tie:
        _paint_tie(paints, x, y, second)
    if clothes.necklace:
        chain = np.abs(y - 19.5 + 0.06 * x * x) < 0.33
        paints.put(chain & (side < 8), (0.95, 0.85, 0.55) if clothes.seed % 2 else (0.92, 0.92, 0.95))
    return paints.planes()


def _neckline(x: np.ndarray, y: np.ndarray, side: np.ndarray, clothes: Clothes) -> np.ndarray:
    """Where the cloth leaves the skin bare."""
    depth = clothes.neck_depth
    if clothes.collar == "suit":
        return y < 14.4
    if clothes.collar in ("high", "ring"):
        return y < 12
    if clothes.collar in ("v", "shirt"):
        return y < 15.0 + depth - side * 0.75
    return y < 14.8 + 0.35 * depth + np.sqrt(np.maximum(49 - x * x, np.float32(0))) * (0.12 * depth)


def _paint_high_collar(paints: _Paints, x: np.ndarray, y: np.ndarray, clothes: Clothes) -> None:
    """A roll neck, or the ring, straps and badge of an overall."""
    ring = y < 17.2
    paints.put(ring, clothes.second_rgb if clothes.collar == "ring" else clothes.rgb * 0.85)
    if clothes.collar == "ring":
        paints.put((y > 16.6) & ring, clothes.second_rgb * 0.5)
        paints.put((np.abs(np.abs(x) - 12) < 1.2) & (y > 20), clothes.second_rgb)
        paints.put((x > 5) & (x < 10) & (y > 24) & (y < 28), (0.2, 0.3, 0.6))


def _paint_tie(paints: _Paints, x: np.ndarray, y: np.ndarray, rgb: np.ndarray) -> None:
    side = np.abs(x)
    knot = (side < 1.5) & (y < 18.6) & (y > 15.6)
    tie = knot | ((side < 1.1 + (y - 18) * 0.09) & (y >= 18.4))
    paints.put(tie, rgb * 0.8 * 0.75)
    paints.put(tie & (np.sin((x + y) * 2.0) > 0), rgb * 0.8 * 1.25)
    paints.put(knot & (y > 18.2), rgb * 0.4)
