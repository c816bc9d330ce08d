"""facer's half of `versus_facer`: its classes as its examples use them, without gradients."""

import functools
from pathlib import Path

import torch
from facer.face_alignment import farl as alignment
from facer.face_detection.retinaface import RetinaFaceDetector
from facer.face_parsing.farl import FaRLFaceParser
from torch.nn.functional import grid_sample, interpolate

from benchmarks import face_scenes
from benchmarks.official_files import NUM_LANDMARKS, source_path
from benchmarks.two_processes import serve

LANDMARK_MODEL = "wflw/448"


class WithFaceScores(torch.nn.Module):
    """A network and a fixed map that is added to its scores, see `face_scenes`."""

    def __init__(self, network, scores):
        super().__init__()
        self.network, self.scores = network, scores

    def forward(self, pixel_values):
        """The outputs of the parsing model: scores, and one that nobody reads."""
        scores, unread = self.network(pixel_values)
        return scores + self.scores, unread


class HeadWithScores(torch.nn.Module):
    """The same for the head of the landmark model."""

    def __init__(self, head, scores):
        super().__init__()
        self.head, self.scores = head, scores

    def forward(self, features):
        """Heat-map scores before the sigmoid."""
        return self.head(features) + self.scores


@functools.cache
def parsing_model(folder):
    """The parsing model of facer, with random weights."""
    made = FaRLFaceParser("lapa/448", str(source_path(folder, "parsing")), device=torch.device("cpu"))
    scores = interpolate(face_scenes.face_scores(11, 112)[None], (512, 512), mode="bilinear", align_corners=False)
    made.net = WithFaceScores(made.net, scores)
    return made


@functools.cache
def landmark_model(folder):
    """The landmark model of facer, with random weights."""
    made = alignment.FaRLFaceAlignment(LANDMARK_MODEL, str(source_path(folder, "landmarks")))
    scores = face_scenes.heat_map_scores(NUM_LANDMARKS, 112)[None]
    made.net.heatmap_head = HeadWithScores(made.net.heatmap_head, scores)
    return made


def photo_and_faces(request):
    """The photo as facer's `hwc2bchw` gives it, and its faces."""
    photo = torch.from_numpy(face_scenes.make_photo(request["size"])).permute(2, 0, 1)[None]
    points = torch.from_numpy(face_scenes.make_points(request["size"], request["faces"]))
    return photo, {"points": points, "image_ids": torch.zeros(len(points), dtype=torch.long)}


def inference(work):
    """Work without gradients; facer's detector and landmark model leave that to the caller."""

    def run():
        with torch.inference_mode():
            return work()

    return run


def detection(request, folder):
    """Photo to boxes."""
    photo, _ = photo_and_faces(request)
    detector = RetinaFaceDetector("mobilenet", str(source_path(folder, "detector")), threshold=request["threshold"])

    def work():
        faces = detector(photo)
        return {"boxes": faces["rects"], "points": faces["points"], "scores": faces["scores"]}

    return inference(work)


def parsing(request, folder):
    """Photo and points to label maps."""
    photo, faces = photo_and_faces(request)
    return inference(
        lambda: {"labels": parsing_model(folder)(photo, dict(faces))["seg"]["logits"].argmax(dim=1).byte()}
    )


def parsing_crops(request, folder):
    """Photo and points to crops."""
    photo, faces = photo_and_faces(request)
    settings = parsing_model(folder).setting

    def work():
        photos = parsing_model(folder).unify_image_dtype(photo)[faces["image_ids"]]
        matrix = settings["get_matrix_fn"](faces["points"])
        grid = settings["get_grid_fn"](matrix=matrix, orig_shape=photo.shape[-2:])
        return {"crops": grid_sample(photos, grid, mode="bilinear", align_corners=False)}

    return inference(work)


def parsing_network(request, folder):
    """Crops to scores."""
    crops = torch.rand(request["faces"], 3, 448, 448, generator=torch.Generator().manual_seed(0))
    return inference(lambda: {"scores": parsing_model(folder).net(crops)[0]})


def parsing_labels(request, folder):
    """Scores of 512 pixels to label maps."""
    photo, faces = photo_and_faces(request)
    settings = parsing_model(folder).setting
    scores = interpolate(face_scenes.face_scores(11, 112)[None], (512, 512), mode="bilinear", align_corners=False)
    scores = scores.repeat(request["faces"], 1, 1, 1)

    def work():
        matrix = settings["get_matrix_fn"](faces["points"])
        grid = settings["get_inv_grid_fn"](matrix=matrix, orig_shape=photo.shape[-2:])
        on_photo = grid_sample(scores, grid, mode="bilinear", align_corners=False)
        return {"labels": on_photo.argmax(dim=1).byte()}

    return inference(work)


def landmarks(request, folder):
    """Photo and points to landmarks, in continuous pixels."""
    photo, faces = photo_and_faces(request)
    return inference(lambda: {"points": landmark_model(folder)(photo, dict(faces))["alignment"] + 0.5})


def landmarks_points(request, folder):
    """Heat maps to landmarks."""
    photo, faces = photo_and_faces(request)
    settings, (height, width) = alignment.pretrain_settings[LANDMARK_MODEL], photo.shape[-2:]
    maps = face_scenes.heat_map_scores(NUM_LANDMARKS, 112).sigmoid().repeat(request["faces"], 1, 1, 1)

    def work():
        matrix = settings["get_matrix_fn"](faces["points"])
        grid = settings["get_inv_grid_fn"](matrix=matrix, orig_shape=(height, width))
        large = interpolate(maps, size=(448, 448), mode="bilinear", align_corners=False)
        on_photo = grid_sample(large, grid, mode="bilinear", align_corners=False)
        return {"points": alignment.denormalize_points(alignment.heatmap2points(on_photo), height, width) + 0.5}

    return inference(work)


CASES = {
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
    request = {"size": "480p", "faces": 1}
    photo, faces = photo_and_faces(request)
    FaRLFaceParser("lapa/448", str(source_path(folder, "parsing")), device=torch.device("cpu"))(photo, faces)


if __name__ == "__main__":
    serve(CASES)
