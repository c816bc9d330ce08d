"""Pictures given to the three processors and to `load_photo`: arrays, tensors, PIL images, layouts, value ranges."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.faults import materials
from benchmarks.faults.cases import Case, Draw, kind
from benchmarks.faults.judging import equals, equals_one_of, gives, gives_or_refused, refused
from benchmarks.faults.materials import TURNS, encoded, noise, written
from benchmarks.faults.photos import PROGRAMS
from farl_hf import FaRLImageProcessor, RetinaFaceImageProcessor
from farl_hf.photos import load_photo

# A processor takes a picture; beside it, its answer for an RGB picture of 0 to 255, computed by NumPy.
Processor = tuple[Callable[..., Any], Callable[[np.ndarray], np.ndarray]]


def face_crops(pixels: np.ndarray, **settings: Any) -> Processor:
    """Crops of the size of the photo: resampling changes nothing."""
    height, width = pixels.shape[:2]
    processor = FaRLImageProcessor(size={"height": height, "width": width}, **settings)

    def expected(rgb: np.ndarray) -> np.ndarray:
        values = (rgb / 255 - np.array(processor.image_mean)) / np.array(processor.image_std)
        return values.transpose(2, 0, 1)[None]

    return lambda picture, **more: processor(picture, return_tensors="pt", **more)["pixel_values"].detach(), expected


def detector_inputs(pixels: np.ndarray) -> Processor:
    """Small photos are not resized; zeros follow at the right and below."""
    processor = RetinaFaceImageProcessor()

    def expected(rgb: np.ndarray) -> np.ndarray:
        values = rgb[..., ::-1] if processor.do_flip_channel_order else rgb
        values = (values - np.array(processor.image_mean)) / np.array(processor.image_std)
        height, width = (-side % processor.pad_size_divisor for side in rgb.shape[:2])
        return np.pad(values, ((0, height), (0, width), (0, 0))).transpose(2, 0, 1)[None]

    return lambda picture, **more: processor(picture, return_tensors="pt", **more)["pixel_values"].detach(), expected


def image_text_inputs(pixels: np.ndarray) -> Processor:
    """The processor of images and texts."""
    from farl_hf import FaRLProcessor

    height, width = pixels.shape[:2]
    crops = FaRLImageProcessor(size={"height": height, "width": width})
    processor = FaRLProcessor(crops, materials.image_text_toy()[1].tokenizer)
    _, expected = face_crops(pixels)

    def run(picture: Any, **more: Any) -> Any:
        return processor(text=["a face"], images=picture, return_tensors="pt", **more)["pixel_values"].detach()

    return run, expected


PROCESSORS = {
    "FaRLImageProcessor": face_crops,
    "RetinaFaceImageProcessor": detector_inputs,
    "FaRLProcessor": image_text_inputs,
}


def ways_to_say(pixels: np.ndarray) -> dict[str, tuple[Any, np.ndarray]]:
    """Pictures of every type, and what they show as RGB of 0 to 255."""
    grey, share = pixels[..., 0], pixels / 255
    light = pixels > 127
    return {
        "uint8": (pixels, pixels),
        "float32": (share.astype(np.float32), pixels),
        "float64": (share, pixels),
        "float16": (share.astype(np.float16), pixels),
        "big-endian float": (share.astype(">f4"), pixels),
        "a hair over 1": (share * 1.004, pixels * 1.004),
        "dark floats": (share / 300, pixels / 300),
        "uint16": (pixels.astype(np.uint16) * 257, pixels),
        "small uint16": (pixels.astype(np.uint16), pixels / 257),
        "big-endian uint16": ((pixels.astype(np.uint16) * 257).astype(">u2"), pixels),
        "int32": (pixels.astype(np.int32), pixels),
        "int64": (pixels.astype(np.int64), pixels),
        "int16": (pixels.astype(np.int16), pixels),
        "uint32": (pixels.astype(np.uint32), pixels),
        "bool": (light, light * 255),
        "grey": (grey, np.repeat(grey[..., None], 3, 2)),
        "grey of one channel": (grey[..., None], np.repeat(grey[..., None], 3, 2)),
        "tensor uint8": (torch.from_numpy(pixels).permute(2, 0, 1), pixels),
        "tensor float32": (torch.from_numpy(share).float().permute(2, 0, 1), pixels),
        "tensor bfloat16": (torch.from_numpy(share).permute(2, 0, 1).to(torch.bfloat16), pixels),
        "tensor bool": (torch.from_numpy(light).permute(2, 0, 1), light * 255),
        "tensor int64": (torch.from_numpy(pixels).long().permute(2, 0, 1), pixels),
        "grey tensor": (torch.from_numpy(grey), np.repeat(grey[..., None], 3, 2)),
        "tensor with gradients": (torch.from_numpy(share).permute(2, 0, 1).requires_grad_(), pixels),
        "PIL RGB": (Image.fromarray(pixels), pixels),
        "PIL L": (Image.fromarray(grey), np.repeat(grey[..., None], 3, 2)),
        "PIL 1": (Image.fromarray(light[..., 0]), np.repeat(light[..., :1] * 255, 3, 2)),
        "PIL I;16": (Image.fromarray(grey.astype(np.uint16) * 257), np.repeat(grey[..., None], 3, 2)),
        "PIL F": (Image.fromarray(share[..., 0].astype(np.float32)), np.repeat(grey[..., None], 3, 2)),
    }


def tolerance_of(name: str, processor: str) -> float:
    """How far a type may be from the exact value, in the units of an input of the processor."""
    rounding = {"bfloat16": 2.1, "float16": 0.15, "a hair over 1": 1.1}
    levels = next((most for part, most in rounding.items() if part in name), 0.01)
    return levels * (1 if processor.startswith("Retina") else 1 / 50)  # 1 / 255 / 0.26


@kind("arrays", count=58)
def type_of_values(draw: Draw) -> Case:
    pixels, name = noise(draw.rng), draw.any(list(PROCESSORS))
    pictures = ways_to_say(pixels)
    way = draw.each(list(pictures))
    picture, rgb = pictures[way]
    run, expected = PROCESSORS[name](pixels)
    return Case(f"{way} to {name}", lambda: run(picture), gives(equals(expected(rgb), tolerance_of(way, name))))


@kind("arrays", count=29)
def type_of_values_for_pipelines(draw: Draw) -> Case:
    pixels = noise(draw.rng)
    pictures = ways_to_say(pixels)
    way = draw.each(list(pictures))
    picture, rgb = pictures[way]
    return Case(way, lambda: np.asarray(load_photo(picture)), gives(equals(np.clip(rgb, 0, 255), 2)))


def layouts(pixels: np.ndarray) -> dict[str, Any]:
    """The same picture, laid out in memory in many ways."""
    read_only = pixels.copy()
    read_only.flags.writeable = False
    wide = np.repeat(pixels, 2, axis=1)
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    return {
        "channels backwards": pixels[:, :, ::-1].copy()[:, :, ::-1],
        "two rows backwards": pixels[:2][::-1].copy()[::-1],
        "rows backwards": pixels[::-1].copy()[::-1],
        "Fortran": np.asfortranarray(pixels),
        "read-only": read_only,
        "every second column": wide[:, ::2],
        "channels first": np.ascontiguousarray(pixels.transpose(2, 0, 1)),
        "with a list around": [pixels],
        "opaque alpha": np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)]),
        "matrix in shared memory": np.frombuffer(bytearray(pixels.tobytes()), np.uint8).reshape(pixels.shape),
        "subclass": pixels.view(np.recarray) if pixels.dtype.names else pixels.view(type("Own", (np.ndarray,), {})),
        "tensor": tensor.contiguous(),
        "tensor seen from behind": tensor.flip(2).contiguous().flip(2),
        "expanded tensor": tensor[:1].expand(3, -1, -1),
        "tensor in a batch of one": tensor[None],
        "array in a batch of one": pixels[None],
        "tensor channels last": torch.from_numpy(pixels),
        "PIL image": Image.fromarray(pixels),
    }


@kind("arrays", count=34)
def layout_in_memory(draw: Draw) -> Case:
    pixels, name = noise(draw.rng), draw.any(list(PROCESSORS))
    ways = layouts(pixels)
    way = draw.each(list(ways))
    shown = np.repeat(pixels[..., :1], 3, 2) if way == "expanded tensor" else pixels
    shown = pixels[:2] if way == "two rows backwards" else shown
    run, expected = PROCESSORS[name](shown)
    return Case(f"{way} to {name}", lambda: run(ways[way]), gives(equals(expected(shown), 0.02)))


def pictures_that_are_none(rng: np.random.Generator) -> dict[str, Any]:
    """Values and shapes of no photo."""
    pixels = noise(rng)
    share = (pixels / 255).astype(np.float32)
    nan, inf = share.copy(), share.copy()
    nan[2, 3, 1], inf[1, 1, 0] = np.nan, np.inf
    return {
        "floats of 0 to 255": pixels.astype(np.float32),
        "floats of -1 to 1": share * 2 - 1,
        "floats up to 1.02": share * 1.02 + 0.01,
        "NaN": nan,
        "infinity": inf,
        "NaN tensor": torch.from_numpy(nan).permute(2, 0, 1),
        "integers beyond 255": pixels.astype(np.int32) * 4 + 256,
        "negative integers": pixels.astype(np.int64) - 256,
        "complex": share.astype(np.complex64),
        "complex tensor": torch.from_numpy(share.astype(np.complex64)).permute(2, 0, 1),
        "objects": pixels.astype(object),
        "texts": pixels.astype("U3"),
        "bytes": pixels.astype("S3"),
        "times": pixels.astype("datetime64[s]"),
        "two channels": pixels[..., :2],
        "five channels": np.concatenate([pixels, pixels[..., :2]], 2),
        "no height": pixels[:0],
        "no width": pixels[:, :0],
        "no channels": pixels[..., :0],
        "one axis": pixels.ravel(),
        "no axes": pixels[0, 0, 0],
        "five axes": pixels[None, None],
        "meta tensor": torch.empty(3, 8, 9, device="meta"),
        "sparse tensor": torch.from_numpy(share).permute(2, 0, 1).to_sparse(),
        "PIL without pixels": Image.new("RGB", (0, 4)),
        "PIL I beyond 16 bits": Image.fromarray(pixels[..., 0].astype(np.int32) + 70_000),
        "PIL F of 0 to 255": Image.fromarray(pixels[..., 0].astype(np.float32) + 2),
        "None": None,
        "number": 7,
        "empty list": [],
        "list of None": [None],
        "nested lists": pixels.tolist(),
        "dict": {"image": pixels},
        "object": object(),
        "encoded bytes": encoded(pixels, "PNG"),
        "function": len,
        "set": {1},
        "empty tensor": torch.empty(0),
    }


@kind("arrays", count=74)
def picture_that_is_none(draw: Draw) -> Case:
    pixels, name = noise(draw.rng), draw.any(list(PROCESSORS))
    pictures = pictures_that_are_none(draw.rng)
    way = draw.each(list(pictures))
    if way == "None":  # which is no picture for the processor of texts and pictures
        name = "FaRLImageProcessor"
    run, _ = PROCESSORS[name](pixels)
    return Case(f"{way} to {name}", lambda: run(pictures[way]), refused())


@kind("arrays", count=30)
def picture_that_is_none_for_pipelines(draw: Draw) -> Case:
    pictures = pictures_that_are_none(draw.rng)
    del pictures["encoded bytes"], pictures["dict"]
    way = draw.each(list(pictures))
    return Case(way, lambda: load_photo(pictures[way]), refused())


@kind("arrays")
def floats_of_255_with_do_rescale(draw: Draw) -> Case:
    pixels, name = noise(draw.rng), draw.any(list(PROCESSORS)[:2])
    pixels = pixels // draw.any([1, 100, 255])  # also dark and nearly black ones
    run, expected = PROCESSORS[name](pixels)
    ways = {
        "float32": pixels.astype(np.float32),
        "float64": pixels.astype(np.float64),
        "tensor": torch.from_numpy(pixels).permute(2, 0, 1).float(),
        "uint8": pixels,
        "list": [pixels.astype(np.float32)],
    }
    way = draw.each(list(ways))
    return Case(f"{way} to {name}", lambda: run(ways[way], do_rescale=True), gives(equals(expected(pixels), 0.02)))


@kind("arrays", count=20)
def string_to_a_processor(draw: Draw) -> Case:
    """A path, URL or base64 text: the photo as pipelines see it, or a sentence; never a program that is run."""
    pixels, name = noise(draw.rng), draw.any(list(PROCESSORS))
    run, expected = PROCESSORS[name](pixels)
    exif = Image.Exif()
    exif[materials.ORIENTATION] = 4  # keeps the size
    good = written(draw.folder / "good.png", encoded(pixels, "PNG"))
    turned = written(draw.folder / "turned.png", encoded(pixels, "PNG", exif=exif))
    program = written(draw.folder / "x.jpg", PROGRAMS[draw.any(list(PROGRAMS))])
    texts: dict[str, tuple[Any, np.ndarray | None]] = {
        "path": (str(good), pixels),
        "turned": (str(turned), TURNS[4](pixels)),
        "Path": (good, pixels),
        "program": (str(program), None),
        "EPS": (str(written(draw.folder / "e.jpg", encoded(pixels, "EPS"))), None),
        "missing": ("missing.jpg", None),
        "word": ("face", None),
        "empty": ("", None),
        "NUL": ("a\0b", None),
        "long": ("a" * 5000, None),
        "folder": (str(draw.folder), None),
        "closed port": ("http://127.0.0.1:9/x.jpg", None),
        "data": ("data:image/png;base64,AAAA", None),
        "list of texts": (["a.jpg", "b.jpg"], None),
        "program in a list": ([str(program)], None),
        "file scheme": (f"file://{program}", None),
    }
    way = draw.each(list(texts))
    text, rgb = texts[way]

    def answer() -> Any:
        with materials.no_programs() as started:
            try:
                return run(text)
            finally:
                assert not started, started

    right = refused() if rgb is None else gives_or_refused(equals(expected(rgb), 0.02))
    return Case(f"{way} to {name}", answer, right)


@kind("arrays")
def damaged_pil_image(draw: Draw) -> Case:
    """Pillow reads the pixels only when a processor asks for them."""
    pixels, name = noise(draw.rng, 40, 60), draw.any(list(PROCESSORS))
    file_format = draw.each(["PNG", "JPEG", "GIF", "BMP", "TIFF"])
    content = encoded(pixels, file_format)
    path = written(draw.folder / "photo.jpg", content[: int(len(content) * draw.rng.uniform(0.6, 0.95))])
    try:
        picture = Image.open(path)
    except OSError:
        picture = Image.new("RGB", (0, 0))
    run, expected = PROCESSORS[name](pixels)
    return Case(f"{file_format} to {name}", lambda: run(picture), gives_or_refused(equals(expected(pixels), 2.1)))


@kind("arrays", count=14)
def odd_exif_of_a_pil_image(draw: Draw) -> Case:
    from benchmarks.faults.photos import odd_blocks

    pixels, name = noise(draw.rng), draw.any(list(PROCESSORS))
    blocks = odd_blocks((0x112, 3, 1, (4).to_bytes(2, "little")), draw.rng)
    way = draw.each([name for name in blocks if name not in ("orientation 9", "orientation 0")])
    content = materials.with_exif(pixels, "WEBP", blocks[way][0], lossless=True)
    run, expected = PROCESSORS[name](pixels)
    right = [expected(TURNS[4](pixels))] if blocks[way][1] else [expected(pixels), expected(TURNS[4](pixels))]
    path = written(draw.folder / "photo.webp", content)
    return Case(f"{way} to {name}", lambda: run(Image.open(path)), gives(equals_one_of(right, 0.02)))


@kind("arrays")
def photos_of_mixed_types(draw: Draw) -> Case:
    """Several photos at once give what each gives alone."""
    pixels = noise(draw.rng)
    pictures = ways_to_say(pixels)
    some = [pictures[draw.any([name for name in pictures if not name.startswith("tensor")])] for _ in range(3)]
    run, expected = face_crops(pixels)
    wanted = np.concatenate([expected(rgb) for _, rgb in some])
    return Case("three photos", lambda: run([picture for picture, _ in some]), gives(equals(wanted, 0.03)))
