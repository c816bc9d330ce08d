"""farl_hf's half of the comparisons: pipelines from photo to answers, models and processors for single stages."""

import functools
from pathlib import Path

import numpy as np
import torch
from transformers import AutoImageProcessor, pipeline
from transformers.utils import ModelOutput

import farl_hf  # noqa: F401 - registers models and pipelines
from benchmarks import face_scenes, machine_rates
from benchmarks.official_files import NUM_LANDMARKS, converted_path
from benchmarks.two_processes import serve
from farl_hf.modeling.modeling_farl_heads import decode_heatmaps

# facer feeds red, green, blue, unpadded and in full size.
AS_FACER = {"do_flip_channel_order": False, "pad_size_divisor": 1, "max_long_side": 0}


def load(task, folder, kind, scores=None, dtype="float32"):
    """A pipeline; `scores` are added to its network's, see `face_scenes`."""
    made = pipeline(task, model=str(converted_path(folder, kind)), device="cpu", dtype=dtype)
    if scores is not None:
        decode = made.model.decode
        made.model.decode = lambda maps: decode(maps) + scores.to(made.dtype)
    return made


@functools.cache
def parsing_model(folder, dtype):
    """The parsing model with random weights."""
    return load("face-parsing", folder, "parsing", face_scenes.face_scores(11, 112), dtype)


@functools.cache
def landmark_model(folder, dtype):
    """The landmarks model with random weights."""
    return load("face-landmarks", folder, "landmarks", face_scenes.heat_map_scores(NUM_LANDMARKS, 112), dtype)


@functools.cache
def detector(folder):
    """The detector with random weights, fed as facer feeds it."""
    made = load("face-detection", folder, "detector")
    made.image_processor = AutoImageProcessor.from_pretrained(converted_path(folder, "detector"), **AS_FACER)
    return made


def photo_and_points(request):
    """The photo (H, W, 3) and the five points of its faces."""
    return (
        face_scenes.make_photo(request["size"]),
        face_scenes.make_points(request["size"], request["faces"]),
    )


def inference(work):
    """Work without gradients."""

    def run():
        with torch.inference_mode():
            return work()

    return run


def threshold_for(request, folder):
    """The score between the given number of candidates and the next one."""
    threshold = score_of_candidate(detector(folder), face_scenes.make_photo(request["size"]), request["candidates"])
    return lambda: {"number": threshold}


def score_of_candidate(run, photo, candidates):
    """A score that so many anchors of a photo pass, in the middle of the gap to the next one."""
    inputs = run.image_processor(photo, return_tensors="pt")
    with torch.inference_mode():
        logits = run.model(inputs["pixel_values"]).class_logits[0]
    scores = logits.softmax(dim=-1)[:, 1].sort(descending=True).values.double()
    return float(scores[candidates - 1 : candidates + 1].mean())


def detection(request, folder):
    """Photo to boxes."""
    photo, _ = photo_and_points(request)

    def work():
        found = detector(folder)(photo, threshold=request["threshold"])
        return {
            "boxes": np.array([list(face["box"].values()) for face in found]).reshape(-1, 4),
            "points": np.array([face["keypoints"] for face in found]).reshape(-1, 5, 2),
            "scores": np.array([face["score"] for face in found]),
        }

    return work


def parsing(request, folder):
    """Photo and points to label maps."""
    photo, points = photo_and_points(request)
    run = parsing_model(folder, request.get("dtype", "float32"))

    def work():
        faces = run({"image": photo, "keypoints": points}, batch_size=request.get("batch_size", 1))
        return {"labels": [np.asarray(face["segmentation"]) for face in faces]}

    return work


def parsing_crops(request, folder):
    """Photo and points to crops."""
    photo, points = photo_and_points(request)
    processor = parsing_model(folder, "float32").image_processor
    photo_chw = torch.from_numpy(photo).permute(2, 0, 1)

    def work():
        inputs = processor(
            photo_chw, keypoints=[points], do_normalize=False, input_data_format="channels_first", return_tensors="pt"
        )
        return {"crops": inputs["pixel_values"]}

    return inference(work)


def parsing_network(request, folder):
    """Crops to scores; the normalisation is part of facer's network."""
    run = parsing_model(folder, request.get("dtype", "float32"))
    crops = torch.rand(request["faces"], 3, 448, 448, generator=torch.Generator().manual_seed(0))

    def work():
        return {"scores": run.model(run.image_processor.normalize(crops).to(run.dtype)).logits.float()}

    return inference(work)


def parsing_labels(request, folder):
    """Scores of 112 pixels to label maps."""
    photo, points = photo_and_points(request)
    processor = parsing_model(folder, "float32").image_processor
    scores = face_scenes.face_scores(11, 112).repeat(request["faces"], 1, 1, 1)

    def work():
        matrices = processor.crop_matrix(torch.from_numpy(points))
        maps = processor.post_process_face_parsing(scores, matrices, [photo.shape[:2]] * len(points))
        return {"labels": [labels.numpy() for labels in maps]}

    return inference(work)


def landmarks(request, folder):
    """Photo and points to landmarks."""
    photo, points = photo_and_points(request)
    run = landmark_model(folder, request.get("dtype", "float32"))

    def work():
        faces = run({"image": photo, "keypoints": points}, batch_size=request.get("batch_size", 1))
        return {"points": [face["landmarks"] for face in faces]}

    return work


def landmarks_points(request, folder):
    """Heat maps to landmarks."""
    _, points = photo_and_points(request)
    processor = landmark_model(folder, "float32").image_processor
    maps = face_scenes.heat_map_scores(NUM_LANDMARKS, 112).sigmoid().repeat(request["faces"], 1, 1, 1)

    def work():
        matrices = processor.crop_matrix(torch.from_numpy(points))
        return {"points": processor.post_process_landmarks(ModelOutput(landmarks=decode_heatmaps(maps)), matrices)}

    return inference(work)


def floor(request, folder):
    """Seconds that arithmetic and memory traffic of a case take at least, see `machine_rates`."""
    seconds = FLOORS[request["of"]](request, folder)
    return lambda: {"number": seconds}


def _floor_of_detection(request, folder):
    height, width = face_scenes.PHOTO_SIZES_HW[request["size"]]
    return machine_rates.floor_seconds(detector(folder).model, torch.zeros(1, 3, height, width))


def _floor_of_labels(request, folder):
    height, width = face_scenes.PHOTO_SIZES_HW[request["size"]]
    return request["faces"] * (height * width + 4 * 11 * 112**2) / machine_rates.copy_rate()  # written, read


def _floor_of_faces(network, request, folder):
    model = network(folder, request["dtype"]).model
    return request["faces"] * machine_rates.floor_seconds(model, torch.zeros(1, 3, 448, 448, dtype=model.dtype))


FLOORS = {
    "detection": _floor_of_detection,
    "parsing: network": functools.partial(_floor_of_faces, parsing_model),
    "parsing": functools.partial(_floor_of_faces, parsing_model),
    "parsing: after the network": _floor_of_labels,
    "landmarks": functools.partial(_floor_of_faces, landmark_model),
}
CASES = {
    "threshold": threshold_for,
    "floor": floor,
    "detection": detection,
    "parsing": parsing,
    "parsing: crops": parsing_crops,
    "parsing: network": parsing_network,
    "parsing: after the network": parsing_labels,
    "landmarks": landmarks,
    "landmarks: after the network": landmarks_points,
}


def first_result(folder: Path) -> None:
    """Import, load and parse one face, as a fresh process does."""
    photo, points = photo_and_points({"size": "480p", "faces": 1})
    load("face-parsing", folder, "parsing")({"image": photo, "keypoints": points})


if __name__ == "__main__":
    serve(CASES)
