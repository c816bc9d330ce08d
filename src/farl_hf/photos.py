"""Any kind of picture in, an upright 8-bit RGB photo out."""

import io
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

from farl_hf.errors import UnreadablePhotoError

_URL_SCHEMES = ("http://", "https://", "data:")
_URL_TIMEOUT_S = 30.0
_PAPER_COLOUR = (255, 255, 255)  # what shows through transparent pixels


def load_photo(source: Any) -> Image.Image:
    """The photo as the viewer sees it: upright, RGB, 8 bits a channel, transparent pixels over white.

    Args:
        source: A path, a URL (`http`, `https`, `data`), a `PIL.Image.Image`, or an array or tensor: (H, W), (H, W, C)
            or (C, H, W) with 1, 3 or 4 channels; bool, uint8, uint16, or float in [0, 1].

    Returns:
        `PIL.Image.Image` of mode "RGB". The EXIF orientation is applied, so its size may be that of the file turned
        by 90 degrees; every coordinate that farl_hf returns refers to this upright photo.

    Raises:
        UnreadablePhotoError: If the picture is missing, cannot be decoded, has no pixels, or is of an unknown kind.
    """
    if isinstance(source, Image.Image):
        return _upright_rgb(source, "the given PIL image")
    if isinstance(source, str) and source.startswith(_URL_SCHEMES):
        return _decode(io.BytesIO(_download(source)), source[:200])
    if isinstance(source, (str, Path)):
        return _decode(_existing_file(Path(source)), str(source))
    if isinstance(source, torch.Tensor):
        source = source.detach().cpu().float().numpy() if source.is_floating_point() else source.detach().cpu().numpy()
    if isinstance(source, np.ndarray):
        return _from_array(source)
    raise UnreadablePhotoError(
        f"A photo of type {type(source).__name__} cannot be read; give a path, a URL, a PIL image, or an array."
    )


def _existing_file(path: Path) -> Path:
    if not path.exists():
        raise UnreadablePhotoError(f"There is no photo at {path}; check the path.")
    if not path.is_file():
        raise UnreadablePhotoError(f"{path} is not a file; give the path of one picture.")
    if path.stat().st_size == 0:
        raise UnreadablePhotoError(f"The file {path} is empty.")
    return path


def _download(url: str) -> bytes:
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "farl-hf"})
        with urllib.request.urlopen(request, timeout=_URL_TIMEOUT_S) as response:
            return response.read()
    except (OSError, ValueError) as error:
        raise UnreadablePhotoError(f"The photo at {url[:200]} could not be downloaded: {error}") from error


def _decode(file: Path | io.BytesIO, name: str) -> Image.Image:
    try:
        with Image.open(file) as picture:
            picture.load()
            return _upright_rgb(picture, name)
    except UnreadablePhotoError:
        raise
    except Exception as error:  # damaged files make decoders raise almost anything
        raise UnreadablePhotoError(f"{name} cannot be decoded as a picture: {error}") from error


def _upright_rgb(picture: Image.Image, name: str) -> Image.Image:
    if 0 in picture.size:
        raise UnreadablePhotoError(f"{name} is {picture.width} x {picture.height} pixels; there is nothing to see.")
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I") or picture.mode == "F":
        picture = _eight_bit_grey(picture)
    if picture.has_transparency_data:
        return _over_paper(picture.convert("RGBA"))
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _over_paper(picture_rgba: Image.Image) -> Image.Image:
    paper = Image.new("RGBA", picture_rgba.size, (*_PAPER_COLOUR, 255))
    return Image.alpha_composite(paper, picture_rgba).convert("RGB")


def _eight_bit_grey(picture: Image.Image) -> Image.Image:
    """16-bit and float grey pictures. Pillow would clip them at 255 instead of scaling them."""
    grey = np.asarray(picture)
    if picture.mode == "F":
        return _from_array(grey if grey.max() <= 1.0 else grey / (255.0 if grey.max() <= 255.0 else 65535.0))
    deep = picture.mode != "I" or grey.max() > 255
    return _from_array(np.clip(grey, 0, 65535).astype(np.uint16) if deep else grey.astype(np.uint8))


def _from_array(array: np.ndarray) -> Image.Image:
    pixels = _channels_last(array)
    if 0 in pixels.shape:
        raise UnreadablePhotoError(f"The given array of shape {array.shape} has no pixels.")
    pixels = _eight_bit(pixels)
    if pixels.shape[2] == 4:
        return _over_paper(Image.fromarray(pixels, "RGBA"))
    return Image.fromarray(np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3))))


def _channels_last(array: np.ndarray) -> np.ndarray:
    if array.ndim == 2:
        return array[:, :, None]
    if array.ndim == 3 and array.shape[2] in (1, 3, 4):
        return array
    if array.ndim == 3 and array.shape[0] in (1, 3, 4):
        return array.transpose(1, 2, 0)
    raise UnreadablePhotoError(
        f"The given array has shape {array.shape}; expected (height, width), (height, width, channels) or "
        "(channels, height, width) with 1, 3 or 4 channels."
    )


def _eight_bit(pixels: np.ndarray) -> np.ndarray:
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels)
    if pixels.dtype == np.bool_:
        return pixels.astype(np.uint8) * 255
    if pixels.dtype == np.uint16:
        return np.round(pixels / 257.0).astype(np.uint8)
    if (
        np.issubdtype(pixels.dtype, np.floating)
        and np.isfinite(pixels).all()
        and 0 <= pixels.min() <= pixels.max() <= 1
    ):
        return np.round(pixels * 255.0).astype(np.uint8)
    if np.issubdtype(pixels.dtype, np.integer) and pixels.min() >= 0 and pixels.max() <= 255:
        return pixels.astype(np.uint8)
    raise UnreadablePhotoError(
        f"The given array of type {pixels.dtype} holds values outside what a photo has: 0 to 255 as integers, 0 to "
        "65535 as uint16, or 0 to 1 as finite floats."
    )
