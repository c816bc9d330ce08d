"""Crops of single faces: where the points go, what lies outside, which photos are left out."""

import numpy as np
import pytest
import torch
from face_crops import FaceCrops
from face_rows import make_face_dataset, make_face_row

from farl_hf import FaRLImageProcessor, InvalidDatasetError

PROCESSOR = FaRLImageProcessor(size={"height": 120, "width": 120}, template_span="size")


def test_crops_are_those_of_the_image_processor_before_normalisation():
    row = make_face_row(3)
    sample = FaceCrops([row], PROCESSOR)[0]
    photo = torch.from_numpy(np.array(row["image"])).permute(2, 0, 1)
    expected = PROCESSOR.warp(photo, PROCESSOR.crop_matrix(torch.tensor(row["points5_xy"]).float()))[0] / 255
    assert sample["pixel_values"].shape == (3, 120, 120)
    # OpenCV rounds its reads to 1/32 of a pixel.
    assert (sample["pixel_values"] - expected).abs().mean() < 0.004
    assert torch.equal(sample["attributes"], torch.tensor(row["attributes"][0]))


def test_what_is_outside_the_photo_is_marked():
    row = make_face_row(3)
    shifted = row | {"points5_xy": (np.array(row["points5_xy"]) - [48.0, 0]).tolist()}
    inside = FaceCrops([shifted], PROCESSOR)[0]["inside"]
    assert inside.shape == (1, 120, 120)
    assert not inside[..., :40].any()
    assert inside[:, 30:90, 90:].all()


def test_photos_of_several_faces_are_left_out():
    rows = [make_face_row(0, num_faces=2), make_face_row(1), make_face_row(2, num_faces=0), make_face_row(3)]
    crops = FaceCrops(rows, PROCESSOR)
    assert len(crops) == 2
    assert torch.equal(crops[1]["pixel_values"], FaceCrops([rows[3]], PROCESSOR)[0]["pixel_values"])
    with pytest.raises(InvalidDatasetError, match="None of the 1 photos shows exactly one face"):
        FaceCrops(rows[:1], PROCESSOR)


def test_every_other_crop_is_mirrored_anew_in_each_epoch():
    plain, mirrored = FaceCrops(make_face_dataset(1), PROCESSOR), FaceCrops(make_face_dataset(1), PROCESSOR, True)
    drawn = []
    for epoch in range(12):
        mirrored.set_epoch(epoch)
        drawn.append(mirrored[0]["pixel_values"])
    as_it_was = [torch.equal(image, plain[0]["pixel_values"]) for image in drawn]
    turned = [(image.flip(-1) - plain[0]["pixel_values"]).abs().mean() < 0.01 for image in drawn]
    assert all(same or mirror for same, mirror in zip(as_it_was, turned, strict=True))
    assert 2 <= sum(as_it_was) <= 10
