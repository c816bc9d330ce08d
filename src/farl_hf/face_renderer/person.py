"""Draws one person into a photo and reads the ground truth off the same geometry."""

from dataclasses import dataclass

import cv2
import numpy as np

from farl_hf.face_renderer.accessories import (
    Accessories,
    put_earrings,
    put_glasses,
    put_hat,
    put_occluder,
    sample_accessories,
)
from farl_hf.face_renderer.body import Clothes, put_ears, put_neck, put_torso, sample_clothes
from farl_hf.face_renderer.face_layout import FaceLayout, make_layout
from farl_hf.face_renderer.face_texture import paint_face
from farl_hf.face_renderer.hair import HairStyle, make_hair_shell, put_back_hair, put_bun, put_front_hair, sample_hair
from farl_hf.face_renderer.head_shape import grid_coordinates, make_head, sample_surface
from farl_hf.face_renderer.identity import Expression, Identity, sample_expression, sample_identity
from farl_hf.face_renderer.lighting import Lights, grid_normals, shade_grid, shadow_of
from farl_hf.face_renderer.mesh_splatting import Camera, make_rotation, splat_grid
from farl_hf.face_renderer.painter import LABEL_FINENESS, NO_LABEL, TEXTURE_LEFT_A, TEXTURE_TOP_B, Layer, lit_planes
from farl_hf.face_renderer.random_choice import at_least_zero

__all__ = ["DrawnPerson", "Person", "Pose", "draw_person", "sample_person", "sample_pose"]

_MAX_TEXTURE_SCALE = 18.0


@dataclass(frozen=True)
class Person:
    """Everything about one person but the place and pose."""

    identity: Identity
    mood: Expression
    hair: HairStyle
    clothes: Clothes
    worn: Accessories
    seed: int


@dataclass(frozen=True)
class Pose:
    """Angles in radians; `centre_xy` pixels of the point between the eyes; `eye_distance_px` before foreshortening."""

    yaw: float
    pitch: float
    roll: float
    centre_xy: tuple[float, float]
    eye_distance_px: float


@dataclass(frozen=True)
class DrawnPerson:
    """One rendered person, cut to a window of the photo.

    Args:
        top_left_xy (`tuple`): integer offset of the window in the photo.
        rgb (`np.ndarray`): (h, w, 3) float32 display RGB, premultiplied by `cover`.
        cover (`np.ndarray`): (h, w) float32 0..1.
        label (`np.ndarray`): (h, w) uint8 LaPa ids, 255 where the person is not.
        landmarks_xy (`np.ndarray`): (68, 2) in the photo.
        box_xyxy (`np.ndarray`): (4,) in the photo, before clipping.
    """

    top_left_xy: tuple[int, int]
    rgb: np.ndarray
    cover: np.ndarray
    label: np.ndarray
    landmarks_xy: np.ndarray
    box_xyxy: np.ndarray


def sample_person(rng: np.random.Generator) -> Person:
    """Draw a person."""
    identity = sample_identity(rng)
    worn = sample_accessories(rng)
    return Person(
        identity, sample_expression(rng), sample_hair(rng, identity.male, identity.age),
        sample_clothes(rng, identity.male),
        worn, int(rng.integers(0, 2**31)),
    )  # fmt: skip


def sample_pose(rng: np.random.Generator, centre_xy: tuple[float, float], eye_distance_px: float) -> Pose:
    """Draw head angles: mostly within 35 degrees of frontal, sometimes up to a profile."""
    wide = rng.random() < 0.25
    yaw = rng.uniform(-85, 85) if wide else rng.normal(0, 16)
    pitch = np.clip(rng.normal(0, 9), -25, 25)
    roll = rng.normal(0, 25) if rng.random() < 0.1 else np.clip(rng.normal(0, 9), -30, 30)
    yaw, pitch, roll = np.radians([yaw, pitch, roll])
    return Pose(float(yaw), float(pitch), float(roll), centre_xy, float(eye_distance_px))


def _occlusion(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Share of the sky each vertex sees: less beside the nose, in the sockets and under the jaw."""
    side = np.abs(a)
    sockets = 0.3 * np.exp(-0.5 * (((side - 2.3) / 1.2) ** 2 + ((b + 0.3) / 0.9) ** 2))
    nose = 0.22 * np.exp(-0.5 * (((side - 1.75) / 0.4) ** 2 + ((b - 3.8) / 1.1) ** 2))
    under = 0.1 * np.exp(-0.5 * ((a / 1.2) ** 2 + ((b - 4.95) / 0.3) ** 2))
    lip = 0.22 * np.exp(-0.5 * ((a / 1.7) ** 2 + ((b - 8.8) / 0.4) ** 2))
    jaw = 0.6 * np.clip((b - 11.3) / 1.2, 0, 1)
    return np.clip(1 - sockets - nose - under - lip - jaw, 0.1, 1).astype(np.float32)


_GRID_A, _GRID_B = grid_coordinates()
_OCCLUSION = _occlusion(_GRID_A, _GRID_B)
_BOX_VERTICES = np.flatnonzero((np.abs(_GRID_A) < 8.0) & (_GRID_B > -5.2) & (_GRID_B < 11.7))
_GRID_AB = np.stack([_GRID_A, _GRID_B], -1)


def _window(pose: Pose, scale: float, photo_hw: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """Even-sized pixel window x0, y0, x1, y1 of the photo that holds the person."""
    x, y = pose.centre_xy
    x0, x1 = max(0, int(x - 27 * scale)), min(photo_hw[1], int(x + 27 * scale) + 2)
    y0, y1 = max(0, int(y - 19 * scale)), min(photo_hw[0], int(y + 90 * scale) + 2)
    x1, y1 = x1 - (x1 - x0) % 2, y1 - (y1 - y0) % 2
    return (x0, y0, x1, y1) if x1 - x0 >= 4 and y1 - y0 >= 4 else None


def _sampling(eye_distance_px: float) -> float:
    """Supersampling: small faces need it for their parts, large ones cost too much."""
    return 1.0 if eye_distance_px > 34 else (1.5 if eye_distance_px > 20 else 2.0)


def _shape_of(person: Person) -> dict[str, float]:
    mood = person.mood
    shape = dict(person.identity.shape)
    moved = {"jaw_drop": mood.jaw, "cheek_raise": 0.55 * mood.smile, "corner_back": 0.25 * mood.smile,
             "fold": 0.22 * mood.smile,
             "mouth_hollow": 0.8 * (mood.gap > 0.1), "lip_upper": -0.15 * (mood.gap > 0.1),
             "lip_lower": -0.15 * (mood.gap > 0.1), "beard": person.identity.beard_cm}  # fmt: skip
    for name, value in moved.items():
        shape[name] = shape.get(name, 0.0) + value
    return shape


def draw_person(person: Person, pose: Pose, lights: Lights, photo_hw: tuple[int, int]) -> DrawnPerson | None:
    """Render a person; `None` when nothing of it falls into the photo."""
    identity, mood = person.identity, person.mood
    scale = pose.eye_distance_px / (2 * identity.eye_spacing)
    window = _window(pose, scale, photo_hw)
    if window is None:
        return None
    rng = np.random.default_rng(person.seed)
    sampling = _sampling(pose.eye_distance_px)
    x0, y0, x1, y1 = window
    photo_camera = Camera(make_rotation(pose.yaw, pose.pitch, pose.roll), pose.centre_xy, scale)
    camera = photo_camera.rescaled(sampling, (x0, y0))
    body_yaw = pose.yaw * 0.45 + 0.25 * rng.normal()
    body = Camera(make_rotation(body_yaw, 0.0, pose.roll * 0.35), camera.centre_xy, camera.pixels_per_cm)
    layer = Layer((int((y1 - y0) * sampling), int((x1 - x0) * sampling)))
    layout = make_layout(identity, mood)
    head = make_head(_shape_of(person))
    _draw_all(layer, person, layout, head, camera, body, lights, rng)
    if identity.beard_cm > 0:  # points and box are those of the chin under the beard
        head = make_head(_shape_of(person) | {"beard": 0.0})
    return _finish(layer, window, photo_camera, head, layout)


def _draw_all(
    layer: Layer, person: Person, layout: FaceLayout, head: np.ndarray, camera: Camera, body: Camera,
    lights: Lights, rng: np.random.Generator,
) -> None:  # fmt: skip
    """Back to front: hair behind, shoulders, neck, ears, head, hair, hat, glasses, occluder."""
    identity, hair = person.identity, person.hair
    if person.worn.hat:
        hair = _flattened(hair)
    shell = make_hair_shell(hair, head)
    brightness = float(lights.colours[0].mean() + lights.ambient_up.mean())
    if shell is not None:
        put_back_hair(layer, shell, hair, identity.hair_rgb, camera, lights)
    put_torso(layer, body, lights, person.clothes, identity.skin_rgb)
    put_neck(layer, camera, body, lights, identity.skin_rgb, 5.7 if identity.male else 4.8)
    lobes = put_ears(layer, camera, lights, identity.skin_rgb, identity.shape["width"], float(rng.uniform(0.22, 0.6)))
    _put_head(layer, person, layout, head, shell, camera, lights, rng)
    if shell is not None:
        put_bun(layer, hair, identity.hair_rgb, camera, lights)
        put_front_hair(layer, shell, hair, identity.hair_rgb, camera, lights)
    put_hat(layer, person.worn, head, camera, lights)
    if person.clothes.earrings:
        put_earrings(layer, lobes, camera, brightness, rng)
    put_glasses(layer, person.worn, head, camera, identity.eye_spacing, brightness)
    if person.worn.occluder:
        _put_occluder(layer, person, camera, brightness, rng)


def _flattened(hair: HairStyle) -> HairStyle:
    values = {name: getattr(hair, name) for name in hair.__dataclass_fields__}
    values.update(volume_top=0.3, volume_side=min(hair.volume_side, 0.5), bun="")
    return HairStyle(**values)


def _put_occluder(layer: Layer, person: Person, camera: Camera, brightness: float, rng: np.random.Generator) -> None:
    spot = np.array(
        [rng.normal(0, 5), rng.uniform(5, 13) if rng.random() < 0.8 else rng.uniform(-6, 5), 9.0], np.float32
    )
    centre = camera.project(camera.turn(spot))[:2]
    put_occluder(
        layer, person.worn.occluder, centre, 15 * camera.pixels_per_cm, person.identity.skin_rgb, brightness * 0.8, rng
    )


def _put_head(
    layer: Layer, person: Person, layout: FaceLayout, head: np.ndarray, shell: dict | None,
    camera: Camera, lights: Lights, rng: np.random.Generator,
) -> None:  # fmt: skip
    """Draw the head itself."""
    # Small heads do not show every vertex, and their cost is the vertices'.
    step = 2 if camera.pixels_per_cm < 5.5 else 1
    coarse = np.s_[::step, ::step]
    turned = camera.turn_grid(head[coarse])
    blockers = [turned]
    if (shell is not None and person.hair.length > 0) or person.hair.fringe != "none":
        near = shell["vertices"][shell["strand"][..., 2] > 0] if shell is not None else head[:1]
        blockers.append(camera.rotation @ near.reshape(-1, 3).T)
    lit = shadow_of(turned, blockers, lights.directions[0])
    light = shade_grid(grid_normals(turned), lights, lit, _OCCLUSION[coarse], gloss=0.35 * person.identity.gloss)
    scale = float(np.clip(camera.pixels_per_cm, 3.0, _MAX_TEXTURE_SCALE))
    painter = paint_face(layout, person.identity, person.mood, scale, float(lights.directions[0][0]), rng)
    patch = splat_grid(camera.project_grid(turned), layer.size_hw)
    if patch is None:
        return
    a, b = cv2.split(patch.sample(np.ascontiguousarray(_GRID_AB[coarse])))
    texture = _read(painter.packed(), a, b, scale, cv2.INTER_LINEAR)
    label = _read(painter.label, a, b, scale * LABEL_FINENESS, cv2.INTER_NEAREST)
    np.copyto(label, np.uint8(0), where=b > 12.3)
    *albedo, gloss = cv2.split(texture)
    layer.put(patch, lit_planes(patch.sample(light), [np.square(plane) for plane in albedo], gloss), label)


def _read(texture: np.ndarray, a: np.ndarray, b: np.ndarray, scale: float, interpolation: int) -> np.ndarray:
    """A texture of so many pixels per cm at surface coordinates (h, w)."""
    map_x = (a - np.float32(TEXTURE_LEFT_A)) * np.float32(scale) - np.float32(0.5)
    map_y = (b - np.float32(TEXTURE_TOP_B)) * np.float32(scale) - np.float32(0.5)
    return cv2.remap(texture, map_x, map_y, interpolation, borderMode=cv2.BORDER_REPLICATE)


def _tone_mapped(linear: np.ndarray) -> np.ndarray:
    """Display RGB planes (3, h, w) with a soft shoulder that keeps the hue of bright skin."""
    strongest = np.maximum(linear.max(0), np.float32(1e-3))
    shoulder = (1 - np.exp(np.float32(-1.3) * strongest)) / strongest
    display = at_least_zero(linear * shoulder)
    return np.sqrt(display, out=display)


def _front_points(points: np.ndarray) -> np.ndarray:
    """Coordinates x and y (2, m) of the three quarters of projected points (n, 3) nearest to the viewer."""
    depth = np.ascontiguousarray(points[:, 2])
    position = 0.25 * (len(depth) - 1)
    low = int(position)
    ordered = np.partition(depth, (low, low + 1))
    front = np.flatnonzero(depth > ordered[low] + (position - low) * (ordered[low + 1] - ordered[low]))
    return np.take(np.ascontiguousarray(points[:, :2].T), front, 1)


def _finish(
    layer: Layer, window: tuple[int, int, int, int], camera: Camera, head: np.ndarray, layout: FaceLayout
) -> DrawnPerson:  # fmt: skip
    x0, y0, x1, y1 = window
    size = (x1 - x0, y1 - y0)
    np.copyto(layer.label, np.uint8(0), where=(layer.cover > 0.5) & (layer.label == NO_LABEL))
    display = _tone_mapped(layer.rgb)
    display *= layer.cover
    whole = cv2.merge(tuple(display))
    if layer.size_hw == size[::-1]:
        rgb, cover = cv2.GaussianBlur(whole, (3, 3), 0.6), cv2.GaussianBlur(layer.cover, (3, 3), 0.6)
    else:
        rgb = cv2.resize(whole, size, interpolation=cv2.INTER_AREA)
        cover = cv2.resize(layer.cover, size, interpolation=cv2.INTER_AREA)
    label = cv2.resize(layer.label, size, interpolation=cv2.INTER_NEAREST_EXACT)  # the other is off to the left

    def project(points: np.ndarray) -> np.ndarray:
        return camera.project(camera.turn(points.astype(np.float32)))

    marks = project(sample_surface(head, layout.landmarks))[:, :2]
    near = _front_points(project(np.take(head.reshape(-1, 3), _BOX_VERTICES, 0)))
    box = np.concatenate([np.minimum(near.min(1), marks.min(0)), np.maximum(near.max(1), marks.max(0))])
    return DrawnPerson((x0, y0), rgb, cover, label, marks.astype(np.float32), box.astype(np.float32))
