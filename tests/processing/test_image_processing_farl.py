"""The image processor: inputs of every kind, settings that survive, gradients, and the way back to the photo."""

import importlib
import json

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor

from farl_hf import FaRLImageProcessor
from farl_hf.processing import ATTRIBUTE_TEMPLATE, LAPA_TEMPLATE

FACE = np.array([[40.0, 50.0], [70.0, 52.0], [54.0, 68.0], [43.0, 84.0], [66.0, 85.0]], dtype=np.float32)
OTHER = FACE * 0.5 + np.array([60.0, 10.0], dtype=np.float32)
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
SETTINGS = {
    "size": {"height": 24, "width": 40},
    "face_template": [[float(x), float(y)] for x, y in ATTRIBUTE_TEMPLATE],
    "face_scale": 0.8,
    "box_scale": 0.7,
    "warp_factor": 0.6,
    "pixel_grid": "integer",
    "template_span": "size",
    "canvas_size": 512,
    "image_mean": [0.1, 0.2, 0.3],
    "image_std": [0.4, 0.5, 0.6],
    "do_rescale": True,
    "rescale_factor": 0.5,
    "do_normalize": False,
}


@pytest.fixture
def processor():
    return FaRLImageProcessor(size={"height": 32, "width": 32})


@pytest.fixture
def array():
    return np.random.default_rng(0).integers(0, 256, (110, 130, 3), dtype=np.uint8)


# ---- settings


def test_every_setting_survives_saving(tmp_path):
    FaRLImageProcessor(**SETTINGS).save_pretrained(tmp_path)
    stored = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert {name: stored[name] for name in SETTINGS} == SETTINGS
    loaded = FaRLImageProcessor.from_pretrained(tmp_path)
    assert loaded.size_hw == (24, 40)
    for name, value in SETTINGS.items():
        if name != "size":
            stored_value = getattr(loaded, name)
            assert (list(stored_value) if isinstance(value, list) else stored_value) == value, name
    assert loaded.to_dict() == FaRLImageProcessor(**SETTINGS).to_dict()
    assert type(AutoImageProcessor.from_pretrained(tmp_path)) is FaRLImageProcessor


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"pixel_grid": "corner"}, "pixel_grid='corner'; expected one of"),
        ({"template_span": "all"}, "template_span='all'; expected one of"),
        ({"canvas_size": 0}, "canvas_size=0"),
        ({"alignment": "none"}, "alignment='none'; expected one of"),
        ({"warp_factor": 1.5}, "warp_factor=1.5"),
        ({"face_template": [[0, 0]]}, "face_template has 1 points; expected five"),
        ({"face_template": [[float("nan"), 0]] * 5}, "face_template=nan"),
        ({"size": {"shortest_edge": 8}}, "expected height and width"),
        ({"size": {"height": 1, "width": 8}}, "size=1"),
    ],
)
def test_bad_settings_are_refused(setting, message, array):
    with pytest.raises(ValueError, match=message):
        FaRLImageProcessor(**setting)
    with pytest.raises(ValueError, match=message):
        FaRLImageProcessor()(array, **setting)


@pytest.mark.parametrize(
    "setting", [{"size": [1, 2, 3]}, *({"face_template": one} for one in ("x", [[0]] * 5, [["a", 0]] * 5))]
)
def test_settings_of_another_form_are_refused(setting):
    with pytest.raises(ValueError, match=rf"^{next(iter(setting))}=[^\n]*; expected"):
        FaRLImageProcessor(**setting)


def test_a_call_can_change_settings_without_keeping_them(processor, array):
    before = processor.to_dict()
    changed = {name: value for name, value in SETTINGS.items() if name not in ("box_scale",)}
    actual = processor(array, keypoints=FACE, **changed)
    expected = FaRLImageProcessor(**changed)(array, keypoints=FACE)
    assert actual["pixel_values"].shape == (1, 3, 24, 40)
    assert torch.equal(actual["pixel_values"], expected["pixel_values"])
    assert torch.equal(actual["crop_from_photo"], expected["crop_from_photo"])
    assert processor.to_dict() == before
    box = processor(array, boxes=[10, 10, 60, 60], box_scale=1.0)["crop_from_photo"][0]
    assert box[0, 0].item() == pytest.approx(32 / 50)


# ---- matrices


@pytest.mark.parametrize("scale", [1.0, 0.8])
@pytest.mark.parametrize("size", [(448, 448), (64, 96)])
def test_five_point_matrix_equals_pyfacer(scale, size):
    facer = importlib.import_module("facer.transform")
    points = torch.from_numpy(np.stack([FACE, OTHER]))
    processor = FaRLImageProcessor(size={"height": size[0], "width": size[1]}, face_scale=scale)
    expected = facer.get_face_align_matrix(points, size, target_face_scale=scale)
    torch.testing.assert_close(processor.crop_matrix(points), expected, atol=1e-4, rtol=1e-5)


def test_templates_are_the_published_numbers():
    expected = [(0.5 * x + 0.5) * 512 for x, _ in LAPA_TEMPLATE]
    assert expected == pytest.approx([196, 316, 256, 220, 292])
    assert [(0.5 * y + 0.5) * 512 for _, y in LAPA_TEMPLATE] == pytest.approx([226, 226, 286, 360.4, 360.4])
    in_224 = [((x + 1) * 112, (y + 1) * 112) for x, y in ATTRIBUTE_TEMPLATE]
    published = [(93.108, 106.525), (130.392, 105.880), (111.809, 129.472), (95.288, 146.362), (129.610, 145.767)]
    np.testing.assert_allclose(in_224, published, atol=1e-3)


def test_the_integer_grid_moves_targets_by_half_a_pixel():
    """The official code aligns pixel indices: continuous points lie half a pixel further, on both sides."""
    size = {"height": 64, "width": 64}
    half, integer = (FaRLImageProcessor(size=size, pixel_grid=grid) for grid in ("half_pixel", "integer"))
    on_indices = half.crop_matrix(torch.from_numpy(FACE - 0.5))
    shift = torch.eye(3)
    shift[:2, 2] = 0.5
    expected = shift @ on_indices @ torch.linalg.inv(shift)
    torch.testing.assert_close(integer.crop_matrix(torch.from_numpy(FACE)), expected[:1], atol=1e-4, rtol=1e-4)


def official_canvas_points(points_xy, source_xy, alpha):
    """Points on the official canvas of 512 pixels, where pixel i has coordinate i (py-blueprint 0.0.1.post3).

    Template and matrix: `blueprint/ml/augmenters/face.py`, lines 271-304; warp: `transform.py`, lines 534-577. The
    similarity is a linear function of complex numbers.
    """
    stored = np.array([[196, 226], [316, 226], [256, 286], [220, 360.4], [292, 360.4]]) / 256 - 1
    target = (stored + 1) * (512 - 1) / 2 @ [1, 1j]
    columns = np.stack([source_xy @ [1, 1j], np.ones(5)], axis=1)
    (factor, shift), *_ = np.linalg.lstsq(columns, target, rcond=None)
    aligned = factor * (points_xy @ [1, 1j]) + shift
    fractions = np.stack([aligned.real, aligned.imag], axis=1) / 512 * 2 - 1
    if alpha:
        beyond = np.abs(fractions) > 1 - alpha
        bent = np.tanh((np.abs(fractions) - 1 + alpha) / alpha) * alpha + 1 - alpha
        fractions = np.where(beyond, np.sign(fractions) * bent, fractions)
    return (fractions + 1) / 2 * 512


@pytest.mark.parametrize("alpha", [0.0, 0.8])
@pytest.mark.parametrize("side", [512, 448, 224, 64])
def test_a_canvas_of_512_is_the_official_one_at_any_size(side, alpha):
    processor = FaRLImageProcessor(
        size={"height": side, "width": side}, warp_factor=alpha, pixel_grid="integer", canvas_size=512
    )
    points = np.random.default_rng(0).uniform(25, 85, (40, 2)).astype(np.float32)
    matrix = processor.crop_matrix(torch.from_numpy(FACE))
    actual = processor.warp_points(torch.from_numpy(points)[None], matrix)[0].numpy()
    # Indices of pixels are continuous coordinates minus a half, in the photo and on the canvas.
    expected = (official_canvas_points(points - 0.5, FACE - 0.5, alpha) + 0.5) * side / 512
    np.testing.assert_allclose(actual, expected, atol=1e-4)
    back = processor.geometry.photo_from_warped(torch.from_numpy(actual)[None], matrix)[0]
    np.testing.assert_allclose(back.numpy(), points, atol=5e-3)


@pytest.mark.parametrize(("side", "largest_px"), [(512, 0.0), (448, 0.037), (224, 0.167)])
def test_without_a_canvas_the_grid_counts_pixels_of_the_crop(side, largest_px):
    """Checkpoints without the setting keep their arithmetic, which differs from the official one by so much."""
    settings = {"size": {"height": side, "width": side}, "warp_factor": 0.8, "pixel_grid": "integer"}
    points = torch.cartesian_prod(torch.linspace(25, 85, 61), torch.linspace(25, 85, 61))[None]

    def moved(**canvas):
        processor = FaRLImageProcessor(**settings, **canvas)
        return processor.warp_points(points, processor.crop_matrix(torch.from_numpy(FACE)))

    assert FaRLImageProcessor(**settings).canvas_size is None
    assert float((moved() - moved(canvas_size=512)).abs().max()) == pytest.approx(largest_px, abs=1e-3)
    torch.testing.assert_close(moved(), moved(canvas_size=side), atol=1e-4, rtol=0)


def test_aligned_points_lie_on_the_template(processor):
    target = (torch.tensor(LAPA_TEMPLATE) + 1) * 31 / 2
    points = target @ torch.tensor([[0.0, 3.0], [-3.0, 0.0]]) + 50
    moved = processor.warp_points(points[None], processor.crop_matrix(points))
    torch.testing.assert_close(moved[0], target, atol=1e-4, rtol=1e-4)


# ---- pixels


def test_a_whole_photo_of_the_crop_size_is_only_normalised(array):
    processor = FaRLImageProcessor(size={"height": 110, "width": 130})
    expected = (torch.from_numpy(array).permute(2, 0, 1) / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(
        STD
    )[:, None, None]
    pixel_values = processor(array)["pixel_values"]
    torch.testing.assert_close(pixel_values[0], expected, atol=1e-3, rtol=0)


def test_padding_comes_before_normalisation(processor, array):
    pixel_values = processor(array, boxes=[[-400, -400, 2, 2]])["pixel_values"]
    torch.testing.assert_close(pixel_values[0, :, 0, 0], -torch.tensor(MEAN) / torch.tensor(STD))


def test_equals_pyfacer_from_photo_to_network_input(array):
    facer = importlib.import_module("facer.transform")
    processor = FaRLImageProcessor(size={"height": 48, "width": 48}, warp_factor=0.8, do_normalize=False)
    matrix = facer.get_face_align_matrix(torch.from_numpy(FACE)[None], (48, 48))
    grid = facer.make_tanh_warp_grid(matrix, 0.8, (48, 48), array.shape[:2])
    photo = torch.from_numpy(array).permute(2, 0, 1)[None] / 255
    expected = torch.nn.functional.grid_sample(photo, grid, mode="bilinear", align_corners=False)
    actual = processor(array, keypoints=FACE)["pixel_values"]
    torch.testing.assert_close(actual, expected, atol=5e-4, rtol=0)


def test_the_same_photo_in_every_form(processor, array):
    expected = processor(array, keypoints=FACE)["pixel_values"]
    forms = {
        "PIL": Image.fromarray(array),
        "channels first": array.transpose(2, 0, 1),
        "tensor": torch.from_numpy(array).permute(2, 0, 1),
        "float tensor": torch.from_numpy(array).permute(2, 0, 1) / 255,
        "RGBA": Image.fromarray(array).convert("RGBA"),
    }
    for name, photo in forms.items():
        actual = processor(photo, keypoints=FACE)["pixel_values"]
        torch.testing.assert_close(actual, expected, atol=1e-4, rtol=0, msg=name)


@pytest.mark.parametrize("mode", ["L", "P", "1", "LA", "CMYK"])
def test_other_picture_modes_are_read_as_rgb(processor, array, mode):
    picture = Image.fromarray(array).convert(mode)
    expected = processor(np.array(picture.convert("RGB")), keypoints=FACE)["pixel_values"]
    torch.testing.assert_close(processor(picture, keypoints=FACE)["pixel_values"], expected)


def test_float_photos_pass_gradients_to_every_pixel_of_the_face(processor):
    photo = torch.rand(3, 110, 130, dtype=torch.float64, requires_grad=True)
    pixel_values = processor(photo, keypoints=FACE, size={"height": 256, "width": 256})["pixel_values"]
    pixel_values.square().sum().backward()
    assert (photo.grad[:, 55:80, 45:65] != 0).all()
    small = torch.rand(3, 8, 8, dtype=torch.float64, requires_grad=True)
    tiny = FaRLImageProcessor(size={"height": 4, "width": 4}, warp_factor=0.8)
    assert torch.autograd.gradcheck(
        lambda image: tiny(image, input_data_format="channels_first")["pixel_values"], small
    )


SETTINGS_OF_CALLS = ({"size": 48}, {"warp_factor": 0.8}, {"pixel_grid": "integer"}, {"canvas_size": 64})


@pytest.mark.parametrize("settings", SETTINGS_OF_CALLS, ids=str)
def test_results_of_a_call_with_settings_are_those_of_such_a_processor(processor, array, settings):
    own = FaRLImageProcessor(**{name: getattr(processor, name) for name in ("size", "warp_factor")} | settings)
    inputs = processor(array, keypoints=FACE, **settings)
    torch.testing.assert_close(inputs["pixel_values"], own(array, keypoints=FACE)["pixel_values"])
    matrices, sizes = inputs["crop_from_photo"], inputs["original_sizes"]
    points, scores = torch.rand(1, 4, 2), torch.rand(1, 3, 12, 12)
    for name, given in (
        ("post_process_landmarks", (points, matrices)),
        ("post_process_face_parsing", (scores, matrices, sizes)),
        ("post_process_heat_maps", (scores, matrices, sizes)),
        ("post_process_semantic_segmentation", (scores, sizes)),
    ):
        found, expected = getattr(processor, name)(*given, **settings), getattr(own, name)(*given)
        torch.testing.assert_close(found[0], expected[0], msg=name)
    with pytest.raises(TypeError, match="sise is no setting"):
        processor.post_process_landmarks(points, matrices, sise=3)


# ---- several faces and photos


def test_faces_of_several_photos_in_order(processor, array):
    small = array[:60, :50]
    inputs = processor([array, small, array], keypoints=[[FACE, OTHER], [], [OTHER]], return_tensors="pt")
    assert inputs["image_index"].tolist() == [0, 0, 2]
    assert inputs["original_sizes"].tolist() == [[110, 130], [60, 50], [110, 130]]
    assert inputs["pixel_values"].shape == (3, 3, 32, 32)
    assert inputs["crop_from_photo"].shape == (3, 3, 3)
    alone = processor(array, keypoints=OTHER)
    torch.testing.assert_close(inputs["pixel_values"][1], alone["pixel_values"][0], atol=1e-4, rtol=0)
    torch.testing.assert_close(inputs["pixel_values"][2], alone["pixel_values"][0], atol=1e-4, rtol=0)


@pytest.mark.parametrize("faces", [{"keypoints": []}, {"keypoints": [[]]}, {"boxes": []}, {"boxes": np.zeros((0, 4))}])
def test_a_photo_without_faces_gives_empty_tensors(processor, array, faces):
    inputs = processor(array, **faces)
    assert inputs["pixel_values"].shape == (0, 3, 32, 32)
    assert inputs["crop_from_photo"].shape == (0, 3, 3)
    assert inputs["image_index"].shape == (0,)
    assert inputs["original_sizes"].tolist() == [[110, 130]]


def test_landmarks_is_another_name_of_keypoints(processor, array):
    """Pipelines in repositories of version 0.1 pass it; Transformers drops unknown keywords in silence."""
    expected = processor(array, keypoints=FACE)
    actual = processor(array, landmarks=FACE)
    assert not torch.equal(actual["crop_from_photo"], processor(array)["crop_from_photo"])
    torch.testing.assert_close(dict(actual), dict(expected), rtol=0, atol=0)
    assert not {"keypoints", "landmarks"} & {name for name, value in processor.to_dict().items() if value is not None}


@pytest.mark.parametrize(
    "keypoints",
    [
        FACE,
        [FACE],
        FACE[None, None],
        [[FACE]],
        torch.from_numpy(FACE),
        [[FACE.tolist()]],
        [torch.from_numpy(FACE)[None]],
        [[torch.from_numpy(FACE)]],
    ],
)
def test_keypoints_of_one_photo_in_every_form(processor, array, keypoints):
    expected = processor.crop_matrix(torch.from_numpy(FACE))
    torch.testing.assert_close(processor(array, keypoints=keypoints)["crop_from_photo"], expected)


@pytest.mark.parametrize(
    "boxes", [[20, 30, 80, 90], [[20, 30, 80, 90]], [[[20, 30, 80, 90]]], [torch.tensor([[20, 30, 80, 90]])]]
)
def test_boxes_of_one_photo_in_every_form(processor, array, boxes):
    inputs = processor(array, boxes=boxes)
    expected = processor.crop_matrix_from_boxes([[20, 30, 80, 90]])
    torch.testing.assert_close(inputs["crop_from_photo"], expected)


def test_numpy_on_request(processor, array):
    inputs = processor(array, return_tensors="np")
    assert all(isinstance(value, np.ndarray) for value in inputs.values())


def nested_lists(depth):
    nested = 1.0
    for _ in range(depth):
        nested = [nested]
    return nested


@pytest.mark.parametrize(
    ("faces", "message"),
    [
        ({"keypoints": [[FACE], [FACE]]}, "1 images but 2 sets"),
        ({"keypoints": [FACE], "boxes": [[1, 2, 3, 4]]}, "Both keypoints and boxes"),
        ({"landmarks": [FACE], "boxes": [[1, 2, 3, 4]]}, "Both keypoints and boxes"),
        ({"landmarks": [FACE], "keypoints": [FACE]}, "Both keypoints and landmarks"),
        ({"keypoints": [[FACE[:4]]]}, r"keypoints of image 0 have shape \(1, 4, 2\)"),
        ({"keypoints": [[FACE * np.nan]]}, "keypoints of image 0 contain NaN"),
        ({"keypoints": [[FACE * 0 + 7]]}, "degenerate"),
        ({"keypoints": nested_lists(3000)}, "not an array of numbers"),
        ({"boxes": nested_lists(3000)}, "not an array of numbers"),
        ({"boxes": [[[5, 5, 5, 9]]]}, "a box of image 0 has no area"),
        ({"boxes": [[[500, 5, 600, 90]]]}, "a box of image 0 lies outside it; the photo is 130 pixels wide and 110"),
    ],
)
def test_bad_faces_are_refused(processor, array, faces, message):
    with pytest.raises(ValueError, match=message):
        processor(array, **faces)


def test_bad_photos_are_refused(processor, array):
    with pytest.raises(ValueError, match="image 1 is empty: 130 pixels wide and 0 high"):
        processor([array, array[:0]])
    with pytest.raises(ValueError, match="No images were given"):
        processor([])


def test_a_photo_of_one_pixel(processor):
    pixel_values = processor(Image.new("RGB", (1, 1), (255, 255, 255)))["pixel_values"]
    centre = (1 - torch.tensor(MEAN)) / torch.tensor(STD)
    torch.testing.assert_close(pixel_values[0, :, 16, 16], centre, atol=0.15, rtol=0)


# ---- back to the photo


@pytest.mark.parametrize("warp_factor", [0.0, 0.8])
@pytest.mark.parametrize("pixel_grid", ["half_pixel", "integer"])
def test_points_return_to_the_photo(array, warp_factor, pixel_grid):
    processor = FaRLImageProcessor(
        size={"height": 64, "width": 48}, warp_factor=warp_factor, pixel_grid=pixel_grid, face_scale=0.7
    )
    inputs = processor(array, keypoints=[[FACE, OTHER]])
    points = torch.from_numpy(np.stack([FACE, OTHER]))
    in_crop = processor.warp_points(points, inputs["crop_from_photo"]) / torch.tensor([48.0, 64.0])
    assert in_crop.min() > 0
    assert in_crop.max() < 1
    back = processor.post_process_landmarks(in_crop, inputs["crop_from_photo"])
    torch.testing.assert_close(back, points, atol=1e-2, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float64])
def test_a_photo_and_its_label_map_together_are_cut_as_each_alone(processor, dtype):
    matrices = processor.crop_matrix(torch.from_numpy(np.stack([FACE, OTHER])))
    photo, label_map = torch.randint(0, 256, (3, 110, 130)).to(dtype), torch.randint(0, 11, (110, 130)).byte()
    crops, label_maps = processor.warp_with_labels(photo, label_map, matrices)
    assert torch.equal(crops, processor.warp(photo, matrices))
    alone = processor.warp(label_map[None].to(dtype), matrices, interpolation="nearest")[:, 0]
    assert torch.equal(label_maps, alone.long())
    assert label_maps.max() > 0


def test_a_painted_face_returns_to_the_photo(array):
    """Scores that repeat a label map's crop give that label map back, but for its edges."""
    processor = FaRLImageProcessor(size={"height": 256, "width": 256}, warp_factor=0.8)
    label_map = torch.zeros(1, 110, 130, dtype=torch.uint8)
    label_map[:, 30:100, 20:90], label_map[:, 60:80, 45:60] = 1, 2
    matrix = processor.crop_matrix(torch.from_numpy(FACE))
    crop = processor.warp(label_map, matrix, interpolation="nearest").long()
    scores = torch.nn.functional.one_hot(crop[:, 0], 3).permute(0, 3, 1, 2).float()
    (restored,) = processor.post_process_face_parsing(scores, matrix, [(110, 130)])
    assert restored.shape == (110, 130)
    assert (restored != label_map[0]).float().mean() < 0.01


def test_parsing_of_faces_of_different_photos(processor):
    matrices = processor.crop_matrix(torch.from_numpy(np.stack([FACE, OTHER])))
    maps = processor.post_process_face_parsing(torch.randn(2, 4, 8, 8), matrices, torch.tensor([[50, 60], [70, 80]]))
    assert [tuple(labels.shape) for labels in maps] == [(50, 60), (70, 80)]


def test_attributes_become_probabilities(processor):
    logits = torch.tensor([[0.0, 2.0]])
    torch.testing.assert_close(
        processor.post_process_attributes(logits), torch.tensor([[0.5, 1 / (1 + np.exp(-2.0))]]).float()
    )
