"""Answers do not depend on batch size, order, neighbours in a batch, or loader processes.

Matrix products of other sizes may add in another order, so that numbers differ in their last digit: what is compared
exactly are label maps, the others to a few units in the last place of a score or of the longer side of the photo.
"""

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from transformers import pipeline

from farl_hf.cli.demo import GROUP_PHOTO
from farl_hf.photos import load_photo

TASKS = ("face-detection", "face-parsing", "face-landmarks", "face-attributes")
LAST_PLACES = 4 * torch.finfo(torch.float32).eps


def assert_same_faces(actual, expected, side_px):
    same_px = LAST_PLACES * side_px
    assert len(actual) == len(expected)
    for one, other in zip(actual, expected, strict=True):
        assert one.keys() == other.keys()
        assert one["box"] == pytest.approx(other["box"], abs=same_px)
        assert one["score"] == pytest.approx(other["score"], rel=LAST_PLACES)
        for key in {"keypoints", "landmarks"} & one.keys():
            np.testing.assert_allclose(one[key], other[key], rtol=0, atol=same_px)
        if "segmentation" in one:
            assert one["segmentation"].tobytes() == other["segmentation"].tobytes()
        if "attributes" in one:
            scores, others = (
                {entry["label"]: entry["score"] for entry in face["attributes"]} for face in (one, other)
            )
            assert scores == pytest.approx(others, rel=LAST_PLACES, abs=LAST_PLACES)


def check(run, photos, batch_sizes, workers=(0,)):
    alone = [run(photo) for photo in photos]
    for batch_size in batch_sizes:
        for count in workers:
            together = run(photos, batch_size=batch_size, num_workers=count)
            for photo, actual, expected in zip(photos, together, alone, strict=True):
                assert_same_faces(actual, expected, max(photo.size))
    reversed_answers = run(photos[::-1], batch_size=batch_sizes[-1])
    for photo, actual, expected in zip(photos, reversed_answers[::-1], alone, strict=True):
        assert_same_faces(actual, expected, max(photo.size))


@pytest.mark.parametrize("task", TASKS)
def test_batches_orders_and_workers(task, load_pipeline, planted_detector, photo_with):
    settings = {} if task == "face-detection" else {"detector": planted_detector}
    sizes_wh = ((120, 100), (96, 96), (120, 100), (150, 90), (120, 100))
    photos = [photo_with(faces, size_wh) for faces, size_wh in zip((1, 0, 3, 2, 1), sizes_wh, strict=True)]
    check(load_pipeline(task, **settings), photos, (2, 3, 8), (0, 2))


@pytest.mark.nightly
@pytest.mark.parametrize("task", TASKS)
def test_built_in_models_on_photographs(task):
    group, portrait = load_photo(GROUP_PHOTO), Image.fromarray(data.astronaut())
    photos = [group, portrait, group.resize((800, 268)), portrait.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    check(pipeline(task), [*photos, Image.new("RGB", (300, 200)), portrait], range(1, 65))
