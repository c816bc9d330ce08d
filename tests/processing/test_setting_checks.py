"""Numbers that no crop, detection or result can have end in one sentence."""

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers.image_utils import ChannelDimension

from farl_hf import FaceParsing, Faces, FaRLImageProcessor, RetinaFaceImageProcessor
from farl_hf.errors import InvalidFaceInputError
from farl_hf.pipelines.face_detection import FaceDetectionPipeline
from farl_hf.pipelines.face_tasks import faces_from_boxes, given_faces
from farl_hf.processing.photo_tensors_farl import check_number

NAN, INF = float("nan"), float("inf")
PHOTO = np.zeros((60, 40, 3), np.uint8)
POINTS = np.array([[10, 20], [30, 20], [20, 30], [12, 42], [28, 42]], np.float32)


@pytest.mark.parametrize("name", ["face_scale", "box_scale"])
@pytest.mark.parametrize("value", [0, -1, NAN, INF, "1", None, True, [1]])
def test_scales(name, value):
    with pytest.raises(ValueError, match=name):
        FaRLImageProcessor(**{name: value})


@pytest.mark.parametrize(
    "settings",
    [
        {"size": 0},
        {"size": -3},
        {"size": {"height": 0, "width": 8}},
        {"size": {"height": 10**9, "width": 8}},
        {"score_size": 0},
        {"score_size": "x"},
        {"warp_factor": "a"},
        {"warp_factor": NAN},
        {"image_std": [0, 1, 1]},
        {"image_std": 0},
        {"image_std": [NAN] * 3},
        {"image_mean": [0.5, 0.5]},
        {"image_mean": [0.5, 0.5, "x"]},
        {"do_normalize": "no"},
    ],
)
def test_settings_of_the_face_processor(settings):
    with pytest.raises(ValueError, match=r"^[^\n]{10,300}$"):
        FaRLImageProcessor(**settings)
    with pytest.raises((ValueError, StrictDataclassError), match=next(iter(settings))):  # theirs: the type of a value
        FaRLImageProcessor()(PHOTO, **settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"max_long_side": -1},
        {"max_long_side": "x"},
        {"max_long_side": NAN},
        {"pad_size_divisor": 0},
        {"pad_size_divisor": 1.5},
        {"image_std": [1, 1, 0]},
        {"image_mean": [1, 1]},
        {"resample": 99},
        {"do_flip_channel_order": "no"},
    ],
)
def test_settings_of_the_detector(settings):
    with pytest.raises((ValueError, StrictDataclassError), match=next(iter(settings))):
        RetinaFaceImageProcessor()(PHOTO, **settings)


PROCESSORS = [FaRLImageProcessor, RetinaFaceImageProcessor]


@pytest.mark.parametrize("processor_class", PROCESSORS)
@pytest.mark.parametrize("value", [NAN, INF, -INF, 0, "x", [1], True, np.float32(NAN)])
def test_rescale_factors(processor_class, value):
    with pytest.raises(ValueError, match=r"^rescale_factor=[^\n]{10,200}$"):
        processor_class(rescale_factor=value)
    with pytest.raises(ValueError, match=r"^rescale_factor=[^\n]{10,200}$"):
        processor_class()(PHOTO, rescale_factor=value)


@pytest.mark.parametrize("processor_class", PROCESSORS)
@pytest.mark.parametrize(
    "settings",
    [
        {"size": [32, 32, 3]},
        {"data_format": "channels_last"},
        {"do_resize": False},
        {"input_data_format": "foo"},
        {"do_center_crop": True},
        {"crop_size": 8},
        {"pad_size": 8},
    ],
)
def test_a_call_drops_no_setting(processor_class, settings):
    with pytest.raises(ValueError, match=rf"^{next(iter(settings))}=[^\n]{{10,200}}$"):
        processor_class()(PHOTO, **settings)


@pytest.mark.parametrize(
    ("processor", "settings"),
    [
        (FaRLImageProcessor(size=16), {"resample": 0}),
        (FaRLImageProcessor(size=16), {"do_pad": True}),
        (RetinaFaceImageProcessor(), {"size": 1}),
        (RetinaFaceImageProcessor(), {"rescale_factor": 0.5}),
        (RetinaFaceImageProcessor(), {"do_pad": False}),
    ],
)
def test_a_call_drops_no_setting_of_one_processor(processor, settings):
    with pytest.raises(ValueError, match=rf"^{next(iter(settings))}=[^\n]{{10,200}}$"):
        processor(PHOTO, **settings)


@pytest.mark.parametrize("processor", [FaRLImageProcessor(size=16), RetinaFaceImageProcessor()])
def test_a_call_may_ask_for_what_is_done_anyway(processor):
    expected = processor(PHOTO)["pixel_values"]
    asked = processor(
        PHOTO, data_format="channels_first", do_resize=True, do_center_crop=False, input_data_format="channels_last"
    )
    assert torch.equal(asked["pixel_values"], expected)


@pytest.mark.parametrize(
    ("processor_class", "plain"),
    [
        (FaRLImageProcessor, {"size": 64, "face_scale": 1.25, "image_mean": [0.5, 0.25, 0.5], "do_normalize": False}),
        (FaRLImageProcessor, {"size": {"height": 32, "width": 64}, "rescale_factor": 0.5, "score_size": 32}),
        (RetinaFaceImageProcessor, {"max_long_side": 48, "image_std": [2.0, 2.0, 2.0], "score_threshold": 0.25}),
    ],
)
def test_numbers_of_numpy_are_settings(processor_class, plain, tmp_path):
    def of_numpy(value):
        return (
            {name: np.array(one)[()] for name, one in value.items()}
            if isinstance(value, dict)
            else np.array(value)[()]
        )

    given = {name: of_numpy(value) for name, value in plain.items()}
    processor, expected = processor_class(**given), processor_class(**plain)
    assert processor.to_json_string() == expected.to_json_string()
    processor.save_pretrained(tmp_path)
    assert processor_class.from_pretrained(tmp_path).to_dict() == expected.to_dict()
    of_call = [name for name in plain if name not in processor_class.unused_settings]
    called, expected = (
        processor_class()(PHOTO, **{name: settings[name] for name in of_call}) for settings in (given, plain)
    )
    assert torch.equal(called["pixel_values"], expected["pixel_values"])


@pytest.mark.parametrize("name", ["score_threshold", "nms_threshold", "top_k", "max_faces"])
@pytest.mark.parametrize("value", [-1, NAN, "0.5", None])
def test_thresholds_of_the_detector(name, value):
    with pytest.raises(ValueError, match=name):
        RetinaFaceImageProcessor(**{name: value})


@pytest.mark.parametrize("name", ["threshold", "nms_threshold"])
@pytest.mark.parametrize("value", [-1, 1.01, NAN, "0.5", [0.5], True, np.array([0.1, 0.2])])
def test_thresholds_of_the_pipeline(name, value):
    with pytest.raises(ValueError, match=name):
        FaceDetectionPipeline._sanitize_parameters(None, **{name: value})


@pytest.mark.parametrize("value", [0, 1, 0.5, np.float32(0.5), np.int64(1), torch.tensor(0.5)])
def test_numbers_of_all_kinds_pass(value):
    check_number("a", value, 0, 1)
    assert FaceDetectionPipeline._sanitize_parameters(None, threshold=value)[1] == {"threshold": value}


@pytest.mark.parametrize(
    "boxes",
    [
        5,
        None,
        "abc",
        [[1, 2, 3]],
        [[1, 2, NAN, 4]],
        [[0, 0, 1e38, 1e38]],
        [[-1e7, 0, 10, 10]],
        [{"xmin": 1, "ymin": 2, "xmax": 3}],
        [[1, 2, 3, "x"]],
        [[10**400, 2, 3, 4]],
        [None],
    ],
)
def test_boxes(boxes):
    with pytest.raises(InvalidFaceInputError):
        faces_from_boxes(boxes, (60, 40))


@pytest.mark.parametrize("offset", [(1e38, 0), (1e7, 0), (500, 0), (0, -500), (NAN, 0)])
def test_points_far_away(offset):
    points = POINTS + np.array(offset, np.float32)
    with pytest.raises(InvalidFaceInputError):
        given_faces({"keypoints": [points]}, (60, 40))
    with pytest.raises(ValueError, match="keypoints"):
        FaRLImageProcessor()(PHOTO, keypoints=[[points.tolist()]])


def test_points_that_reach_a_little_beyond_the_photo_pass():
    FaRLImageProcessor(size=16)(PHOTO, keypoints=[[(POINTS - [15, 0]).tolist()]])


@pytest.mark.parametrize("scores", [[NAN], [INF]])
def test_scores(scores):
    with pytest.raises(InvalidFaceInputError, match="scores"):
        Faces(np.array([[0, 0, 1, 1]]), np.array(scores))


@pytest.mark.parametrize("label", [300, -1, 256])
def test_ids_that_a_byte_cannot_hold(label):
    with pytest.raises(InvalidFaceInputError, match=str(label)):
        FaceParsing(np.full((1, 4, 4), label), ("background", "skin"))


FORMS = {
    "reversed view": lambda values: values[::-1].copy()[::-1],
    "big-endian": lambda values: values.astype(">f4"),
    "bfloat16": lambda values: torch.from_numpy(values).to(torch.bfloat16),
    "with gradients": lambda values: torch.from_numpy(values).requires_grad_(),
    "list of arrays": list,
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_points_in_every_form(form):
    points = POINTS[None]
    expected = FaRLImageProcessor(size=16)(PHOTO, keypoints=[points.tolist()])["crop_from_photo"]
    for given in (form(points), [form(points)]):
        found = FaRLImageProcessor(size=16)(PHOTO, keypoints=given)["crop_from_photo"]
        torch.testing.assert_close(found.detach(), expected)
    faces = given_faces({"keypoints": form(points)}, (60, 40))
    np.testing.assert_array_equal(faces.keypoints_xy, points)


@pytest.mark.parametrize("variances", ["x", 3, [0.1], [NAN, 0.2], [], [0.1, 0.2, 0.3]])
def test_variances(variances):
    with pytest.raises(ValueError, match="variances"):
        RetinaFaceImageProcessor(variances=variances)


OUTPUTS = {
    "class_logits": torch.zeros(1, 2, 2),
    "box_offsets": torch.zeros(1, 2, 4),
    "keypoint_offsets": torch.zeros(1, 2, 10),
    "anchors": torch.tensor([[[8.0, 8, 8, 8], [20, 20, 8, 8]]]),
}


@pytest.mark.parametrize(
    ("sizes", "scales"),
    [
        (None, [[1, 1]]),
        ("x", [[1, 1]]),
        ([[0, 8]], [[1, 1]]),
        ([[8, 8]], [[0, 1]]),
        ([[NAN, 8]], [[1, 1]]),
        ([[8, 8]], [[INF, 1]]),
        ([[1], [1, 2]], [[1, 1]]),
        ([[8, 8]] * 2, [[1, 1]]),
    ],
)
def test_sizes_of_detections(sizes, scales):
    with pytest.raises(ValueError, match=r"original_sizes|input_scales"):
        RetinaFaceImageProcessor().post_process_face_detection(OUTPUTS, sizes, scales)


@pytest.mark.parametrize("name", ["top_k", "max_faces"])
@pytest.mark.parametrize("value", [-1, 0, 0.5, "5"])
def test_counts_of_detections(name, value):
    with pytest.raises(ValueError, match=name):
        RetinaFaceImageProcessor().post_process_face_detection(OUTPUTS, [[32, 32]], [[1, 1]], **{name: value})


def test_a_threshold_of_numpy():
    processor = RetinaFaceImageProcessor()
    found = processor.post_process_face_detection(OUTPUTS, [[32, 32]], [[1, 1]], threshold=np.array(0.4))
    assert len(found[0]["scores"]) == 2


LOGITS, MATRIX = torch.zeros(1, 3, 4, 4), torch.eye(3)[None]


@pytest.mark.parametrize(
    ("logits", "matrix", "sizes"),
    [
        (LOGITS, MATRIX, []),
        (LOGITS, MATRIX, [(8, 8)] * 2),
        (LOGITS, MATRIX, None),
        (LOGITS, MATRIX, [(0, 8)]),
        (LOGITS, MATRIX, [(-8, 8)]),
        (LOGITS, MATRIX, [("a", 8)]),
        (LOGITS, MATRIX, [(NAN, 8)]),
        (LOGITS, MATRIX, [8]),
        (LOGITS, MATRIX, [(10**9, 8)]),
        (LOGITS, MATRIX * 0, [(8, 8)]),
        (LOGITS, MATRIX * NAN, [(8, 8)]),
        (LOGITS * NAN, MATRIX, [(8, 8)]),
        (LOGITS[:, :0], MATRIX, [(8, 8)]),
        (LOGITS[0], MATRIX, [(8, 8)]),
        (LOGITS, torch.eye(2)[None], [(8, 8)]),
    ],
)
def test_crops_that_cannot_be_put_back(logits, matrix, sizes):
    processor = FaRLImageProcessor(size=16)
    for unwarp in (processor.post_process_face_parsing, processor.post_process_heat_maps):
        with pytest.raises(ValueError, match=r"^[^\n]{10,400}$"):
            unwarp(logits, matrix, sizes)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Faces("x", np.array([0.5])),
        lambda: Faces(np.array([[0, 0, 1, 1]]), np.array(["x"])),
        lambda: Faces(None, None),
        lambda: FaceParsing(np.full((1, 4, 4), 0.5), ("a",)),
        lambda: FaceParsing(np.full((1, 4, 4), "x"), ("a",)),
    ],
)
def test_results_that_are_no_numbers(make):
    with pytest.raises(InvalidFaceInputError):
        make()


@pytest.mark.parametrize("processor", [FaRLImageProcessor(size=16), RetinaFaceImageProcessor()])
@pytest.mark.parametrize(("shape", "layout"), [((50, 60, 3), "channels_first"), ((3, 50, 60), ChannelDimension.LAST)])
def test_a_layout_that_is_not_that_of_the_picture_is_refused(processor, shape, layout):
    with pytest.raises(ValueError, match="expected 1, 3 or 4"):
        processor(np.zeros(shape, np.uint8), input_data_format=layout, return_tensors="pt")
