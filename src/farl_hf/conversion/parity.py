"""Compares a converted checkpoint with the original code: on the same seeded inputs, stage by stage, and on a photo.

The original networks are built from pyfacer's and open_clip's code and filled with the source's own weights; a graph
is run by ONNX Runtime. On a photo, facer reads the source itself. Of the checkpoint, nothing but its folder is used.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import CLIPConfig, CLIPModel
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from farl_hf import modeling
from farl_hf.conversion import original_networks
from farl_hf.conversion.source_reading import SourceWeights
from farl_hf.errors import ConversionError, MissingExtraError
from farl_hf.processing import FaRLImageProcessor, RetinaFaceImageProcessor

NETWORK_LIMIT = 1e-4  # relative, float32
PROBABILITY_LIMIT = 1e-4
LANDMARK_LIMIT_PX = 1e-3
DETECTION_LIMIT_PX = 0.01
LABEL_LIMIT = 1e-3  # share of the pixels of a photo
PHOTO_LANDMARK_LIMIT_PX = 0.1  # facer decodes in the photo, this library in the crop
_DETECTOR_INPUT_HW = (256, 320)
_DETECTOR_MEAN = torch.tensor([104.0, 117.0, 123.0]).view(3, 1, 1)
_TEXT_LENGTH = 77
_PHOTO_BORDER_PX = 64  # the crop of the astronaut begins 13 pixels above the photo


@dataclass(frozen=True)
class StageDifference:
    """How far a stage of the converted model is from the original.

    Args:
        stage (`str`): What was compared.
        difference (`float`): Largest difference; relative ones are divided by the original's largest absolute value.
        limit (`float`): Largest that counts as equal.
        unit (`str`): `"relative"`, `"absolute"` or `"px"`.
    """

    stage: str
    difference: float
    limit: float
    unit: str = "relative"

    @property
    def is_equal(self) -> bool:
        """Whether the difference is within the limit; NaN is not."""
        return self.difference <= self.limit


def check_parity(weights: SourceWeights, checkpoint: Path, kind: str) -> tuple[StageDifference, ...]:
    """
    Compare a converted checkpoint with the original network.

    Args:
        weights (`SourceWeights`): What was converted.
        checkpoint (`Path`): The checkpoint folder.
        kind (`str`): As in [`ModelKind`].

    Returns:
        `tuple[StageDifference, ...]`: From the first stage to the last.

    Raises:
        MissingExtraError: The original code is not installed.
        ConversionError: An ONNX graph cannot be run, or its outputs are not those of a RetinaFace.
    """
    compare = {
        "two_towers": _compare_clip_folder if weights.shape == "clip_folder" else _compare_two_towers,
        "parsing": _compare_parsing,
        "landmarks": _compare_landmarks,
        "attributes": _compare_attributes,
        "detection": _compare_graph if weights.shape == "onnx" else _compare_detection,
    }[kind]
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return tuple(compare(weights, checkpoint))


def require_original(weights: SourceWeights, kind: str) -> None:
    """Imports what `check_parity` compares with.

    Raises:
        MissingExtraError: It is not installed.
    """
    if weights.shape == "onnx":
        _onnx_runtime()
    elif weights.shape != "clip_folder":
        original_networks.import_original("facer")
        if kind == "two_towers":
            original_networks.import_original("open_clip")


def _onnx_runtime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError('--check of a graph needs `onnxruntime`: pip install "farl-hf[export]".') from error
    return onnxruntime


def _load(name: str, checkpoint: Path) -> Any:
    return getattr(modeling, name).from_pretrained(checkpoint, dtype=torch.float32).eval()


@contextmanager
def _replaced(owner: type, name: str, value: Any) -> Iterator[None]:
    """Give a method of a class another value for a while; an inherited one is inherited again afterwards."""
    is_own, original = name in vars(owner), getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if is_own:
            setattr(owner, name, original)
        else:
            delattr(owner, name)


def _relative(stage: str, ours: torch.Tensor, theirs: torch.Tensor) -> StageDifference:
    return StageDifference(stage, float((ours - theirs).abs().max() / theirs.abs().max()), NETWORK_LIMIT)


def _normalised(images: torch.Tensor) -> torch.Tensor:
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD))
    return (images - mean) / std


def _compare_two_towers(weights: SourceWeights, checkpoint: Path) -> Iterator[StageDifference]:
    model = _load("FaRLModel", checkpoint)
    visual, clip = original_networks.build_two_towers(weights.tensors)
    side = model.config.vision_config.image_size
    pixels = torch.randn(2, 3, side, side)
    yield from _compare_blocks(model.vision_model, visual, pixels, model.config.feature_levels)
    yield _relative("image embedding", model.get_image_features(pixels).pooler_output, visual(pixels))
    ids = _random_texts(model.config.text_config)
    yield _relative("text embedding", model.get_text_features(ids).pooler_output, clip.encode_text(ids))
    theirs = clip.encode_image(pixels, normalize=True) @ clip.encode_text(ids, normalize=True).T
    ours = model(input_ids=ids, pixel_values=pixels).logits_per_image
    yield _relative("similarities", ours, theirs * clip.logit_scale.exp())


def _compare_clip_folder(weights: SourceWeights, checkpoint: Path) -> Iterator[StageDifference]:
    model, clip = _load("FaRLModel", checkpoint), CLIPModel(CLIPConfig(**weights.settings)).eval()
    names = clip.state_dict()
    clip.load_state_dict({name: value.float() for name, value in weights.tensors.items() if name in names})
    side = model.config.vision_config.image_size
    pixels, ids = torch.randn(2, 3, side, side), _random_texts(model.config.text_config)
    ours, theirs = model(input_ids=ids, pixel_values=pixels), clip(input_ids=ids, pixel_values=pixels)
    yield _relative("image embedding", ours.image_embeds, theirs.image_embeds)
    yield _relative("text embedding", ours.text_embeds, theirs.text_embeds)
    yield _relative("similarities", ours.logits_per_image, theirs.logits_per_image)


def _random_texts(config) -> torch.Tensor:
    """Two texts of different lengths; padded with zeros as openai/CLIP does, the end token being the largest id."""
    ids = torch.zeros(2, min(_TEXT_LENGTH, config.max_position_embeddings), dtype=torch.long)
    for row, length in zip(ids, (5, 9), strict=True):
        row[1:length] = torch.randint(1, config.bos_token_id, (length - 1,))
        row[0], row[length] = config.bos_token_id, config.eos_token_id
    return ids


def _compare_blocks(ours, visual, pixels, levels) -> Iterator[StageDifference]:
    """Patch and class tokens of chosen blocks; the original runs (T, B, C)."""
    outputs: dict[int, torch.Tensor] = {}

    def keep(index):
        return lambda _module, _inputs, output: outputs.update({index: output.transpose(0, 1)})

    hooks = [visual.transformer.resblocks[index].register_forward_hook(keep(index)) for index in set(levels)]
    visual(pixels)
    for hook in hooks:
        hook.remove()
    for index, tokens in zip(levels, ours(pixels, block_indices=levels).block_outputs, strict=True):
        yield _relative(f"block {index}", tokens, outputs[index])


def _compare_parsing(weights: SourceWeights, checkpoint: Path) -> Iterator[StageDifference]:
    model = _load("FaRLForFaceParsing", checkpoint)
    original = original_networks.build_dense_network(weights.tensors, "head", model.config.feature_levels)
    images, logits = yield from _compare_pyramid(model, original)
    yield _relative("logits", model(_normalised(images)).logits, logits)


def _compare_landmarks(weights: SourceWeights, checkpoint: Path) -> Iterator[StageDifference]:
    model = _load("FaRLForLandmarks", checkpoint)
    original = original_networks.build_dense_network(weights.tensors, "heatmap_head", model.config.feature_levels)
    images, logits = yield from _compare_pyramid(model, original)
    yield _relative("logits", model(_normalised(images)).logits, logits)
    # A point is a mean over a map. Of the same weights, float32 gives points that are thousandths of a pixel from
    # those of float64 in either network; in float64, what is left is not rounding.
    # Both networks and their decoding ask for float32 at some places. One network at a time, for the memory.
    with _replaced(torch.Tensor, "float", torch.Tensor.double):
        landmarks = model.double()(_normalised(images.double())).landmarks
        del model
        points = original_networks.decode_as_in_training(original.double()(images.double()))
    distance = float((landmarks - points).norm(dim=-1).max() * images.shape[-1])
    yield StageDifference("landmarks in the crop, in float64", distance, LANDMARK_LIMIT_PX, "px")


def _compare_pyramid(model, original):
    """Yield the levels of the pyramid; return the images in [0, 1] and the original's logits for them."""
    side = model.config.vision_config.image_size
    images = torch.rand(1, 3, side, side)
    theirs, _ = original.backbone(images)
    ours = model.pyramid(model.vision_model.feature_maps(_normalised(images), model.config.feature_levels))
    for index, (mine, level) in enumerate(zip(ours, theirs, strict=True), start=1):
        yield _relative(f"pyramid level {index}", mine, level)
    return images, original(images)


def _compare_attributes(weights: SourceWeights, checkpoint: Path) -> Iterator[StageDifference]:
    model = _load("FaRLForAttributes", checkpoint)
    levels = model.config.feature_levels
    original = original_networks.build_attribute_network(weights.tensors, levels)
    side = model.config.vision_config.image_size
    pixels = _normalised(torch.rand(2, 3, side, side))
    features, class_tokens = original.backbone(pixels)
    for index, tokens, maps, class_BC in zip(
        levels, model.vision_model(pixels, block_indices=levels).block_outputs, features, class_tokens, strict=True
    ):
        yield _relative(f"block {index}", tokens[:, 1:].transpose(1, 2), maps.flatten(2))
        yield _relative(f"block {index}, class token", tokens[:, 0], class_BC)
    ours, theirs = model(pixels).logits, original(pixels)
    yield _relative("logits", ours, theirs)
    difference = float((ours.sigmoid() - theirs.sigmoid()).abs().max())
    yield StageDifference("probabilities", difference, PROBABILITY_LIMIT, "absolute")


def _compare_detection(weights: SourceWeights, checkpoint: Path) -> Iterator[StageDifference]:
    model = _load("RetinaFaceForFaceDetection", checkpoint)
    original = original_networks.build_detector(weights.tensors, model.config.body)
    photos = torch.randint(0, 256, (1, 3, *_DETECTOR_INPUT_HW), dtype=torch.uint8)
    pixels = photos.float() - _DETECTOR_MEAN
    outputs, (boxes, scores, points) = model(pixels), original(pixels)
    yield from _compare_anchors(outputs, boxes, scores, points)
    yield from _compare_detections(outputs, original, photos, threshold=_busy_threshold(scores))


def _compare_graph(weights: SourceWeights, checkpoint: Path) -> Iterator[StageDifference]:
    """Against ONNX Runtime, at a size that 32 does not divide, or at the graph's only one.

    The graph's outputs are told by their shapes.
    """
    onnxruntime = _onnx_runtime()
    height, width = _DETECTOR_INPUT_HW[0] - 11, _DETECTOR_INPUT_HW[1] - 7
    try:
        session = onnxruntime.InferenceSession(weights.graph, providers=["CPUExecutionProvider"])
        *_, fixed_height, fixed_width = session.get_inputs()[0].shape  # numbers, or names of sizes that are free
        height = fixed_height if isinstance(fixed_height, int) else height
        width = fixed_width if isinstance(fixed_width, int) else width
        photos = torch.randint(0, 256, (1, 3, height, width), dtype=torch.uint8)
        pixels = photos.float() - _DETECTOR_MEAN
        found = session.run(None, {session.get_inputs()[0].name: pixels.numpy()})
    except Exception as error:  # ONNX Runtime has a type for each fault of a graph, or of an input's size
        raise ConversionError(
            f"ONNX Runtime cannot run the graph on a picture of {height} x {width} pixels, so --check has "
            f"nothing to compare with: {error}"
        ) from error
    ours = _load("RetinaFaceForFaceDetection", checkpoint)(pixels)
    shapes = {(1, ours.box_offsets.shape[1], size): size for size in (2, 4, 10)}
    theirs = {shapes[values.shape]: torch.from_numpy(values) for values in found if values.shape in shapes}
    if len(theirs) < len(shapes):
        raise ConversionError(
            f"The graph gives outputs of shapes {', '.join(str(tuple(values.shape)) for values in found)}; --check "
            f"compares 2 scores, 4 box offsets and 10 point offsets: {', '.join(map(str, shapes))}."
        )
    yield from _compare_anchors(ours, boxes=theirs[4], scores=theirs[2], points=theirs[10])


def _compare_anchors(outputs, boxes, scores, points) -> Iterator[StageDifference]:
    yield _relative("box offsets", outputs.box_offsets, boxes)
    yield _relative("scores", outputs.class_logits.softmax(-1), scores)
    yield _relative("point offsets", outputs.keypoint_offsets, points)


def _busy_threshold(scores) -> float:
    """A threshold between two scores, so that the same few anchors pass in both implementations with any weights."""
    best = scores[0, :, 1].sort(descending=True).values[:100]
    gap = (best[10:-1] - best[11:]).argmax() + 10
    return float((best[gap] + best[gap + 1]) / 2)


def _compare_detections(outputs, original, photos, threshold) -> Iterator[StageDifference]:
    processor = RetinaFaceImageProcessor(pad_size_divisor=1, score_threshold=threshold)
    sizes = [tuple(photos.shape[-2:])]
    found = processor.post_process_face_detection(outputs, original_sizes=sizes, input_scales=[(1.0, 1.0)])[0]
    theirs = original_networks.detect(original, photos, threshold)
    yield from _compare_found(found, theirs)


def _compare_found(found, theirs, where="") -> Iterator[StageDifference]:
    count = float(abs(len(found["scores"]) - len(theirs["rects"])))
    yield StageDifference(f"{where}number of detections", count, 0.0, "absolute")
    if count == 0 and len(theirs["rects"]):
        boxes = float((found["boxes_xyxy"] - theirs["rects"]).abs().max())
        points = float((found["keypoints_xy"] - theirs["points"]).abs().max())
        yield StageDifference(f"{where}boxes", boxes, DETECTION_LIMIT_PX, "px")
        yield StageDifference(f"{where}five points", points, DETECTION_LIMIT_PX, "px")


# On a photo

# Task and number of outputs -> name of facer's settings.
_FACER_NAMES = {
    ("parsing", 11): "lapa/448",
    ("parsing", 19): "celebm/448",
    ("landmarks", 68): "ibug300w/448",
    ("landmarks", 98): "wflw/448",
    ("landmarks", 19): "aflw19/448",
    ("attributes", 40): "celeba/224",
}


def check_on_photo(
    source: Path, checkpoint: Path, kind: str, photo_rgb: np.ndarray, keypoints_xy: torch.Tensor
) -> tuple[StageDifference, ...]:
    """
    Compare a converted checkpoint with facer, which reads the source by its own loader: a photo in, results out.

    Args:
        source (`Path`): What was converted. facer's loader may run code in it.
        checkpoint (`Path`): The checkpoint folder.
        kind (`str`): As in [`ModelKind`].
        photo_rgb (`np.ndarray` of shape `(H, W, 3)`): 8 bits.
        keypoints_xy (`torch.Tensor` of shape `(F, 5, 2)`): Five points of each face, photo pixels.

    Returns:
        `tuple[StageDifference, ...]`: Empty for what facer does not have, such as backbones.

    Raises:
        MissingExtraError: facer is not installed.
    """
    compare = {
        "parsing": _compare_label_maps,
        "landmarks": _compare_photo_landmarks,
        "attributes": _compare_photo_attributes,
        "detection": _compare_photo_detections,
    }.get(kind)
    if compare is None:
        return ()
    photo_1CHW = torch.from_numpy(photo_rgb.copy()).permute(2, 0, 1)[None]
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        named = Path(folder) / "source_jit.pt"  # facer tells archives by `jit` in their name
        named.symlink_to(source.resolve())
        return tuple(compare(str(named), checkpoint, photo_1CHW, keypoints_xy.float()))


def _facer_and_ours(kind: str, class_name: str, source: str, checkpoint: Path, photo_1CHW: Any, points_F52: Any):
    """What facer says of the faces; our outputs, matrices and processor."""
    module, facer_class = {
        "parsing": ("face_parsing", "FaRLFaceParser"),
        "landmarks": ("face_alignment", "FaRLFaceAlignment"),
        "attributes": ("face_attribute", "FaRLFaceAttribute"),
    }[kind]
    model = _load(class_name, checkpoint)
    processor: Any = FaRLImageProcessor.from_pretrained(checkpoint)
    original = original_networks.import_original(f"facer.{module}.farl")
    name = _FACER_NAMES[kind, model.config.num_labels]
    # facer moves its attribute network to a GPU, whatever the device (facer/farl/classification.py, lines 62 and 141).
    with _replaced(torch.nn.Module, "cuda", lambda module: module):
        facer = getattr(original, facer_class)(name, source, device=torch.device("cpu"))
    faces = {"image_ids": torch.zeros(len(points_F52), dtype=torch.long), "points": points_F52}
    theirs = facer(photo_1CHW, faces)
    inputs = processor(photo_1CHW[0], keypoints=[points_F52], return_tensors="pt", input_data_format="channels_first")
    return theirs, model(inputs["pixel_values"]), inputs["crop_from_photo"], processor


def _compare_label_maps(source, checkpoint, photo_1CHW, points_F52) -> Iterator[StageDifference]:
    theirs, outputs, matrices, processor = _facer_and_ours(
        "parsing", "FaRLForFaceParsing", source, checkpoint, photo_1CHW, points_F52
    )
    sizes_hw = [photo_1CHW.shape[-2:]] * len(points_F52)
    ours = torch.stack(processor.post_process_face_parsing(outputs, matrices, sizes_hw))
    different = (ours != theirs["seg"]["logits"].argmax(dim=1)).float().mean()
    yield StageDifference("photo: pixels of another class", float(different), LABEL_LIMIT, "absolute")


def _compare_photo_landmarks(source, checkpoint, photo_1CHW, points_F52) -> Iterator[StageDifference]:
    # facer cuts off what a map has outside the photo, see docs/official_weights.md; with a border, that is nothing.
    bordered_1CHW = torch.nn.functional.pad(photo_1CHW, [_PHOTO_BORDER_PX] * 4)
    theirs, outputs, matrices, processor = _facer_and_ours(
        "landmarks", "FaRLForLandmarks", source, checkpoint, bordered_1CHW, points_F52 + _PHOTO_BORDER_PX
    )
    # facer counts from the centre of the first pixel, this library from its corner.
    distances = (torch.stack([*processor.post_process_landmarks(outputs, matrices)]) - theirs["alignment"] - 0.5).norm(
        dim=-1
    )
    yield StageDifference("photo: landmarks, median", float(distances.median()), PHOTO_LANDMARK_LIMIT_PX, "px")


def _compare_photo_attributes(source, checkpoint, photo_1CHW, points_F52) -> Iterator[StageDifference]:
    theirs, outputs, _, processor = _facer_and_ours(
        "attributes", "FaRLForAttributes", source, checkpoint, photo_1CHW, points_F52
    )
    difference = float((processor.post_process_attributes(outputs) - theirs["attrs"]).abs().max())
    yield StageDifference("photo: probabilities", difference, PROBABILITY_LIMIT, "absolute")


def _compare_photo_detections(source, checkpoint, photo_1CHW, points_F52) -> Iterator[StageDifference]:
    model = _load("RetinaFaceForFaceDetection", checkpoint)
    body = {"mobilenet_v1": "mobilenet", "resnet": "resnet50"}[model.config.body]
    facer = original_networks.import_original("facer.face_detection.retinaface").RetinaFaceDetector(body, source)
    # With these settings the processor does what facer does, see docs/official_weights.md.
    processor = RetinaFaceImageProcessor.from_pretrained(
        checkpoint,
        do_flip_channel_order=False,
        pad_size_divisor=1,
        max_long_side=0,
        score_threshold=facer.threshold,
    )
    inputs = processor(photo_1CHW[0], return_tensors="pt", input_data_format="channels_first")
    found = processor.post_process_face_detection(
        model(inputs["pixel_values"]), inputs["original_sizes"], inputs["input_scales"]
    )[0]
    yield from _compare_found(found, facer(photo_1CHW), "photo: ")
