import io

import numpy as np
import PIL.Image
import pytest
import torch
from face_rows import make_face_dataset, make_face_row
from torch.utils.data import DataLoader

from farl_hf.data.augmentation import AugmentationRecipe
from farl_hf.data.samples.face_samples import FaceSamples, collate_face_samples, mirror_order
from farl_hf.errors import (
    InvalidArgumentError,
    InvalidDatasetError,
    InvalidFaceInputError,
    UnknownNameError,
    UnreadablePhotoError,
)
from farl_hf.labels import LANDMARK_MIRROR_PAIRS, LAPA_MIRROR_PAIRS
from farl_hf.photos import decode_map, decode_photo
from farl_hf.processing import FaRLImageProcessor

MIRROR = AugmentationRecipe(source="test", mirror_probability=1.0)


def make_processor(size=32, **settings):
    return FaRLImageProcessor(size={"height": size, "width": size}, **settings)


@pytest.fixture(scope="module")
def photos():
    return make_face_dataset(6, num_faces=2)


def test_one_item_per_face(photos):
    assert len(FaceSamples(photos, make_processor(), "parsing", min_face_px=1)) == 12


def test_small_faces_are_skipped_and_none_left_is_an_error(photos):
    mixed = [make_face_row(0, num_faces=1), make_face_row(1, num_faces=3)]
    assert len(FaceSamples(mixed, make_processor(), "parsing", min_face_px=20)) == 1
    with pytest.raises(InvalidDatasetError, match="min_face_px"):
        FaceSamples(photos, make_processor(), "parsing", min_face_px=500)


def test_rows_without_a_needed_column_are_refused(photos):
    with pytest.raises(InvalidDatasetError, match="label_map"):
        FaceSamples(photos.remove_columns("label_map"), make_processor(), "parsing")


def test_unknown_task_lists_the_known_ones(photos):
    with pytest.raises(UnknownNameError, match="parsing, landmarks, attributes"):
        FaceSamples(photos, make_processor(), "pose")


@pytest.mark.parametrize("warp_factor", [0.0, 0.8])
@pytest.mark.parametrize("alignment", ["points", "box", "whole"])
def test_pixels_without_augmentation_are_those_of_the_processor(photos, warp_factor, alignment):
    processor = make_processor(warp_factor=warp_factor)
    sample = FaceSamples(photos, processor, "parsing", alignment=alignment, min_face_px=1)[3]
    row = photos[1]
    faces = {"points": {"keypoints": [row["points5_xy"]]}, "box": {"boxes": [row["boxes_xyxy"]]}, "whole": {}}
    expected = processor(row["image"], return_tensors="pt", **faces[alignment])["pixel_values"]
    face = 0 if alignment == "whole" else 1
    torch.testing.assert_close(sample["pixel_values"], expected[face], atol=2e-5, rtol=0)


def test_parsing_labels_hold_one_face_only(photos):
    processor = make_processor(48)
    samples = FaceSamples(photos, processor, "parsing", min_face_px=1, with_photo_labels=True)
    left, right = samples[0], samples[1]
    assert left["photo_labels"][:, 48:].max() == 0 < left["photo_labels"].max()
    assert right["photo_labels"][:, :48].max() == 0 < right["photo_labels"].max()
    assert left["labels"].dtype == torch.int64
    assert set(left["labels"].unique().tolist()) == {0, 1, 4, 5, 6}


@pytest.mark.parametrize("warp_factor", [0.0, 0.8])
def test_the_label_under_each_alignment_point_is_its_class(photos, warp_factor):
    processor = make_processor(96, warp_factor=warp_factor)
    recipe = AugmentationRecipe(source="test", shift_fraction=0.05, rotation_rad=0.4, scale_spread=0.1)
    samples = FaceSamples(photos, processor, "parsing", recipe, min_face_px=1, with_photo_labels=True)
    for item in range(4):
        sample = samples[item]
        points = torch.tensor(photos[item // 2]["points5_xy"][item % 2])[None]
        crop_xy = processor.warp_points(points, sample["crop_from_photo"][None])[0].long()
        assert sample["labels"][crop_xy[:3, 1], crop_xy[:3, 0]].tolist() == [4, 5, 6]


def test_noise_may_move_the_points_of_a_face_out_of_its_photo(photos):
    """A face at the edge of its photo does not end a training."""
    recipe = AugmentationRecipe(source="test", alignment_noise_px=300.0)
    samples = FaceSamples(photos, make_processor(), "attributes", recipe, min_face_px=1)
    for epoch in range(10):
        samples.set_epoch(epoch)
        assert all(samples[item]["pixel_values"].isfinite().all() for item in range(len(samples)))


def test_mirror_exchanges_sides_of_pictures_labels_and_points(photos):
    plain = FaceSamples(photos, make_processor(64), "parsing", min_face_px=1)[0]
    mirrored = FaceSamples(photos, make_processor(64), "parsing", MIRROR, min_face_px=1)[0]
    torch.testing.assert_close(mirrored["pixel_values"], plain["pixel_values"].flip(-1), atol=1e-3, rtol=0)
    swapped = torch.from_numpy(mirror_order(LAPA_MIRROR_PAIRS, 11))[plain["labels"].flip(-1)]
    assert (mirrored["labels"] != swapped).float().mean() < 0.002  # nearest sampling on exact ties
    plain = FaceSamples(photos, make_processor(64), "landmarks", min_face_px=1)[0]["labels"]
    mirrored = FaceSamples(photos, make_processor(64), "landmarks", MIRROR, min_face_px=1)[0]["labels"]
    order = mirror_order(LANDMARK_MIRROR_PAIRS[68], 68)
    torch.testing.assert_close(mirrored, (torch.tensor([1.0, 0.0]) - plain * torch.tensor([1.0, -1.0]))[order])
    assert (mirrored[36] - plain[45] * torch.tensor([-1.0, 1.0]) - torch.tensor([1.0, 0.0])).abs().max() < 1e-5


def test_landmarks_return_to_the_photo(photos):
    processor = make_processor(64, warp_factor=0.3)
    sample = FaceSamples(photos, processor, "landmarks", "synthetic_landmarks", min_face_px=1, with_photo_labels=True)[
        0
    ]
    points = sample["labels"].clone()
    inside = ((points > 0.05) & (points < 0.95)).all(dim=1)
    assert inside.sum() > 30
    if torch.linalg.det(sample["crop_from_photo"]) < 0:
        points = points[mirror_order(LANDMARK_MIRROR_PAIRS[68], 68)]
        inside = inside[mirror_order(LANDMARK_MIRROR_PAIRS[68], 68)]
    returned = processor.post_process_landmarks(points[None], sample["crop_from_photo"][None])[0]
    torch.testing.assert_close(returned[inside], sample["photo_labels"][inside], atol=0.02, rtol=0)


def test_attribute_columns_are_selected(photos):
    sample = FaceSamples(photos, make_processor(), "attributes", attribute_columns=[3, 20, 0], min_face_px=1)[2]
    assert sample["labels"].tolist() == [float(photos[1]["attributes"][0][column]) for column in (3, 20, 0)]


def test_randomness_depends_on_seed_epoch_and_item_only(photos):
    def make(seed):
        return FaceSamples(photos, make_processor(), "parsing", "synthetic_parsing", min_face_px=1, seed=seed)

    first, again, other = make(1), make(1), make(2)
    torch.testing.assert_close(first[5]["pixel_values"], again[5]["pixel_values"], atol=0, rtol=0)
    assert not torch.equal(first[5]["pixel_values"], other[5]["pixel_values"])
    again.set_epoch(1)
    assert not torch.equal(first[5]["pixel_values"], again[5]["pixel_values"])


def test_worker_count_changes_nothing_and_workers_see_the_epoch(photos):
    samples = FaceSamples(photos, make_processor(), "parsing", "synthetic_parsing", min_face_px=1)
    alone = DataLoader(samples, batch_size=4, collate_fn=collate_face_samples)
    helped = DataLoader(samples, batch_size=4, collate_fn=collate_face_samples, num_workers=2, persistent_workers=True)
    for epoch in range(2):
        samples.set_epoch(epoch)
        for here, there in zip(alone, helped, strict=True):
            torch.testing.assert_close(here["pixel_values"], there["pixel_values"], atol=0, rtol=0)


def test_collate_keeps_photo_labels_as_a_list(photos):
    samples = FaceSamples(photos, make_processor(), "parsing", min_face_px=1, with_photo_labels=True)
    batch = collate_face_samples([samples[0], samples[1]])
    assert batch["pixel_values"].shape == (2, 3, 32, 32)
    assert batch["crop_from_photo"].shape == (2, 3, 3)
    assert batch["box_xyxy"].shape == (2, 4)
    assert [labels.shape for labels in batch["photo_labels"]] == [(96, 96), (96, 96)]


def encoded(image, picture_format="PNG"):
    buffer = io.BytesIO()
    image.save(buffer, format=picture_format)
    return {"bytes": buffer.getvalue(), "path": None}


def test_decoding_equals_pillow():
    ids = np.random.default_rng(0).integers(0, 11, (9, 7)).astype(np.uint8)
    palette = PIL.Image.fromarray(ids, mode="L").convert("P")
    palette.putpalette([value for index in range(256) for value in (index, 255 - index, 0)])
    palette.putdata(ids.flatten().tolist())
    np.testing.assert_array_equal(decode_map(encoded(palette)), ids)
    np.testing.assert_array_equal(decode_map(encoded(PIL.Image.fromarray(ids))), ids)
    colors = np.random.default_rng(1).integers(0, 255, (9, 7, 3)).astype(np.uint8)
    np.testing.assert_array_equal(decode_photo(encoded(PIL.Image.fromarray(colors))), colors)
    np.testing.assert_array_equal(decode_photo(PIL.Image.fromarray(ids)), np.repeat(ids[..., None], 3, axis=2))


def test_a_broken_picture_is_named():
    with pytest.raises(UnreadablePhotoError, match="cannot be decoded"):
        decode_photo({"bytes": b"no picture", "path": None})
    with pytest.raises(UnreadablePhotoError, match=r"missing\.png"):
        decode_photo({"bytes": None, "path": "missing.png"})


def test_photos_without_any_annotation_are_one_face_each():
    rows = make_face_dataset(2).select_columns(["image", "label_map"])
    samples = FaceSamples(rows, FaRLImageProcessor(size={"height": 32, "width": 32}), "parsing", alignment="whole")
    assert len(samples) == 2
    assert set(samples[1]["labels"].unique().tolist()) >= {0, 1}


def test_a_mirror_exchanges_the_pairs_that_it_is_given():
    rows = make_face_dataset(1)
    processor = FaRLImageProcessor(size={"height": 64, "width": 64})
    mirrored = AugmentationRecipe(source="test", mirror_probability=1.0)
    plain = FaceSamples(rows, processor, "parsing", alignment="whole")[0]["labels"]
    own = FaceSamples(rows, processor, "parsing", mirrored, alignment="whole", label_mirror_pairs=[(4, 6)])
    expected = plain.flip(1).clone()
    nose, eye = expected == 6, expected == 4
    expected[nose], expected[eye] = 4, 6
    assert (own[0]["labels"] == expected).float().mean() > 0.99


def test_a_mirror_of_unknown_classes_is_refused():
    """Left and right would be mixed up without a word."""
    processor = FaRLImageProcessor(size={"height": 32, "width": 32})
    mirrored = AugmentationRecipe(source="test", mirror_probability=0.5)
    with pytest.raises(InvalidArgumentError, match="which of 13 classes"):
        FaceSamples(make_face_dataset(1), processor, "parsing", mirrored, num_labels=13)
    assert FaceSamples(make_face_dataset(1), processor, "parsing", mirrored, num_labels=13, label_mirror_pairs=())


def test_a_mirror_of_unknown_landmarks_is_refused():
    rows = make_face_dataset(1).map(lambda row: {"landmarks_xy": [face[:7] for face in row["landmarks_xy"]]})
    processor = FaRLImageProcessor(size={"height": 32, "width": 32})
    mirrored = AugmentationRecipe(source="test", mirror_probability=0.5)
    with pytest.raises(InvalidArgumentError, match="which of 7 landmarks"):
        FaceSamples(rows, processor, "landmarks", mirrored, min_face_px=1)
    assert FaceSamples(rows, processor, "landmarks", min_face_px=1)


def test_a_part_of_the_faces_is_repeated():
    rows = make_face_dataset(4)
    processor = FaRLImageProcessor(size={"height": 32, "width": 32})
    samples = FaceSamples(rows, processor, "landmarks", min_face_px=1, data_ratio=0.5)
    whole = FaceSamples(rows, processor, "landmarks", min_face_px=1)
    assert len(samples) == len(whole) == 4
    assert len({record.row for record in samples.records}) == 2


@pytest.mark.parametrize(
    ("label_map", "said"),
    [
        (np.zeros((96, 95), np.uint8), r"row 1 has \(height, width\) \(96, 95\), its photo \(96, 96\)"),
        (np.full((96, 96), 11, np.uint8), "row 1 has the class id 11; expected 0 to 10, or 255"),
    ],
)
def test_label_maps_that_do_not_fit_are_named(label_map, said):
    rows = [make_face_row(0), make_face_row(1)]
    del rows[1]["instance_map"]
    rows[1]["label_map"] = PIL.Image.fromarray(label_map)
    samples = FaceSamples(rows, make_processor(), "parsing", min_face_px=1)
    assert samples[0]["labels"].shape == (32, 32)
    with pytest.raises(InvalidFaceInputError, match=said):
        samples[1]


def test_ignored_pixels_are_no_class():
    row = make_face_row(0)
    label_map = np.full((96, 96), 255, np.uint8)
    label_map[:, 48:] = 1
    row["label_map"], row["instance_map"] = PIL.Image.fromarray(label_map), None
    labels = FaceSamples([row], make_processor(), "parsing", alignment="whole", min_face_px=1)[0]["labels"]
    assert set(labels.unique().tolist()) == {1, 255}
