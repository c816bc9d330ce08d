"""Pictures from a photo and the answer of a pipeline: drawings, crops, cut-outs, faces made unrecognisable.

Photos are anything that `load_photo` reads: paths, URLs, PIL images, arrays. They are left as they are.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from numbers import Integral, Real
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image

from farl_hf.drawing import draw_face_attributes, draw_face_landmarks, draw_face_parsing, draw_faces
from farl_hf.errors import InvalidArgumentError, InvalidFaceInputError, check_name
from farl_hf.photos import load_photo
from farl_hf.processing import FaRLImageProcessor
from farl_hf.results import FaceAttributes, FaceLandmarks, FaceParsing, Faces, face_label_map, require_faces

Answer = Sequence[Mapping[str, Any]] | Mapping[str, Any]

# What can be drawn -> the entry of a face that it needs.
_DRAWN = {"parsing": "segmentation", "landmarks": "landmarks", "detection": "box", "attributes": "attributes"}
_NOT_OF_THE_FACE = ("background", "hair", "neck", "cloth", "hat", "earring", "necklace")
METHODS = ("blur", "pixelate", "fill")
REGIONS = ("box", "face", "landmarks")
_BLUR = 1 / 5  # deviation of the Gaussian, in sides of a face; nothing smaller than half a face remains
_BLURRED_SIDE_PX = 40  # of a face while it is blurred
_BLOCK = 1 / 6  # side of a block of pixels, likewise
_LEAST_STRENGTH = 0.25
_TOO_STRONG = 100
_FARTHEST_PX = 1e6  # of a landmark; OpenCV fills nothing where integers overflow
_LEAST_PART = 1 / 4  # of a box that a region covers; those of faces on photographs rarely cover less
_MARGIN = 1 / 20  # by which regions are wider than what was found


def draw(photo: Any, faces: Answer, show: str | Sequence[str] | None = None, legend: bool = True) -> Image.Image:
    """The photo with what a pipeline found in it.

    Args:
        photo: The photo that the pipeline was given.
        faces (`list[dict]` or `dict`): Its answer, or one face of it.
        show (`str` or `Sequence[str]`, *optional*): Of `"parsing"`, `"landmarks"`, `"detection"` and `"attributes"`;
            by default all that the faces have, and boxes with scores only where they have nothing else.
        legend (`bool`, *optional*, defaults to `True`): Whether the picture may grow under the photo: by the names of
            colours, where parsing alone is drawn, and by cards of attributes. Otherwise attributes lie beside the
            faces.

    Returns:
        `PIL.Image.Image`: An RGB image of the upright photo, larger by what stands under it. Faces of a video keep
        the colour of their track.

    Raises:
        InvalidFaceInputError: A face lacks what is to be drawn.
        UnknownNameError: `show` names something else.
    """
    faces = faces_of_answer(faces)
    if show is None:
        found = [name for name, entry in _DRAWN.items() if faces and all(entry in face for face in faces)]
        shown = [name for name in found if name != "detection"] or ["detection"]
    else:
        shown = as_names(show)
    followed = faces and all(isinstance(face.get("track"), Integral) for face in faces)
    numbers = [face["track"] for face in faces] if followed else None
    picture = load_photo(photo)
    for name in shown:
        check_name("drawing", name, _DRAWN)
        require_faces(faces, _DRAWN[name], name)
    for name in (name for name in _DRAWN if name in shown):
        if name == "parsing":
            picture = draw_face_parsing(picture, FaceParsing.from_pipeline(faces), legend=legend and shown == [name])
        elif name == "landmarks":
            size_xy = np.array(picture.size, np.float32)  # a line to a point far away never ends
            points_xy = FaceLandmarks.from_pipeline(faces).points_xy.clip(-size_xy, 2 * size_xy)
            picture = draw_face_landmarks(picture, FaceLandmarks(points_xy))
        elif name == "detection":
            picture = draw_faces(picture, _near(Faces.from_pipeline(faces), picture), numbers=numbers)
        else:
            attributes = FaceAttributes.from_pipeline(faces)
            boxes = _near(Faces.from_pipeline(faces), picture)
            picture = draw_face_attributes(picture, boxes, attributes, numbers=numbers, inside=not legend)
    return picture


def _near(faces: Faces, picture: Image.Image) -> Faces:
    """Faces whose boxes end a photo's width beyond the photo: lines and letters grow with a box."""
    size_xy = np.array([*picture.size, *picture.size], np.float32)
    boxes_xyxy = faces.boxes_xyxy.clip(-size_xy, 2 * size_xy)
    boxes_xyxy[:, 2:] = np.maximum(boxes_xyxy[:, 2:], boxes_xyxy[:, :2] + 1)  # of those that are nowhere near
    return replace(faces, boxes_xyxy=boxes_xyxy)


def crop(
    photo: Any, face: Mapping[str, Any], aligned: bool = True, size: int = 256, scale: float = 1.0
) -> Image.Image:
    """A square picture of one face.

    Args:
        photo: The photo.
        face (`dict`): One face of an answer.
        aligned (`bool`, *optional*, defaults to `True`): Turn and place the face by its five points, so that the same
            parts of all faces are at the same places. Otherwise, or where the points are not known, the crop is
            upright around the box.
        size (`int`, *optional*, defaults to 256): Side in pixels.
        scale (`float`, *optional*, defaults to 1.0): Size of the face in the crop; below 1, more of the photo is seen.

    Returns:
        `PIL.Image.Image`: An RGB image, black outside the photo.

    Raises:
        InvalidArgumentError: `size` or `scale` cannot be used.
        InvalidFaceInputError: The face has no box that can be used.
    """
    faces = Faces.from_pipeline(require_faces([face], "box", "a crop"))
    if not isinstance(scale, Real):
        raise InvalidArgumentError(f"scale={scale!r} makes no crop; expected a number, 1 as a rule.")
    place: dict[str, Any] = {"boxes": [faces.boxes_xyxy]}
    if aligned and faces.keypoints_xy is not None:
        place = {"keypoints": [faces.keypoints_xy]}
    photo_chw = torch.from_numpy(np.array(load_photo(photo))).permute(2, 0, 1)
    try:
        processor = FaRLImageProcessor(
            size={"height": size, "width": size},
            face_scale=scale,
            box_scale=FaRLImageProcessor.box_scale * scale,
            do_normalize=False,
        )
    except (ValueError, TypeError) as error:
        raise InvalidArgumentError(f"size={size!r} and scale={scale!r} make no crop: {error}") from error
    try:
        pixels = processor(photo_chw, **place, input_data_format="channels_first", return_tensors="pt")
    except ValueError as error:
        raise InvalidFaceInputError(f"The face cannot be cropped: {error}") from error
    rgb = pixels["pixel_values"][0].clamp(0, 1).mul(255).round().byte()
    return Image.fromarray(rgb.permute(1, 2, 0).contiguous().numpy())


def cutout(
    photo: Any, face: Mapping[str, Any], classes: str | Sequence[str] | None = None, trim: bool = True
) -> Image.Image:
    """One face, or parts of it, on a transparent ground.

    Args:
        photo: The photo.
        face (`dict`): One face of an answer of face-parsing.
        classes (`str` or `Sequence[str]`, *optional*): Names of the classes that are kept; by default all but the
            background.
        trim (`bool`, *optional*, defaults to `True`): Cut to the bounds of what is kept, instead of the size of the
            photo.

    Returns:
        `PIL.Image.Image`: An RGBA image. Nothing of the photo is left under transparent pixels.

    Raises:
        UnknownNameError: The face has no such class.
        InvalidArgumentError: `classes` names none.
        InvalidFaceInputError: The face has no label map of this photo, or no pixel of these classes.
    """
    picture = load_photo(photo)
    (face,) = require_faces([face], "segmentation", "a cut-out")
    shown = [name for name in face["labels"].values() if name != "background"]
    kept = shown if classes is None else as_names(classes)
    if not kept:
        raise InvalidArgumentError(f"classes={classes!r} names no class; the face has {', '.join(shown) or 'none'}.")
    mask = _class_mask(face, kept, picture)
    if not mask.any():
        raise InvalidFaceInputError(f"No pixel of the face is {', '.join(kept)}; there is nothing to cut out.")
    rgba = np.dstack([np.asarray(picture) * mask[:, :, None], mask * np.uint8(255)])
    if trim:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        rgba = rgba[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return Image.fromarray(np.ascontiguousarray(rgba))


def anonymize(
    photo: Any,
    faces: Answer,
    method: str = "blur",
    region: str = "box",
    strength: float = 1.0,
    colour: tuple[int, int, int] = (0, 0, 0),
) -> Image.Image:
    """The photo with its faces made unrecognisable.

    Args:
        photo: The photo.
        faces (`list[dict]` or `dict`): The answer of a pipeline, or one face of it.
        method (`str`, *optional*, defaults to `"blur"`): `"blur"`, `"pixelate"`, or `"fill"` with a colour.
        region (`str`, *optional*, defaults to `"box"`): `"box"`; `"face"`, the classes of face-parsing that are skin
            or parts of the face; or `"landmarks"`, their convex hull, which leaves the forehead. Each with a margin.
            A face of which less than a quarter of its box was found there is hidden by its box.
        strength (`float`, *optional*, defaults to 1.0): Multiplies blur and blocks, whose size follows the face's:
            at 1 the blur's standard deviation is a fifth of the side of the face, and a block a sixth of it. At least
            0.25; small values leave a face recognisable.
        colour (`tuple[int, int, int]`, *optional*): Of `"fill"`, RGB from 0 to 255.

    Returns:
        `PIL.Image.Image`: An RGB image of the size of the upright photo. Faces that were not found stay.

    Raises:
        UnknownNameError: There is no such method or region.
        InvalidArgumentError: `strength` is below 0.25 or not below 100, or `colour` is no colour.
        InvalidFaceInputError: A face lacks what its region is made of.
    """
    check_name("method", method, METHODS)
    check_name("region", region, REGIONS)
    if not isinstance(strength, Real) or not _LEAST_STRENGTH <= strength < _TOO_STRONG:
        raise InvalidArgumentError(
            f"strength={strength!r}; expected {_LEAST_STRENGTH} to below {_TOO_STRONG}, 1 as a rule."
        )
    if np.shape(colour) != (3,) or not all(isinstance(value, Real) and 0 <= value <= 255 for value in colour):
        raise InvalidArgumentError(f"colour={colour!r}; expected red, green and blue from 0 to 255.")
    faces = faces_of_answer(faces)
    require_faces(
        faces, {"box": "box", "face": "segmentation", "landmarks": "landmarks"}[region], f"region={region!r}"
    )
    picture = load_photo(photo)
    pixels = np.array(picture)
    for face, box_xyxy in zip(faces, Faces.from_pipeline(faces).boxes_xyxy, strict=True):
        side_px = float(np.sqrt(np.prod(box_xyxy[2:] - box_xyxy[:2])))
        mask = box_mask = _region_mask("box", face, box_xyxy, picture, side_px)
        if region != "box":
            mask = _region_mask(region, face, box_xyxy, picture, side_px)
            # A parser may see no skin; nobody is shown for that.
            if (mask & box_mask).sum() < _LEAST_PART * box_mask.sum():
                mask |= box_mask
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if len(rows) == 0:  # outside the photo
            continue
        window = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        hidden = _hidden(pixels[window], method, side_px * strength, colour)
        pixels[window] = np.where(mask[window][:, :, None], hidden, pixels[window])
    return Image.fromarray(pixels)


def _region_mask(
    region: str, face: Mapping[str, Any], box_xyxy: np.ndarray, picture: Image.Image, side_px: float
) -> np.ndarray:
    margin_px = _MARGIN * side_px
    mask = np.zeros((picture.height, picture.width), np.uint8)
    if region == "box":
        wide_xyxy = box_xyxy + margin_px * np.array([-1, -1, 1, 1])
        x_min, y_min = np.floor(wide_xyxy[:2]).astype(int)
        x_max, y_max = np.ceil(wide_xyxy[2:]).astype(int)
        mask[max(y_min, 0) : max(y_max, 0), max(x_min, 0) : max(x_max, 0)] = 1
        return mask.astype(bool)
    if region == "face":
        mask[
            _class_mask(face, [name for name in face["labels"].values() if name not in _NOT_OF_THE_FACE], picture)
        ] = 1
    else:
        points_xy = np.asarray(face["landmarks"], np.float32)
        if not len(points_xy):
            raise InvalidFaceInputError("A face has no landmarks; give those of a model of landmarks.")
        hull_xy = cv2.convexHull(points_xy.clip(-_FARTHEST_PX, _FARTHEST_PX))
        cv2.fillConvexPoly(mask, np.floor(hull_xy).astype(np.int32), 1)
    left, top, width, height = cv2.boundingRect(mask)
    if not width:
        return mask.astype(bool)
    reach = max(1, round(margin_px))
    window = (slice(max(top - reach, 0), top + height + reach), slice(max(left - reach, 0), left + width + reach))
    # A distance costs the same for any margin; a dilation, its square.
    mask[window] = cv2.distanceTransform(1 - mask[window], cv2.DIST_L2, cv2.DIST_MASK_PRECISE) <= reach
    return mask.astype(bool)


def _hidden(pixels: np.ndarray, method: str, side_px: float, colour: Sequence[int]) -> np.ndarray:
    height, width = pixels.shape[:2]
    if method == "fill":
        return np.full_like(pixels, colour)
    if method == "blur":
        # The blur is so wide that a small copy holds all that it leaves. At a border it is mirrored.
        scale = min(1.0, _BLURRED_SIDE_PX / side_px)
        small_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = cv2.resize(pixels, small_wh, interpolation=cv2.INTER_AREA)
        blurred = cv2.GaussianBlur(small, (0, 0), _BLUR * side_px * scale, borderType=cv2.BORDER_REFLECT)
        return cv2.resize(blurred, (width, height), interpolation=cv2.INTER_LINEAR)
    blocks_wh = (max(1, round(width / (_BLOCK * side_px))), max(1, round(height / (_BLOCK * side_px))))
    return cv2.resize(
        cv2.resize(pixels, blocks_wh, interpolation=cv2.INTER_AREA), (width, height), interpolation=cv2.INTER_NEAREST
    )


def _class_mask(face: Mapping[str, Any], classes: Sequence[str], picture: Image.Image) -> np.ndarray:
    """Where a face has one of the classes, (H, W) of the photo."""
    for name in classes:
        check_name("class", name, face["labels"].values())
    label_map = face_label_map(face)
    if label_map.shape != (picture.height, picture.width):
        raise InvalidFaceInputError(
            f"The label map has {' x '.join(map(str, label_map.shape[::-1])) or 'no'} pixels, the photo "
            f"{picture.width} x {picture.height}; give the photo that the pipeline was given."
        )
    return np.isin(label_map, [label for label, name in face["labels"].items() if name in classes])


def faces_of_answer(faces: Answer) -> list[dict[str, Any]]:
    """The faces of an answer, of one face a list of it, as `require_faces` returns them.

    Raises:
        InvalidFaceInputError: It is something else.
    """
    return require_faces([faces] if isinstance(faces, Mapping) else faces, "box", "a face of an answer")


def as_names(names: Any) -> list[Any]:
    """One name or several, as a list."""
    if isinstance(names, str) or not isinstance(names, Iterable):
        names = [names]
    return list(names)
