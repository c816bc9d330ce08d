"""Photos to RetinaFace inputs, and RetinaFace outputs to faces in the photo.

The arithmetic follows biubug6/Pytorch_Retinaface b984b4b (MIT), `test_widerface.py`, lines 97-171. Convention
everywhere: continuous pixels, the centre of the first pixel is (0.5, 0.5); points are x, y; boxes x_min, y_min, x_max,
y_max; sizes height, width.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torchvision.ops import box_convert, box_iou, nms
from transformers.image_processing_base import BatchFeature
from transformers.image_utils import PILImageResampling, SizeDict
from transformers.processing_utils import ImagesKwargs

from .photo_tensors_farl import PhotoTensorBackend, check_number, check_pixel_normalisation, in_short
from .processor_push_farl import ProcessorPushedWithCode

# Of the coarse side: a larger face, in pixels of the usual input, is taken from the coarse view. With 512, that is a
# face larger than the second largest anchors; with a higher limit, parts of some large faces count as faces.
_COARSE_FACE = 0.5
_SAME_FACE_OVERLAP = 0.4  # of a box in one view and one in the other


class RetinaFaceImageProcessorKwargs(ImagesKwargs, total=False):
    r"""
    Settings of `RetinaFaceImageProcessor` beyond those of every image processor; all are saved with the weights.

    Args:
        do_flip_channel_order (`bool`): Give the network blue, green, red instead of red, green, blue.
        max_long_side (`int`): Photos with a longer side are shrunk to it; 0 keeps every size.
        coarse_long_side (`int`): Photos that are longer after `max_long_side` are also looked at in this size, for the
            faces that are too large for the anchors otherwise; 0 does not. See `join_views`.
        min_long_side (`int`): Photos whose longer side is shorter are enlarged to it; 0 keeps every size.
        pad_size_divisor (`int`): Inputs are padded at the right and bottom to multiples of it; 1 does not pad.
        variances (`list[float]`): Multipliers of the coded offsets of centres and of log sizes.
        score_threshold (`float`): Faces with a lower score are dropped.
        nms_threshold (`float`): Of two boxes that overlap more, the one with the lower score is dropped.
        top_k (`int`): Candidates, best first, that take part in non-maximum suppression.
        max_faces (`int`): Faces of one photo at most.
    """

    do_flip_channel_order: bool
    max_long_side: int
    coarse_long_side: int
    min_long_side: int
    pad_size_divisor: int
    variances: Any
    score_threshold: float | int
    nms_threshold: float | int
    top_k: int
    max_faces: int


class RetinaFaceImageProcessor(ProcessorPushedWithCode, PhotoTensorBackend):
    r"""
    Turn photos into network inputs (blue, green, red; 0 to 255; minus a mean) and raw outputs into faces.

    The type of the values says their range: integers of 8 and 16 bits fill it, wider ones are 0 to 255, booleans are
    black and white, and floats are 0 to 1. `do_rescale=True`, given to a call, says that floats are 0 to 255. The
    settings `do_rescale` and `rescale_factor` of a saved processor change nothing.

    Every photo is padded to its own multiple of `pad_size_divisor`. The border of a convolution sees padding, so a
    photo gives the same faces in every batch only if it shares the batch with photos of the same input size:
    `group_by_input_size` sorts them. Photos of different input sizes in one call are padded to the largest, which
    changes faces near the right and bottom borders slightly. Anchors in the padding are never reported. With
    `pad_size_divisor=1`, as the original network is fed, nothing is padded, and a call takes photos of one size.

    facer feeds red, green, blue to the published weights (facer/io.py, lines 12-14;
    facer/face_detection/retinaface.py, lines 567-587) and does not pad: `do_flip_channel_order=False`,
    `pad_size_divisor=1`, `max_long_side=0` reproduce its results.

    Example:
        ```python
        >>> import numpy as np
        >>> from farl_hf.processing.image_processing_retinaface import RetinaFaceImageProcessor

        >>> inputs = RetinaFaceImageProcessor()(np.zeros((1200, 2160, 3), dtype=np.uint8))
        >>> inputs["pixel_values"].shape, inputs["original_sizes"].tolist(), inputs["input_scales"].tolist()
        (torch.Size([1, 3, 608, 1088]), [[1200, 2160]], [[0.5, 0.5]])

        ```
    """

    valid_kwargs = RetinaFaceImageProcessorKwargs
    model_input_names = ["pixel_values", "original_sizes", "input_scales"]  # noqa: RUF012
    unused_settings = {  # noqa: RUF012
        **PhotoTensorBackend.unused_settings,
        "do_resize": ((True,), "max_long_side and min_long_side say what is resized"),
        "size": ((), "max_long_side and min_long_side say what is resized"),
        "do_pad": ((True,), "pad_size_divisor says what is padded"),
        "pad_size": ((), "pad_size_divisor says what is padded"),
        "rescale_factor": ((255.0,), "the network takes values from 0 to 255"),
        "variances": ((), "they belong to the weights"),
        **dict.fromkeys(
            ("score_threshold", "nms_threshold", "top_k", "max_faces"),
            ((), "post_process_face_detection chooses the faces, and takes it"),
        ),
    }
    do_convert_rgb = True
    do_rescale = False
    rescale_factor = 255.0
    do_normalize = True
    do_flip_channel_order = True
    image_mean = (104.0, 117.0, 123.0)
    image_std = (1.0, 1.0, 1.0)
    resample = PILImageResampling.BILINEAR
    max_long_side = 1080
    coarse_long_side = 0
    min_long_side = 0
    pad_size_divisor = 32
    variances: Sequence[float] = (0.1, 0.2)
    score_threshold = 0.5
    nms_threshold = 0.4
    top_k = 5000
    max_faces = 750

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        try:
            self.variances = [float(value) for value in self.variances]  # as they are read from a file
            center, size = self.variances
        except (TypeError, ValueError):
            raise ValueError(f"variances={in_short(self.variances)} cannot be used; expected two numbers.") from None
        check_number("variances", center, 1e-6, 1e3)
        check_number("variances", size, 1e-6, 1e3)
        for name in ("max_long_side", "min_long_side", "coarse_long_side"):
            check_number(name, getattr(self, name), 0, 2**15)
        check_number("pad_size_divisor", self.pad_size_divisor, 1, 2**12, whole=True)
        check_number("top_k", self.top_k, 1, 2**31, whole=True)
        check_number("max_faces", self.max_faces, 1, 2**31, whole=True)
        check_number("score_threshold", self.score_threshold, 0, 1)
        check_number("nms_threshold", self.nms_threshold, 0, 1)
        check_pixel_normalisation(self.image_mean, self.image_std)

    # --- photos to inputs -----------------------------------------------------------------------------------------

    def resized_size(
        self, size_hw: tuple[int, int], max_long_side: int | None = None, min_long_side: int | None = None
    ) -> tuple[int, int]:
        """
        Height and width of a photo after shrinking or enlarging, before padding.

        Args:
            size_hw (`tuple[int, int]`): Height and width of the photo.
            max_long_side, min_long_side (`int`, *optional*): In place of the attributes.

        Returns:
            `tuple[int, int]`: at least one pixel each.
        """
        longest = self.max_long_side if max_long_side is None else max_long_side
        shortest = self.min_long_side if min_long_side is None else min_long_side
        long_side, scale = max(size_hw), 1.0
        if longest and long_side > longest:
            scale = longest / long_side
        elif shortest and long_side < shortest:
            scale = shortest / long_side
        height, width = (max(1, round(side * scale)) for side in size_hw)
        return height, width

    def input_size(self, size_hw: tuple[int, int], max_long_side: int | None = None) -> tuple[int, int]:
        """Height and width of the network input made of a photo of that height and width, padding included."""
        divisor = max(1, self.pad_size_divisor)
        height, width = (math.ceil(side / divisor) * divisor for side in self.resized_size(size_hw, max_long_side))
        return height, width

    def has_coarse_view(self, size_hw: tuple[int, int]) -> bool:
        """Whether a photo of that height and width is looked at in `coarse_long_side` too."""
        return 0 < self.coarse_long_side < max(self.resized_size(size_hw))

    def group_by_input_size(
        self, sizes_hw: Iterable[tuple[int, int]], max_long_side: int | None = None
    ) -> dict[tuple[int, int], list[int]]:
        """
        Sort photos into batches in which they cannot influence one another.

        Args:
            sizes_hw (`Iterable[tuple[int, int]]`): Height and width of every photo.
            max_long_side (`int`, *optional*): In place of the attribute.

        Returns:
            `dict`: input size -> indices of its photos, both in order of appearance.
        """
        groups: dict[tuple[int, int], list[int]] = {}
        for index, size_hw in enumerate(sizes_hw):
            groups.setdefault(self.input_size(size_hw, max_long_side), []).append(index)
        return groups

    def process_image(
        self,
        image: Any,
        do_convert_rgb: bool | None = None,
        input_data_format: Any = None,
        device: Any = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """One photo of any accepted type as a tensor (3, H, W), uint8 or floating point, in [0, 255]."""
        image = super().process_image(
            image, do_convert_rgb=do_convert_rgb, input_data_format=input_data_format, device=device
        )
        if 0 in image.shape:
            raise ValueError(f"A photo has shape {tuple(image.shape)}; expected at least one pixel.")
        if image.shape[0] != 3:
            raise ValueError(f"A photo has {image.shape[0]} channels; expected 1 (grey), 3 (RGB) or 4 (RGBA).")
        return image * 255 if image.is_floating_point() else image

    def _preprocess(  # type: ignore[override]  # called with keywords, with the settings of this class
        self,
        images,
        do_normalize,
        image_mean,
        image_std,
        do_flip_channel_order,
        resample,
        max_long_side,
        min_long_side,
        pad_size_divisor,
        return_tensors=None,
        **kwargs,
    ):
        original_sizes = [tuple(image.shape[-2:]) for image in images]
        inputs = []
        for image, size_hw in zip(images, original_sizes, strict=True):
            new_hw = self.resized_size(size_hw, max_long_side, min_long_side)
            if new_hw != size_hw:
                image = self.resize(image, SizeDict(height=new_hw[0], width=new_hw[1]), resample=resample)
            inputs.append(image.flip(0) if do_flip_channel_order else image)
        input_scales = [
            [image.shape[-2] / height, image.shape[-1] / width]
            for image, (height, width) in zip(inputs, original_sizes, strict=True)
        ]
        pixel_values = pad_and_stack(
            inputs,
            max(1, pad_size_divisor),
            mean_and_std=(image_mean, image_std) if do_normalize else None,
        )
        data = {
            "pixel_values": pixel_values,
            "original_sizes": torch.tensor(original_sizes, dtype=torch.int64),
            "input_scales": torch.tensor(input_scales, dtype=torch.float32),
        }
        return BatchFeature(data, tensor_type=return_tensors)

    def _validate_preprocess_kwargs(
        self, *args, max_long_side=0, min_long_side=0, coarse_long_side=0, pad_size_divisor=1, **kwargs
    ):
        sides = {"max_long_side": max_long_side, "min_long_side": min_long_side, "coarse_long_side": coarse_long_side}
        for name, value in sides.items():
            check_number(name, value, 0, 2**15)
        check_number("pad_size_divisor", pad_size_divisor, 1, 2**12, whole=True)
        check_pixel_normalisation(kwargs.get("image_mean", (0, 0, 0)), kwargs.get("image_std", (1, 1, 1)))
        super()._validate_preprocess_kwargs(*args, **kwargs)

    # --- outputs to faces -----------------------------------------------------------------------------------------

    def post_process_face_detection(
        self,
        outputs: Mapping[str, torch.Tensor],
        original_sizes: Any,
        input_scales: Any,
        threshold: float | None = None,
        nms_threshold: float | None = None,
        top_k: int | None = None,
        max_faces: int | None = None,
        pad_size_divisor: int | None = None,
    ) -> list[dict[str, torch.Tensor]]:
        """
        Faces of every photo, in continuous pixels of the photo, best first.

        Boxes and points may reach beyond the photo where a face does.

        Args:
            outputs (`RetinaFaceFaceDetectionOutput`): `class_logits` (B, A, 2), `box_offsets` (B, A, 4),
                `keypoint_offsets` (B, A, 10) and `anchors` (B, A, 4).
            original_sizes (`torch.Tensor` of shape (B, 2)): Height and width of the photos.
            input_scales (`torch.Tensor` of shape (B, 2)): Input pixels per photo pixel along height and width.
            threshold, nms_threshold, top_k, max_faces, pad_size_divisor (*optional*): In place of the attributes; the
                last one, if the call of the processor was given one.

        Returns:
            `list[dict]`: `scores` (n,), `boxes_xyxy` (n, 4), `keypoints_xy` (n, 5, 2), float32, on the device of the
            outputs. Order of the points: image-left eye, image-right eye, nose tip, image-left and image-right
            corner of the mouth.

        Raises:
            ValueError: Sizes or scales do not fit the number of pictures.
        """
        threshold = self.score_threshold if threshold is None else threshold
        nms_threshold = self.nms_threshold if nms_threshold is None else nms_threshold
        top_k = self.top_k if top_k is None else top_k
        max_faces = self.max_faces if max_faces is None else max_faces
        check_number("threshold", threshold, 0, 1)
        check_number("nms_threshold", nms_threshold, 0, 1)
        check_number("top_k", top_k, 1, 2**31, whole=True)
        check_number("max_faces", max_faces, 1, 2**31, whole=True)
        scores = outputs["class_logits"].detach().float().softmax(-1)[..., 1]
        threshold, nms_threshold = float(threshold), float(nms_threshold)
        sizes_hw = _positive("original_sizes", original_sizes, scores.device)
        scales_hw = _positive("input_scales", input_scales, scores.device)
        if sizes_hw.shape != (scores.shape[0], 2) or scales_hw.shape != sizes_hw.shape:
            raise ValueError(
                f"original_sizes has shape {tuple(sizes_hw.shape)} and input_scales {tuple(scales_hw.shape)}; "
                f"expected ({scores.shape[0]}, 2) twice, as returned by the processor."
            )
        is_padded = (self.pad_size_divisor if pad_size_divisor is None else pad_size_divisor) > 1
        limits_xy = (sizes_hw * scales_hw).round().flip(1) if is_padded else [None] * len(scores)
        faces = []
        for index, limit_xy in enumerate(limits_xy):
            anchors = outputs["anchors"][index].to(scores.device)
            keep = best_anchors(scores[index], anchors, limit_xy, threshold, top_k)
            boxes, keypoints = decode_faces(
                outputs["box_offsets"][index, keep].detach().float(),
                outputs["keypoint_offsets"][index, keep].detach().float(),
                anchors[keep],
                self.variances,
            )
            chosen = nms_inclusive(boxes, scores[index, keep], nms_threshold)[:max_faces]
            scale_xy = scales_hw[index].flip(0)
            faces.append(
                {
                    "scores": scores[index, keep][chosen],
                    "boxes_xyxy": boxes[chosen] / scale_xy.repeat(2),
                    "keypoints_xy": keypoints[chosen] / scale_xy,
                }
            )
        return faces

    def post_process_object_detection(
        self, outputs: Mapping[str, torch.Tensor], threshold: float = 0.5, target_sizes: Any = None
    ) -> list[dict[str, torch.Tensor]]:
        """
        Faces as boxes of class 1. Transformers' object-detection pipeline calls this.

        It takes the photos as resized by the attributes. For photos resized by other settings, and for the five
        points, use `post_process_face_detection`.

        Args:
            outputs (`RetinaFaceFaceDetectionOutput`): Raw predictions.
            threshold (`float`): Faces with a lower score are dropped.
            target_sizes (`torch.Tensor` of shape (B, 2) or list of pairs): Height and width of the photos.

        Returns:
            `list[dict]`: `scores` (n,), `labels` (n,) int64, `boxes` (n, 4) x_min, y_min, x_max, y_max in continuous
            pixels of the photo, best first.

        Raises:
            ValueError: The sizes are missing, or do not fit the number of pictures.
        """
        if target_sizes is None:
            raise ValueError("target_sizes is missing; expected the height and width of each photo.")
        sizes_hw = [(int(height), int(width)) for height, width in target_sizes]
        resized_hw = [self.resized_size(size_hw) for size_hw in sizes_hw]
        scales = [(new[0] / old[0], new[1] / old[1]) for new, old in zip(resized_hw, sizes_hw, strict=True)]
        faces = self.post_process_face_detection(outputs, sizes_hw, scales, threshold=threshold)
        return [
            {
                "scores": found["scores"],
                "labels": torch.ones_like(found["scores"], dtype=torch.int64),
                "boxes": found["boxes_xyxy"],
            }
            for found in faces
        ]

    def join_views(
        self,
        usual: Mapping[str, torch.Tensor],
        coarse: Mapping[str, torch.Tensor],
        size_hw: tuple[int, int],
        nms_threshold: float | None = None,
    ) -> dict[str, torch.Tensor]:
        """
        The faces of one photo that was looked at in two sizes.

        A face larger than the largest anchors gives several boxes on its parts. Faces of more than half of
        `coarse_long_side`, in pixels of the usual input, are therefore taken from the coarse view, smaller ones from
        the usual one. The two views give a face boxes of slightly different sizes. If only the one of the usual view
        is above the limit, the face is taken from the coarse view; if only the other is, the better score wins.

        Args:
            usual, coarse (`dict`): Faces in the photo, from `post_process_face_detection`.
            size_hw (`tuple[int, int]`): Height and width of the photo.
            nms_threshold (`float`, *optional*): In place of the attribute.

        Returns:
            `dict`: As `post_process_face_detection` gives for one photo.
        """
        limit_px = _COARSE_FACE * self.coarse_long_side * max(size_hw) / max(self.resized_size(size_hw))
        threshold = self.nms_threshold if nms_threshold is None else nms_threshold
        large, large_coarse = (_sides(faces["boxes_xyxy"]) > limit_px for faces in (usual, coarse))
        overlaps = box_iou(coarse["boxes_xyxy"], usual["boxes_xyxy"][large])
        large_coarse |= (overlaps > _SAME_FACE_OVERLAP).any(dim=1)
        parts = [(usual, ~large), (coarse, large_coarse)]
        both = {name: torch.cat([faces[name][kept] for faces, kept in parts]) for name in usual}
        chosen = nms_inclusive(both["boxes_xyxy"], both["scores"], threshold)[: self.max_faces]
        return {name: values[chosen] for name, values in both.items()}


def _positive(name: str, values: Any, device: torch.device) -> torch.Tensor:
    """Numbers of photos, float32, all above 0."""
    try:
        numbers = torch.as_tensor(values, dtype=torch.float32, device=device)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise ValueError(f"{name} is {in_short(values)}; expected two numbers per photo.") from None
    if not bool((numbers.isfinite() & (numbers > 0)).all()):
        raise ValueError(f"{name} is {in_short(numbers.tolist())}; expected finite numbers above 0.")
    return numbers


def _sides(boxes_xyxy: torch.Tensor) -> torch.Tensor:
    """Sides of squares of the same areas, (n,)."""
    return (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).clamp(min=0).prod(dim=1).sqrt()


def pad_and_stack(inputs: list[torch.Tensor], divisor: int, mean_and_std: Any = None) -> torch.Tensor:
    """
    Stack pictures (3, H, W) into one float batch. Each is converted in its place, without a further copy.

    Args:
        inputs (`list[torch.Tensor]`): Pictures of any type.
        divisor (`int`): The batch has the largest height and width, made divisible; zeros at the right and bottom.
        mean_and_std (pair of 3 numbers each, *optional*): Subtracted and divided by.

    Returns:
        `torch.Tensor` of shape (B, 3, H, W), float32, channels last, as the network wants it.
    """
    if not inputs:
        raise ValueError("No images were given; pass at least one.")
    height = math.ceil(max(image.shape[-2] for image in inputs) / divisor) * divisor
    width = math.ceil(max(image.shape[-1] for image in inputs) / divisor) * divisor
    if divisor == 1 and any(tuple(image.shape[-2:]) != (height, width) for image in inputs):
        sizes = sorted({tuple(image.shape[-2:]) for image in inputs})
        raise ValueError(
            f"Inputs have different sizes {sizes} and pad_size_divisor is 1; pass photos of one size at a time."
        )
    shape, device = (len(inputs), 3, height, width), inputs[0].device
    batch = torch.empty(shape, dtype=torch.float32, device=device, memory_format=torch.channels_last)
    for index, image in enumerate(inputs):
        rows, columns = image.shape[-2:]
        place = batch[index]
        place[:, rows:], place[:, :rows, columns:] = 0, 0
        content = place[:, :rows, :columns].copy_(image)
        if mean_and_std is not None:
            mean, std = (batch.new_tensor(values)[:, None, None] for values in mean_and_std)
            content.sub_(mean)
            if bool((std != 1).any()):
                content.div_(std)
    return batch


def best_anchors(
    scores: torch.Tensor, anchors: torch.Tensor, limit_xy: torch.Tensor | None, threshold: float, top_k: int
) -> torch.Tensor:
    """Indices of the anchors (A,) above the threshold with their centre inside `limit_xy`, best first."""
    wanted = scores > threshold
    if limit_xy is not None:
        wanted &= (anchors[:, :2] < limit_xy).all(dim=1)
    candidates = wanted.nonzero().squeeze(1)
    order = scores[candidates].argsort(descending=True, stable=True)[:top_k]
    return candidates[order]


def decode_faces(
    box_offsets: torch.Tensor, keypoint_offsets: torch.Tensor, anchors_cxcywh: torch.Tensor, variances: Sequence[float]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Boxes (n, 4) and five points (n, 5, 2) in input pixels from coded offsets (n, 4), (n, 10) and anchors (n, 4)."""
    centers, sizes = anchors_cxcywh[:, :2], anchors_cxcywh[:, 2:]
    box_centers = centers + box_offsets[:, :2] * variances[0] * sizes
    box_sizes = sizes * torch.exp(box_offsets[:, 2:] * variances[1])
    boxes_xyxy = box_convert(torch.cat([box_centers, box_sizes], dim=1), "cxcywh", "xyxy")
    keypoints_xy = centers[:, None] + keypoint_offsets.view(-1, 5, 2) * variances[0] * sizes[:, None]
    return boxes_xyxy, keypoints_xy


def nms_inclusive(boxes_xyxy: torch.Tensor, scores: torch.Tensor, threshold: float) -> torch.Tensor:
    """Non-maximum suppression with the original's pixel count, in which a box from 3 to 5 is three pixels wide.

    Source: Pytorch_Retinaface `utils/nms/py_cpu_nms.py`, lines 18-36.
    """
    return nms(boxes_xyxy + boxes_xyxy.new_tensor([0.0, 0.0, 1.0, 1.0]), scores, threshold)
