"""The renderer's ground truth agrees with itself and with the picture; the builder splits and streams."""

import itertools
import multiprocessing
import time

import cv2
import datasets
import numpy as np
import pytest

from farl_hf.data.synthetic_faces import VERSION, SyntheticFaces, render_face_photo
from farl_hf.errors import InvalidArgumentError, UnknownNameError
from farl_hf.face_renderer import render_group_photo
from farl_hf.face_renderer.attributes import attributes_of
from farl_hf.face_renderer.captions import caption_of
from farl_hf.face_renderer.lighting import sample_lights
from farl_hf.face_renderer.person import Pose, draw_person, sample_person
from farl_hf.labels import CELEBA_ATTRIBUTES

EYES, BROWS, NOSE, LIPS, HAIR = (4, 5), (2, 3), (6,), (7, 8, 9), (10,)


@pytest.fixture(scope="module")
def portraits():
    return [render_face_photo(index, "portrait", (160, 160)) for index in range(24)]


@pytest.fixture(scope="module")
def scenes():
    return [render_face_photo(index, "scene", (192, 192)) for index in range(24)]


def _labels_near(photo, point_xy, radius):
    x, y = point_xy
    rows, columns = np.mgrid[0 : photo.label_map.shape[0], 0 : photo.label_map.shape[1]] + 0.5
    return set(photo.label_map[(columns - x) ** 2 + (rows - y) ** 2 <= radius**2].tolist())


def _share_on(photos, points_of, allowed, radius=3.0, blockers=(0, 10)):
    """Share of visible points with an allowed label nearby; points that something hides do not count."""
    hits = []
    for photo in photos:
        height, width = photo.label_map.shape
        for point in points_of(photo):
            if not (2 <= point[0] < width - 2 and 2 <= point[1] < height - 2):
                continue
            near = _labels_near(photo, point, radius)
            if near & set(allowed) or not near & set(blockers):
                hits.append(bool(near & set(allowed)))
    assert len(hits) > 10
    return np.mean(hits)


def test_same_index_gives_the_same_photo():
    first, second = render_face_photo(7), render_face_photo(7)
    for name in ("image", "label_map", "instance_map", "boxes_xyxy", "points5_xy", "landmarks_xy", "attributes"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert first.caption == second.caption


def test_global_random_state_is_left_alone():
    np.random.seed(0)  # noqa: NPY002 - the global state is what is tested
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    render_face_photo(3, "portrait", (64, 64))
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_different_indices_differ(portraits):
    assert all(np.abs(a.image.astype(int) - b.image).mean() > 5 for a, b in itertools.pairwise(portraits))


def test_shapes_and_types(portraits, scenes):
    for photo in [*portraits, *scenes]:
        count = len(photo.boxes_xyxy)
        assert photo.image.dtype == photo.label_map.dtype == photo.instance_map.dtype == np.uint8
        assert photo.image.shape == (*photo.label_map.shape, 3)
        assert photo.boxes_xyxy.shape == (count, 4)
        assert photo.points5_xy.shape == (count, 5, 2)
        assert photo.landmarks_xy.shape == (count, 68, 2)
        assert photo.attributes.shape == (count, len(CELEBA_ATTRIBUTES))
        assert photo.label_map.max() <= 10


def test_portraits_hold_a_face(portraits):
    assert np.mean([len(photo.boxes_xyxy) >= 1 for photo in portraits]) > 0.9


def test_eyes_lie_on_eye_labels(portraits):
    assert _share_on(portraits, lambda photo: photo.points5_xy[:, :2].reshape(-1, 2), EYES) > 0.85


def test_nose_tip_lies_on_the_nose(portraits):
    assert _share_on(portraits, lambda photo: photo.points5_xy[:, 2], NOSE) > 0.9


def test_mouth_corners_lie_near_lips(portraits):
    assert _share_on(portraits, lambda photo: photo.landmarks_xy[:, [51, 57]].reshape(-1, 2), LIPS) > 0.85


def test_brow_points_lie_on_brows(portraits):
    assert _share_on(portraits, lambda photo: photo.landmarks_xy[:, 18:21].reshape(-1, 2), BROWS) > 0.8


def test_left_labels_are_left_of_right_labels(portraits):
    for photo in portraits:
        if len(photo.boxes_xyxy) != 1:
            continue
        eye = np.subtract(*photo.points5_xy[0, [1, 0]])
        for left, right in ((2, 3), (4, 5)):
            ys, xs = np.nonzero(photo.label_map == left)
            yt, xt = np.nonzero(photo.label_map == right)
            if len(xs) > 8 and len(xt) > 8:
                assert np.dot([xt.mean() - xs.mean(), yt.mean() - ys.mean()], eye) > 0


def test_boxes_hold_the_landmarks_inside_the_photo(portraits, scenes):
    for photo in [*portraits, *scenes]:
        height, width = photo.label_map.shape
        for box, marks in zip(photo.boxes_xyxy, photo.landmarks_xy, strict=True):
            assert (box[:2] >= 0).all()
            assert box[2] <= width
            assert box[3] <= height
            clipped = np.clip(marks, 0, (width, height))
            assert (clipped >= box[:2] - 0.51).all()
            assert (clipped <= box[2:] + 0.51).all()


def test_instances_number_the_faces(scenes):
    for photo in scenes:
        assert photo.instance_map.max(initial=0) <= len(photo.boxes_xyxy)
        assert ((photo.instance_map > 0) == (photo.label_map > 0)).all()
        for number, box in enumerate(photo.boxes_xyxy, start=1):
            ys, xs = np.nonzero((photo.instance_map == number) & (photo.label_map < 10))
            assert box[0] - 2 <= np.median(xs) <= box[2] + 2
            assert box[1] - 2 <= np.median(ys) <= box[3] + 2


def test_some_scenes_are_empty_and_some_crowded():
    counts = [len(render_face_photo(index, "scene", (96, 96)).boxes_xyxy) for index in range(40)]
    assert min(counts) == 0
    assert max(counts) >= 3


def test_attributes_hold_only_known_values(portraits):
    values = np.concatenate([photo.attributes for photo in portraits])
    assert set(np.unique(values)) <= {0, 1, -100}
    column = CELEBA_ATTRIBUTES.index
    assert (values[:, column("eyeglasses")] >= 0).all()
    assert (values[:, column("attractive")] == -100).all()
    assert {0, 1} <= set(values[:, column("smiling")])
    colours = values[:, [column(name) for name in ("black_hair", "blond_hair", "brown_hair", "gray_hair")]]
    assert ((colours == 1).sum(1) <= 1).all()


WORDS_OF_ATTRIBUTES = [
    ("eyeglasses", ("glasses",)),
    ("wearing_hat", ("hat",)),
    ("smiling", ("smiling", "happy")),
    ("bald", ("bald",)),
    ("goatee", ("goatee",)),
    ("black_hair", ("black hair",)),
    ("gray_hair", ("gray hair",)),
]


@pytest.fixture(scope="module")
def many_wordings():
    """Forty captions and the attributes of each of 60 people."""
    pose, people = Pose(0.0, 0.0, 0.0, (112.0, 100.0), 60.0), np.random.default_rng(8)
    return [
        (
            [caption_of(person, pose, True, np.random.default_rng(seed)) for seed in range(40)],
            attributes_of(person, pose, 0.0, True),
        )
        for person in (sample_person(people) for _ in range(60))
    ]


@pytest.mark.parametrize(("attribute", "words"), WORDS_OF_ATTRIBUTES)
def test_captions_follow_the_attributes(many_wordings, attribute, words):
    """What is not there is never named, and what is there is named by some of the wordings."""
    column, seen = CELEBA_ATTRIBUTES.index(attribute), set()
    for captions, attributes in many_wordings:
        if attributes[column] < 0:
            continue
        named = [any(word in caption for word in words) for caption in captions]
        assert any(named) == bool(attributes[column]), captions[0]
        assert not all(named)
        seen.add(int(attributes[column]))
    assert {0, 1} <= seen or attribute in ("bald", "goatee")


def test_captions_are_short(many_wordings):
    """One to four details follow the subject; each is at most four words, the joining words not counted."""
    lengths = [len(caption.split()) for captions, _ in many_wordings for caption in captions]
    assert max(lengths) <= 28
    assert np.mean(lengths) < 14


def test_captions_name_the_side_to_which_the_nose_points():
    person = sample_person(np.random.default_rng(1))
    lights = sample_lights(np.random.default_rng(2))
    for yaw, pitch, words in ((0.7, 0, "to the right"), (-0.7, 0, "to the left"), (0, 0.4, "down"), (0, -0.4, "up")):
        pose = Pose(yaw, pitch, 0.0, (112.0, 100.0), 60.0)
        captions = {caption_of(person, pose, True, np.random.default_rng(seed)) for seed in range(40)}
        assert any(f"looking {words}" in caption for caption in captions)
        nose = draw_person(person, pose, lights, (224, 224)).landmarks_xy[30]
        straight = draw_person(person, Pose(0.0, 0.0, 0.0, (112.0, 100.0), 60.0), lights, (224, 224)).landmarks_xy[30]
        moved = {"to the right": (1, 0), "to the left": (-1, 0), "up": (0, -1), "down": (0, 1)}[words]
        assert (nose - straight) @ moved > 5


def test_captions_of_one_person_vary():
    person, pose = sample_person(np.random.default_rng(3)), Pose(0.0, 0.0, 0.0, (112.0, 100.0), 60.0)
    captions = {caption_of(person, pose, True, np.random.default_rng(seed)) for seed in range(60)}
    assert len(captions) > 15
    assert not any("a old" in caption or "  " in caption for caption in captions)


def test_group_photo_has_everyone():
    photo = render_group_photo((180, 270), num_faces=5)
    assert photo.image.shape == (180, 270, 3)
    assert len(photo.boxes_xyxy) == 5


def test_unknown_kind_and_tiny_size_are_refused():
    with pytest.raises(UnknownNameError, match="portrait"):
        render_face_photo(0, "selfie")
    with pytest.raises(InvalidArgumentError, match="32"):
        render_face_photo(0, "portrait", (8, 8))


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    cache = tmp_path_factory.mktemp("synthetic")
    return SyntheticFaces(
        cache_dir=str(cache), config_name="portraits", num_train=6, num_validation=2, num_test=2, image_size=48
    )


def test_builder_streams_disjoint_splits(builder):
    rows = {split: list(builder.as_streaming_dataset(split=split)) for split in ("train", "validation", "test")}
    indices = [row["index"] for split in rows.values() for row in split]
    assert len(indices) == len(set(indices)) == 10
    row = rows["train"][0]
    expected = render_face_photo(0, "portrait", (48, 48))
    np.testing.assert_array_equal(np.asarray(row["label_map"]), expected.label_map)
    np.testing.assert_allclose(np.asarray(row["landmarks_xy"], np.float32), expected.landmarks_xy)
    assert row["caption"] == expected.caption


def test_the_cache_of_another_version_is_not_read(builder):
    assert str(VERSION) in builder.cache_dir


def test_builder_prepares_on_disk(builder):
    builder.download_and_prepare()
    rows = builder.as_dataset(split="train")
    assert isinstance(rows, datasets.Dataset)
    assert sorted(rows["index"]) == list(range(6))
    assert rows[0]["image"].size == (48, 48)


def test_a_forked_process_renders_after_opencv_used_its_threads():
    threads_before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    cv2.GaussianBlur(
        np.zeros((1000, 1000, 3), np.uint8), (31, 31), 0
    )  # starts the threads, which a fork leaves behind
    time.sleep(1)  # they wait on a condition by then
    generator = SyntheticFaces(config_name="portraits", image_size=32)._generate_examples([(0, 1)])
    process = multiprocessing.get_context("fork").Process(target=list, args=(generator,))
    process.start()
    process.join(60)
    process.kill()
    cv2.setNumThreads(threads_before)
    assert process.exitcode == 0


def test_rendering_leaves_opencvs_threads_as_they_were():
    threads_before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    rows = list(SyntheticFaces(config_name="portraits", image_size=32)._generate_examples([(0, 1)]))
    threads_after = cv2.getNumThreads()
    cv2.setNumThreads(threads_before)
    assert (len(rows), threads_after) == (1, 2)


def test_a_long_rendering_is_announced_once(tmp_path, caplog, monkeypatch):
    from farl_hf.data import loading

    monkeypatch.setattr(loading, "_MANY_RENDERED", 3)
    counts = {"train": 2, "validation": 1, "test": 0}
    for num_photos, lines in (({**counts, "train": 1}, 0), (counts, 1), (counts, 0)):
        caplog.clear()
        loading.load_face_dataset("synthetic_faces", num_photos=num_photos, cache_dir=str(tmp_path))
        said = [one.getMessage() for one in caplog.records if one.name == loading.__name__]
        assert len(said) == lines
        assert all("3 photos" in line and "minute" in line for line in said)
    caplog.clear()
    loading.load_face_dataset("synthetic_faces", num_photos=counts, streaming=True, cache_dir=str(tmp_path / "other"))
    assert not caplog.records
