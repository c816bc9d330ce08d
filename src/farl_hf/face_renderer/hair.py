"""Hair as a shell of vertices around the scalp, masked by how far each meridian of hair reaches."""

from dataclasses import dataclass

import cv2
import numpy as np

from farl_hf.face_renderer.head_shape import B_ROWS, THETA_COLUMNS
from farl_hf.face_renderer.lighting import Lights, ambient_light, grid_normals, half_vectors
from farl_hf.face_renderer.mesh_splatting import Camera, SurfacePatch, splat_grid
from farl_hf.face_renderer.painter import Layer
from farl_hf.face_renderer.photo_effects import noise_picture
from farl_hf.face_renderer.random_choice import at_least_zero, between, pick, pick_any

__all__ = ["HairStyle", "make_hair_shell", "put_back_hair", "put_bun", "put_front_hair", "sample_hair"]

_HAIR_LABEL = 10
_COLUMNS = slice(0, None, 2)
_FALL_B = 1.5
# Columns from the front to the first that counts as the back of the hair, at about 85 degrees.
_BEHIND = 17
# Pixels; the folded shell leaves gaps that strands may bridge.
_CLOSING = 7
# Pixels; a cell of the rasteriser and a little more.
_SPARE_ROWS = 24
# azimuth (degrees): surface row where short hair ends.
_SHORT_END = np.array([(0, -6.9), (25, -6.9), (42, -6.3), (52, -5.0), (60, -3.8), (68, -3.0), (74, -0.2), (80, 0.6),
                       (85, -1.0), (100, -1.4), (112, 1.5), (125, 6.3), (180, 7.6)])  # fmt: skip


@dataclass(frozen=True)
class HairStyle:
    """Shape of the hair. Lengths in cm; `length` is measured below the ear's level, 0 = short or tied back.

    `open_deg` is the azimuth at which long hair begins, image-left side first: below 80 it covers the ear, above 95 it
    is tucked behind it. `clump` is the contrast of strands, `tips` how much brighter long hair ends than it begins.
    """

    bald: bool
    length: float
    recede: float
    fringe: str
    part: float
    volume_top: float
    volume_side: float
    flare: float
    curl: float
    wave: float
    open_deg: tuple[float, float]
    bun: str
    clump: float
    tips: float
    jag: float
    seed: int
    hairline: float


# name: where its centre lies in the head frame, cm.
_BUNS = {"top": (0.0, -13.2, -3.0), "back": (0.0, -6.0, -11.5), "low": (0.0, 2.5, -10.5)}


def sample_hair(rng: np.random.Generator, male: bool, age: float) -> HairStyle:
    """Draw a hair style."""
    bald = bool(rng.random() < (0.02 + 0.16 * age if male else 0.005))
    long = rng.random() < (0.13 if male else 0.72)
    tied = not long and rng.random() < (0.03 if male else 0.7)
    length = float(pick_any(rng, (rng.uniform(2, 8), rng.uniform(8, 16), rng.uniform(16, 34)))) if long else 0.0
    recede = float(rng.uniform(0.5, 1.0)) if male and rng.random() < 0.1 + 0.3 * age else 0.0
    curl = float(pick(rng, (0, rng.uniform(0.5, 1)), (0.82, 0.18) if male else (0.72, 0.28)))
    shaved = male and not long and rng.random() < 0.25
    top = (
        rng.uniform(0.15, 0.4) if shaved or tied else rng.uniform(0.6, 2.6) + (rng.random() < 0.2) * rng.uniform(0, 2)
    )
    side = top * rng.uniform(0.2, 0.6) + (rng.uniform(0.5, 1.6) if long else 0) + curl * 0.9
    wild = rng.uniform(0.8, 3) if curl > 0 and not tied and rng.random() < 0.35 else 0.0
    return HairStyle(
        bald=bald, length=length, recede=recede, fringe=_sample_fringe(rng, long, tied, recede),
        part=float(rng.normal(0, 18)), volume_top=float(top + 0.9 * curl * (not tied) + wild),
        volume_side=float(side + wild), flare=float(rng.normal(1.4, 1.5) + 1.5 * curl), curl=curl,
        wave=float(pick(rng, (0, rng.uniform(0.4, 1)), (0.5, 0.5))),
        open_deg=(_sample_opening(rng), _sample_opening(rng)), bun=pick_any(rng, tuple(_BUNS)) if tied else "",
        clump=float(rng.uniform(0.15, 0.45)),
        tips=float(pick(rng, (0.0, rng.uniform(0.1, 1.0)), (0.65, 0.35))) if long else 0.0,
        jag=float(rng.uniform(0.25, 0.9)), seed=int(rng.integers(0, 2**31)), hairline=float(rng.normal(-0.1, 0.55)),
    )  # fmt: skip


def _sample_fringe(rng: np.random.Generator, long: bool, tied: bool, recede: float) -> str:
    if recede > 0:
        return "none"
    if long:
        return pick(rng, ("none", "full", "swept", "curtain"), (0.2, 0.15, 0.2, 0.45))
    return pick(rng, ("none", "full", "swept"), (0.8, 0.05, 0.15) if tied else (0.55, 0.15, 0.3))


def _sample_opening(rng: np.random.Generator) -> float:
    return float(pick(rng, (rng.uniform(46, 76), rng.uniform(96, 116)), (0.72, 0.28)))


def _end_rows(style: HairStyle, theta_deg: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Where the hair of each meridian ends: b on the scalp, b + drop below it."""
    angle = np.abs(theta_deg)
    end = np.interp(angle, _SHORT_END[:, 0], _SHORT_END[:, 1]) + style.hairline * (angle < 60)
    if style.recede > 0:
        end -= style.recede * np.interp(angle, [0, 20, 38, 58, 75], [1.5, 2.2, 4.5, 2.5, 0])
    if style.length > 0:
        opening = np.where(theta_deg < 0, *style.open_deg)
        curtain = np.clip((angle - opening) / 6, 0, 1)
        end = end + curtain * (_FALL_B + style.length + 1.2 * np.sin(theta_deg * 0.05 + rng.uniform(0, 6)) - end)
    if style.fringe == "full":
        low = -2.4 + rng.normal(0, 0.5)
        end = np.where(angle < 50, np.maximum(end, low - 0.6 * np.cos(theta_deg * 0.09)), end)
    if style.fringe == "swept":
        away = np.abs(theta_deg - style.part)
        swept = np.interp(away, [0, 12, 45, 75, 95], [-7.2, -6.4, -4.2, -2.0, -0.5])
        end = np.where(angle < 62, np.maximum(end, swept), end)
    if style.fringe == "curtain":
        away = np.abs(theta_deg - style.part)
        swept = np.interp(away, [0, 8, 30, 52, 70], [-7.8, -7.2, -5.4, -2.6, 0.5])
        end = np.where(angle < 70, np.maximum(end, swept), end)
    return end


def make_hair_shell(style: HairStyle, head: np.ndarray) -> dict[str, np.ndarray] | None:
    """Vertices in the head frame with per-vertex strand coordinates.

    Returns:
        `dict` with `vertices` (r, c, 3) and `strand` (r, c, 4): across the strands (cm), along them (cm), the
        distance (cm) to where they end, and nothing (`cv2.remap` prefers four channels); `None` for a bald head.
    """
    if style.bald:
        return None
    rng = np.random.default_rng(style.seed)
    theta = THETA_COLUMNS[_COLUMNS]
    degrees = np.degrees(theta)
    last_b = _FALL_B if style.length > 0 else 8.2
    rows = np.flatnonzero(last_b >= B_ROWS)
    rows = np.unique(np.concatenate([rows[:26], rows[26::2], rows[-1:]]))
    scalp = head[rows][:, _COLUMNS]
    path = B_ROWS[rows]
    vertices, path = (scalp, path) if style.length == 0 else _with_curtain(style, scalp, path)
    end = _end_rows(style, degrees, rng)
    left = end[None] - path[:, None]
    lift = _thickness(style, path, degrees, left)
    outward = vertices.astype(np.float32)
    if style.length > 0:
        outward[..., 1] = np.where((path > -2)[:, None], 0, outward[..., 1] + np.float32(3.5))
    else:
        outward[..., 1] += np.float32(2.0)
    outward *= (lift / (np.sqrt((outward * outward) @ np.ones(3, np.float32)) + np.float32(1e-6)))[..., None]
    vertices = (vertices + outward).astype(np.float32)
    across = theta[None] * 8.0 + np.zeros_like(left)
    across = across + style.wave * 0.55 * np.sin(path[:, None] * 0.75 + 2 * np.sin(theta * 3)[None])
    if style.fringe in ("swept", "curtain"):
        across = across + 0.35 * np.sign(degrees - style.part)[None] * np.clip(path + 12, 0, 12)[:, None]
    along = np.broadcast_to(path[:, None], left.shape)
    return {"vertices": vertices, "strand": np.stack([across, along, left, 0 * left], -1).astype(np.float32)}


def _with_curtain(style: HairStyle, scalp: np.ndarray, path: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Append rows that hang from the ear's level."""
    steps = np.linspace(0, 1, 12 + int(style.length * 1.3))[1:] * (style.length + 2.5)
    ring = scalp[-1].copy()
    back = np.clip(-ring[:, 2:3] / 9.0, 0, 1)
    ring[:, 0] *= 1.03
    curtain = np.repeat(ring[None], len(steps), 0)
    curtain[..., 1] = ring[None, :, 1] + steps[:, None]
    shape = np.sin(np.clip(steps / (style.length + 2), 0, 1) * np.pi * 0.8)
    bends = np.sin(steps[:, None] * 0.8 + 3 * np.sin(2 * THETA_COLUMNS[_COLUMNS] + style.seed % 7)[None])
    curtain[..., 0] *= (
        1 + 0.1 * style.flare * shape[:, None] + 0.05 * style.wave * bends * np.minimum(steps / 4, 1)[:, None]
    )
    # Hair that falls in front lies on the shoulders.
    front = np.clip(ring[None, :, 2] / 4.0, 0, 1)
    curtain[..., 2] += 4.0 * front * np.clip((curtain[..., 1] - 11) / 6, 0, 1)
    curtain[..., 2] *= 1 - 0.15 * back[None, :, 0] * np.clip(steps / 8, 0, 1)[:, None]
    return np.concatenate([scalp, curtain]), np.concatenate([path, path[-1] + steps])


def _thickness(style: HairStyle, path: np.ndarray, degrees: np.ndarray, left: np.ndarray) -> np.ndarray:
    top = np.clip((-2.5 - path) / 6, 0, 1)[:, None]
    lift = style.volume_side + (style.volume_top - style.volume_side) * top
    lift = lift * (1 - 0.3 * np.exp(-(((degrees - style.part) / 9) ** 2))[None] * top * (style.fringe != "full"))
    taper = np.sqrt(np.clip(left / 2.2, 0.02, 1))
    if style.fringe != "none" or style.length > 0:
        taper = np.maximum(taper, 0.4)
    bumps = noise_picture("cloud")[:512:4, :512:4][: left.shape[0], : left.shape[1]]
    if style.curl > 0:
        grain = noise_picture("mottle")[:512:3, :512:3][: left.shape[0], : left.shape[1]]
        lift = lift + 0.4 * style.curl * grain
    lift = between((lift * taper * (1 + 0.15 * bumps)).astype(np.float32), 0.06, 6.0)
    # A rough shell would defeat the Newton steps of the rasteriser.
    return cv2.GaussianBlur(lift, (0, 0), 1.3, borderType=cv2.BORDER_REPLICATE)


def _strand_light(turned: np.ndarray, normals: np.ndarray, lights: Lights) -> np.ndarray:
    """Diffuse light and highlight (r, c, 4) of strands that run down planes (3, r, c), after Kajiya and Kay."""
    tangent = _down_the_rows(turned)
    shape = (-1, *normals.shape[1:])
    facing = (lights.directions @ normals.reshape(3, -1)).reshape(shape) * np.float32(1 / 1.3) + np.float32(0.3 / 1.3)
    facing = between(facing, 0, 1)
    along = (half_vectors(lights.directions) @ tangent.reshape(3, -1)).reshape(shape)
    square = np.square(at_least_zero(np.float32(1) - np.square(along)))
    fourth = square * square
    # The sine of the angle between strand and half vector, to the power of 28.
    gleam = fourth * fourth * fourth * square * facing
    diffuse = ambient_light(normals, lights)
    diffuse += np.tensordot(lights.colours.T, facing, 1)
    return cv2.merge((*diffuse, np.tensordot(lights.colours.mean(1), gleam, 1)))


def _down_the_rows(planes: np.ndarray) -> np.ndarray:
    """Unit tangents of the columns of planes (3, r, c)."""
    tangent = np.empty_like(planes)
    tangent[:, 1:-1] = (planes[:, 2:] - planes[:, :-2]) * np.float32(0.5)
    tangent[:, 0], tangent[:, -1] = planes[:, 1] - planes[:, 0], planes[:, -1] - planes[:, -2]
    tangent /= np.sqrt(np.square(tangent).sum(0)) + np.float32(1e-6)
    return tangent


def _strand_noise(across: np.ndarray, along: np.ndarray, style: HairStyle, pixels_per_cm: float) -> np.ndarray:
    """Brightness of the strands at each pixel, about -2..2."""
    density = min(26.0, 2.6 * pixels_per_cm + 4)
    picture = noise_picture("mottle" if style.curl > 0 else "strand")
    by_x, by_y = (0.8, 0.8) if style.curl > 0 else (1.0, 0.5)
    coarse = np.float32(0.22)
    broad: np.ndarray = cv2.remap(
        picture,
        _wrapped(across * np.float32(density * by_x) * coarse + np.float32(style.seed % 503)),
        _wrapped(along * np.float32(density * by_y) * coarse),
        cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    x = _wrapped(across * np.float32(density * by_x) + np.float32(style.seed % 509))
    y = _wrapped(along * np.float32(density * by_y) + np.float32(style.seed % 487))
    fine: np.ndarray = cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    fine *= np.float32(0.75)
    broad *= np.float32(0.65)
    fine += broad
    return fine


def _wrapped(values: np.ndarray) -> np.ndarray:
    """Remainder by the period of the noise; `np.mod` is many times slower."""
    return values - np.float32(512) * np.floor(values * np.float32(1 / 512))


def _lowest_visible(projected: np.ndarray, normals: np.ndarray, left: np.ndarray) -> float:
    """Row of pixels below which no strand is seen: short hair leaves most of the shell bare.

    Noise reaches less than five times its deviation, which is two centimetres past the end of the hair.
    """
    seen = (left > -2.5) & (normals[2] > -0.25)
    return float(projected[1][seen].max(initial=0))


def put_front_hair(
    layer: Layer, shell: dict, style: HairStyle, hair_rgb: np.ndarray, camera: Camera, lights: Lights
) -> None:
    """Draw the hair that faces the viewer, hidden by whatever is nearer."""
    turned = camera.turn_grid(shell["vertices"])
    normals = grid_normals(turned)
    projected = camera.project_grid(turned)
    bottom = int(_lowest_visible(projected, normals, shell["strand"][..., 2])) + _SPARE_ROWS
    patch = splat_grid(projected, (min(layer.size_hw[0], bottom), layer.size_hw[1]), closing=_CLOSING)
    if patch is None:
        return
    light = _strand_light(turned, normals, lights)
    rgb, left = _hair_colour(patch, shell, style, hair_rgb, light, camera.pixels_per_cm)
    layer.put(patch, rgb, _HAIR_LABEL, left)


def _hair_colour(
    patch: SurfacePatch, shell: dict, style: HairStyle, hair_rgb: np.ndarray, light: np.ndarray, scale: float
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Linear light planes (3, h, w) and softness (h, w) 0..1 of the strands at each pixel."""
    across, along, left, _ = cv2.split(patch.sample(shell["strand"]))
    noise = _strand_noise(across, along, style, scale)
    left += noise * np.float32(style.jag * 0.45)
    alpha = between(left * np.float32(1.1) + np.float32(0.25), 0, 1)
    shade = between(noise * np.float32(style.clump) + np.float32(1), 0.25, 2)
    if style.tips > 0:
        shade *= np.float32(1) + np.float32(style.tips) * between(along * np.float32(1 / 12) - np.float32(0.1), 0, 1)
    shade *= between(left * np.float32(0.5) + np.float32(0.45), 0.45, 1)
    *diffuse, gleam = cv2.split(patch.sample(light))
    gleam *= between(noise * np.float32(0.5) + np.float32(0.6), 0, 2)
    rgb = np.empty((3, *gleam.shape), np.float32)
    for target, plane, linear in zip(rgb, diffuse, np.square(np.asarray(hair_rgb, np.float32)), strict=True):
        np.multiply(plane, shade, out=target)
        target *= linear
        target += gleam * ((np.float32(0.05) + np.float32(0.6) * linear) * np.float32(0.35))
    return rgb, alpha


def put_back_hair(
    layer: Layer, shell: dict, style: HairStyle, hair_rgb: np.ndarray, camera: Camera, lights: Lights
) -> None:
    """Draw the inside of long hair behind the neck, in shadow."""
    if style.length <= 0:
        return
    half = shell["vertices"].shape[1] // 2
    behind = {
        name: np.concatenate([grid[:, half + _BEHIND :], grid[:, : half - _BEHIND + 1]], 1)[10:]
        for name, grid in shell.items()
    }
    turned = camera.turn_grid(behind["vertices"])
    patch = splat_grid(camera.project_grid(turned), layer.size_hw, two_sided=True, closing=_CLOSING)
    if patch is None:
        return
    light = _strand_light(turned, grid_normals(turned), lights)
    rgb, left = _hair_colour(patch, behind, style, hair_rgb, light, camera.pixels_per_cm)
    layer.put(patch, rgb * np.float32(0.5), _HAIR_LABEL, left)
    layer.depth[layer.depth > -1e3] = -900.0


_BALL_V, _BALL_U = np.linspace(0.06, np.pi - 0.06, 15)[:, None], np.linspace(-np.pi, np.pi, 29)[None]
_BALL = np.stack(
    [np.sin(_BALL_V) * np.sin(_BALL_U), -np.cos(_BALL_V) + 0 * _BALL_U, np.sin(_BALL_V) * np.cos(_BALL_U)], -1
)


def put_bun(layer: Layer, style: HairStyle, hair_rgb: np.ndarray, camera: Camera, lights: Lights) -> None:
    """Draw tied hair as a ball behind or on the head."""
    if not style.bun:
        return
    rng = np.random.default_rng(style.seed)
    size = rng.uniform(2.6, 4.4) * np.array([1.1, rng.uniform(0.7, 1.0), 1.0])
    centre = np.array(_BUNS[style.bun]) + rng.normal(0, (0.6, 0.6, 0.3))
    ball = (_BALL * size + centre).astype(np.float32)
    turned = camera.turn_grid(ball)
    patch = splat_grid(camera.project_grid(turned), layer.size_hw, closing=_CLOSING)
    if patch is None:
        return
    twist = 3.0 * _BALL_V + 0 * _BALL_U
    strand = np.stack([4.0 * _BALL_U + twist, twist, 0 * twist + 3.0, 0 * twist], -1).astype(np.float32)
    light = _strand_light(turned, grid_normals(turned), lights)
    rgb, left = _hair_colour(patch, {"strand": strand}, style, hair_rgb, light, camera.pixels_per_cm)
    layer.put(patch, rgb, _HAIR_LABEL, left)
