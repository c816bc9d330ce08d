"""The pipelines that look into faces: face-parsing, face-landmarks and face-attributes.

They share the way from a photo over its faces and one network input per face to an answer per photo. The faces are
those that the caller gives, the whole photo, or those that a detector finds.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import pad
from transformers import PreTrainedConfig
from transformers.modeling_outputs import ImageClassifierOutput, SemanticSegmenterOutput
from transformers.pipelines.base import ChunkPipeline
from transformers.utils import ModelOutput, logging

from farl_hf.errors import InvalidArgumentError, InvalidFaceInputError, in_short
from farl_hf.labels import FIVE_FROM_LANDMARKS, palette_for
from farl_hf.photos import load_photo
from farl_hf.pipelines.detector_loading import load_detector
from farl_hf.pipelines.face_detection import PhotoPipeline
from farl_hf.pipelines.inputs import check_spelling, checked_on_error, checked_thresholds, recorded
from farl_hf.processing.face_geometry_farl import FACE_MARGIN
from farl_hf.results import Faces, plain_faces, plain_points

logger = logging.get_logger(__name__)

# A face-detection pipeline, or anything that takes a PIL photo and answers like one.
Detector = Callable[..., list[dict[str, Any]]]

_GIVEN_SCORE = 1.0  # of faces that the caller gives
_SMALLEST_SPREAD_PX = 1e-3  # five points nearer to each other than this have no direction to align by
_LARGEST_COORDINATE_PX = 1e6


def given_faces(photo_input: Mapping[str, Any], size_hw: tuple[int, int]) -> Faces | None:
    """The faces that an input brings with its `image`: `faces`, `boxes` or `keypoints`; `None` if it brings none.

    Args:
        photo_input (`Mapping`): The input of a pipeline. `faces` is what a pipeline answered, or one face of it.
            `keypoints` win over `boxes` for the alignment; when both are there, each face keeps its own box.
        size_hw (`tuple[int, int]`): Height and width of the photo.

    Raises:
        InvalidFaceInputError: If shapes or values cannot be used, see `faces_from_boxes` and `faces_from_keypoints`.
    """
    if photo_input.get("faces") is not None:
        return _answered_faces(photo_input["faces"], size_hw)
    boxes, keypoints = photo_input.get("boxes"), photo_input.get("keypoints")
    # With points, the box of an answer that lies beside its photo is not needed.
    read = ("faces", "keypoints") if keypoints is not None else ("faces", "keypoints", "boxes")
    check_spelling(photo_input, read, "An input")
    if keypoints is None:
        return None if boxes is None else faces_from_boxes(boxes, size_hw)
    faces = faces_from_keypoints(keypoints, size_hw)
    if boxes is None:
        return faces
    boxed = faces_from_boxes(boxes, size_hw)
    if len(boxed) != len(faces):
        raise InvalidFaceInputError(f"{len(boxed)} boxes came with keypoints of {len(faces)} faces; give one each.")
    return Faces(boxed.boxes_xyxy, boxed.scores, faces.keypoints_xy)


def _require_alike(answers: Sequence[Mapping[str, Any]]) -> None:
    """Refuses faces of which only some have points: without a word, all would be aligned by their boxes."""
    if len({face.get("keypoints") is None for face in answers}) > 1:
        raise InvalidFaceInputError(
            "Some of the faces have keypoints and others do not, and a call aligns all in one way; leave out those of "
            "all, or ask about the two kinds apart."
        )


def _answered_faces(answer: Any, size_hw: tuple[int, int]) -> Faces:
    answers = [answer] if isinstance(answer, Mapping) else answer
    for face in answers if isinstance(answers, Sequence) else ():
        if isinstance(face, Mapping):
            check_spelling(face, ("box", "keypoints", "score"), "A face of an input")
    if not isinstance(answers, Sequence) or not all(isinstance(face, Mapping) and "box" in face for face in answers):
        raise InvalidFaceInputError(
            f"faces is {in_short(answer)}; expected what a pipeline answered for the photo: a dict per face."
        )
    placed: dict[str, Any] = {"boxes": [face["box"] for face in answers]}
    keypoints = [face.get("keypoints") for face in answers]
    _require_alike(answers)
    if any(points is not None and np.size(_without_tensors(points)) == 0 for points in keypoints):
        raise InvalidFaceInputError("The keypoints of a face are empty; leave them out where only its box is known.")
    if all(points is not None for points in keypoints):
        placed["keypoints"] = keypoints
    faces = given_faces(placed, size_hw)
    assert faces is not None  # there are boxes
    scores = _as_numbers("scores", [face.get("score", _GIVEN_SCORE) for face in answers], (), "(num_faces,)")
    return Faces(faces.boxes_xyxy, scores, faces.keypoints_xy)


def faces_from_boxes(boxes: Any, size_hw: tuple[int, int]) -> Faces:
    """Faces known by their boxes alone.

    Args:
        boxes: (num_faces, 4) numbers x_min, y_min, x_max, y_max in photo pixels, or the `box` dicts of a pipeline;
            those of a single face are of shape (4,), or one dict.
        size_hw (`tuple[int, int]`): Height and width of the photo.

    Raises:
        InvalidFaceInputError: If the shape is wrong, a value is not finite, or a box has no area or lies outside.
    """
    try:
        values = [_box_values(box) for box in ([boxes] if isinstance(boxes, Mapping) else boxes)]
    except TypeError:
        raise InvalidFaceInputError(f"boxes is {in_short(boxes)}; expected a list with a box per face.") from None
    boxes_xyxy = _as_numbers("boxes", values, (4,), "(num_faces, 4)")
    faces = Faces(boxes_xyxy, np.full(len(boxes_xyxy), _GIVEN_SCORE))
    for row, box_xyxy in enumerate(faces.boxes_xyxy):
        _require_overlap(f"Box {row}", box_xyxy, size_hw)
    return faces


def faces_from_keypoints(keypoints: Any, size_hw: tuple[int, int]) -> Faces:
    """Faces known by their points; their boxes are the points' extent with a margin.

    Args:
        keypoints: (num_faces, num_points, 2) numbers (x, y) in photo pixels, with 5 points in the order of
            `labels.FIVE_POINTS`, or 19, 68, 98 or 106 landmarks of which the five are read; those of a single face
            are of shape (num_points, 2).
        size_hw (`tuple[int, int]`): Height and width of the photo.

    Raises:
        InvalidFaceInputError: If the shape is wrong, a value is not finite, all points coincide or lie far outside.
    """
    five_points_xy = _five_points(keypoints)
    if not np.isfinite(five_points_xy).all():
        raise InvalidFaceInputError("keypoints hold NaN or infinite values; give finite photo pixels.")
    lowest, highest = five_points_xy.min(axis=1), five_points_xy.max(axis=1)
    for row in range(len(five_points_xy)):
        _require_spread(row, highest[row] - lowest[row])
    margin = FACE_MARGIN * (highest - lowest).max(axis=1, keepdims=True)
    for row in range(len(five_points_xy)):
        extent = (*lowest[row], *highest[row])
        _require_overlap(f"The extent of keypoints {row}", extent, size_hw, float(margin[row, 0]))
    height, width = size_hw
    boxes_xyxy = np.concatenate([lowest - margin, highest + margin], axis=1).clip(0, [width, height, width, height])
    return Faces(boxes_xyxy, np.full(len(boxes_xyxy), _GIVEN_SCORE), five_points_xy)


def _box_values(box: Any) -> Any:
    if not isinstance(box, Mapping):
        return box
    sides = ("xmin", "ymin", "xmax", "ymax")
    missing = [side for side in sides if side not in box]
    if missing:
        raise InvalidFaceInputError(f"A box lacks {', '.join(missing)}; expected {', '.join(sides)}.")
    return [box[side] for side in sides]


def _five_points(keypoints: Any) -> np.ndarray:
    points_xy = _as_numbers("keypoints", keypoints, (None, 2), "(num_faces, 5, 2)")
    num_points = points_xy.shape[1]
    if num_points == 5 or len(points_xy) == 0:
        return points_xy.reshape(-1, 5, 2)
    if num_points not in FIVE_FROM_LANDMARKS:
        raise InvalidFaceInputError(
            f"keypoints have {num_points} points per face; expected 5, or {', '.join(map(str, FIVE_FROM_LANDMARKS))}."
        )
    five_groups = FIVE_FROM_LANDMARKS[num_points]
    return np.stack([points_xy[:, list(group)].mean(axis=1) for group in five_groups], axis=1)


def _as_numbers(name: str, values: Any, row_shape: tuple[int | None, ...], wanted: str) -> np.ndarray:
    try:
        array = np.asarray(_without_tensors(values), dtype=np.float32)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise InvalidFaceInputError(f"{name} are not numbers of shape {wanted}: {error}") from error
    if array.size == 0:
        return np.zeros((0, *(size or 0 for size in row_shape)), np.float32)
    if array.ndim == len(row_shape):
        array = array[None]  # of one face
    fits = array.ndim == 1 + len(row_shape) and all(
        size in (None, given) for size, given in zip(row_shape, array.shape[1:], strict=True)
    )
    if not fits:
        raise InvalidFaceInputError(f"{name} have shape {array.shape}; expected {wanted} in photo pixels.")
    if (np.abs(array[np.isfinite(array)]) > _LARGEST_COORDINATE_PX).any():
        raise InvalidFaceInputError(f"{name} reach beyond {_LARGEST_COORDINATE_PX:,.0f} pixels; no photo does.")
    return array


def _without_tensors(values: Any) -> Any:
    """NumPy takes neither gradients nor bfloat16."""
    if isinstance(values, torch.Tensor):
        return values.detach().float().cpu().numpy()
    return [_without_tensors(value) for value in values] if isinstance(values, list | tuple) else values


def _require_spread(row: int, extent_xy: np.ndarray) -> None:
    if extent_xy.max() < _SMALLEST_SPREAD_PX:
        raise InvalidFaceInputError(
            f"The keypoints of face {row} are all the same point, which gives no direction or size to align by; "
            "give five distinct points, or a box."
        )


def _require_overlap(what: str, box_xyxy: Any, size_hw: tuple[int, int], margin: float = 0.0) -> None:
    x_min, y_min, x_max, y_max = (float(value) for value in box_xyxy)
    height, width = size_hw
    if min(x_max, y_max) + margin <= 0 or x_min - margin >= width or y_min - margin >= height:
        raise InvalidFaceInputError(
            f"{what} ({x_min:.1f}, {y_min:.1f}, {x_max:.1f}, {y_max:.1f}) lies outside the photo of {width} x "
            f"{height} pixels."
        )


class FaceFinder:
    """Finds the faces of photos, and loads its detector at the first photo that needs one.

    Args:
        detector (`FaceDetectionPipeline`, callable, `str` or `Path`, *optional*):
            What finds the faces, or the name or folder of its checkpoint; see `load_detector` if not given.
        device (`torch.device`): Where a detector that is loaded here runs.
        served (`PreTrainedConfig`): Configuration of the model whose faces it finds.

    Raises:
        InvalidArgumentError: The detector is something else.
    """

    def __init__(self, detector: Detector | str | Path | None, device: torch.device, served: PreTrainedConfig) -> None:
        if not (detector is None or callable(detector) or isinstance(detector, str | Path)):
            raise InvalidArgumentError(
                f"detector={in_short(repr(detector))} cannot be used; expected a face-detection pipeline, something "
                "else that can be called with a photo, or the name or folder of a checkpoint."
            )
        self._detector = detector
        self._device = device
        self._served = served

    def __call__(self, photo: Image.Image, photo_input: Any, aligned: bool, **detection: float) -> Faces:
        """The faces of one photo, best score first.

        Args:
            photo (`PIL.Image.Image`): The upright photo.
            photo_input: What the caller gave; a mapping may bring faces, see `given_faces`.
            aligned (`bool`): The photo is one face; nothing is searched.
            detection: `threshold`, `nms_threshold` of the detector.
        """
        size_hw = (photo.height, photo.width)
        if aligned:
            if isinstance(photo_input, Mapping) and given_faces(photo_input, size_hw) is not None:
                raise InvalidFaceInputError("aligned=True takes the whole photo as one face, and faces are given too.")
            return Faces(np.array([[0, 0, photo.width, photo.height]]), np.array([_GIVEN_SCORE]))
        if isinstance(photo_input, Mapping):
            faces = given_faces(photo_input, size_hw)
            if faces is not None:
                return faces
        with torch.inference_mode():
            found = self.detector(photo, **detection)
        faces = Faces.from_pipeline(found)
        _require_alike(found)
        return faces[np.argsort(-faces.scores, kind="stable")]

    @property
    def detector(self) -> Detector:
        """The detector, loaded at the first use."""
        if self._detector is None or isinstance(self._detector, (str, Path)):
            self._detector = load_detector(self._detector, self._device, self._served)
        return self._detector


# Faces warped at a time: bounds the memory that a photo of a crowd takes, whatever the batch size.
_FACES_PER_WARP = 16


class FaceTaskPipeline(PhotoPipeline, ChunkPipeline):
    """Base of the pipelines that run a network on every face of a photo.

    A photo becomes one chunk per face, and faces of different photos share a batch. A photo without a face becomes
    one empty chunk: a photo that yields nothing would swallow the answers of those after it. Of many photos, the next
    ones are decoded, searched and warped while the network runs.

    Subclasses name the model that they run (`model_name`) and the network outputs they keep (`kept_outputs`), and
    implement `describe_faces`.

    Raises:
        NotACheckpointError: The model, or its checkpoint, is of another task or not whole.
    """

    kept_outputs: tuple[str, ...] = ()

    def __init__(self, *args: Any, detector: Detector | str | Path | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.find_faces = FaceFinder(detector, self.device, self.model.config)

    def get_iterator(self, inputs: Any, num_workers: int, batch_size: int, *params: dict[str, Any]) -> Any:
        """Answers one after the other; the network is told how many rows a full batch has."""
        preprocess_params, forward_params, postprocess_params = params
        forward_params = forward_params | {"num_rows": batch_size}
        return super().get_iterator(
            inputs, num_workers, batch_size, preprocess_params, forward_params, postprocess_params
        )

    def _sanitize_parameters(  # type: ignore[override]  # narrower, as in Transformers' own pipelines
        self,
        aligned: bool | None = None,
        threshold: float | None = None,
        nms_threshold: float | None = None,
        detector: Detector | str | Path | None = None,
        on_error: str | None = None,
    ):
        on_error = None if on_error is None else checked_on_error(on_error)
        if not isinstance(aligned, bool | None):
            raise InvalidArgumentError(f"aligned={in_short(repr(aligned))} cannot be used; expected True or False.")
        find_faces = None if detector is None else FaceFinder(detector, self.device, self.model.config)
        given: dict[str, Any] = {"aligned": aligned, "find_faces": find_faces, "on_error": on_error}
        given = {name: value for name, value in given.items() if value is not None}
        return given | checked_thresholds(threshold=threshold, nms_threshold=nms_threshold), {}, {}

    def preprocess(  # type: ignore[override]  # narrower, as in Transformers' own pipelines
        self,
        photo_input: Any,
        aligned: bool = False,
        find_faces: FaceFinder | None = None,
        on_error: str = "raise",
        **detection: float,
    ) -> Iterator[dict[str, Any]]:
        """One chunk per face; every tensor has a leading dimension of one."""
        try:
            yield from self._chunks_of(photo_input, aligned, find_faces, detection)
        except Exception as error:
            yield self._empty_chunk((1, 1)) | {"error": recorded(error, on_error)}

    def _chunks_of(
        self, photo_input: Any, aligned: bool, find_faces: FaceFinder | None, detection: dict[str, float]
    ) -> Iterator[dict[str, Any]]:
        photo = load_photo(photo_input)
        faces = (find_faces or self.find_faces)(photo, photo_input, aligned, **detection)
        if len(faces) == 0:
            yield self._empty_chunk((photo.height, photo.width))
            return
        photo_chw = torch.from_numpy(np.array(photo)).permute(2, 0, 1)
        for start in range(0, len(faces), _FACES_PER_WARP):
            some = faces[start : start + _FACES_PER_WARP]
            warped = self.warp_faces(photo_chw, some, aligned)
            for row, face in enumerate(some):
                yield {
                    **{name: values[row : row + 1] for name, values in warped.items()},
                    **_face_tensors(face, (photo.height, photo.width)),
                    "is_last": start + row + 1 == len(faces),
                }

    def _empty_chunk(self, size_hw: tuple[int, int]) -> dict[str, Any]:
        """A chunk of the same keys and shapes that stands for a photo without a face, or one that failed."""
        nowhere = Faces(np.array([[0, 0, 1, 1]]), np.array([0.0]))
        return {
            **self.warped_nothing(),
            **_face_tensors(nowhere, size_hw),
            "valid": torch.tensor([False]),
            "is_last": True,
        }

    def warp_faces(self, photo_chw: torch.Tensor, faces: Faces, aligned: bool) -> dict[str, torch.Tensor]:
        """`pixel_values` and `crop_from_photo` of faces of one photo, a row each."""
        warped = self.image_processor(
            photo_chw, **face_arguments(faces, aligned), input_data_format="channels_first", return_tensors="pt"
        )
        return {name: warped[name] for name in ("pixel_values", "crop_from_photo")}

    def warped_nothing(self) -> dict[str, torch.Tensor]:
        """One row of the shapes that `warp_faces` gives."""
        return {
            "pixel_values": torch.zeros(1, 3, *self.image_processor.size_hw, dtype=torch.float32),
            "crop_from_photo": torch.eye(3, dtype=torch.float32)[None],
        }

    def _forward(self, chunks: dict[str, Any], num_rows: int = 1) -> Any:  # type: ignore[override]  # narrower, as in Transformers' own pipelines
        valid = chunks["valid"]
        crops = {name: chunks.pop(name) for name in list(chunks) if name.endswith("pixel_values")}
        if not valid.any():
            return chunks
        outputs = self.run_networks({name: values[valid] for name, values in crops.items()}, num_rows)
        for name, values in outputs.items():
            chunks[name] = values.new_zeros(len(valid), *values.shape[1:])
            chunks[name][valid] = values
        return chunks

    def run_networks(self, crops: dict[str, torch.Tensor], num_rows: int) -> dict[str, torch.Tensor]:
        """The `kept_outputs`, float32, a row per face.

        Args:
            crops (`dict[str, torch.Tensor]`): `pixel_values` of shape (num_faces, 3, h, w).
            num_rows (`int`): Rows of a full batch.
        """
        faces = crops["pixel_values"].to(self.dtype)
        num_faces = len(faces)
        if is_compiled(self.model):
            faces = pad(faces, (0,) * 7 + (num_rows - num_faces,))  # another number of rows would compile anew
        outputs = self.model(pixel_values=faces)
        return {name: outputs[name][:num_faces].float() for name in self.kept_outputs}

    def postprocess(self, model_outputs: list[dict[str, Any]]) -> list[dict[str, Any]] | dict[str, str]:  # type: ignore[override]  # narrower, as in Transformers' own pipelines
        """All faces of one photo: where they are, and what the network says of them; or why there is no answer."""
        errors = [chunk.pop("error") for chunk in model_outputs]
        if errors[-1] is not None:
            return {"error": errors[-1]}
        chunks = [chunk for chunk in model_outputs if bool(chunk["valid"])]
        if not chunks:
            return []
        together = {name: torch.cat([chunk[name] for chunk in chunks]) for name in chunks[0]}
        descriptions = self.describe_faces(together)
        return [face | more for face, more in zip(plain_faces(_faces_of(together)), descriptions, strict=True)]

    def describe_faces(self, faces: dict[str, torch.Tensor]) -> list[dict[str, Any]]:
        """What the task adds to each face of one photo.

        Args:
            faces (`dict[str, torch.Tensor]`): The `kept_outputs`, `crop_from_photo` (num_faces, 3, 3) and `size_hw`
                (num_faces, 2) of the faces of one photo.
        """
        raise NotImplementedError(f"{type(self).__name__} must say what it adds to each face.")

    def label_names(self) -> tuple[str, ...]:
        """Names of the model's classes in id order."""
        id2label: Any = self.model.config.id2label
        return tuple(id2label[index] for index in range(len(id2label)))


def is_compiled(model: torch.nn.Module) -> bool:
    """Whether `model.compile()` was called, or the model comes from `torch.compile`."""
    return getattr(model, "_compiled_call_impl", None) is not None or hasattr(model, "_orig_mod")


def face_arguments(faces: Faces, aligned: bool) -> dict[str, Any]:
    """What tells the image processor where the faces of one photo are."""
    if aligned:
        return {}
    if faces.keypoints_xy is not None:
        return {"keypoints": [faces.keypoints_xy]}
    return {"boxes": [faces.boxes_xyxy]}


def _face_tensors(face: Faces, size_hw: tuple[int, int]) -> dict[str, Any]:
    """Where a face is, as tensors that survive batching. Points that are not known are NaN."""
    keypoints_xy = np.full((1, 5, 2), np.nan, np.float32) if face.keypoints_xy is None else face.keypoints_xy
    return {
        "valid": torch.tensor([True]),
        "score": torch.from_numpy(np.array(face.scores)),
        "box_xyxy": torch.from_numpy(np.array(face.boxes_xyxy)),
        "keypoints_xy": torch.from_numpy(np.array(keypoints_xy)),
        "size_hw": torch.tensor([size_hw]),
        "error": None,
    }


def _faces_of(chunks: dict[str, torch.Tensor]) -> Faces:
    keypoints_xy = chunks["keypoints_xy"].numpy()
    return Faces(
        chunks["box_xyxy"].numpy(), chunks["score"].numpy(), None if np.isnan(keypoints_xy).any() else keypoints_xy
    )


class FaceParsingPipeline(FaceTaskPipeline):
    """Labels the pixels of every face.

    A photo may be a path, a URL, a PIL image, an array, or a dict `{"image": …, "faces": …}` whose faces are used
    instead of searched for: the answer of any of the pipelines. `boxes` or `keypoints`, of one face or of all, do
    as well. Many photos come in a list, a generator or a dataset.

    Each photo gives a list with one dict per face, best score first, or in the order of the given faces: `score`,
    `box` {xmin, ymin, xmax, ymax}, `keypoints` (five [x, y], or `None` if only a box was given), `segmentation` (a PIL
    image of mode "P" as large as the upright photo, class ids with a palette) and `labels` (class id -> name). A photo
    without a face gives an empty list.

    Args:
        detector (`FaceDetectionPipeline`, `str`, *optional*):
            What finds the faces: a pipeline, or the name or folder of a checkpoint.
        aligned (`bool`, *optional*, defaults to `False`): The whole photo is one face; nothing is searched.
        threshold, nms_threshold (`float`, *optional*): Passed to the detector.
        on_error (`str`, *optional*, defaults to `"raise"`): `"record"` answers `{"error": sentence}` for a photo that
            cannot be used, and goes on with the next one.

    Example:
        >>> from transformers import pipeline
        >>> import farl_hf
        >>> parse_faces = pipeline("face-parsing")  # doctest: +SKIP
        >>> faces = parse_faces(["a.jpg", "b.jpg"], batch_size=8)  # doctest: +SKIP
    """

    model_name = "FaRLForFaceParsing"
    kept_outputs: tuple[str, ...] = ("logits",)

    def describe_faces(self, faces: dict[str, torch.Tensor]) -> list[dict[str, Any]]:
        """`segmentation` and `labels` of each face."""
        label_maps = self.image_processor.post_process_face_parsing(
            SemanticSegmenterOutput(logits=faces["logits"]),
            crop_from_photo=faces["crop_from_photo"],
            target_sizes=faces["size_hw"],
        )
        names = self.label_names()
        palette = _flat_palette(names)
        return [
            {"segmentation": _palette_image(label_map, palette), "labels": dict(enumerate(names))}
            for label_map in label_maps
        ]


@functools.cache
def _flat_palette(names: tuple[str, ...]) -> list[int]:
    return [channel for colour in palette_for(names) for channel in colour]


def _palette_image(label_map: torch.Tensor, palette: list[int]) -> Image.Image:
    image = Image.fromarray(label_map.to(torch.uint8).cpu().numpy())
    image.putpalette(palette)
    return image


class FaceLandmarksPipeline(FaceTaskPipeline):
    """Finds the landmarks of every face.

    Inputs and arguments are those of `FaceParsingPipeline`. Each photo gives a list with one dict per face, best
    score first: `score`, `box`, `keypoints` and `landmarks`, [[x, y], …] in pixels of the upright photo, in the
    model's order (`farl_hf.labels.LANDMARK_GROUPS[len(landmarks)]` names the parts).

    Example:
        >>> from transformers import pipeline
        >>> import farl_hf
        >>> find_landmarks = pipeline("face-landmarks")  # doctest: +SKIP
        >>> points = find_landmarks("crop_of_a_face.png", aligned=True)[0]["landmarks"]  # doctest: +SKIP
    """

    model_name = "FaRLForLandmarks"
    kept_outputs: tuple[str, ...] = ("landmarks",)

    def describe_faces(self, faces: dict[str, torch.Tensor]) -> list[dict[str, Any]]:
        """`landmarks` of each face."""
        points_photo_xy = self.image_processor.post_process_landmarks(
            ModelOutput(landmarks=faces["landmarks"]), crop_from_photo=faces["crop_from_photo"]
        )
        return [{"landmarks": plain_points(points)} for points in points_photo_xy]


class FaceAttributesPipeline(FaceTaskPipeline):
    """Scores the attributes of every face.

    Inputs and arguments are those of `FaceParsingPipeline`. Each photo gives a list with one dict per face, best
    score first: `score`, `box`, `keypoints` and `attributes`, [{"label", "score", "present"}, …] with the likeliest
    first. Every score is an independent probability. `present` says whether it is above the threshold of the label:
    `attribute_thresholds` of the configuration, else 0.5.

    Args:
        top_k (`int`, *optional*): At most so many attributes of each face, the likeliest; all by default.

    Example:
        >>> from transformers import pipeline
        >>> import farl_hf
        >>> describe_faces = pipeline("face-attributes")  # doctest: +SKIP
        >>> describe_faces("photo.jpg")[0]["attributes"][:3]  # doctest: +SKIP
    """

    model_name = "FaRLForAttributes"
    kept_outputs: tuple[str, ...] = ("logits",)

    def _sanitize_parameters(self, top_k: int | None = None, **kwargs: Any):  # type: ignore[override]  # narrower
        if top_k is not None and (not isinstance(top_k, int) or isinstance(top_k, bool) or top_k < 1):
            raise InvalidArgumentError(f"top_k={top_k!r}; expected a number of attributes from 1.")
        before, forward, after = super()._sanitize_parameters(**kwargs)
        return before, forward, after | ({} if top_k is None else {"top_k": top_k})

    def postprocess(self, model_outputs: list[dict[str, Any]], top_k: int | None = None) -> Any:  # type: ignore[override]  # narrower
        """All faces of one photo with their likeliest attributes."""
        faces = super().postprocess(model_outputs)
        if isinstance(faces, dict):
            return faces
        return [face | {"attributes": face["attributes"][:top_k]} for face in faces]

    def describe_faces(self, faces: dict[str, torch.Tensor]) -> list[dict[str, Any]]:
        """`attributes` of each face."""
        probabilities = self.image_processor.post_process_attributes(ImageClassifierOutput(logits=faces["logits"]))
        names = self.label_names()
        thresholds = self._thresholds(names)
        return [{"attributes": _likeliest_first(names, row.tolist(), thresholds)} for row in probabilities]

    def _thresholds(self, names: tuple[str, ...]) -> dict[str, float]:
        """Those of the configuration; a program may have changed them, or the labels."""
        thresholds = getattr(self.model.config, "attribute_thresholds", None) or {}
        if not isinstance(thresholds, dict):
            raise InvalidArgumentError(f"attribute_thresholds={in_short(thresholds)} must map labels to numbers.")
        checked_thresholds(**{f"attribute_thresholds[{label!r}]": value for label, value in thresholds.items()})
        for label, value in thresholds.items():
            if value in (0, 1):  # the configuration could be saved, but not loaded
                raise InvalidArgumentError(
                    f"attribute_thresholds[{label!r}]={value}: expected more than 0, less than 1."
                )
        unknown = ", ".join(map(repr, sorted(thresholds.keys() - set(names), key=str)))
        if unknown:
            logger.warning_once(f"attribute_thresholds of {unknown} are not used: the model has no such labels.")
        return {label: value for label, value in thresholds.items() if value is not None}


def _likeliest_first(
    names: tuple[str, ...], probabilities: list[float], thresholds: dict[str, float]
) -> list[dict[str, Any]]:
    scored = sorted(zip(names, probabilities, strict=True), key=lambda pair: -pair[1])
    return [
        {"label": name, "score": float(score), "present": score > thresholds.get(name, 0.5)} for name, score in scored
    ]
