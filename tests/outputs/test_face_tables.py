import json
import re

import numpy as np
import pytest
from PIL import Image

from farl_hf import outputs
from farl_hf.errors import InvalidArgumentError, InvalidFaceInputError
from farl_hf.labels import FIVE_POINTS
from farl_hf.outputs.face_tables import run_length_encoded

# Texts of pycocotools 2.0.
REFERENCE = {
    "disc": "j`05P16K4M2N2N2O0O2O000O2O00000001N10001N101N2N2N3L5Ja>",
    "squares": "011000000000",
    "ones": "0<",
    "zeros": "<",
}
LABELS = {0: "background", 1: "skin", 2: "hair"}


def make_face(seed=0, **more):
    rng = np.random.default_rng(seed)
    label_map = np.kron(rng.integers(0, 3, (6, 5)), np.ones((4, 5))).astype(np.uint8)  # 24 x 25
    return {
        "score": 0.5,
        "box": {"xmin": 1.0, "ymin": 2.0, "xmax": 11.0, "ymax": 22.0},
        "keypoints": rng.uniform(0, 20, (5, 2)).tolist(),
        "segmentation": Image.fromarray(label_map),
        "labels": LABELS,
        "landmarks": rng.uniform(0, 20, (3, 2)).tolist(),
        "attributes": [
            {"label": "young", "score": 0.8, "present": True},
            {"label": "bald", "score": 0.1, "present": False},
        ],
        "embedding": [0.6, 0.8],
    } | more


def decoded(rle):
    """A second reading of COCO's format: from text over differences to runs."""
    numbers, number, shift = [], 0, 0
    for sign in rle["counts"]:
        group = ord(sign) - 48
        number |= (group & 0x1F) << shift
        shift += 5
        if not group & 0x20:
            if group & 0x10:
                number -= 1 << shift
            numbers.append(number)
            number, shift = 0, 0
    runs = []
    for place, number in enumerate(numbers):
        runs.append(number + runs[place - 2] if place > 2 else number)
    flat = np.repeat(np.arange(len(runs)) % 2, runs)
    return flat.reshape(rle["size"], order="F").astype(bool)


@pytest.mark.parametrize("share", [0, 0.001, 0.2, 0.5, 0.9, 1])
@pytest.mark.parametrize("size_hw", [(1, 1), (7, 300), (211, 64)])
def test_masks_survive_the_run_length_encoding(share, size_hw):
    mask = np.random.default_rng(3).random(size_hw) < share
    assert (decoded(run_length_encoded(mask)) == mask).all()


def test_the_encoding_is_the_one_of_pycocotools():
    y, x = np.mgrid[:40, :50]
    assert run_length_encoded((y - 20) ** 2 + (x - 25) ** 2 < 150)["counts"] == REFERENCE["disc"]
    assert run_length_encoded((x + y) % 2 == 0)["counts"][:12] == REFERENCE["squares"]
    assert run_length_encoded(np.ones((3, 4), bool))["counts"] == REFERENCE["ones"]
    assert run_length_encoded(np.zeros((3, 4), bool))["counts"] == REFERENCE["zeros"]


def test_json_holds_everything(tmp_path):
    face = make_face()
    (read,) = json.loads(outputs.to_json(face))
    label_map = np.asarray(face["segmentation"])
    assert {name: decoded(mask).sum() for name, mask in read["segmentation"].items()} == {
        name: (label_map == label).sum() for label, name in LABELS.items() if label
    }
    assert {name: read[name] for name in face if name not in ("segmentation", "labels")} == {
        name: face[name] for name in face if name not in ("segmentation", "labels")
    }
    assert json.loads(outputs.to_json([])) == []
    assert "\n" in outputs.to_json(face, indent=1)


def test_rows_have_fixed_columns():
    full, other = make_face(0), make_face(1, keypoints=None)
    other["attributes"] = other["attributes"][::-1]
    rows = outputs.to_rows([full, other], photo="a.jpg")
    columns = ["photo", "face", "score", "box_xmin", "box_ymin", "box_xmax", "box_ymax"]
    columns += [f"{name}_{axis}" for name in FIVE_POINTS for axis in "xy"]
    columns += [f"landmark_{index}_{axis}" for index in range(3) for axis in "xy"]
    columns += ["attribute_bald", "present_bald", "attribute_young", "present_young"]
    columns += ["area_background", "area_skin", "area_hair", "embedding_0", "embedding_1"]
    assert [list(row) for row in rows] == [columns, columns]
    assert [row["face"] for row in rows] == [1, 2]
    assert (rows[1]["left_eye_x"], rows[0]["right_mouth_corner_y"]) == (None, full["keypoints"][4][1])
    assert rows[0]["area_skin"] == (np.asarray(full["segmentation"]) == 1).sum()
    assert all(type(value) in (str, int, float, bool, type(None)) for row in rows for value in row.values())


def test_a_face_of_a_box_alone_has_the_score_1():
    face = {"box": {"xmin": 2.0, "ymin": 3.0, "xmax": 12.0, "ymax": 13.0}}
    assert outputs.to_rows([face])[0]["score"] == 1
    assert outputs.crop(np.zeros((20, 20, 3), np.uint8), face, aligned=False, size=8).size == (8, 8)


def test_rows_of_a_detection_and_of_a_video():
    face = {name: make_face()[name] for name in ("score", "box", "keypoints")}
    (row,) = outputs.to_rows([face | {"track": 7}], photo="clip.mp4", frame=3)
    assert (row["frame"], row["track"], len(row)) == (3, 7, 19)
    assert outputs.to_rows([]) == []


def test_coco_has_boxes_points_and_masks():
    faces = [make_face(0), make_face(1, keypoints=None)]
    coco = json.loads(
        json.dumps(outputs.to_coco([("a.jpg", (24, 25), faces), ("b.jpg", np.zeros((24, 25, 3), np.uint8), [])]))
    )
    assert coco["images"] == [
        {"id": 1, "file_name": "a.jpg", "height": 24, "width": 25},
        {"id": 2, "file_name": "b.jpg", "height": 24, "width": 25},
    ]
    assert [category["name"] for category in coco["categories"]] == ["face", "skin", "hair"]
    assert [one["id"] for one in coco["annotations"]] == list(range(1, 7))
    first, second = (one for one in coco["annotations"] if one["category_id"] == 1)
    assert (first["bbox"], first["area"], first["num_keypoints"], second["num_keypoints"]) == (
        [1, 2, 10, 20],
        200,
        8,
        3,
    )
    assert len(first["keypoints"]) == len(second["keypoints"]) == 3 * len(coco["categories"][0]["keypoints"])
    assert first["keypoints"][:3] == [faces[0]["keypoints"][0][0] - 0.5, faces[0]["keypoints"][0][1] - 0.5, 2]
    assert second["keypoints"][:3] == [0, 0, 0]
    names = {category["id"]: category["name"] for category in coco["categories"]}
    for one in coco["annotations"]:
        label_map = np.asarray(faces[0 if one["id"] < 4 else 1]["segmentation"])
        mask = decoded(one["segmentation"])
        if one["category_id"] == 1:
            assert (mask == (label_map > 0)).all()
            continue
        assert (mask == (label_map == list(LABELS.values()).index(names[one["category_id"]]))).all()
        x, y, width, height = (int(value) for value in one["bbox"])
        assert one["area"] == mask.sum() == mask[y : y + height, x : x + width].sum()
        assert one["face_id"] == (1 if one["id"] < 4 else 4)


def test_coco_takes_the_faces_of_one_model():
    with pytest.raises(InvalidFaceInputError, match=r"b\.jpg.*landmarks"):
        outputs.to_coco([("a.jpg", (24, 25), make_face()), ("b.jpg", (24, 25), make_face(landmarks=[[1, 2]]))])


@pytest.mark.parametrize(
    "write", [outputs.to_json, outputs.to_rows, lambda faces: outputs.to_coco([("a", (9, 9), faces)])]
)
@pytest.mark.parametrize("faces", [{"error": "x"}, [{"score": 1}], ["face"], make_face(box={"xmin": 0})])
def test_what_is_no_answer_is_explained(write, faces):
    with pytest.raises(InvalidFaceInputError, match="box"):
        write(faces)


@pytest.mark.parametrize(
    "write", [outputs.to_json, outputs.to_rows, lambda faces: outputs.to_coco([("a", (9, 9), faces)])]
)
@pytest.mark.parametrize(
    "change",
    [
        {"keypoints": [[1, 2]] * 4},
        {"keypoints": [[float("nan")] * 2] * 5},
        {"landmarks": "abc"},
        {"attributes": [{"score": 0.5}]},
        {"labels": ["background", "skin"]},
        {"score": "high"},
        {"attributes": 5},
        {"attributes": [{"label": "young", "score": float("nan")}]},
        {"embedding": [0.5, float("nan")]},
        {"embedding": 5},
        {"labels": {"skin": "skin"}},
        {"labels": {0: "background", 300: "skin"}},
    ],
)
def test_entries_that_no_pipeline_answers(write, change):
    with pytest.raises(InvalidFaceInputError, match=next(iter(change))):
        write(make_face(**change))


@pytest.mark.parametrize(
    "write", [outputs.to_json, outputs.to_rows, lambda faces: outputs.to_coco([("a", (24, 25), faces)])]
)
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"labels": {0: "background", 1: "skin"}}, "class id 2"),
        ({"segmentation": np.full((24, 25), 1.0)}, "float64"),
        ({"segmentation": np.full((24, 25), np.nan)}, "float64"),
        ({"segmentation": np.full((24, 25), -1)}, "class id -1"),
        ({"segmentation": np.full((24, 25), 256)}, "class id 256"),
        ({"segmentation": np.zeros((24, 25, 3), np.uint8)}, "(24, 25, 3)"),
    ],
)
def test_label_maps_hold_whole_ids_that_have_names(write, change, said):
    with pytest.raises(InvalidFaceInputError, match=re.escape(said)):
        write(make_face(**change))


def test_faces_of_arrays_are_those_of_lists():
    face = make_face()
    arrays = {name: np.asarray(face[name]) for name in ("keypoints", "landmarks", "embedding")}
    scores = [one | {"score": np.float32(one["score"])} for one in face["attributes"]]
    expected = make_face(attributes=[one | {"score": float(one["score"])} for one in scores])
    odd = face | arrays | {"score": np.float64(0.5), "attributes": scores}
    assert outputs.to_json(odd) == outputs.to_json(expected)
    assert outputs.to_rows(odd) == outputs.to_rows(expected)
    assert outputs.to_coco([("a", (24, 25), odd)]) == outputs.to_coco([("a", (24, 25), expected)])


def test_an_attribute_without_present_is_judged_by_a_half():
    (row,) = outputs.to_rows(make_face(attributes=[{"label": "bald", "score": 0.2}, {"label": "young", "score": 0.7}]))
    assert (row["present_bald"], row["present_young"]) == (False, True)


def test_class_names_go_by_their_ids_in_any_order():
    face, turned = make_face(), make_face(labels={"2": "hair", "0": "background", "1": "skin"})
    assert outputs.to_coco([("a", (24, 25), turned)]) == outputs.to_coco([("a", (24, 25), face)])
    assert outputs.to_rows(turned) == outputs.to_rows(face)
    picture = Image.new("RGB", (25, 24))
    assert outputs.draw(picture, turned, "parsing").tobytes() == outputs.draw(picture, face, "parsing").tobytes()


def test_coco_categories_carry_the_ids_of_the_classes():
    label_map = np.zeros((24, 25), np.uint8)
    label_map[3:9] = 7
    data = outputs.to_coco([("a", (24, 25), make_face(segmentation=label_map, labels={0: "background", 7: "hat"}))])
    hat = next(category["id"] for category in data["categories"] if category["name"] == "hat")
    assert [one["area"] for one in data["annotations"] if one["category_id"] == hat] == [6 * 25]


@pytest.mark.parametrize("size", [(-1, 0), (True, True), (5.7, 6.2), (24,), (24, float("nan")), ("24", "25")])
def test_sizes_of_photos_are_whole(size):
    with pytest.raises(InvalidFaceInputError, match="size of a photo"):
        outputs.to_coco([("a", size, make_face())])


@pytest.mark.parametrize("entry", [("a", make_face()), 5])
def test_photos_for_coco_come_with_their_answers(entry):
    with pytest.raises(InvalidFaceInputError, match="Photo 1"):
        outputs.to_coco([entry])


def test_what_json_cannot_hold_is_explained():
    with pytest.raises(InvalidFaceInputError, match="JSON"):
        outputs.to_json(make_face(track=float("nan")))


def test_sizes_are_those_of_the_label_maps():
    with pytest.raises(InvalidFaceInputError, match=r"25 x 24.*24 x 25"):
        outputs.to_coco([("a", (25, 24), make_face())])


def test_a_leading_column_replaces_none():
    with pytest.raises(InvalidArgumentError, match="'score'"):
        outputs.to_rows(make_face(), photo="a.jpg", score="mine")


@pytest.mark.parametrize("photos", [None, 5, "ab"])
def test_what_are_no_photos_is_explained(photos):
    with pytest.raises(InvalidFaceInputError, match="no photos"):
        outputs.to_coco(photos)


def test_a_score_that_is_not_known_is_one():
    assert outputs.to_rows(make_face(score=None))[0]["score"] == 1.0
