import numpy as np
import pytest
from PIL import Image

from farl_hf import outputs
from farl_hf.errors import InvalidArgumentError, InvalidFaceInputError, UnknownNameError, UnreadablePhotoError

LABELS = {0: "background", 1: "skin", 2: "nose", 3: "hair"}
FIVE_POINTS = np.array([[40, 40], [80, 40], [60, 60], [45, 80], [75, 80]], float)
BOX = {"xmin": 30.0, "ymin": 20.0, "xmax": 90.0, "ymax": 100.0}


@pytest.fixture
def photo():
    pixels = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture
def face():
    """Skin in a rectangle, a nose in it, hair above it."""
    label_map = np.zeros((120, 160), np.uint8)
    label_map[40:90, 40:80], label_map[60:65, 55:65], label_map[30:40, 40:80] = 1, 2, 3
    return {
        "score": 0.9,
        "box": BOX,
        "keypoints": FIVE_POINTS.tolist(),
        "segmentation": Image.fromarray(label_map),
        "labels": LABELS,
        "landmarks": [[40.0, 40.0], [80.0, 40.0], [80.0, 90.0], [40.0, 90.0], [60.0, 60.0]],
        "attributes": [
            {"label": "young", "score": 0.8, "present": True},
            {"label": "bald", "score": 0.1, "present": False},
        ],
    }


# --- draw


def test_each_drawing_changes_the_photo_and_leaves_its_size(photo, face):
    before = np.array(photo)
    shown = ("landmarks", "detection", "attributes", "parsing", None)
    pictures = [outputs.draw(photo, [face], show, legend=False) for show in shown]
    assert len({picture.tobytes() for picture in pictures}) == 5
    assert all(picture.size == photo.size and picture.tobytes() != photo.tobytes() for picture in pictures)
    for show in ("parsing", "attributes", None):  # names of colours, cards
        assert outputs.draw(photo, face, show).height > photo.height
    assert (np.array(photo) == before).all()


def test_boxes_are_drawn_where_there_is_nothing_else(photo, face):
    bare = {name: face[name] for name in ("score", "box", "keypoints")}
    assert outputs.draw(photo, bare).tobytes() == outputs.draw(photo, [bare], ["detection"]).tobytes()
    assert outputs.draw(photo, []).tobytes() == photo.tobytes()


def test_tracks_choose_the_colour(photo, face):
    first, second = (outputs.draw(photo, face | {"track": track}, "detection").tobytes() for track in (1, 2))
    assert first != second


def test_attributes_that_top_k_left_out_are_not_drawn(photo, face):
    other = face | {"attributes": [{"label": "male", "score": 0.7, "present": True}]}
    fuller = face | {"attributes": [*other["attributes"], {"label": "bald", "score": 0.9, "present": True}]}
    drawn, full = (outputs.draw(photo, [face, one], "attributes", legend=False) for one in (other, fuller))
    assert drawn.size == photo.size
    assert drawn.tobytes() != full.tobytes()


@pytest.mark.parametrize("form", ["path", "array", "turned", "row"])
def test_photos_come_in_any_form_and_upright(photo, face, tmp_path, form):
    given = {
        "path": tmp_path / "photo.png",
        "array": np.asarray(photo),
        "turned": tmp_path / "turned.png",
        "row": {"image": photo, "keypoints": [face["keypoints"]]},  # as a pipeline takes it
    }[form]
    if form == "path":
        photo.save(given)
    if form == "turned":
        exif = Image.Exif()
        exif[0x0112] = 6  # shown a quarter turn clockwise
        photo.transpose(Image.Transpose.ROTATE_90).save(given, exif=exif)
    for make in (outputs.draw, outputs.crop, outputs.cutout, outputs.anonymize):
        assert make(given, face).tobytes() == make(photo, face).tobytes()


# --- crop


def gradient_photo():
    """Red is x, green is y: the crop's colours say where its pixels come from."""
    y, x = np.mgrid[:200, :200]
    return Image.fromarray(np.dstack([x, y, np.zeros_like(x)]).astype(np.uint8))


def test_an_aligned_crop_brings_turned_faces_to_the_same_place(face):
    centre = np.array([100.0, 100.0])
    places = []
    for degrees in (0, 35):
        turn = np.radians(degrees)
        matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        points = (FIVE_POINTS - [60, 60]) @ matrix.T + centre
        pixels = np.asarray(outputs.crop(gradient_photo(), face | {"keypoints": points.tolist()}, size=100), float)
        # The source of each pixel of the crop, in the frame of the face.
        places.append((pixels[30:70, 30:70, :2] + 0.5 - centre) @ matrix)
    assert np.abs(places[0] - places[1]).max() < 1.5
    assert outputs.crop(gradient_photo(), face, size=77).size == (77, 77)


def test_an_upright_crop_is_centred_on_the_box_and_scaled(face):
    for size, scale in ((100, 1.0), (50, 0.8)):
        picture = np.asarray(outputs.crop(gradient_photo(), face, aligned=False, size=size, scale=scale), float)
        middle = picture[size // 2 - 1 : size // 2 + 1, size // 2 - 1 : size // 2 + 1, :2].mean(axis=(0, 1)) + 0.5
        np.testing.assert_allclose(middle, [60, 60], atol=1)
        step = (picture[size // 2, -10, 0] - picture[size // 2, 10, 0]) / (size - 20)
        assert step == pytest.approx(80 / (0.55 * scale * size), rel=0.05)  # the longer side of the box is 80 pixels
    without_points = outputs.crop(gradient_photo(), face | {"keypoints": None})
    assert without_points.tobytes() == outputs.crop(gradient_photo(), face, aligned=False).tobytes()


def test_black_is_outside_the_photo(face):
    white = Image.new("RGB", (100, 100), "white")
    pixels = np.asarray(outputs.crop(white, face, aligned=False))
    assert (pixels[128, 128] == 255).all()
    assert (pixels[:, -1] == 0).all()


# --- cutout


def test_a_cutout_keeps_the_classes_and_nothing_else(photo, face):
    whole = np.asarray(outputs.cutout(photo, face, ["skin", "hair"], trim=False))
    label_map = np.asarray(face["segmentation"])
    kept = np.isin(label_map, [1, 3])
    assert (whole[..., 3] == kept * 255).all()
    assert (whole[kept][:, :3] == np.asarray(photo)[kept]).all()
    assert (whole[~kept] == 0).all()
    trimmed = np.asarray(outputs.cutout(photo, face, ["skin", "hair"]))
    assert (trimmed == whole[30:90, 40:80]).all()
    assert outputs.cutout(photo, face, "nose").size == (10, 5)
    assert (np.asarray(outputs.cutout(photo, face, trim=False))[..., 3] == (label_map > 0) * 255).all()


# --- anonymize


@pytest.mark.parametrize("method", outputs.METHODS)
@pytest.mark.parametrize("region", outputs.REGIONS)
def test_the_region_changes_and_the_rest_stays(photo, face, method, region):
    before, after = np.asarray(photo, int), np.asarray(outputs.anonymize(photo, [face], method, region), int)
    inside = np.zeros((120, 160), bool)
    rows, columns = {"box": ((20, 100), (30, 90)), "face": ((40, 90), (40, 80)), "landmarks": ((41, 89), (41, 79))}[
        region
    ]
    inside[slice(*rows), slice(*columns)] = True
    near = np.zeros_like(inside)
    near[rows[0] - 6 : rows[1] + 6, columns[0] - 6 : columns[1] + 6] = True
    assert (after[~near] == before[~near]).all()
    assert (np.abs(after - before).sum(axis=2)[inside] > 0).mean() > 0.97
    assert after[inside].std(axis=0).max() < 0.35 * before[inside].std(axis=0).max()


def test_large_faces_are_hidden_as_much_as_small_ones():
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 255, (12, 12, 3), dtype=np.uint8)
    for side in (24, 480):
        photo = Image.fromarray(coarse).resize((side, side), Image.Resampling.NEAREST)
        face = {"score": 1.0, "box": {"xmin": 0, "ymin": 0, "xmax": side, "ymax": side}}
        for method in ("blur", "pixelate"):
            hidden = np.asarray(outputs.anonymize(photo, face, method).resize((12, 12), Image.Resampling.BOX), float)
            assert np.corrcoef(hidden.ravel(), coarse.ravel())[0, 1] < 0.75
            assert hidden.std() < 0.6 * coarse.std()


def test_fill_has_the_colour_and_strength_makes_blocks_larger(photo, face):
    filled = np.asarray(outputs.anonymize(photo, face, "fill", colour=(9, 8, 7)))
    assert (filled[60, 60] == (9, 8, 7)).all()
    blocks = [np.asarray(outputs.anonymize(photo, face, "pixelate", strength=s))[22:98, 32:88] for s in (0.5, 2.0)]
    assert len(np.unique(blocks[0].reshape(-1, 3), axis=0)) > 4 * len(np.unique(blocks[1].reshape(-1, 3), axis=0))


def test_faces_at_the_border_and_outside_are_no_error(photo, face):
    at_border = face | {"box": {"xmin": -50.0, "ymin": -50.0, "xmax": 20.0, "ymax": 20.0}}
    outside = face | {"box": {"xmin": 500.0, "ymin": 500.0, "xmax": 520.0, "ymax": 520.0}}
    changed = (np.asarray(outputs.anonymize(photo, [at_border, outside])) != np.asarray(photo)).any(axis=2)
    assert changed[:20, :20].mean() > 0.97
    assert not changed[30:, 30:].any()


# --- what cannot work


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda photo, face: outputs.draw(photo, face, "gaze"), UnknownNameError, "landmarks"),
        (lambda photo, face: outputs.draw(photo, {"score": 1.0}), InvalidFaceInputError, "box"),
        (
            lambda photo, face: outputs.draw(photo, face | {"landmarks": None}, "landmarks"),
            InvalidFaceInputError,
            "landm",
        ),
        (lambda photo, face: outputs.draw(photo, ["face"]), InvalidFaceInputError, "box"),
        (lambda photo, face: outputs.draw(photo, face | {"box": {"xmin": 0}}), InvalidFaceInputError, "box"),
        (lambda photo, face: outputs.draw(photo, face | {"box": [0, 0, 9, 9]}), InvalidFaceInputError, "box"),
        (lambda photo, face: outputs.crop(photo, face | {"box": [0, 0, 9, 9]}), InvalidFaceInputError, "box"),
        (
            lambda photo, face: outputs.draw(photo, face | {"landmarks": [[1, 2], [3]]}),
            InvalidFaceInputError,
            "points",
        ),
        (lambda photo, face: outputs.draw(photo, face | {"attributes": ["young"]}), InvalidFaceInputError, "labels"),
        (lambda photo, face: outputs.draw(photo, face | {"labels": ["skin"]}), InvalidFaceInputError, "class id"),
        (lambda photo, face: outputs.cutout(photo, face | {"labels": None}), InvalidFaceInputError, "labels"),
        (
            lambda photo, face: outputs.cutout(photo, face | {"segmentation": "a.png"}),
            InvalidFaceInputError,
            "a.png.*expected whole class ids",
        ),
        (
            lambda photo, face: outputs.anonymize(photo, face | {"box": dict.fromkeys(BOX, 0) | {"xmax": 1e30}}),
            InvalidFaceInputError,
            "no area",
        ),
        (
            lambda photo, face: outputs.anonymize(photo, face | {"landmarks": []}, region="landmarks"),
            InvalidFaceInputError,
            "no landmarks",
        ),
        (lambda photo, face: outputs.anonymize(photo, face, strength="1"), InvalidArgumentError, "strength"),
        (lambda photo, face: outputs.anonymize(photo, face, colour="red"), InvalidArgumentError, "colour"),
        (lambda photo, face: outputs.draw("missing.jpg", face), UnreadablePhotoError, "missing.jpg"),
        (lambda photo, face: outputs.draw({"picture": photo}, face), InvalidFaceInputError, "'picture'.*'image'"),
        (lambda photo, face: outputs.crop(photo, face, size=0), InvalidArgumentError, "size"),
        (lambda photo, face: outputs.crop(photo, face, scale=-1), InvalidArgumentError, "scale"),
        (lambda photo, face: outputs.cutout(photo, face, "beard"), UnknownNameError, "skin"),
        (lambda photo, face: outputs.cutout(photo, {"box": BOX}), InvalidFaceInputError, "segmentation"),
        (lambda photo, face: outputs.cutout(Image.new("RGB", (9, 9)), face), InvalidFaceInputError, "160 x 120"),
        (lambda photo, face: outputs.anonymize(photo, face, "mask"), UnknownNameError, "blur"),
        (lambda photo, face: outputs.anonymize(photo, face, region="eyes"), UnknownNameError, "landmarks"),
        (lambda photo, face: outputs.anonymize(photo, face, strength=0), InvalidArgumentError, "strength"),
        (lambda photo, face: outputs.anonymize(photo, face, strength=float("nan")), InvalidArgumentError, "strength"),
        (lambda photo, face: outputs.anonymize(photo, face, colour=(0, 0, 300)), InvalidArgumentError, "colour"),
        (lambda photo, face: outputs.anonymize(photo, face, colour=5), InvalidArgumentError, "colour"),
        (lambda photo, face: outputs.anonymize(photo, face, colour=None), InvalidArgumentError, "colour"),
        (lambda photo, face: outputs.anonymize(photo, face, colour={1, 2, 3}), InvalidArgumentError, "colour"),
        (lambda photo, face: outputs.anonymize(photo, None), InvalidFaceInputError, "'None' came"),
        (lambda photo, face: outputs.draw(photo, 5), InvalidFaceInputError, "'5' came"),
        (lambda photo, face: outputs.draw(photo, face, show=5), UnknownNameError, "landmarks"),
        (lambda photo, face: outputs.draw(photo, face | {"attributes": 5}), InvalidFaceInputError, "attributes"),
        (lambda photo, face: outputs.cutout(photo, face, 5), UnknownNameError, "skin"),
        (lambda photo, face: outputs.cutout(photo, face, []), InvalidArgumentError, "names no class"),
        (lambda photo, face: outputs.crop(photo, face, scale="1"), InvalidArgumentError, "expected a number"),
        (lambda photo, face: outputs.cutout(photo, face | {"segmentation": {}}), InvalidFaceInputError, "to_json"),
        (
            lambda photo, face: outputs.draw(photo, [face, face | {"landmarks": [[1, 2]]}], "landmarks"),
            InvalidFaceInputError,
            "number of landmarks",
        ),
        (
            lambda photo, face: outputs.draw(photo, [face, face | {"labels": face["labels"] | {9: "ear"}}], "parsing"),
            InvalidFaceInputError,
            "different 'labels'",
        ),
        (
            lambda photo, face: outputs.draw(photo, face | {"segmentation": np.full((120, 160), 0.5)}, "parsing"),
            InvalidFaceInputError,
            "float64",
        ),
    ],
)
def test_what_cannot_work_is_explained(photo, face, call, error, said):
    with pytest.raises(error, match=said):
        call(photo, face)


def test_landmarks_far_outside_hide_what_they_surround(photo, face):
    far = face | {"landmarks": [[-1e30, -1e30], [1e30, -1e30], [1e30, 1e30], [-1e30, 1e30]]}
    hidden = outputs.anonymize(photo, far, method="fill", region="landmarks", colour=(9, 9, 9))
    assert np.unique(np.asarray(hidden)).tolist() == [9]


def test_no_pixel_to_cut_out(photo, face):
    empty = face | {"segmentation": Image.new("L", photo.size)}
    with pytest.raises(InvalidFaceInputError, match="nose"):
        outputs.cutout(photo, empty, "nose")


def test_a_face_without_its_region_is_hidden_by_its_box(photo, face):
    nothing = face | {"segmentation": Image.fromarray(np.zeros_like(np.asarray(face["segmentation"])))}
    by_box = outputs.anonymize(photo, face, "fill", region="box")
    assert np.array_equal(outputs.anonymize(photo, nothing, "fill", region="face"), by_box)
    few = np.zeros_like(np.asarray(face["segmentation"]))
    few[60:63, 80:83] = 1  # inside the box, and its margin
    hidden = outputs.anonymize(photo, face | {"segmentation": Image.fromarray(few)}, "fill", region="face")
    assert np.array_equal(hidden, by_box)
    outside = face | {"landmarks": [[-50.0, -50.0], [-40.0, -50.0], [-45.0, -40.0]]}
    assert np.array_equal(outputs.anonymize(photo, outside, "fill", region="landmarks"), by_box)
    thin = face | {"box": {"xmin": 30.2, "ymin": 30.2, "xmax": 30.4, "ymax": 30.3}}
    assert not np.array_equal(outputs.anonymize(photo, thin, "fill"), np.asarray(photo))
    with pytest.raises(InvalidArgumentError, match=r"0\.25"):
        outputs.anonymize(photo, face, strength=0.2)


def test_a_box_far_larger_than_the_photo_is_drawn(photo, face):
    """Letters follow the size of a box."""
    wide = face | {"box": dict.fromkeys(("xmin", "ymin"), -1e8) | dict.fromkeys(("xmax", "ymax"), 1e8)}
    assert outputs.draw(photo, wide, "detection").size == outputs.draw(photo, face, "detection").size


def test_margins_of_large_faces_cost_no_more_than_the_photo(face):
    """A face of 1,500 pixels has a margin of 75, and one of a million no less of the photo than all."""
    photo = Image.new("RGB", (2400, 2000), (90, 80, 70))
    square = [[500, 300], [2000, 300], [2000, 1800], [500, 1800]]
    box = {"xmin": 500.0, "ymin": 300.0, "xmax": 2000.0, "ymax": 1800.0}
    large = face | {"box": box, "landmarks": square}
    hidden = np.asarray(outputs.anonymize(photo, large, "fill", region="landmarks"))[..., 0] == 0
    rows, columns = np.flatnonzero(hidden.any(axis=1)), np.flatnonzero(hidden.any(axis=0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (225, 1875, 425, 2075)
    assert not hidden[226, 426]  # the corners are round
    endless = large | {"box": dict.fromkeys(("xmin", "ymin"), -1e6) | dict.fromkeys(("xmax", "ymax"), 1e6)}
    assert (np.asarray(outputs.anonymize(photo, endless, "fill", region="landmarks")) == 0).all()


def test_landmarks_far_away_are_drawn_to_the_border(photo, face):
    far = face | {"landmarks": [[3e7, 3e7], [0, 0]]}
    assert outputs.draw(photo, far, "landmarks").size == photo.size


def test_all_classes_of_a_name_are_cut_out(photo, face):
    names = {label: "all" if label else "background" for label in face["labels"]}
    cut = outputs.cutout(photo, face | {"labels": names}, trim=False)
    assert np.array_equal(np.asarray(cut)[..., 3] > 0, np.asarray(face["segmentation"]) > 0)
