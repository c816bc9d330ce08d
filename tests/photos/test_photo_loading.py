import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from farl_hf.errors import UnreadablePhotoError
from farl_hf.photos import load_photo

RAMP = np.linspace(0, 255, 48).round().astype(np.uint8).reshape(6, 8)


def saved(picture, path, **options):
    picture.save(path, **options)
    return path


def pixels_of(source):
    photo = load_photo(source)
    assert photo.mode == "RGB"
    return np.asarray(photo).astype(int)


def grey_rgb(grey):
    return np.repeat(np.asarray(grey, int)[..., None], 3, axis=2)


def test_grey_and_palette_pictures(tmp_path):
    grey = Image.fromarray(RAMP)
    assert (pixels_of(saved(grey, tmp_path / "l.png")) == grey_rgb(RAMP)).all()
    palette = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8))
    palette.putpalette([10, 20, 30, 200, 150, 100])
    loaded = pixels_of(saved(palette, tmp_path / "p.png"))
    assert loaded[0].tolist() == [[10, 20, 30], [200, 150, 100]]
    assert (pixels_of(saved(Image.new("1", (3, 2), 1), tmp_path / "one.png")) == 255).all()
    assert pixels_of(saved(Image.new("CMYK", (3, 2)), tmp_path / "cmyk.jpg")).shape == (2, 3, 3)


def test_transparent_pixels_show_white(tmp_path):
    picture = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    picture.putpixel((1, 0), (0, 0, 0, 0))
    assert pixels_of(saved(picture, tmp_path / "a.png"))[0].tolist() == [[255, 0, 0], [255, 255, 255]]
    half = Image.new("LA", (1, 1), (0, 128))
    assert pixels_of(half)[0, 0] == pytest.approx([127] * 3, abs=1)


def test_16_bit_pictures_are_scaled_not_clipped(tmp_path):
    deep = RAMP.astype(np.uint16) * 257
    assert (pixels_of(saved(Image.fromarray(deep), tmp_path / "d.png")) == grey_rgb(RAMP)).all()
    assert (pixels_of(saved(Image.fromarray(deep), tmp_path / "d.tif")) == grey_rgb(RAMP)).all()
    assert (pixels_of(Image.fromarray(deep.astype(np.int32))) == grey_rgb(RAMP)).all()
    assert (pixels_of(Image.fromarray((RAMP / 255).astype(np.float32))) == grey_rgb(RAMP)).all()


def test_exif_orientation_is_applied(tmp_path):
    picture = Image.fromarray(np.arange(6 * 4 * 3, dtype=np.uint8).reshape(4, 6, 3))
    exif = Image.Exif()
    exif[0x0112] = 6  # the top of the scene is on the right of the file
    path = saved(picture, tmp_path / "turned.png", exif=exif)
    assert (pixels_of(path) == np.rot90(np.asarray(picture), -1)).all()


@pytest.mark.parametrize(
    "array",
    [
        grey_rgb(RAMP).astype(np.uint8),
        grey_rgb(RAMP).transpose(2, 0, 1).astype(np.uint8),
        RAMP,
        RAMP[..., None],
        (RAMP / 255).astype(np.float64),
        RAMP.astype(np.uint16) * 257,
        RAMP.astype(np.int64),
        np.dstack([grey_rgb(RAMP), np.full(RAMP.shape, 255)]).astype(np.uint8),
    ],
)
def test_arrays_of_every_kind(array):
    assert (pixels_of(array) == grey_rgb(RAMP)).all()


def test_tensors():
    assert (pixels_of(torch.from_numpy(grey_rgb(RAMP)).permute(2, 0, 1) / 255) == grey_rgb(RAMP)).all()
    assert (pixels_of(torch.from_numpy(RAMP)) == grey_rgb(RAMP)).all()


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(3, 4, 5, device="meta"),
        torch.zeros(3, 4, 5).to_sparse(),
        torch.zeros(3, 4, 5, dtype=torch.uint8).to_sparse(),
    ],
)
def test_tensors_without_plain_values_are_refused(tensor):
    with pytest.raises(UnreadablePhotoError, match=r"^The given tensor is no photo: [^\n]*$"):
        load_photo(tensor)


def test_data_urls():
    buffer = io.BytesIO()
    Image.new("RGB", (2, 2), (9, 8, 7)).save(buffer, "PNG")
    url = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    assert pixels_of(url)[1, 1].tolist() == [9, 8, 7]


def test_unreadable_files_are_named(tmp_path):
    whole = tmp_path / "whole.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(whole)
    (tmp_path / "cut.jpg").write_bytes(whole.read_bytes()[:600])
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "empty.png").write_bytes(b"")
    for name in ("cut.jpg", "text.png", "empty.png", "missing.png"):
        with pytest.raises(UnreadablePhotoError, match=name):
            load_photo(tmp_path / name)
    with pytest.raises(UnreadablePhotoError, match="not a file"):
        load_photo(tmp_path)
    with pytest.raises(UnreadablePhotoError, match=r"127\.0\.0\.1"):
        load_photo("http://127.0.0.1:9/photo.jpg")


@pytest.mark.parametrize(
    "source",
    [
        Image.new("RGB", (0, 5)),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((5, 5, 2), np.uint8),
        np.zeros((2, 4, 4, 3), np.uint8),
        np.full((4, 4), 300.0),
        np.full((4, 4), np.nan),
        np.full((4, 4), -1),
        42,
        None,
    ],
)
def test_pictures_that_cannot_be(source):
    with pytest.raises(UnreadablePhotoError):
        load_photo(source)


def test_the_given_image_is_left_as_it_is():
    picture = Image.new("L", (3, 2), 7)
    load_photo(picture)
    assert (picture.mode, picture.size) == ("L", (3, 2))
