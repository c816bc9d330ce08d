import numpy as np
import torch
from face_rows import make_face_row

from farl_hf import FaRLImageProcessor
from farl_hf.data.samples.pretraining_samples import TwoViewTransform


def make_transform(**settings):
    return TwoViewTransform(FaRLImageProcessor(size={"height": 32, "width": 32}), **settings)


def colour_of_nose(view):
    """Normalised colour at the centre of an aligned crop."""
    return view[:, 14:19, 14:19].mean(dim=(1, 2))


def test_both_views_show_the_same_face():
    """Of many; without changes the views are then equal, and other draws show other faces."""
    row = make_face_row(0, num_faces=4, size_hw=(64, 256))
    samples = [make_transform(augmentation="none", seed=seed).sample(row) for seed in range(8)]
    for sample in samples:
        torch.testing.assert_close(sample["pixel_values"], sample["second_pixel_values"])
    assert len({tuple(colour_of_nose(sample["pixel_values"]).round(decimals=3).tolist()) for sample in samples}) > 1


def test_views_differ_and_are_drawn_anew_in_each_epoch():
    transform, row = make_transform(), make_face_row(0)
    first = transform.sample(row)
    assert not torch.allclose(first["pixel_values"], first["second_pixel_values"], atol=0.1)
    again = transform.sample(row)
    assert all(first[name].equal(again[name]) for name in first)
    transform.set_epoch(1)
    assert not torch.allclose(first["pixel_values"], transform.sample(row)["pixel_values"], atol=0.1)


def test_a_batch_of_rows_gives_lists_and_needs_no_text():
    rows = [make_face_row(index) for index in range(3)]
    batch = make_transform()({key: [row[key] for row in rows] for key in ("image", "points5_xy", "index")})
    assert {name: len(values) for name, values in batch.items()} == {"pixel_values": 3, "second_pixel_values": 3}


def test_photos_without_a_face_show_their_centre():
    row = make_face_row(0) | {"points5_xy": [np.full((5, 2), np.nan)]}
    sample = make_transform(augmentation="none").sample(row)
    assert sample["pixel_values"].shape == (3, 32, 32)
