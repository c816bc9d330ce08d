"""Label maps against the outlines that they are drawn from, projected and tested pixel by pixel."""

from dataclasses import replace

import numpy as np
import pytest
from skimage.measure import points_in_poly

from farl_hf.face_renderer.face_layout import make_layout
from farl_hf.face_renderer.head_shape import make_head, sample_surface
from farl_hf.face_renderer.lighting import sample_lights
from farl_hf.face_renderer.mesh_splatting import Camera, make_rotation
from farl_hf.face_renderer.person import Pose, _shape_of, draw_person, sample_person

SIZE = 176  # every face lies inside: borders outside the photo would count as right


def bare_faces(count):
    """Persons with nothing in front of their eyes and lips."""
    rng = np.random.default_rng(4)
    for _ in range(count):
        person = sample_person(rng)
        worn = replace(person.worn, glasses="", hat="", occluder="")
        yield replace(person, worn=worn, hair=replace(person.hair, length=0.0, fringe="none", bun=""))


def outlines_of(person):
    """Outlines (n, 2) in surface coordinates by label."""
    layout = make_layout(person.identity, person.mood)
    upper = np.concatenate([layout.lip_upper_top, layout.lip_upper_low[::-1]])
    lower = np.concatenate([layout.lip_lower_top, layout.lip_lower_low[::-1]])
    return {4: layout.eye_outline(0), 5: layout.eye_outline(1), 7: upper, 9: lower}


def finely(outline):
    """Many points along an outline, which is straight on the surface and not in the photo."""
    index = np.arange(len(outline) + 1)
    steps = np.linspace(0, len(outline), 20 * len(outline), endpoint=False)
    closed = np.concatenate([outline, outline[:1]])
    return np.stack([np.interp(steps, index, closed[:, axis]) for axis in (0, 1)], axis=-1)


def pixels_inside(outline_xy):
    """Pixels (SIZE, SIZE) whose centres lie inside an outline; only its bounding box is searched."""
    inside = np.zeros((SIZE, SIZE), bool)
    left, top = np.maximum(np.floor(outline_xy.min(axis=0)), 0).astype(int)
    right, bottom = np.ceil(outline_xy.max(axis=0)).astype(int)
    box = inside[top:bottom, left:right]
    x, y = np.meshgrid(left + 0.5 + np.arange(box.shape[1]), top + 0.5 + np.arange(box.shape[0]))
    box[:] = points_in_poly(np.stack([x.ravel(), y.ravel()], axis=-1), outline_xy).reshape(box.shape)
    return inside


@pytest.mark.parametrize(("eye_distance_px", "error_px"), [(56, 0.15), (28, 0.22), (19, 0.28)])
def test_regions_end_where_their_outlines_do(eye_distance_px, error_px):
    """The mean distance between a region's border and the outline is its wrong pixels per pixel of border."""
    wrong, border = 0, 0.0
    for person in bare_faces(40):
        pose = Pose(0.15, 0.0, 0.1, (62.0, 58.0), eye_distance_px)
        drawn = draw_person(person, pose, sample_lights(np.random.default_rng(0)), (SIZE, SIZE))
        head = make_head(_shape_of(person))
        scale = eye_distance_px / (2 * person.identity.eye_spacing)
        camera = Camera(make_rotation(pose.yaw, pose.pitch, pose.roll), pose.centre_xy, scale)
        for label, outline in outlines_of(person).items():
            points = camera.project(camera.turn(sample_surface(head, finely(outline)).astype(np.float32)))[:, :2]
            expected = pixels_inside(points)
            labels = np.full((SIZE, SIZE), 255, np.uint8)
            x, y = drawn.top_left_xy
            labels[y : y + drawn.label.shape[0], x : x + drawn.label.shape[1]] = drawn.label
            wrong += ((labels == label) != expected).sum()
            border += np.linalg.norm(points - np.roll(points, 1, axis=0), axis=1).sum()
    assert wrong / border < error_px
