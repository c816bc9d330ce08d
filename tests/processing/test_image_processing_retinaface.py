"""Detections against the original's own post-processing, and photos of every kind."""

import importlib

import numpy as np
import pytest
import torch
from PIL import Image

from farl_hf.conversion.head_keys import RETINAFACE_KEYS
from farl_hf.conversion.key_rules import apply_key_rules
from farl_hf.modeling.configuration_retinaface import RetinaFaceConfig
from farl_hf.modeling.modeling_retinaface import RetinaFaceForFaceDetection, make_anchors
from farl_hf.processing.image_processing_retinaface import RetinaFaceImageProcessor, nms_inclusive

ORIGINAL_SETTINGS = {"mobilenet_v1": "cfg_mnet", "resnet": "cfg_re50"}
FACER_ARITHMETIC = {"do_flip_channel_order": False, "pad_size_divisor": 1, "max_long_side": 0}


def photo(size_hw=(60, 80), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size_hw, 3), dtype=np.uint8)


def outputs_of(faces, size_hw, level_logit=4.0):
    """Outputs in which the anchors at the given indices hold the given faces exactly and all others none."""
    config = RetinaFaceConfig()
    anchors = make_anchors(size_hw, config.steps, config.min_sizes)
    logits = torch.zeros(1, len(anchors), 2)
    logits[..., 0] = 10.0
    boxes, points = torch.zeros(1, len(anchors), 4), torch.zeros(1, len(anchors), 10)
    for index, logit in faces.items():
        logits[0, index] = torch.tensor([0.0, logit])
    return {"class_logits": logits, "box_offsets": boxes, "keypoint_offsets": points, "anchors": anchors[None]}


# --- parity -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", ["mobilenet_v1", "resnet"])
@pytest.mark.parametrize("size_hw", [(96, 128), (75, 101)])
def test_detections_equal_the_original(body, size_hw, monkeypatch):
    retinaface = importlib.import_module("facer.face_detection.retinaface")
    torch.manual_seed(1)
    settings = {**getattr(retinaface, ORIGINAL_SETTINGS[body]), "pretrain": False}
    original = retinaface.RetinaFace(settings, phase="test").eval()
    for name, module in original.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # statistics of noise pictures: varied, finite scores
            if name.endswith("bn3"):  # weak residual branches, or rounding errors grow block by block in both networks
                module.weight.data.fill_(0.2)
    original.train()
    with torch.no_grad():
        original(torch.randn(2, 3, *size_hw) * 60)
    original.eval()
    model = RetinaFaceForFaceDetection(RetinaFaceConfig(body=body)).eval()
    model.load_state_dict(apply_key_rules(original.state_dict(), RETINAFACE_KEYS, "a detector")[0])

    pictures = np.stack([photo(size_hw, seed) for seed in range(2)])
    with torch.no_grad():
        theirs = retinaface.batch_detect(original, torch.from_numpy(pictures).permute(0, 3, 1, 2), threshold=0.5)
    processor = RetinaFaceImageProcessor(**FACER_ARITHMETIC)
    inputs = processor(list(pictures), return_tensors="pt")
    with torch.no_grad():
        outputs = model(inputs["pixel_values"])
    faces = processor.post_process_face_detection(outputs, inputs["original_sizes"], inputs["input_scales"])

    assert sum(len(f["scores"]) for f in faces) == len(theirs["scores"]) > 10
    for index, mine in enumerate(faces):
        of_photo = theirs["image_ids"] == index
        torch.testing.assert_close(mine["scores"], theirs["scores"][of_photo], rtol=0, atol=1e-4)
        torch.testing.assert_close(mine["boxes_xyxy"], theirs["rects"][of_photo], rtol=1e-5, atol=0.01)
        torch.testing.assert_close(mine["keypoints_xy"], theirs["points"][of_photo], rtol=1e-5, atol=0.01)


def test_suppression_equals_the_original_on_spread_candidates():
    retinaface = importlib.import_module("facer.face_detection.retinaface")
    rng = np.random.default_rng(0)
    corners, sides = rng.uniform(0, 300, (400, 2)), rng.uniform(4, 60, (400, 2))
    boxes = torch.from_numpy(np.concatenate([corners, corners + sides], 1).astype(np.float32))
    scores = torch.from_numpy(rng.permutation(400).astype(np.float32) / 400)
    theirs = retinaface.nms(torch.cat([boxes, scores[:, None]], 1), 0.4)
    assert nms_inclusive(boxes, scores, 0.4).tolist() == theirs
    assert 10 < len(theirs) < 390


# --- inputs -----------------------------------------------------------------------------------------------------


def test_values_are_bgr_minus_the_mean():
    inputs = RetinaFaceImageProcessor()(Image.new("RGB", (40, 20), (10, 20, 30)), return_tensors="pt")
    pixels = inputs["pixel_values"]
    assert pixels.shape == (1, 3, 32, 64)
    assert pixels[0, :, 5, 5].tolist() == [30 - 104, 20 - 117, 10 - 123]
    assert not pixels[..., 20:, :].any()
    assert not pixels[..., 40:].any()
    assert inputs["original_sizes"].tolist() == [[20, 40]]
    assert inputs["input_scales"].tolist() == [[1, 1]]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I", "F"])
def test_pil_pictures_of_every_mode(mode):
    picture = Image.fromarray(photo((20, 30))).convert("L" if mode in ("LA", "I", "F") else "RGB").convert(mode)
    if mode == "F":
        picture = picture.point(lambda value: value * (1 / 255) + 0)
    assert RetinaFaceImageProcessor()(picture)["pixel_values"].shape == (1, 3, 32, 32)


def test_the_same_photo_in_every_form_gives_the_same_input():
    rgb = photo()
    chw = np.ascontiguousarray(rgb.transpose(2, 0, 1))
    forms = [Image.fromarray(rgb), rgb, chw, torch.from_numpy(chw), rgb.astype(np.int64)]
    processor = RetinaFaceImageProcessor()
    first, *others = [processor(form, return_tensors="pt")["pixel_values"] for form in forms]
    assert all(torch.equal(first, other) for other in others)
    for floats in (processor(rgb / 255.0), processor(rgb.astype(np.float32), do_rescale=True)):
        torch.testing.assert_close(floats["pixel_values"], first, rtol=0, atol=1e-4)


def test_grey_arrays_without_channel_axis():
    grey = photo()[..., 0]
    processor = RetinaFaceImageProcessor()
    expected = processor(Image.fromarray(grey))["pixel_values"]
    for form in (grey, [grey], torch.from_numpy(grey)):
        assert torch.equal(processor(form)["pixel_values"], expected)


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 7), (3, 3), (2, 500)])
def test_tiny_photos_pass_through_everything(size_hw):
    model = RetinaFaceForFaceDetection(RetinaFaceConfig(pyramid_channels=16)).eval()
    for divisor in (1, 32):
        processor = RetinaFaceImageProcessor(pad_size_divisor=divisor, max_long_side=100)
        inputs = processor(photo(size_hw), return_tensors="pt")
        assert inputs["original_sizes"].tolist() == [list(size_hw)]
        with torch.no_grad():
            outputs = model(inputs["pixel_values"])
        faces = processor.post_process_face_detection(
            outputs, inputs["original_sizes"], inputs["input_scales"], threshold=0.0
        )
        assert faces[0]["boxes_xyxy"].isfinite().all()


def test_sizes_and_scales_of_shrunk_and_enlarged_photos():
    processor = RetinaFaceImageProcessor(max_long_side=100, min_long_side=50)
    inputs = processor([photo((200, 400)), photo((10, 25)), photo((70, 60))], return_tensors="pt")
    assert inputs["input_scales"].tolist() == [[0.25, 0.25], [2, 2], [1, 1]]
    assert inputs["pixel_values"].shape == (3, 3, 96, 128)
    assert processor.resized_size((3, 10000)) == (1, 100)


def test_a_shrunk_photo_keeps_its_places():
    bright = np.zeros((40, 80, 3), np.uint8)
    bright[20:, 40:] = 255
    pixels = RetinaFaceImageProcessor(max_long_side=40, pad_size_divisor=1)(bright, return_tensors="pt")[
        "pixel_values"
    ]
    assert pixels.shape[-2:] == (20, 40)
    assert (pixels[0, 0, 12:, 22:] > 0).all()
    assert (pixels[0, 0, :8] < 0).all()


def test_groups_hold_photos_of_one_input_size():
    processor = RetinaFaceImageProcessor(max_long_side=100)
    groups = processor.group_by_input_size([(60, 90), (64, 96), (200, 100), (61, 70)])
    assert groups == {(64, 96): [0, 1, 3], (128, 64): [2]}
    pixels = processor([photo((60, 90)), photo((61, 70))])["pixel_values"]
    assert tuple(pixels.shape[-2:]) == (64, 96)


def test_a_photo_gives_the_same_faces_alone_and_in_its_group():
    torch.manual_seed(0)
    model = RetinaFaceForFaceDetection(RetinaFaceConfig(pyramid_channels=16)).eval()
    for convolution in model.class_head.convolutions:
        torch.nn.init.normal_(convolution.weight, std=0.001)
    processor = RetinaFaceImageProcessor()

    def detect(photos):
        inputs = processor(photos, return_tensors="pt")
        with torch.no_grad():
            outputs = model(inputs["pixel_values"])
        return processor.post_process_face_detection(
            outputs, inputs["original_sizes"], inputs["input_scales"], threshold=0.4
        )

    alone, together = (
        detect([photo((60, 90))])[0],
        detect([photo((64, 96), 1), photo((60, 90)), photo((33, 65), 2)])[1],
    )
    assert len(alone["scores"]) > 0
    for name in alone:
        torch.testing.assert_close(alone[name], together[name], rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize(
    ("picture", "settings", "message"),
    [
        (np.zeros((0, 5, 3), np.uint8), {}, "at least one pixel"),
        ([], {}, "No images were given"),
        (np.full((5, 5, 3), 255.0), {}, "convert to uint8"),
        (photo(), {"max_long_side": -1}, "max_long_side=-1"),
        (photo(), {"pad_size_divisor": 0}, "pad_size_divisor=0"),
        (photo(), {"score_threshold": 0.9}, "score_threshold=0.9 cannot be used: post_process_face_detection chooses"),
        (photo(), {"top_k": -3}, "top_k=-3"),
        (photo(), {"variances": [9, 9]}, "belong to the weights"),
    ],
)
def test_unusable_photos_and_settings_are_refused(picture, settings, message):
    with pytest.raises(ValueError, match=message):
        RetinaFaceImageProcessor()(picture, **settings)


def test_its_own_settings_are_taken_by_a_call():
    processor = RetinaFaceImageProcessor(score_threshold=0.3)
    settings = {name: value for name, value in processor.to_dict().items() if name != "image_processor_type"}
    expected = processor(photo(), return_tensors="pt")["pixel_values"]
    assert torch.equal(processor(photo(), **settings, return_tensors="pt")["pixel_values"], expected)


def test_mixed_sizes_without_padding_are_refused():
    with pytest.raises(ValueError, match="different sizes"):
        RetinaFaceImageProcessor(pad_size_divisor=1)([photo((8, 8)), photo((8, 9))])


def test_settings_travel_with_the_weights(tmp_path):
    processor = RetinaFaceImageProcessor(max_long_side=0, score_threshold=0.7, image_mean=[1.0, 2.0, 3.0])
    processor.save_pretrained(tmp_path)
    loaded = RetinaFaceImageProcessor.from_pretrained(tmp_path)
    assert (loaded.max_long_side, loaded.score_threshold) == (0, 0.7)
    assert torch.equal(loaded(photo())["pixel_values"], processor(photo())["pixel_values"])


def test_numpy_tensors_are_returned_on_request():
    inputs = RetinaFaceImageProcessor()(photo(), return_tensors="np")
    assert all(isinstance(value, np.ndarray) for value in inputs.values())


# --- faces ------------------------------------------------------------------------------------------------------


def test_faces_are_decoded_into_photo_pixels_by_hand():
    outputs = outputs_of({0: 4.0}, (32, 64))  # anchor 0: centre (4, 4), side 16
    outputs["box_offsets"][0, 0] = torch.tensor([10.0, 5.0, 0.0, 5 * np.log(2.0)])
    outputs["keypoint_offsets"][0, 0, 2:4] = torch.tensor([10.0, -10.0])
    faces = RetinaFaceImageProcessor().post_process_face_detection(outputs, [[64, 256]], [[0.5, 0.25]])[0]
    # centre (4 + 16, 4 + 8), size (16, 32) in the input; x times 4 and y times 2 in the photo
    torch.testing.assert_close(faces["boxes_xyxy"], torch.tensor([[48.0, -8.0, 112.0, 56.0]]))
    torch.testing.assert_close(faces["keypoints_xy"][0, :2], torch.tensor([[16.0, 8.0], [80.0, -24.0]]))
    torch.testing.assert_close(faces["scores"], torch.tensor([4.0]).sigmoid())


def test_faces_are_sorted_limited_and_suppressed():
    # Anchors 0, 2 and 4 have side 16 and centres 8 pixels apart; 14 is a column further away.
    outputs = outputs_of({0: 1.0, 2: 3.0, 14: 2.0, 6: 0.5}, (32, 64))
    processor = RetinaFaceImageProcessor()

    def scores(**settings):
        faces = processor.post_process_face_detection(outputs, [[32, 64]], [[1, 1]], **settings)[0]
        return faces["scores"].logit().round(decimals=3).tolist()

    assert scores(nms_threshold=1.0) == [3.0, 2.0, 1.0, 0.5]
    assert scores(nms_threshold=0.3) == [3.0, 2.0, 0.5]  # 0 overlaps 2 by 9 / 25
    assert scores(nms_threshold=1.0, threshold=0.7) == [3.0, 2.0, 1.0]
    assert scores(nms_threshold=1.0, max_faces=2) == [3.0, 2.0]
    assert scores(nms_threshold=0.3, top_k=1) == [3.0]


def test_anchors_in_the_padding_are_never_reported():
    outputs = outputs_of({0: 1.0, 14: 2.0}, (32, 64))  # centres at x = 4 and x = 60
    for own, given in ((32, {}), (1, {"pad_size_divisor": 32})):
        processor = RetinaFaceImageProcessor(pad_size_divisor=own)
        faces = processor.post_process_face_detection(outputs, [[32, 50]], [[1, 1]], **given)[0]
        torch.testing.assert_close(faces["scores"], torch.tensor([1.0]).sigmoid())


def test_no_face_gives_empty_tensors_of_the_right_shape():
    faces = RetinaFaceImageProcessor().post_process_face_detection(outputs_of({}, (32, 32)), [[32, 32]], [[1, 1]])[0]
    assert {name: tuple(value.shape) for name, value in faces.items()} == {
        "scores": (0,),
        "boxes_xyxy": (0, 4),
        "keypoints_xy": (0, 5, 2),
    }


def test_sizes_of_another_batch_are_refused():
    with pytest.raises(ValueError, match="expected \\(1, 2\\) twice"):
        RetinaFaceImageProcessor().post_process_face_detection(outputs_of({}, (32, 32)), [[1, 1]] * 2, [[1, 1]] * 2)


# --- two views ------------------------------------------------------------------------------------------------------


def faces_of(boxes_xyxy, scores):
    boxes = torch.tensor(boxes_xyxy, dtype=torch.float32).reshape(-1, 4)
    return {
        "boxes_xyxy": boxes,
        "scores": torch.tensor(scores),
        "keypoints_xy": boxes[:, :2].repeat(1, 5).view(-1, 5, 2),
    }


def test_large_faces_come_from_the_coarse_view_and_small_ones_from_the_usual():
    processor = RetinaFaceImageProcessor(max_long_side=1000, coarse_long_side=400)
    # A photo of 2000 pixels, halved: the limit of 200 input pixels is 400 of the photo.
    usual = faces_of([[0, 0, 350, 350], [100, 100, 800, 800], [1500, 900, 1540, 950]], [0.7, 0.99, 0.6])
    coarse = faces_of([[0, 0, 900, 900], [1500, 900, 1550, 940]], [0.8, 0.95])
    joined = processor.join_views(usual, coarse, (1000, 2000))
    assert joined["boxes_xyxy"].tolist() == [[0, 0, 900, 900], [0, 0, 350, 350], [1500, 900, 1540, 950]]
    assert joined["scores"].tolist() == pytest.approx([0.8, 0.7, 0.6])
    assert joined["keypoints_xy"].shape == (3, 5, 2)
    # What both views find near the limit is one face.
    both = processor.join_views(faces_of([[0, 0, 390, 390]], [0.7]), faces_of([[0, 0, 410, 410]], [0.8]), (1000, 2000))
    assert both["scores"].tolist() == pytest.approx([0.8])


@pytest.mark.parametrize("side_usual", range(390, 411, 4))
@pytest.mark.parametrize("side_coarse", range(390, 411, 4))
def test_a_face_that_both_views_find_is_one_face_on_every_side_of_the_limit(side_usual, side_coarse):
    processor = RetinaFaceImageProcessor(max_long_side=1000, coarse_long_side=400)
    usual, coarse = (faces_of([[0, 0, side, side]], [0.9]) for side in (side_usual, side_coarse))
    joined = processor.join_views(usual, coarse, (1000, 2000))
    assert joined["boxes_xyxy"].tolist() in ([[0, 0, side_usual, side_usual]], [[0, 0, side_coarse, side_coarse]])
    assert len(processor.join_views(usual, coarse, (1000, 2000), nms_threshold=1.0)["scores"]) in (1, 2)


def test_only_photos_beyond_the_coarse_side_have_a_second_view():
    processor = RetinaFaceImageProcessor(max_long_side=1000, coarse_long_side=400)
    assert [processor.has_coarse_view(size) for size in ((300, 400), (300, 401), (4000, 10))] == [False, True, True]
    assert not RetinaFaceImageProcessor().has_coarse_view((4000, 4000))
