"""Image processor of FaRL: from photos and face positions to aligned, warped crops, and results back to the photo.

Every setting is serialised with the weights, because it is part of them: template, face scale, tanh_alpha, size, mean
and deviation, and the pixel grid on which the weights were trained. Zero padding happens before normalisation.

Letters in shapes: F faces, N points, C channels, K classes or maps, H and W the photo, h and w the crop or its scores.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import grid_sample, interpolate
from transformers.image_processing_utils import BatchFeature
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD, PILImageResampling
from transformers.processing_utils import ImagesKwargs

from .face_geometry_farl import (
    LAPA_TEMPLATE,
    WarpGeometry,
    box_matrix,
    checked_boxes,
    checked_points,
    ffhq_square_matrix,
    sample_aligned_crops,
    sample_crops,
    similarity_matrix,
    whole_matrix,
)
from .photo_tensors_farl import PhotoTensorBackend, check_number, check_pixel_normalisation, in_short
from .processor_push_farl import ProcessorPushedWithCode

_GRID_OFFSETS = {"half_pixel": 0.0, "integer": 0.5}
_TEMPLATE_MARGINS = {"size": 0, "size_minus_one": 1}
_ALIGNMENTS = ("template", "ffhq_square")
# Settings that one call may change; everything else is the processor's own.
_CALL_SETTINGS = (
    *("alignment", "face_template", "face_scale", "box_scale", "warp_factor", "pixel_grid", "template_span"),
    *("canvas_size", "score_size", "size", "image_mean", "image_std", "do_rescale", "rescale_factor", "do_normalize"),
)
_MIXED = 255  # marks a cell whose four corners disagree; class ids stay below
_STRIPE_PIXELS = 1 << 18
_LONGEST_SIDE = 1 << 18  # of a photo, in pixels


class FaRLImageProcessorKwargs(ImagesKwargs, total=False):
    """Settings of [`FaRLImageProcessor`]; see there. `keypoints` and `boxes` are data of each image.

    `landmarks` is another name of `keypoints`. It has to stay: pipelines in repositories of version 0.1 pass it, and
    Transformers drops a keyword that is not listed here without a word.
    """

    alignment: str
    face_template: list | tuple
    face_scale: float | int
    box_scale: float | int
    warp_factor: float | int
    pixel_grid: str
    template_span: str
    canvas_size: int
    score_size: int
    keypoints: Any
    landmarks: Any
    boxes: Any


class FaRLImageProcessor(ProcessorPushedWithCode, PhotoTensorBackend):
    r"""Cuts one aligned, warped and normalised crop per face, and brings results back to the photo.

    A call takes photos and the place of every face: `keypoints`, the five points (x, y) of each face in photo pixels,
    or `boxes`, x_min, y_min, x_max, y_max. Both hold one list per photo, with one entry per face. Without them each
    photo is taken for a face crop. A photo is upright: a PIL image is turned as its EXIF tag says, and places are in
    the turned photo. The type of the values says their range: integers of 8 and 16 bits fill it, wider ones are 0 to
    255, booleans are black and white, and floats are 0 to 1; `do_rescale=True`, given to a call, says that floats are
    0 to 255. The call returns `pixel_values` (F, 3, h, w), `crop_from_photo` (F, 3, 3),
    `image_index` (F,) and `original_sizes` (photos, 2), height and width. A call may replace settings, such as
    `size=224`; give the same ones to `post_process_…`.

    Args:
        size (`dict[str, int]`, *optional*, defaults to `{"height": 448, "width": 448}`): Crop size.
        alignment (`str`, *optional*, defaults to `"template"`): How five points become a crop: `"template"` brings
            them to `face_template`, `"ffhq_square"` cuts as CelebA-HQ was cut (facer's CelebAMask-HQ weights:
            facer/face_parsing/farl.py, line 32).
        face_template (`list`, *optional*): Five (x, y) in fractions of the half crop; LaPa's by default.
        face_scale (`float`, *optional*, defaults to 1.0): Scales the template; below 1 the crop is looser.
        box_scale (`float`, *optional*, defaults to 0.55): Share of the crop that the longer side of a box fills, when
            faces are given by boxes. 0.55 frames a tight face box about as LaPa's template does.
        warp_factor (`float`, *optional*, defaults to 0.0): alpha of the tanh warp; 0.8 for LaPa, 0 elsewhere
            (facer/face_parsing/farl.py, lines 21 and 35; face_alignment/farl.py, line 21).
        pixel_grid (`str`, *optional*, defaults to `"half_pixel"`): `"half_pixel"` (facer's weights) or `"integer"`
            (the official training code).
        template_span (`str`, *optional*, defaults to `"size_minus_one"`): Whether the template's [-1, 1] spans
            `"size"` or `"size_minus_one"` pixels. The official code does the latter, whatever the grid (py-blueprint
            0.0.1.post3, `blueprint/ml/augmenters/face.py`, lines 290-293).
        canvas_size (`int`, *optional*): Side of the canvas whose pixels `pixel_grid` and `template_span` count; the
            crop's by default. The official training code cuts at 512 (FaRL:farl/experiments/face_parsing/augmenters/
            lapa/train.yaml, lines 12-32), and its network shrinks that to its input (farl/network/transformers.py,
            line 137): with 512, a crop of any size is that reduced canvas.
        score_size (`int`, *optional*): Side to which class scores are upsampled before labels are read from them; the
            crop's by default, 512 in the official parsing models (farl/experiments/face_parsing/networks/farl.yaml,
            line 18).
        image_mean (`list[float]`, *optional*): CLIP's by default, for RGB in [0, 1].
        image_std (`list[float]`, *optional*): CLIP's by default.

    Raises:
        ValueError: For points or boxes that cannot be used, and for unknown settings; the message says why.

    Example:

    ```python
    >>> import numpy as np
    >>> from farl_hf import FaRLImageProcessor

    >>> photo = np.zeros((300, 200, 3), dtype=np.uint8)
    >>> points = [[[80, 100], [120, 100], [100, 125], [85, 145], [115, 145]]]
    >>> inputs = FaRLImageProcessor()(photo, keypoints=[points], return_tensors="pt")
    >>> inputs["pixel_values"].shape
    torch.Size([1, 3, 448, 448])

    ```
    """

    valid_kwargs = FaRLImageProcessorKwargs
    model_input_names = ["pixel_values", "crop_from_photo", "image_index", "original_sizes"]  # noqa: RUF012
    unused_settings = {  # noqa: RUF012
        **PhotoTensorBackend.unused_settings,
        "do_resize": ((True,), "every crop has the height and width of size"),
        "resample": ((PILImageResampling.BILINEAR,), "crops are read bilinearly"),
        "do_pad": ((False,), "crops are not padded"),
        "pad_size": ((), "crops are not padded"),
    }
    size = {"height": 448, "width": 448}  # noqa: RUF012
    image_mean = OPENAI_CLIP_MEAN
    image_std = OPENAI_CLIP_STD
    do_rescale = True
    rescale_factor = 1 / 255
    do_normalize = True
    do_convert_rgb = True
    alignment = "template"
    face_template: Sequence[Sequence[float]] = LAPA_TEMPLATE
    face_scale = 1.0
    box_scale = 0.55
    warp_factor = 0.0
    pixel_grid = "half_pixel"
    template_span = "size_minus_one"
    canvas_size: int | None = None
    score_size: int | None = None

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        try:
            self.face_template = [[float(x), float(y)] for x, y in self.face_template]
        except (TypeError, ValueError) as error:
            raise ValueError(f"face_template={str(self.face_template)[:200]}; expected five points (x, y).") from error
        self._check_settings()

    def _check_settings(self):
        if self.alignment not in _ALIGNMENTS:
            raise ValueError(f"alignment={self.alignment!r}; expected one of {list(_ALIGNMENTS)}.")
        if self.pixel_grid not in _GRID_OFFSETS:
            raise ValueError(f"pixel_grid={self.pixel_grid!r}; expected one of {sorted(_GRID_OFFSETS)}.")
        if self.template_span not in _TEMPLATE_MARGINS:
            raise ValueError(f"template_span={self.template_span!r}; expected one of {sorted(_TEMPLATE_MARGINS)}.")
        check_number("warp_factor", self.warp_factor, 0, 1)
        check_number("face_scale", self.face_scale, 1e-3, 1e3)
        check_number("box_scale", self.box_scale, 1e-3, 1e3)
        if None in self.size_hw:
            raise ValueError(f"size={dict(self.size)}; expected height and width of the crop.")
        for side in self.size_hw:
            check_number("size", side, 2, 2**14, whole=True)  # a template that spans size - 1 pixels needs two
        for name in ("canvas_size", "score_size"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), 1, 2**14, whole=True)
        check_pixel_normalisation(self.image_mean, self.image_std)
        if len(self.face_template) != 5:
            raise ValueError(f"face_template has {len(self.face_template)} points; expected five.")
        for point in self.face_template:
            for value in point:
                check_number("face_template", value, -1e3, 1e3)

    @property
    def size_hw(self) -> tuple[int, int]:
        """Crop size in pixels, (height, width)."""
        size = self.size if isinstance(self.size, dict) else vars(self.size)
        return size["height"], size["width"]

    @property
    def _score_size_hw(self):
        return (self.score_size, self.score_size) if self.score_size else self.size_hw

    @property
    def geometry(self) -> WarpGeometry:
        """The [`WarpGeometry`] of the crops."""
        offset = _GRID_OFFSETS[self.pixel_grid]
        return WarpGeometry(self.size_hw, float(self.warp_factor), offset, self.canvas_size)

    # ---------------------------------------------------------------- photo to crop

    def crop_matrix(self, points_photo_xy: Any, photo_name: str = "the photo") -> torch.Tensor:
        """Similarities that bring faces, given by five points, into the crop; see `alignment`.

        Args:
            points_photo_xy (`torch.Tensor` of shape `(F, 5, 2)`): (x, y) in photo pixels, continuous.
            photo_name (`str`, *optional*): Name of the photo in error messages.

        Returns:
            `torch.Tensor` of shape `(F, 3, 3)`: `crop_from_photo`.
        """
        points = checked_points(points_photo_xy, photo_name)
        if self.alignment == "ffhq_square":
            return ffhq_square_matrix(points, self.size_hw)
        height, width = self.size_hw
        size_xy = torch.tensor([width, height], dtype=torch.float32)
        pixel_xy = size_xy / self.canvas_size if self.canvas_size else torch.ones_like(size_xy)
        half_xy = (size_xy - _TEMPLATE_MARGINS[self.template_span] * pixel_xy) / 2
        template = torch.tensor(self.face_template, dtype=torch.float32)
        target = (template * self.face_scale + 1) * half_xy + _GRID_OFFSETS[self.pixel_grid] * pixel_xy
        return similarity_matrix(points, target.to(points.device))

    def crop_matrix_from_boxes(
        self,
        boxes_xyxy: Any,
        photo_size_hw: tuple[int, int] | None = None,
        photo_name: str = "the photo",
    ) -> torch.Tensor:
        """Matrices (F, 3, 3) of square crops around boxes (F, 4), see `box_scale`."""
        return box_matrix(checked_boxes(boxes_xyxy, photo_size_hw, photo_name), self.size_hw, self.box_scale)

    def crop_matrix_whole(self, photo_size_hw: tuple[int, int]) -> torch.Tensor:
        """Matrix (1, 3, 3) for a photo that is a face crop already: stretched to the crop size."""
        return whole_matrix(photo_size_hw, self.size_hw)

    def warp(
        self, image: torch.Tensor, crop_from_photo: torch.Tensor, interpolation: str = "bilinear"
    ) -> torch.Tensor:
        """Cut crops out of one image (C, H, W); (F, C, h, w) in the same value range, zero outside the image."""
        return sample_crops(image, crop_from_photo, self.geometry, mode=interpolation)

    def warp_with_labels(
        self, image: torch.Tensor, label_map: torch.Tensor, crop_from_photo: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Cut crops (F, C, h, w) out of one image (C, H, W), and label maps (F, h, w) out of its label map (H, W)."""
        pictures = [(image, "bilinear"), (label_map[None], "nearest")]
        crops, label_maps = sample_aligned_crops(pictures, crop_from_photo, self.geometry)
        return crops, label_maps[:, 0].long()

    def warp_points(self, points_photo_xy: torch.Tensor, crop_from_photo: torch.Tensor) -> torch.Tensor:
        """Map points (F, N, 2) from photo pixels to warped-crop pixels."""
        return self.geometry.warped_from_photo(points_photo_xy, crop_from_photo)

    def normalize(self, image: torch.Tensor, mean: Any = None, std: Any = None, **kwargs: Any) -> torch.Tensor:  # type: ignore[override]  # tensors only
        """Subtract the mean and divide by the deviation, by default its own; images (..., 3, H, W) in [0, 1]."""
        return super().normalize(
            image, self.image_mean if mean is None else mean, self.image_std if std is None else std
        )

    def _preprocess_image_like_inputs(  # type: ignore[override]  # the base class declares it without self
        self,
        images,
        keypoints=None,
        boxes=None,
        *,
        landmarks=None,
        do_convert_rgb=None,
        input_data_format=None,
        return_tensors=None,
        device=None,
        **settings,
    ):
        configured = self._with(settings)
        photos = self._prepare_image_like_inputs(
            images, do_convert_rgb=do_convert_rgb, input_data_format=input_data_format, device=device
        )
        _check_photos(photos)
        matrices = configured._matrices(photos, _one_of(keypoints, landmarks), boxes)
        crops = [configured._crops(photo, matrix) for photo, matrix in zip(photos, matrices, strict=True)]
        counts = torch.tensor([len(matrix) for matrix in matrices])
        data = {
            "pixel_values": torch.cat(crops),
            "crop_from_photo": torch.cat(matrices),
            "image_index": torch.repeat_interleave(torch.arange(len(photos)), counts),
            "original_sizes": torch.tensor([tuple(photo.shape[-2:]) for photo in photos]),
        }
        return BatchFeature(data, tensor_type=return_tensors)

    def _with(self, settings):
        """Return a processor with the call's settings, or this one if they are its own."""
        changed = {name: settings[name] for name in _CALL_SETTINGS if settings.get(name) is not None}
        if all(changed[name] == getattr(self, name) for name in changed):
            return self
        return type(self)(**{name: getattr(self, name) for name in _CALL_SETTINGS} | changed)

    def _matrices(self, photos, keypoints, boxes):
        if keypoints is not None and boxes is not None:
            raise ValueError("Both keypoints and boxes were given; pass one of them.")
        given = keypoints if keypoints is not None else boxes
        if given is None:
            return [self.crop_matrix_whole(photo.shape[-2:]) for photo in photos]
        if len(photos) == 1 and _depth(given) < (3 if boxes is not None else 4):
            given = [given]  # one photo: its faces may come without the outer list
        if len(given) != len(photos):
            raise ValueError(f"{len(photos)} images but {len(given)} sets of keypoints or boxes; give one per image.")
        names = [f"image {index}" for index in range(len(photos))]
        sizes = [photo.shape[-2:] for photo in photos]
        if keypoints is not None:
            checked = [checked_points(*faces) for faces in zip(given, names, sizes, strict=True)]
            return [self.crop_matrix(points, name) for points, name in zip(checked, names, strict=True)]
        return [self.crop_matrix_from_boxes(*faces) for faces in zip(given, sizes, names, strict=True)]

    def _crops(self, photo, crop_from_photo):
        crops = self.warp(photo, crop_from_photo)
        # Floating-point photos are in [0, 1] already.
        if self.do_rescale and not photo.is_floating_point():
            crops = crops * self.rescale_factor
        return self.normalize(crops) if self.do_normalize else crops

    # ---------------------------------------------------------------- crop to photo

    def _called_with(self, settings):
        """Return the processor of a call with these settings, for its results."""
        for name in settings:
            if name not in _CALL_SETTINGS:
                known = ", ".join(_CALL_SETTINGS)
                raise TypeError(f"{name} is no setting of a call of {type(self).__name__}; expected one of {known}.")
        return self._with(settings)

    def post_process_face_parsing(
        self, outputs: Any, crop_from_photo: torch.Tensor, target_sizes: Any, **settings: Any
    ) -> list[torch.Tensor]:
        """Label maps in the photo frame.

        Args:
            outputs: The model's output, or its logits (F, K, h, w).
            crop_from_photo (`torch.Tensor` of shape `(F, 3, 3)`): From the call of the processor.
            target_sizes (`torch.Tensor` of shape `(F, 2)` or list of pairs): (height, width) of each face's photo.
            **settings: The settings that the call of the processor replaced, such as `size`.

        Returns:
            `list[torch.Tensor]`: One (H, W) uint8 map of class ids per face.
        """
        logits, called = getattr(outputs, "logits", outputs), self._called_with(settings)
        return [
            unwarp_label_map(scores, matrix, (int(size[0]), int(size[1])), called.geometry, called._score_size_hw)
            for scores, matrix, size in _checked_targets(logits, crop_from_photo, target_sizes)
        ]

    def post_process_semantic_segmentation(
        self, outputs: Any, target_sizes: Any = None, return_segmentation_scores: bool = False, **settings: Any
    ) -> list[Any]:
        """Label maps of photos, each of which is one face crop. Transformers' image-segmentation pipeline calls this.

        Faces that were placed by points or boxes need `post_process_face_parsing`, which knows their matrices.

        Args:
            outputs: The model's output, or its logits (F, K, h, w).
            target_sizes (`torch.Tensor` of shape `(F, 2)` or list of pairs, *optional*): (height, width) of each
                photo; the crop's by default.
            return_segmentation_scores (`bool`, *optional*, defaults to `False`): Whether to return the class scores
                of every pixel, too.
            **settings: The settings that the call of the processor replaced, such as `size`.

        Returns:
            `list[torch.Tensor]`: One (H, W) int64 map of class ids per photo. With scores a `list[BatchFeature]`:
            `segmentation`, this map, and `segmentation_scores` (K, H, W), float32.

        Raises:
            ValueError: The number of sizes is not that of the photos.
        """
        logits, called = getattr(outputs, "logits", outputs), self._called_with(settings)
        sizes = [called.size_hw] * len(logits) if target_sizes is None else target_sizes
        sizes = [(int(height), int(width)) for height, width in sizes]
        if len(sizes) != len(logits):
            raise ValueError(f"target_sizes has {len(sizes)} entries for the scores of {len(logits)} photos.")
        matrices = torch.cat([called.crop_matrix_whole(size_hw) for size_hw in sizes])
        label_maps = [label_map.long() for label_map in called.post_process_face_parsing(logits, matrices, sizes)]
        if not return_segmentation_scores:
            return label_maps
        scores = interpolate(logits.float(), size=called._score_size_hw, mode="bilinear", align_corners=False)
        score_maps = called.post_process_heat_maps(scores, matrices, sizes)
        return [
            BatchFeature({"segmentation": label_map, "segmentation_scores": score_map})
            for label_map, score_map in zip(label_maps, score_maps, strict=True)
        ]

    def post_process_landmarks(self, outputs: Any, crop_from_photo: torch.Tensor, **settings: Any) -> torch.Tensor:
        """Landmarks in photo pixels.

        Args:
            outputs: The model's output, or its landmarks (F, N, 2) in [0, 1] of the crop.
            crop_from_photo (`torch.Tensor` of shape `(F, 3, 3)`): From the call of the processor.
            **settings: The settings that the call of the processor replaced, such as `size`.

        Returns:
            `torch.Tensor` of shape `(F, N, 2)`: (x, y) in continuous photo pixels.
        """
        landmarks = getattr(outputs, "landmarks", outputs).float()
        geometry = self._called_with(settings).geometry
        size_xy = landmarks.new_tensor([geometry.size_hw[1], geometry.size_hw[0]])
        return geometry.photo_from_warped(landmarks * size_xy, crop_from_photo.to(landmarks))

    def post_process_attributes(self, outputs: Any) -> torch.Tensor:
        """Probabilities (F, L) in [0, 1] from the model's output or its logits."""
        return getattr(outputs, "logits", outputs).float().sigmoid()

    def post_process_heat_maps(
        self, heat_maps: torch.Tensor, crop_from_photo: torch.Tensor, target_sizes: Any, **settings: Any
    ) -> list[torch.Tensor]:
        """Heat maps in the photo frame.

        Args:
            heat_maps (`torch.Tensor` of shape `(F, K, h, w)`): K maps per face over the warped crop, any resolution.
            crop_from_photo (`torch.Tensor` of shape `(F, 3, 3)`): From the call of the processor.
            target_sizes (`torch.Tensor` of shape `(F, 2)` or list of pairs): (height, width) of each face's photo.
            **settings: The settings that the call of the processor replaced, such as `size`.

        Returns:
            `list[torch.Tensor]`: One (K, H, W) float32 tensor per face, 0 where the crop does not reach.
        """
        geometry = self._called_with(settings).geometry
        return [
            unwarp_heat_maps(maps, matrix, (int(size[0]), int(size[1])), geometry)
            for maps, matrix, size in _checked_targets(heat_maps, crop_from_photo, target_sizes)
        ]


def _one_of(keypoints, landmarks):
    """Return the five points, whichever of their two names they came by."""
    if keypoints is not None and landmarks is not None:
        raise ValueError(
            "Both keypoints and landmarks were given, which are two names of one argument; pass keypoints."
        )
    return landmarks if keypoints is None else keypoints


def _checked_targets(maps, crop_from_photo, target_sizes):
    """Return maps, matrix and (height, width) of each face; a ValueError says what does not fit."""
    try:
        sizes = [(int(height), int(width)) for height, width in target_sizes]
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"target_sizes={in_short(target_sizes)}; expected (height, width) per face.") from None
    for side in itertools.chain(*sizes):
        check_number("target_sizes", side, 1, _LONGEST_SIDE)
    if maps.ndim != 4 or 0 in maps.shape[1:] or crop_from_photo.shape != (len(maps), 3, 3) or len(sizes) != len(maps):
        raise ValueError(
            f"Scores of shape {tuple(maps.shape)} came with crop_from_photo of shape {tuple(crop_from_photo.shape)} "
            f"and {len(sizes)} target_sizes; expected (faces, classes, height, width), (faces, 3, 3) and one per face."
        )
    for name, values in (("The scores", maps), ("crop_from_photo", crop_from_photo)):
        if bool(values.isnan().any()):
            raise ValueError(f"{name} hold NaN; the model or its input is damaged.")
    if bool((torch.linalg.det(crop_from_photo.float()) == 0).any()):
        raise ValueError("crop_from_photo cannot be inverted; pass what the call of the processor returned.")
    return zip(maps, crop_from_photo, sizes, strict=True)


def _check_photos(photos):
    if not photos:
        raise ValueError("No images were given; pass at least one.")
    for index, photo in enumerate(photos):
        if 0 in photo.shape:
            raise ValueError(f"image {index} is empty: {photo.shape[-1]} pixels wide and {photo.shape[-2]} high.")


def _depth(nested, most=9):
    """Return how many levels of lists or axes lead to a number; an empty list counts as its last level."""
    if hasattr(nested, "ndim"):
        return nested.ndim
    if not most or not isinstance(nested, (list, tuple)):
        return 0
    return 1 + max((_depth(item, most - 1) for item in nested), default=0)


# --- label maps and heat maps from the crop back to the photo, only where the crop can reach


def unwarp_label_map(
    logits_KHW: torch.Tensor,
    crop_from_photo: torch.Tensor,
    photo_size_hw: tuple[int, int],
    geometry: WarpGeometry,
    score_size_hw: tuple[int, int] | None = None,
) -> torch.Tensor:
    """Label every pixel of the photo from one face's class scores.

    facer un-warps every class of every face to the size of the photo (facer/face_parsing/farl.py, lines 148-154):
    faces x classes x pixels. Three facts give the same labels in less time and memory:

    - Far from the face, a bilinear read mixes border cells of the class maps with zero padding. If one class wins on
      the whole border, it wins there too, and only the window around all other cells is computed. If not, the whole
      photo is.
    - Where the four cells around a read have the same winner, that class wins the mixture. Only other pixels need
      scores.
    - Rows are independent, so working in stripes bounds the memory.

    Args:
        logits_KHW (`torch.Tensor` of shape `(K, h, w)`): Class scores in the warped crop, K < 255.
        crop_from_photo (`torch.Tensor` of shape `(3, 3)`): Matrix of the face.
        photo_size_hw (`tuple[int, int]`): Size of the photo.
        geometry ([`WarpGeometry`]): Crop size and warp.
        score_size_hw (`tuple[int, int]`, *optional*): Size to which the scores are upsampled before they are read; the
            crop's by default.

    Returns:
        `torch.Tensor` of shape `(H, W)`, uint8: Class ids. Pixels that the crop does not reach get class 0 for a plain
        crop, the class of the crop's border for a tanh warp (which squeezes the whole plane into the crop).
    """
    if logits_KHW.shape[0] >= _MIXED:
        raise ValueError(f"{logits_KHW.shape[0]} classes; label maps are uint8 and hold fewer than {_MIXED}.")
    scores_KHW = interpolate(
        logits_KHW[None].float(), size=score_size_hw or geometry.size_hw, mode="bilinear", align_corners=False
    )[0]
    winners_HW = scores_KHW.max(dim=0).indices
    outside = 0 if geometry.warp_factor == 0 else _border_class(winners_HW)
    height, width = photo_size_hw
    labels_HW = torch.full((height, width), outside or 0, dtype=torch.uint8, device=logits_KHW.device)
    cells = _cell_classes(winners_HW)
    x0, y0, x1, y1 = 0, 0, width, height
    if outside is not None:
        x0, y0, x1, y1 = _busy_window(cells, outside, crop_from_photo, photo_size_hw, geometry)
    rows = max(1, _STRIPE_PIXELS // max(x1 - x0, 1))
    for top in range(y0, y1, rows):
        bottom = min(top + rows, y1)
        stripe = (x0, top, x1, bottom)
        labels_HW[top:bottom, x0:x1] = _label_window(scores_KHW, cells, crop_from_photo, stripe, geometry)
    return labels_HW


def _border_class(winners_HW):
    border = torch.cat([winners_HW[0], winners_HW[-1], winners_HW[:, 0], winners_HW[:, -1]])
    return int(border[0]) if bool((border == border[0]).all()) else None


def _busy_window(cells, outside, crop_from_photo, photo_size_hw, geometry):
    """Return the photo window x0, y0, x1, y1 around all cells that are not of the outside's class."""
    busy = (cells != outside).nonzero()
    if not len(busy):
        return 0, 0, 0, 0
    (low_y, low_x), (high_y, high_x) = busy.amin(dim=0).tolist(), busy.amax(dim=0).tolist()
    # Cell (i, j) lies between the centres of pixels i - 2 and i - 1.
    left, top, right, bottom = low_x - 1.5, low_y - 1.5, high_x - 0.5, high_y - 0.5
    corners_xy = torch.tensor([[left, top], [right, top], [right, bottom], [left, bottom]], dtype=torch.float64)
    corners_warped_xy = corners_xy / _cells_per_pixel(cells, geometry, corners_xy)
    matrix = crop_from_photo.double().cpu()
    corners_xy = geometry.photo_from_warped(corners_warped_xy[None], matrix[None], clamp=1 - 1e-9)[0]
    return _window_around(corners_xy, photo_size_hw, margin=1)


def _window_around(points_xy, photo_size_hw, margin=0):
    """Return the smallest window x0, y0, x1, y1 of whole pixels that holds the points, inside the photo."""
    limits_xy = points_xy.new_tensor([photo_size_hw[1], photo_size_hw[0]])
    low_xy = (points_xy.amin(dim=0) - margin).floor().clamp(min=0).minimum(limits_xy)
    high_xy = (points_xy.amax(dim=0) + margin).ceil().clamp(min=0).minimum(limits_xy)
    return (*low_xy.int().tolist(), *high_xy.int().tolist())


def _cell_classes(winners_HW):
    """Class of each cell between four neighbouring centres, `_MIXED` where they differ; beyond the padding, class 0.

    Entry (i, j) of the result is the cell whose upper-left centre is (i - 2, j - 2).
    """
    winners = winners_HW[None, None].to(torch.float32)
    padded = torch.nn.functional.pad(winners, (1, 1, 1, 1), mode="replicate")[0, 0].to(torch.uint8)
    corner = padded[:-1, :-1]
    same = (corner == padded[:-1, 1:]) & (corner == padded[1:, :-1]) & (corner == padded[1:, 1:])
    cells = torch.where(same, corner, torch.full_like(corner, _MIXED))
    return torch.nn.functional.pad(cells, (1, 1, 1, 1), value=0)


def _cells_per_pixel(cells, geometry, like):
    """Score cells per crop pixel, (x, y); `cells` has three rows and columns more than the scores."""
    height, width = geometry.size_hw
    return like.new_tensor([(cells.shape[1] - 3) / width, (cells.shape[0] - 3) / height])


def _window_points(window, like):
    """Return the pixel centres of a window, (H * W, 2) in photo pixels."""
    x0, y0, x1, y1 = window
    x = torch.arange(x0, x1, device=like.device, dtype=torch.float32) + 0.5
    y = torch.arange(y0, y1, device=like.device, dtype=torch.float32) + 0.5
    return torch.stack([x.repeat(len(y)), y.repeat_interleave(len(x))], dim=-1)


def _label_window(scores_KHW, cells, crop_from_photo, window, geometry):
    """Label one window of the photo; `unwarp_label_map` says why this equals scoring every pixel."""
    x0, y0, x1, y1 = window
    points_photo_xy = _window_points(window, scores_KHW)
    matrix = crop_from_photo.to(points_photo_xy)
    warped_xy = geometry.warped_from_photo(points_photo_xy[None], matrix[None])[0]
    last_x, last_y = cells.shape[1] - 1, cells.shape[0] - 1
    score_xy = warped_xy * _cells_per_pixel(cells, geometry, warped_xy)
    index_x = (score_xy[:, 0] + 1.5).floor().clamp(0, last_x).int()
    index_y = (score_xy[:, 1] + 1.5).floor().clamp(0, last_y).int()
    labels = cells.flatten()[index_y * cells.shape[1] + index_x]
    mixed = (labels == _MIXED).nonzero()[:, 0]
    if mixed.numel():
        size_xy = warped_xy.new_tensor([geometry.size_hw[1], geometry.size_hw[0]])
        grid = (warped_xy[mixed] * 2 / size_xy - 1)[None, None]
        scores = grid_sample(scores_KHW[None], grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        labels[mixed] = scores[0, :, 0].max(dim=0).indices.to(torch.uint8)
    return labels.reshape(y1 - y0, x1 - x0)


def unwarp_heat_maps(
    maps_KHW: torch.Tensor, crop_from_photo: torch.Tensor, photo_size_hw: tuple[int, int], geometry: WarpGeometry
) -> torch.Tensor:
    """Read heat maps of one face at every pixel of the photo, bilinearly.

    Args:
        maps_KHW (`torch.Tensor` of shape `(K, h, w)`): Maps over the warped crop, of any resolution.
        crop_from_photo (`torch.Tensor` of shape `(3, 3)`): Matrix of the face.
        photo_size_hw (`tuple[int, int]`): Size of the photo.
        geometry ([`WarpGeometry`]): Crop size and warp.

    Returns:
        `torch.Tensor` of shape `(K, H, W)`, float32: 0 where the crop does not reach.
    """
    height, width = photo_size_hw
    photo_maps_KHW = maps_KHW.new_zeros((maps_KHW.shape[0], height, width), dtype=torch.float32)
    x0, y0, x1, y1 = _crop_window(crop_from_photo, photo_size_hw, geometry)
    size_xy = photo_maps_KHW.new_tensor([geometry.size_hw[1], geometry.size_hw[0]])
    rows = max(1, _STRIPE_PIXELS // max(x1 - x0, 1))
    for top in range(y0, y1, rows):
        bottom = min(top + rows, y1)
        points_photo_xy = _window_points((x0, top, x1, bottom), photo_maps_KHW)
        warped_xy = geometry.warped_from_photo(points_photo_xy[None], crop_from_photo.to(points_photo_xy)[None])
        # The border is repeated: with zero padding, a map would fade out at the rim of its crop.
        grid = (warped_xy * 2 / size_xy - 1)[None]
        read = grid_sample(maps_KHW[None].float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
        inside = ((warped_xy >= 0) & (warped_xy <= size_xy)).all(dim=-1)
        window = (slice(None), slice(top, bottom), slice(x0, x1))
        photo_maps_KHW[window] = (read[0, :, 0] * inside).unflatten(1, (bottom - top, x1 - x0))
    return photo_maps_KHW


def _crop_window(crop_from_photo, photo_size_hw, geometry):
    """Return the photo window x0, y0, x1, y1 that the crop shows; with a tanh warp that is the whole photo."""
    (height, width), (crop_height, crop_width) = photo_size_hw, geometry.size_hw
    if geometry.warp_factor:
        return 0, 0, width, height
    corners_xy = torch.tensor([[0, 0], [crop_width, 0], [crop_width, crop_height], [0, crop_height]])
    matrix = crop_from_photo.double().cpu()
    return _window_around(geometry.photo_from_warped(corners_xy.double()[None], matrix[None])[0], photo_size_hw)
