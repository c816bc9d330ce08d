"""Photos of mixed sizes, and their faces as arrays for comparison."""

from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.face_scenes import make_photo_of_size

# Upright and lying, of cameras and phones, in the order in which a folder may hold them.
SIZES_HW = ((480, 640), (640, 480), (360, 640), (600, 800), (768, 1024), (720, 1280), (1024, 768), (533, 800))


def make_photos(count: int) -> list[np.ndarray]:
    """So many photos (H, W, 3) whose sizes alternate."""
    return [make_photo_of_size(*SIZES_HW[index % len(SIZES_HW)], seed=index) for index in range(count)]


def as_arrays(faces_of_photos: Sequence[Sequence], numbers: Callable) -> dict[str, np.ndarray]:
    """`counts` of faces per photo and `faces`, one row each: score, box, five points.

    Args:
        faces_of_photos (`Sequence`): Answers of a detector.
        numbers (`Callable`): One face -> its 15 numbers.
    """
    rows = [numbers(face) for faces in faces_of_photos for face in faces]
    return {
        "counts": np.array([len(faces) for faces in faces_of_photos]),
        "faces": np.array(rows, dtype=np.float64).reshape(-1, 15),
    }
