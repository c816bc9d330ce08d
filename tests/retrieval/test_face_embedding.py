"""Photos to vectors, against the model called by hand."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from farl_hf import FaRLImageProcessor, UnreadablePhotoError, UnsuitableModelError, index_faces
from farl_hf.retrieval.face_index import model_fingerprint

BOXES = [[10, 12, 60, 80], [5, 5, 40, 45]]


def photo(seed):
    return np.random.default_rng(seed).integers(0, 256, (90, 70, 3), dtype=np.uint8)


def test_rows_are_the_faces_of_the_photos_in_order(image_text_model):
    model, processor = image_text_model
    photos = [(f"{seed}.jpg", {"image": photo(seed), "boxes": BOXES[: seed % 3]}) for seed in range(6)]
    index = index_faces(model, processor, photos, batch_size=2)
    assert index.photos == ("1.jpg", "2.jpg", "2.jpg", "4.jpg", "5.jpg", "5.jpg")
    assert index.boxes_xyxy.tolist() == [BOXES[0], *BOXES, BOXES[0], *BOXES]
    cut = FaRLImageProcessor(size={"height": 32, "width": 32})(photo(2), boxes=[BOXES], return_tensors="pt")
    with torch.no_grad():
        expected = normalize(model.get_image_features(pixel_values=cut["pixel_values"]).pooler_output, dim=-1)
    assert np.allclose(index.embeddings[1:3], expected, atol=1e-5)
    assert index.fingerprint == model_fingerprint(model)


def test_whole_pictures_and_files(farl, tmp_path):
    paths = [tmp_path / f"{seed}.png" for seed in range(3)]
    for seed, path in enumerate(paths):
        Image.fromarray(photo(seed)).save(path)
    index = index_faces(*farl, paths, aligned=True)
    assert index.photos == tuple(map(str, paths))
    assert index.boxes_xyxy.tolist() == [[0, 0, 70, 90]] * 3


def test_photos_without_a_face_leave_an_empty_index(farl):
    index = index_faces(*farl, [("a", photo(0))], detector=lambda photo: [])
    assert len(index) == 0
    assert index.embeddings.shape == (0, 16)


def test_a_bad_photo_ends_the_run_or_is_told(farl, tmp_path):
    photos = [("a", photo(0)), tmp_path / "missing.png", ("b", photo(1))]
    with pytest.raises(UnreadablePhotoError, match=r"missing\.png"):
        index_faces(*farl, photos, aligned=True)
    told = {}
    index = index_faces(*farl, photos, aligned=True, on_failure=told.__setitem__)
    assert index.photos == ("a", "b")
    assert list(told) == [str(tmp_path / "missing.png")]


def test_a_model_without_a_text_encoder_is_refused(farl):
    model, processor = farl
    with pytest.raises(UnsuitableModelError, match="FaRLVisionModel has no text encoder"):
        index_faces(model.vision_model, processor, [photo(0)])
