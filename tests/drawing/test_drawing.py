import numpy as np
import pytest
from PIL import Image
from skimage.color import deltaE_ciede2000, rgb2lab

from farl_hf.drawing import (
    contact_sheet,
    draw_face_attributes,
    draw_face_landmarks,
    draw_face_parsing,
    draw_faces,
    draw_heat_map,
)
from farl_hf.drawing.antialiased_canvas import FACE_COLOURS, AntialiasedCanvas
from farl_hf.errors import InvalidArgumentError, InvalidFaceInputError
from farl_hf.labels import CELEBA_ATTRIBUTES, CELEBAMASK_LABELS, CELEBAMASK_PALETTE, LAPA_LABELS, LAPA_PALETTE
from farl_hf.results import FaceAttributes, FaceLandmarks, FaceParsing, Faces

GREY = 128
FACES = Faces([[40, 30, 90, 90]], [0.87], [[[52, 50], [78, 50], [65, 65], [55, 78], [75, 78]]])


def grey_photo(size_wh=(160, 120)):
    return Image.new("RGB", size_wh, (GREY, GREY, GREY))


def touched(picture, photo):
    """Where a picture differs from the photo: a mask, and its box x_min, y_min, x_max, y_max."""
    mask = (np.asarray(picture).astype(int) != np.asarray(photo)).any(axis=2)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return mask, (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)


def attributes_of(*first):
    probabilities = np.zeros((len(first), 40))
    for row, name in enumerate(first):
        probabilities[row, CELEBA_ATTRIBUTES.index(name)] = 0.9
    return FaceAttributes(probabilities, CELEBA_ATTRIBUTES)


def test_boxes_and_points_lie_where_the_face_is():
    photo = grey_photo()
    mask, box = touched(draw_faces(photo, FACES, show_scores=False), photo)
    assert box == pytest.approx((40, 30, 90, 90), abs=4)
    assert all(mask[int(y), int(x)] for x, y in FACES.keypoints_xy[0])
    assert not mask[70, 45]


def test_the_score_is_written_above_the_box_or_inside_it():
    photo = grey_photo()
    assert touched(draw_faces(photo, FACES), photo)[1][1] < 26
    at_the_top = Faces([[40, 0, 90, 60]], [0.5])
    assert touched(draw_faces(photo, at_the_top), photo)[0][2:20, 42:70].any()


def test_a_score_that_says_nothing_is_not_written():
    photo, certain = grey_photo(), Faces(FACES.boxes_xyxy, [0.9996], FACES.keypoints_xy)
    bare = draw_faces(photo, certain, show_scores=False)
    assert draw_faces(photo, certain).tobytes() == bare.tobytes()
    assert draw_faces(photo, certain, numbers=[0]).tobytes() != bare.tobytes()  # a track keeps its number


def test_landmarks_are_joined_by_part():
    photo = grey_photo((300, 300))
    points = np.random.default_rng(0).uniform(60, 240, (68, 2))
    mask, _ = touched(draw_face_landmarks(photo, FaceLandmarks(points[None])), photo)
    assert all(mask[int(y), int(x)] for x, y in points)
    middle = points[[0, 1]].mean(axis=0)  # two neighbours on the contour
    assert mask[int(middle[1]), int(middle[0])]
    alone = touched(draw_face_landmarks(photo, FaceLandmarks(points[None, :5])), photo)[0]
    assert alone.sum() < mask.sum() / 5


def test_parsing_tints_each_part_with_its_colour():
    photo = grey_photo()
    labels = np.zeros((120, 160), np.uint8)
    labels[30:90, 40:100] = 1
    labels[45:55, 60:80] = 6
    picture = draw_face_parsing(photo, FaceParsing(labels[None], LAPA_LABELS), opacity=0.5, legend=False)
    assert picture.size == photo.size
    for (x, y), label in (((50, 75), 1), ((70, 50), 6)):
        assert picture.getpixel((x, y)) == pytest.approx(
            [(GREY + channel) / 2 for channel in LAPA_PALETTE[label]], abs=2
        )
    assert picture.getpixel((10, 10)) == (GREY, GREY, GREY)
    assert touched(picture, photo)[1] == pytest.approx((40, 30, 100, 90), abs=4)


def test_where_faces_overlap_the_first_wins():
    labels = np.zeros((2, 60, 60), np.uint8)
    labels[0, 10:40, 10:40] = 6
    labels[1, 20:50, 20:50] = 10
    picture = draw_face_parsing(grey_photo((60, 60)), FaceParsing(labels, LAPA_LABELS), opacity=1.0, legend=False)
    assert picture.getpixel((30, 30)) == pytest.approx(LAPA_PALETTE[6], abs=2)


def test_the_legend_shows_the_classes_that_occur():
    labels = np.zeros((1, 120, 160), np.uint8)
    labels[0, 30:90, 40:100] = 10
    picture = draw_face_parsing(grey_photo(), FaceParsing(labels, LAPA_LABELS))
    assert picture.width == 160
    assert picture.height > 120
    colours = {colour for _, colour in picture.crop((0, 120, 160, picture.height)).getcolors(10**6)}
    assert LAPA_PALETTE[10] in colours
    assert LAPA_PALETTE[6] not in colours


def test_label_maps_of_another_size_are_refused():
    with pytest.raises(InvalidFaceInputError, match="160 x 120"):
        draw_face_parsing(grey_photo(), FaceParsing(np.zeros((1, 10, 10), np.uint8), LAPA_LABELS))


TWO_FACES = Faces([[250, 100, 350, 220], [80, 120, 170, 230]], [0.9, 0.8])


@pytest.mark.parametrize("size_wh", [(640, 480), (480, 640)])
def test_attribute_cards_stand_under_the_photo(size_wh):
    photo = grey_photo(size_wh)
    picture = draw_face_attributes(photo, TWO_FACES, attributes_of("smiling", "bald"))
    assert picture.width == photo.width
    assert picture.height > photo.height
    mask, _ = touched(picture.crop((0, 0, *photo.size)), photo)
    for box in TWO_FACES.boxes_xyxy.astype(int):  # the photo has outlines and numbers alone
        assert not mask[box[1] + 4 : box[3] - 4, box[0] + 4 : box[2] - 4].any()
    assert mask.mean() < 0.05


def test_the_cards_of_many_faces_take_no_more_room_than_the_photo():
    photo, many = grey_photo((1280, 960)), Faces(np.tile([[10, 10, 60, 60]], (20, 1)), [0.9] * 20)
    assert draw_face_attributes(photo, many, attributes_of(*["smiling"] * 20)).height <= 2 * 960


def test_attribute_panels_inside_keep_off_the_faces_and_inside_the_photo():
    photo = grey_photo((640, 480))
    picture = draw_face_attributes(photo, TWO_FACES, attributes_of("smiling", "bald"), inside=True)
    mask, (x_min, y_min, x_max, y_max) = touched(picture, photo)
    assert 0 <= x_min < x_max <= 640
    assert 0 <= y_min < y_max <= 480
    for box in TWO_FACES.boxes_xyxy.astype(int):
        assert not mask[box[1] + 12 : box[3] - 12, box[0] + 12 : box[2] - 12].any()
    more = draw_face_attributes(photo, TWO_FACES, attributes_of("smiling", "smiling"), inside=True)
    assert (np.asarray(more) != np.asarray(picture)).any()
    with pytest.raises(InvalidFaceInputError, match="2 faces"):
        draw_face_attributes(photo, TWO_FACES, attributes_of("smiling"))


def test_attribute_panels_show_what_is_present():
    """A likely attribute that is not present is left out, and an unlikely one that is present is shown."""
    photo, faces = grey_photo((320, 240)), Faces([[100, 60, 160, 140]], [0.9])
    names, scores = ("bald", "young"), [[0.8, 0.4]]
    first, second = (
        draw_face_attributes(photo, faces, FaceAttributes(scores, names, [present]))
        for present in ([True, False], [False, True])
    )
    by_threshold = draw_face_attributes(photo, faces, FaceAttributes(scores, names, [[False, True]]), threshold=0.5)
    assert (np.asarray(first) == np.asarray(by_threshold)).all()
    assert (np.asarray(first) != np.asarray(second)).any()


@pytest.mark.parametrize("size_wh", [(1, 1), (40, 30), (2000, 60), (3000, 2000)])
def test_every_size_of_photo_works_and_none_is_changed(size_wh):
    photo = grey_photo(size_wh)
    before = photo.tobytes()
    width, height = size_wh
    faces = Faces([[0, 0, width, height]], [1.0], np.random.default_rng(0).uniform(0, min(size_wh), (1, 5, 2)))
    labels = np.ones((1, height, width), np.uint8)
    pictures = [
        draw_faces(photo, faces),
        draw_face_landmarks(photo, FaceLandmarks(np.random.default_rng(1).uniform(0, min(size_wh), (1, 68, 2)))),
        draw_face_parsing(photo, FaceParsing(labels, LAPA_LABELS), legend=False),
        draw_face_attributes(photo, faces, attributes_of("smiling"), inside=True),
    ]
    assert [picture.size for picture in pictures] == [size_wh] * 4
    assert photo.tobytes() == before


def test_faces_beyond_the_border_are_drawn_as_far_as_they_go():
    photo = grey_photo()
    outside = Faces([[-50, -40, 60, 70], [140, 100, 400, 300]], [0.9, 0.8])
    assert draw_faces(photo, outside).size == photo.size
    assert draw_face_landmarks(photo, FaceLandmarks(np.full((1, 68, 2), 900.0))).size == photo.size


def test_nothing_found_leaves_the_photo():
    photo = grey_photo()
    for picture in (
        draw_faces(photo, Faces([], [])),
        draw_face_parsing(photo, FaceParsing.from_pipeline([])),
        draw_face_landmarks(photo, FaceLandmarks.from_pipeline([])),
        draw_face_attributes(photo, Faces([], []), FaceAttributes.from_pipeline([])),
    ):
        assert picture.tobytes() == photo.tobytes()
        assert picture is not photo


def test_lines_are_smooth_and_as_wide_as_asked():
    photo = Image.new("RGB", (100, 60))
    canvas = AntialiasedCanvas((0, 0, 100, 60), photo.size)
    canvas.line(np.array([[10.0, 30.0], [90.0, 30.0]]), (255, 255, 255), 3.0)
    column = np.asarray(canvas.composite_over(photo))[:, 50, 0] / 255
    assert column.sum() == pytest.approx(3.0, abs=0.35)
    assert (column * (np.arange(60) + 0.5)).sum() / column.sum() == pytest.approx(30.0, abs=0.2)


def test_contact_sheet_holds_every_picture():
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    sheet = contact_sheet([(str(colour), Image.new("RGB", (50, 40), colour)) for colour in colours])
    counts = {colour: count for count, colour in sheet.getcolors(10**6)}
    assert [counts[colour] for colour in colours] == [2000] * 3
    assert contact_sheet([("large", Image.new("RGB", (4000, 3000)))]).width < 700
    with pytest.raises(InvalidArgumentError, match="at least one picture"):
        contact_sheet([])


def test_long_captions_go_on_in_further_lines():
    """Ink of the caption lies within the width of its picture, and there is more of it than one line holds."""
    picture = Image.new("RGB", (120, 40), (255, 0, 0))
    short, long = (
        contact_sheet([(caption, picture)]) for caption in ("a", "a face with a very long name " * 3 + "x" * 60)
    )
    assert long.width == short.width
    assert long.height > short.height + 3 * 20
    rows, columns = np.nonzero(np.asarray(long.convert("L")) < 60)
    assert columns.max() < 12 + 120
    assert rows.min() >= 12


# Linear RGB as dichromats see it (Machado, Oliveira and Fernandes 2009, severity 1).
EYES = {
    "all cones": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
# Parts that touch each other on a face.
NEIGHBOURS = {
    "skin": "left_eyebrow right_eyebrow left_eye right_eye nose upper_lip lower_lip hair neck left_ear glasses hat",
    "hair": "left_eyebrow right_eyebrow left_ear right_ear neck hat glasses earring cloth",
    "inner_mouth": "upper_lip lower_lip",
    "upper_lip": "lower_lip nose",
    "glasses": "left_eye right_eye left_eyebrow right_eyebrow nose",
    "neck": "cloth necklace left_ear right_ear",
    "cloth": "necklace",
    "left_eye": "left_eyebrow right_eye nose",
    "right_eye": "right_eyebrow nose",
    "left_ear": "earring",
    "right_ear": "earring",
}


def seen_by(colours_rgb, matrix):
    """L*a*b* of colours (n, 3) in 0..255."""
    values = np.asarray(colours_rgb) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ np.asarray(matrix).T, 0, 1)
    return rgb2lab(np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055))


@pytest.mark.parametrize("eyes", EYES)
def test_colours_differ_between_neighbours(eyes):
    """By CIEDE2000, of which 2 to 3 are just seen side by side."""
    colour_of = dict(zip(CELEBAMASK_LABELS, CELEBAMASK_PALETTE, strict=True))
    pairs = [(first, second) for first, others in NEIGHBOURS.items() for second in others.split()]
    first, second = (seen_by([colour_of[pair[side]] for pair in pairs], EYES[eyes]) for side in (0, 1))
    distances = deltaE_ciede2000(first, second)
    assert distances.min() > 10, pairs[int(distances.argmin())]
    faces = seen_by(FACE_COLOURS, EYES[eyes])
    assert min(deltaE_ciede2000(faces[i], faces[j]) for i in range(6) for j in range(i)) > 10


def test_heat_maps_colour_what_is_warm_and_nothing_else():
    photo = Image.new("RGB", (60, 40), (120, 120, 120))
    heat = np.zeros((40, 60), np.float32)
    heat[10:20, 30:50] = 1
    heat[25:30, 5:10] = 0.2
    drawn = np.asarray(draw_heat_map(photo, heat, opacity=0.5)).astype(int)
    changed = (drawn != 120).any(axis=-1)
    assert np.array_equal(changed, heat > 0)
    red, green, blue = drawn[15, 40]
    assert min(red, green) > 150 > blue  # the yellow end of viridis
    assert drawn[27, 7, 2] > drawn[27, 7, 0]
    assert np.array_equal(np.asarray(draw_heat_map(photo, heat, opacity=0.0)), np.asarray(photo))
    with pytest.raises(InvalidFaceInputError, match="40 pixels high"):
        draw_heat_map(photo, heat.T)
