"""RetinaFace against the original network (pyfacer's copy of it) and its loss against a plain loop."""

import importlib
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from retinaface_layout import outputs_of_layout

from farl_hf.conversion.head_keys import RETINAFACE_KEYS
from farl_hf.conversion.key_rules import apply_key_rules
from farl_hf.errors import ConversionError
from farl_hf.modeling.configuration_retinaface import RetinaFaceConfig
from farl_hf.modeling.modeling_retinaface import (
    RetinaFaceForFaceDetection,
    RetinaFaceModel,
    make_anchors,
    match_anchors,
    retinaface_loss,
    select_hard_negatives,
)

ORIGINAL_SETTINGS = {"mobilenet_v1": "cfg_mnet", "resnet": "cfg_re50"}


def make_original(body, seed=0):
    """The original network with random weights and random batch statistics, so that no part is an identity."""
    retinaface = importlib.import_module("facer.face_detection.retinaface")
    torch.manual_seed(seed)
    settings = {**getattr(retinaface, ORIGINAL_SETTINGS[body]), "pretrain": False}
    original = retinaface.RetinaFace(settings, phase="train").eval()
    for module in original.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.7, 1.4)
            torch.nn.init.uniform_(module.weight, 0.7, 1.3)
            torch.nn.init.normal_(module.bias, std=0.1)
    return original


def make_ours(body, original):
    model = RetinaFaceForFaceDetection(RetinaFaceConfig(body=body)).eval()
    weights, _ = apply_key_rules(original.state_dict(), RETINAFACE_KEYS, "a detector")
    model.load_state_dict(weights, strict=True)
    return model


def tiny_config(**changes):
    return RetinaFaceConfig(**{"width_multiplier": 0.25, "pyramid_channels": 16, **changes})


def tiny_model(**changes):
    torch.manual_seed(0)
    return RetinaFaceForFaceDetection(tiny_config(**changes)).eval()


def one_face(box=(0.2, 0.2, 0.6, 0.7)):
    return {"boxes_xyxy": torch.tensor([box]), "keypoints_xy": torch.full((1, 5, 2), 0.4)}


def no_face():
    return {"boxes_xyxy": torch.zeros(0, 4), "keypoints_xy": torch.zeros(0, 5, 2)}


# --- the network --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", ["mobilenet_v1", "resnet"])
@pytest.mark.parametrize("size_hw", [(64, 96), (75, 101)])
def test_raw_outputs_equal_the_original(body, size_hw):
    original = make_original(body)
    model = make_ours(body, original)
    pixels = torch.randn(2, 3, *size_hw) * 60
    with torch.no_grad():
        boxes, classes, points = original(pixels)
        ours = model(pixels)
    for mine, theirs in ((ours.box_offsets, boxes), (ours.class_logits, classes), (ours.keypoint_offsets, points)):
        assert mine.shape == theirs.shape
        assert (mine - theirs).abs().max() <= 1e-4 * max(1.0, theirs.abs().max())


@pytest.mark.parametrize("body", ["mobilenet_v1", "resnet"])
def test_raw_outputs_equal_an_implementation_of_the_published_layout(body):
    original = make_original(body, seed=1)
    pixels = torch.randn(1, 3, 83, 110) * 60
    with torch.no_grad():
        expected = outputs_of_layout(original.state_dict(), pixels)
        ours = make_ours(body, original)(pixels)
    for mine, theirs in zip((ours.box_offsets, ours.class_logits, ours.keypoint_offsets), expected, strict=True):
        assert mine.shape == theirs.shape
        assert (mine - theirs).abs().max() <= 1e-4 * max(1.0, theirs.abs().max())


def test_parameter_counts_of_the_published_networks():
    counts = {
        body: sum(p.numel() for p in RetinaFaceForFaceDetection(RetinaFaceConfig(body=body)).parameters())
        for body in ORIGINAL_SETTINGS
    }
    originals = {body: sum(p.numel() for p in make_original(body).parameters()) for body in ORIGINAL_SETTINGS}
    assert counts == originals


@pytest.mark.parametrize("size_hw", [(64, 96), (75, 101), (1, 1), (256, 40)])
def test_anchors_equal_the_original(size_hw):
    retinaface = importlib.import_module("facer.face_detection.retinaface")
    theirs = retinaface.PriorBox(retinaface.cfg_mnet, size_hw).generate_anchors("cpu")
    config = RetinaFaceConfig()
    ours = make_anchors(size_hw, config.steps, config.min_sizes)
    scale = torch.tensor([size_hw[1], size_hw[0], size_hw[1], size_hw[0]])
    torch.testing.assert_close(ours / scale, theirs, rtol=2e-7, atol=0)


def test_anchors_are_ordered_by_level_row_column_size():
    anchors = make_anchors((9, 17), (8, 16, 32), ((16, 32), (64, 128), (256, 512)))
    assert anchors.shape == ((2 * 3 + 1 * 2 + 1 * 1) * 2, 4)
    assert anchors[:4].tolist() == [[4, 4, 16, 16], [4, 4, 32, 32], [12, 4, 16, 16], [12, 4, 32, 32]]
    assert anchors[6].tolist() == [4, 12, 16, 16]
    assert anchors[-1].tolist() == [16, 16, 512, 512]


def test_outputs_hold_the_anchors_of_every_picture():
    outputs = tiny_model()(torch.zeros(3, 3, 64, 32))
    assert outputs.anchors.shape == outputs.box_offsets.shape
    assert outputs.class_logits.shape[1] == (8 * 4 + 4 * 2 + 2 * 1) * 2


def test_width_multiplier_makes_smaller_and_larger_bodies():
    counts = [sum(p.numel() for p in tiny_model(width_multiplier=w).parameters()) for w in (0.125, 0.25, 0.5)]
    assert counts[0] < counts[1] < counts[2]


def test_pictures_of_a_batch_do_not_influence_one_another():
    model, pixels = tiny_model(), torch.randn(3, 3, 64, 64) * 60
    with torch.no_grad():
        together, alone = model(pixels), model(pixels[1:2])
    assert (together.box_offsets[1:2] - alone.box_offsets).abs().max() < 1e-5 * alone.box_offsets.abs().max()


@pytest.mark.parametrize("changes", [{}, {"body": "resnet", "resnet_depths": (1, 1, 1, 1)}])
def test_outputs_are_the_same_optimised_and_not(changes):
    model, pixels = tiny_model(**changes), torch.randn(1, 3, 64, 96) * 60
    model.train()
    model(pixels)  # statistics other than the initial ones
    model.eval()
    with torch.no_grad():
        expected = model(pixels).box_offsets
        folded = model.optimize_for_inference()(pixels).box_offsets
    assert not torch.equal(folded, expected)
    assert torch.equal(model(pixels).box_offsets, expected)  # with gradients
    assert (expected - folded).abs().max() < 1e-5 * folded.abs().max()


def test_pixel_values_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="pixel_values has shape"):
        tiny_model()(torch.zeros(3, 64, 64))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"body": "vgg"}, "body is 'vgg'"),
        ({"pyramid_channels": 10}, "multiple of 4"),
        ({"width_multiplier": 0}, "width_multiplier=0 .*from 0.001"),
        ({"steps": (4, 8, 16)}, "strides"),
        ({"min_sizes": ((16,), (32,))}, "three non-empty"),
        ({"resnet_depths": (1, 1)}, "resnet_depths=.*list of 4"),
    ],
)
def test_impossible_configurations_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        RetinaFaceConfig(**changes)


# --- saving, loading, starting ------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, {"body": "resnet", "resnet_depths": (1, 1, 1, 1)}])
def test_save_and_load_gives_equal_outputs(tmp_path, changes):
    model = tiny_model(**changes)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
    model.save_pretrained(tmp_path)
    loaded, info = RetinaFaceForFaceDetection.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    assert loaded.config.to_dict() == {**model.config.to_dict(), "_name_or_path": loaded.config._name_or_path}
    pixels = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(model(pixels).class_logits, loaded(pixels).class_logits)
        assert torch.equal(model(pixels).anchors, loaded(pixels).anchors)


def test_body_alone_loads_from_a_detector(tmp_path):
    model = tiny_model()
    model.save_pretrained(tmp_path)
    body, info = RetinaFaceModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    pixels = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        for mine, theirs in zip(body(pixels).feature_maps, model.model(pixels).feature_maps, strict=True):
            assert torch.equal(mine, theirs)


def test_a_missing_weight_is_initialised_and_the_others_kept(tmp_path):
    model = tiny_model()
    weights = {name: value for name, value in model.state_dict().items() if not name.startswith("class_head")}
    loaded, info = RetinaFaceForFaceDetection.from_pretrained(
        None, config=model.config, state_dict=weights, output_loading_info=True
    )
    assert len(info["missing_keys"]) == 6
    assert torch.equal(loaded.box_head.convolutions[0].weight, model.box_head.convolutions[0].weight)
    new = loaded.class_head.convolutions[0]
    assert 0 < new.weight.abs().max() < 0.1
    assert not new.bias.any()


def test_initial_weights_let_signals_through_all_layers():
    model = tiny_model().train()
    maps = model.model(torch.randn(2, 3, 64, 64) * 60).feature_maps
    assert all(0.05 < feature.std() < 20 for feature in maps)


# --- published names ----------------------------------------------------------------------------------------


def test_published_names_are_renamed_and_strangers_refused():
    names = ("ssh2.conv7x7_3.1.bias", "body.fc.weight", "fc.bias")
    placed, dropped = apply_key_rules(dict.fromkeys(names, torch.zeros(1)), RETINAFACE_KEYS, "a detector")
    assert list(placed) == ["model.context_modules.1.context_7x7.normalization.bias"]
    assert set(dropped) == {"body.fc.weight", "fc.bias"}
    with pytest.raises(ConversionError, match=r"body\.stage4"):
        apply_key_rules({"body.stage4.0.0.weight": torch.zeros(1)}, RETINAFACE_KEYS, "a detector")


# --- the loss -----------------------------------------------------------------------------------------------


def loop_iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0.0) * max(height, 0.0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def loop_match(boxes, anchors):
    """The published matching, one anchor and one face at a time; faces whose claim is refused are left out."""
    corners = [(x - w / 2, y - h / 2, x + w / 2, y + h / 2) for x, y, w, h in anchors]
    overlaps = [[loop_iou(box, corner) for corner in corners] for box in boxes]
    assigned = []
    for j in range(len(anchors)):
        best = max(range(len(boxes)), key=lambda i: overlaps[i][j]) if boxes else -1
        assigned.append(best if boxes and overlaps[best][j] >= 0.35 else -1)
    for i in range(len(boxes)):
        best = max(range(len(anchors)), key=lambda j: overlaps[i][j])
        if overlaps[i][best] >= 0.2:
            assigned[best] = i
    return assigned


def smooth_l1(x):
    return 0.5 * x * x if abs(x) < 1 else abs(x) - 0.5


def loop_loss(classes, boxes, points, anchors, labels):
    """The published loss with Python numbers; anchors and labels normalised by the size of the input."""
    total_box = total_class = total_point = 0.0
    num_positive = num_with_points = 0
    for b, faces in enumerate(labels):
        face_boxes, face_points = faces["boxes_xyxy"].tolist(), faces["keypoints_xy"].tolist()
        assigned = loop_match(face_boxes, anchors)
        background = []
        positives = 0
        for j, i in enumerate(assigned):
            background_logit, face_logit = classes[b][j]
            log_sum = math.log(math.exp(background_logit) + math.exp(face_logit))
            if i < 0:
                background.append(log_sum - background_logit)
                continue
            positives += 1
            total_class += log_sum - face_logit
            x, y, w, h = anchors[j]
            x0, y0, x1, y1 = face_boxes[i]
            target = [((x0 + x1) / 2 - x) / (0.1 * w), ((y0 + y1) / 2 - y) / (0.1 * h)]
            target += [math.log((x1 - x0) / w) / 0.2, math.log((y1 - y0) / h) / 0.2]
            total_box += sum(smooth_l1(p - t) for p, t in zip(boxes[b][j], target, strict=True))
            if not any(math.isnan(value) for point in face_points[i] for value in point):
                num_with_points += 1
                target = [v for px, py in face_points[i] for v in ((px - x) / (0.1 * w), (py - y) / (0.1 * h))]
                total_point += sum(smooth_l1(p - t) for p, t in zip(points[b][j], target, strict=True))
        total_class += sum(sorted(background, reverse=True)[: 7 * positives])
        num_positive += positives
    box, klass = total_box / max(num_positive, 1), total_class / max(num_positive, 1)
    return 2 * box + klass + total_point / max(num_with_points, 1)


def random_faces(rng, count, with_points=True):
    centers, sides = rng.uniform(0.2, 0.8, (count, 2)), rng.uniform(0.1, 0.5, (count, 2))
    boxes = np.concatenate([centers - sides / 2, centers + sides / 2], axis=1).astype(np.float32)
    points = rng.uniform(0, 1, (count, 5, 2)).astype(np.float32)
    points[~np.broadcast_to(np.asarray(with_points), (count,))] = np.nan
    return {"boxes_xyxy": torch.from_numpy(boxes), "keypoints_xy": torch.from_numpy(points)}


def test_loss_equals_a_plain_loop():
    rng = np.random.default_rng(3)
    size_hw, config = (96, 128), RetinaFaceConfig()
    anchors = make_anchors(size_hw, config.steps, config.min_sizes)
    labels = [random_faces(rng, 3, [True, False, True]), random_faces(rng, 1), random_faces(rng, 0)]
    generator = torch.Generator().manual_seed(0)
    classes, boxes, points = (torch.randn(3, len(anchors), k, generator=generator) for k in (2, 4, 10))
    loss, parts = retinaface_loss(classes, boxes, points, anchors, size_hw, labels, config)
    normalised = (anchors / torch.tensor([128, 96, 128, 96])).tolist()
    expected = loop_loss(classes.tolist(), boxes.tolist(), points.tolist(), normalised, labels)
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    assert set(parts) == {"class_loss", "box_loss", "keypoint_loss"}


def test_matching_rules_by_hand():
    anchors = torch.tensor([[5.0, 5, 10, 10], [20, 5, 10, 10], [35, 5, 10, 10]])
    boxes = torch.tensor(
        [
            [0.0, 0, 10, 10],  # equals anchor 0
            [18.0, 0, 22.8, 4.8],  # 0.23 of anchor 1: claims it, though below 0.35
            [30.0, 0, 33, 3],  # 0.09 of anchor 2: too little to claim
        ]
    )
    assert match_anchors(boxes, anchors, 0.35, 0.2).tolist() == [0, 1, -1]
    assert match_anchors(boxes[[0, 0]], anchors, 0.35, 0.2).tolist() == [1, -1, -1]  # the later claim wins
    assert match_anchors(boxes[:0], anchors, 0.35, 0.2).tolist() == [-1, -1, -1]


def test_seven_hardest_negatives_per_positive_of_each_picture():
    losses = torch.arange(30.0).repeat(3, 1)
    positive = torch.zeros(3, 30, dtype=torch.bool)
    positive[0, 29] = True  # the highest loss is a positive: not a negative
    positive[1, :5] = True
    chosen = select_hard_negatives(losses, positive, 7)
    assert chosen[0].nonzero().flatten().tolist() == list(range(22, 29))
    assert chosen[1].sum() == 25  # 35 wanted, 25 there
    assert not chosen[2].any()


def test_faces_without_points_teach_box_and_class_only():
    model = tiny_model()
    face = one_face()
    unlabelled = {**face, "keypoints_xy": torch.full((1, 5, 2), float("nan"))}
    pixels = torch.randn(1, 3, 64, 64)
    with_points, without = model(pixels, labels=[face]), model(pixels, labels=[unlabelled])
    assert without.loss_dict["keypoint_loss"] == 0
    assert without.loss_dict["box_loss"] == with_points.loss_dict["box_loss"] > 0
    assert without.loss.isfinite()


def test_a_batch_without_any_face_has_a_finite_loss_and_gradient():
    model = tiny_model()
    loss = model(torch.randn(2, 3, 64, 64), labels=[no_face(), no_face()]).loss
    loss.backward()
    assert loss == 0
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_every_parameter_receives_a_gradient():
    model = tiny_model().train()
    labels = [
        one_face(),
        one_face((0.1, 0.1, 0.16, 0.17)),
        one_face((0.0, 0.0, 1.0, 1.0)),
        one_face((0.3, 0.3, 0.5, 0.5)),
    ]
    model(torch.randn(4, 3, 320, 320), labels=labels).loss.backward()
    untouched = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not untouched


def test_a_few_steps_lower_the_loss():
    model = tiny_model().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    pixels, labels = torch.randn(2, 3, 64, 64), [one_face(), one_face((0.4, 0.4, 0.9, 0.9))]
    losses = []
    for _ in range(15):
        loss = model(pixels, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_half_precision_outputs_give_a_float32_loss():
    model = tiny_model().to(torch.bfloat16)
    outputs = model(torch.randn(1, 3, 64, 64, dtype=torch.bfloat16), labels=[one_face()])
    assert outputs.loss.dtype == torch.float32
    assert outputs.anchors.dtype == torch.float32


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], "0 entries"),
        ({"boxes_xyxy": 1}, "dict"),
        ([{"boxes": torch.zeros(0, 4)}], "lacks"),
        ([{"boxes_xyxy": torch.zeros(1, 4), "keypoints_xy": torch.zeros(2, 5, 2)}], "expected \\(n, 4\\)"),
    ],
)
def test_labels_of_another_form_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        tiny_model()(torch.zeros(1, 3, 32, 32), labels=labels)


def test_class_loss_matches_cross_entropy_of_the_chosen_anchors():
    config, size_hw = RetinaFaceConfig(), (64, 64)
    anchors = make_anchors(size_hw, config.steps, config.min_sizes)
    classes = torch.randn(1, len(anchors), 2)
    zeros = torch.zeros(1, len(anchors), 4), torch.zeros(1, len(anchors), 10)
    _, parts = retinaface_loss(classes, *zeros, anchors, size_hw, [one_face()], config)
    positive = match_anchors(one_face()["boxes_xyxy"] * 64, anchors, 0.35, 0.2) >= 0
    hardest = F.cross_entropy(
        classes[0, ~positive], torch.zeros(int((~positive).sum()), dtype=torch.int64), reduction="none"
    )
    expected = (
        -classes[0, positive].log_softmax(-1)[:, 1].sum()
        + hardest.sort(descending=True).values[: 7 * positive.sum()].sum()
    )
    torch.testing.assert_close(parts["class_loss"], expected / positive.sum())


def test_folded_norms_add_their_bias_exactly_and_are_trained_without_statistics():
    model = RetinaFaceForFaceDetection(RetinaFaceConfig(width_multiplier=0.02, pyramid_channels=8, batch_norm_eps=0.0))
    layer = model.model.body.stem
    torch.nn.init.normal_(layer.normalization.bias)
    pixels = torch.randn(2, 3, 64, 64)
    model.train()
    expected = layer.convolution(pixels) + layer.normalization.bias[:, None, None]
    assert torch.equal(layer.convolved(pixels), expected)
    labels = [{"boxes_xyxy": torch.tensor([[0.1, 0.1, 0.6, 0.6]]), "keypoints_xy": torch.rand(1, 5, 2)}] * 2
    model(pixels, labels=labels).loss.backward()
    assert layer.normalization.bias.grad.abs().sum() > 0
    assert torch.equal(layer.normalization.running_mean, torch.zeros_like(layer.normalization.running_mean))
