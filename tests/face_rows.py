"""Rows in the common shape with faces drawn as ellipses, for tests of data and training."""

import datasets
import numpy as np
import PIL.Image


def draw_face(image, label_map, instance_map, face, center_xy, radius_px, rng):
    """Paints one face and returns its annotations."""
    height, width = label_map.shape
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    inside = ((x - center_xy[0]) / radius_px) ** 2 + ((y - center_xy[1]) / (1.2 * radius_px)) ** 2 < 1
    image[inside] = rng.integers(120, 255, 3)
    label_map[inside], instance_map[inside] = 1, face + 1
    offsets = np.array([[-0.4, -0.25], [0.4, -0.25], [0.0, 0.1], [-0.3, 0.5], [0.3, 0.5]])
    points5_xy = np.asarray(center_xy) + radius_px * offsets
    for point, label in ((0, 4), (1, 5), (2, 6)):
        spot = np.hypot(x - points5_xy[point, 0], y - points5_xy[point, 1]) < 0.15 * radius_px
        image[spot], label_map[spot] = (20 * label, 0, 255 - 20 * label), label
    angle = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    landmarks_xy = np.asarray(center_xy) + radius_px * np.stack([np.cos(angle), 1.2 * np.sin(angle)], axis=1)
    landmarks_xy[36], landmarks_xy[45] = points5_xy[0], points5_xy[1]
    extent_xy = np.array([radius_px, 1.2 * radius_px])
    return np.concatenate([center_xy - extent_xy, center_xy + extent_xy]), points5_xy, landmarks_xy


def make_face_row(index, num_faces=1, size_hw=(96, 96)):
    """One photo; faces stand side by side."""
    rng = np.random.default_rng(index)
    image = np.full((*size_hw, 3), rng.integers(0, 100, 3), np.uint8)
    label_map, instance_map = np.zeros(size_hw, np.uint8), np.zeros(size_hw, np.uint8)
    width = size_hw[1] / max(num_faces, 1)
    faces = [
        draw_face(image, label_map, instance_map, face, ((face + 0.5) * width, size_hw[0] / 2), 0.35 * width, rng)
        for face in range(num_faces)
    ]
    attributes = np.full((num_faces, 40), -100)
    attributes[:, [3, 20, 31]] = rng.integers(0, 2, (num_faces, 3))
    return {
        "image": PIL.Image.fromarray(image),
        "label_map": PIL.Image.fromarray(label_map),
        "instance_map": PIL.Image.fromarray(instance_map),
        "boxes_xyxy": [box.tolist() for box, _, _ in faces],
        "points5_xy": [points.tolist() for _, points, _ in faces],
        "landmarks_xy": [landmarks.tolist() for _, _, landmarks in faces],
        "attributes": attributes.tolist(),
        "caption": "a drawing",
        "index": index,
    }


def make_face_dataset(num_photos, num_faces=1, first_index=0):
    """A `datasets.Dataset` of such photos, pictures stored as PNG."""
    number = datasets.Value("float32")
    points = datasets.List(datasets.List(datasets.List(number)))
    features = datasets.Features(
        image=datasets.Image(),
        label_map=datasets.Image(),
        instance_map=datasets.Image(),
        boxes_xyxy=datasets.List(datasets.List(number)),
        points5_xy=points,
        landmarks_xy=points,
        attributes=datasets.List(datasets.List(datasets.Value("int8"))),
        caption=datasets.Value("string"),
        index=datasets.Value("int64"),
    )
    rows = [make_face_row(first_index + photo, num_faces) for photo in range(num_photos)]
    return datasets.Dataset.from_list(rows, features=features)
