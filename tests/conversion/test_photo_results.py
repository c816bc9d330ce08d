"""From a photo to results: our processors and converted models against facer's own transforms and networks."""

import importlib

import conversion_sources as sources
import pytest
import torch
from skimage import data
from torch.nn.functional import grid_sample

from farl_hf import (
    FaRLForAttributes,
    FaRLForFaceParsing,
    FaRLForLandmarks,
    FaRLImageProcessor,
    RetinaFaceForFaceDetection,
    RetinaFaceImageProcessor,
)
from farl_hf.conversion import convert_checkpoint

PHOTO = data.astronaut()[:400, 50:450]
# Of the astronaut's face; turned a little, so that every entry of the matrices matters.
POINTS = torch.tensor([[[152.0, 108.0], [196.0, 112.0], [174.0, 138.0], [154.0, 152.0], [190.0, 155.0]]])


def photo_tensor(photo=PHOTO):
    return torch.from_numpy(photo.copy()).permute(2, 0, 1)[None]


def faces():
    return {"image_ids": torch.tensor([0]), "points": POINTS}


def load(model_class, folder):
    return model_class.from_pretrained(folder).eval(), FaRLImageProcessor.from_pretrained(folder)


@torch.no_grad()
def run(model, processor):
    inputs = processor(PHOTO, keypoints=[POINTS], return_tensors="pt")
    return model(inputs["pixel_values"]), inputs["crop_from_photo"]


@pytest.mark.parametrize(("facer_name", "num_classes"), [("lapa/448", 11), ("celebm/448", 19)])
def test_label_maps_equal_facer(tmp_path, facer_name, num_classes):
    facer_parsing = importlib.import_module("facer.face_parsing.farl")
    source = sources.write_parsing(
        tmp_path / "parsing.pt", sources.make_parsing_network(num_classes, 448), out_size=(512, 512)
    )
    theirs = facer_parsing.FaRLFaceParser(facer_name, str(source), device=torch.device("cpu"))
    expected = theirs(photo_tensor(), faces())["seg"]["logits"].argmax(dim=1)[0]
    convert_checkpoint(source, tmp_path / "out")
    model, processor = load(FaRLForFaceParsing, tmp_path / "out")
    actual = processor.post_process_face_parsing(*run(model, processor), [PHOTO.shape[:2]])[0]
    assert expected.unique().numel() >= 4
    assert (actual == expected).float().mean() >= 0.9995


def test_attribute_probabilities_equal_facer(tmp_path):
    settings = importlib.import_module("facer.face_attribute.farl").pretrain_settings["celeba/224"]
    network = sources.make_attributes(resolution=224)
    source = sources.write_plain(tmp_path / "attributes.pt", network)
    grid = settings["get_grid_fn"](matrix=settings["get_matrix_fn"](POINTS), orig_shape=PHOTO.shape[:2])
    crops = grid_sample(photo_tensor().float() / 255, grid, mode="bilinear", align_corners=False)
    convert_checkpoint(source, tmp_path / "out")
    model, processor = load(FaRLForAttributes, tmp_path / "out")
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (processor.image_mean, processor.image_std))
    with torch.no_grad():
        expected = network((crops - mean) / std).sigmoid()
    actual = processor.post_process_attributes(run(model, processor)[0])
    assert expected.std() > 0.05
    assert (actual - expected).abs().max() <= 1e-4


def sharpen(network, crops):
    """Give a landmark network's maps one peak each in these crops, as a trained one's have."""
    classifier = network.heatmap_head.head.conv_seg
    with torch.no_grad():
        logits = network(crops)
        scale = 6 / logits.std(dim=(0, 2, 3))
        classifier.weight.mul_(scale[:, None, None, None])
        classifier.bias.copy_((classifier.bias - logits.amax(dim=(0, 2, 3))) * scale + 3)


def test_landmarks_equal_the_training_codes_and_come_close_to_facers(tmp_path):
    module = importlib.import_module("facer.face_alignment.farl")
    settings, shape = module.pretrain_settings["aflw19/448"], PHOTO.shape[:2]
    network, matrix_facer = sources.make_landmark_network(19, 448), settings["get_matrix_fn"](POINTS)
    grid = settings["get_grid_fn"](matrix=matrix_facer, orig_shape=shape)
    crops = grid_sample(photo_tensor().float() / 255, grid, mode="bilinear", align_corners=False)
    sharpen(network, crops)
    source = sources.write_landmarks(tmp_path / "landmarks_jit.pt", network)
    convert_checkpoint(source, tmp_path / "out")
    model, processor = load(FaRLForLandmarks, tmp_path / "out")
    with torch.no_grad():
        maps, outputs = network(crops).sigmoid(), model(processor.normalize(crops))
    in_crop = module.heatmap2points(maps)
    assert ((outputs.landmarks - in_crop) * 448).norm(dim=-1).max() <= 1e-3
    # facer un-warps the maps to the photo and decodes there; its pixel i has coordinate i.
    upsampled = torch.nn.functional.interpolate(maps, size=(448, 448), mode="bilinear", align_corners=False)
    inverse = settings["get_inv_grid_fn"](matrix=matrix_facer, orig_shape=shape)
    on_photo = module.heatmap2points(grid_sample(upsampled, inverse, mode="bilinear", align_corners=False))
    theirs = module.denormalize_points(on_photo, *shape) + 0.5
    ours = processor.post_process_landmarks(outputs, processor.crop_matrix(POINTS))
    distance = (ours - theirs).norm(dim=-1)
    # Of a map with a second peak, un-warping cuts off what lies outside the photo: hence the median.
    inside = ((in_crop - 0.5).abs() < 0.48).all(dim=-1) & ((ours / 400 - 0.5).abs() < 0.48).all(dim=-1)
    assert inside.sum() > 5
    assert 0.01 < distance[inside].median() < 0.5  # the two ways differ by design


DETECTOR_PHOTO = PHOTO[:224, :288]  # the face in a small, wide photo


@pytest.mark.parametrize("body", ["mobilenet_v1", "resnet"])
def test_detections_equal_facer(tmp_path, body):
    module = importlib.import_module("facer.face_detection.retinaface")
    name = {"mobilenet_v1": "mobilenet", "resnet": "resnet50"}[body]
    network = sources.make_detector(body)
    source = sources.write_plain(tmp_path / f"{name}.pth", network)
    with torch.no_grad():
        pixels = photo_tensor(DETECTOR_PHOTO).float() - torch.tensor([104.0, 117.0, 123.0]).view(3, 1, 1)
        scores = network(pixels)[1][0, :, 1].sort(descending=True).values
    threshold = float((scores[60] + scores[61]) / 2)
    theirs = module.RetinaFaceDetector(name, str(source), threshold=threshold)
    with torch.no_grad():
        expected = theirs(photo_tensor(DETECTOR_PHOTO))
    convert_checkpoint(source, tmp_path / "out")
    model = RetinaFaceForFaceDetection.from_pretrained(tmp_path / "out").eval()
    processor = RetinaFaceImageProcessor.from_pretrained(
        tmp_path / "out", do_flip_channel_order=False, pad_size_divisor=1, max_long_side=0, score_threshold=threshold
    )
    inputs = processor(DETECTOR_PHOTO, return_tensors="pt")
    with torch.no_grad():
        outputs = model(inputs["pixel_values"])
    found = processor.post_process_face_detection(outputs, inputs["original_sizes"], inputs["input_scales"])[0]
    assert len(found["scores"]) == len(expected["scores"]) > 3
    assert (found["boxes_xyxy"] - expected["rects"]).abs().max() <= 0.01
    assert (found["keypoints_xy"] - expected["points"]).abs().max() <= 0.01
