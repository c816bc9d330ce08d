"""Photos: formats, names, EXIF blocks, modes, transparency, sizes, damage, and programs under a picture's name."""

import base64
import contextlib
import io
import os
import struct
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from benchmarks.faults import materials
from benchmarks.faults.cases import Case, Draw, kind
from benchmarks.faults.judging import (
    equals,
    equals_one_of,
    gives,
    gives_or_refused,
    refused,
    refused_or_unjudged,
    same,
)
from benchmarks.faults.materials import LOSSLESS, LOSSY, TURNS, encoded, noise, with_exif, written
from farl_hf.photos import ReducedPhoto, decode_photo, load_photo

# Every way by which a file becomes pixels, in pipelines and in training.
READERS: dict[str, Callable[[Path], Any]] = {
    "path": load_photo,
    "string": lambda path: load_photo(str(path)),
    "bytes": lambda path: load_photo(path.read_bytes()),
    "memoryview": lambda path: load_photo(memoryview(path.read_bytes())),
    "PIL image": lambda path: load_photo(Image.open(path)),
    "row with a path": lambda path: decode_photo({"path": str(path), "bytes": None}),
    "row with bytes": lambda path: decode_photo({"path": None, "bytes": path.read_bytes()}),
    "PIL image of a row": lambda path: decode_photo(Image.open(path)),
    "reduced": lambda path: ReducedPhoto({"path": str(path), "bytes": None}).decode(1.0)[0],
    "reduced PIL image": lambda path: ReducedPhoto(Image.open(path)).decode(1.0)[0],
}
OURS = [name for name in READERS if "PIL" not in name]  # those in which Pillow has not opened the file before us
SUFFIXES = (".jpg", ".JPG", ".jpeg", ".jfif", ".png", ".webp", ".bin", "", ".eps", ".tif", ".heic", ".mp4")


def reading(draw: Draw, path: Path, names: list[str] | None = None) -> tuple[str, Callable[[], Any]]:
    """A reader by chance, and the call."""
    name = draw.any(names or list(READERS))
    return name, lambda: np.asarray(READERS[name](path))


@kind("photos", count=20)
def lossless_format_by_any_name(draw: Draw) -> Case:
    pixels, file_format = noise(draw.rng), draw.each(list(LOSSLESS))
    content = encoded(pixels, file_format, **LOSSLESS[file_format])
    path = written(draw.folder / f"a photo{draw.any(SUFFIXES)}", content)
    reader, run = reading(draw, path)
    return Case(f"{file_format} as {path.name} by {reader}", run, gives(equals(pixels)))


@kind("photos")
def lossy_format_by_any_name(draw: Draw) -> Case:
    file_format = draw.each(list(LOSSY))
    content = encoded(noise(draw.rng, 17, 60), file_format, **LOSSY[file_format])
    path = written(draw.folder / f"photo{draw.any(SUFFIXES)}", content)
    reader, run = reading(draw, path)
    return Case(f"{file_format} as {path.name} by {reader}", run, gives(equals(materials.decoded(content))))


@kind("photos", count=24)
def orientation(draw: Draw) -> Case:
    pixels, tag = noise(draw.rng), draw.each(range(1, 9))
    exif = Image.Exif()
    exif[materials.ORIENTATION] = tag
    file_format, options = draw.any(
        [("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {}), ("JPEG", {}), ("AVIF", {})]
    )
    plain = materials.decoded(encoded(pixels, file_format, **options))
    path = written(draw.folder / "photo.jpg", encoded(pixels, file_format, exif=exif, **options))
    reader, run = reading(draw, path)
    return Case(f"orientation {tag} in {file_format} by {reader}", run, gives(equals(TURNS[tag](plain))))


def odd_blocks(turned: tuple[int, int, int, bytes], rng: np.random.Generator) -> dict[str, tuple[bytes, bool]]:
    """EXIF blocks, and whether their orientation can be read."""
    whole = materials.tiff_block([turned])
    return {
        "resolution -1/0": (materials.tiff_block([turned, (0x11A, 10, 1, struct.pack("<ii", -1, 0))]), True),
        "make is a fraction": (materials.tiff_block([(0x10F, 5, 1, struct.pack("<II", 72, 1)), turned]), True),
        "user comment of a gigabyte": (materials.tiff_block([turned, (0x9286, 7, 1 << 30, b"abcd")]), True),
        "unknown type 99": (materials.tiff_block([turned, (0x9999, 99, 4, b"abcd")]), True),
        "private garbage": (materials.tiff_block([turned, (0xFFFF, 7, 8, rng.bytes(8))]), True),
        "header cut": (whole[:8], False),
        "entries cut": (whole[: rng.integers(9, 20)], False),
        "garbage": (rng.bytes(int(rng.integers(8, 60))), False),
        "a million entries": (whole[:8] + b"\xff\xff" + whole[10:], False),
        "place beyond the end": (b"II*\0" + struct.pack("<I", 10**9) + whole[8:], False),
        "points to itself": (b"II*\0\x08\0\0\0\0\0\x08\0\0\0", False),
        "orientation 9": (materials.tiff_block([(0x112, 3, 1, struct.pack("<H", 9))]), False),
        "orientation 0": (materials.tiff_block([(0x112, 3, 1, struct.pack("<H", 0))]), False),
        "orientation is a word": (materials.tiff_block([(0x112, 2, 4, b"top\0")]), False),
        "orientation is a fraction": (materials.tiff_block([(0x112, 5, 1, struct.pack("<II", 6, 0))]), False),
        "empty": (b"", False),
    }


@kind("photos", count=48)
def odd_exif(draw: Draw) -> Case:
    pixels, tag = noise(draw.rng), draw.whole(2, 8)
    blocks = odd_blocks((0x112, 3, 1, struct.pack("<H", tag)), draw.rng)
    name = draw.each(list(blocks))
    block, readable = blocks[name]
    file_format, options = draw.any([("JPEG", {}), ("PNG", {}), ("WEBP", {"lossless": True}), ("AVIF", {})])
    plain = materials.decoded(encoded(pixels, file_format, **options))
    path = written(draw.folder / "photo.jpg", with_exif(pixels, file_format, block, **options))
    turned = TURNS[tag](plain)
    right = [turned] if readable and file_format != "AVIF" else [plain, turned]  # AVIF has a property of its own
    reader, run = reading(draw, path, OURS if file_format in ("PNG", "AVIF") else None)
    return Case(f"{name} in {file_format} by {reader}", run, gives(equals_one_of(right)))


@kind("photos")
def turned_avif_with_an_odd_block(draw: Draw) -> Case:
    """The container says how AVIF is turned; Pillow then reads the EXIF block, which may be anything."""
    pixels, tag = noise(draw.rng), draw.whole(2, 8)
    exif = Image.Exif()
    exif[materials.ORIENTATION], exif[0x10E] = tag, "~" * 40
    content = encoded(pixels, "AVIF", exif=exif)
    start = content.index(b"~" * 40) - draw.whole(8, 24)
    damaged = content[:start] + draw.rng.bytes(12) + content[start + 12 :]
    plain = materials.decoded(encoded(pixels, "AVIF"))
    reader, run = reading(draw, written(draw.folder / "photo.avif", damaged), OURS)
    return Case(f"orientation {tag} by {reader}", run, gives(equals_one_of([TURNS[tag](plain), plain])))


def grey_rgb(grey: Any) -> np.ndarray:
    """A grey picture (H, W) of 0 to 255 as RGB."""
    return np.repeat(np.round(np.asarray(grey, np.float64))[..., None], 3, axis=2)


def over_white(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """RGB pixels over white paper; alpha 0 to 255."""
    share = alpha[..., None].astype(np.float64) / 255
    return pixels * share + 255 * (1 - share)


def pictures_of_modes(rng: np.random.Generator) -> dict[str, tuple[Image.Image, np.ndarray]]:
    """PIL images of every mode, and their colours."""
    pixels = noise(rng)
    grey, alpha = pixels[..., 0], pixels[..., 1]
    rgb = Image.fromarray(pixels)
    palette = Image.fromarray(grey % 4)
    colours = rng.integers(0, 256, (4, 3))
    palette.putpalette(colours.astype(np.uint8).tobytes())
    premultiplied = Image.merge("LA", [Image.fromarray(grey), Image.new("L", grey.shape[::-1], 255)])
    deep = grey.astype(np.uint16) * 257
    return {
        "1": (Image.fromarray(grey > 127), grey_rgb((grey > 127) * 255)),
        "L": (Image.fromarray(grey), grey_rgb(grey)),
        "P": (palette, colours[grey % 4]),
        "RGB": (rgb, pixels),
        "RGBX": (rgb.convert("RGBX"), pixels),
        "RGBA": (Image.fromarray(np.dstack([pixels, alpha])), over_white(pixels, alpha)),
        "LA": (Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)]), over_white(grey_rgb(grey), alpha)),
        "La": (premultiplied.convert("La"), grey_rgb(grey)),
        "RGBa": (rgb.convert("RGBA").convert("RGBa"), pixels),
        "PA": (palette.convert("PA"), colours[grey % 4]),
        "CMYK": (Image.fromarray(np.dstack([255 - pixels, 0 * grey]), "CMYK"), pixels),
        "I;16": (Image.fromarray(deep), grey_rgb(grey)),
        "I": (Image.fromarray(deep.astype(np.int32)), grey_rgb(grey)),
        "F": (Image.fromarray((grey / 255).astype(np.float32)), grey_rgb(grey)),
    }


@kind("photos", count=28)
def mode_of_pillow(draw: Draw) -> Case:
    pictures = pictures_of_modes(draw.rng)
    mode = draw.each(list(pictures))
    picture, expected = pictures[mode]
    read = draw.any([load_photo, decode_photo])
    return Case(f"mode {mode} by {read.__name__}", lambda: np.asarray(read(picture)), gives(equals(expected, 2)))


@kind("photos")
def mode_with_values_no_photo_has(draw: Draw) -> Case:
    grey = noise(draw.rng)[..., 0].astype(np.int32)
    pictures = {
        "I with negatives": Image.fromarray(grey - 300),
        "I beyond 16 bits": Image.fromarray(grey + 70_000),
        "F of 0 to 255": Image.fromarray((grey + 2).astype(np.float32)),
        "F with NaN": Image.fromarray(np.where(grey > 100, np.nan, 0.5).astype(np.float32)),
        "F with infinity": Image.fromarray(np.where(grey > 100, np.inf, 0.5).astype(np.float32)),
        "no pixels": Image.new("RGB", (0, 5)),
    }
    name = draw.each(list(pictures))
    return Case(name, lambda: draw.any([load_photo, decode_photo])(pictures[name]), refused())


@kind("photos", count=15)
def transparent_file(draw: Draw) -> Case:
    pixels = noise(draw.rng)
    alpha = np.where(pixels[..., 1] > 128, 255, draw.any([0, 0, 100])).astype(np.uint8)
    way = draw.each(
        [
            "RGBA PNG",
            "RGBA WEBP",
            "RGBA TIFF",
            "LA PNG",
            "P PNG with a transparent colour",
            "L PNG with one",
            "RGB PNG with one",
        ]
    )
    grey = pixels[..., 0] % 7 * 30
    if way.startswith("RGBA"):
        options = {"lossless": True, "exact": True} if "WEBP" in way else {}
        picture, expected = Image.fromarray(np.dstack([pixels, alpha])), over_white(pixels, alpha)
    elif way == "LA PNG":
        picture = Image.merge("LA", [Image.fromarray(pixels[..., 0]), Image.fromarray(alpha)])
        options, expected = {}, over_white(grey_rgb(pixels[..., 0]), alpha)
    else:
        options = {"transparency": (int(grey[0, 0]),) * 3 if way.startswith("RGB") else int(grey[0, 0])}
        expected = grey_rgb(np.where(grey == grey[0, 0], 255, grey))
        picture = Image.fromarray(grey)
        if way.startswith("P"):
            picture.putpalette(np.repeat(np.arange(256, dtype=np.uint8), 3).tobytes())
        picture = picture.convert("RGB") if way.startswith("RGB") else picture
    path = written(draw.folder / "photo.png", encoded(picture, way.split()[1], **options))
    reader, run = reading(draw, path)
    return Case(f"{way} by {reader}", run, gives(equals(expected, 1)))


@kind("photos")
def sixteen_bits(draw: Draw) -> Case:
    deep = draw.rng.integers(0, 65536, (draw.whole(5, 20), 21), dtype=np.uint16)
    deep = deep // 200 if draw.number % 2 else deep  # also dark ones
    file_format = draw.any(["PNG", "TIFF", "PPM"])
    path = written(draw.folder / "photo.png", encoded(Image.fromarray(deep), file_format))
    reader, run = reading(draw, path)
    return Case(f"{file_format} by {reader}", run, gives(equals(grey_rgb(deep / 257), 1)))


@kind("photos", count=15)
def file_that_ends_early(draw: Draw) -> Case:
    file_format = draw.each(["JPEG", "PNG", "WEBP", "AVIF", "JPEG2000", "GIF", "BMP", "TIFF"])
    content = encoded(noise(draw.rng, 40, 90), file_format)
    whole = materials.decoded(content)
    cut = content[: draw.whole(1, len(content) - 1)]
    reader, run = reading(draw, written(draw.folder / "photo.jpg", cut), OURS)
    return Case(
        f"{file_format} of {len(cut)} of {len(content)} bytes by {reader}", run, gives_or_refused(equals(whole))
    )


@kind("photos", count=20)
def file_with_changed_bytes(draw: Draw) -> Case:
    """Right is what Pillow reads of the same bytes, or the picture before the damage; else a sentence."""
    file_format = draw.each(["JPEG", "PNG", "WEBP", "AVIF", "JPEG2000", "GIF", "BMP", "TIFF", "PPM", "TGA"])
    whole = encoded(noise(draw.rng, 20, 60), file_format)
    content = bytearray(whole)
    for _ in range(draw.whole(1, 6)):
        content[draw.whole(0, len(content) - 1)] = draw.whole(0, 255)
    right, plain = [materials.decoded(whole)], True
    with contextlib.suppress(Exception):
        picture = Image.open(io.BytesIO(bytes(content)))
        plain = picture.mode in ("RGB", "L", "P", "1") and not picture.has_transparency_data
        right.append(np.asarray(ImageOps.exif_transpose(picture).convert("RGB")))
    reader, run = reading(draw, written(draw.folder / "photo.jpg", bytes(content)), OURS)
    expected = gives_or_refused(equals_one_of(right)) if plain else refused_or_unjudged()
    return Case(f"{file_format} by {reader}", run, expected)


PROGRAMS = {
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n",
    "PostScript of Windows": b"\xc5\xd0\xd3\xc6"
    + struct.pack("<IIIIII", 30, 60, 0, 0, 0, 0)
    + b"\xff\xff%!PS-Adobe-3.0 "
    b"EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n",
    "PDF": b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n",
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
    "WMF": b"\xd7\xcd\xc6\x9a" + bytes(60),
    "FITS": b"SIMPLE  =                    T".ljust(2880),
    "MPEG": b"\x00\x00\x01\xb3" + bytes(60),
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(60),
    "ImageMagick": b"push graphic-context\nfill 'url(https://127.0.0.1/x.png)'\npop graphic-context",
    "playlist": b"#EXTM3U\n#EXT-X-TARGETDURATION:1\nfile:///etc/passwd\n",
    "shell": b"#!/bin/sh\ntouch was_run\n",
}


@kind("photos", count=22)
def disguised_program(draw: Draw) -> Case:
    name = draw.each(list(PROGRAMS))
    path = written(draw.folder / f"x{draw.any(SUFFIXES)}", PROGRAMS[name])
    reader = draw.any(OURS)

    def run() -> Any:
        with materials.no_programs() as started:
            try:
                return READERS[reader](path)
            finally:
                assert not started, started

    return Case(f"{name} as {path.name} by {reader}", run, refused())


@kind("photos")
def postscript_that_pillow_opened(draw: Draw) -> Case:
    content = encoded(noise(draw.rng), "EPS")
    readers = [name for name in READERS if "PIL" in name]

    def run() -> Any:
        with materials.no_programs() as started:
            try:
                return READERS[draw.each(readers)](written(draw.folder / "x.jpg", content))
            finally:
                assert not started, started

    return Case(draw.each(readers), run, refused())


@kind("photos", count=20)
def no_file(draw: Draw) -> Case:
    (draw.folder / "folder.jpg").mkdir()
    written(draw.folder / "empty.jpg", b"")
    os.mkfifo(draw.folder / "pipe.jpg")
    (draw.folder / "loop.jpg").symlink_to("loop.jpg")
    written(draw.folder / "text.jpg", draw.rng.bytes(draw.whole(1, 300)))
    names = [
        "folder.jpg",
        "empty.jpg",
        "pipe.jpg",
        "loop.jpg",
        "text.jpg",
        "missing.jpg",
        "",
        " ",
        "a" * 300,
        "/dev/zero",
        "nul\0.jpg",
        "b/" * 2000,
        "text.jpg/x",
        "\udce9.jpg",
        "~",
        "file://text.jpg",
        "/proc/self/mem",
    ]
    name = draw.each(names)
    read = draw.any(
        [load_photo, lambda one: load_photo(Path(one)), lambda one: decode_photo({"path": one, "bytes": None})]
    )
    return Case(f"{name[:40]!r}", lambda: read(name), refused())


@kind("photos", count=15)
def no_photo_at_all(draw: Draw) -> Case:
    things = [
        None,
        42,
        1.5,
        True,
        [],
        {},
        {"path": None, "bytes": None},
        {"bytes": b""},
        set(),
        object(),
        b"",
        [[1, 2], [3, 4]],
        lambda: 0,
        io.BytesIO(b"x"),
        ("photo.jpg",),
        {"image": 3},
        {"bytes": 5},
        {"path": 5},
        np.array("x"),
        np.array(None),
        Exception("x"),
        Image,
    ]
    thing = draw.each(things)
    return Case(f"{thing!r}"[:60], lambda: draw.any([load_photo, decode_photo])(thing), refused())


@kind("photos")
def bomb(draw: Draw) -> Case:
    width, height = draw.each(
        [(40_000, 30_000), (65_500, 65_500), (1, 2**31 - 1), (2**31 - 1, 2**31 - 1), (200_000, 2_000)]
    )
    content = materials.test_module("laion_shards").bomb_bytes(width, height)
    reader, run = reading(draw, written(draw.folder / "bomb.png", content), OURS)
    return Case(f"{width} x {height} by {reader}", run, refused())


@kind("photos", count=15)
def data_url(draw: Draw) -> Case:
    pixels = noise(draw.rng)
    content = encoded(pixels, "PNG")
    coded = base64.b64encode(content).decode()
    good = {
        "plain": f"data:image/png;base64,{coded}",
        "capitals": f"DATA:image/png;base64,{coded}",
        "another type": f"data:text/html;base64,{coded}",
        "no type": f"data:;base64,{coded}",
        "charset": f"data:image/png;charset=utf-8;base64,{coded}",
        "percent": "data:image/png," + urllib.parse.quote_from_bytes(content),
        "quoted base64": "data:image/png;base64," + urllib.parse.quote(coded),
    }
    bad = {
        "nothing": "data:",
        "no comma": "data:image/png;base64",
        "no base64": f"data:image/png,{coded}",
        "signs": "data:image/png;base64,%%%",
        "text": "data:text/plain,hello",
        "cut": f"data:;base64,{coded[:33]}",
        "postscript": "data:image/jpeg;base64," + base64.b64encode(PROGRAMS["PostScript"]).decode(),
    }
    name = draw.each([*good, *bad])
    expected = gives(equals(pixels)) if name in good else refused()
    return Case(name, lambda: np.asarray(load_photo((good | bad)[name])), expected)


@kind("photos")
def moving_picture(draw: Draw) -> Case:
    """Of a file with several pictures, the first."""
    first = noise(draw.rng)
    others = [Image.fromarray(255 - first), Image.fromarray(first // 2)]
    file_format = draw.each(["PNG", "WEBP", "TIFF", "MPO", "GIF"])
    options = {"lossless": True} if file_format == "WEBP" else {}
    content = encoded(first, file_format, save_all=True, append_images=others, **options)
    reader, run = reading(draw, written(draw.folder / "photo.jpg", content))
    return Case(f"{file_format} by {reader}", run, gives(equals(materials.decoded(content))))


@kind("photos")
def extreme_shape(draw: Draw) -> Case:
    """The pipelines answer for a file as for its pixels, however it is shaped."""
    size = draw.each([(1, 1), (1, 2), (2, 1), (1, 700), (900, 1), (3, 1500), (31, 33), (32, 32), (2000, 7), (65, 64)])
    pixels = draw.rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    path = written(draw.folder / "photo.png", encoded(pixels, "PNG"))
    task = draw.any(["face-detection", "face-attributes", "face-landmarks"])
    find = materials.toy_pipeline(task)
    return Case(f"{size} by {task}", lambda: find(str(path)), gives(same(find(pixels))))


@kind("photos")
def heic_without_its_extra(draw: Draw) -> Case:
    from importlib.util import find_spec

    brand = draw.each([b"heic", b"heix", b"mif1", b"hevc", b"msf1"])
    content = struct.pack(">I", 24) + b"ftyp" + brand + bytes(4) + b"mif1heic" + draw.rng.bytes(60)
    path = written(draw.folder / f"IMG_1{draw.any(['.HEIC', '.heif', '.jpg', '.hif'])}", content)
    reader, run = reading(draw, path, OURS)

    def named() -> Any:
        try:
            return run()
        except OSError as error:
            if find_spec("pillow_heif") is None and "farl-hf[heic]" not in str(error):
                raise RuntimeError(f"the extra is not named: {error}") from error
            raise

    return Case(f"{brand!r} as {path.name} by {reader}", named, refused())


@kind("photos")
def sideways_photo_with_its_points(draw: Draw) -> Case:
    """A PIL photo with an EXIF turn, and points of the upright photo: the crop is that of the upright photo."""
    from farl_hf import FaRLImageProcessor

    tag, upright = draw.each(range(2, 9)), materials.astronaut()[:260, 100:340]
    points = materials.ASTRONAUT_POINTS - [100, 0]
    stored = next(
        TURNS[back](upright) for back in range(1, 9) if np.array_equal(TURNS[tag](TURNS[back](upright)), upright)
    )
    exif = Image.Exif()
    exif[materials.ORIENTATION] = tag
    path = written(draw.folder / "sideways.png", encoded(np.ascontiguousarray(stored), "PNG", exif=exif))
    crop = FaRLImageProcessor(size=draw.whole(16, 64))
    expected = crop(upright, keypoints=[[points.tolist()]])["pixel_values"]

    def run() -> Any:
        return crop(Image.open(path), keypoints=[[points.tolist()]])["pixel_values"]

    return Case(f"orientation {tag}", run, gives(equals(expected, 1e-4)))


@kind("photos", seconds=180)
def face_that_fills_a_photo(draw: Draw) -> Case:
    """The built-in detector finds one box around a face that was cut out and enlarged."""
    margin, scale = draw.whole(-4, 12), draw.each([4, 5, 6, 7, 8, 9, 10])
    x0, y0, x1, y1 = materials.ASTRONAUT_FACE
    cut = Image.fromarray(materials.astronaut()).crop((x0 - margin, y0 - margin, x1 + margin, y1 + margin))
    photo = cut.resize((cut.width * scale, cut.height * scale), Image.Resampling.BICUBIC)
    drawn = (np.array([180, 66, 271, 178]) - [x0 - margin, y0 - margin] * 2) * scale

    def check(faces: Any) -> str:
        boxes = np.array([[face["box"][side] for side in ("xmin", "ymin", "xmax", "ymax")] for face in faces])
        if len(boxes) != 1:
            return f"{len(boxes)} boxes, expected one"
        low, high = np.maximum(boxes[0, :2], drawn[:2]), np.minimum(boxes[0, 2:], drawn[2:])
        shared = np.prod(np.clip(high - low, 0, None))
        areas = np.prod(boxes[0, 2:] - boxes[0, :2]) + np.prod(drawn[2:] - drawn[:2])
        return "" if shared / (areas - shared) > 0.5 else f"the box {boxes[0].round()} is not around the face"

    return Case(f"{scale} times, margin {margin}", lambda: _built_in_detector()(photo), gives(check))


def _built_in_detector() -> Any:
    from transformers import pipeline

    import farl_hf  # noqa: F401

    if "face-detection" not in _PIPELINES:
        _PIPELINES["face-detection"] = pipeline("face-detection", device="cpu")
    return _PIPELINES["face-detection"]


_PIPELINES: dict[str, Any] = {}


def numbers_of(answers: Any) -> list[float]:
    """All numbers of the nested answers of a pipeline."""
    if isinstance(answers, dict):
        answers = list(answers.values())
    if isinstance(answers, list | tuple):
        return [number for answer in answers for number in numbers_of(answer)]
    return [float(answers)] if isinstance(answers, int | float) else []


@kind("photos", seconds=120)
def bad_photo_among_good_ones(draw: Draw) -> Case:
    """`on_error="record"`: answers stay aligned with photos."""
    find = materials.toy_pipeline(draw.any(["face-detection", "face-attributes"]))
    good = [noise(draw.rng, 20, 50) for _ in range(3)]
    bad: Any = draw.each(
        ["missing.jpg", b"broken", np.zeros((2, 2, 2), np.uint8), {"image": None}, np.full((4, 4), np.nan), 7]
    )
    place = draw.whole(0, 3)
    photos = [*good[:place], bad, *good[place:]]
    alone = [find(photo) for photo in good]

    def check(answers: Any) -> str:
        if not (isinstance(answers[place], dict) and set(answers[place]) == {"error"}):
            return f"no error at {place}: {answers[place]}"
        return equals(numbers_of(alone), 1e-3)(numbers_of(answers[:place] + answers[place + 1 :]))

    batch = draw.whole(1, 4)

    def run():
        return list(find((photo for photo in photos), on_error="record", batch_size=batch))

    return Case(f"{str(bad)[:20]!r} at {place}, batch {batch}", run, gives(check))
