"""Any picture in, an upright 8-bit RGB photo or the ids of a map out. No other file of farl_hf opens pictures."""

import contextlib
import functools
import http.client
import importlib
import io
import queue
import re
import socket
import struct
import threading
import time
import urllib.parse
import urllib.request
import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from farl_hf.errors import InvalidFaceInputError, UnreadablePhotoError, in_short

# Pillow goes by content, not by name, and would start an interpreter for a picture that is a PostScript program.
# TGA has no signature, so it comes last.
PHOTO_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "TGA")
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"mif2")
EXIF_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Where Pillow keeps an orientation; without them nobody turns a picture twice.
_ORIENTED_BY = ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp")
_EXIF_ITEM = re.compile(rb"(infe[\x02\x03].{3}(?:.{2}){1,2}\0\0)Exif", re.DOTALL)  # ISO 23008-12, entry of an item
_PAPER_COLOUR = (255, 255, 255)  # what shows through transparent pixels
_FLOAT_MARGIN = 0.01  # by which interpolation and rounding leave [0, 1]
_URL_SCHEMES = ("http://", "https://", "data:")
_URL_SECONDS = 30.0  # for a photo in all, redirects included
_URL_BYTES = 100_000_000
_URL_PART_BYTES = 1 << 16
# What Pillow itself warns about: a quarter of a gigabyte of RGB. Photos of the web are far below.
MAX_PHOTO_PIXELS = 89_478_485
# Parts of its size at which a JPEG can be decoded, in a fraction of the time.
REDUCTIONS = (8, 4, 2)
# By what Pillow multiplies grey values of few bits, by the name of their layout in the file.
SPREAD = {"L;2": 85, "L;4": 17}


class OversizedPhotoError(UnreadablePhotoError):
    """A picture whose header promises more pixels than any photo has."""


def load_photo(source: Any, name: str | None = None) -> Image.Image:
    """The photo as the viewer sees it: upright, RGB, 8 bits a channel, transparent pixels over white.

    Args:
        source: A path, a URL (`http`, `https`, `data`), the bytes of a file, `{"bytes", "path"}` as an undecoded
            `datasets.Image` gives it, a `PIL.Image.Image`, or an array or tensor: (H, W), (H, W, C) or (C, H, W) with
            1, 3 or 4 channels; bool, uint8, uint16, or float in [0, 1]. Other integers are 0 to 255. Or a dict with
            one of these as `image`: what a pipeline was given, or a row of a data set.
        name (`str`, *optional*): Of the photo, in errors.

    Returns:
        `PIL.Image.Image` of mode "RGB". The EXIF orientation is applied, so its size may be that of the file turned
        by 90 degrees; every coordinate that farl_hf returns refers to this upright photo.

    Raises:
        InvalidFaceInputError: If a dict has none of these keys.
        UnreadablePhotoError: If the picture is missing, cannot be decoded, has no pixels, or is of an unknown kind.
    """
    if isinstance(source, Mapping):
        source = _picture_of(source)
    if isinstance(source, torch.Tensor):
        try:
            source = source.detach().cpu()
            source = source.float().numpy() if source.is_floating_point() else source.numpy()
        except (TypeError, RuntimeError) as error:
            raise UnreadablePhotoError(f"The given tensor is no photo: {in_short(error, 200)}") from error
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        return upright_rgb(source, name or "the given PIL image")
    picture, name = _opened(source, name)
    with picture:
        return upright_rgb(picture, name)


def open_picture(source: Any, name: str | None = None) -> Image.Image:
    """A PIL image of which only the header has been read.

    Args:
        source: A path, a URL, the bytes of a file, or `{"bytes", "path"}`.
        name (`str`, *optional*): Of the picture, in errors.

    Raises:
        OversizedPhotoError: The header promises more pixels than Pillow decodes.
        UnreadablePhotoError: The picture is missing, of none of `PHOTO_FORMATS`, or damaged.
    """
    return _opened(source, name)[0]


def upright_rgb(picture: Image.Image, name: str) -> Image.Image:
    """An upright copy of mode "RGB", 8 bits a channel, transparent pixels over white.

    Args:
        picture (`PIL.Image.Image`): It may be decoded only now.
        name (`str`): Of the picture, in errors.

    Raises:
        UnreadablePhotoError: It has no pixels, is damaged, or has values that no photo has.
    """
    if 0 in picture.size:
        raise UnreadablePhotoError(f"{name} is {picture.width} x {picture.height} pixels; there is nothing to see.")
    picture = upright(picture, name)
    if picture.mode.startswith("I"):  # "I" is what Pillow makes of 16-bit files, too
        grey = np.asarray(picture)
        if grey.min() < 0 or grey.max() > 65535:
            raise UnreadablePhotoError(
                f"{name} has values from {grey.min()} to {grey.max()}; expected those of 16 bits, 0 to 65535."
            )
        return _from_array(grey.astype(np.uint16))
    if picture.mode == "F":
        return _from_array(np.asarray(picture))
    if picture.mode == "La":
        picture = picture.convert("LA")
    if picture.has_transparency_data:
        return _over_paper(picture.convert("RGBA"))
    return picture.convert("RGB")


def upright(picture: Image.Image, name: str) -> Image.Image:
    """The decoded picture, turned as its EXIF tag says; the same object if it stays as it is.

    Raises:
        UnreadablePhotoError: It is damaged, or PostScript.
    """
    if picture.format == "EPS":
        raise UnreadablePhotoError(f"{name} is a PostScript program, which is not run; save it as PNG or JPEG.")
    try:
        picture.load()
    except Exception as error:  # damaged files make decoders raise almost anything
        raise UnreadablePhotoError(f"{name} cannot be decoded as a picture: {error}") from error
    turn = _UPRIGHT.get(orientation(picture))
    if turn is None:
        return picture
    turned = picture.transpose(turn)
    turned.info = {key: value for key, value in turned.info.items() if key not in _ORIENTED_BY}
    return turned


def orientation(picture: Image.Image) -> int:
    """EXIF tag 0x0112; 1, which is upright, where it cannot be read."""
    try:
        tag = picture.getexif().get(EXIF_ORIENTATION)
    except Exception:  # cut and foreign blocks make Pillow raise almost anything; the pixels are sound
        return 1
    return tag if tag in _UPRIGHT else 1


def decode_photo(picture: Any, name: str | None = None) -> np.ndarray:
    """(H, W, 3) uint8 RGB, upright, of anything that `load_photo` reads.

    Args:
        picture: The photo, for example `{"bytes", "path"}`.
        name (`str`, *optional*): What errors call it.

    Raises:
        UnreadablePhotoError: The picture cannot be read or decoded.
    """
    return np.asarray(load_photo(picture, picture_name(picture, name)))


def decode_map(picture: Any, name: str | None = None) -> np.ndarray:
    """(H, W) uint8 class or instance ids from encoded bytes, a path, a PIL image or an array.

    Args:
        picture: The map. Of a palette, the indices are the ids; of grey pictures of 1, 2, 4 or 8 bits, the values as
            stored.
        name (`str`, *optional*): What errors call it.

    Raises:
        UnreadablePhotoError: The picture cannot be read or decoded.
        InvalidFaceInputError: It has colours, no pixels, or ids beyond 0 to 255.
    """
    name = picture_name(picture, name)
    if not isinstance(picture, np.ndarray | torch.Tensor):
        picture = stored_values(picture if isinstance(picture, Image.Image) else open_picture(picture, name), name)
    try:
        ids = picture.detach().cpu().numpy() if isinstance(picture, torch.Tensor) else np.asarray(picture)
    except (TypeError, RuntimeError) as error:  # sparse, meta, bfloat16 …
        raise InvalidFaceInputError(
            f"The label map {name} is no tensor of class ids: {in_short(error, 200)}"
        ) from error
    if not ids.size:
        raise InvalidFaceInputError(f"The label map {name} of shape {ids.shape} has no pixels.")
    if ids.ndim == 3 and ids.shape[2] == 1:
        ids = ids[..., 0]
    if ids.ndim != 2 or ids.dtype.kind not in "bui":
        raise InvalidFaceInputError(
            f"The label map {name} is a colour picture, of shape {ids.shape} and type {ids.dtype}; expected one"
            " channel of whole class ids."
        )
    if ids.min() < 0 or ids.max() > 255:
        raise InvalidFaceInputError(
            f"The label map {name} has the ids {ids.min()} to {ids.max()}; expected them within 0 to 255."
        )
    return ids.astype(np.uint8)


def stored_values(picture: Image.Image, name: str) -> np.ndarray:
    """The values of a map as they were written: Pillow spreads grey of 2 and 4 bits over 0 to 255."""
    tiles = getattr(picture, "tile", None)  # gone once the picture is decoded
    arguments = tiles[0][3] if tiles else ""  # a plain tuple in Pillow before 11
    raw_mode = arguments if isinstance(arguments, str) else str(arguments[0])
    values = np.asarray(upright(picture, name))
    if picture.mode in ("RGBA", "LA", "PA"):
        values = values[..., :-1] if (values[..., -1] == 255).all() or picture.mode == "PA" else values
    return values // SPREAD[raw_mode] if picture.mode == "L" and raw_mode in SPREAD else values


def picture_name(picture: Any, name: str | None = None) -> str:
    """The name of `{"bytes", "path"}` in an error: its path, and what the caller calls it."""
    path = picture.get("path") if isinstance(picture, Mapping) else None
    return " of ".join(map(str, filter(None, (path, name)))) or "a dataset row"


class ReducedPhoto:
    """A photo that is decoded no larger than a crop needs, once the scale of the crop is known.

    The crop of a face that fills a large photo shrinks it. JPEG pictures can be decoded at a half, a quarter or an
    eighth of their size in a fraction of the time, and the remaining resampling skips no pixels.

    Args:
        picture: `{"bytes", "path"}` as the undecoded `datasets.Image` gives it, a PIL image, or an array (H, W, 3)
            uint8 RGB.
        name (`str`, *optional*): What errors call it.

    Attributes:
        size_hw (`tuple[int, int]`): Height and width of the whole photo, turned as its EXIF tag says.

    Raises:
        OversizedPhotoError: It has more than `MAX_PHOTO_PIXELS`; it is refused before it is decoded.
        UnreadablePhotoError: The picture cannot be opened.
    """

    def __init__(self, picture: Any, name: str | None = None):
        self.name = picture_name(picture, name)
        # Asking for a smaller decoding changes a PIL image for good, so never one of the caller's.
        self.draftable = isinstance(picture, dict)
        if isinstance(picture, dict):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our limit follows
                picture = open_picture(picture, self.name)
        elif not isinstance(picture, Image.Image):
            picture = load_photo(picture, self.name)
        width, height = picture.size
        if width * height > MAX_PHOTO_PIXELS:
            raise OversizedPhotoError(
                f"The picture {self.name}, of {width} x {height} pixels, is larger than {MAX_PHOTO_PIXELS} pixels."
            )
        if picture.format == "JPEG":
            self.turn = orientation(picture)
        else:  # only JPEG is decoded in part, and PNG may have its EXIF block after the pixels
            picture, self.turn = upright(picture, self.name), 1
        width, height = picture.size
        self.picture, self.size_hw = picture, (width, height) if self.turn >= 5 else (height, width)

    def decode(self, scale: float) -> tuple[np.ndarray, int]:
        """Decodes for a crop that shows `scale` crop pixels per photo pixel.

        Returns:
            `tuple[numpy.ndarray, int]`: (h, w, 3) uint8 RGB and the whole number by which it is smaller than the
            photo: photo coordinates divided by it are its coordinates.

        Raises:
            UnreadablePhotoError: The data is damaged or ends early.
        """
        reduction = next((factor for factor in REDUCTIONS if scale * factor <= 1), 1)
        achieved = 1
        if reduction > 1 and self.draftable and self.turn == 1:  # a turned photo's last blocks would come first
            width, height = self.picture.size
            drafted = self.picture.draft("RGB", (max(1, width // reduction), max(1, height // reduction)))
            achieved = round(width / drafted[1][2]) if drafted else 1
        photo = upright_rgb(self.picture, self.name)
        return np.asarray(photo.reduce(reduction // achieved) if reduction > achieved else photo), reduction


def _picture_of(source: Mapping[str, Any]) -> Any:
    """The picture in an input of a pipeline or a row of a data set; an undecoded picture stays what it is."""
    if "image" in source:
        return source["image"]
    if "bytes" in source or "path" in source:
        return source
    raise InvalidFaceInputError(
        f"A dict with the keys {sorted(map(str, source))} came in; expected 'image', and for a pipeline 'faces', "
        "'boxes' or 'keypoints' to skip the detection."
    )


def _opened(source: Any, name: str | None) -> tuple[Image.Image, str]:
    """The picture, and what errors call it."""
    if isinstance(source, Mapping):
        content, path = source.get("bytes"), source.get("path")
        source, name = path if content is None else content, name or path
    if isinstance(source, bytes | bytearray | memoryview):
        return _from_file(io.BytesIO(bytes(source)), name or "the given picture")
    if isinstance(source, str) and source.lower().startswith(_URL_SCHEMES):
        return _from_file(io.BytesIO(_download(source)), source[:200])
    if isinstance(source, str | Path):
        return _from_file(_existing_file(Path(source)), name or str(source))
    raise UnreadablePhotoError(
        f"A photo of type {type(source).__name__} cannot be read; give a path, a URL, the bytes of a file, a PIL "
        "image, or an array."
    )


def _from_file(file: Path | io.BytesIO, name: str) -> tuple[Image.Image, str]:
    formats = _formats()
    try:
        with contextlib.suppress(Exception):  # it may fail for a damaged block that no pixel needs
            picture = Image.open(file, formats=formats)
            if picture.format != "AVIF":  # of which Pillow decodes the pixels only if the EXIF block is sound
                return picture, name
        content = file.getvalue() if isinstance(file, io.BytesIO) else file.read_bytes()
        return Image.open(io.BytesIO(_pixel_blocks(content)), formats=formats), name
    except UnidentifiedImageError as error:
        if content[4:8] == b"ftyp" and content[8:12] in _HEIC_BRANDS and "HEIF" not in formats:
            raise UnreadablePhotoError(
                f'{name} is a HEIC picture; to read it, pip install "farl-hf[heic]".'
            ) from error
        raise UnreadablePhotoError(
            f"{name} cannot be decoded as a picture: it is damaged, or none of {', '.join(formats)}."
        ) from error
    except Image.DecompressionBombError as error:
        raise OversizedPhotoError(f"{name} is far too large: {error}") from error
    except Exception as error:  # damaged files make decoders raise almost anything
        raise UnreadablePhotoError(f"{name} cannot be decoded as a picture: {error}") from error


@functools.cache
def _formats() -> tuple[str, ...]:
    """What is opened: `PHOTO_FORMATS`, and HEIC where the extra of that name is installed."""
    try:
        # Not by a statement: Transformers would demand the package for code that a repository carries.
        pillow_heif = importlib.import_module("pillow_heif")
    except ImportError:
        return PHOTO_FORMATS
    pillow_heif.register_heif_opener()
    return (*PHOTO_FORMATS[:-1], "HEIF", PHOTO_FORMATS[-1])


def _pixel_blocks(content: bytes) -> bytes:
    """A PNG or WEBP file with the blocks of its pixels and its EXIF block alone, an AVIF file without EXIF; other
    content as it is.
    """
    blocks, place = [], 0
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        place = 8
        while place + 12 <= len(content):
            (size,), kind = struct.unpack_from(">I", content, place), content[place + 4 : place + 8]
            block, checksum = content[place + 4 : place + 8 + size], content[place + 8 + size : place + 12 + size]
            if kind == b"eXIf":  # Pillow refuses the file for a wrong checksum
                checksum = struct.pack(">I", zlib.crc32(block))
            if kind.isupper() or kind in (b"eXIf", b"tRNS"):
                blocks.append(content[place : place + 4] + block + checksum)
            place += 12 + size
        return content[:8] + b"".join(blocks)
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        place = 12
        while place + 8 <= len(content):
            kind, (size,) = content[place : place + 4], struct.unpack_from("<I", content, place + 4)
            block = content[place + 8 : place + 8 + size]
            if len(block) == size or kind == b"EXIF":  # the last may be cut
                blocks.append(kind + struct.pack("<I", len(block)) + block + bytes(len(block) % 2))
            place += 8 + size + size % 2
        body = b"WEBP" + b"".join(blocks)
        return b"RIFF" + struct.pack("<I", len(body)) + body
    if content[4:8] == b"ftyp":  # how AVIF is turned is a property of the picture, not of the EXIF item
        return _EXIF_ITEM.sub(rb"\1free", content)
    return content


def _existing_file(path: Path) -> Path:
    try:
        if not path.exists():
            raise UnreadablePhotoError(f"There is no photo at {str(path)[:300]}; check the path.")
        if not path.is_file():
            raise UnreadablePhotoError(f"{path} is not a file; give the path of one picture.")
        if path.stat().st_size == 0:
            raise UnreadablePhotoError(f"The file {path} is empty.")
    except UnreadablePhotoError:
        raise
    except OSError as error:  # a name that is too long, a folder that must not be entered
        raise UnreadablePhotoError(f"The photo {str(path)[:200]} cannot be read: {error.strerror}.") from error
    return path


# URLs


class _Limits:
    """What is left of the time and the bytes of one download, over all its connections."""

    def __init__(self) -> None:
        self.end, self.bytes_left = time.monotonic() + _URL_SECONDS, _URL_BYTES

    @property
    def seconds_left(self) -> float:
        """More than 0.

        Raises:
            TimeoutError: None are left.
        """
        left = self.end - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"it took longer than {_URL_SECONDS:g} seconds")
        return left

    def connected(self, connection_class: type, host: str, timeout: float, **settings: Any) -> Any:
        """A connection to a host whose answers count."""
        connection = connection_class(host, timeout=self.seconds_left, **settings)
        connection._create_connection = self._connect
        connection.response_class = lambda sock, *given, **more: http.client.HTTPResponse(
            cast(Any, _LimitedSocket(sock, self)), *given, **more
        )
        return connection

    def _connect(self, address: tuple[str, int], *_: Any) -> socket.socket:
        """As `socket.create_connection`, whose time is that of each address, and has no limit for finding them."""
        answers: queue.SimpleQueue[Any] = queue.SimpleQueue()

        def look_up() -> None:
            try:
                answers.put(socket.getaddrinfo(*address, type=socket.SOCK_STREAM))
            except Exception as error:  # raised again below
                answers.put(error)

        threading.Thread(target=look_up, daemon=True).start()
        try:
            found = answers.get(timeout=self.seconds_left)
        except queue.Empty:
            raise TimeoutError("the address of its host was not found in time") from None
        if isinstance(found, Exception):
            raise found
        failure = OSError("its host has no address")
        for family, kind, protocol, _, place in found:
            try:
                sock = socket.socket(family, kind, protocol)
                with contextlib.ExitStack() as undone:
                    undone.callback(sock.close)
                    sock.settimeout(self.seconds_left)
                    sock.connect(place)
                    undone.pop_all()
                return sock
            except OSError as error:
                failure = error
        raise failure


class _LimitedSocket(io.RawIOBase):
    """What `http.client` reads an answer from. A server that sends a byte a second resets the time limit of a socket
    with every byte; here each read has what is left of the whole.
    """

    def __init__(self, sock: Any, limits: _Limits) -> None:
        self.sock, self.limits, self.file = sock, limits, sock.makefile("rb", buffering=0)

    def makefile(self, mode: str) -> io.BufferedReader:
        """The file of which `http.client` asks a socket."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """The next bytes.

        Raises:
            TimeoutError: No time is left.
            ValueError: The server has sent too many bytes.
        """
        self.sock.settimeout(self.limits.seconds_left)
        count = self.file.readinto(buffer) or 0
        self.limits.bytes_left -= count
        if self.limits.bytes_left < 0:
            raise ValueError(f"it has more than {_URL_BYTES:,} bytes")
        return count

    def close(self) -> None:
        """Closes the socket too, once `http.client` has let go of it."""
        self.file.close()
        super().close()


class _LimitedHandler(urllib.request.AbstractHTTPHandler):
    http_request = https_request = urllib.request.AbstractHTTPHandler.do_request_

    def __init__(self) -> None:
        super().__init__()
        self.limits = _Limits()

    def http_open(self, request: Any) -> Any:
        """Called by urllib for every http URL, first or redirected."""
        return self.do_open(functools.partial(self.limits.connected, http.client.HTTPConnection), request)

    def https_open(self, request: Any) -> Any:
        """Called by urllib for every https URL, first or redirected."""
        return self.do_open(functools.partial(self.limits.connected, http.client.HTTPSConnection), request)


def _download(url: str) -> bytes:
    # With no handlers of files and FTP, no redirect leads there; urllib itself follows none to `data:`.
    opener = urllib.request.OpenerDirector()
    for handler in (
        *(urllib.request.ProxyHandler(), urllib.request.DataHandler(), _LimitedHandler()),
        *(urllib.request.HTTPRedirectHandler(), urllib.request.UnknownHandler()),
        *(urllib.request.HTTPErrorProcessor(), urllib.request.HTTPDefaultErrorHandler()),
    ):
        opener.add_handler(handler)
    try:
        # As browsers do; control characters are refused.
        quoted = re.sub(r"[^\x00-\x7f]| ", lambda sign: urllib.parse.quote(sign[0]), url)
        request = urllib.request.Request(quoted, headers={"User-Agent": "farl-hf"})
        with opener.open(request, timeout=_URL_SECONDS) as response:
            content = b"".join(iter(lambda: response.read(_URL_PART_BYTES), b""))
            if getattr(response, "length", None):
                raise http.client.IncompleteRead(content, response.length)
            return content
    except (OSError, ValueError, OverflowError, MemoryError, http.client.HTTPException) as error:
        reason = in_short(error, 300) or type(error).__name__  # urllib's may have several lines
        raise UnreadablePhotoError(f"The photo at {url[:200]!r} could not be downloaded: {reason}") from error


# Arrays


def _over_paper(picture_rgba: Image.Image) -> Image.Image:
    paper = Image.new("RGBA", picture_rgba.size, (*_PAPER_COLOUR, 255))
    return Image.alpha_composite(paper, picture_rgba).convert("RGB")


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
    if pixels.dtype.kind == "u" and pixels.dtype.itemsize == 2:  # of either byte order
        return np.round(pixels / 257.0).astype(np.uint8)
    if pixels.dtype.kind == "f" and -_FLOAT_MARGIN <= pixels.min() <= pixels.max() <= 1 + _FLOAT_MARGIN:  # no NaN
        return np.round(pixels.clip(0, 1) * 255.0).astype(np.uint8)
    if np.issubdtype(pixels.dtype, np.integer) and pixels.min() >= 0 and pixels.max() <= 255:
        return pixels.astype(np.uint8)
    raise UnreadablePhotoError(
        f"The given array of type {pixels.dtype} holds values outside what a photo has: 0 to 255 as integers, 0 to "
        "65535 as uint16, or 0 to 1 as finite floats."
    )
