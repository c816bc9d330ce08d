"""One rule for values and orientations: the same photo in every form gives the same pixels everywhere."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from farl_hf.errors import UnreadablePhotoError
from farl_hf.photos import ReducedPhoto, decode_photo, load_photo, picture_name
from farl_hf.processing import FaRLImageProcessor, RetinaFaceImageProcessor

RGB = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)
GREY = np.ascontiguousarray(RGB[..., 0])
GREY_RGB = np.repeat(GREY[..., None], 3, axis=2)
FACE = [[20.0, 15.0], [32.0, 16.0], [26.0, 22.0], [21.0, 28.0], [31.0, 28.0]]


def farl(photo, **settings):
    return FaRLImageProcessor(size={"height": 24, "width": 24})(photo, keypoints=FACE, **settings)["pixel_values"]


def retinaface(photo, **settings):
    return RetinaFaceImageProcessor()(photo, **settings)["pixel_values"]


def loaded(photo):
    return torch.from_numpy(np.array(load_photo(photo))).float()


def trained_on(photo):
    return torch.from_numpy(np.array(decode_photo(photo))).float()


def reduced(photo):
    return torch.from_numpy(np.array(ReducedPhoto(photo).decode(1.0)[0])).float()


PROCESSORS = [farl, retinaface]
READERS = [*PROCESSORS, loaded, trained_on, reduced]
# Of a value in [0, 255]: one level in the 8-bit photos, nothing but rounding in the processors.
TOLERANCES = {farl: 1e-4, retinaface: 2e-3, loaded: 0, trained_on: 0, reduced: 0}
READ = pytest.mark.parametrize("read", READERS)


def agree(read, photo, reference):
    torch.testing.assert_close(read(photo).detach(), read(reference), rtol=0, atol=TOLERANCES[read], check_dtype=False)


FORMS = {
    "float32": (RGB.astype(np.float32) / 255, RGB),
    "float64": (RGB / 255.0, RGB),
    "longdouble": (RGB.astype(np.longdouble) / 255, RGB),
    "float8": (torch.from_numpy(RGB > 127).float().to(torch.float8_e4m3fn), (RGB > 127).astype(np.uint8) * 255),
    "uint16": (RGB.astype(np.uint16) * 257, RGB),
    "dark uint16": (RGB.astype(np.uint16), np.round(RGB / 257).astype(np.uint8)),
    "dark float": (RGB / 255.0 / 255.0, np.round(RGB / 255.0).astype(np.uint8)),
    "bool": (RGB > 127, (RGB > 127).astype(np.uint8) * 255),
    "int64": (RGB.astype(np.int64), RGB),
    "int32": (RGB.astype(np.int32), RGB),
    "int16": (RGB.astype(np.int16), RGB),
    "uint32": (RGB.astype(np.uint32), RGB),
    "a hair over": (np.clip(RGB / 255.0 * 1.000001, 0, None), RGB),
    "a hair under": (np.where(RGB == 0, -1e-7, RGB / 255.0), RGB),
    "view": (RGB[:, :, ::-1][:, :, ::-1], RGB),
    "BGR view": (RGB[:, :, ::-1], np.ascontiguousarray(RGB[:, :, ::-1])),
    "mirrored view": (RGB[:, ::-1], np.ascontiguousarray(RGB[:, ::-1])),
    "cut view": (RGB[3:33, 5:45], np.ascontiguousarray(RGB[3:33, 5:45])),
    "Fortran": (np.asfortranarray(RGB), RGB),
    "big endian": (RGB.astype(">u2") * np.array(257, ">u2"), RGB),
    "grey": (GREY, GREY_RGB),
    "grey channel": (GREY[..., None], GREY_RGB),
    "grey view": (RGB[..., 0], GREY_RGB),
    "grey float": (GREY / 255.0, GREY_RGB),
    "grey tensor": (torch.from_numpy(GREY), GREY_RGB),
    "tensor": (torch.from_numpy(RGB).permute(2, 0, 1), RGB),
    "turned tensor": (torch.from_numpy(RGB.copy()).permute(2, 1, 0), RGB.transpose(1, 0, 2).copy()),
    "bool tensor": (torch.from_numpy(RGB > 127).permute(2, 0, 1), (RGB > 127).astype(np.uint8) * 255),
    "gradient": (torch.from_numpy(RGB / 255.0).permute(2, 0, 1).requires_grad_(), RGB),
    "L": (Image.fromarray(GREY), GREY_RGB),
    "I;16": (Image.fromarray(GREY.astype(np.uint16) * 257), GREY_RGB),
    "I;16 dark": (Image.fromarray(GREY.astype(np.uint16)), np.round(GREY_RGB / 257).astype(np.uint8)),
    "I": (Image.fromarray(GREY.astype(np.int32) * 257), GREY_RGB),
    "F": (Image.fromarray((GREY / 255).astype(np.float32)), GREY_RGB),
    "1": (Image.fromarray(GREY > 127), np.repeat(((GREY > 127) * 255).astype(np.uint8)[..., None], 3, axis=2)),
    "La": (Image.fromarray(np.dstack([GREY, np.full_like(GREY, 255)]), "LA").convert("La"), GREY_RGB),
    "RGBa": (Image.fromarray(RGB).convert("RGBA").convert("RGBa"), RGB),
    "RGBX": (Image.fromarray(RGB).convert("RGBX"), RGB),
}
DARK = {"dark uint16", "dark float", "I;16 dark"}  # of which 8 bits keep less than the processors


@READ
@pytest.mark.parametrize("form", FORMS)
def test_the_type_decides(read, form):
    photo, reference = FORMS[form]
    if form in DARK and read in PROCESSORS:
        assert (read(photo) - read(np.zeros_like(RGB))).abs().max() < 1.01 * (1 if read is retinaface else 1 / 57)
        return
    agree(read, photo, reference)


@READ
def test_read_only_arrays(read, recwarn):
    photo = RGB.copy()
    photo.flags.writeable = False
    agree(read, photo, RGB)
    assert not [warning for warning in recwarn if "writable" in str(warning.message)]


@READ
@pytest.mark.parametrize(
    "photo",
    [RGB.astype(np.float32), torch.from_numpy(RGB).permute(2, 0, 1).float(), Image.fromarray(GREY.astype(np.float32)),
     np.full((9, 9, 3), 1.02), np.full((9, 9, 3), -0.02), np.full((9, 9, 3), np.nan), np.full((9, 9, 3), np.inf),
     np.full((9, 9, 3), 256), np.full((9, 9, 3), -1), np.full((9, 9, 3), 1j),
     Image.fromarray(np.full((9, 9), -5, np.int32)), Image.fromarray(np.full((9, 9), 70_000, np.int32))],
    ids=["array", "tensor", "F", "1.02", "-0.02", "nan", "inf", "256", "-1", "complex", "negative I", "large I"],
)  # fmt: skip
def test_values_beyond_the_range_of_their_type_are_refused(read, photo):
    with pytest.raises((ValueError, UnreadablePhotoError), match=r"expected|values"):
        read(photo)


@pytest.mark.parametrize("read", PROCESSORS)
@pytest.mark.parametrize(
    "photo",
    [RGB.astype(np.float32), RGB.astype(np.float64), RGB.astype(np.float16), RGB.astype(np.longdouble), RGB,
     torch.from_numpy(RGB).permute(2, 0, 1).float(), torch.from_numpy(RGB).permute(2, 0, 1).half(),
     [RGB.astype(np.float32)]],
)  # fmt: skip
def test_do_rescale_says_that_floats_are_those_of_8_bits(read, photo):
    torch.testing.assert_close(read(photo, do_rescale=True), read(RGB), rtol=0, atol=2e-3, check_dtype=False)
    with pytest.raises(ValueError, match="do_rescale"):
        read(RGB.astype(np.float32) * 2, do_rescale=True)


@pytest.mark.parametrize("read", PROCESSORS)
def test_gradients_reach_the_photo(read):
    photo = torch.rand(3, 40, 48, requires_grad=True)
    read(photo).square().sum().backward()
    assert photo.grad.abs().sum() > 0


def file_of(picture, file_format, orientation, **options):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    picture.save(file, file_format, exif=exif, **options)
    return file.getvalue()


TURNED = {  # the picture as displayed, by the number of its orientation
    1: RGB, 2: RGB[:, ::-1], 3: RGB[::-1, ::-1], 4: RGB[::-1], 5: RGB.transpose(1, 0, 2),
    6: np.rot90(RGB, -1), 7: RGB[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90(RGB), 9: RGB, 0: RGB,
}  # fmt: skip


@READ
@pytest.mark.parametrize("orientation", TURNED)
def test_photos_are_upright_everywhere(read, orientation):
    encoded = file_of(Image.fromarray(RGB), "PNG", orientation)
    upright = np.ascontiguousarray(TURNED[orientation])
    agree(read, Image.open(io.BytesIO(encoded)), upright)
    if read not in PROCESSORS:
        agree(read, {"bytes": encoded, "path": None}, upright)
    agree(read, load_photo(encoded), upright)  # turned once, not again


@READ
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_formats_that_carry_an_orientation(read, file_format):
    options = {} if file_format in ("PNG", "TIFF") else {"quality": 100}
    encoded = file_of(Image.fromarray(RGB), file_format, 6, **options)
    stored = np.asarray(
        Image.open(io.BytesIO(file_of(Image.fromarray(RGB), file_format, 1, **options))).convert("RGB")
    )
    agree(read, Image.open(io.BytesIO(encoded)), np.ascontiguousarray(np.rot90(stored, -1)))


@READ
def test_transparent_photos_look_the_same(read):
    rgba = np.dstack([RGB, np.where(RGB[..., :1] > 100, 255, 0).astype(np.uint8)])
    on_white = np.where(rgba[..., 3:] == 255, RGB, 255).astype(np.uint8)
    palette = Image.fromarray((GREY > 100).astype(np.uint8), "P")
    palette.putpalette([0, 0, 0, 90, 80, 70])
    file = io.BytesIO()
    palette.save(file, "PNG", transparency=0)
    of_palette = np.where(GREY[..., None] > 100, np.array([90, 80, 70]), 255).astype(np.uint8)
    for photo, reference in (
        (rgba, on_white),
        (Image.fromarray(rgba, "RGBA"), on_white),
        (Image.open(file), of_palette),
    ):
        agree(read, photo, reference)


# --- odd EXIF


def tiff(entries):
    """An EXIF block of (tag, type, count, value) entries, in Intel's order."""
    directory, data, base = len(entries).to_bytes(2, "little"), b"", 8 + 2 + 12 * len(entries) + 4
    for tag, kind, count, value in entries:
        place = value.ljust(4, b"\0") if len(value) <= 4 else (base + len(data)).to_bytes(4, "little")
        data += value if len(value) > 4 else b""
        directory += b"".join(n.to_bytes(size, "little") for n, size in ((tag, 2), (kind, 2), (count, 4))) + place
    return b"Exif\0\0II*\0\x08\0\0\0" + directory + bytes(4) + data


SIDEWAYS = (0x112, 3, 1, b"\x06\0")
WHOLE = tiff([SIDEWAYS, (0x11A, 5, 1, bytes([72, 0, 0, 0, 1, 0, 0, 0]))])
BLOCKS = {  # the block, and whether its orientation can be read
    "resolution -1/0": (tiff([SIDEWAYS, (0x11A, 10, 1, b"\xff\xff\xff\xff\0\0\0\0")]), True),
    "resolution 0/0": (tiff([SIDEWAYS, (0x11A, 5, 1, bytes(8))]), True),
    "make is a fraction": (tiff([(0x10F, 5, 1, bytes([72, 0, 0, 0, 1, 0, 0, 0])), SIDEWAYS]), True),
    "data cut": (WHOLE[:-5], True),
    "header cut": (b"Exif\0\0II*\0", False),
    "garbage": (bytes(range(40, 80)), False),
    "orientation 99": (tiff([(0x112, 3, 1, b"\x63\0")]), False),
    "orientation is a text": (tiff([(0x112, 2, 4, b"six\0")]), False),
    "directory far away": (b"Exif\0\0II*\0\xff\xff\xff\x7f", False),
}


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@READ
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("name", BLOCKS)
def test_no_exif_block_costs_a_photo(read, file_format, name):
    block, turned = BLOCKS[name]
    files = [io.BytesIO(), io.BytesIO()]
    Image.fromarray(RGB).save(files[0], file_format, exif=block)
    Image.fromarray(RGB).save(files[1], file_format)
    stored = np.asarray(Image.open(files[1]).convert("RGB"))
    reference = np.ascontiguousarray(np.rot90(stored, -1) if turned else stored)
    agree(read, Image.open(files[0]), reference)
    if read not in PROCESSORS:
        agree(read, {"bytes": files[0].getvalue(), "path": None}, reference)


@pytest.mark.parametrize("read", [loaded, trained_on, reduced])
@pytest.mark.parametrize("file_format", ["PNG", "WEBP"])
def test_damaged_and_cut_blocks_of_files_cost_no_photo(read, file_format):
    stored = io.BytesIO()
    Image.fromarray(RGB).save(stored, file_format, lossless=True)
    encoded = file_of(Image.fromarray(RGB), file_format, 6, lossless=True)
    reference = np.ascontiguousarray(np.rot90(RGB, -1))
    if file_format == "WEBP":
        damaged = encoded[:-1]
    else:
        place = encoded.index(b"eXIf") - 4
        end = place + 12 + int.from_bytes(encoded[place : place + 4], "big")
        damaged = encoded[: end - 4] + b"abcd" + encoded[end:]
    agree(read, {"bytes": damaged, "path": None}, reference)


@pytest.mark.parametrize("read", [loaded, trained_on, reduced])
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"])
def test_cut_pictures_are_refused(read, file_format):
    file = io.BytesIO()
    Image.fromarray(RGB).save(file, file_format)
    half = file.getvalue()[: len(file.getvalue()) // 2]
    for photo in ({"bytes": half, "path": None}, {"bytes": half[:30], "path": None}):
        with pytest.raises(UnreadablePhotoError):
            read(photo)


@pytest.mark.parametrize("damage", ["resolution", "fraction", "garbage", "none"])
@pytest.mark.parametrize("read", [load_photo, decode_photo])
def test_avif_is_turned_by_its_container_whatever_its_exif_block_holds(damage, read):
    """Pillow decodes no pixel of an AVIF file whose EXIF block it cannot read."""
    plain, turned = Image.Exif(), Image.Exif()
    plain[0x10E], turned[0x10E], turned[0x112] = "~" * 40, "~" * 40, 6
    files = [io.BytesIO(), io.BytesIO()]
    for file, exif in zip(files, (plain, turned), strict=True):
        Image.fromarray(RGB).save(file, "AVIF", exif=exif)
    upright, content = files[0].getvalue(), files[1].getvalue()
    start = content.index(b"MM\0*", content.index(b"mdat"))
    blocks = {
        "resolution": b"II*\0\x08\0\0\0\x01\0\x1a\x01\x0a\0\x01\0\0\0\x1a\0\0\0\0\0\0\0\xff\xff\xff\xff\0\0\0\0",
        "fraction": b"II*\0\x08\0\0\0\x01\0\x0f\x01\x05\0\x01\0\0\0\x1a\0\0\0\0\0\0\0\x48\0\0\0\x01\0\0\0",
        "garbage": bytes(range(40, 64)),
        "none": b"",
    }
    block = blocks[damage]
    damaged = content[:start] + block + content[start + len(block) :]
    expected = np.rot90(np.asarray(Image.open(io.BytesIO(upright)).convert("RGB")), -1)
    assert (np.asarray(read({"bytes": damaged, "path": "a.avif"})) == expected).all()


@pytest.mark.parametrize(
    "picture",
    [
        "x.jpg",
        "http://127.0.0.1:9/x.jpg",
        "",
        None,
        7,
        b"x",
        {"image": RGB},
        RGB.ravel(),
        RGB[None, None],
        RGB[..., :2],
        np.dstack([RGB, RGB[..., :2]]),
        torch.empty(3, 4, 5, device="meta"),
        torch.rand(3, 4, 5).to_sparse(),
        torch.nested.nested_tensor([torch.rand(3, 4, 5)]),
        [None],
        ["a.jpg"],
        [[[RGB]]],
    ],
)
@pytest.mark.parametrize("read", PROCESSORS)
def test_what_is_no_picture_for_a_processor(picture, read):
    """Names and addresses are not opened: there would be no limits, and PostScript would be run."""
    with pytest.raises(ValueError, match=r"(?i)picture|shape") as caught:
        read(picture)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("read", PROCESSORS)
def test_a_pil_image_that_ends_early(file_format, read):
    file = io.BytesIO()
    Image.fromarray(RGB).save(file, file_format)
    content = file.getvalue()
    with pytest.raises(ValueError, match="cannot be decoded"):
        read(Image.open(io.BytesIO(content[: len(content) * 2 // 3])))


def test_16_bits_of_either_byte_order():
    assert (np.asarray(load_photo((RGB.astype(np.uint16) * 257).astype(">u2"))) == RGB).all()


@pytest.mark.parametrize("path", [5, ["a"], b"x"])
def test_a_path_that_is_no_text_is_named(path):
    assert picture_name({"path": path}, "row 3") == f"{path} of row 3"
