"""The pipelines that look into faces: face-parsing, face-landmarks and face-attributes.

They share the way from a photo over its faces and one network input per face to an answer per photo.
"""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import pad
from transformers.modeling_outputs import ImageClassifierOutput, SemanticSegmenterOutput
from transformers.pipelines.base import ChunkPipeline
from transformers.utils import ModelOutput

from farl_hf.errors import InvalidArgumentError
from farl_hf.labels import palette_for
from farl_hf.photos import load_photo
from farl_hf.pipelines.detector_loading import log_if_small_model
from farl_hf.pipelines.face_detection import PhotoPipeline
from farl_hf.pipelines.faces import Detector, FaceFinder
from farl_hf.pipelines.inputs import checked_on_error, checked_thresholds, photo_of, recorded
from farl_hf.results import Faces, plain_faces, plain_points

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
        log_if_small_model(self.model.config)
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
        photo = load_photo(photo_of(photo_input))
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
            "pixel_values": torch.zeros(1, 3, *self.image_processor.size_hw),
            "crop_from_photo": torch.eye(3)[None],
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
        thresholds = getattr(self.model.config, "attribute_thresholds", None) or {}
        return [{"attributes": _likeliest_first(names, row.tolist(), thresholds)} for row in probabilities]


def _likeliest_first(
    names: tuple[str, ...], probabilities: list[float], thresholds: dict[str, float]
) -> list[dict[str, Any]]:
    scored = sorted(zip(names, probabilities, strict=True), key=lambda pair: -pair[1])
    return [
        {"label": name, "score": float(score), "present": score > thresholds.get(name, 0.5)} for name, score in scored
    ]
