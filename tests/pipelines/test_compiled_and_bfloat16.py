"""Ways to a faster network: bfloat16 weights and compiled graphs, with the same answers."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from transformers import pipeline

from farl_hf import FaRLImageProcessor
from farl_hf.face_renderer import render_face_photo
from farl_hf.modeling import FaRLConfig, FaRLModel
from farl_hf.modeling.modeling_farl_heads import decode_heatmaps


@pytest.fixture(scope="module")
def rendered_photos():
    """Photos that the built-in models can read, as inputs with given points."""
    photos = [render_face_photo(index) for index in range(900_000, 900_016)]
    return [{"image": photo.image, "keypoints": photo.points5_xy} for photo in photos]


@pytest.fixture(scope="module")
def answers(rendered_photos):
    """Answers of the built-in model of a task, in both precisions."""

    def answer(task):
        return [
            [face for faces in pipeline(task, dtype=dtype, device="cpu")(rendered_photos) for face in faces]
            for dtype in ("float32", "bfloat16")
        ]

    return answer


def test_bfloat16_labels_the_same_pixels(answers):
    exact, half = ([np.asarray(face["segmentation"]) for face in faces] for faces in answers("face-parsing"))
    face_pixels = [(one != 0) | (other != 0) for one, other in zip(exact, half, strict=True)]
    equal = [(one == other)[face] for one, other, face in zip(exact, half, face_pixels, strict=True)]
    assert sum(len(pixels) for pixels in equal) > 10_000
    assert np.concatenate(equal).mean() >= 0.995


def test_bfloat16_finds_the_same_landmarks(answers):
    exact, half = (np.array([face["landmarks"] for face in faces]) for faces in answers("face-landmarks"))
    eye_distance = np.linalg.norm(exact[:, 36] - exact[:, 45], axis=-1)
    distance = np.linalg.norm(exact - half, axis=-1).mean(axis=1)
    assert 0 < (distance / eye_distance).max() < 0.01


def test_bfloat16_decides_the_same_attributes(answers):
    exact, half = (
        np.array(
            [[entry["score"] for entry in sorted(face["attributes"], key=lambda a: a["label"])] for face in faces]
        )
        for faces in answers("face-attributes")
    )
    assert 0 < np.abs(exact - half).max() < 0.05
    clear = np.abs(exact - 0.5) > 0.05
    assert ((exact > 0.5) == (half > 0.5))[clear].all()


@pytest.fixture
def float64_by_default():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def answers_in(task, photos, dtype="float32", context=nullcontext):
    find = pipeline(task, dtype=dtype, device="cpu")
    with context():
        return [face for faces in find(photos) for face in faces]


def autocast():
    return torch.autocast("cpu", torch.bfloat16)


@pytest.fixture(scope="module")
def large_photos(rendered_photos):
    """Four of the photos with four times the side: bfloat16 cannot tell their pixels apart."""
    return [
        {"image": np.kron(one["image"], np.ones((4, 4, 1), np.uint8)), "keypoints": one["keypoints"] * 4}
        for one in rendered_photos[:4]
    ]


def test_autocast_moves_landmarks_no_more_than_bfloat16_weights(large_photos):
    exact, half, cast = (
        np.array([face["landmarks"] for face in answers_in("face-landmarks", large_photos, *how)])
        for how in (("float32",), ("bfloat16",), ("float32", autocast))
    )
    assert 0 < np.abs(cast - exact).max() <= np.abs(half - exact).max()


def test_autocast_labels_the_same_pixels(large_photos):
    exact, half, cast = (
        [np.asarray(face["segmentation"]) for face in answers_in("face-parsing", large_photos, *how)]
        for how in (("float32",), ("bfloat16",), ("float32", autocast))
    )

    def different(others):
        return sum(int((one != other).sum()) for one, other in zip(exact, others, strict=True))

    assert 0 < different(cast) <= different(half)


def test_autocast_leaves_geometry_alone():
    processor = FaRLImageProcessor(size=64, warp_factor=0.8)
    photo = torch.randint(0, 255, (3, 700, 900), dtype=torch.uint8)
    points = torch.tensor([[[300.3, 300], [600, 310], [450, 450], [350, 600], [550, 600]]])
    landmarks, logits = torch.rand(1, 68, 2), torch.randn(1, 5, 16, 16)

    def results():
        inputs = processor(photo, keypoints=[points], return_tensors="pt")
        matrix, sizes = inputs["crop_from_photo"], [(700, 900)]
        yield from (inputs["pixel_values"], matrix, processor.warp_points(points, matrix))
        yield processor.post_process_landmarks(landmarks, matrix)
        yield processor.post_process_face_parsing(logits, matrix, sizes)[0]
        yield processor.post_process_heat_maps(logits, matrix, sizes)[0]
        yield FaRLImageProcessor(alignment="ffhq_square").crop_matrix(points)
        yield decode_heatmaps(logits.sigmoid())

    expected = list(results())
    with autocast():
        assert all(torch.equal(found, one) for found, one in zip(results(), expected, strict=True))


@pytest.mark.parametrize("task", ["face-parsing", "face-landmarks", "face-attributes", "face-analysis"])
def test_another_default_dtype_changes_nothing(rendered_photos, task, float64_by_default):
    photos = [rendered_photos[0], rendered_photos[1]["image"], np.zeros((64, 64, 3), np.uint8)]
    find = pipeline(task, device="cpu", batch_size=3)
    found = find(photos)
    torch.set_default_dtype(torch.float32)
    assert found == find(photos)
    assert len(found[0]) == 1
    assert found[2] == []


@pytest.mark.parametrize(
    ("task", "side"), [("face-parsing", 32), ("face-landmarks", 32), ("face-attributes", 32), ("face-detection", 64)]
)
def test_heads_compile_without_graph_breaks(load_pipeline, task, side):
    model = load_pipeline(task).model
    pixel_values = torch.randn(2, 3, side, side)
    with torch.no_grad():
        expected = model(pixel_values)
        model.compile(backend="eager", fullgraph=True)
        found = model(pixel_values)
    name = "class_logits" if task == "face-detection" else "logits"
    assert torch.allclose(found[name], expected[name], atol=1e-5)


def test_towers_compile_without_graph_breaks():
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = sizes | {"image_size": 32, "patch_size": 16}
    model = FaRLModel(FaRLConfig(vision_config=vision, text_config=sizes, projection_dim=8)).eval()
    pixel_values, input_ids = torch.randn(2, 3, 32, 32), torch.tensor([[49406, 5, 49407, 0]])
    with torch.no_grad():
        expected = model(input_ids, pixel_values)
        model.compile(backend="eager", fullgraph=True)
        found = model(input_ids, pixel_values)
    assert torch.allclose(found.logits_per_image, expected.logits_per_image, atol=1e-4)


def test_a_varying_number_of_faces_is_compiled_once(load_pipeline, planted_detector, photo_with):
    graphs = []

    def count(graph, example_inputs):
        graphs.append(graph)
        return graph.forward

    run = load_pipeline("face-attributes", detector=planted_detector)
    photos = [photo_with(faces) for faces in (2, 0, 1, 3)]
    expected = [len(run(photo)) for photo in photos]
    alone = run(photos[3])
    run.model.compile(backend=count, dynamic=False)
    torch._dynamo.reset()
    assert [len(faces) for faces in run(photos, batch_size=4)] == expected
    (face, *_) = run([photos[3], photos[1]], batch_size=4)[0]
    assert [entry["label"] for entry in face["attributes"]] == [entry["label"] for entry in alone[0]["attributes"]]
    assert len(graphs) == 1
