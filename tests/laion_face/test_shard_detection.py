"""What is stored for a shard is what the detection pipeline says of each photo by itself."""

import io

import cv2
import numpy as np
import PIL.Image
import pytest
import skimage.data
from laion_shards import sample_id, write_shard
from transformers import pipeline

from farl_hf.data.laion_face.detections import BOX, POINTS, SCORE, detections_schema, open_face_table
from farl_hf.data.recorded_files import read_record, recorded_parquet
from farl_hf.face_renderer import render_face_photo
from farl_hf.laion_face.shard_detection import ShardDetector, shard_jobs


@pytest.fixture(scope="module")
def photos():
    """JPEG files of three sizes, with one face, several, and none."""
    pictures = [
        skimage.data.astronaut(),
        render_face_photo(20_000_001).image,
        np.full((96, 128, 3), 90, np.uint8),
        render_face_photo(20_000_002, "scene", (320, 320)).image,
        render_face_photo(20_000_003).image,
    ]
    return [cv2.imencode(".jpg", picture[..., ::-1])[1].tobytes() for picture in pictures]


@pytest.fixture(scope="module")
def expected(photos):
    detect = pipeline("face-detection")
    return [detect(PIL.Image.open(io.BytesIO(photo))) for photo in photos]


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_shard_holds_what_the_pipeline_says_of_each_photo(photos, expected, tmp_path, batch_size):
    write_shard(tmp_path, count=len(photos), changes={i: {"jpg": photo} for i, photo in enumerate(photos)})
    (job,) = shard_jobs([tmp_path], tmp_path / "out")
    answer = ShardDetector(batch_size=batch_size, device="cpu")(job)
    assert answer["counts"] == {
        "samples": len(photos),
        "with_faces": sum(bool(faces) for faces in expected),
        "faces": sum(map(len, expected)),
    }
    table = open_face_table(job["output"])
    for number, faces in enumerate(expected):
        found = table.find(sample_id(number))
        boxes = [[face["box"][side] for side in ("xmin", "ymin", "xmax", "ymax")] for face in faces]
        np.testing.assert_allclose(found[:, BOX], np.reshape(boxes, (-1, 4)), atol=0.01)
        np.testing.assert_allclose(
            found[:, POINTS], np.reshape([face["keypoints"] for face in faces], (-1, 10)), atol=0.01
        )
        np.testing.assert_allclose(found[:, SCORE], [face["score"] for face in faces], atol=1e-4)
    assert any(expected)
    assert not all(expected)


def test_records_of_version_0_1_call_what_was_skipped_left_out(tmp_path):
    write_shard(tmp_path, count=2, changes={1: {"json": b"not JSON"}})
    (job,) = shard_jobs([tmp_path], tmp_path / "out")
    detector = ShardDetector(device="cpu")
    answer = detector(job)
    assert answer["skipped"] == {"bad_metadata": 1}

    record = read_record(job["output"])
    record["left_out"] = record.pop("skipped")
    with recorded_parquet(job["output"], detections_schema(), record):
        pass
    assert detector(job) == answer | {"kept": True}
