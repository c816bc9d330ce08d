"""Tracking with the built-in models on a photographed face, and with planted answers where they must go wrong."""

import numpy as np
import pytest
from PIL import Image
from video_files import moved_face, person_filmed_by_hand

from farl_hf import track_faces
from farl_hf.errors import InvalidArgumentError
from farl_hf.video.face_tracker import SceneCuts

LAYOUT = np.random.default_rng(0).uniform(-8, 8, (7, 2))  # no published layout: carried by similarity alone


class PlantedFaces:
    """Detector and landmark model that see bright squares of 20 pixels, and count how often they look."""

    def __init__(self):
        self.detections = 0
        self.confidence = 0.9

    def find(self, image, **_):
        self.detections += 1
        return [
            {"score": 0.9, "box": dict(zip(("xmin", "ymin", "xmax", "ymax"), map(float, box), strict=True)),
             "keypoints": None}
            for box in squares(np.asarray(image))
        ]  # fmt: skip

    def read(self, given, batch_size):
        boxes = np.array(given["boxes"])
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        seen = np.array([box[:2] + 10 for box in squares(np.asarray(given["image"]))]).reshape(-1, 2)
        answers = []
        for centre in centres:
            distances = np.linalg.norm(seen - centre, axis=1)
            near = len(seen) and distances.min() < 12
            place = seen[distances.argmin()] if near else centre
            answers.append({"landmarks": place + LAYOUT, "confidence": self.confidence if near else 0.1})
        return answers


def squares(pixels):
    """Boxes of the squares, each drawn in its own grey level from 200."""
    for level in range(200, 206):
        rows, columns = np.nonzero(pixels[..., 0] == level)
        if len(rows):
            yield np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], float)


def frame(*places, ground=0):
    """A textured frame with a square at each (level, x, y)."""
    pixels = np.random.default_rng(ground).integers(0, 190, (12, 16, 3), dtype=np.uint8).repeat(10, 0).repeat(10, 1)
    for level, x, y in places:
        pixels[max(y, 0) : y + 20, max(x, 0) : x + 20] = level
    return pixels


def follow(frames, planted, **options):
    from PIL import Image

    from farl_hf.video import VideoFrame
    from farl_hf.video.face_tracker import FaceTracker

    tracker = FaceTracker(planted.find, planted.read, **options)
    return [
        {track.number: track.now.box_xyxy for track in tracker(VideoFrame(i, i / 25, Image.fromarray(pixels)))}
        for i, pixels in enumerate(frames)
    ]


def test_crossing_faces_keep_their_numbers_between_few_detections():
    planted = PlantedFaces()
    tracks = follow(
        [frame((200, 10 + 3 * i, 10), (201, 120 - 3 * i, 60)) for i in range(21)], planted, detect_every=10
    )
    assert planted.detections == 3
    for index, found in enumerate(tracks):
        assert set(found) == {1, 2}
        np.testing.assert_allclose(found[1], np.array([10, 10, 30, 30]) + [3 * index, 0] * 2, atol=1e-6)
        np.testing.assert_allclose(found[2], np.array([120, 60, 140, 80]) - [3 * index, 0] * 2, atol=1e-6)


def test_a_cut_ends_all_tracks_at_once():
    planted = PlantedFaces()
    shots = [frame((200, 50, 40))] * 3 + [frame((200, 50, 40), ground=1)] * 3 + [frame(ground=2)] * 3
    assert [set(found) for found in follow(shots, planted, detect_every=50)] == [{1}] * 3 + [{2}] * 3 + [set()] * 3
    assert planted.detections == 3


@pytest.mark.parametrize("level", [0, 30, 255])
def test_a_frame_of_one_colour_is_no_cut(level):
    planted = PlantedFaces()
    shots = [frame((200, 50, 40))] * 3 + [np.full_like(frame(), level)] * 2 + [frame((200, 52, 40))] * 3
    assert [set(found) for found in follow(shots, planted, detect_every=50)] == [{1}] * 3 + [set()] * 2 + [{1}] * 3
    assert planted.detections == 4  # the first frame, those of one colour, and the one after them


def test_faces_in_frames_of_nearly_one_colour_are_found():
    dark = [np.where(frame((200, 20 + i, 40)) == 200, 200, 10).astype(np.uint8) for i in range(4)]
    dim = [np.where(pixels == 200, 200, 199).astype(np.uint8) for pixels in dark]
    assert [set(found) for found in follow(dim, PlantedFaces(), detect_every=50)] == [{1}] * 4


def test_another_shot_after_a_black_frame_is_a_cut():
    black = [np.zeros_like(frame())]
    shots = [frame((200, 50, 40)), *black, frame((200, 50, 40), ground=1)]
    assert [set(found) for found in follow(shots, PlantedFaces())] == [{1}, set(), {2}]
    long_ago = [frame((200, 50, 40)), *black * 30, frame((200, 50, 40))]
    assert [set(found) for found in follow(long_ago, PlantedFaces())][-1] == {2}


def test_a_face_that_vanishes_is_given_up_in_that_frame():
    planted = PlantedFaces()
    found = follow([frame((200, 50, 40))] * 3 + [frame()] * 3, planted, detect_every=50)
    assert [set(tracks) for tracks in found] == [{1}] * 3 + [set()] * 3
    assert planted.detections == 4  # the first frame, the one where the landmarks were in doubt, and those after it


def test_a_face_that_was_lost_for_a_moment_is_found_in_the_next_frame():
    planted = PlantedFaces()
    shots = [frame((200, 50, 40))] * 3 + [frame()] * 2 + [frame((200, 52, 40))] * 3
    found = follow(shots, planted, detect_every=50)
    assert [set(tracks) for tracks in found] == [{1}] * 3 + [set()] * 2 + [{1}] * 3
    assert planted.detections == 4


def test_false_faces_of_single_frames_do_not_make_the_detector_run_always():
    planted = PlantedFaces()
    shots = [frame((200, 20, 40), *[(201, 100, 80)] * (i % 20 == 10)) for i in range(100)]
    follow(shots, planted, detect_every=10)
    assert planted.detections <= 2 * 100 / 10


@pytest.mark.parametrize("light", [0.5, 0.15, 0.06])
def test_light_that_goes_off_and_on_is_no_cut(light):
    scene = moved_face(20, 15)
    dark = (scene * light).astype(np.uint8)
    cuts = SceneCuts()
    assert [cuts(Image.fromarray(pixels)) for pixels in (scene, scene, dark, dark, scene)] == ["same"] * 5
    assert cuts(Image.fromarray(frame())) == "cut"


def test_a_face_that_leaves_the_frame_ends_without_a_detection():
    planted = PlantedFaces()
    found = follow([frame((200, 140 + 3 * i, 40)) for i in range(6)], planted, detect_every=50)
    assert set(found[0]) == {1}
    assert found[-1] == {}


def test_a_face_that_the_detector_misses_for_a_moment_keeps_its_number():
    planted = PlantedFaces()
    shots = [frame((200, 50, 40))] * 2 + [frame()] * 2 + [frame((200, 52, 40))] * 2
    found = follow(shots, planted, detect_every=1)
    assert [set(tracks) for tracks in found] == [{1}] * 2 + [set()] * 2 + [{1}] * 2


def test_new_faces_come_in_at_the_next_detection():
    planted = PlantedFaces()
    shots = [frame((200, 50, 40))] * 2 + [frame((200, 50, 40), (201, 100, 80))] * 3
    assert [set(tracks) for tracks in follow(shots, planted, detect_every=4)] == [{1}] * 4 + [{1, 2}]


@pytest.fixture(scope="module")
def photographed():
    """The built-in models on a face that moves 2 pixels to the right per frame."""
    pictures = [moved_face(20 + 2 * i, 15) for i in range(8)]
    return list(track_faces(pictures, detect_every=8, threshold=0.5, device="cpu"))


def test_landmarks_follow_a_moved_face(photographed):
    assert [[face["track"] for face in one.faces] for one in photographed] == [[1]] * 8
    landmarks = np.array([one.faces[0]["landmarks"] for one in photographed])
    for index in range(8):
        moved = landmarks[index] - landmarks[0] - [2 * index, 0]
        assert np.abs(moved.mean(axis=0)).max() < 1.5
        assert np.linalg.norm(moved, axis=1).mean() < 3
    keypoints = np.array([one.faces[0]["keypoints"] for one in photographed])
    assert np.abs((keypoints - keypoints[0] - np.arange(8)[:, None, None] * [2, 0]).mean(axis=1)).max() < 1.5


@pytest.mark.parametrize("detect_every", [1, 10])
def test_one_person_is_one_track(detect_every):
    frames = track_faces(person_filmed_by_hand(), detect_every=detect_every, device="cpu")
    assert [[face["track"] for face in frame.faces] for frame in frames] == [[1]] * 42


def test_the_first_frame_is_what_the_photo_pipeline_says(photographed):
    from transformers import pipeline

    first = photographed[0]
    (face,) = pipeline("face-landmarks", device="cpu")(first.image, threshold=0.5)
    for name in ("keypoints", "landmarks"):
        np.testing.assert_allclose(first.faces[0][name], face[name], atol=1e-3)


def test_smoothing_steadies_a_still_face():
    rng = np.random.default_rng(0)
    pictures = [
        np.clip(moved_face(40, 15) + rng.normal(0, 12, (120, 160, 3)), 0, 255).astype(np.uint8) for _ in range(16)
    ]
    shaking = []
    for smooth in (False, True):
        frames = list(track_faces(pictures, detect_every=16, threshold=0.5, smooth=smooth, device="cpu"))
        points = np.array([one.faces[0]["landmarks"] for one in frames])
        shaking.append(np.abs(np.diff(points, axis=0)).mean())
    assert shaking[1] < 0.7 * shaking[0]


def test_frames_are_read_as_they_are_asked_for():
    read = []

    def pictures():
        for index in range(100):
            read.append(index)
            yield moved_face(40, 15)

    frames = track_faces(pictures(), threshold=0.5, device="cpu")
    next(frames)
    frames.close()
    assert len(read) < 10


def test_impossible_intervals_are_refused():
    with pytest.raises(InvalidArgumentError, match="detect_every=0"):
        track_faces([], detect_every=0)


@pytest.mark.parametrize(
    ("video", "settings"),
    [
        (3, {}),
        ([], {"detect_every": "x"}),
        ([], {"batch_size": 0}),
        ([], {"frame_rate": 0}),
        ([], {"frame_rate": float("nan")}),
        ([], {"frame_rate": "x"}),
        ([], {"detector": 3}),
        ([], {"landmarks": len}),
        ([], {"smooth": "yes"}),
    ],
)
def test_what_cannot_be_followed(video, settings):
    with pytest.raises(InvalidArgumentError, match=next(iter(settings), "video")):
        track_faces(video, **settings)
