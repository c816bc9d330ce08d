import io

import cv2
import numpy as np
import PIL.Image
import pytest
import torch
from laion_shards import bomb_bytes

from farl_hf import FaRLImageProcessor
from farl_hf.conversion.clip_vocabulary import make_clip_tokenizer
from farl_hf.data.augmentation import get_augmentation_recipe
from farl_hf.data.samples.pretraining_samples import PretrainingTransform, pretraining_collate, rows_with_one_face
from farl_hf.errors import UnreadablePhotoError
from farl_hf.photos import OversizedPhotoError, ReducedPhoto
from farl_hf.processing.face_geometry_farl import ATTRIBUTE_TEMPLATE

SIDE = 64
TEMPLATE_POINTS = (np.array(ATTRIBUTE_TEMPLATE) + 1) / 2


@pytest.fixture(scope="module")
def tokenizer():
    return make_clip_tokenizer()


def smooth_photo(height=150, width=200):
    """A photo without fine detail, in which interpolation hardly matters."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 17), np.cos(y / 23), np.sin((x + y) / 31)]
    return (np.stack(waves, axis=-1) * 100 + 128).astype(np.uint8)


def jpeg(photo, quality=95):
    return {"bytes": cv2.imencode(".jpg", photo[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()}


def face_at(center_xy, eye_distance_px):
    """Five points, the template scaled and moved."""
    points = TEMPLATE_POINTS - TEMPLATE_POINTS.mean(axis=0)
    return (points * (eye_distance_px / (points[1, 0] - points[0, 0])) + center_xy).astype(np.float32)


def make_transform(tokenizer, augmentation="none", side=SIDE, **settings):
    processor = FaRLImageProcessor(
        size={"height": side, "width": side}, face_template=ATTRIBUTE_TEMPLATE, **settings.pop("processor", {})
    )
    return PretrainingTransform(processor, tokenizer, augmentation=augmentation, **settings)


@pytest.mark.parametrize("warp_factor", [0.0, 0.8])
@pytest.mark.parametrize("pixel_grid", ["half_pixel", "integer"])
def test_the_crop_is_the_image_processors(tokenizer, warp_factor, pixel_grid):
    settings = {"warp_factor": warp_factor, "pixel_grid": pixel_grid}
    transform = make_transform(tokenizer, processor=settings)
    photo, points = smooth_photo(), face_at((90, 70), 14)
    sample = transform.sample({"image": photo, "points5_xy": points[None], "caption": "a face"})
    expected = transform.image_processor(photo, keypoints=points[None], return_tensors="pt")["pixel_values"][0]
    # A shift of half a pixel would change these waves by up to 0.05 and the black rim by far more.
    difference = (sample["pixel_values"] - expected).abs()
    assert float(difference.mean()) < 0.004
    assert float(difference.quantile(0.999)) < 0.05


def test_a_face_in_a_large_photo_is_decoded_smaller_and_keeps_its_place(tokenizer):
    transform = make_transform(tokenizer)
    photo = cv2.resize(smooth_photo(), (1003, 757), interpolation=cv2.INTER_CUBIC)
    row = {"points5_xy": face_at((520, 380), 90)[None], "caption": ""}
    decoded, reduction = ReducedPhoto(jpeg(photo)).decode(SIDE / 550)
    assert reduction == 8
    assert decoded.shape == (95, 126, 3)
    expected = transform.image_processor(photo, keypoints=row["points5_xy"], return_tensors="pt")["pixel_values"][0]
    png = {"bytes": cv2.imencode(".png", photo[..., ::-1])[1].tobytes()}
    for image in (jpeg(photo), png, photo, PIL.Image.fromarray(photo)):
        sample = transform.sample(row | {"image": image})
        assert float((sample["pixel_values"] - expected).abs().mean()) < 0.03  # JPEG's own error is most of it


def test_a_callers_picture_stays_as_it_is():
    encoded = jpeg(cv2.resize(smooth_photo(), (800, 600)))["bytes"]
    picture = PIL.Image.open(io.BytesIO(encoded))
    _, reduction = ReducedPhoto(picture).decode(0.1)
    assert reduction == 8
    assert picture.size == (800, 600)


def test_a_turned_photo_is_seen_as_it_is_shown(tokenizer):
    photo = smooth_photo(160, 240)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    PIL.Image.fromarray(np.rot90(photo)).save(buffer, "jpeg", quality=95, exif=exif)
    opened = ReducedPhoto({"bytes": buffer.getvalue()})
    assert opened.size_hw == (160, 240)
    decoded, reduction = opened.decode(1.0)
    assert reduction == 1
    assert np.abs(decoded.astype(int) - photo).mean() < 3
    smaller, _ = opened.decode(0.25)
    assert np.abs(smaller.astype(int) - cv2.resize(photo, (60, 40), interpolation=cv2.INTER_AREA)).mean() < 3


def test_a_photo_without_faces_is_cropped_to_its_centre(tokenizer):
    photo = np.zeros((40, 100, 3), np.uint8)
    photo[:, 30:70] = 255
    transform = make_transform(tokenizer)
    for points in ([], None, np.full((1, 5, 2), np.nan), np.full((1, 5, 2), 7.0), face_at((1e30, 0), 1e29)[None]):
        crop = transform.crop({"image": photo, "points5_xy": points, "caption": ""}, np.random.default_rng(0))
        assert crop[2:-2, 2:-2].min() > 0.99


def test_one_face_is_chosen_at_random_by_seed_epoch_and_key(tokenizer):
    photo = np.zeros((100, 300, 3), np.uint8)
    faces = np.stack([face_at((50 + 100 * i, 50), 12) for i in range(3)])
    for i in range(3):
        photo[:, 100 * i : 100 * i + 100] = 80 * (i + 1)
    transform = make_transform(tokenizer)

    def shown(sample_id, epoch):
        row = {"image": photo, "points5_xy": faces, "caption": "", "sample_id": sample_id, "epoch": epoch}
        return round(float(transform.sample(row)["pixel_values"][0, SIDE // 2, SIDE // 2]), 3)

    drawn = np.array([[shown(sample_id, epoch) for sample_id in range(30)] for epoch in range(2)])
    assert [shown(sample_id, 1) for sample_id in range(30)] == drawn[1].tolist()
    values, counts = np.unique(drawn, return_counts=True)
    assert len(values) == 3
    assert counts.min() > 10
    assert (drawn[0] != drawn[1]).any()


def test_augmentation_moves_the_crop_and_leaves_sides_and_colours(tokenizer):
    photo, points = smooth_photo(), face_at((100, 75), 14)
    row = {"image": photo, "points5_xy": points[None], "caption": "a face"}
    plain, moved = make_transform(tokenizer), make_transform(tokenizer, "pretraining")
    first, second = (moved.sample(row | {"index": index})["pixel_values"] for index in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(first, moved.sample(row | {"index": 0})["pixel_values"])
    base = plain.sample(row)["pixel_values"]
    mirrored = base.flip(-1)
    assert float((first - base).abs().mean()) < float((first - mirrored).abs().mean())
    assert get_augmentation_recipe("pretraining").mirror_probability == 0
    moved.set_epoch(1)
    assert not torch.equal(first, moved.sample(row | {"index": 0})["pixel_values"])


def test_the_rim_can_be_filled(tokenizer):
    row = {"image": smooth_photo(), "points5_xy": face_at((5, 5), 14)[None], "caption": ""}
    dark = make_transform(tokenizer).crop(row, np.random.default_rng(0))
    filled = make_transform(tokenizer, "synthetic_parsing").crop(row, np.random.default_rng(1))
    assert filled.shape == dark.shape == (SIDE, SIDE, 3)
    assert (dark.max(axis=-1) == 0).mean() > 0.3
    assert (filled.max(axis=-1) == 0).mean() < 0.05


def test_samples_of_batches_and_single_rows_agree(tokenizer):
    rows = {
        "image": [smooth_photo(), jpeg(smooth_photo(90, 120))],
        "points5_xy": [face_at((90, 70), 14)[None], []],
        "caption": ["a smiling woman", "two dogs " * 100],
        "index": [3, 4],
    }
    transform = make_transform(tokenizer, "pretraining", codebook_size=SIDE // 2, mask_grid_hw=(14, 14), seed=5)
    batch = transform(rows)
    single = [transform.sample({key: values[i] for key, values in rows.items()}) for i in range(2)]
    collated = pretraining_collate(single)
    assert {key: (tuple(values.shape), values.dtype) for key, values in collated.items()} == {
        "pixel_values": ((2, 3, SIDE, SIDE), torch.float32),
        "codebook_pixel_values": ((2, 3, SIDE // 2, SIDE // 2), torch.float32),
        "bool_masked_pos": ((2, 196), torch.bool),
        "input_ids": ((2, 77), torch.int64),
        "attention_mask": ((2, 77), torch.int64),
    }
    for key, values in collated.items():
        assert torch.equal(values, torch.stack(batch[key])), key
    assert collated["input_ids"][1, -1] == tokenizer.eos_token_id
    assert collated["attention_mask"][0].sum() == len(tokenizer("a smiling woman")["input_ids"])


def test_the_codebook_sees_the_same_crop(tokenizer):
    transform = make_transform(tokenizer, "pretraining", codebook_size=SIDE // 2)
    row = {"image": smooth_photo(), "points5_xy": face_at((90, 70), 14)[None], "caption": "", "index": 1}
    sample = transform.sample(row)
    mean, std = (torch.tensor(values)[:, None, None] for values in (
        transform.image_processor.image_mean, transform.image_processor.image_std
    ))  # fmt: skip
    pixels = sample["pixel_values"] * std + mean
    assert torch.allclose(torch.nn.functional.avg_pool2d(pixels, 2), sample["codebook_pixel_values"], atol=1e-5)


@pytest.mark.parametrize("mode", ["empty", "text", "truncated", "postscript"])
def test_damaged_pictures_are_refused(tokenizer, mode):
    encoded = jpeg(smooth_photo())["bytes"]
    postscript = io.BytesIO()
    PIL.Image.fromarray(smooth_photo()).save(postscript, "eps")
    half = encoded[: len(encoded) // 2]
    damaged = {"empty": b"", "text": b"no picture", "truncated": half, "postscript": postscript.getvalue()}[mode]
    row = {"image": {"bytes": damaged}, "points5_xy": [], "caption": ""}
    with pytest.raises(UnreadablePhotoError):
        make_transform(tokenizer).sample(row)


def test_an_image_bomb_is_refused_before_it_is_decoded(tokenizer, monkeypatch):
    row = {"points5_xy": [], "caption": ""}
    for size_wh in ((40_000, 30_000), (10_000, 9_000)):  # Pillow itself refuses the first and only warns of the second
        with pytest.raises(OversizedPhotoError):
            make_transform(tokenizer).sample(row | {"image": {"bytes": bomb_bytes(*size_wh)}})
    monkeypatch.setattr("farl_hf.photos.MAX_PHOTO_PIXELS", 100)
    with pytest.raises(OversizedPhotoError, match="larger than 100 pixels"):
        make_transform(tokenizer).sample(row | {"image": smooth_photo()})


def test_it_serves_datasets_and_streams(tokenizer):
    import datasets

    rows = [
        {"image": jpeg(smooth_photo()) | {"path": None}, "points5_xy": [face_at((90, 70), 14).tolist()],
         "caption": f"face {i}", "index": i}
        for i in range(4)
    ]  # fmt: skip
    columns = {key: [row[key] for row in rows] for key in rows[0]}
    table = datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image(decode=False))
    transform = make_transform(tokenizer)
    stream = table.to_iterable_dataset().map(transform, batched=True, batch_size=2, remove_columns=list(columns))
    streamed = pretraining_collate(list(stream))
    table.set_transform(transform)
    assert torch.equal(pretraining_collate([table[i] for i in range(4)])["pixel_values"], streamed["pixel_values"])
    assert set(streamed) == {"pixel_values", "input_ids", "attention_mask"}


def test_a_row_gives_the_same_sample_alone_and_in_a_batch(tokenizer):
    rows = [{"image": smooth_photo(), "caption": f"a man with {i} hats", "sample_id": i} for i in range(2)]
    transform = make_transform(tokenizer)
    alone = transform.sample(rows[1])
    batch = transform({key: [row[key] for row in rows] for key in rows[0]})
    assert set(alone) == set(batch)
    for key, values in alone.items():
        assert torch.equal(batch[key][1], values), key


def test_only_photos_of_one_face_are_evaluated():
    """The caption and the attributes may be of another face than the one that can be used."""
    face, unusable = [[10.0, 10], [30, 10], [20, 20], [12, 30], [28, 30]], [[float("nan"), 0.0]] * 5
    rows = [{"points5_xy": faces} for faces in ([face], [face, unusable], [unusable], [], None, [face, face])]
    assert rows_with_one_face(rows).tolist() == [0]
