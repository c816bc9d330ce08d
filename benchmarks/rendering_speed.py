"""Rendered portraits per second on one core, alone and through the data set builder.

    python -m benchmarks.rendering_speed [--photos N]

Prints processor time per photo of the renderer, and the rate of the builder (rendering, JPEG and PNG encoding, writing
of Arrow files) in one process. Run it on an idle machine.
"""

import argparse
import tempfile
import time

import cv2
from threadpoolctl import threadpool_limits

from farl_hf.data.synthetic_faces import SyntheticFaces, render_face_photo

WARM_UP = 5


def render_rate(num_photos: int) -> float:
    """Portraits of 224 x 224 pixels per second of processor time."""
    cv2.setNumThreads(1)
    with threadpool_limits(1, user_api="blas"):
        for index in range(WARM_UP):
            render_face_photo(index)
        start = time.process_time()
        for index in range(WARM_UP, WARM_UP + num_photos):
            render_face_photo(index)
        return num_photos / (time.process_time() - start)


def builder_rate(num_photos: int) -> float:
    """Portraits per second of wall time through the builder."""
    with tempfile.TemporaryDirectory() as folder:
        sizes = {"num_train": num_photos, "num_validation": 0, "num_test": 0}
        builder = SyntheticFaces(config_name="portraits", cache_dir=folder, **sizes)
        start = time.perf_counter()
        builder.download_and_prepare()
        return num_photos / (time.perf_counter() - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=300, help="How many to render.")
    num_photos = parser.parse_args().photos
    print(f"renderer: {render_rate(num_photos):.1f} portraits/s of processor time")
    print(f"builder: {builder_rate(num_photos):.1f} portraits/s")


if __name__ == "__main__":
    main()
