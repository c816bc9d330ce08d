"""Transformers' own pipelines: on a checkpoint folder of the two towers, and on the built-in models.

Without a detector a whole photo is one face crop, which is `aligned=True` in this library's pipelines.
"""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from skimage import data
from torch.nn.functional import interpolate
from transformers import AutoConfig, AutoModel, AutoModelForSemanticSegmentation, AutoProcessor, pipeline

from farl_hf import (
    FaRLConfig,
    FaRLForAttributes,
    FaRLForFaceParsing,
    FaRLImageProcessor,
    FaRLModel,
    FaRLProcessor,
    NotACheckpointError,
    RetinaFaceImageProcessor,
    embed_texts,
    index_faces,
)
from farl_hf.checkpoints import DEFAULT_CHECKPOINTS
from farl_hf.conversion.clip_vocabulary import make_clip_tokenizer
from farl_hf.modeling.pretrained_model_farl import UnsuitableCheckpointError

LABELS = ["a smiling woman", "a man in a hat " * 30, "nobody"]  # the second is longer than the model can read


@pytest.fixture
def folder(toy_model, tmp_path):
    text = {"vocab_size": 49_408, "max_position_embeddings": 77, "pad_token_id": 49_407, "bos_token_id": 49_406}
    toy_model(FaRLModel, text=text | {"eos_token_id": 49_407}).save_pretrained(tmp_path)
    image_processor = FaRLImageProcessor(size={"height": 32, "width": 32})
    FaRLProcessor(image_processor, make_clip_tokenizer()).save_pretrained(tmp_path)
    image_processor.save_pretrained(tmp_path)  # pipelines of images alone look for this file
    return tmp_path


@pytest.fixture
def photos():
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (90, 70, 3), dtype=np.uint8)) for _ in range(3)]


@torch.inference_mode()
def probabilities(folder, photo):
    """softmax(100 cos) over the labels, from the two features alone."""
    processor, model = AutoProcessor.from_pretrained(folder), AutoModel.from_pretrained(folder)
    texts = processor(text=[f"This is a photo of {label}." for label in LABELS], return_tensors="pt")
    image = model.get_image_features(processor.image_processor(photo, return_tensors="pt")["pixel_values"])
    cosines = torch.nn.functional.cosine_similarity(
        image.pooler_output, model.get_text_features(**texts).pooler_output
    )
    return dict(zip(LABELS, (model.logit_scale.exp() * cosines).softmax(-1).tolist(), strict=True))


@pytest.mark.parametrize("batch_size", [1, 2])
def test_zero_shot_classification_ranks_labels_by_cosine(folder, photos, batch_size):
    classify = pipeline("zero-shot-image-classification", model=str(folder))
    answers = classify(photos, candidate_labels=LABELS, batch_size=batch_size)
    assert len(answers) == len(photos)
    for photo, answer in zip(photos, answers, strict=True):
        assert [entry["score"] for entry in answer] == sorted((entry["score"] for entry in answer), reverse=True)
        assert {entry["label"]: entry["score"] for entry in answer} == pytest.approx(
            probabilities(folder, photo), abs=1e-5
        )


def test_feature_extraction_gives_tokens_or_the_embedding(folder, photos):
    extract = pipeline("image-feature-extraction", model=str(folder))
    processor, model = AutoProcessor.from_pretrained(folder), AutoModel.from_pretrained(folder)
    with torch.inference_mode():
        features = model.get_image_features(processor.image_processor(photos[0], return_tensors="pt")["pixel_values"])
    torch.testing.assert_close(torch.tensor(extract(photos[0])), features.last_hidden_state)
    torch.testing.assert_close(torch.tensor(extract(photos[0], pool=True)), features.pooler_output)
    assert np.shape(extract(photos, pool=True, batch_size=2)) == (3, 1, model.config.projection_dim)


# --- built-in models

ASTRONAUT = Image.fromarray(data.astronaut())
FACE = ASTRONAUT.crop((150, 30, 310, 220))


def both(stock_task, our_task):
    name = DEFAULT_CHECKPOINTS[our_task]
    return (pipeline(task, model=name, device="cpu") for task in (stock_task, our_task))


def test_image_segmentation_is_face_parsing_of_an_aligned_face():
    stock, ours = both("image-segmentation", "face-parsing")
    (face,) = ours(FACE, aligned=True)
    label_map = np.asarray(face["segmentation"])
    masks = {segment["label"]: np.asarray(segment["mask"]) > 0 for segment in stock(FACE)}
    assert set(masks) == {face["labels"][label] for label in np.unique(label_map)}
    assert len(masks) > 5
    for label, name in face["labels"].items():
        if name in masks:
            assert ((label_map == label) != masks[name]).mean() < 1e-3  # our pipelines' optimised sums are rounded


def test_image_classification_gives_independent_probabilities():
    stock, ours = both("image-classification", "face-attributes")
    expected = {entry["label"]: entry["score"] for entry in ours(FACE, aligned=True)[0]["attributes"]}
    scores = {entry["label"]: entry["score"] for entry in stock(FACE, top_k=40)}
    assert scores == pytest.approx(expected, abs=1e-4)
    assert sum(scores.values()) > 2  # a softmax would give 1


def test_object_detection_finds_the_same_faces():
    stock, ours = both("object-detection", "face-detection")
    for photo in (ASTRONAUT, ASTRONAUT.resize((1500, 1300))):  # the second one is shrunk for the network
        faces, boxes = ours(photo, threshold=0.5), stock(photo)
        assert len(faces) == len(boxes) > 0
        for face, box in zip(faces, boxes, strict=True):
            assert box["label"] == "face"
            assert box["score"] == pytest.approx(face["score"], abs=1e-4)
            assert box["box"] == pytest.approx(face["box"], abs=1.0)  # whole pixels there
    assert len(stock(ASTRONAUT, threshold=0.01)) > len(stock(ASTRONAUT, threshold=0.9))


def test_object_detection_takes_batches_of_one_size():
    stock, ours = both("object-detection", "face-detection")
    photos = [ASTRONAUT, ASTRONAUT.rotate(180)]
    assert [len(found) for found in stock(photos, batch_size=2)] == [len(stock(photo)) for photo in photos]
    mixed = [ASTRONAUT, ASTRONAUT.resize((300, 200))]
    with pytest.raises(RuntimeError, match="Sizes of tensors must match"):  # in Transformers, before our code
        stock(mixed, batch_size=2)
    assert [len(found) for found in ours(mixed, batch_size=2)] == [len(ours(photo)) for photo in mixed]


def test_zero_shot_classification_and_features_are_those_of_the_embeddings():
    model, processor = AutoModel.from_pretrained("farl-tiny"), AutoProcessor.from_pretrained("farl-tiny")
    image = index_faces(model, processor, [("face", FACE)], aligned=True).embeddings
    features = np.asarray(pipeline("image-feature-extraction", model="farl-tiny", device="cpu")(FACE, pool=True))
    np.testing.assert_allclose(features / np.linalg.norm(features), image, atol=1e-4)

    sentences = ["a woman", "a man"]
    texts = embed_texts(model, processor, sentences).detach().numpy()
    scores = np.exp(model.logit_scale.detach().exp().item() * (texts @ image[0]))
    classify = pipeline("zero-shot-image-classification", model="farl-tiny", device="cpu")
    answer = classify(FACE, candidate_labels=sentences, hypothesis_template="{}")
    assert {entry["label"]: entry["score"] for entry in answer} == pytest.approx(
        dict(zip(sentences, scores / scores.sum(), strict=True)), abs=1e-3
    )


@pytest.mark.parametrize(
    ("task", "name", "found", "expected"),
    [
        ("image-segmentation", "farl-tiny-landmarks", "FaRLForLandmarks", "FaRLForFaceParsing"),
        ("image-segmentation", "farl-tiny", "FaRLForPreTraining", "FaRLForFaceParsing"),
        ("image-classification", "farl-tiny-parsing", "FaRLForFaceParsing", "FaRLForAttributes"),
        ("image-feature-extraction", "farl-tiny-attributes", "FaRLForAttributes", "FaRLModel"),
    ],
)
def test_a_checkpoint_of_another_task_is_refused(task, name, found, expected):
    with pytest.raises(UnsuitableCheckpointError) as caught:
        pipeline(task, model=name, device="cpu")
    assert str(caught.value).startswith(f"{name} is a checkpoint of {found}; expected {expected}.")
    assert "\n" not in str(caught.value)


def test_a_checkpoint_without_its_head_is_refused(tmp_path, toy_model):
    toy_model(FaRLForAttributes).save_pretrained(tmp_path)
    FaRLImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    lost = tensors.pop("head.classifier.weight")
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    for task in ("image-classification", "face-attributes"):
        with pytest.raises(
            (UnsuitableCheckpointError, NotACheckpointError), match=r"missing: head\.classifier\.weight"
        ):
            pipeline(task, model=str(tmp_path), device="cpu")
    model = FaRLForAttributes.from_pretrained(tmp_path, num_labels=len(lost))  # a new head, as Transformers reports
    assert model.head.classifier.weight.isfinite().all()


@pytest.mark.parametrize(
    "load", [FaRLForFaceParsing.from_pretrained, AutoModelForSemanticSegmentation.from_pretrained]
)
def test_a_new_head_needs_labels(load):
    names = dict(enumerate("abc"))
    for name in ("farl-tiny", "farl-tiny-landmarks"):
        with pytest.raises(UnsuitableCheckpointError, match="id2label or num_labels"):
            load(name)
        for labels in ({"num_labels": 3}, {"id2label": names, "label2id": {label: i for i, label in names.items()}}):
            model = load(name, ignore_mismatched_sizes=True, **labels)
            assert model.config.num_labels == model.head.classifier.out_channels == 3
    config = AutoConfig.from_pretrained("farl-tiny", num_labels=4)
    assert FaRLForFaceParsing.from_pretrained("farl-tiny", config=config).config.num_labels == 4


# --- what the stock pipelines call


def test_a_checkpoint_of_attributes_says_that_they_are_independent(toy_config):
    old = toy_config()  # as saved by earlier versions
    assert old.problem_type is None
    assert FaRLForAttributes(old).config.problem_type == "multi_label_classification"
    chosen = FaRLConfig.from_dict(toy_config().to_dict() | {"problem_type": "regression"})
    assert FaRLForAttributes(chosen).config.problem_type == "regression"


def test_semantic_segmentation_of_whole_photos_and_of_crops():
    processor = FaRLImageProcessor(size={"height": 32, "width": 32})
    logits = torch.zeros(2, 3, 8, 8)
    logits[0, 1], logits[1, 2] = -1.0, -1.0
    logits[0, 1, :, :4], logits[1, 2, 4:] = 1.0, 1.0  # left half; lower half
    first, second = processor.post_process_semantic_segmentation(logits, target_sizes=[(20, 40), (60, 10)])
    assert (first.shape, second.shape, first.dtype) == ((20, 40), (60, 10), torch.int64)
    assert first[:, :19].eq(1).all()
    assert first[:, 21:].eq(0).all()
    assert second[:29].eq(0).all()
    assert second[31:].eq(2).all()
    assert processor.post_process_semantic_segmentation(logits)[0].shape == (32, 32)
    with pytest.raises(ValueError, match="1 entries for the scores of 2"):
        processor.post_process_semantic_segmentation(logits, target_sizes=[(20, 40)])


@pytest.mark.parametrize("settings", [{}, {"score_size": 24}, {"warp_factor": 0.8}], ids=str)
def test_scores_of_a_semantic_segmentation_explain_its_classes(settings):
    processor = FaRLImageProcessor(size={"height": 32, "width": 32}, **settings)
    logits, sizes = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)), [(20, 40), (60, 10)]
    found = processor.post_process_semantic_segmentation(logits, sizes, return_segmentation_scores=True)
    for answer, label_map in zip(found, processor.post_process_semantic_segmentation(logits, sizes), strict=True):
        torch.testing.assert_close(answer.segmentation, label_map)
        torch.testing.assert_close(answer.segmentation_scores.argmax(dim=0), label_map)
    if not processor.warp_factor:
        side = processor.score_size or 32
        upsampled = interpolate(interpolate(logits[:1], (side, side), mode="bilinear"), sizes[0], mode="bilinear")
        torch.testing.assert_close(found[0].segmentation_scores, upsampled[0])


def test_object_detection_needs_the_sizes_of_the_photos():
    with pytest.raises(ValueError, match="target_sizes is missing"):
        RetinaFaceImageProcessor().post_process_object_detection({})
