"""Composes people and background into photos with their ground truth."""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from farl_hf.errors import InvalidArgumentError, check_name
from farl_hf.face_renderer.attributes import attributes_of
from farl_hf.face_renderer.background import make_background
from farl_hf.face_renderer.captions import caption_of
from farl_hf.face_renderer.lighting import Lights, sample_lights
from farl_hf.face_renderer.person import DrawnPerson, Person, Pose, draw_person, sample_person, sample_pose
from farl_hf.face_renderer.photo_effects import CLEAN, apply_effects, sample_effects
from farl_hf.face_renderer.random_choice import pick

__all__ = ["DEFAULT_SIZES_HW", "FacePhoto", "render_face_photo", "render_group_photo"]

DEFAULT_SIZES_HW = {"portrait": (224, 224), "scene": (320, 320)}
_KIND_SEEDS = {"portrait": 0, "scene": 1, "group": 2}
_WORDING_SEED = 3
_MIN_VISIBLE = 0.35
_MIN_BOX_INSIDE = 0.5


@dataclass(frozen=True)
class FacePhoto:
    """A rendered photo and its ground truth. All coordinates are continuous pixels; n faces, front ones last.

    Args:
        image (`np.ndarray`): (H, W, 3) uint8 RGB.
        label_map (`np.ndarray`): (H, W) uint8 LaPa ids of all faces.
        instance_map (`np.ndarray`): (H, W) uint8, 0 = no face, i + 1 = face i.
        boxes_xyxy (`np.ndarray`): (n, 4) float32, clipped to the photo.
        points5_xy (`np.ndarray`): (n, 5, 2) float32, image-left eye first.
        landmarks_xy (`np.ndarray`): (n, 68, 2) float32, iBUG order.
        attributes (`np.ndarray`): (n, 40) int64 in {0, 1, -100}, CelebA order.
        caption (`str`): English description.
        index (`int`): which photo of its kind this is.
    """

    image: np.ndarray
    label_map: np.ndarray
    instance_map: np.ndarray
    boxes_xyxy: np.ndarray
    points5_xy: np.ndarray
    landmarks_xy: np.ndarray
    attributes: np.ndarray
    caption: str
    index: int


@dataclass(frozen=True)
class _Placed:
    person: Person
    pose: Pose
    drawn: DrawnPerson
    is_face: bool


def _portrait_poses(size_hw: tuple[int, int], rng: np.random.Generator) -> list[tuple[Pose, bool]]:
    """Poses back to front, and whether each must be annotated."""
    height, width = size_hw
    side = min(size_hw)
    low, high, wander = (33, 74, 0.06) if rng.random() < 0.75 else (74, 120, 0.08)  # the latter: cut by the frame
    eye = np.exp(rng.uniform(np.log(low), np.log(high))) / 224 * side
    centre = (width * (0.5 + rng.normal(0, wander)), height * (0.44 + rng.normal(0, wander - 0.01)))
    poses = [(sample_pose(rng, centre, eye), True)]
    if rng.random() < 0.15:
        aside = width * (0.5 + np.sign(rng.normal()) * rng.uniform(0.3, 0.6))
        poses.insert(
            0, (sample_pose(rng, (aside, height * rng.uniform(0.25, 0.6)), eye * rng.uniform(0.3, 0.7)), False)
        )
    return poses


def _scene_poses(size_hw: tuple[int, int], rng: np.random.Generator) -> list[tuple[Pose, bool]]:
    """Between none and eight people, small ones first."""
    height, width = size_hw
    count = pick(rng, range(9), (0.1, 0.35, 0.17, 0.12, 0.08, 0.06, 0.05, 0.04, 0.03))
    unit = min(size_hw) / 320
    widest = 200 / max(1, count) ** 0.55
    face = np.sort(np.exp(rng.uniform(np.log(14), np.log(widest), count))) * unit
    poses: list[tuple[Pose, bool]] = []
    taken: list[tuple[float, float, float]] = []
    for face_width in face:
        for _ in range(8):
            margin = 0.35 * face_width
            x = rng.uniform(margin, width - margin)
            y = rng.uniform(margin, max(height - 0.7 * face_width, margin + 1))
            if all(np.hypot(x - u, y - v) > 0.6 * (face_width + w) for u, v, w in taken):
                break
        taken.append((x, y, face_width))
        poses.append((sample_pose(rng, (float(x), float(y)), face_width * 0.43), True))
    return poses


def _group_poses(size_hw: tuple[int, int], num_faces: int, rng: np.random.Generator) -> list[tuple[Pose, bool]]:
    """Two staggered rows of people who look at the camera."""
    height, width = size_hw
    back = num_faces // 2
    poses = []
    for count, y, scale in ((back, 0.27, 0.82), (num_faces - back, 0.58, 1.0)):
        for k in range(count):
            x = width * (k + 0.5 + rng.normal(0, 0.03)) / max(count, 1)
            eye = 0.42 * min(0.5 * width / max(num_faces - back, 1), 0.25 * height) * scale
            yaw, pitch, roll = np.radians(rng.normal(0, (13, 5, 6)))
            centre = (float(x), float(height * (y + rng.normal(0, 0.015))))
            poses.append((Pose(float(yaw), float(pitch), float(roll), centre, float(eye)), True))
    return poses


def _paste(image: np.ndarray, drawn: DrawnPerson) -> None:
    x, y = drawn.top_left_xy
    height, width = drawn.cover.shape
    area = image[y : y + height, x : x + width]
    # NumPy is slow over a last axis of three, so the factor is spread first.
    area *= cv2.merge((1 - drawn.cover,) * 3)
    area += drawn.rgb


def _five_points(landmarks_xy: np.ndarray) -> np.ndarray:
    """Points (5, 2) where detectors of photographs mark them: above the middle of the eyes, below the nose's tip."""
    eyes = landmarks_xy[[36, 37, 38, 39]].mean(0), landmarks_xy[[42, 43, 44, 45]].mean(0)
    nose = 0.9 * landmarks_xy[30] + 0.1 * landmarks_xy[33]
    return np.stack([*eyes, nose, landmarks_xy[48], landmarks_xy[54]])


def _visible_share(instance: np.ndarray, number: int, drawn: DrawnPerson) -> float:
    """Share of the drawn face that is seen in the finished photo."""
    face = (drawn.label > 0) & (drawn.label < 10)
    own = int(np.count_nonzero(face))
    x, y = drawn.top_left_xy
    height, width = drawn.label.shape
    seen = (instance[y : y + height, x : x + width] == number) & face
    return float(np.count_nonzero(seen) / max(own, 1))


def _inside_share(box_xyxy: np.ndarray, size_hw: tuple[int, int]) -> float:
    clipped = np.clip(box_xyxy, 0, (size_hw[1], size_hw[0], size_hw[1], size_hw[0]))
    inside, whole = (np.prod(box[2:] - box[:2]) for box in (clipped, box_xyxy))
    return float(inside / np.maximum(whole, 1e-6))


def _compose(
    index: int, size_hw: tuple[int, int], poses: list[tuple[Pose, bool]], rng: np.random.Generator,
    people: list[Person] | None = None, clean: bool = False,
) -> FacePhoto:  # fmt: skip
    lights: Lights = sample_lights(rng)
    exposure = 0.5 + 0.6 * float(lights.ambient_up.mean() + lights.colours[0].mean())
    image = make_background(size_hw, rng) * np.float32(min(max(exposure, 0.3), 1.1))
    label = np.zeros(size_hw, np.uint8)
    instance = np.zeros(size_hw, np.uint8)
    placed: list[_Placed] = []
    for number, (pose, wanted) in enumerate(poses):
        person = people[number] if people else sample_person(rng)
        drawn = draw_person(person, pose, lights, size_hw)
        if drawn is None:
            continue
        _paste(image, drawn)
        placed.append(_Placed(person, pose, drawn, wanted))
        x, y = drawn.top_left_xy
        part = (slice(y, y + drawn.label.shape[0]), slice(x, x + drawn.label.shape[1]))
        covered = drawn.label != 255
        np.copyto(label[part], drawn.label, where=covered)
        np.copyto(instance[part], np.uint8(len(placed)) * (drawn.label > 0), where=covered)
    effects = CLEAN if clean else sample_effects(rng)
    picture = apply_effects(image, effects, rng)
    return _annotate(picture, label, instance, placed, effects.blur, index)


def _annotate(
    picture: np.ndarray, label: np.ndarray, instance: np.ndarray, placed: list[_Placed], blur: float, index: int
) -> FacePhoto:
    size_hw = label.shape
    renumber = np.zeros(256, np.uint8)
    kept: list[_Placed] = []
    for number, item in enumerate(placed, start=1):
        inside = _inside_share(item.drawn.box_xyxy, size_hw)
        if inside >= _MIN_BOX_INSIDE and _visible_share(instance, number, item.drawn) >= _MIN_VISIBLE:
            kept.append(item)
            renumber[number] = len(kept)
    instance = cv2.LUT(instance, renumber)
    label = label * (instance > 0)
    count = len(kept)
    limits = (size_hw[1], size_hw[0], size_hw[1], size_hw[0])
    boxes = np.array([np.clip(item.drawn.box_xyxy, 0, limits) for item in kept], np.float32).reshape(count, 4)
    marks = np.array([item.drawn.landmarks_xy for item in kept], np.float32).reshape(count, 68, 2)
    points5 = np.array([_five_points(each) for each in marks], np.float32).reshape(count, 5, 2)
    attributes = np.array([_attributes(each, blur, size_hw) for each in kept], np.int64).reshape(count, 40)
    return FacePhoto(
        picture, label, instance, boxes, points5, marks, attributes, _caption(kept, size_hw, index), index
    )


def _body_visible(item: _Placed, size_hw: tuple[int, int]) -> bool:
    """Whether the collar lies inside the photo."""
    return item.drawn.box_xyxy[3] + 0.6 * item.pose.eye_distance_px < size_hw[0]


def _attributes(item: _Placed, blur: float, size_hw: tuple[int, int]) -> np.ndarray:
    return attributes_of(item.person, item.pose, blur, _body_visible(item, size_hw))


def _caption(kept: list[_Placed], size_hw: tuple[int, int], index: int) -> str:
    if not kept:
        return "a photo without people"
    main = max(kept, key=lambda item: item.pose.eye_distance_px)
    rng = np.random.default_rng([index, _WORDING_SEED])
    sentence = caption_of(main.person, main.pose, _body_visible(main, size_hw), rng)
    return sentence if len(kept) == 1 else f"{sentence}, one of {len(kept)} people"


def _checked_size(kind: str, size_hw: tuple[int, int] | None) -> tuple[int, int]:
    check_name("kind of scene", kind, DEFAULT_SIZES_HW)
    height, width = size_hw if size_hw is not None else DEFAULT_SIZES_HW[kind]
    if height < 32 or width < 32:
        raise InvalidArgumentError(f"size_hw is {(height, width)}; photos need at least 32 x 32 pixels.")
    return int(height), int(width)


def render_face_photo(index: int, kind: str = "portrait", size_hw: tuple[int, int] | None = None) -> FacePhoto:
    """Render photo number `index` of a kind; the same arguments give the same photo.

    Args:
        index (`int`): at least 0.
        kind (`str`): `"portrait"` (one main face) or `"scene"` (0 to 8 faces of varied sizes).
        size_hw (`tuple`, *optional*): defaults to (224, 224) for portraits and (320, 320) for scenes.

    Raises:
        UnknownNameError: for another kind.
        InvalidArgumentError: for a size below 32 pixels or a negative index.

    Example:
        >>> photo = render_face_photo(3)
        >>> photo.image.shape, photo.landmarks_xy.shape[1:]
        ((224, 224, 3), (68, 2))
    """
    size_hw = _checked_size(kind, size_hw)
    if index < 0:
        raise InvalidArgumentError(f"index is {index}; photos are numbered from 0.")
    rng = np.random.default_rng([index, _KIND_SEEDS[kind]])
    poses = _portrait_poses(size_hw, rng) if kind == "portrait" else _scene_poses(size_hw, rng)
    return _compose(index, size_hw, poses, rng)


def render_group_photo(size_hw: tuple[int, int] = (720, 1080), num_faces: int = 7, index: int = 0) -> FacePhoto:
    """Render a group of people who face the camera, for demonstrations.

    Args:
        size_hw (`tuple`): height and width in pixels.
        num_faces (`int`): how many people.
        index (`int`): which group.
    """
    rng = np.random.default_rng([index, _KIND_SEEDS["group"]])
    poses = _group_poses(size_hw, num_faces, rng)
    people = [_at_ease(sample_person(rng)) for _ in poses]
    return _compose(index, size_hw, poses, rng, people, clean=True)


def _at_ease(person: Person) -> Person:
    """The same person with open eyes, a mild mouth and nothing held up."""
    mood = replace(
        person.mood, jaw=min(person.mood.jaw, 0.3), blink=(0.0, 0.0), pucker=0.0, frown=0.0, mouth_frown=0.0
    )
    return replace(person, mood=mood, worn=replace(person.worn, occluder=""))
