import numpy as np
import pytest
from PIL import Image
from toy_checkpoints import save_toy_checkpoints
from transformers import pipeline

FACE_TASKS = ("face-parsing", "face-landmarks", "face-attributes")
FIVE_POINTS = np.array([[30, 30], [60, 30], [45, 45], [35, 60], [55, 60]], float)


@pytest.fixture(scope="session")
def toy_checkpoints(tmp_path_factory):
    return save_toy_checkpoints(tmp_path_factory.mktemp("checkpoints"))


class PlantedDetector:
    """Finds as many faces as the blue channel of a photo's first pixel says; weakest first, to test the sorting."""

    def __init__(self):
        self.calls = []

    def __call__(self, photo, **detection):
        self.calls.append(detection)
        faces = []
        for row in range(photo.getpixel((0, 0))[2]):
            points = FIVE_POINTS + 6 * row
            box = dict(
                zip(("xmin", "ymin", "xmax", "ymax"), (20.0 + 6 * row, 15.0, 70.0 + 6 * row, 75.0), strict=True)
            )
            faces.append({"score": 0.5 + 0.1 * row, "box": box, "keypoints": points.tolist()})
        return faces


@pytest.fixture
def planted_detector():
    return PlantedDetector()


@pytest.fixture(scope="session")
def photo_with():
    """A function that makes a photo in which the planted detector finds so many faces."""

    def make(num_faces, size_wh=(120, 100)):
        rng = np.random.default_rng(num_faces)
        pixels = rng.integers(0, 255, (size_wh[1], size_wh[0], 3), dtype=np.uint8)
        pixels[0, 0] = (0, 0, num_faces)
        return Image.fromarray(pixels)

    return make


@pytest.fixture(scope="session")
def load_pipeline(toy_checkpoints):
    def load(task, **settings):
        return pipeline(task, model=str(toy_checkpoints[task]), device="cpu", **settings)

    return load
