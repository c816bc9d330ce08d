"""Rows whose label maps, pictures or places are unusual: decoded, or refused by the number of their row."""

import io
import struct
import zlib

import numpy as np
import PIL.Image
import pytest
import torch

from farl_hf.data.laion_face.detections import face_row
from farl_hf.data.laion_face.shards import SKIP_REASONS, scaled_faces, skip_reason
from farl_hf.data.samples.detection_samples import FaceDetectionSamples
from farl_hf.data.samples.face_samples import FaceSamples, collate_face_samples, photo_records
from farl_hf.data.samples.pretraining_samples import PretrainingPairs, PretrainingTransform, TwoViewTransform
from farl_hf.errors import InvalidDatasetError, InvalidFaceInputError, UnreadablePhotoError
from farl_hf.photos import decode_map, decode_photo
from farl_hf.processing import FaRLImageProcessor, RetinaFaceImageProcessor

PROCESSOR = FaRLImageProcessor(size={"height": 16, "width": 16})
RGB = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)
IDS = np.random.default_rng(1).integers(0, 11, (40, 48), dtype=np.uint8)
POINTS = [[[14.0, 15.0], [32.0, 16.0], [24.0, 22.0], [16.0, 30.0], [31.0, 30.0]]]
BOX = [[8.0, 8.0, 40.0, 38.0]]


def encoded(picture, file_format="PNG", **options):
    file = io.BytesIO()
    picture.save(file, file_format, **options)
    return {"bytes": file.getvalue(), "path": None}


PHOTO = encoded(PIL.Image.fromarray(RGB))


def rows(**changes):
    """Two rows; the second has the changes."""
    row = {"image": PHOTO, "label_map": encoded(PIL.Image.fromarray(IDS)), "points5_xy": POINTS, "boxes_xyxy": BOX}
    return [row, row | changes]


def palette_of(colours, ids=IDS):
    picture = PIL.Image.fromarray(ids, "P")
    picture.putpalette([channel for colour in colours for channel in colour])
    return picture


GREYS = [(20 * index,) * 3 for index in range(12)]
MAPS = {
    "1-bit PNG": (encoded(PIL.Image.fromarray(IDS > 5)), IDS > 5),
    "1-bit BMP": (encoded(PIL.Image.fromarray(IDS > 5), "BMP"), IDS > 5),
    "1-bit TIFF": (encoded(PIL.Image.fromarray(IDS > 5), "TIFF"), IDS > 5),
    "8-bit BMP": (encoded(PIL.Image.fromarray(IDS), "BMP"), IDS),
    "BMP with a grey palette": (encoded(palette_of(GREYS), "BMP"), IDS),
    "BMP with a colour palette": (encoded(palette_of([(9, 2 * i, 200 - i) for i in range(12)]), "BMP"), IDS),
    "PNG with a palette": (encoded(palette_of(GREYS)), IDS),
    "PNG with a palette of 4 bits": (encoded(palette_of(GREYS), bits=4), IDS),
    "PNG with transparency": (encoded(palette_of(GREYS), transparency=0), IDS),
    "GIF": (encoded(palette_of(GREYS), "GIF", optimize=False), IDS),
    "16-bit PNG": (encoded(PIL.Image.fromarray(IDS.astype(np.uint16))), IDS),
    "32-bit TIFF": (encoded(PIL.Image.fromarray(IDS.astype(np.int32)), "TIFF"), IDS),
    "opaque LA": (encoded(PIL.Image.fromarray(np.dstack([IDS, np.full_like(IDS, 255)]), "LA")), IDS),
    "PIL": (PIL.Image.fromarray(IDS), IDS),
    "PIL 1": (PIL.Image.fromarray(IDS > 5), IDS > 5),
    "bool array": (IDS > 5, IDS > 5),
    "int64 array": (IDS.astype(np.int64), IDS),
    "tensor": (torch.from_numpy(IDS), IDS),
    "one channel": (IDS[..., None], IDS),
}


@pytest.mark.parametrize("name", MAPS)
def test_label_maps_are_ids_in_every_form(name):
    picture, ids = MAPS[name]
    decoded = decode_map(picture)
    assert decoded.dtype == np.uint8
    assert (decoded == ids).all()
    sample = FaceSamples(rows(label_map=picture), PROCESSOR, "parsing", with_photo_labels=True)[1]
    assert (sample["photo_labels"].numpy() == ids).all()


@pytest.mark.parametrize("bits", [2, 4])
def test_grey_of_few_bits_is_not_spread(bits):
    ids = IDS % (1 << bits)
    packed = np.packbits(np.unpackbits(ids[..., None], axis=2)[..., 8 - bits :].reshape(40, -1), axis=1)
    lines = b"".join(b"\0" + line.tobytes() for line in packed)
    blocks = [
        (b"IHDR", struct.pack(">IIBBBBB", 48, 40, bits, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(lines)),
        (b"IEND", b""),
    ]
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in blocks
    )
    assert (decode_map({"bytes": png, "path": None}) == ids).all()


REFUSED_MAPS = {
    "colours": encoded(PIL.Image.fromarray(RGB)),
    "colours with alpha": encoded(PIL.Image.fromarray(RGB).convert("RGBA")),
    "half transparent": encoded(PIL.Image.fromarray(np.dstack([IDS, IDS]), "LA")),
    "ids of 300": encoded(PIL.Image.fromarray(np.full((40, 48), 300, np.uint16))),
    "ids of 300 in an array": np.full((40, 48), 300),
    "negative ids": np.full((40, 48), -1),
    "floats": IDS.astype(np.float32),
    "tensor with gradients": torch.from_numpy(IDS).float().requires_grad_(),
    "bfloat16": torch.from_numpy(IDS).bfloat16(),
    "sparse": torch.from_numpy(IDS).to_sparse(),
    "meta": torch.from_numpy(IDS).to("meta"),
    "no pixels": np.zeros((0, 48), np.uint8),
    "no class": np.full((40, 48), 11, np.uint8),
    "another size": encoded(PIL.Image.fromarray(IDS[:-1])),
    "turned": encoded(PIL.Image.fromarray(IDS.T.copy())),
    "cut": {"bytes": encoded(PIL.Image.fromarray(IDS))["bytes"][:400], "path": None},
    "text": {"bytes": b"no picture", "path": None},
}


@pytest.mark.parametrize("name", REFUSED_MAPS)
def test_other_label_maps_are_refused_by_row(name):
    samples = FaceSamples(rows(label_map=REFUSED_MAPS[name]), PROCESSOR, "parsing")
    _ = samples[0]
    with pytest.raises((InvalidFaceInputError, UnreadablePhotoError), match="row 1"):
        _ = samples[1]


def test_a_map_of_another_size_names_row_and_sizes():
    with pytest.raises(InvalidFaceInputError, match=r"row 1 .*\(39, 48\).*\(40, 48\)"):
        _ = FaceSamples(rows(label_map=IDS[:-1]), PROCESSOR, "parsing")[1]
    with_instances = [row | {"instance_map": np.ones((40, 47), np.uint8)} for row in rows()]
    with pytest.raises(InvalidFaceInputError, match=r"instance map of row 1 .*\(40, 47\).*\(40, 48\)"):
        _ = FaceSamples(with_instances, PROCESSOR, "parsing")[1]


def samples_of(kind, table):
    if kind == "detection":
        return FaceDetectionSamples(table, RetinaFaceImageProcessor(), 64, augment=False)
    if kind in ("pretraining", "two views"):
        table = [row | {"caption": "a face"} for row in table]
        transform = TwoViewTransform(PROCESSOR) if kind == "two views" else PretrainingTransform(PROCESSOR, Words())
        return PretrainingPairs(table, transform)
    return FaceSamples(table, PROCESSOR, "parsing", alignment=kind)


class Words:
    model_max_length = 4

    def __call__(self, texts, **_):
        return {name: torch.zeros(len(texts), 4, dtype=torch.int64) for name in ("input_ids", "attention_mask")}


KINDS = ["points", "box", "whole", "detection", "pretraining", "two views"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
def test_cut_pictures_are_refused_by_row(kind, file_format):
    whole = encoded(PIL.Image.fromarray(RGB), file_format)["bytes"]
    samples = samples_of(kind, rows(image={"bytes": whole[: len(whole) * 2 // 3], "path": None}))
    _ = samples[0]
    with pytest.raises(UnreadablePhotoError, match="row 1"):
        _ = samples[1]


def test_the_path_is_named_too():
    samples = samples_of("whole", rows(image={"bytes": None, "path": "missing.png"}))
    with pytest.raises(UnreadablePhotoError, match=r"missing\.png"):
        _ = samples[1]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "whole"])
@pytest.mark.parametrize("shift", [(1e3, 0), (0, -1e3), (2e4, 2e4), (-1e6, 0)])
def test_places_far_outside_the_photo_are_refused_by_row(kind, shift):
    points = (np.array(POINTS) + shift).tolist()
    box = (np.array(BOX) + np.tile(shift, 2)).tolist()
    if kind in ("pretraining", "two views") and abs(shift[0]) > 1e5:
        pytest.skip("such points are none; the photo is used without")
    samples = samples_of(kind, rows(points5_xy=points, boxes_xyxy=box))
    _ = samples[0]
    with pytest.raises(InvalidFaceInputError, match=r"row 1 .*far outside .*\(48, 40\)") as raised:
        _ = samples[1]
    assert skip_reason(raised.value) in SKIP_REASONS


@pytest.mark.parametrize("kind", KINDS)
def test_faces_that_the_frame_cuts_are_used(kind):
    table = rows(points5_xy=(np.array(POINTS) - 20).tolist(), boxes_xyxy=(np.array(BOX) + 15).tolist())
    assert samples_of(kind, table)[1]["pixel_values"].isfinite().all()


def test_16_bit_grey_photos_are_scaled():
    deep = PIL.Image.fromarray(RGB[..., 0].astype(np.uint16) * 257)
    grey = PIL.Image.fromarray(RGB[..., 0])
    assert (decode_photo(encoded(deep)) == decode_photo(encoded(grey))).all()
    for kind in KINDS:
        deep_sample, sample = (samples_of(kind, rows(image=encoded(photo)))[1] for photo in (deep, grey))
        assert torch.equal(deep_sample["pixel_values"], sample["pixel_values"])


@pytest.mark.parametrize(
    "annotations",
    [
        {"points5_xy": [[[1, 2]] * 4]},
        {"boxes_xyxy": [[1, 2, 3]]},
        {"landmarks_xy": [[["a", "b"]]]},
        {"boxes_xyxy": [[0, 0, 9, 9]], "attributes": [[1], [0]]},
    ],
)
def test_annotations_that_no_face_has_name_their_row(annotations):
    with pytest.raises(InvalidFaceInputError, match="row 3"):
        photo_records(3, annotations)


@pytest.mark.parametrize("side", [10**400, float("inf"), float("nan"), -3, "9"])
def test_sides_that_no_picture_has_leave_the_faces_where_they_are(side):
    faces = np.ones((1, 15), np.float32)
    metadata = {"width": side, "original_width": 20, "height": 10, "original_height": 20}
    np.testing.assert_array_equal(scaled_faces(faces, metadata), faces)


def test_a_score_too_large_for_a_number_is_no_face():
    assert face_row(([1, 2, 3, 4], [[1, 2]] * 5, 10**400)) is None


def test_data_sets_without_rows_are_refused():
    with pytest.raises(InvalidDatasetError, match="None of the 0 photos"):
        FaceSamples([], FaRLImageProcessor(size=32), "attributes")
    with pytest.raises(InvalidDatasetError, match="is empty"):
        PretrainingPairs([], None)


def test_what_is_left_out_is_counted_with_the_reason(caplog):
    near = [[[14.0, 15.0], [16.0, 16.0], [24.0, 22.0], [16.0, 30.0], [31.0, 30.0]]]
    with caplog.at_level("WARNING", logger="farl_hf"):
        FaceSamples([*rows(points5_xy=None), *rows(points5_xy=near)], PROCESSOR, "parsing")
    assert caplog.messages == ["2 of 4 faces are left out: 1 without points5_xy, 1 smaller than min_face_px 12."]
    caplog.clear()
    FaceSamples(rows(), PROCESSOR, "parsing")
    assert not caplog.messages
    with pytest.raises(InvalidDatasetError, match="2 without landmarks_xy"):
        FaceSamples(rows(), PROCESSOR, "landmarks")


def test_different_numbers_of_landmarks_are_refused_at_once():
    faces = [row | {"landmarks_xy": [[[20.0, 20.0]] * count]} for row, count in zip(rows(), (68, 98), strict=True)]
    with pytest.raises(InvalidDatasetError, match="row 0 have 68 landmarks, those of row 1 98"):
        FaceSamples(faces, PROCESSOR, "landmarks")


@pytest.mark.parametrize("number", [0, 1])
def test_batches_of_faces_with_and_without_boxes(number):
    faces = rows()
    faces[number]["boxes_xyxy"] = None
    samples = FaceSamples(faces, PROCESSOR, "parsing", with_photo_labels=True)
    boxes = collate_face_samples([samples[0], samples[1]])["box_xyxy"]
    assert boxes[number].isnan().all()
    assert boxes[1 - number].tolist() == BOX[0]
    faces[1 - number]["boxes_xyxy"] = None
    assert "box_xyxy" not in FaceSamples(faces, PROCESSOR, "parsing", with_photo_labels=True)[0]
