"""Every stage of FaRL, ours against an independent implementation or the installed original, with the difference.

    python -m benchmarks.fidelity --json FILE [--released FOLDER]

One row per comparison: what it is compared with, the largest difference, and the largest that counts as equal. Weights
are random ones in the released formats. With `--released`, the released files in a folder, under their own names, are
converted and compared too. What cannot be compared here, because a package or weights are missing, is a row that says
so. The independent implementations are those of `tests/`. Takes a few minutes on two cores, without network. The exit
status is 1 if a row is beyond its limit.

A new row is a `Row` from a function in `STAGES`.
"""

import argparse
import importlib
import importlib.util
import json
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, grid_sample, interpolate
from transformers.utils import logging

from farl_hf import FaRLImageProcessor, RetinaFaceConfig, RetinaFaceForFaceDetection
from farl_hf.conversion import RELEASED_MODELS, convert_checkpoint
from farl_hf.conversion.head_keys import RETINAFACE_KEYS
from farl_hf.conversion.key_rules import apply_key_rules
from farl_hf.errors import MissingExtraError
from farl_hf.labels import CELEBA_ATTRIBUTES
from farl_hf.processing.face_geometry_farl import LAPA_TEMPLATE, WarpGeometry, ffhq_square_matrix, sample_crops

TESTS = Path(__file__).resolve().parents[1] / "tests"
# Five points of a face in a photo of 200 x 220 pixels, turned a little; and the photo, noise.
POINTS_XY = torch.tensor([[[70.0, 80.0], [120.0, 85.0], [93.0, 112.0], [74.0, 138.0], [112.0, 141.0]]])
PHOTO_HW = (200, 220)


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Args:
        stage (`str`): What was compared.
        against (`str`): The other implementation.
        difference (`float`, *optional*): The largest; `None` where nothing could be compared.
        limit (`float`, *optional*): The largest that counts as equal.
        unit (`str`): Of both. Relative differences are divided by the other's largest absolute value.
        note (`str`): What else there is to know, or why nothing could be compared.
    """

    stage: str
    against: str
    difference: float | None = None
    limit: float | None = None
    unit: str = "relative"
    note: str = ""

    @property
    def is_equal(self) -> bool:
        """Whether it is within its limit; NaN is not, a row without a comparison is."""
        return self.difference is None or self.limit is None or self.difference <= self.limit


def reference_module(name: str, folder: str = "") -> Any:
    """A module of `tests/`, for the reference implementations in it."""
    for path in (TESTS, TESTS / folder):
        if str(path) not in sys.path:
            sys.path.insert(0, str(path))
    return importlib.import_module(name)


def largest(ours: Any, theirs: Any) -> float:
    """Largest absolute difference of two arrays of one shape."""
    ours, theirs = (torch.as_tensor(np.asarray(values)).double() for values in (ours, theirs))
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    return float((ours - theirs).abs().max())


def relative(ours: Any, theirs: Any) -> float:
    """The same over the largest absolute value of the second."""
    return largest(ours, theirs) / float(torch.as_tensor(np.asarray(theirs)).abs().max())


def photo() -> torch.Tensor:
    """A photo (3, H, W), uint8: noise, smoothed a little so that bilinear reading is not all that counts."""
    noise = torch.rand(1, 3, PHOTO_HW[0] // 2, PHOTO_HW[1] // 2, generator=torch.Generator().manual_seed(0))
    return (interpolate(noise, size=PHOTO_HW, mode="bilinear")[0] * 255).round().byte()


# --- geometry and pixels


def alignment() -> Iterator[Row]:
    facer = importlib.import_module("facer.transform")
    side = 448
    ours = FaRLImageProcessor(size={"height": side, "width": side}).crop_matrix(POINTS_XY)
    theirs = facer.get_face_align_matrix(POINTS_XY, (side, side))
    corners = torch.tensor([[0, 448, 448.0], [0, 0, 448], [1, 1, 1]])
    there = torch.linalg.inv(theirs) @ corners
    yield Row(
        "alignment, LaPa template, corners of the crop", "pyfacer", largest(ours @ there, corners[None]), 0.01, "px"
    )
    theirs = facer.get_face_align_matrix_celebm(POINTS_XY, (side, side))
    there = torch.linalg.inv(theirs) @ corners
    ours = ffhq_square_matrix(POINTS_XY, (side, side)) @ there
    yield Row("alignment, CelebA-HQ square", "pyfacer", largest(ours, theirs @ there), 0.01, "px")
    official = reference_module("test_image_processing_farl", "processing").official_canvas_points
    points = np.random.default_rng(0).uniform(60, 140, (200, 2)).astype(np.float32)
    for size in (448, 224):
        processor = FaRLImageProcessor(
            size={"height": size, "width": size}, warp_factor=0.8, pixel_grid="integer", canvas_size=512
        )
        found = processor.warp_points(torch.from_numpy(points)[None], processor.crop_matrix(POINTS_XY))[0]
        expected = (official(points - 0.5, POINTS_XY[0].numpy() - 0.5, 0.8) + 0.5) * size / 512
        against = "written from py-blueprint 0.0.1.post3"
        yield Row(f"alignment and warp of the training code at {size}", against, largest(found, expected), 1e-3, "px")


def warp() -> Iterator[Row]:
    facer = importlib.import_module("facer.transform")
    module = reference_module("test_resampling_farl", "processing")
    picture = torch.rand(3, 90, 120, generator=torch.Generator().manual_seed(1))
    faces = module.MATRICES
    for alpha in (0.0, 0.8):
        grid = facer.make_tanh_warp_grid(faces, alpha, module.SIZE, picture.shape[-2:])
        theirs = grid_sample(picture.expand(len(faces), -1, -1, -1), grid, mode="bilinear", align_corners=False)
        ours = sample_crops(picture, faces, WarpGeometry(module.SIZE, alpha, 0.0))
        yield Row(f"warp on pixel centres, alpha {alpha}", "pyfacer", largest(ours, theirs), 2e-4, "of [0, 1]")
        shift = torch.eye(3).repeat(2, 1, 1)  # continuous coordinates are indices plus a half
        shift[0, :2, 2], shift[1, :2, 2] = 0.5, -0.5
        ours = sample_crops(picture, shift[0] @ faces @ shift[1], WarpGeometry(module.SIZE, alpha, 0.5))
        theirs = [module.official_crop(picture[1].numpy(), one.double().numpy(), module.SIZE, alpha) for one in faces]
        against = "written from py-blueprint, SciPy"
        yield Row(f"warp on the integer grid, alpha {alpha}", against, largest(ours[:, 1], theirs), 2e-4, "of [0, 1]")


def image_processor() -> Iterator[Row]:
    for name, module, settings in (
        ("lapa/448", "facer.face_parsing.farl", {"warp_factor": 0.8, "face_template": LAPA_TEMPLATE}),
        ("celebm/448", "facer.face_parsing.farl", {"alignment": "ffhq_square"}),
        ("ibug300w/448", "facer.face_alignment.farl", {"face_scale": 0.8}),
    ):
        original = importlib.import_module(module).pretrain_settings[name]
        grid = original["get_grid_fn"](matrix=original["get_matrix_fn"](POINTS_XY), orig_shape=PHOTO_HW)
        crops = grid_sample(photo()[None].float() / 255, grid, mode="bilinear", align_corners=False)
        processor = FaRLImageProcessor(**settings)
        ours = processor(photo(), keypoints=[POINTS_XY[0]], return_tensors="pt")["pixel_values"]
        mean, std = (np.reshape(values, (3, 1, 1)) for values in (CLIP_MEAN, CLIP_STD))
        difference = largest(ours, (crops.double().numpy() - mean) / std)
        yield Row(
            f"image processor, photo to input, {name}", "pyfacer, CLIP's constants", difference, 5e-3, "of the input"
        )


# github.com/openai/CLIP, clip/clip.py, _transform
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def label_maps() -> Iterator[Row]:
    module = reference_module("test_post_processing_farl", "processing")
    from farl_hf.processing.image_processing_farl import unwarp_label_map

    for offset, against in ((0.0, "pyfacer"), (0.5, "written from py-blueprint, SciPy")):
        wrong = compared = 0
        for face in module.FACES:
            matrix, scores = module.matrix_of(face), module.smooth_scores(5, None)
            ours = unwarp_label_map(scores, matrix, module.PHOTO, WarpGeometry(module.CROP, 0.8, offset)).numpy()
            theirs = module.FULL_WAYS[offset](scores, matrix, 0.8)
            inside = np.isfinite(theirs).all(axis=0)
            ordered = np.sort(np.where(inside, theirs, 0), axis=0)
            inside &= ordered[-1] - ordered[-2] >= 1e-4 * np.abs(scores.numpy()).max()  # a tie may fall either way
            wrong += int((inside & (ours != np.where(inside, theirs, 0).argmax(axis=0))).sum())
            compared += int(inside.sum())
        grid = "pixel centres" if offset == 0 else "integer grid"
        yield Row(f"label maps in the photo, {grid}", against, wrong / compared, 0.0, "share", f"{compared:,} pixels")


# --- networks


def networks() -> Iterator[Row]:
    """Random weights in the released formats, converted, and run beside the original code."""
    sources = reference_module("conversion_sources")
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        for label, write in {
            "encoders": lambda path: sources.write_two_towers(path, sources.make_two_towers()),
            "parsing": lambda path: sources.write_parsing(path, sources.make_parsing_network()),
            "landmarks": lambda path: sources.write_landmarks(path, sources.make_landmark_network()),
            "attributes": lambda path: sources.write_plain(path, sources.make_attributes(levels=(3, 5, 7, 11))),
            "detector, MobileNetV1": lambda path: sources.write_plain(path, sources.make_detector()),
            "detector, ResNet-50": lambda path: sources.write_plain(path, sources.make_detector("resnet")),
        }.items():
            yield from _converted(label, write(Path(folder) / "source.pt"), Path(folder) / "out")


def _converted(label: str, source: Path, output: Path, name: str | None = None) -> Iterator[Row]:
    """The stages that `farl-hf convert --check` compares; blocks and levels of the pyramid are one row each."""
    report = convert_checkpoint(source, output, name=name, check=True, overwrite=True)
    rows: dict[str, Any] = {}
    for stage in report.parity or ():
        kind = stage.stage.partition(" ")[0]
        key = {"block": "vision encoder, blocks", "pyramid": "feature pyramid"}.get(kind, stage.stage)
        if key not in rows or stage.difference > rows[key].difference:
            rows[key] = stage
    against = "pyfacer, open_clip" if report.kind == "two_towers" else "pyfacer"
    if report.kind in ("parsing", "landmarks"):
        against += ", UPerNet of Transformers"
    for key, stage in rows.items():
        yield Row(f"{label}: {key}", against, stage.difference, stage.limit, stage.unit)


def detector_layout() -> Iterator[Row]:
    """Both detectors against functions written from the published layout, which share no code with pyfacer."""
    module = reference_module("test_modeling_retinaface", "modeling")
    layout = reference_module("retinaface_layout")
    pixels = torch.randn(1, 3, 123, 150, generator=torch.Generator().manual_seed(0)) * 60
    for body in ("mobilenet_v1", "resnet"):
        weights = module.make_original(body).state_dict()
        model = RetinaFaceForFaceDetection(RetinaFaceConfig(body=body)).eval()
        model.load_state_dict(apply_key_rules(weights, RETINAFACE_KEYS, "a detector")[0])
        with torch.no_grad():
            ours, theirs = model(pixels), layout.outputs_of_layout(weights, pixels)
        found = (ours.box_offsets, ours.class_logits, ours.keypoint_offsets)
        difference = max(relative(mine, other) for mine, other in zip(found, theirs, strict=True))
        yield Row(f"detector, {body}: all outputs", "written from Pytorch_Retinaface b984b4b", difference, 1e-4)


def suppression() -> Iterator[Row]:
    from farl_hf.processing.image_processing_retinaface import nms_inclusive

    original = importlib.import_module("facer.face_detection.retinaface").nms
    rng = np.random.default_rng(0)
    corners, sides = rng.uniform(0, 300, (1000, 2)), rng.uniform(4, 60, (1000, 2))
    boxes = torch.from_numpy(np.concatenate([corners, corners + sides], 1).astype(np.float32))
    scores = torch.from_numpy(rng.permutation(1000).astype(np.float32) / 1000)
    theirs = original(torch.cat([boxes, scores[:, None]], 1), 0.4)
    differing = len(set(nms_inclusive(boxes, scores, 0.4).tolist()) ^ set(theirs))
    yield Row("detector: suppression of 1,000 boxes", "pyfacer", differing, 0, "boxes", f"{len(theirs)} are kept")


def decoding_of_heat_maps() -> Iterator[Row]:
    from farl_hf.modeling.modeling_farl_heads import decode_heatmaps

    original = importlib.import_module("facer.face_alignment.network.geometry").heatmap2points
    maps = torch.rand(2, 98, 112, 112, generator=torch.Generator().manual_seed(0))
    yield Row(
        "landmarks from heat maps", "pyfacer", largest(decode_heatmaps(maps), original(maps)), 1e-5, "of the crop"
    )


def tokenizer() -> Iterator[Row]:
    import open_clip

    from farl_hf.conversion.clip_vocabulary import make_clip_tokenizer

    texts = reference_module("text_samples").random_texts()[:3000]
    ours = make_clip_tokenizer()(texts, padding="max_length", return_tensors="pt")
    same = (ours["input_ids"] * ours["attention_mask"] == open_clip.tokenize(texts)).all(dim=1)
    yield Row("tokenizer, 3,000 strings of many languages", "open_clip", float((~same).sum()), 0, "strings")


# --- training


def losses() -> Iterator[Row]:
    from open_clip.loss import ClipLoss

    from farl_hf.modeling.modeling_farl import contrastive_loss
    from farl_hf.modeling.modeling_farl_heads import attribute_loss, landmark_losses, parsing_loss
    from farl_hf.modeling.modeling_retinaface import make_anchors, retinaface_loss

    generator = torch.Generator().manual_seed(0)
    images, texts = (torch.nn.functional.normalize(torch.randn(32, 64, generator=generator), dim=-1) for _ in "it")
    scale = torch.tensor([14.3])
    difference = relative(contrastive_loss(images, texts, scale), ClipLoss()(images, texts, scale))
    yield Row("loss: image-text contrast", "open_clip", difference, 1e-5)

    logits, labels = torch.randn(2, 11, 28, 28, generator=generator), torch.randint(0, 11, (2, 64, 64))
    resized = interpolate(logits, size=(64, 64), mode="bilinear", align_corners=False)
    yield Row("loss: parsing", "PyTorch", relative(parsing_loss(logits, labels), cross_entropy(resized, labels)), 1e-5)

    scores, present = torch.randn(8, 40, generator=generator), torch.randint(0, 2, (8, 40)).float()
    theirs = binary_cross_entropy_with_logits(scores, present)
    yield Row("loss: attributes", "PyTorch", relative(attribute_loss(scores, present), theirs), 1e-5)

    maps, points, truth = torch.randn(2, 5, 32, 32), torch.rand(2, 5, 2), torch.rand(2, 5, 2)
    ours = landmark_losses(maps, points, truth, 128, 5.0)
    for name, mine, other in zip(("points", "heat maps"), ours, _landmark_losses(maps, points, truth), strict=True):
        yield Row(f"loss: landmarks, {name}", "NumPy, written from FaRL's geometry.py", relative(mine, other), 1e-4)

    module = reference_module("test_modeling_retinaface", "modeling")
    rng, config = np.random.default_rng(3), RetinaFaceConfig()
    anchors = make_anchors((96, 128), config.steps, config.min_sizes)
    faces = [
        module.random_faces(rng, 3, [True, False, True]),
        module.random_faces(rng, 1),
        module.random_faces(rng, 0),
    ]
    outputs = [torch.randn(3, len(anchors), width, generator=generator) for width in (2, 4, 10)]
    loss, _ = retinaface_loss(*outputs, anchors, (96, 128), faces, config)
    normalised = (anchors / torch.tensor([128, 96, 128, 96])).tolist()
    theirs = torch.tensor(module.loop_loss(*(values.tolist() for values in outputs), normalised, faces))
    yield Row("loss: detector", "a loop written from Pytorch_Retinaface", relative(loss, theirs), 1e-4)


def _landmark_losses(maps, points, truth, size=128, radius=5.0):
    """Mean distance of points; mean binary cross-entropy of maps against exp(-8 r^2 / R^2) within the radius R."""
    distance = np.linalg.norm(points.numpy() - truth.numpy(), axis=-1).mean()
    scores = interpolate(maps, size=(size, size), mode="bilinear", align_corners=False).double().numpy()
    centres = np.arange(size) + 0.5
    x, y = (size * truth[..., axis].double().numpy()[..., None, None] for axis in (0, 1))
    squared = (centres[None, :] - x) ** 2 + (centres[:, None] - y) ** 2
    target = np.where(squared <= radius**2, np.exp(-8 * squared / radius**2), 0)
    return distance, (np.logaddexp(0, scores) - scores * target).mean()


def masks() -> Iterator[Row]:
    from transformers.models.flava.image_processing_flava import FlavaMaskingGenerator

    from farl_hf.data.samples.pretraining_samples import block_mask

    count, generator = 2000, np.random.default_rng(0)
    ours = np.stack([block_mask((14, 14), generator) for _ in range(count)])
    random.seed(0)
    reference = FlavaMaskingGenerator(14, total_mask_patches=75, mask_group_min_patches=16)
    theirs = np.stack([reference().numpy().astype(bool) for _ in range(count)])
    sizes = [float(one.sum(axis=(1, 2)).mean()) for one in (ours, theirs)]
    note = f"{count:,} masks each; the limit is sampling noise"
    yield Row("masks: mean number of patches", "FLAVA's copy of BEiT", abs(sizes[0] - sizes[1]), 0.3, "patches", note)
    share = largest(ours.mean(axis=0), theirs.mean(axis=0))
    yield Row("masks: how often a patch is masked", "FLAVA's copy of BEiT", share, 0.08, "share", note)


def visual_tokens() -> Iterator[Row]:
    from transformers import FlavaImageCodebook, FlavaImageCodebookConfig

    from farl_hf.training.pretraining.visual_tokens import FlavaVisualTokenizer

    dalle = reference_module("dalle_encoder")
    torch.manual_seed(0)
    codebook = FlavaImageCodebook(FlavaImageCodebookConfig(hidden_size=32, vocab_size=8192))
    pictures = torch.rand(8, 3, 112, 112)
    dalle.spread_tokens(codebook, 0.8 * pictures + 0.1)
    tokens = FlavaVisualTokenizer(codebook)(pictures)
    theirs = dalle.encode(codebook.state_dict(), 0.8 * pictures + 0.1).argmax(dim=1)
    note = f"{tokens.numel():,} tokens, {tokens.unique().numel():,} distinct of 8,192"
    share = float((tokens != theirs).double().mean())
    yield Row("visual tokens", "written from openai/DALL-E", share, 1e-3, "share that differs", note)


# --- scores


def metrics() -> Iterator[Row]:
    import sklearn.metrics

    from farl_hf.metrics import area_under_curve_and_failure_rate, confusion_matrix, nme_per_face, normaliser_px
    from farl_hf.metrics.attributes import attribute_accuracy, count_correct_attributes
    from farl_hf.metrics.detection_ap import average_precision
    from farl_hf.metrics.parsing import parsing_f1

    official = reference_module("test_landmarks", "metrics")
    rng = np.random.default_rng(0)
    truth = rng.random((300, 98, 2)) * 100
    found = truth + rng.normal(0, 3, truth.shape)
    ours = nme_per_face(found, truth, normaliser_px(truth))
    loop = [
        np.mean([np.hypot(*d) for d in a - b]) / np.hypot(*(b[60] - b[72])) for a, b in zip(found, truth, strict=True)
    ]
    yield Row("score: NME, inter-ocular", "a loop", largest(ours, loop), 1e-9, "fraction")
    errors = rng.gamma(2.0, 0.02, 300)
    for threshold in (0.07, 0.1):
        ours = area_under_curve_and_failure_rate(errors, threshold)
        theirs = official.official_area_and_failures(errors, threshold)
        against = "SciPy, written from FaRL's scorer.py"
        yield Row(f"score: AUC and failure rate at {threshold}", against, largest(ours, theirs), 1e-9, "fraction")
    labels, predictions = rng.integers(0, 11, (2, 40_000))
    scores = parsing_f1(confusion_matrix(predictions, labels, 11), [str(index) for index in range(11)])
    theirs = sklearn.metrics.f1_score(labels, predictions, labels=list(range(1, 11)), average="macro")
    yield Row("score: F1 of parsing", "scikit-learn", abs(scores["f1_mean"] - theirs), 1e-9, "fraction")
    probabilities, present = rng.random((500, 40)), rng.integers(0, 2, (500, 40))
    mean = attribute_accuracy(*count_correct_attributes(probabilities, present), CELEBA_ATTRIBUTES)["mean_accuracy"]
    theirs = np.mean(
        [sklearn.metrics.accuracy_score(t, p > 0.5) for t, p in zip(present.T, probabilities.T, strict=True)]
    )
    yield Row("score: mean accuracy of attributes", "scikit-learn", abs(mean - theirs), 1e-9, "fraction")
    confidence, correct = rng.random(400), rng.random(400) < 0.6
    boxes = np.where(correct[:, None], [0, 0, 10, 10], [50, 50, 60, 60])
    photos = [{"scores": [c], "boxes_xyxy": [box]} for c, box in zip(confidence, boxes, strict=True)]
    ours = average_precision(photos, [[[0, 0, 10, 10]] if one else [] for one in correct])["average_precision"]
    precisions, recalls, _ = sklearn.metrics.precision_recall_curve(correct, confidence)
    envelope = np.maximum.accumulate(precisions)  # recall falls along scikit-learn's curve
    yield Row(
        "score: average precision",
        "scikit-learn's curve",
        abs(ours + np.sum(np.diff(recalls) * envelope[:-1])),
        1e-9,
        "fraction",
    )


# --- what is not here


def augmentation() -> Iterator[Row]:
    """Distributions of what the official recipes make of a picture."""
    test = reference_module("test_released_augmentation", "data")
    for name in test.COLORS:
        ours = test.draws_of_ours(test.on_canvas(name, test.CANVAS_PX, test.BLUR), test.CANVAS_PX)
        distances = test.distances(ours, test.draws_of_the_released(name, test.CANVAS_PX))
        yield Row(
            *(f"augmentation, {name}", "released configurations, written out", max(distances.values()), test.SAME),
            *("Kolmogorov-Smirnov", f"{test.NUM_DRAWS:,} draws, the farthest of {len(distances)} statistics"),
        )


def optimization() -> Iterator[Row]:
    """Fifty steps of training: rates of the parts, AdamW, schedule and average."""
    path = TESTS / "training" / "test_released_optimization.py"
    command = [sys.executable, "-m", "pytest", "-n", "0", "-s", "-m", "nightly or not nightly", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=TESTS.parent)
    found = [float(value) for value in re.findall(r"largest difference ([\d.e+-]+)", done.stdout)]
    against = "released optimizers and trainers, written out"
    if done.returncode or not found:
        yield Row("50 steps of training", against, note=f"cannot be compared: {done.stdout[-200:]}")
    else:
        note = f"{len(found)} configurations, float64, parameters and average"
        yield Row("50 steps of training", against, max(found), 1e-9, "absolute", note)


def missing_packages() -> Iterator[Row]:
    for package, project, instead in (
        ("mmseg", "mmsegmentation 0.18 (UPerNet head)", "Transformers' independent port stands in for it"),
        (
            "blueprint",
            "py-blueprint 0.0.1.post3 (matrices, warps, trainer)",
            "functions written from its source stand in",
        ),
        ("farl", "FacePerceiver/FaRL 3fb4694 (training code)", "no package; pyfacer has its networks"),
        ("dall_e", "openai/DALL-E (visual tokens)", "a function written from its source stands in"),
    ):
        if importlib.util.find_spec(package) is None:
            yield Row(f"installed original: {project}", package, note=f"not installed; {instead}")


def released_files(folder: Path | None) -> Iterator[Row]:
    for name, row in RELEASED_MODELS.items():
        source = folder / row.file_name if folder else None
        if source is None or not source.is_file():
            yield Row(f"released file: {name}", row.file_name, note="not here; --released FOLDER compares it")
        elif row.kind == "detector_body":
            yield Row(f"released file: {name}", row.file_name, note="a body without heads; see tests/conversion")
        else:
            with tempfile.TemporaryDirectory() as output:
                yield from _converted(f"released file: {name}", source, Path(output) / "out", name)


STAGES: tuple[Callable[[], Iterator[Row]], ...] = (
    *(alignment, warp, image_processor, networks, detector_layout, suppression, decoding_of_heat_maps, label_maps),
    *(tokenizer, losses, masks, visual_tokens, metrics, augmentation, optimization, missing_packages),
)


def measure(released: Path | None = None) -> Iterator[Row]:
    """All rows; a stage whose other side cannot be imported is one row that says so."""
    for stage in (*STAGES, lambda: released_files(released)):
        try:
            yield from stage()
        except (ImportError, MissingExtraError) as error:
            yield Row(stage.__name__.replace("_", " "), "", note=f"cannot be compared: {error}")


def table(rows: list[Row]) -> str:
    """In Markdown."""
    cells = [
        [
            row.stage,
            row.against,
            "" if row.difference is None else f"{row.difference:.1e}",
            "" if row.limit is None else f"{row.limit:.0e}",
            row.unit if row.difference is not None else "",
            ("" if row.is_equal else "**different** ") + row.note,
        ]
        for row in rows
    ]
    lines = [["stage", "against", "largest difference", "limit", "unit", ""], ["---"] * 6, *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="Where to write the rows.")
    parser.add_argument("--released", type=Path, help="Folder of released files, under their own names.")
    arguments = parser.parse_args()
    logging.disable_progress_bar()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        rows = list(measure(arguments.released))
    print(table(rows))
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    sys.exit(0 if all(row.is_equal for row in rows) else 1)


if __name__ == "__main__":
    main()
